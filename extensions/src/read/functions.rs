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

use super::reading::{Argument, COLUMNS, CONNECTION, Reading, find_argument};
use crate::error::{Error, ErrorKind, Result};

const FUNCTIONS: [(&str, &str); 4] = [
    ("read_parquet", "parquet"),
    ("read_csv", "csv"),
    ("read_json", "json"),
    (GLOB, "*"),
];

/// Lists files instead of reading them.
pub(super) const GLOB: &str = "glob";

/// A parsed call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionCall {
    pub(super) function: &'static str,
    /// The format as DataFusion names it.
    pub(super) format: &'static str,
    /// Paths, globs or URLs.
    pub(super) locations: Vec<String>,
    pub(super) connection: Option<String>,
    /// The declared columns: names and SQL types.
    pub(super) columns: Vec<(String, String)>,
    /// The other arguments: names and values.
    pub(super) arguments: Vec<(String, String)>,
}

impl FunctionCall {
    fn new(function: &'static str, format: &'static str) -> Self {
        Self {
            function,
            format,
            locations: Vec::new(),
            connection: None,
            columns: Vec::new(),
            arguments: Vec::new(),
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
        if let Some(connection) = &self.connection {
            pairs.append_pair(CONNECTION, connection);
        }
        for (name, value) in &self.arguments {
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
                CONNECTION => call.connection = Some(value.into_owned()),
                _ => call.arguments.push((name.into_owned(), value.into_owned())),
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
            call.set(name, value)?;
        }
        call.reading()?;
        Ok(call)
    }

    fn set(&mut self, name: String, value: &Expr) -> Result<()> {
        let function = self.function;
        match find_argument(function, self.format, &name)? {
            Argument::Columns => self.columns = declared(function, value)?,
            Argument::Connection => self.connection = Some(constant(function, &name, value)?),
            _ => {
                let value = constant(function, &name, value)?;
                self.arguments.push((name, value));
            }
        }
        Ok(())
    }

    /// How the files are read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for values that an argument does not have.
    pub(super) fn reading(&self) -> Result<Reading> {
        let mut reading = Reading::default();
        for (name, value) in &self.arguments {
            let argument = find_argument(self.function, self.format, name)?;
            let set = reading.set(argument, name, value);
            set.map_err(|error| error.context(format!("in {}", self.function)))?;
        }
        Ok(reading)
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
            columns: vec![("a=b".to_owned(), "DECIMAL(10, 2)".to_owned())],
            arguments: vec![("delim".to_owned(), ";".to_owned())],
            ..FunctionCall::new("read_csv", "csv")
        };
        let name = call.to_table_name();
        assert_eq!(FunctionCall::from_table_name(&name), Some(call));
        assert_eq!(FunctionCall::from_table_name("data/x?.parquet"), None);
    }
}
