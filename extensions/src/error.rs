//! The one error type at Tidegate's boundary.
//!
//! Invariant: an [`Error`] is written for the author of the statement. It names the action, the
//! resource, the reason, and if possible a next step. It never contains the value of a secret.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::TokenizerError;
use tokio::task::JoinError;

/// The result of everything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of failure. Each kind maps to one SQLSTATE.
///
/// The codes are PostgreSQL's: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is not a statement.
    Syntax,
    /// A table that the statement names does not exist.
    UndefinedTable,
    /// A column that the statement names does not exist.
    UndefinedColumn,
    /// A function that the statement names does not exist.
    UndefinedFunction,
    /// A secret, connection or bucket that the statement names does not exist.
    UndefinedObject,
    /// The name is taken.
    DuplicateObject,
    /// Another object still depends on it.
    DependentObjects,
    /// An option is unknown, missing, given twice, or has a value it can't take.
    InvalidParameter,
    /// A value or column has a type that can't be used there.
    DatatypeMismatch,
    /// Valid, but not supported by Tidegate or by the store.
    Unsupported,
    /// The target of an export is not in the state the export needs (not empty, or in use).
    TargetInUse,
    /// The store could not be reached, or stopped answering.
    ConnectionFailure,
    /// The store does not accept the credentials.
    InvalidCredentials,
    /// The credentials are valid, but do not permit this action.
    InsufficientPrivilege,
    /// The query itself failed while it ran.
    Query,
    /// A number was divided by zero.
    DivisionByZero,
    /// A number does not fit into its type.
    NumberOutOfRange,
    /// The memory limit is too low.
    OutOfMemory,
    /// The statement was cancelled.
    Cancelled,
    /// Reading or writing failed.
    Io,
    /// A consistency check failed: rows, uploads or stored data are missing or changed.
    DataCorrupted,
    /// Every object of an export is there, but cleaning up failed.
    CleanupFailed,
    /// The outcome of an export is unknown, because the store did not answer.
    OutcomeUnknown,
    /// A bug in Tidegate.
    Internal,
}

impl ErrorKind {
    /// The five-character SQLSTATE of this kind.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::UndefinedTable => "42P01",
            Self::UndefinedColumn => "42703",
            Self::UndefinedFunction => "42883",
            Self::UndefinedObject => "42704",
            Self::DuplicateObject => "42710",
            Self::DependentObjects => "2BP01",
            Self::InvalidParameter => "22023",
            Self::DatatypeMismatch => "42804",
            Self::Unsupported => "0A000",
            Self::TargetInUse => "55006",
            Self::ConnectionFailure => "08006",
            Self::InvalidCredentials => "28000",
            Self::InsufficientPrivilege => "42501",
            Self::Query => "22000",
            Self::DivisionByZero => "22012",
            Self::NumberOutOfRange => "22003",
            Self::OutOfMemory => "53200",
            Self::Cancelled => "57014",
            Self::Io => "58030",
            Self::DataCorrupted => "XX001",
            Self::CleanupFailed => "58000",
            Self::OutcomeUnknown => "08007",
            Self::Internal => "XX000",
        }
    }
}

/// A position in the executed text. Line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
}

/// An error for the user, with its kind, message, hint and location.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    location: Option<Location>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is a sentence without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            location: None,
            source: None,
        }))
    }

    /// The error of a statement that panicked. Its message is the panic's.
    #[doc(hidden)]
    pub fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = format!("the statement panicked: {}", text.unwrap_or("no message"));
        Self::new(ErrorKind::Internal, message)
            .with_hint("this is a bug, perhaps met by damaged input; other statements go on")
    }

    /// Adds a hint: an action for the user.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the location in the text, unless the error already has a more precise one.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        self.0.location.get_or_insert(location);
        self
    }

    /// Removes the location, for an error whose location refers to a text that the user has not
    /// written.
    #[must_use]
    pub fn without_location(mut self) -> Self {
        self.0.location = None;
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `what` and a colon in front of the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Puts the connection's name in front of the message, unless the message contains it.
    #[must_use]
    pub(crate) fn in_connection(self, name: &str) -> Self {
        let connection = format!("connection \"{name}\"");
        match self.0.message.contains(&connection) {
            true => self,
            false => self.context(connection),
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The SQLSTATE of [`Self::kind`].
    pub fn sqlstate(&self) -> &'static str {
        self.0.kind.sqlstate()
    }

    /// The message, without hint and location.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The hint for the user, if there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The location in the executed text, if known.
    pub fn location(&self) -> Option<Location> {
        self.0.location
    }

    /// Takes Tidegate's own error out of DataFusion's wrappers. If there is none, translates
    /// DataFusion's error.
    pub fn from_datafusion(error: DataFusionError) -> Self {
        match unwrap_own(error) {
            Ok(own) => own,
            Err(foreign) => translate(&foreign),
        }
    }
}

/// Takes our own error out of DataFusion's wrappers. If a plan has several readers, they share the
/// error in an `Arc`, so an inner error may have to be copied.
fn unwrap_own(error: DataFusionError) -> std::result::Result<Error, DataFusionError> {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => Ok(*own),
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(nested) => unwrap_own(*nested),
                Err(inner) => Err(DataFusionError::External(inner)),
            },
        },
        DataFusionError::Context(text, inner) => {
            unwrap_own(*inner).map_err(|e| DataFusionError::Context(text, Box::new(e)))
        }
        DataFusionError::Diagnostic(diagnostic, inner) => {
            unwrap_own(*inner).map_err(|e| DataFusionError::Diagnostic(diagnostic, Box::new(e)))
        }
        DataFusionError::Shared(inner) => match inner.find_root() {
            DataFusionError::External(root) => match root.downcast_ref::<Error>() {
                Some(own) => Ok(own.copy()),
                None => Err(DataFusionError::Shared(inner)),
            },
            _ => Err(DataFusionError::Shared(inner)),
        },
        other => Err(other),
    }
}

