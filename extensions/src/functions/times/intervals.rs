//! Operators of dates and intervals.
//!
//! Invariant: a date plus days is a date, and plus an interval a timestamp; a month has 30 days where
//! intervals are compared, and seconds keep their fraction, as in PostgreSQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast, lit,
};

use crate::error::{Error, ErrorKind};
use crate::functions::compares;

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Replaces an operator or function of times.
pub(crate) fn time_operators(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    let type_of = |expr: &Expr| expr.get_type(schema).ok();
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let types = [type_of(&left), type_of(&right)];
            if compares(op)
                && let Some((left, right)) = in_nanoseconds(&left, &right, &types)
            {
                let binary = BinaryExpr::new(Box::new(left), op, Box::new(right));
                return Ok(Transformed::yes(Expr::BinaryExpr(binary)));
            }
            if let (Operator::Plus | Operator::Minus, [Some(DataType::Date32), Some(days)]) =
                (op, &types)
                && days.is_integer()
            {
                let day = cast(*left, DataType::Int32);
                let days = Box::new(cast(*right, DataType::Int32));
                let day = Expr::BinaryExpr(BinaryExpr::new(Box::new(day), op, days));
                return Ok(Transformed::yes(cast(day, DataType::Date32)));
            }
            let (left, right, is_changed) = match (op, types) {
                (
                    Operator::Plus | Operator::Minus,
                    [
                        Some(DataType::Date32 | DataType::Date64),
                        Some(DataType::Interval(_)),
                    ],
                ) => (Box::new(cast(*left, TIMESTAMP)), right, true),
                (
                    Operator::Plus,
                    [
                        Some(DataType::Interval(_)),
                        Some(DataType::Date32 | DataType::Date64),
                    ],
                ) => (left, Box::new(cast(*right, TIMESTAMP)), true),
                (op, [Some(DataType::Interval(_)), Some(DataType::Interval(_))])
                    if compares(op) =>
                {
                    (Box::new(length(*left)), Box::new(length(*right)), true)
                }
                _ => (left, right, false),
            };
            let binary = Expr::BinaryExpr(BinaryExpr::new(left, op, right));
            Ok(Transformed::new_transformed(binary, is_changed))
        }
        Expr::Between(mut between) => {
            let value = type_of(&between.expr);
            let mut is_changed = false;
            for bound in [&mut between.low, &mut between.high] {
                let types = [value.clone(), type_of(bound)];
                if let Some((_, literal)) = in_nanoseconds(&between.expr, bound, &types) {
                    **bound = literal;
                    is_changed = true;
                }
            }
            let between = Expr::Between(between);
            Ok(Transformed::new_transformed(between, is_changed))
        }
        Expr::ScalarFunction(call) if call.func.name() == "date_part" => {
            let [Expr::Literal(part, _), time] = call.args.as_slice() else {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            };
            let part = part
                .try_as_str()
                .flatten()
                .unwrap_or_default()
                .to_lowercase();
            let is_second = ["second", "seconds", "s", "sec", "secs"].contains(&part.as_str());
            if matches!(type_of(time), Some(DataType::Interval(_)))
                && (is_second || part == "epoch")
            {
                // DataFusion cuts off fractions, and its years have 360 days.
                let why = format!("extract({part} from an interval) is not supported");
                return Err(Error::new(ErrorKind::Unsupported, why).into());
            }
            if !is_second {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            let mut call = call;
            call.args[0] = lit("microsecond");
            let micros = cast(Expr::ScalarFunction(call), DataType::Decimal128(10, 0));
            let one_millionth = ScalarValue::Decimal128(Some(1), 6, 6);
            let seconds = micros * Expr::Literal(one_millionth, None);
            Ok(Transformed::yes(seconds))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A comparison of nanoseconds with a literal, with a literal of nanoseconds. Literals beyond their range
/// become their first or last value, because all other values are on the same side of both.
fn in_nanoseconds(
    left: &Expr,
    right: &Expr,
    types: &[Option<DataType>; 2],
) -> Option<(Expr, Expr)> {
    let nanos = |found: &Option<DataType>| match found {
        Some(DataType::Timestamp(TimeUnit::Nanosecond, zone)) => Some(zone.clone()),
        _ => None,
    };
    let literal = |expr: &Expr, zone| match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), _), metadata) => {
            let value = ScalarValue::TimestampNanosecond(Some(micros.saturating_mul(1000)), zone);
            Some(Expr::Literal(value, metadata.clone()))
        }
        _ => None,
    };
    match (nanos(&types[0]), nanos(&types[1])) {
        (Some(zone), None) => Some((left.clone(), literal(right, zone)?)),
        (None, Some(zone)) => Some((literal(left, zone)?, right.clone())),
        _ => None,
    }
}

/// The length of an interval, to compare it.
fn length(interval: Expr) -> Expr {
    ScalarUDF::from(Length::new()).call(vec![interval])
}

/// The length of an interval in nanoseconds, with months of 30 days.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl Length {
    fn new() -> Self {
        let signature = Signature::any(1, Volatility::Immutable);
        Self { signature }
    }
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "length_of_interval"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Decimal128(38, 0))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(intervals) = arrays.first() else {
            let why = "the length of an interval has one argument";
            return Err(Error::new(ErrorKind::Internal, why).into());
        };
        let wide = DataType::Interval(IntervalUnit::MonthDayNano);
        let intervals = cast_array(intervals, &wide)?;
        let lengths = intervals
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .map(|interval| {
                interval.map(|interval| {
                    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
                    days * 86_400_000_000_000 + i128::from(interval.nanoseconds)
                })
            });
        let lengths: Decimal128Array = lengths.collect();
        let lengths: ArrayRef = Arc::new(lengths.with_data_type(DataType::Decimal128(38, 0)));
        Ok(ColumnarValue::Array(lengths))
    }
}
