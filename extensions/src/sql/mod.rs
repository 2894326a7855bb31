//! From text to statements.
//!
//! Invariant: the value of a secret is cut out of the token stream before any parser or planner
//! sees the statement; everything that is not Tidegate's goes to DataFusion's parser untouched.

pub mod ast;
mod catalog;
mod cursor;
mod options;
mod parser;
mod script;

pub(crate) use options::nearest;
pub(crate) use parser::source_to_query;
pub use parser::{SqlDialect, parse_statement};
pub use script::{Script, ScriptStatement, split_script};
