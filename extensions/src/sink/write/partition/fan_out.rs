//! Rows whose partition values come in any order.
//!
//! Invariant: a value that has a file of its own keeps it to the end. Closing files to make room
//! for other values could produce a file for every batch.
//!
//! The first values get files of their own. Each batch is divided by value, column by column
//! ([`PartitionColumns::divide`]). Once the maximum of open files is reached, rows of further
//! values are kept in [`Overflow`] and written at the end, value by value.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;

use super::clustered::ClusteredFiles;
use super::columns::{NO_GROUP, PartitionColumns};
use super::overflow::Overflow;
use crate::error::Result;
use crate::sink::spec::{ExportSpec, Partition};
use crate::sink::write::files::WriterFiles;
use crate::sink::write::series::FileSeries;

/// The files of one writer, by value.
#[derive(Debug)]
pub(in crate::sink::write) struct FanOutFiles {
    open: Vec<FileSeries>,
    /// The index of a value's series in `open`.
    by_value: HashMap<Box<[u8]>, usize>,
    max_open: usize,
    /// Memory budget of the open files, in bytes.
    share: usize,
    overflow: Overflow,
}

impl FanOutFiles {
    /// No files yet, for one of `writers` writers. Its open files may hold `share` bytes in memory.
    pub(in crate::sink::write) fn new(
        partition: &Partition,
        spec: &ExportSpec,
        writers: u32,
        share: usize,
        context: &Arc<TaskContext>,
    ) -> Self {
        let per_file = spec.part_bytes + spec.format.file_memory_bytes();
        let allowed = partition.max_open_files / writers.max(1) as usize;
        let waiting = spec.memory.waiting_share(writers);
        Self {
            open: Vec::new(),
            by_value: HashMap::new(),
            max_open: allowed.min(share / per_file).max(1),
            share,
            overflow: Overflow::new(&spec.input_schema, waiting, writers, context),
        }
    }

    /// Writes the rows of a batch to the files of their values. Keeps rows whose value has no file.
    pub(in crate::sink::write) async fn write(
        &mut self,
        columns: &PartitionColumns,
        files: &mut WriterFiles,
        batch: &RecordBatch,
    ) -> Result<()> {
        let values = columns.values(batch)?;
        let mut groups: Vec<usize> = Vec::with_capacity(batch.num_rows());
        for (row, value) in values.iter().enumerate() {
            // Rows of one value often come together.
            let group = match groups.last() {
                Some(last) if values.row(row) == values.row(row - 1) => *last,
                _ => self.group_of(value.as_ref(), || columns.folder(batch, row))?,
            };
            groups.push(group);
        }
        let (own, rest) = columns.divide(batch, &groups, self.open.len())?;
        for (group, rows) in own {
            self.open[group].write(files, &rows).await?;
        }
        self.keep_within_share(files).await?;
        match rest {
            Some(rows) => self.overflow.push(columns, rows),
            None => Ok(()),
        }
    }

    /// The open series of a value, or [`NO_GROUP`] for a value that has none.
    fn group_of(&mut self, value: &[u8], folder: impl FnOnce() -> Result<String>) -> Result<usize> {
        if let Some(group) = self.by_value.get(value) {
            return Ok(*group);
        }
        if self.open.len() == self.max_open {
            return Ok(NO_GROUP);
        }
        self.open.push(FileSeries::new(folder()?));
        self.by_value.insert(value.into(), self.open.len() - 1);
        Ok(self.open.len() - 1)
    }

    async fn keep_within_share(&mut self, files: &WriterFiles) -> Result<()> {
        let held = |open: &[FileSeries]| open.iter().map(FileSeries::memory_bytes).sum::<usize>();
        files.metrics().holds(held(&self.open));
        while held(&self.open) > self.share {
            let largest = self
                .open
                .iter_mut()
                .max_by_key(|series| series.gathered_bytes());
            match largest {
                Some(series) if series.gathered_bytes() > 0 => series.flush().await?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Closes all files, and writes the rows that were kept.
    pub(in crate::sink::write) async fn finish(
        &mut self,
        columns: &PartitionColumns,
        files: &mut WriterFiles,
    ) -> Result<()> {
        for mut series in std::mem::take(&mut self.open) {
            series.close(files).await?;
        }
        let mut clustered = ClusteredFiles::new(self.share);
        while let Some(rows) = self.overflow.next(columns).await? {
            clustered.write(columns, files, &rows).await?;
        }
        clustered.finish(files).await
    }
}
