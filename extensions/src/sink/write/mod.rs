//! From rows to staged files: one [`FileWriter`] for one or more partitions of the query.
//!
//! Invariant: every row given to a writer is in exactly one of the files that it reports. The
//! memory of its open files stays within its share of the export's memory, for any number of files.
//!
//! | module | contents |
//! |---|---|
//! | `partition` | the files of a writer, in folders by the values of the partition columns |
//! | `moved` | files made of row groups of other files, which are not decoded |
//! | `files` | the files of a writer, from their upload to their staging |
//! | `series` | the files of one folder: they roll on their encoded size |
//! | `upload` | the multipart upload of one file |
//! | `report` | a writer's staged files as rows for the sink |
//! | `metrics` | the metrics of a writer in `EXPLAIN ANALYZE` |

mod files;
mod metrics;
mod moved;
mod partition;
mod report;
mod series;
mod upload;

pub use self::metrics::WriterMetrics;
pub(crate) use self::moved::MoveWriter;
pub(crate) use self::partition::NULL_PARTITION;
pub use self::partition::can_partition_by;
pub(crate) use self::report::Reports;
pub use self::report::{WriterReport, report_schema};

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;

use self::files::WriterFiles;
use self::partition::{ClusteredFiles, FanOutFiles, PartitionColumns};
use self::series::FileSeries;
use super::export::Export;
use super::staged::StagedFile;
use crate::error::Result;

/// Writes rows of the query into files and stages them in the store.
#[derive(Debug)]
pub struct FileWriter {
    files: WriterFiles,
    layout: Layout,
    /// Memory budget of its open files, in bytes.
    share: usize,
    report: WriterReport,
}

/// How rows are assigned to files.
#[derive(Debug)]
enum Layout {
    /// All rows go into one folder, one file after the other.
    OneFolder(FileSeries),
    /// By the values of the partition columns, for rows in any order.
    FanOut(PartitionColumns, Box<FanOutFiles>),
    /// By the values of the partition columns, for rows in the order of these values.
    Clustered(PartitionColumns, ClusteredFiles),
}

impl FileWriter {
    /// Creates writer number `writer` of `writers`. If `clustered`, its rows must come in the order
    /// of the partition columns. Encoders and rows that wait for a file are charged to the memory
    /// pool of `context`. `metrics` counts the writer's work.
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
        // With few writers, idle threads encode the columns of a file in parallel.
        let cores = context.session_config().target_partitions();
        let threads = cores.div_ceil(writers.max(1) as usize);
        let share = spec
            .memory
            .encoders_share(spec.partition.is_some(), writers);
        let layout = match &spec.partition {
            None => Layout::OneFolder(FileSeries::new(String::new())),
            Some(partition) => {
                let columns = PartitionColumns::new(partition, spec)?;
                match clustered {
                    true => Layout::Clustered(columns, ClusteredFiles::new(share)),
                    false => {
                        let files = FanOutFiles::new(partition, spec, writers, share, context);
                        Layout::FanOut(columns, Box::new(files))
                    }
                }
            }
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
        let rows = batch.num_rows() as u64;
        self.report.rows_in += rows;
        self.files.metrics().add_rows(rows);
        match &mut self.layout {
            Layout::OneFolder(series) => {
                series.write(&mut self.files, batch).await?;
                series.keep_within(self.share, &self.files).await
            }
            Layout::FanOut(columns, files) => files.write(columns, &mut self.files, batch).await,
            Layout::Clustered(columns, files) => files.write(columns, &mut self.files, batch).await,
        }
    }

    /// Closes all files and waits until the store has confirmed all their bytes.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn finish(mut self) -> Result<WriterReport> {
        match &mut self.layout {
            Layout::OneFolder(series) => series.close(&mut self.files).await?,
            Layout::FanOut(columns, files) => files.finish(columns, &mut self.files).await?,
            Layout::Clustered(_, files) => files.finish(&mut self.files).await?,
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
