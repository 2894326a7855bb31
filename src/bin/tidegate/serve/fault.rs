//! Errors and notices as clients get them.
//!
//! Invariant: a fault has an SQLSTATE, and a position only in the text that the client sent.
//!
//! The fields: <https://www.postgresql.org/docs/15/protocol-error-fields.html>

use tidegate::{Error, Location};

/// An error that a client is told.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The connection ends.
    pub(super) is_fatal: bool,
    pub(super) sqlstate: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The place in the text that the client sent.
    pub(super) location: Option<Location>,
}

impl Fault {
    pub(super) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_fatal: false,
            sqlstate,
            message: message.into(),
            hint: None,
            location: None,
        }
    }

    pub(super) fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_fatal: true,
            ..Self::new(sqlstate, message)
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The character of `text` that the fault is about, from 1.
    pub(super) fn position(&self, text: &str) -> Option<usize> {
        let Location { line, column } = self.location?;
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        let before = text.split_inclusive('\n').take(line);
        let before: usize = before.map(|line| line.chars().count()).sum();
        Some(before + usize::try_from(column).ok()?)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self {
            hint: error.hint().map(str::to_owned),
            location: error.location(),
            ..Self::new(error.sqlstate(), error.message())
        }
    }
}

/// A client that can't be written to has gone.
#[derive(Debug)]
pub(super) struct Gone;

/// Why work for a client ends.
#[derive(Debug)]
pub(super) enum Stop {
    Fault(Box<Fault>),
    /// The client has gone. It gets no error.
    Gone,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}
