//! Casts to the date and time types that Parquet has and that its readers know.
//!
//! Invariant: only the unit changes; names, order, NULLs and time zones stay. A value that is out
//! of range in a finer unit fails the query. A coarser unit truncates timestamps, and is used only
//! if `TIMESTAMP UNIT` asks for it.
//!
//! Parquet has no type for times in seconds or dates in milliseconds. Written unchanged, they would
//! be plain integers to most readers:
//! <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#temporal-types>

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use crate::error::Result;

/// Casts a query's result to types that Parquet has, at any depth: timestamps to `unit` if there is
/// one, seconds to milliseconds, dates to days.
///
/// # Errors
/// DataFusion can't plan the cast.
pub(super) fn cast_for_parquet(input: LogicalPlan, unit: Option<TimeUnit>) -> Result<LogicalPlan> {
    let mut columns = Vec::with_capacity(input.schema().fields().len());
    let mut changed = false;
    for (qualifier, field) in input.schema().iter() {
        let column = Expr::Column(Column::from((qualifier, field)));
        let wanted = stored_type(field.data_type(), unit);
        columns.push(match wanted == *field.data_type() {
            true => column,
            false => {
                changed = true;
                cast(column, wanted).alias_qualified(qualifier.cloned(), field.name())
            }
        });
    }
    if !changed {
        return Ok(input);
    }
    Ok(LogicalPlanBuilder::from(input).project(columns)?.build()?)
}

pub(super) fn stored_type(data_type: &DataType, unit: Option<TimeUnit>) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let wanted = stored_type(field.data_type(), unit);
        FieldRef::new(field.as_ref().clone().with_data_type(wanted))
    };
    match data_type {
        DataType::Timestamp(own, zone) => {
            let stored = match own {
                TimeUnit::Second => TimeUnit::Millisecond,
                other => *other,
            };
            DataType::Timestamp(unit.unwrap_or(stored), zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Date64 => DataType::Date32,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::ListView(item) => DataType::ListView(field(item)),
        DataType::LargeListView(item) => DataType::LargeListView(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        DataType::Dictionary(keys, values) => {
            DataType::Dictionary(keys.clone(), Box::new(stored_type(values, unit)))
        }
        DataType::RunEndEncoded(ends, values) => {
            DataType::RunEndEncoded(FieldRef::clone(ends), field(values))
        }
        other => other.clone(),
    }
}
