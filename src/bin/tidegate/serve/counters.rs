//! What the server has done since it was started.
//!
//! Invariant: counters only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_extensions::sink::ExportReport;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: Counter,
    pub(super) failed_logins: Counter,
    pub(super) statements: Counter,
    /// Errors that clients were told.
    pub(super) errors: Counter,
    pub(super) exports: Counter,
    pub(super) failed_exports: Counter,
    pub(super) export_rows: Counter,
    pub(super) export_bytes: Counter,
    pub(super) export_files: Counter,
}

impl Counters {
    /// Counts an export that has committed.
    pub(super) fn exported(&self, report: &ExportReport) {
        self.exports.add(1);
        self.export_rows.add(report.rows);
        self.export_bytes.add(report.bytes);
        self.export_files
            .add(u64::try_from(report.files.len()).unwrap_or(u64::MAX));
    }
}
