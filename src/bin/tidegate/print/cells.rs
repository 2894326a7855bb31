//! Values as cells of tables.
//!
//! Invariant: a cell has no control characters except line feeds.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidegate::Result;
use unicode_width::UnicodeWidthChar;

use super::not_printed;

const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S%.f";
const TIMESTAMP_TZ: &str = "%Y-%m-%d %H:%M:%S%.f%:z";

/// The cells of a batch, row by row.
pub(crate) fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_format(Some(TIMESTAMP))
        .with_timestamp_tz_format(Some(TIMESTAMP_TZ));
    let columns = batch.columns().iter();
    let formatters: Vec<ArrayFormatter<'_>> = columns
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).map_err(not_printed))
        .collect::<Result<_>>()?;
    let cell = |formatter: &ArrayFormatter<'_>, row| {
        let text = formatter.value(row).try_to_string();
        text.map(printable).map_err(not_printed)
    };
    (0..batch.num_rows())
        .map(|row| formatters.iter().map(|column| cell(column, row)).collect())
        .collect()
}

/// The columns' names.
pub(super) fn headers(schema: &SchemaRef) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name().clone());
    names.map(printable).collect()
}

/// Whether values of the type are numbers, which are aligned to the right.
pub(super) fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_number(values),
        other => other.is_numeric(),
    }
}

/// The text with escapes for control characters, except line feeds.
pub(crate) fn printable(text: String) -> String {
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    if text.chars().all(is_harmless) {
        return text;
    }
    let mut printable = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_harmless(c) {
            true => printable.push(c),
            false => printable.extend(c.escape_default()),
        }
    }
    printable
}

/// How many columns of a terminal a text takes.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text cut to at most `columns` columns of a terminal. A text that was cut ends with an
/// ellipsis.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        kept.push(c);
        used += wide;
    }
    kept.push('…');
    kept
}
