//! Memory policy: how the memory of a process is divided.
//!
//! Invariant: the parts add up to no more than the process's limit.
//!
//! ```text
//! limit of the process                       --memory-limit, or 3/4 of the machine
//! ├ the program                              144 MB: code, stacks, buffers that no pool counts
//! │ └ row groups that are read               40 to 68 MB, and what an export leaves (`scan`)
//! └ shared                                   the pool of queries and exports (`sort_pool`)
//!   ├ footers of Parquet sources             at most 1/4, and at most DataFusion's 50 MB
//!   ├ one export                             1/2; at most 256 MB if no limit was given (`export`)
//!   │ ├ parts in flight                      1/3
//!   │ ├ encoders                             the rest
//!   │ └ rows that wait for a file            1/4 of what parts leave, with PARTITION BY
//!   └ sorts, where less than 256 MB is shared
//!     ├ merging                              3/8
//!     └ rows that sorts gather               at most 1/2; 3/8 beside others that spill
//! ```

mod export;
mod process;
mod scan;
mod sort_pool;

pub use export::ExportMemory;
pub use process::{LEAST_PROCESS_BYTES, ProcessMemory};
pub(crate) use scan::ScanLoad;
pub(crate) use sort_pool::merging_bytes;
