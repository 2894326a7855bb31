//! Splits a text into statements and parses them.
//!
//! Invariant: the value of a secret is cut out of the token stream before any parser or planner
//! sees the statement. Statements that are not Tidegate's go to DataFusion's parser unchanged; what it
//! reads otherwise than PostgreSQL is [rewritten](rewrite_statement) after that.

pub mod ast;
mod catalog;
mod commands;
mod complete;
mod cursor;
mod dialect;
pub(crate) mod functions;
mod names;
mod options;
mod parameters;
mod parser;
mod postgres;
mod script;
mod secrecy;

pub use commands::{DeclareCursor, SessionCommand};
pub(crate) use complete::statement_words;
#[doc(hidden)]
pub use complete::{Expected, expected_at};
pub use dialect::SqlDialect;
pub(crate) use options::choices;
#[doc(hidden)]
pub use options::nearest;
pub use parameters::{Parameter, ParameterUse, ParameterValue};
pub use parser::parse_statement;
pub(crate) use parser::{copy_to_insert, parse_own, source_to_query};
pub(crate) use postgres::{rewrite_expr, rewrite_statement};
pub use script::{Script, ScriptStatement, split_script};
#[doc(hidden)]
pub use secrecy::may_hold_secret;
