//! `read_parquet`, `read_csv` and `read_json`: files as tables, with a connection and options; and
//! `glob`, which lists files.
//!
//! Invariant: every call is replaced by a table name, which encodes its arguments, before
//! DataFusion plans the statement. DataFusion's table functions can't take named arguments or read
//! files before they return a schema. Tables that are looked up by name have no such limit:
//! [`super::paths`].

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias, TableFactor, UnaryOperator,
    Value, VisitMut, VisitorMut,
};
use url::form_urlencoded;

use crate::error::{Error, ErrorKind, Result};
use crate::sql::nearest;

const FUNCTIONS: [(&str, &str); 4] = [
    ("read_parquet", "parquet"),
    ("read_csv", "csv"),
    ("read_json", "json"),
    (GLOB, "*"),
];

/// Lists files instead of reading them.
pub(super) const GLOB: &str = "glob";

/// The number of records that types are guessed from.
const SAMPLE_RECORDS: &str = "format.schema_infer_max_rec";

const CONNECTION: &str = "aws_connection";
const COLUMNS: &str = "columns";
const FILE_NAME: &str = "filename";
const UNION_BY_NAME: &str = "union_by_name";

/// What an argument of a function sets.
#[derive(Debug, Clone, Copy)]
enum Argument {
    /// An option of the format, by DataFusion's name.
    Format(&'static str),
    /// Every column is text: no record is looked at for its types.
    AllText,
    Columns,
    SampleSize,
    FileName,
    UnionByName,
    Connection,
}

/// DuckDB's name of each argument, and the formats that have the argument.
const ARGUMENTS: [(&str, Argument, &[&str]); 14] = [
    ("header", Argument::Format("format.has_header"), &["csv"]),
    ("delimiter", Argument::Format("format.delimiter"), &["csv"]),
    ("delim", Argument::Format("format.delimiter"), &["csv"]),
    ("sep", Argument::Format("format.delimiter"), &["csv"]),
    ("quote", Argument::Format("format.quote"), &["csv"]),
    ("escape", Argument::Format("format.escape"), &["csv"]),
    ("nullstr", Argument::Format("format.null_value"), &["csv"]),
    (
        "compression",
        Argument::Format("format.compression"),
        &["csv", "json"],
    ),
    ("all_varchar", Argument::AllText, &["csv"]),
    (COLUMNS, Argument::Columns, &["csv", "json"]),
    ("sample_size", Argument::SampleSize, &["csv", "json"]),
    (FILE_NAME, Argument::FileName, &["csv", "json", "parquet"]),
    (
        UNION_BY_NAME,
        Argument::UnionByName,
        &["csv", "json", "parquet"],
    ),
    (
        CONNECTION,
        Argument::Connection,
        &["csv", "json", "parquet", "*"],
    ),
];

/// A parsed call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionCall {
    pub(super) function: &'static str,
    /// The format as DataFusion names it.
    pub(super) format: &'static str,
    /// Paths, globs or URLs.
    pub(super) locations: Vec<String>,
    pub(super) connection: Option<String>,
    /// DataFusion's options of the format.
    pub(super) options: Vec<(String, String)>,
    /// The declared columns: names and SQL types.
    pub(super) columns: Vec<(String, String)>,
    /// The name of the column with the path of each row's file.
    pub(super) file_name: Option<String>,
    pub(super) union_by_name: bool,
}

impl FunctionCall {
    fn new(function: &'static str, format: &'static str) -> Self {
        Self {
            function,
            format,
            locations: Vec::new(),
            connection: None,
            options: Vec::new(),
            columns: Vec::new(),
            file_name: None,
            union_by_name: false,
        }
    }

    /// Encodes the call as a table name that no other table has.
    fn to_table_name(&self) -> String {
        let mut pairs = form_urlencoded::Serializer::new(format!("{}?", self.function));
        for location in &self.locations {
            pairs.append_pair("location", location);
        }
        for (name, data_type) in &self.columns {
            pairs.append_pair(COLUMNS, name);
            pairs.append_pair(COLUMNS, data_type);
        }
        if let Some(name) = &self.file_name {
            pairs.append_pair(FILE_NAME, name);
        }
        if self.union_by_name {
            pairs.append_pair(UNION_BY_NAME, "true");
        }
        if let Some(connection) = &self.connection {
            pairs.append_pair(CONNECTION, connection);
        }
        for (name, value) in &self.options {
            pairs.append_pair(name, value);
        }
        pairs.finish()
    }

