//! How far an export has come, for whoever watches it.
//!
//! Invariant: numbers are only ever added to while writers work, and reading them delays nobody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, Time,
};

use super::report::WriterReport;

/// How far an export has come; read it at any time.
#[derive(Debug, Default)]
pub struct ExportProgress {
    rows: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
    parts_in_flight: AtomicUsize,
}

impl ExportProgress {
    /// Rows given to the encoders.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Encoded bytes that the store has confirmed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files that are staged whole.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Parts that are on their way to the store.
    pub fn parts_in_flight(&self) -> usize {
        self.parts_in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn part_sets_out(&self) {
        self.parts_in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A part is no longer on its way; `confirmed` bytes of it have arrived.
    pub(super) fn part_ended(&self, confirmed: u64) {
        self.parts_in_flight.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_add(confirmed, Ordering::Relaxed);
    }
}

/// What `EXPLAIN ANALYZE` shows for each writer. Clones count together.
#[derive(Debug, Clone)]
pub struct WriterMetrics {
    rows: Count,
    bytes: Count,
    files: Count,
    /// While rows became bytes.
    pub(super) encode_time: Time,
    /// While the writer could not go on because parts were on their way.
    pub(super) upload_wait: Time,
    /// Requests with parts that were sent again.
    pub(super) retries: Count,
    peak_memory: Gauge,
}

impl WriterMetrics {
    /// The metrics of the writer of this partition, as part of its operator's.
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

    /// The writer's open files hold so many bytes.
    pub(super) fn holds(&self, bytes: usize) {
        self.peak_memory.set_max(bytes);
    }

    /// The writer has come to its end.
    pub(super) fn record(&self, report: &WriterReport) {
        self.rows.add(report.rows_in as usize);
        self.files.add(report.files.len());
        let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
        self.bytes.add(bytes as usize);
    }
}
