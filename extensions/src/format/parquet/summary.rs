//! Summaries of a finished file's columns, taken from its footer.
//!
//! Invariant: a summary tells nothing that the statistics of another writer leave open.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{SortOptions, sort_to_indices};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::{LogicalType, Type};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::encode_error;
use crate::error::Result;
use crate::format::ColumnSummary;

/// The writer of a file's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This program: every row group has bounds unless all of its values are NULL or NaN.
    Own,
    /// Any program.
    Other,
}

/// Returns minimum, maximum and number of NULLs of each column over all row groups. For nested
/// columns only the name is known.
pub(super) fn summarize_columns(
    footer: &ParquetMetaData,
    schema: &Schema,
    origin: Origin,
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
        let converter = converter.with_missing_null_counts_as_zero(false);
        let Some(leaf) = converter.parquet_column_index() else {
            return Ok(summary);
        };
        let nulls = converter
            .row_group_null_counts(row_groups)
            .map_err(encode_error)?;
        summary.nulls = (nulls.null_count() == 0).then(|| nulls.iter().flatten().sum());
        if origin == Origin::Other && !have_bounds(row_groups, leaf) {
            return Ok(summary);
        }
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

/// Whether all row groups have the exact bounds of a column, or only NULLs in it. Bounds of
/// floating-point numbers leave NaN out.
fn have_bounds(row_groups: &[RowGroupMetaData], leaf: usize) -> bool {
    row_groups.iter().all(|group| {
        let chunk = group.column(leaf);
        let Some(statistics) = chunk.statistics() else {
            return false;
        };
        let nulls = statistics.null_count_opt();
        let is_null = nulls.is_some_and(|nulls| nulls == chunk.num_values().unsigned_abs());
        let has_bounds =
            statistics.min_bytes_opt().is_some() && statistics.max_bytes_opt().is_some();
        let is_exact = match chunk.column_type() {
            Type::FLOAT | Type::DOUBLE => false,
            Type::BYTE_ARRAY => statistics.min_is_exact() && statistics.max_is_exact(),
            _ => !matches!(
                chunk.column_descr().logical_type_ref(),
                Some(LogicalType::Float16)
            ),
        };
        is_null || (has_bounds && is_exact)
    })
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
