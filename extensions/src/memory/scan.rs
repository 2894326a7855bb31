//! The memory of scans of Parquet files, whose row groups are read as a whole.
//!
//! Invariant: a row group that the limit of the process has no room for is refused.

use super::process::PROGRAM_BYTES;

/// What the program takes of its own memory while it reads: code and stacks. The pool does not count
/// row groups, so a row group may take the rest.
const CODE_BYTES: usize = 64 << 20;

/// Upper bound for the memory of one row group, in bytes, with a pool of `pool` bytes.
pub(crate) fn largest_row_group(pool: usize) -> usize {
    pool + PROGRAM_BYTES - CODE_BYTES
}
