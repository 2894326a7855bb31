//! `SHOW FILES`: the files of a location.
//!
//! Invariant: it shows the rows of `glob`.

use datafusion::execution::SessionState;

use super::constant::evaluate_target;
use super::options::{find, quoted, text_of};
use crate::error::Result;
use crate::sql::ast::{ShowFiles, Statement};
use crate::sql::{SqlDialect, parse_own};

/// The query that a `SHOW FILES` stands for.
///
/// # Errors
/// The path is no constant text, or the connection is no name.
pub(super) fn to_query(
    state: &SessionState,
    sql: &SqlDialect,
    show: &ShowFiles,
) -> Result<Statement> {
    let path = evaluate_target(state, "SHOW FILES path", &show.path, show.path_location)?;
    let mut arguments = quoted(&path);
    if let Some(option) = find(&show.options, "AWS CONNECTION") {
        let connection = quoted(&text_of(option)?);
        arguments = format!("{arguments}, aws_connection => {connection}");
    }
    let text = format!("SELECT * FROM glob({arguments})");
    parse_own(&text, sql).map_err(|error| error.at(show.path_location))
}
