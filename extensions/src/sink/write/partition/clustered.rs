//! Rows that come in the order of their partition values.
//!
//! Invariant: one file is open at a time; it is closed when the value changes.

use arrow::array::RecordBatch;

use super::columns::PartitionColumns;
use crate::error::Result;
use crate::sink::write::files::WriterFiles;
use crate::sink::write::series::FileSeries;

/// The files of one writer whose rows are clustered by value.
#[derive(Debug)]
pub(in crate::sink::write) struct ClusteredFiles {
    /// Memory budget of the open file, in bytes.
    share: usize,
    /// The value being written, and its files.
    current: Option<(Box<[u8]>, FileSeries)>,
}

impl ClusteredFiles {
    /// No files yet. The open file may hold `share` bytes in memory.
    pub(in crate::sink::write) fn new(share: usize) -> Self {
        Self {
            share,
            current: None,
        }
    }

    /// Writes a batch in which rows with equal partition values are adjacent.
    pub(in crate::sink::write) async fn write(
        &mut self,
        columns: &PartitionColumns,
        files: &mut WriterFiles,
        batch: &RecordBatch,
    ) -> Result<()> {
        for run in columns.runs(batch)? {
            let value = columns.value(batch, run.start)?;
            let rows = columns.file_rows(&batch.slice(run.start, run.len()))?;
            let is_current = self
                .current
                .as_ref()
                .is_some_and(|(current, _)| *current == value);
            if !is_current {
                self.finish(files).await?;
                let folder = columns.folder(batch, run.start)?;
                self.current = Some((value, FileSeries::new(folder)));
            }
            if let Some((_, series)) = &mut self.current {
                series.write(files, &rows).await?;
                series.keep_within(self.share, files).await?;
            }
        }
        Ok(())
    }

    /// Closes the open file.
    pub(in crate::sink::write) async fn finish(&mut self, files: &mut WriterFiles) -> Result<()> {
        match self.current.take() {
            Some((_, mut series)) => series.close(files).await,
            None => Ok(()),
        }
    }
}
