//! From statements to operators.
//!
//! Invariant: planning does no I/O and changes nothing. [`bind`](bind_statement) checks everything
//! that can be checked without asking a store and makes a logical plan; [`StatementPlanner`] turns
//! Tidegate's logical nodes into operators; what happens, happens when they are executed.

mod batches;
mod bind;
mod bind_catalog;
mod catalog_command;
mod command;
mod constant;
mod copy_out;
mod files;
mod layout;
mod logical;
mod parquet_types;
mod planner;
mod rows;
mod validate;
mod write;

pub use batches::{bound_batches, runs_merged};
pub use bind::{bind_statement, plan_export};
pub use copy_out::CopyOutNode;
pub use logical::{Command, CommandNode, CopyToNode};
pub use planner::{StatementPlanner, TidegateQueryPlanner};
pub use write::{FileWriteExec, find_export};
