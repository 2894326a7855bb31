//! Operators that mean something else in PostgreSQL.

use datafusion::common::DFSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use sqlparser::ast::BinaryOperator;

use crate::error::{Error, ErrorKind};

/// Refuses operators that DataFusion takes for others than PostgreSQL does.
#[derive(Debug)]
pub(super) struct RefuseOperators;

impl ExprPlanner for RefuseOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        match expr.op {
            // In PostgreSQL a power, with a higher precedence than `*`; here "exclusive or", with a
            // lower one than `+`.
            BinaryOperator::BitwiseXor => {
                let why = "the operator ^ is not supported";
                let error = Error::new(ErrorKind::Unsupported, why);
                Err(error.with_hint("write power(a, b)").into())
            }
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}
