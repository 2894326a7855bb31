//! From text to statements.
//!
//! Invariant: the value of a secret is cut out of the token stream before any parser or planner
//! sees the statement; everything that is not Tidegate's goes to DataFusion's parser untouched.

pub mod ast;
mod catalog;
mod complete;
mod cursor;
mod options;
mod parser;
mod script;
mod secrecy;

pub(crate) use complete::statement_words;
pub use complete::{Expected, expected_at};
pub use options::nearest;
pub(crate) use parser::source_to_query;
pub use parser::{SqlDialect, parse_statement};
pub use script::{Script, ScriptStatement, split_script};
pub use secrecy::may_hold_secret;
