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
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias, TableFactor, Value,
    VisitMut, VisitorMut,
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

const CONNECTION: &str = "aws_connection";

/// Reads every column of a CSV file as text: no record is looked at for its types.
const ALL_TEXT: &str = "all_varchar";
const SAMPLE_RECORDS: &str = "format.schema_infer_max_rec";

/// DuckDB's name of each option, DataFusion's name, and the formats that have the option.
const OPTIONS: [(&str, &str, &[&str]); 8] = [
    ("header", "format.has_header", &["csv"]),
    ("delimiter", "format.delimiter", &["csv"]),
    ("delim", "format.delimiter", &["csv"]),
    ("sep", "format.delimiter", &["csv"]),
    ("quote", "format.quote", &["csv"]),
    ("escape", "format.escape", &["csv"]),
    ("nullstr", "format.null_value", &["csv"]),
    ("compression", "format.compression", &["csv", "json"]),
];

/// A parsed call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionCall {
    pub(super) function: &'static str,
    /// The format as DataFusion names it.
    pub(super) format: &'static str,
    /// A path, glob or URL.
    pub(super) location: String,
    pub(super) connection: Option<String>,
    /// DataFusion's options of the format.
    pub(super) options: Vec<(String, String)>,
}

impl FunctionCall {
    /// Encodes the call as a table name that no other table has.
    fn to_table_name(&self) -> String {
        let mut pairs = form_urlencoded::Serializer::new(format!("{}?", self.function));
        pairs.append_pair("location", &self.location);
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
        let location = pairs.next().filter(|(name, _)| name == "location")?.1;
        let mut call = Self {
            function,
            format,
            location: location.into_owned(),
            connection: None,
            options: Vec::new(),
        };
        for (name, value) in pairs {
            match name.as_ref() {
                CONNECTION => call.connection = Some(value.into_owned()),
                _ => call.options.push((name.into_owned(), value.into_owned())),
            }
        }
        Some(call)
    }

    fn from_arguments(
        function: &'static str,
        format: &'static str,
        args: &[FunctionArg],
    ) -> Result<Self> {
        let mut call = Self {
            function,
            format,
            location: String::new(),
            connection: None,
            options: Vec::new(),
        };
        let mut args = args.iter();
        match args.next() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(location))) => {
                call.location = constant(function, "the location", location)?;
            }
            _ => {
                return Err(invalid(format!(
                    "{function} needs a location: {function}('data/*.{format}')"
                )));
            }
        }
        for arg in args {
            let (name, value) = named(function, arg)?;
            call.add_option(&name, constant(function, &name, value)?)?;
        }
        Ok(call)
    }

    fn add_option(&mut self, name: &str, value: String) -> Result<()> {
        if name == CONNECTION {
            self.connection = Some(value);
            return Ok(());
        }
        if name == ALL_TEXT && self.format == "csv" {
            match value.to_ascii_lowercase().as_str() {
                "true" => self
                    .options
                    .push((SAMPLE_RECORDS.to_owned(), "0".to_owned())),
                "false" => {}
                _ => {
                    let why = format!("{ALL_TEXT} of {} is true or false", self.function);
                    return Err(invalid(why));
                }
            }
            return Ok(());
        }
        let known = OPTIONS
            .iter()
            .filter(|(_, _, formats)| formats.contains(&self.format));
        if let Some((_, option, _)) = known.clone().find(|(known, _, _)| *known == name) {
            self.options.push(((*option).to_owned(), value));
            return Ok(());
        }
        let names: Vec<&str> = known
            .map(|(name, _, _)| *name)
            .chain((self.format == "csv").then_some(ALL_TEXT))
            .chain([CONNECTION])
            .collect();
        let error = invalid(format!("unknown argument {name} of {}", self.function));
        Err(match nearest(name, &names) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error.with_hint(format!("the arguments are {}", names.join(", "))),
        })
    }
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
            function: "read_csv",
            format: "csv",
            location: "s3://b/a b&c?=é/*.csv".to_owned(),
            connection: Some("a\"b".to_owned()),
            options: vec![("format.delimiter".to_owned(), ";".to_owned())],
        };
        let name = call.to_table_name();
        assert_eq!(FunctionCall::from_table_name(&name), Some(call));
        assert_eq!(FunctionCall::from_table_name("data/x?.parquet"), None);
    }
}
