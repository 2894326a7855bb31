//! Arithmetic of integers that fails on overflow.
//!
//! Invariant: `+`, `-` and `*` of integers give the exact result, or an error. Operands whose result
//! is a decimal, such as an unsigned and a signed one, are left to DataFusion, which is exact there.

use std::sync::Arc;

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
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
        let (op, operands) = match &expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => (*op, vec![left, right]),
            Expr::Negative(operand) => (Operator::Minus, vec![operand]),
            _ => return Ok(Transformed::no(expr)),
        };
        let types = operands.iter().map(|operand| operand.get_type(schema));
        let Ok(types) = types.collect::<DataFusionResult<Vec<DataType>>>() else {
            return Ok(Transformed::no(expr));
        };
        let is_checked = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
            && types.iter().all(DataType::is_integer)
            && result_type(op, &types).is_ok_and(|result| result.is_integer());
        if !is_checked {
            return Ok(Transformed::no(expr));
        }
        let operands = operands.into_iter().map(|operand| operand.as_ref().clone());
        let operands: Vec<Expr> = operands.collect();
        let checked = ScalarUDF::from(Checked::new(op));
        Ok(Transformed::yes(checked.call(operands)))
    }
}

/// The type of the result of one or two operands.
fn result_type(op: Operator, types: &[DataType]) -> DataFusionResult<DataType> {
    match types {
        [operand] => Ok(operand.clone()),
        [left, right] => BinaryTypeCoercer::new(left, &op, right).get_result_type(),
        _ => Err(broken().into()),
    }
}

/// An operator of two integers, or the minus before one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl Checked {
    fn new(op: Operator) -> Self {
        Self {
            op,
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "an operator has one or two operands")
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
        match args {
            [operand] => Ok(format!("(- {})", operand.schema_name())),
            [left, right] => Ok(format!(
                "{} {} {}",
                left.schema_name(),
                self.op,
                right.schema_name()
            )),
            _ => Err(broken().into()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        result_type(self.op, types)
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
        let (left, right) = match args.args.as_slice() {
            [operand] => {
                let zero = ScalarValue::new_zero(wanted)?;
                (ColumnarValue::Scalar(zero), operand.clone())
            }
            [left, right] => (left.cast_to(wanted, None)?, right.cast_to(wanted, None)?),
            _ => return Err(broken().into()),
        };
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
