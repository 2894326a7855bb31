//! Operators of numbers that fail on overflow.
//!
//! Invariant: the result is in the range of its type, or the query fails. Arrow wraps integers around,
//! lets decimals have more digits than their type, and makes infinities of doubles.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::floats;
use super::quotient::{Digits, NARROW};
use crate::error::{Error, ErrorKind};

/// The operator as a function that fails on overflow. `None` if the operator can't overflow, or is
/// not arithmetic.
pub(super) fn checked(op: Operator, operands: &[&Expr], types: &[DataType]) -> Option<Expr> {
    let result = result_type(op, types).ok()?;
    let may_overflow = match (op, types) {
        // The minus before a number that is no integer.
        (_, [operand]) => operand.is_integer(),
        (Operator::Plus | Operator::Minus | Operator::Multiply, _) if result.is_integer() => {
            types.iter().all(DataType::is_integer)
        }
        (Operator::Plus | Operator::Minus | Operator::Multiply, _) if result.is_decimal() => {
            Digits::of(&result)?.all >= NARROW
        }
        (Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide, _) => {
            result.is_floating()
        }
        _ => false,
    };
    let operands = || operands.iter().map(|operand| (*operand).clone()).collect();
    may_overflow.then(|| ScalarUDF::from(Checked::new(op)).call(operands()))
}

/// The type of the result of one or two operands.
fn result_type(op: Operator, types: &[DataType]) -> DataFusionResult<DataType> {
    match types {
        [operand] => Ok(operand.clone()),
        [left, right] => BinaryTypeCoercer::new(left, &op, right).get_result_type(),
        _ => Err(broken().into()),
    }
}

/// An operator of two numbers, or the minus before an integer.
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
            Operator::Divide => "checked_divide",
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
            [left, right] => {
                let types = [left.data_type(), right.data_type()];
                let (to_left, to_right) = match wanted.is_decimal() {
                    false => (wanted.clone(), wanted.clone()),
                    true => {
                        BinaryTypeCoercer::new(&types[0], &self.op, &types[1]).get_input_types()?
                    }
                };
                (
                    left.cast_to(&to_left, None)?,
                    right.cast_to(&to_right, None)?,
                )
            }
            _ => return Err(broken().into()),
        };
        let result = apply(&left, &right, |left, right| {
            let result = match self.op {
                Operator::Plus => numeric::add(left, right),
                Operator::Minus => numeric::sub(left, right),
                Operator::Divide => numeric::div(left, right),
                _ => numeric::mul(left, right),
            }?;
            match result.data_type() {
                DataType::Float64 | DataType::Float32 => {
                    floats::check(self.op, left.get().0, right.get().0, &result)?
                }
                _ => check_digits(&result)?,
            }
            Ok(result)
        });
        result.map_err(|error| {
            if let DataFusionError::ArrowError(cause, _) = &error
                && let ArrowError::DivideByZero = **cause
            {
                return error;
            }
            let why = format!("a result is out of range of {wanted}");
            DataFusionError::from(
                Error::new(ErrorKind::NumberOutOfRange, why)
                    .with_hint("cast an operand to another type, such as DECIMAL(38, 0) or DOUBLE PRECISION")
                    .with_source(error),
            )
        })
    }
}

/// Refuses decimals with more digits than their type has.
pub(super) fn check_digits(values: &dyn Array) -> Result<(), ArrowError> {
    match values.data_type() {
        DataType::Decimal128(digits, _) => values
            .as_primitive::<Decimal128Type>()
            .validate_decimal_precision(*digits),
        DataType::Decimal256(digits, _) => values
            .as_primitive::<Decimal256Type>()
            .validate_decimal_precision(*digits),
        _ => Ok(()),
    }
}
