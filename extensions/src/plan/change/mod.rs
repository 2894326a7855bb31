//! `DELETE`, `UPDATE` and `TRUNCATE` of tables in memory.
//!
//! Invariant: a statement changes exactly the rows that a `SELECT` with its `WHERE` returns, and it
//! changes them only when its operator is executed. If another statement has changed the table
//! meanwhile, it changes nothing and fails.
//!
//! DataFusion passes only plain filters to the table: it drops subqueries and limits, and it changes
//! the table while it plans. Therefore each statement is planned as a query of a [`NumberedTable`],
//! which numbers the rows. [`ChangeExec`] applies the numbers that the query returns.
//!
//! | module | contents |
//! |---|---|
//! | `node` | the statement in a logical plan |
//! | `numbered` | a table in memory, with a column that numbers its rows |
//! | `exec` | the operator that changes the table |

mod exec;
mod node;
mod numbered;

pub(super) use exec::ChangeExec;
pub(super) use node::plan_changes;
pub use node::{Change, ChangeNode};
