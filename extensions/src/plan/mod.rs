//! Turns statements into operators.
//!
//! Invariant: planning sends no request to a statement's target, and changes nothing there or in
//! the catalog. Tidegate's statements take effect only when their operators are executed. Planning
//! a query may list and read its source files.
//!
//! [`bind`](bind_statement) checks a statement without a request to its target and makes a logical
//! plan. [`StatementPlanner`] turns Tidegate's logical nodes into operators.

mod batches;
mod bind;
mod bind_catalog;
mod catalog_command;
mod change;
mod command;
mod constant;
mod copy_from;
mod copy_out;
mod insert;
mod layout;
mod logical;
mod move_exec;
mod nullable;
mod options;
mod parquet_types;
mod passthrough;
mod planner;
mod properties;
mod returned_files;
mod rows;
mod show_files;
mod summarize;
mod validate;
mod write;

#[doc(hidden)]
pub use batches::{bound_batches, runs_merged};
pub use bind::{bind_statement, plan_export};
pub use change::{Change, ChangeNode};
pub use copy_out::CopyOutNode;
pub(crate) use insert::plan_insert;
pub use logical::{Command, CommandNode, CopyToNode};
pub use options::{
    CopyOptions, FormatOptions, PartitionOptions, Passthrough, RecoverOptions, StreamOptions,
    parse_bytes,
};
pub use planner::{StatementPlanner, TidegateQueryPlanner};
pub use write::{FileWriteExec, Writers, find_export};
