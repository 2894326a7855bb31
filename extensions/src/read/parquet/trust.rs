//! Decides which statistics of a Parquet file may exclude row groups and pages from a scan.
//!
//! Invariant: bounds are trusted only if the order of their column is defined, holds for every value
//! of its type, and does not contradict them (a minimum above the maximum). Floating-point columns
//! have no bounds: writers leave NaN out, which DataFusion orders above all numbers, and do not
//! agree on the sign of zero. A file whose bounds are plausible but false gives wrong rows;
//! `SET datafusion.execution.parquet.pruning = false` reads such files.
//!
//! The orders: <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>
//! (`ColumnOrder`, `Statistics`).

use std::cmp::Ordering;

use arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use parquet::basic::{ColumnOrder, ConvertedType, LogicalType, SortOrder, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics as ChunkStatistics;
use parquet::schema::types::ColumnDescriptor;

/// Statistics that say how many rows a file has, and nothing about its columns.
pub(super) fn count_rows(footer: &ParquetMetaData, schema: &Schema) -> Statistics {
    let groups = footer.row_groups().iter();
    let rows: i64 = groups.clone().map(|group| group.num_rows()).sum();
    let bytes: i64 = groups.map(|group| group.total_byte_size()).sum();
    let columns = schema.fields().iter();
    Statistics {
        num_rows: usize::try_from(rows).map_or(Precision::Absent, Precision::Exact),
        total_byte_size: usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact),
        column_statistics: columns.map(|_| ColumnStatistics::new_unknown()).collect(),
    }
}

/// The footer without what is not trusted; `None` if everything is.
pub(super) fn trusted(footer: &ParquetMetaData) -> Option<ParquetMetaData> {
    without(footer, |chunk, order| !is_trusted(chunk, order))
}

/// The footer without what no reader should trust; `None` if there is nothing of that kind. Bounds
/// of floating-point numbers stay: the format tells readers how to treat them.
pub(super) fn publishable(footer: &ParquetMetaData) -> Option<ParquetMetaData> {
    without(footer, |chunk, declared| {
        let order = match is_float(chunk.column_descr()) && declared != ColumnOrder::UNKNOWN {
            true => Some(SortOrder::SIGNED),
            false => order_of(chunk.column_descr(), declared),
        };
        !order.is_some_and(|order| is_plausible(chunk, order))
    })
}

/// The footer without the statistics, indexes and filters of the chunks that are `refused`; `None`
/// if there are none.
fn without(
    footer: &ParquetMetaData,
    refused: impl Fn(&ColumnChunkMetaData, ColumnOrder) -> bool,
) -> Option<ParquetMetaData> {
    let file = footer.file_metadata();
    let groups = footer.row_groups();
    let loaded = |group: usize, column: usize| {
        let index = footer.column_index().and_then(|index| index.get(group));
        let index = index.and_then(|index| index.get(column));
        index.is_some_and(|index| !matches!(index, ColumnIndexMetaData::NONE))
    };
    let mut untrusted = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        for (column, chunk) in group.columns().iter().enumerate() {
            if (is_bare(chunk) && !loaded(number, column))
                || !refused(chunk, file.column_order(column))
            {
                continue;
            }
            untrusted.push((number, column));
        }
    }
    if untrusted.is_empty() {
        return None;
    }
    let mut indexes = footer.column_index().cloned();
    let mut builder = footer.clone().into_builder();
    let groups = builder.take_row_groups().into_iter().enumerate();
    let groups = groups.map(|(number, group)| {
        let columns = group.columns().iter().enumerate();
        let columns = columns.map(|(column, chunk)| {
            match untrusted.binary_search(&(number, column)).is_ok() {
                true => without_statistics(chunk),
                false => chunk.clone(),
            }
        });
        let columns = columns.collect();
        group.into_builder().set_column_metadata(columns).build()
    });
    let groups = groups.collect::<Result<Vec<_>, _>>().ok()?;
    if let Some(indexes) = &mut indexes {
        for (group, column) in untrusted {
            let index = indexes
                .get_mut(group)
                .and_then(|index| index.get_mut(column));
            if let Some(index) = index {
                *index = ColumnIndexMetaData::NONE;
            }
        }
    }
    let builder = builder.set_row_groups(groups).set_column_index(indexes);
    Some(builder.build())
}

/// Whether a column chunk has nothing that could exclude it or its pages.
fn is_bare(chunk: &ColumnChunkMetaData) -> bool {
    chunk.statistics().is_none()
        && chunk.column_index_offset().is_none()
        && chunk.bloom_filter_offset().is_none()
}

fn without_statistics(chunk: &ColumnChunkMetaData) -> ColumnChunkMetaData {
    let bare = chunk
        .clone()
        .into_builder()
        .clear_statistics()
        .set_column_index_offset(None)
        .set_column_index_length(None)
        .set_bloom_filter_offset(None)
        .set_bloom_filter_length(None)
        .build();
    bare.unwrap_or_else(|_| chunk.clone())
}

fn is_trusted(chunk: &ColumnChunkMetaData, declared: ColumnOrder) -> bool {
    order_of(chunk.column_descr(), declared).is_some_and(|order| is_plausible(chunk, order))
}

