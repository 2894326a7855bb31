//! Tidegate's statements as data.
//!
//! Invariant: `Display` prints a statement back as SQL that parses to the same statement, except
//! that literals which may be secret print as `'…'`.

use std::fmt;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::{Expr, Ident, ObjectName, Query, Value, VisitMut, visit_expressions_mut};

pub use super::catalog::{
    ConnectionStatement, DropObject, OptionChange, Rename, SecretExpr, SecretSource,
    SecretStatement,
};
use crate::error::Location;
use crate::secret::SecretValue;

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// About secrets.
    Secret(Box<SecretStatement>),
    /// About connections.
    Connection(Box<ConnectionStatement>),
    /// `COPY … TO` with Tidegate's options.
    CopyTo(Box<CopyTo>),
    /// `COPY … TO STDOUT`.
    CopyOut(Box<CopyOut>),
    /// `COPY … FROM`.
    CopyFrom(Box<CopyFrom>),
    /// `SUMMARIZE { name | query }`
    Summarize(Box<CopySource>),
    /// `SHOW FILES`
    ShowFiles(Box<ShowFiles>),
    /// `RECOVER EXPORT`.
    RecoverExport(Box<RecoverExport>),
    /// `EXPLAIN` of one of the above.
    Explain(Explain),
    /// Everything else: parsed by DataFusion.
    DataFusion(Box<DataFusionStatement>),
}

/// `COPY { name [(column, …)] | (query) } TO target [WITH] (option [=] value, …)`
#[derive(Debug, Clone, PartialEq)]
pub struct CopyTo {
    /// The source of the exported rows.
    pub source: CopySource,
    /// The target: a constant text expression.
    pub target: Expr,
    /// Where the target stands in the text.
    pub target_location: Location,
    /// The options in the order given; their names are checked, their values are not.
    pub options: Vec<SqlOption>,
}

/// `COPY { name [(column, …)] | (query) } TO STDOUT [[WITH] (option [=] value, …)]`
#[derive(Debug, Clone, PartialEq)]
pub struct CopyOut {
    /// The source of the written rows.
    pub source: CopySource,
    /// The options in the order given; their names are checked, their values are not.
    pub options: Vec<SqlOption>,
}

/// `COPY name [(column, …)] FROM path [[WITH] (option [=] value, …)]`
#[derive(Debug, Clone, PartialEq)]
pub struct CopyFrom {
    /// The table that gets the rows.
    pub table: ObjectName,
    /// The columns that get values. An empty list means all columns.
    pub columns: Vec<Ident>,
    /// The path, glob or URL of the files: a constant text expression.
    pub path: Expr,
    /// Where the path stands in the text.
    pub path_location: Location,
    /// The options in the order given; their names are checked, their values are not.
    pub options: Vec<SqlOption>,
}

/// `SHOW FILES { FROM | IN } path [[WITH] (option [=] value, …)]`
#[derive(Debug, Clone, PartialEq)]
pub struct ShowFiles {
    /// The path, glob or URL of the files: a constant text expression.
    pub path: Expr,
    /// Where the path stands in the text.
    pub path_location: Location,
    /// The options in the order given; their names are checked, their values are not.
    pub options: Vec<SqlOption>,
}

/// `RECOVER EXPORT target [WITH] (option [=] value, …)`
#[derive(Debug, Clone, PartialEq)]
pub struct RecoverExport {
    /// The target of the export that died: a constant text expression.
    pub target: Expr,
    /// Where the target stands in the text.
    pub target_location: Location,
    /// The options in the order given; their names are checked, their values are not.
    pub options: Vec<SqlOption>,
}

/// The source of a `COPY`.
#[derive(Debug, Clone, PartialEq)]
pub enum CopySource {
    /// A table or view, and its columns to export. An empty list means all columns.
    Relation(ObjectName, Vec<Ident>),
    /// A query.
    Query(Box<Query>),
}

/// `EXPLAIN [ANALYZE] [VERBOSE] [FORMAT format] statement`
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    /// Run the statement and show its metrics.
    pub analyze: bool,
    /// Show every step of planning.
    pub verbose: bool,
    /// The output format, as written.
    pub format: Option<String>,
    /// The statement to explain.
    pub statement: Box<Statement>,
}

/// One `NAME = value` of an option list.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlOption {
    /// The name in its canonical form: upper case, one space between words.
    pub name: &'static str,
    /// The value as written.
    pub value: OptionValue,
    /// Where the name stands in the text.
    pub location: Location,
}

impl SqlOption {
    /// An option that was not parsed from a text. Its location is line 1, column 1.
    pub fn new(name: &'static str, value: OptionValue) -> Self {
        let location = Location { line: 1, column: 1 };
        Self {
            name,
            value,
            location,
        }
    }
}

/// The value of an option as it was written.
#[derive(Clone, PartialEq)]
pub enum OptionValue {
    /// No value: `HEADER`.
    None,
    /// `'text'` of an option that takes no secrets: `Debug` and `Display` print it.
    Text(String),
    /// `'text'` that may be a secret: `Debug` and `Display` print `'…'`.
    Sensitive(SecretValue),
    /// `parquet`, `bucket_connection`, `true`.
    Word(Ident),
    /// `256`
    Number(String),
    /// `SECRET name`
    Secret(Ident),
    /// `(a, b)`
    Names(Vec<Ident>),
    /// `*`
    All,
}

