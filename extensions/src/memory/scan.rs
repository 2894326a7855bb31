//! The memory of scans of Parquet files, whose row groups are read as a whole.
//!
//! Invariant: the row groups that a scan reads side by side take no more than its share of the pool,
//! or there is one at a time. A row group that the limit of the process has no room for is refused.

use super::process::PROGRAM_BYTES;

/// The share of a scan in the pool. The operators above it need the rest.
const SCAN_SHARE: usize = 2;

/// What the program takes of its own memory while it reads: code and stacks. The pool does not count
/// row groups, so one at a time may take the rest.
const CODE_BYTES: usize = 64 << 20;

/// Upper bound for the memory of one row group, in bytes, with a pool of `pool` bytes.
pub(crate) fn largest_row_group(pool: usize) -> usize {
    pool + PROGRAM_BYTES - CODE_BYTES
}

/// How many row groups of `each` bytes are read side by side, with a pool of `pool` bytes.
pub(crate) fn row_groups_at_once(pool: usize, each: usize) -> usize {
    (pool / SCAN_SHARE / each.max(1)).max(1)
}