/// Whether the statistics do not contradict themselves or the order of the column.
fn is_plausible(chunk: &ColumnChunkMetaData, order: SortOrder) -> bool {
    let column = chunk.column_descr();
    let Some(statistics) = chunk.statistics() else {
        return true;
    };
    let values = u64::try_from(chunk.num_values()).unwrap_or_default();
    if statistics
        .null_count_opt()
        .is_some_and(|nulls| nulls > values)
    {
        return false;
    }
    let bounds = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
    match bounds {
        (None, None) => true,
        (Some(min), Some(max)) => {
            is_in_order(statistics, column, order)
                && compare(column.physical_type(), order, min, max) != Some(Ordering::Greater)
        }
        _ => false,
    }
}

/// The order of a column's values; `None` if it has none that holds for all of them.
fn order_of(column: &ColumnDescriptor, declared: ColumnOrder) -> Option<SortOrder> {
    let logical = column.logical_type_ref();
    let (physical, converted) = (column.physical_type(), column.converted_type());
    let has_no_order = matches!(physical, Type::INT96) || converted == ConvertedType::INTERVAL;
    if is_float(column) || has_no_order || declared == ColumnOrder::UNKNOWN {
        return None;
    }
    match ColumnOrder::sort_order_for_type(logical, converted, physical) {
        SortOrder::UNDEFINED => None,
        order => Some(order),
    }
}

fn is_float(column: &ColumnDescriptor) -> bool {
    matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE)
        || matches!(column.logical_type_ref(), Some(LogicalType::Float16))
}

/// Whether the bounds were computed in the column's order. The deprecated fields of the format hold
/// bounds by signed comparison, also of unsigned numbers and texts.
fn is_in_order(statistics: &ChunkStatistics, column: &ColumnDescriptor, order: SortOrder) -> bool {
    let is_number = matches!(
        column.physical_type(),
        Type::BOOLEAN | Type::INT32 | Type::INT64
    );
    !statistics.is_min_max_deprecated() || (is_number && order == SortOrder::SIGNED)
}

/// Compares two values in plain encoding; `None` if they are no values of the type.
fn compare(physical: Type, order: SortOrder, a: &[u8], b: &[u8]) -> Option<Ordering> {
    let is_signed = order == SortOrder::SIGNED;
    Some(match physical {
        Type::INT32 => {
            let (a, b) = (a.try_into().ok()?, b.try_into().ok()?);
            match is_signed {
                true => i32::from_le_bytes(a).cmp(&i32::from_le_bytes(b)),
                false => u32::from_le_bytes(a).cmp(&u32::from_le_bytes(b)),
            }
        }
        Type::INT64 => {
            let (a, b) = (a.try_into().ok()?, b.try_into().ok()?);
            match is_signed {
                true => i64::from_le_bytes(a).cmp(&i64::from_le_bytes(b)),
                false => u64::from_le_bytes(a).cmp(&u64::from_le_bytes(b)),
            }
        }
        Type::FLOAT => {
            let (a, b) = (a.try_into().ok()?, b.try_into().ok()?);
            f32::from_le_bytes(a).total_cmp(&f32::from_le_bytes(b))
        }
        Type::DOUBLE => {
            let (a, b) = (a.try_into().ok()?, b.try_into().ok()?);
            f64::from_le_bytes(a).total_cmp(&f64::from_le_bytes(b))
        }
        Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY if is_signed => compare_decimals(a, b),
        _ => a.cmp(b),
    })
}

/// Compares numbers in two's complement, the highest byte first.
fn compare_decimals(a: &[u8], b: &[u8]) -> Ordering {
    let is_negative = |number: &[u8]| number.first().is_some_and(|byte| byte & 0x80 != 0);
    let (negative_a, negative_b) = (is_negative(a), is_negative(b));
    if negative_a != negative_b {
        return negative_b.cmp(&negative_a);
    }
    let sign = if negative_a { 0xff } else { 0 };
    let length = a.len().max(b.len());
    let widened = |number: &[u8]| {
        let mut wide = vec![sign; length - number.len()];
        wide.extend_from_slice(number);
        wide
    };
    widened(a).cmp(&widened(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_in_the_order_of_their_type() {
        let int = |value: i32| value.to_le_bytes();
        let by = |order, a: i32, b: i32| compare(Type::INT32, order, &int(a), &int(b));
        assert_eq!(by(SortOrder::SIGNED, -1, 1), Some(Ordering::Less));
        assert_eq!(by(SortOrder::UNSIGNED, -1, 1), Some(Ordering::Greater));
        assert_eq!(compare(Type::INT32, SortOrder::SIGNED, &[1], &[2]), None);
        let texts = compare(Type::BYTE_ARRAY, SortOrder::UNSIGNED, b"a", "ä".as_bytes());
        assert_eq!(texts, Some(Ordering::Less));
        for (a, b) in [(-300_i32, -2), (-2, 0), (0, 2), (2, 300), (-70_000, 70_000)] {
            // Without the leading bytes that only repeat the sign.
            let short = |value: i32| {
                let bytes = value.to_be_bytes();
                let sign = if value < 0 { 0xff } else { 0 };
                let skipped = |at: usize| {
                    bytes[..=at].iter().all(|byte| *byte == sign)
                        && (bytes[at + 1] ^ sign) & 0x80 == 0
                };
                let from = (0..3).take_while(|at| skipped(*at)).count();
                bytes[from..].to_vec()
            };
            assert_eq!(
                compare_decimals(&short(a), &short(b)),
                Ordering::Less,
                "{a} {b}"
            );
            assert_eq!(compare_decimals(&short(b), &short(a)), Ordering::Greater);
            assert_eq!(
                compare_decimals(&short(a), &a.to_be_bytes()),
                Ordering::Equal
            );
        }
    }
}
