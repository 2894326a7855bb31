//! `PARTITION BY`: a folder for each value of the partition columns.
//!
//! Invariant: at most so many files are open at once as were asked for and as memory allows, and
//! there are at most `values × writers + size / MAX FILE SIZE` objects.
//!
//! The values that come first get files of their own and keep them: rows are moved to them batch by
//! batch, column-wise ([`columns`]). Once there are enough, rows of further values are set aside
//! ([`overflow`]), on disk where they don't fit, and are written at the end, value by value. Closing
//! a file to make room for another value would end in as many files as batches.

mod columns;
mod overflow;

pub(crate) use self::columns::NULL_PARTITION;
pub use self::columns::can_partition_by;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;

use self::columns::PartitionColumns;
use self::overflow::Overflow;
use super::series::{FileSeries, WriterFiles};
use super::spec::ExportSpec;
use crate::error::Result;

/// How rows are divided into folders.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The partition columns, by their place in the query's result.
    pub columns: Vec<usize>,
    /// The columns that the files hold, by their place in the query's result.
    pub file_columns: Vec<usize>,
    /// How many files may be open at once in the whole export.
    pub max_open_files: usize,
}

/// The files of one writer, by partition.
#[derive(Debug)]
pub(super) struct PartitionedFiles {
    columns: PartitionColumns,
    open: Vec<FileSeries>,
    /// Which of the open series a value has.
    by_value: HashMap<Box<[u8]>, usize>,
    max_open: usize,
    /// What the open files may hold in memory, in bytes.
    share: usize,
    overflow: Overflow,
    /// The one series at work on rows that come in the order of their values.
    current: Option<(Box<[u8]>, FileSeries)>,
    clustered: bool,
}

impl PartitionedFiles {
    pub(super) fn new(
        partition: &Partition,
        spec: &ExportSpec,
        writers: u32,
        clustered: bool,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let share = spec.memory.encoders_share(true, writers);
        let per_file = spec.part_bytes + spec.format.file_memory_bytes();
        let allowed = partition.max_open_files / writers.max(1) as usize;
        Ok(Self {
            columns: PartitionColumns::new(partition, spec)?,
            open: Vec::new(),
            by_value: HashMap::new(),
            max_open: allowed.min(share / per_file).max(1),
            share,
            overflow: Overflow::new(
                &spec.input_schema,
                spec.memory.waiting_share(writers),
                writers,
                context,
            ),
            current: None,
            clustered,
        })
    }

    pub(super) async fn write(
        &mut self,
        files: &mut WriterFiles,
        batch: &RecordBatch,
    ) -> Result<()> {
        if self.clustered {
            return self.write_clustered(files, batch).await;
        }
        let values = self.columns.values(batch)?;
        let mut groups: Vec<usize> = Vec::with_capacity(batch.num_rows());
        for (row, value) in values.iter().enumerate() {
            // Rows of one value often come together.
            let group = match groups.last() {
                Some(last) if values.row(row) == values.row(row - 1) => *last,
                _ => self.group_of(value.as_ref(), batch, row)?,
            };
            groups.push(group);
        }
        let (own, rest) = self.columns.divide(batch, &groups, self.open.len())?;
        for (group, rows) in own {
            self.open[group].write(files, &rows).await?;
        }
        self.keep_within_share(files).await?;
        match rest {
            Some(rows) => self.overflow.push(&self.columns, rows),
            None => Ok(()),
        }
    }

    /// The open series of a value, or one past the last for a value that has none.
    fn group_of(&mut self, value: &[u8], batch: &RecordBatch, row: usize) -> Result<usize> {
        if let Some(group) = self.by_value.get(value) {
            return Ok(*group);
        }
        if self.open.len() == self.max_open {
            return Ok(columns::NO_GROUP);
        }
        let folder = self.columns.folder(batch, row)?;
        self.open.push(FileSeries::new(folder));
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

    /// Writes rows that come in the order of their values: one file is open at a time.
    async fn write_clustered(
        &mut self,
        files: &mut WriterFiles,
        batch: &RecordBatch,
    ) -> Result<()> {
        for run in self.columns.runs(batch)? {
            let value = self.columns.value(batch, run.start)?;
            let rows = self.columns.file_rows(&batch.slice(run.start, run.len()))?;
            let is_current = self
                .current
                .as_ref()
                .is_some_and(|(current, _)| *current == value);
            if !is_current {
                self.close_current(files).await?;
                let folder = self.columns.folder(batch, run.start)?;
                self.current = Some((value, FileSeries::new(folder)));
            }
            if let Some((_, series)) = &mut self.current {
                series.write(files, &rows).await?;
                files.metrics().holds(series.memory_bytes());
                if series.memory_bytes() > self.share {
                    series.flush().await?;
                }
            }
        }
        Ok(())
    }

    async fn close_current(&mut self, files: &mut WriterFiles) -> Result<()> {
        match self.current.take() {
            Some((_, mut series)) => series.close(files).await,
            None => Ok(()),
        }
    }

    pub(super) async fn finish(&mut self, files: &mut WriterFiles) -> Result<()> {
        for mut series in std::mem::take(&mut self.open) {
            series.close(files).await?;
        }
        while let Some(rows) = self.overflow.next(&self.columns).await? {
            self.write_clustered(files, &rows).await?;
        }
        self.close_current(files).await
    }
}
