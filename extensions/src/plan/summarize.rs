//! `SUMMARIZE`: statistics of each column of a query, as in DuckDB.
//!
//! Invariant: the rows of the query are read once, whatever the number of columns.

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::functions_aggregate::expr_fn::{approx_distinct, avg, count, max, min};
use datafusion::functions_nested::make_array::make_array;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};

use crate::error::Result;

/// The columns of the result, in order.
const COLUMNS: [&str; 8] = [
    "column_name",
    "column_type",
    "min",
    "max",
    "approx_unique",
    "avg",
    "count",
    "null_count",
];

/// One row for each column of `input`.
///
/// # Errors
/// The query can't be aggregated.
pub(super) fn summarize(input: LogicalPlan) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    let schema = input.schema().as_arrow().clone();
    let text = |expr: Expr| cast(expr, DataType::Utf8);
    let none = || Expr::Literal(ScalarValue::Utf8(None), None);
    let mut aggregates = vec![count(lit(1)).alias("rows")];
    let mut rows = Vec::new();
    for (number, (column, field)) in columns.iter().zip(schema.fields()).enumerate() {
        let value = || Expr::Column(column.clone());
        let data_type = field.data_type();
        let mut aggregate = |what: &str, expr: Option<Expr>| match expr {
            Some(expr) => {
                let name = format!("{what}_{number}");
                aggregates.push(expr.alias(&name));
                Expr::Column(Column::new_unqualified(name))
            }
            None => none(),
        };
        let is_ordered = !data_type.is_nested() && *data_type != DataType::Null;
        let is_counted = data_type.is_integer()
            || data_type.is_string()
            || matches!(
                data_type,
                DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
            );
        let is_summed = data_type.is_numeric();
        let min = aggregate("min", is_ordered.then(|| text(min(value()))));
        let max = aggregate("max", is_ordered.then(|| text(max(value()))));
        let unique = is_counted.then(|| text(approx_distinct(value())));
        let unique = aggregate("unique", unique);
        let avg = aggregate("avg", is_summed.then(|| text(avg(value()))));
        let count = aggregate("count", Some(count(value())));
        let all = Expr::Column(Column::new_unqualified("rows"));
        let values = [
            lit(field.name().as_str()),
            lit(data_type.to_string()),
            min,
            max,
            cast(unique, DataType::Int64),
            avg,
            count.clone(),
            all - count,
        ];
        let fields = COLUMNS.into_iter().zip(values);
        rows.push(named_struct(
            fields
                .flat_map(|(name, value)| [lit(name), value])
                .collect(),
        ));
    }
    // Casts can't be nested in an aggregation, so each aggregate is computed by itself first.
    let (aggregates, texts) = split_casts(aggregates);
    let row = || Expr::Column(Column::new_unqualified("row"));
    let plan = LogicalPlanBuilder::from(input)
        .aggregate(Vec::<Expr>::new(), aggregates)?
        .project(texts)?
        .project([make_array(rows).alias("row")])?
        .unnest_column(Column::new_unqualified("row"))?
        .project(COLUMNS.map(|name| get_field(row(), name).alias(name)))?
        .build()?;
    Ok(plan)
}

/// Splits `CAST(aggregate) AS name` into the aggregate and its cast.
fn split_casts(aggregates: Vec<Expr>) -> (Vec<Expr>, Vec<Expr>) {
    let split = aggregates.into_iter().map(|expr| {
        let Expr::Alias(alias) = expr else {
            return (expr.clone(), expr);
        };
        let column = Expr::Column(Column::new_unqualified(&alias.name));
        match *alias.expr {
            Expr::Cast(inner) => {
                let wanted = inner.field.data_type().clone();
                let aggregate = inner.expr.alias(&alias.name);
                (aggregate, cast(column, wanted).alias(&alias.name))
            }
            other => (other.alias(&alias.name), column),
        }
    });
    split.unzip()
}