impl OptionValue {
    /// A list of quoted names, which are not folded: `("a", "b")`.
    pub fn names<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let quoted = names.into_iter().map(|name| Ident::with_quote('"', name));
        Self::Names(quoted.collect())
    }
}

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Sensitive(_) => f.write_str("'…'"),
            Self::Word(word) => write!(f, "{}", Name(word)),
            Self::Number(number) => f.write_str(number),
            Self::Secret(name) => write!(f, "SECRET {}", Name(name)),
            Self::Names(names) => write!(f, "({})", name_list(names)),
            Self::All => f.write_str("*"),
        }
    }
}

/// Prints a name as SQL. sqlparser's own `Display` does not escape two adjacent quotes inside a
/// name, so its output parses to a different name.
pub(crate) struct Name<'a>(pub(crate) &'a Ident);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.quote_style {
            Some(quote) if quote != '[' => {
                let doubled = format!("{quote}{quote}");
                write!(f, "{quote}{}{quote}", self.0.value.replace(quote, &doubled))
            }
            _ => self.0.fmt(f),
        }
    }
}

/// Returns a folded name as SQL, quoted if it needs quotes.
pub fn quote_name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain {
        return name.to_owned();
    }
    Name(&Ident::with_quote('"', name)).to_string()
}

/// The names of a list, as SQL.
pub(crate) fn name_list(names: &[Ident]) -> String {
    let names: Vec<String> = names.iter().map(|name| Name(name).to_string()).collect();
    names.join(", ")
}

/// Prints the name of a relation as SQL.
pub(super) struct Relation<'a>(pub(super) &'a ObjectName);

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            match part.as_ident() {
                Some(ident) => write!(f, "{}", Name(ident))?,
                None => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

/// Returns a copy of the node with every quote in its texts doubled, for printing. sqlparser does
/// not escape two adjacent quotes, because it assumes that they may already be an escaped quote.
pub(super) fn escaped<T: VisitMut + Clone>(node: &T) -> T {
    let mut node = node.clone();
    let _ = visit_expressions_mut(&mut node, |expr| {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text)
            | Value::HexStringLiteral(text)
            | Value::NationalStringLiteral(text) = &mut value.value
        {
            *text = text.replace('\'', "''");
        }
        ControlFlow::<()>::Continue(())
    });
    node
}

/// Describes an export that was started without an SQL statement.
pub(crate) fn describe_export(url: &str, options: &[SqlOption]) -> String {
    struct Options<'a>(&'a [SqlOption]);
    impl fmt::Display for Options<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_options(f, self.0)
        }
    }
    let url = url.replace('\'', "''");
    format!("COPY (DataFrame) TO '{url}' WITH {}", Options(options))
}

pub(super) fn write_options(f: &mut fmt::Formatter<'_>, options: &[SqlOption]) -> fmt::Result {
    f.write_str("(")?;
    for (i, option) in options.iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        write!(f, "{separator}{}", option.name)?;
        if option.value != OptionValue::None {
            write!(f, " = {}", option.value)?;
        }
    }
    f.write_str(")")
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(statement) => statement.fmt(f),
            Self::Connection(statement) => statement.fmt(f),
            Self::CopyTo(copy) => copy.fmt(f),
            Self::CopyOut(copy) => {
                write!(f, "COPY {} TO STDOUT", copy.source)?;
                if copy.options.is_empty() {
                    return Ok(());
                }
                f.write_str(" WITH ")?;
                write_options(f, &copy.options)
            }
            Self::CopyFrom(copy) => {
                write!(f, "COPY {}", Relation(&copy.table))?;
                if !copy.columns.is_empty() {
                    write!(f, " ({})", name_list(&copy.columns))?;
                }
                write!(f, " FROM {}", escaped(&copy.path))?;
                if copy.options.is_empty() {
                    return Ok(());
                }
                f.write_str(" WITH ")?;
                write_options(f, &copy.options)
            }
            Self::Summarize(source) => match source.as_ref() {
                CopySource::Query(query) => write!(f, "SUMMARIZE {}", escaped(query)),
                relation => write!(f, "SUMMARIZE {relation}"),
            },
            Self::ShowFiles(show) => {
                write!(f, "SHOW FILES FROM {}", escaped(&show.path))?;
                if show.options.is_empty() {
                    return Ok(());
                }
                f.write_str(" WITH ")?;
                write_options(f, &show.options)
            }
            Self::RecoverExport(recover) => {
                write!(f, "RECOVER EXPORT {} WITH ", escaped(&recover.target))?;
                write_options(f, &recover.options)
            }
            Self::Explain(explain) => {
                f.write_str("EXPLAIN ")?;
                if explain.analyze {
                    f.write_str("ANALYZE ")?;
                }
                if explain.verbose {
                    f.write_str("VERBOSE ")?;
                }
                if let Some(format) = &explain.format {
                    write!(f, "FORMAT {format} ")?;
                }
                explain.statement.fmt(f)
            }
            Self::DataFusion(statement) => statement.fmt(f),
        }
    }
}

impl fmt::Display for CopyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "COPY {} TO {} WITH ", self.source, escaped(&self.target))?;
        write_options(f, &self.options)
    }
}

impl fmt::Display for CopySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relation(name, columns) => {
                write!(f, "{}", Relation(name))?;
                if columns.is_empty() {
                    return Ok(());
                }
                write!(f, " ({})", name_list(columns))
            }
            Self::Query(query) => write!(f, "({})", escaped(query)),
        }
    }
}
