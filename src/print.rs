//! Results as text.
//!
//! Invariant: NULL is visible, and every result ends with a line end.

use std::io::Write;

use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use tidegate::{Error, ErrorKind, Outcome, Result, Unfinished};

/// The rows of a result as a table, then its command tag; with `quiet` the rows alone.
pub(crate) fn outcome(outcome: &Outcome, quiet: bool) -> Result<String> {
    let mut text = String::new();
    if outcome.has_rows() {
        text.push_str(&table(outcome)?);
        text.push('\n');
    }
    if !quiet {
        text.push_str(outcome.tag());
        text.push('\n');
    }
    Ok(text)
}

/// Writes a line to standard error; if nobody listens there, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn table(outcome: &Outcome) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let empty;
    let batches = if outcome.batches().is_empty() {
        empty = [arrow::array::RecordBatch::new_empty(
            outcome.schema().clone(),
        )];
        &empty[..]
    } else {
        outcome.batches()
    };
    pretty_format_batches_with_options(batches, &options)
        .map(|table| table.to_string())
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "the result can't be printed").with_source(error)
        })
}

/// How many leftovers are named one by one.
const NAMED: usize = 10;

/// Prints what a cancelled export left on a store that did not answer in time.
pub(crate) fn unfinished(export: &Unfinished) {
    complain(&format!(
        "the store did not confirm that everything of the export to {} was removed",
        export.target
    ));
    for leftover in export.leftovers.iter().take(NAMED) {
        complain(&format!("left: {leftover}"));
    }
    if export.leftovers.len() > NAMED {
        complain(&format!("and {} more", export.leftovers.len() - NAMED));
    }
    complain(&format!("hint: {}", export.recover));
}
