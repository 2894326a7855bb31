//! The progress of an export.
//!
//! Invariant: the counts of rows, bytes and files only grow. Reading a counter blocks no writer.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Progress counters of an export. They can be read at any time.
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

    /// Files that are completely staged.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Parts in flight to the store.
    pub fn parts_in_flight(&self) -> usize {
        self.parts_in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn part_sets_out(&self) {
        self.parts_in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A part is no longer in flight; the store has confirmed `confirmed` bytes of it.
    pub(crate) fn part_ended(&self, confirmed: u64) {
        self.parts_in_flight.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_add(confirmed, Ordering::Relaxed);
    }
}
