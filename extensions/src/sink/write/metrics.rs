//! The metrics of a writer in `EXPLAIN ANALYZE`.
//!
//! Invariant: all clones of a [`WriterMetrics`] update the same counters.

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, Time,
};

use super::report::WriterReport;

/// The metrics of one writer.
#[derive(Debug, Clone)]
pub struct WriterMetrics {
    rows: Count,
    bytes: Count,
    files: Count,
    /// Time spent encoding rows.
    pub(super) encode_time: Time,
    /// Time that the writer waited for parts in flight.
    pub(super) upload_wait: Time,
    /// How often a part was sent again.
    pub(super) retries: Count,
    peak_memory: Gauge,
}

impl WriterMetrics {
    /// Registers the metrics of the writer of `partition` in its operator's `set`.
    pub fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let metric = || MetricBuilder::new(set);
        Self {
            rows: metric().output_rows(partition),
            bytes: metric().counter("bytes_written", partition),
            files: metric().counter("files_written", partition),
            encode_time: metric().subset_time("encode_time", partition),
            upload_wait: metric().subset_time("upload_wait", partition),
            retries: metric().counter("retries", partition),
            peak_memory: metric().gauge("peak_memory", partition),
        }
    }

    /// Records the memory of the writer's open files, in bytes. The largest value is shown.
    pub(super) fn holds(&self, bytes: usize) {
        self.peak_memory.set_max(bytes);
    }

    /// Counts rows that the writer was given.
    pub(super) fn add_rows(&self, rows: u64) {
        self.rows.add(rows as usize);
    }

    /// Records the files of a writer that has ended.
    pub(super) fn record(&self, report: &WriterReport) {
        self.files.add(report.files.len());
        let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
        self.bytes.add(bytes as usize);
    }
}
