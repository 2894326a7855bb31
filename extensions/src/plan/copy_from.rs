//! `COPY … FROM`: loads files into a table.
//!
//! Invariant: a value reaches the table as it stands in the file, or the statement fails. Values of CSV
//! are read as texts and cast to the types of the table, in the order of its columns, or by name if the
//! file has a header with their names. Columns of Parquet and JSON are found by their names.

use datafusion::execution::SessionState;
use datafusion::sql::planner::object_name_to_table_reference;
use sqlparser::ast::{Ident, ObjectName};

use super::constant::evaluate_target;
use super::options::{choice, find, parse_boolean, quoted, text_of};
use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::ast::{CopyFrom, SqlOption, Statement};
use crate::sql::{SqlDialect, copy_to_insert};

/// The endings of files' names, and their formats.
const ENDINGS: [(&str, &str); 6] = [
    (".parquet", "parquet"),
    (".csv", "csv"),
    (".tsv", "csv"),
    (".ndjson", "json"),
    (".jsonl", "json"),
    (".json", "json"),
];

/// The options with a text, and the arguments of the reading functions.
const ARGUMENTS: [(&str, &str); 6] = [
    ("AWS CONNECTION", "aws_connection"),
    ("DELIMITER", "delimiter"),
    ("QUOTE", "quote"),
    ("ESCAPE", "escape"),
    ("NULL", "nullstr"),
    ("COMPRESSION", "compression"),
];

/// The `INSERT` that a `COPY … FROM` stands for.
///
/// # Errors
/// The path is no constant text, the format is not known, or an option does not belong to it.
pub(super) async fn to_insert(
    state: &SessionState,
    sql: &SqlDialect,
    copy: &CopyFrom,
) -> Result<Statement> {
    let path = evaluate_target(state, "COPY FROM path", &copy.path, copy.path_location)?;
    let format = format_of(&copy.options, &path).map_err(|error| error.at(copy.path_location))?;
    let mut arguments = vec![quoted(&path)];
    for (name, argument) in ARGUMENTS {
        if let Some(option) = find(&copy.options, name) {
            arguments.push(format!("{argument} => {}", quoted(&text_of(option)?)));
        }
    }
    if let Some(option) = find(&copy.options, "HEADER") {
        arguments.push(format!("header => {}", parse_boolean(option)?));
    }
    let function = format!("read_{format}");
    let columns = match copy.columns.as_slice() {
        [] => columns_of(state, &copy.table).await?,
        columns => columns.to_vec(),
    };
    if format == "csv" {
        let texts = columns
            .iter()
            .map(|column| format!("{}: 'VARCHAR'", quoted(&fold(column))));
        let texts: Vec<String> = texts.collect();
        arguments.push(format!("columns => {{{}}}", texts.join(", ")));
        return copy_to_insert(copy, &function, &arguments, None, sql);
    }
    copy_to_insert(copy, &function, &arguments, Some(&columns), sql)
}

fn format_of(options: &[SqlOption], path: &str) -> Result<&'static str> {
    if let Some(format) = choice(find(options, "FORMAT"), "formats", Some)? {
        return Ok(format);
    }
    let lower = path.trim_end_matches('/').to_ascii_lowercase();
    // A compressed file has another ending after that of its format.
    let name = lower.rsplit('/').next().unwrap_or_default();
    let ending = ENDINGS.iter().find(|(ending, _)| name.contains(ending));
    ending.map(|(_, format)| *format).ok_or_else(|| {
        let why = format!("the format of '{path}' is not known by its name");
        Error::new(ErrorKind::InvalidParameter, why).with_hint("add FORMAT = 'csv', for example")
    })
}

/// The columns of a table, in order.
async fn columns_of(state: &SessionState, table: &ObjectName) -> Result<Vec<Ident>> {
    let reference = object_name_to_table_reference(table.clone(), true)?;
    let schema = state.schema_for_ref(reference.clone())?;
    let provider = schema.table(reference.table()).await?;
    let Some(provider) = provider else {
        let why = format!("table '{reference}' not found");
        return Err(Error::new(ErrorKind::UndefinedTable, why));
    };
    let schema = provider.schema();
    let names = schema.fields().iter().map(|field| field.name());
    Ok(names.map(|name| Ident::with_quote('"', name)).collect())
}
