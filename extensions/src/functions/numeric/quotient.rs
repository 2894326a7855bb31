//! Division of decimals.
//!
//! Invariant: a quotient has at least 16 significant digits, or it is exact, or the query fails.
//! Arrow's division has four decimal places more than the dividend, which is none at all for small
//! quotients.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Decimal256Array};
use arrow::compute::cast;
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, i256};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::{Error, ErrorKind};

/// The most digits of Arrow's decimals of 128 bits.
pub(super) const NARROW: u8 = 38;

/// The most digits of Arrow's decimals of 256 bits.
pub(super) const WIDE: u8 = 76;

/// Digits before the decimal point for which results of 128 bits have room. Results whose type would
/// have fewer get 256 bits.
const WHOLE: u8 = 22;

/// How many significant digits a quotient has at least, as in PostgreSQL (`NUMERIC_MIN_SIG_DIGITS`).
const SIGNIFICANT: u8 = 16;

/// Decimal places that a quotient has beyond those, if its type has room: PostgreSQL rounds up to
/// groups of four digits.
const SPARE: u8 = 4;

/// The digits of an exact number, and how many of them are decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits {
    pub(super) all: u8,
    pub(super) places: u8,
}

impl Digits {
    /// The digits of a type. `None` for types that are no exact numbers.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        let whole = |all| Some(Self { all, places: 0 });
        match data_type {
            DataType::Int8 | DataType::UInt8 => whole(3),
            DataType::Int16 | DataType::UInt16 => whole(5),
            DataType::Int32 | DataType::UInt32 => whole(10),
            DataType::Int64 => whole(19),
            DataType::UInt64 => whole(20),
            DataType::Decimal32(all, places)
            | DataType::Decimal64(all, places)
            | DataType::Decimal128(all, places)
            | DataType::Decimal256(all, places) => Some(Self {
                all: *all,
                places: u8::try_from(*places).ok()?,
            }),
            _ => None,
        }
    }

    /// Whether a result with these digits needs a decimal of 256 bits.
    pub(super) fn is_long(self) -> bool {
        self.all > NARROW && self.places + WHOLE > NARROW
    }

    /// The decimal type with these digits.
    pub(super) fn data_type(self) -> DataType {
        let places = i8::try_from(self.places).unwrap_or(i8::MAX);
        match self.all <= NARROW {
            true => DataType::Decimal128(self.all, places),
            false => DataType::Decimal256(self.all.min(WIDE), places),
        }
    }
}

/// The digits of a quotient: all that its whole part can have, and as many places as its smallest
/// value needs for [`SIGNIFICANT`] digits.
fn digits_of_quotient(dividend: Digits, divisor: Digits) -> Digits {
    let wanted = wanted_places(dividend, divisor);
    let whole = (dividend.all + divisor.places)
        .saturating_sub(dividend.places)
        .clamp(1, WIDE);
    let room = match whole + wanted.min(WIDE) <= NARROW {
        true => NARROW - whole,
        false => WIDE - whole,
    };
    let places = wanted.saturating_add(SPARE).min(room);
    Digits {
        all: whole + places,
        places,
    }
}

/// The decimal places that the smallest quotient needs for [`SIGNIFICANT`] digits.
fn wanted_places(dividend: Digits, divisor: Digits) -> u8 {
    let smallest = (dividend.places + divisor.all).saturating_sub(divisor.places);
    let wanted = smallest.saturating_add(SIGNIFICANT);
    wanted.max(dividend.places).max(divisor.places)
}

/// The quotient of two exact numbers, at least one of which is a decimal.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Quotient {
    signature: Signature,
}

