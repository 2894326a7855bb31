//! Arithmetic of doubles.
//!
//! Invariant: finite numbers have finite results, or the query fails, as in PostgreSQL. A result is
//! NaN only if an operand is NaN, or for operands that are infinite.
//! See `float8_mul` and others in PostgreSQL's `src/include/utils/float.h`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use arrow::error::ArrowError;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use crate::error::{Error, ErrorKind};

/// Checks the results of an operator. An operand is an array of the same length, or one value.
///
/// # Errors
/// A finite operand was divided by zero, or a result is out of range.
pub(super) fn check(
    op: Operator,
    left: &dyn Array,
    right: &dyn Array,
    results: &dyn Array,
) -> Result<(), ArrowError> {
    if *results.data_type() == DataType::Float32 {
        let double = |array: &dyn Array| cast(array, &DataType::Float64);
        return check(op, &double(left)?, &double(right)?, &double(results)?);
    }
    let [left, right, results] = [left, right, results].map(AsArray::as_primitive::<Float64Type>);
    let value = |array: &Float64Array, row: usize| match array.len() {
        1 => array.value(0),
        _ => array.value(row),
    };
    for row in 0..results.len() {
        let result = results.value(row);
        // All other results are right, and this is fast.
        let is_suspect = !result.is_finite() || result == 0.0;
        if !is_suspect || results.is_null(row) {
            continue;
        }
        let (left, right) = (value(left, row), value(right, row));
        if op == Operator::Divide && right == 0.0 && !left.is_nan() {
            return Err(ArrowError::DivideByZero);
        }
        let overflows = result.is_infinite() && left.is_finite() && right.is_finite();
        let underflows = match op {
            Operator::Multiply => result == 0.0 && left != 0.0 && right != 0.0,
            Operator::Divide => result == 0.0 && left != 0.0 && right.is_finite(),
            _ => false,
        };
        if overflows || underflows {
            let why = format!("{left} {op} {right} is out of range");
            return Err(ArrowError::ComputeError(why));
        }
    }
    Ok(())
}

/// Functions of doubles whose results are checked, and whether a finite argument may have an infinite
/// result.
const FUNCTIONS: [(&str, bool); 11] = [
    ("acos", false),
    ("acosh", false),
    ("asin", false),
    ("atanh", true),
    ("exp", false),
    ("ln", false),
    ("log", false),
    ("log10", false),
    ("log2", false),
    ("power", false),
    ("sqrt", false),
];

/// The function with checked results, if it is such a function.
pub(crate) fn with_checks(function: &Arc<ScalarUDF>) -> Option<ScalarUDF> {
    let (_, may_be_infinite) = FUNCTIONS
        .iter()
        .find(|(name, _)| *name == function.name())?;
    Some(ScalarUDF::from(Finite {
        inner: Arc::clone(function),
        may_be_infinite: *may_be_infinite,
    }))
}

/// A function that fails where a result is no number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Finite {
    inner: Arc<ScalarUDF>,
    may_be_infinite: bool,
}

impl ScalarUDFImpl for Finite {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        self.inner.schema_name(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let given = args.args.clone();
        let rows = args.number_rows;
        let results = self.inner.invoke_with_args(args)?;
        if results.data_type() != DataType::Float64 {
            return Ok(results);
        }
        let array = results.to_array(rows)?;
        let array = array.as_primitive::<Float64Type>();
        let is_suspect = |row: usize| {
            let value = array.value(row);
            array.is_valid(row) && (value.is_nan() || value.is_infinite() && !self.may_be_infinite)
        };
        let suspects: Vec<usize> = (0..array.len()).filter(|row| is_suspect(*row)).collect();
        if suspects.is_empty() {
            return Ok(results);
        }
        let arguments: DataFusionResult<Vec<ArrayRef>> = given
            .iter()
            .map(|arg| arg.cast_to(&DataType::Float64, None)?.to_array(rows))
            .collect();
        let arguments = arguments?;
        for row in suspects {
            let values = arguments
                .iter()
                .map(|arg| arg.as_primitive::<Float64Type>().value(row));
            let values: Vec<f64> = values.collect();
            let is_wrong = match array.value(row).is_nan() {
                true => !values.iter().any(|value| value.is_nan()),
                false => values.iter().all(|value| value.is_finite()),
            };
            if is_wrong {
                let shown: Vec<String> = values.iter().map(f64::to_string).collect();
                let why = format!(
                    "{}({}) is no number in range",
                    self.name(),
                    shown.join(", ")
                );
                return Err(Error::new(ErrorKind::Query, why).into());
            }
        }
        Ok(results)
    }
}
