//! A writer: puts the rows of one partition of the query into files.
//!
//! Invariant: every row it is given is in exactly one of the files it reports, and what its open
//! files hold in memory stays within its share of the export's memory, however many there are.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;

use super::export::Export;
use super::partition::PartitionedFiles;
use super::progress::WriterMetrics;
use super::report::{StagedFile, WriterReport};
use super::series::{FileSeries, WriterFiles};
use crate::error::Result;

/// Writes the rows of one partition of the query.
#[derive(Debug)]
pub struct FileWriter {
    files: WriterFiles,
    layout: Layout,
    /// What its open files may hold in memory, in bytes.
    share: usize,
    report: WriterReport,
}

/// Which files the rows go into.
#[derive(Debug)]
enum Layout {
    /// One after the other.
    OneFolder(Box<FileSeries>),
    /// By the values of the partition columns.
    Partitioned(Box<PartitionedFiles>),
}

impl FileWriter {
    /// Writer number `writer` of `writers`, whose rows come in the order of the partition columns if
    /// they are `clustered`. Its encoders, and rows that wait for their files, are charged to the
    /// memory pool of `context`; what it does is counted in `metrics`.
    pub fn new(
        export: Arc<Export>,
        writer: u32,
        writers: u32,
        clustered: bool,
        context: &Arc<TaskContext>,
        metrics: &WriterMetrics,
    ) -> Result<Self> {
        let memory = MemoryConsumer::new(format!("tidegate writer {writer}"))
            .register(context.memory_pool());
        let spec = export.spec();
        // Few writers leave threads idle, on which their columns are encoded.
        let cores = context.session_config().target_partitions();
        let threads = cores.div_ceil(writers.max(1) as usize);
        let share = spec
            .memory
            .encoders_share(spec.partition.is_some(), writers);
        let layout = match &spec.partition {
            None => Layout::OneFolder(Box::new(FileSeries::new(String::new()))),
            Some(partition) => Layout::Partitioned(Box::new(PartitionedFiles::new(
                partition, spec, writers, clustered, context,
            )?)),
        };
        Ok(Self {
            files: WriterFiles::new(export, writer, threads, memory, metrics.clone()),
            layout,
            share,
            report: WriterReport {
                writer,
                writers,
                ..WriterReport::default()
            },
        })
    }

    /// Encodes a batch and sends the parts that are full.
    ///
    /// # Errors
    /// A value that the format can't hold, or the store refuses a part.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.report.rows_in += batch.num_rows() as u64;
        match &mut self.layout {
            Layout::OneFolder(series) => {
                series.write(&mut self.files, batch).await?;
                self.files.metrics().holds(series.memory_bytes());
                if series.memory_bytes() > self.share {
                    series.flush().await?;
                }
                Ok(())
            }
            Layout::Partitioned(partitioned) => partitioned.write(&mut self.files, batch).await,
        }
    }

    /// Closes all files and waits until their bytes have arrived.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn finish(mut self) -> Result<WriterReport> {
        match &mut self.layout {
            Layout::OneFolder(series) => series.close(&mut self.files).await?,
            Layout::Partitioned(partitioned) => partitioned.finish(&mut self.files).await?,
        }
        let metrics = self.files.metrics().clone();
        self.report.files = self.files.finish().await?;
        metrics.record(&self.report);
        Ok(self.report)
    }

    /// Stages a file without rows, which holds the schema: the result of an empty query.
    ///
    /// # Errors
    /// The store refuses it.
    pub async fn stage_empty_file(
        export: Arc<Export>,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<StagedFile>> {
        let memory = MemoryConsumer::new("tidegate empty file").register(context.memory_pool());
        let metrics = WriterMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        let mut files = WriterFiles::new(export, 0, 1, memory, metrics);
        let mut series = FileSeries::new(String::new());
        series.close_even_if_empty(&mut files).await?;
        files.finish().await
    }
}
