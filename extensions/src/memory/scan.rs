//! The memory of scans of Parquet files, whose row groups are read as a whole.
//!
//! Invariant: the row groups that a statement is expected to read at the same time fit into the
//! limit of the process, beside the program and an export. Exception: several scans may exceed it
//! although each has only one partition. A statement that decodes a row group that does not fit is
//! refused.

use std::sync::{Mutex, PoisonError};

use super::export::ExportMemory;
use super::process::PROGRAM_BYTES;
use crate::error::Error;

/// What the program takes of its own memory while it reads, and what each of its threads takes. The
/// pool does not count row groups, so they may take the rest.
const CODE_BYTES: usize = 72 << 20;
const THREAD_BYTES: usize = 4 << 20;

/// More threads than this hardly take more memory.
const MOST_THREADS: usize = 8;

/// Upper bound for the rows of one partition on their way from the scan to a writer: some batches, which
/// are no larger than the row group.
const ROWS_BYTES: usize = 16 << 20;

/// The Parquet scans of one statement, gathered while the statement is planned. An extension of the
/// session's configuration. Scans with a limit, or of tables without statistics, are not in it.
#[derive(Debug)]
pub(crate) struct ScanLoad {
    /// The memory for row groups and exports, in bytes.
    room: usize,
    scans: Mutex<Vec<Scan>>,
    refused: Mutex<Option<Error>>,
}

#[derive(Debug, Clone, Copy)]
struct Scan {
    row_groups: usize,
    /// The memory of the largest row group, in bytes.
    largest: usize,
}

impl ScanLoad {
    /// No scans yet, with a pool of `pool` bytes and `threads` threads.
    pub(crate) fn new(pool: usize, threads: usize) -> Self {
        let program = CODE_BYTES + THREAD_BYTES * threads.min(MOST_THREADS);
        Self {
            room: (pool + PROGRAM_BYTES).saturating_sub(program),
            scans: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Refuses the statement if it decodes Parquet files.
    pub(crate) fn refuse(&self, why: Error) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get_or_insert(why);
    }

    /// Why the statement must not decode Parquet files, if it must not.
    pub(crate) fn take_refusal(&self) -> Option<Error> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.take()
    }

    /// The memory that a single row group may take, in bytes: an export needs the rest.
    pub(crate) fn largest_row_group(&self) -> usize {
        self.room.saturating_sub(ExportMemory::new(0).bytes())
    }

    /// The memory that scans with up to `partitions` partitions each leave for an export, in bytes.
    pub(crate) fn left_for_export(&self, partitions: usize) -> usize {
        self.room.saturating_sub(self.bytes(partitions))
    }

    /// Adds a scan of `row_groups` row groups, each of at most `largest` bytes.
    pub(crate) fn add(&self, row_groups: usize, largest: usize) {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.push(Scan {
            row_groups,
            largest,
        });
    }

    /// The memory in bytes if each scan has up to `partitions` partitions.
    fn bytes(&self, partitions: usize) -> usize {
        let scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = scans.iter().map(
            |Scan {
                 row_groups,
                 largest,
             }| {
                let each = largest.saturating_add(*largest.min(&ROWS_BYTES));
                each.saturating_mul(*row_groups.min(&partitions))
            },
        );
        bytes.fold(0, usize::saturating_add)
    }

    /// The largest number of partitions, up to `most`, with which all scans leave `bytes` bytes; at
    /// least 1.
    pub(crate) fn partitions_beside(&self, bytes: usize, most: usize) -> usize {
        let fits = |partitions: &usize| self.bytes(*partitions).saturating_add(bytes) <= self.room;
        (1..=most).rev().find(fits).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_have_as_many_partitions_as_fit() {
        const MB: usize = 1 << 20;
        let load = ScanLoad::new(256 * MB, 8);
        let room = load.room;
        assert_eq!(load.partitions_beside(room, 8), 8);
        load.add(100, 40 * MB - ROWS_BYTES);
        load.add(2, 5 * MB);
        assert_eq!(load.left_for_export(2), room - 100 * MB);
        assert_eq!(load.partitions_beside(room - 100 * MB, 8), 2);
        assert_eq!(load.partitions_beside(room - 140 * MB, 8), 3);
        assert_eq!(load.partitions_beside(room - 140 * MB, 2), 2);
        assert_eq!(load.partitions_beside(room, 8), 1);
    }
}
