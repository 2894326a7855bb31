//! The SQL dialect of a session.
//!
//! Invariant: a [`SqlDialect`] names a dialect that sqlparser knows.

use sqlparser::dialect::{Dialect, GenericDialect, dialect_from_str};

use crate::error::{Error, ErrorKind, Result};

/// The SQL dialect of a session, and its nesting limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlDialect {
    name: String,
    recursion_limit: usize,
}

impl SqlDialect {
    /// The dialect that DataFusion's `datafusion.sql_parser.dialect` names, with expressions nested
    /// at most `recursion_limit` deep.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if there is no such dialect.
    pub fn new(name: String, recursion_limit: usize) -> Result<Self> {
        if dialect_from_str(&name).is_none() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("unknown SQL dialect '{name}'"),
            ));
        }
        Ok(Self {
            name,
            recursion_limit,
        })
    }

    /// How deep expressions may be nested.
    pub(super) fn recursion_limit(&self) -> usize {
        self.recursion_limit
    }

    /// Creates sqlparser's dialect. It is not stored, because it can't be sent between threads.
    pub fn dialect(&self) -> Box<dyn Dialect> {
        dialect_from_str(&self.name).unwrap_or_else(|| Box::new(GenericDialect {}))
    }
}