    /// Decodes a name from [`Self::to_table_name`]; `None` for any other name.
    pub(super) fn from_table_name(name: &str) -> Option<Self> {
        let (function, pairs) = name.split_once('?')?;
        let (function, format) = FUNCTIONS.iter().find(|(name, _)| *name == function)?;
        let mut pairs = form_urlencoded::parse(pairs.as_bytes());
        let mut call = Self::new(function, format);
        while let Some((name, value)) = pairs.next() {
            match name.as_ref() {
                "location" => call.locations.push(value.into_owned()),
                COLUMNS => {
                    let (_, data_type) = pairs.next()?;
                    call.columns
                        .push((value.into_owned(), data_type.into_owned()));
                }
                FILE_NAME => call.file_name = Some(value.into_owned()),
                UNION_BY_NAME => call.union_by_name = true,
                CONNECTION => call.connection = Some(value.into_owned()),
                _ => call.options.push((name.into_owned(), value.into_owned())),
            }
        }
        Some(call).filter(|call| !call.locations.is_empty())
    }

    fn from_arguments(
        function: &'static str,
        format: &'static str,
        args: &[FunctionArg],
    ) -> Result<Self> {
        let mut call = Self::new(function, format);
        let mut args = args.iter();
        match args.next() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Array(list)))) => {
                for location in &list.elem {
                    let location = constant(function, "a location", location)?;
                    call.locations.push(location);
                }
                if call.locations.is_empty() {
                    return Err(invalid(format!("the list of {function} is empty")));
                }
            }
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(location))) => {
                call.locations = vec![constant(function, "the location", location)?];
            }
            _ => {
                return Err(invalid(format!(
                    "{function} needs a location: {function}('data/*.{format}')"
                )));
            }
        }
        for arg in args {
            let (name, value) = named(function, arg)?;
            call.set(&name, value)?;
        }
        Ok(call)
    }

    fn set(&mut self, name: &str, value: &Expr) -> Result<()> {
        let function = self.function;
        let text = || constant(function, name, value);
        match self.find_argument(name)? {
            Argument::Format(option) => self.options.push((option.to_owned(), text()?)),
            Argument::AllText => {
                if boolean(function, name, &text()?)? {
                    self.sample(0);
                }
            }
            Argument::Columns => self.columns = declared(function, value)?,
            Argument::SampleSize => match text()?.parse::<i64>() {
                Ok(-1) => self.sample(usize::MAX),
                Ok(records) if records > 0 => self.sample(records.unsigned_abs() as usize),
                _ => {
                    let why = format!("{name} of {function} is a number of records");
                    return Err(invalid(why).with_hint("-1 looks at all records"));
                }
            },
            Argument::FileName => {
                let text = text()?;
                self.file_name = match text.to_ascii_lowercase().as_str() {
                    "true" => Some(FILE_NAME.to_owned()),
                    "false" => None,
                    _ => Some(text),
                };
            }
            Argument::UnionByName => self.union_by_name = boolean(function, name, &text()?)?,
            Argument::Connection => self.connection = Some(text()?),
        }
        Ok(())
    }

    /// The function's argument with this name.
    fn find_argument(&self, name: &str) -> Result<Argument> {
        let known = ARGUMENTS.iter();
        let known = known.filter(|(_, _, formats)| formats.contains(&self.format));
        if let Some((_, argument, _)) = known.clone().find(|(known, ..)| *known == name) {
            return Ok(*argument);
        }
        let names: Vec<&str> = known.map(|(name, ..)| *name).collect();
        let error = invalid(format!("unknown argument {name} of {}", self.function));
        Err(match nearest(name, &names) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error.with_hint(format!("the arguments are {}", names.join(", "))),
        })
    }

    /// Guesses the types from the first `records` records.
    fn sample(&mut self, records: usize) {
        let records = records.to_string();
        self.options.push((SAMPLE_RECORDS.to_owned(), records));
    }
}

