//! Constant expressions: a `COPY` target, the value of a secret.
//!
//! Invariant: an expression that is evaluated here has no column, subquery, aggregate or window
//! function. The literals of a secret are cut out of its expression and put back only after the
//! expression is planned, so that no log of a plan holds them.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ColumnarValue, Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use sqlparser::ast::{Expr as SqlExpr, ExprWithAlias};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::secret::SecretValue;
use crate::sql::ast::SecretExpr;
use crate::sql::rewrite_expr;

/// Evaluates the target of a statement. `what` names the target in errors.
///
/// # Errors
/// [`ErrorKind::DatatypeMismatch`] for a type other than text, [`ErrorKind::InvalidParameter`] for
/// NULL and for an expression that is not constant.
pub(super) fn evaluate_target(
    state: &SessionState,
    what: &str,
    target: &SqlExpr,
    location: Location,
) -> Result<String> {
    let evaluated = plan(state, target)
        .and_then(|expr| {
            refuse_variable_parts(&expr, what, true)?;
            evaluate(state, expr)
        })
        .map_err(|error| error.at(location))?;
    match evaluated {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Ok(text),
        value if value.is_null() => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("{what} can not be null"),
        )
        .at(location)),
        value => Err(Error::new(
            ErrorKind::DatatypeMismatch,
            format!(
                "{what} must have type text, not type {}",
                sql_type_name(&value.data_type())
            ),
        )
        .at(location)),
    }
}

/// Evaluates the value of a secret. Errors leave out the cause, which could contain parts of the
/// value.
pub(super) fn evaluate_secret(
    state: &SessionState,
    name: &str,
    value: SecretExpr,
) -> Result<SecretValue> {
    if let (SqlExpr::Value(_), [literal]) = (&value.expr, value.literals.as_slice()) {
        return Ok(literal.clone());
    }
    let refused = |why: &str| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("the value of secret \"{name}\" {why}"),
        )
        .with_hint("write the value in single quotes: CREATE SECRET name AS 'value'")
    };
    let evaluated = plan(state, &value.expr)
        .and_then(|expr| {
            refuse_variable_parts(&expr, "the value of a secret", false)?;
            evaluate(state, put_literals_back(expr, &value.literals)?)
        })
        .map_err(|_| refused("must be a constant expression that can be evaluated"))?;
    match evaluated {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Ok(SecretValue::new(text)),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes)) => Ok(SecretValue::new(bytes)),
        value if value.is_null() => Err(refused("can not be null")),
        _ => Err(refused("must have type text or bytea")),
    }
}

fn plan(state: &SessionState, expr: &SqlExpr) -> Result<Expr> {
    let mut expr = expr.clone();
    rewrite_expr(&mut expr)?;
    let expr = ExprWithAlias { expr, alias: None };
    Ok(state.create_logical_expr_from_sql_expr(expr, &DFSchema::empty())?)
}

/// Refuses expressions that are not constant. If `parameters` is set, also refuses placeholders
/// such as `$1`; in the value of a secret they are allowed, because each stands for a cut-out
/// literal.
fn refuse_variable_parts(expr: &Expr, what: &str, parameters: bool) -> Result<()> {
    let mut found = None;
    expr.apply(|part| {
        let name = match part {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => "a subquery",
            Expr::AggregateFunction(_) => "an aggregate function",
            Expr::WindowFunction(_) => "a window function",
            Expr::Column(_) => "a column",
            Expr::Placeholder(_) if parameters => "a parameter",
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        found = Some(name);
        Ok(TreeNodeRecursion::Stop)
    })?;
    match found {
        None => Ok(()),
        Some(part) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("{what} must be constant: it can not contain {part}"),
        )),
    }
}

/// Puts the n-th literal in the place of `$n`.
fn put_literals_back(expr: Expr, literals: &[SecretValue]) -> Result<Expr> {
    let bound = expr.transform(|part| {
        let Expr::Placeholder(placeholder) = &part else {
            return Ok(Transformed::no(part));
        };
        let literal = placeholder
            .id
            .trim_start_matches('$')
            .parse::<usize>()
            .ok()
            .and_then(|number| literals.get(number.checked_sub(1)?))
            .and_then(SecretValue::expose_str)
            .map(str::to_owned);
        Ok(Transformed::yes(Expr::Literal(
            ScalarValue::Utf8(literal),
            None,
        )))
    })?;
    Ok(bound.data)
}

/// Evaluates on one row without columns.
fn evaluate(state: &SessionState, expr: Expr) -> Result<ScalarValue> {
    let schema = DFSchema::empty();
    expr.get_type(&schema)?;
    // Functions such as `now()` get their value only by simplification.
    let started = state.execution_props().query_execution_start_time;
    let context = SimplifyContext::builder()
        .with_schema(std::sync::Arc::new(schema.clone()))
        .with_config_options(std::sync::Arc::clone(state.config_options()))
        .with_query_execution_start_time(Some(started.unwrap_or_else(chrono::Utc::now)))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(expr, &schema)?;
    let expr = simplifier.simplify(coerced)?;
    let physical = state.create_physical_expr(expr, &schema)?;
    let one_row = RecordBatch::try_new_with_options(
        std::sync::Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(match physical.evaluate(&one_row)? {
        ColumnarValue::Scalar(scalar) => scalar,
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
    })
}

/// The SQL name of a type that a constant can have; Arrow's name for other types.
fn sql_type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        other => other.to_string(),
    }
}
