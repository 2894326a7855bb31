//! "Did you mean …?"
//!
//! Invariant: a suggestion is only added as a hint, and the message stays as it is. Exception: a
//! quoted text is removed from the message, because it may be part of a secret.

use datafusion::execution::SessionState;

use crate::error::{Error, ErrorKind};
use crate::sql::{nearest, statement_words};

/// Adds the nearest known name to an error about an unknown one.
pub(crate) fn with_suggestion(state: &SessionState, error: Error) -> Error {
    if error.hint().is_some() {
        return error;
    }
    match error.kind() {
        ErrorKind::UndefinedTable => suggest_table(state, error),
        ErrorKind::Syntax => suggest_statement(error),
        _ => error,
    }
}

/// DataFusion says: table 'catalog.schema.name' not found.
fn suggest_table(state: &SessionState, error: Error) -> Error {
    let Some(unknown) = between(error.message(), "table '", "' not found") else {
        return error;
    };
    let unknown = unknown.rsplit('.').next().unwrap_or_default().to_owned();
    let defaults = &state.config_options().catalog;
    let catalogs = state.catalog_list();
    let mut known = Vec::new();
    for catalog in catalogs.catalog_names() {
        let Some(provider) = catalogs.catalog(&catalog) else {
            continue;
        };
        for name in provider.schema_names() {
            let Some(schema) = provider.schema(&name) else {
                continue;
            };
            let is_default = catalog == defaults.default_catalog && name == defaults.default_schema;
            let tables = schema
                .table_names()
                .into_iter()
                .map(|table| match is_default {
                    true => (table.clone(), table),
                    false => (table.clone(), format!("{name}.{table}")),
                });
            known.extend(tables);
        }
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let near = nearest(&unknown, &names);
    let near = near.and_then(|near| known.iter().find(|(name, _)| name == near));
    match near {
        Some((_, written)) => error.with_hint(format!("did you mean {written}?")),
        None if unknown.contains(['/', '*']) => {
            error.with_hint("a path can be read as a table only if it matches files")
        }
        None => error,
    }
}

/// sqlparser says: Expected: an SQL statement, found: SELCT.
fn suggest_statement(error: Error) -> Error {
    let Some((_, found)) = error
        .message()
        .split_once("Expected: an SQL statement, found: ")
    else {
        return error;
    };
    if found.starts_with(['\'', '"', '$']) {
        // The text may be part of a secret, so the message must not show it.
        let why = "Expected: an SQL statement, found: a text";
        let place = error.location();
        let error = Error::new(ErrorKind::Syntax, why);
        return place.into_iter().fold(error, Error::at);
    }
    let known = statement_words();
    match nearest(found, &known) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error,
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
