//! Summaries of a finished file's columns, taken from its footer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{SortOptions, sort_to_indices};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;

use super::encode_error;
use crate::error::Result;
use crate::format::ColumnSummary;

/// Returns minimum, maximum and number of NULLs of each column over all row groups. For nested
/// columns only the name is known.
pub(super) fn summarize_columns(
    footer: &ParquetMetaData,
    schema: &Schema,
) -> Result<Vec<ColumnSummary>> {
    let file = footer.file_metadata().schema_descr();
    let row_groups = footer.row_groups();
    let summarize = |field: &Arc<Field>| -> Result<ColumnSummary> {
        let mut summary = ColumnSummary {
            name: field.name().clone(),
            min: None,
            max: None,
            nulls: None,
        };
        let converter =
            StatisticsConverter::try_new(field.name(), schema, file).map_err(encode_error)?;
        if converter.parquet_column_index().is_none() {
            return Ok(summary);
        }
        let nulls = converter
            .row_group_null_counts(row_groups)
            .map_err(encode_error)?;
        summary.nulls = (nulls.null_count() == 0).then(|| nulls.iter().flatten().sum());
        let mins = converter.row_group_mins(row_groups).map_err(encode_error)?;
        let maxes = converter
            .row_group_maxes(row_groups)
            .map_err(encode_error)?;
        summary.min = extreme(&mins, false);
        summary.max = extreme(&maxes, true);
        Ok(summary)
    };
    schema.fields().iter().map(summarize).collect()
}

/// The smallest or largest value as text; `None` if there is no value.
fn extreme(values: &ArrayRef, largest: bool) -> Option<String> {
    let order = SortOptions {
        descending: largest,
        nulls_first: false,
    };
    let first = sort_to_indices(values, Some(order), Some(1)).ok()?;
    let row = first.values().first().map(|row| *row as usize)?;
    if values.is_null(row) {
        return None;
    }
    array_value_to_string(values, row).ok()
}