/// Whether a task of DataFusion panicked. A repartition shares this error among its readers.
fn is_panic(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::ExecutionJoin(joined) => joined.is_panic(),
        DataFusionError::External(inner) => {
            let shared = inner.downcast_ref::<Arc<JoinError>>();
            let joined = inner.downcast_ref::<JoinError>();
            joined
                .or(shared.map(AsRef::as_ref))
                .is_some_and(JoinError::is_panic)
        }
        _ => false,
    }
}

/// The start of DataFusion's error for a URL without a registered store.
const NO_STORE: &str = "No suitable object store found for ";

fn translate(error: &DataFusionError) -> Error {
    let kind = match error.find_root() {
        DataFusionError::SQL(_, _) => ErrorKind::Syntax,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::OutOfMemory,
        DataFusionError::SchemaError(_, _) => ErrorKind::UndefinedColumn,
        DataFusionError::Plan(text) if text.contains("not found") => ErrorKind::UndefinedTable,
        DataFusionError::Plan(text) if text.starts_with("Invalid function") => {
            ErrorKind::UndefinedFunction
        }
        DataFusionError::Plan(_) | DataFusionError::Configuration(_) => ErrorKind::InvalidParameter,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ErrorKind::Io,
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::DivideByZero => ErrorKind::DivisionByZero,
            ArrowError::ArithmeticOverflow(_) => ErrorKind::NumberOutOfRange,
            _ => ErrorKind::Query,
        },
        DataFusionError::ParquetError(_) | DataFusionError::Execution(_) => ErrorKind::Query,
        DataFusionError::Internal(_) => ErrorKind::Internal,
        root if is_panic(root) => ErrorKind::Internal,
        _ => ErrorKind::Query,
    };
    let (message, location) = match error.find_root() {
        DataFusionError::SQL(parser, _) => split_location(&parser_message(parser)),
        root if is_panic(root) => (format!("the statement panicked: {root}"), None),
        other => (plain_message(other), None),
    };
    let mut translated = match message.strip_prefix(NO_STORE) {
        Some(rest) => {
            let url = rest.split(". See").next().unwrap_or_default();
            let why = format!("no connection to read {url} with");
            Error::new(ErrorKind::InvalidParameter, why).with_hint(
                "name a connection: CREATE EXTERNAL TABLE … OPTIONS ('aws.connection' 'name')",
            )
        }
        None => Error::new(kind, message),
    };
    if let Some(location) = location.or_else(|| diagnostic_location(error)) {
        translated = translated.at(location);
    }
    translated
}

/// DataFusion's sentence without the prefix that names its variant ("Execution error: …").
fn plain_message(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::ArrowError(inner, _) => inner.to_string(),
        DataFusionError::External(inner) => inner.to_string(),
        other => other.message().into_owned(),
    };
    text.trim_end().to_owned()
}

fn diagnostic_location(error: &DataFusionError) -> Option<Location> {
    let start = error.diagnostic()?.span?.start;
    (start.line > 0).then_some(Location {
        line: start.line,
        column: start.column,
    })
}

fn parser_message(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            text.replace("found: EOF", "found: the end of the statement")
        }
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_owned(),
    }
}

/// Splits " at Line: 3, Column: 7" off a parser's message.
fn split_location(text: &str) -> (String, Option<Location>) {
    let Some(start) = text.rfind(" at Line: ") else {
        return (text.to_owned(), None);
    };
    let numbers = &text[start + " at Line: ".len()..];
    let Some((line, column)) = numbers.split_once(", Column: ") else {
        return (text.to_owned(), None);
    };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) if line > 0 => {
            (text[..start].to_owned(), Some(Location { line, column }))
        }
        _ => (text.to_owned(), None),
    }
}

impl Error {
    /// A copy without the source, for an error that goes to several callers.
    pub(crate) fn copy(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            hint: self.0.hint.clone(),
            location: self.0.location,
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(hint) = &self.0.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("location", &self.0.location)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::from_datafusion(error)
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<ParserError> for Error {
    fn from(error: ParserError) -> Self {
        let (message, location) = split_location(&parser_message(&error));
        let error = Error::new(ErrorKind::Syntax, message);
        match location {
            Some(location) => error.at(location),
            None => error,
        }
    }
}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Self {
        Error::new(ErrorKind::Syntax, error.message.clone()).at(Location {
            line: error.location.line,
            column: error.location.column,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_error_survives_datafusion_wrapping() {
        let own = Error::new(ErrorKind::TargetInUse, "not empty").with_hint("empty it");
        let wrapped = DataFusionError::Context(
            "writing".into(),
            Box::new(DataFusionError::Shared(std::sync::Arc::new(own.into()))),
        );
        let found = Error::from_datafusion(wrapped);
        assert_eq!(found.kind(), ErrorKind::TargetInUse);
        assert_eq!(found.hint(), Some("empty it"));
    }

    #[test]
    fn parser_location_becomes_ours() {
        let error: Error =
            ParserError::ParserError("Expected: x, found: y at Line: 3, Column: 7".into()).into();
        assert_eq!(error.message(), "Expected: x, found: y");
        assert_eq!(error.location(), Some(Location { line: 3, column: 7 }));
    }
}
