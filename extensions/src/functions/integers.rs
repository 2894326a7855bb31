//! Arithmetic of integers that fails on overflow.
//!
//! Invariant: `+`, `-` and `*` of integers give the exact result, or an error.

use std::sync::Arc;

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use crate::error::{Error, ErrorKind};

/// Replaces the operators by [`Checked`].
#[derive(Debug)]
pub(super) struct CheckIntegers;

impl FunctionRewrite for CheckIntegers {
    fn name(&self) -> &str {
        "check_integers"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let is_checked = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
        let is_integer = |operand: &Expr| {
            let data_type = operand.get_type(schema);
            data_type.is_ok_and(|data_type| data_type.is_integer())
        };
        if !is_checked || !is_integer(left) || !is_integer(right) {
            return Ok(Transformed::no(expr));
        }
        let checked = ScalarUDF::from(Checked::new(*op));
        let operands = vec![left.as_ref().clone(), right.as_ref().clone()];
        Ok(Transformed::yes(checked.call(operands)))
    }
}

/// An operator of two integers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl Checked {
    fn new(op: Operator) -> Self {
        Self {
            op,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "an operator has two operands")
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let [left, right] = args else {
            return Err(broken().into());
        };
        Ok(format!(
            "{} {} {}",
            left.schema_name(),
            self.op,
            right.schema_name()
        ))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let [left, right] = types else {
            return Err(broken().into());
        };
        BinaryTypeCoercer::new(left, &self.op, right).get_result_type()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let fields = args.arg_fields;
        let types: Vec<DataType> = fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let is_nullable = fields.iter().any(|field| field.is_nullable());
        let data_type = self.return_type(&types)?;
        Ok(Arc::new(arrow::datatypes::Field::new(
            self.name(),
            data_type,
            is_nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let wanted = args.return_field.data_type();
        let [left, right] = args.args.as_slice() else {
            return Err(broken().into());
        };
        let left = left.cast_to(wanted, None)?;
        let right = right.cast_to(wanted, None)?;
        let result = apply(&left, &right, |left, right| match self.op {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            _ => numeric::mul(left, right),
        });
        result.map_err(|error| {
            let why = format!("a result is out of range of {wanted}");
            DataFusionError::from(
                Error::new(ErrorKind::Query, why)
                    .with_hint("cast an operand to a wider type, such as DECIMAL(38, 0)")
                    .with_source(error),
            )
        })
    }
}