fn boolean(function: &str, name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(format!("{name} of {function} is true or false"))),
    }
}

/// The names and types in `{'name': 'type', …}`.
fn declared(function: &str, value: &Expr) -> Result<Vec<(String, String)>> {
    let Expr::Dictionary(columns) = value else {
        let why = format!("{COLUMNS} of {function} is {{'name': 'type', …}}");
        return Err(invalid(why));
    };
    let declared = columns.iter().map(|column| {
        let data_type = constant(function, "a column's type", &column.value)?;
        Ok((column.key.value.clone(), data_type))
    });
    declared.collect()
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

fn named<'a>(function: &str, arg: &'a FunctionArg) -> Result<(String, &'a Expr)> {
    match arg {
        FunctionArg::Named {
            name,
            arg: FunctionArgExpr::Expr(value),
            ..
        } => Ok((name.value.to_ascii_lowercase(), value)),
        FunctionArg::ExprNamed {
            name: Expr::Identifier(name),
            arg: FunctionArgExpr::Expr(value),
            ..
        } => Ok((name.value.to_ascii_lowercase(), value)),
        other => Err(invalid(format!(
            "{function} takes one location, and then named arguments: name => value, not {other}"
        ))),
    }
}

/// A literal as text.
fn constant(function: &str, what: &str, value: &Expr) -> Result<String> {
    if let Expr::Value(value) = value {
        match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                return Ok(text.clone());
            }
            Value::Boolean(value) => return Ok(value.to_string()),
            Value::Number(digits, _) => return Ok(digits.clone()),
            _ => {}
        }
    }
    if let Expr::UnaryOp {
        op: UnaryOperator::Minus,
        expr,
    } = value
        && let Expr::Value(number) = expr.as_ref()
        && let Value::Number(digits, _) = &number.value
    {
        return Ok(format!("-{digits}"));
    }
    Err(invalid(format!(
        "{what} of {function} must be a literal, not {value}"
    )))
}

/// Replaces calls of the functions, anywhere in a statement, by tables.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for arguments that a function does not take.
pub(crate) fn rewrite_functions(statement: &mut DataFusionStatement) -> Result<()> {
    let broken = match statement {
        DataFusionStatement::Statement(statement) => statement.visit(&mut Rewrite),
        DataFusionStatement::Explain(explain) => {
            return rewrite_functions(&mut explain.statement);
        }
        _ => return Ok(()),
    };
    match broken {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match rewrite(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite(factor: &mut TableFactor) -> Result<()> {
    let TableFactor::Table {
        name, alias, args, ..
    } = factor
    else {
        return Ok(());
    };
    let [part] = name.0.as_slice() else {
        return Ok(());
    };
    let (Some(ident), Some(arguments)) = (part.as_ident(), args.as_ref()) else {
        return Ok(());
    };
    let called = FUNCTIONS
        .iter()
        .find(|(function, _)| ident.value.eq_ignore_ascii_case(function));
    let Some((function, format)) = called else {
        return Ok(());
    };
    let call = FunctionCall::from_arguments(function, format, &arguments.args)?;
    *name = ObjectName::from(vec![Ident::with_quote('"', call.to_table_name())]);
    *args = None;
    // A call without an alias gets the function's name as its alias, to qualify columns.
    alias.get_or_insert_with(|| TableAlias {
        explicit: false,
        name: Ident::new(*function),
        columns: Vec::new(),
        at: None,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_read_back_from_their_names() {
        let call = FunctionCall {
            locations: vec!["s3://b/a b&c?=é/*.csv".to_owned(), "x".to_owned()],
            connection: Some("a\"b".to_owned()),
            options: vec![("format.delimiter".to_owned(), ";".to_owned())],
            columns: vec![("a=b".to_owned(), "DECIMAL(10, 2)".to_owned())],
            file_name: Some("f".to_owned()),
            union_by_name: true,
            ..FunctionCall::new("read_csv", "csv")
        };
        let name = call.to_table_name();
        assert_eq!(FunctionCall::from_table_name(&name), Some(call));
        assert_eq!(FunctionCall::from_table_name("data/x?.parquet"), None);
    }
}
