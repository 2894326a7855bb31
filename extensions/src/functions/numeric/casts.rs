//! Casts to integers, and `round` of doubles.
//!
//! Invariant: a number with a fraction becomes the nearest integer, as in PostgreSQL: halves of
//! doubles go to the even one, halves of decimals away from zero.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, Float32Array, Float64Array};
use arrow::compute::unary;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast,
};

use crate::error::{Error, ErrorKind};

/// Rounds a number before it is cast to an integer, and doubles to the even number.
pub(crate) fn round_casts(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    if let Expr::ScalarFunction(call) = &expr
        && call.func.name() == "round"
        && let [arg] = call.args.as_slice()
        && let Ok(DataType::Float32 | DataType::Float64) = arg.get_type(schema)
    {
        return Ok(Transformed::yes(ROUND.call(vec![arg.clone()])));
    }
    let (inner, wanted) = match &expr {
        Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
        Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
        _ => return Ok(Transformed::no(expr)),
    };
    if !wanted.is_integer() {
        return Ok(Transformed::no(expr));
    }
    let rounded = match inner.get_type(schema) {
        Ok(DataType::Float16) => {
            let wide = cast(inner.as_ref().clone(), DataType::Float32);
            ROUND.call(vec![wide])
        }
        Ok(DataType::Float32 | DataType::Float64) => {
            if is_rounded(inner) {
                return Ok(Transformed::no(expr));
            }
            ROUND.call(vec![inner.as_ref().clone()])
        }
        // A cast of a decimal to fewer places rounds.
        Ok(
            DataType::Decimal32(_, 1..)
            | DataType::Decimal64(_, 1..)
            | DataType::Decimal128(_, 1..),
        ) => cast(inner.as_ref().clone(), DataType::Decimal128(38, 0)),
        Ok(DataType::Decimal256(_, 1..)) => {
            cast(inner.as_ref().clone(), DataType::Decimal256(76, 0))
        }
        _ => return Ok(Transformed::no(expr)),
    };
    let rounded = Box::new(rounded);
    Ok(Transformed::yes(match expr {
        Expr::Cast(mut cast) => {
            cast.expr = rounded;
            Expr::Cast(cast)
        }
        Expr::TryCast(mut cast) => {
            cast.expr = rounded;
            Expr::TryCast(cast)
        }
        other => other,
    }))
}

fn is_rounded(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == ROUND.name())
}

static ROUND: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(RoundToEven::new()));

/// The nearest whole number; halves go to the even one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundToEven {
    signature: Signature,
}

impl RoundToEven {
    fn new() -> Self {
        let signature = Signature::any(1, Volatility::Immutable);
        Self { signature }
    }
}

fn broken() -> Error {
    Error::new(
        ErrorKind::Internal,
        "round_to_even has one argument, a float",
    )
}

impl ScalarUDFImpl for RoundToEven {
    fn name(&self) -> &str {
        "round_to_even"
    }

    /// The argument's name: grouping sets find their columns by it.
    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let arg = args.first().ok_or_else(broken)?;
        Ok(arg.schema_name().to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(types.first().cloned().ok_or_else(broken)?)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let field = args.arg_fields.first().ok_or_else(broken)?;
        let (data_type, is_nullable) = (field.data_type().clone(), field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), data_type, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&args.args)?;
        let values = values.first().ok_or_else(broken)?;
        Ok(ColumnarValue::Array(match values.data_type() {
            DataType::Float32 => {
                let values = values.as_primitive::<Float32Type>();
                let rounded: Float32Array = unary(values, f32::round_ties_even);
                Arc::new(rounded)
            }
            DataType::Float64 => {
                let values = values.as_primitive::<Float64Type>();
                let rounded: Float64Array = unary(values, f64::round_ties_even);
                Arc::new(rounded)
            }
            _ => return Err(broken().into()),
        }))
    }
}