impl Quotient {
    pub(super) fn new() -> Self {
        let signature = Signature::any(2, Volatility::Immutable);
        Self { signature }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "a division has two exact numbers")
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &str {
        "quotient"
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        match args {
            [left, right] => Ok(format!("{} / {}", left.schema_name(), right.schema_name())),
            _ => Err(broken().into()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let digits: Option<Vec<Digits>> = types.iter().map(Digits::of).collect();
        match digits.as_deref() {
            Some([dividend, divisor]) => Ok(digits_of_quotient(*dividend, *divisor).data_type()),
            _ => Err(broken().into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let wanted = args.return_field.data_type();
        let is_scalar = |arg: &ColumnarValue| matches!(arg, ColumnarValue::Scalar(_));
        let all_scalar = args.args.iter().all(is_scalar);
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [dividend, divisor] = arrays.as_slice() else {
            return Err(broken().into());
        };
        let quotients = divide(dividend, divisor, wanted)?;
        Ok(match all_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&quotients, 0)?),
            false => ColumnarValue::Array(quotients),
        })
    }
}

/// Divides exact numbers. `wanted` is the type of the result. Quotients are rounded to its decimal
/// places, halves away from zero.
///
/// # Errors
/// A divisor is zero, or a quotient has too many digits.
pub(super) fn divide(
    dividend: &ArrayRef,
    divisor: &ArrayRef,
    wanted: &DataType,
) -> DataFusionResult<ArrayRef> {
    let digits = |data_type: &DataType| Digits::of(data_type).ok_or_else(broken);
    let (left, right) = (digits(dividend.data_type())?, digits(divisor.data_type())?);
    let places = digits(wanted)?.places;
    let shift = (u32::from(places) + u32::from(right.places))
        .checked_sub(u32::from(left.places))
        .ok_or_else(broken)?;
    let factor = i256::from_i128(10).checked_pow(shift);
    let of_digits =
        |values: &ArrayRef, all: u8, places: u8| cast(values, &Digits { all, places }.data_type());
    let fits = u32::from(left.all) + shift <= u32::from(NARROW) && right.all <= NARROW;
    if fits
        && let DataType::Decimal128(..) = wanted
        && let Some(factor) = factor.and_then(i256::to_i128)
    {
        let left = of_digits(dividend, NARROW, left.places)?;
        let right = of_digits(divisor, NARROW, right.places)?;
        let (left, right): (&Decimal128Array, &Decimal128Array) =
            (left.as_primitive(), right.as_primitive());
        let quotients: Decimal128Array =
            try_binary::<_, _, _, Decimal128Type>(left, right, |left, right| {
                divide_narrow(left, right, factor)
            })?;
        return Ok(Arc::new(quotients.with_data_type(wanted.clone())));
    }
    let least = match places < wanted_places(left, right) {
        true => i256::from_i128(10_i128.pow(u32::from(SIGNIFICANT) - 1)),
        false => i256::ZERO,
    };
    let left = of_digits(dividend, WIDE, left.places)?;
    let right = of_digits(divisor, WIDE, right.places)?;
    let (left, right): (&Decimal256Array, &Decimal256Array) =
        (left.as_primitive(), right.as_primitive());
    let quotients: Decimal256Array =
        try_binary::<_, _, _, Decimal256Type>(left, right, |left, right| {
            divide_wide(left, right, factor, least)
        })?;
    let wide = Digits { all: WIDE, places }.data_type();
    Ok(cast(&quotients.with_data_type(wide), wanted)?)
}

/// Divides unscaled values: `left` × `factor` / `right`, rounded. The product has at most 38 digits.
fn divide_narrow(left: i128, right: i128, factor: i128) -> Result<i128, ArrowError> {
    if right == 0 {
        return Err(ArrowError::DivideByZero);
    }
    let scaled = left.checked_mul(factor).ok_or_else(too_long)?;
    let (quotient, rest) = (scaled / right, (scaled % right).unsigned_abs());
    Ok(match rest >= right.unsigned_abs() - rest {
        true => quotient + scaled.signum() * right.signum(),
        false => quotient,
    })
}

/// Divides unscaled values: `left` × `factor` / `right`, rounded. A quotient less than `least` is an
/// error if it would be rounded, and so is a factor that is out of range.
fn divide_wide(
    left: i256,
    right: i256,
    factor: Option<i256>,
    least: i256,
) -> Result<i256, ArrowError> {
    if right == i256::ZERO {
        return Err(ArrowError::DivideByZero);
    }
    let divided = || {
        let scaled = left.checked_mul(factor?)?;
        let (quotient, rest) = (scaled.checked_div(right)?, scaled.checked_rem(right)?);
        if rest != i256::ZERO && quotient.checked_abs()? < least {
            return None;
        }
        let (rest, divisor) = (rest.checked_abs()?, right.checked_abs()?);
        let is_negative = left.is_negative() != right.is_negative();
        let away = match (rest >= divisor.checked_sub(rest)?, is_negative) {
            (false, _) => i256::ZERO,
            (true, true) => i256::MINUS_ONE,
            (true, false) => i256::ONE,
        };
        quotient.checked_add(away)
    };
    divided().ok_or_else(too_long)
}

fn too_long() -> ArrowError {
    let why = format!("a quotient needs more than {WIDE} digits");
    let error = Error::new(ErrorKind::Query, why)
        .with_hint("cast an operand to DOUBLE PRECISION, or to a NUMERIC with fewer digits");
    ArrowError::ExternalError(Box::new(DataFusionError::from(error)))
}
