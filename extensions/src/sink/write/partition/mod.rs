//! `PARTITION BY`: a folder for each value of the partition columns.
//!
//! Invariant: the number of open files exceeds neither `MAX OPEN FILES` nor the number that memory
//! allows, but each writer has at least one. There are at most
//! `values × writers + size / MAX FILE SIZE` objects.
//!
//! | module | writes |
//! |---|---|
//! | `fan_out` | rows in any order: a file for each value, and the rest through `overflow` |
//! | `clustered` | rows in the order of their values: one file at a time |
//! | `overflow` | nothing: it keeps rows, on disk if memory is full, and returns them clustered |
//! | `columns` | nothing: it compares the values of rows and names their folders |

mod clustered;
mod columns;
mod fan_out;
mod overflow;

pub(super) use self::clustered::ClusteredFiles;
pub(crate) use self::columns::NULL_PARTITION;
pub(super) use self::columns::PartitionColumns;
pub use self::columns::can_partition_by;
pub(super) use self::fan_out::FanOutFiles;
