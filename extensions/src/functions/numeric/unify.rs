//! Columns that get one common type: those of set operations, and those that joins compare.
//!
//! Invariant: if one side is a decimal and the other a double, both are compared and returned as
//! doubles. DataFusion would make decimals of them, which changes doubles.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, cast};
use datafusion::optimizer::AnalyzerRule;

use super::{is_mixed, plain, to_double};

/// Casts decimals to doubles where a column is both.
#[derive(Debug)]
pub(crate) struct UnifyColumns;

impl AnalyzerRule for UnifyColumns {
    fn name(&self) -> &str {
        "unify_columns"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        let unified = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Union(union) => unify_union(union),
            LogicalPlan::Join(mut join) => {
                let mut is_changed = false;
                for (left, right) in &mut join.on {
                    let types = [
                        plain(left.get_type(join.left.schema())?),
                        plain(right.get_type(join.right.schema())?),
                    ];
                    if is_mixed(&types) {
                        to_double(left, join.left.schema());
                        to_double(right, join.right.schema());
                        is_changed = true;
                    }
                }
                Ok(Transformed::new_transformed(
                    LogicalPlan::Join(join),
                    is_changed,
                ))
            }
            plan => {
                let schemas: Vec<_> = plan
                    .inputs()
                    .iter()
                    .map(|input| Arc::clone(input.schema()))
                    .collect();
                plan.map_expressions(|expr| {
                    expr.transform_up(|expr| match expr {
                        Expr::InSubquery(compared) => unify_subquery(compared, &schemas),
                        expr => Ok(Transformed::no(expr)),
                    })
                })
            }
        })?;
        Ok(unified.data)
    }
}

/// The type of the column with this number.
fn type_of(plan: &LogicalPlan, column: usize) -> DataType {
    plain(plan.schema().field(column).data_type().clone())
}

fn unify_union(union: Union) -> DataFusionResult<Transformed<LogicalPlan>> {
    let columns = union.schema.fields().len();
    let has_all = |input: &Arc<LogicalPlan>| input.schema().fields().len() == columns;
    let is_mixed_column = |column: &usize| {
        let types = union.inputs.iter().map(|input| type_of(input, *column));
        is_mixed(&types.collect::<Vec<_>>())
    };
    let mixed: Vec<usize> = match union.inputs.iter().all(has_all) {
        true => (0..columns).filter(is_mixed_column).collect(),
        false => Vec::new(),
    };
    if mixed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.into_iter().map(|input| {
        let is_cast =
            |column: usize| mixed.contains(&column) && type_of(&input, column).is_decimal();
        cast_columns(&input, is_cast).map(Arc::new)
    });
    let inputs: DataFusionResult<Vec<_>> = inputs.collect();
    let union = Union::try_new_with_loose_types(inputs?)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

/// Casts columns to doubles. They keep their names.
fn cast_columns(
    input: &LogicalPlan,
    is_cast: impl Fn(usize) -> bool,
) -> DataFusionResult<LogicalPlan> {
    let columns = input.schema().columns().into_iter().enumerate();
    let columns = columns.map(|(number, column)| match is_cast(number) {
        true => {
            let name = column.name.clone();
            let relation = column.relation.clone();
            cast(Expr::Column(column), DataType::Float64).alias_qualified(relation, name)
        }
        false => Expr::Column(column),
    });
    LogicalPlanBuilder::from(input.clone())
        .project(columns.collect::<Vec<_>>())?
        .build()
}

fn unify_subquery(
    mut compared: InSubquery,
    schemas: &[datafusion::common::DFSchemaRef],
) -> DataFusionResult<Transformed<Expr>> {
    let types = schemas
        .iter()
        .find_map(|schema| compared.expr.get_type(schema).ok());
    let query = &compared.subquery.subquery;
    let (Some(found), 1) = (types.map(plain), query.schema().fields().len()) else {
        return Ok(Transformed::no(Expr::InSubquery(compared)));
    };
    if !is_mixed(&[found.clone(), type_of(query, 0)]) {
        return Ok(Transformed::no(Expr::InSubquery(compared)));
    }
    match found.is_decimal() {
        true => *compared.expr = cast(std::mem::take(compared.expr.as_mut()), DataType::Float64),
        false => compared.subquery.subquery = Arc::new(cast_columns(query, |_| true)?),
    }
    Ok(Transformed::yes(Expr::InSubquery(compared)))
}
