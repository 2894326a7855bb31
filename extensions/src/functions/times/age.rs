//! Functions that make intervals, and products of intervals with numbers.
//!
//! Invariant: months, days and time of an interval are kept apart, as in PostgreSQL.
//! See `timestamp_age` and others in PostgreSQL's `src/backend/utils/adt/timestamp.c`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::common::DFSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sqlparser::ast::BinaryOperator;

use crate::error::{Error, ErrorKind, Result};
use crate::functions::rows::{Arg, RowFunction};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const DAY: i64 = 86_400_000_000_000;
const DAYS_PER_MONTH: i64 = 30;

/// A function that returns intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// `age(end, start)`
    Age,
    /// `interval * number`
    Multiply,
    /// `interval / number`
    Divide,
    JustifyDays,
    JustifyHours,
    JustifyInterval,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalFunction {
    function: Function,
    signature: Signature,
}

fn make(function: Function) -> ScalarUDF {
    ScalarUDF::from(IntervalFunction {
        function,
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

/// The functions that statements call by name.
pub(crate) fn interval_functions() -> [Arc<ScalarUDF>; 4] {
    [
        Function::Age,
        Function::JustifyDays,
        Function::JustifyHours,
        Function::JustifyInterval,
    ]
    .map(|function| Arc::new(make(function)))
}

/// `make_timestamp(year, month, day, hour, minute, second)`
pub(crate) fn make_timestamp() -> Arc<ScalarUDF> {
    let make = |args: &[Arg<'_>]| {
        let [year, month, day, hour, minute, second] = args else {
            return Ok(None);
        };
        let parts = [year, month, day, hour, minute].map(|arg| arg.text().parse::<u32>().ok());
        let [Some(year), Some(month), Some(day), Some(hour), Some(minute)] = parts else {
            let why = "make_timestamp takes positive integers";
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        };
        let second = second.text();
        let zero = match second.find('.').unwrap_or(second.len()) {
            1 => "0",
            _ => "",
        };
        Ok(Some(format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{zero}{second}"
        )))
    };
    RowFunction::new("make_timestamp", 6..=6, make)
        .returning(TIMESTAMP)
        .into_udf()
}

/// Plans products and quotients of intervals and numbers, for which DataFusion has no type.
#[derive(Debug)]
pub(crate) struct ScalePlanner;

impl ExprPlanner for ScalePlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        let types = [&expr.left, &expr.right].map(|operand| operand.get_type(schema).ok());
        let is_interval = |found: &Option<DataType>| matches!(found, Some(DataType::Interval(_)));
        let is_number = |found: &Option<DataType>| found.as_ref().is_some_and(DataType::is_numeric);
        let RawBinaryExpr { op, left, right } = expr;
        let is_first = is_interval(&types[0]) && is_number(&types[1]);
        let is_second = is_number(&types[0]) && is_interval(&types[1]);
        let planned = match op {
            BinaryOperator::Multiply if is_first => {
                make(Function::Multiply).call(vec![left, right])
            }
            BinaryOperator::Multiply if is_second => {
                make(Function::Multiply).call(vec![right, left])
            }
            BinaryOperator::Divide if is_first => make(Function::Divide).call(vec![left, right]),
            op => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(planned))
    }
}

impl Function {
    /// The types of its arguments.
    fn types(self) -> &'static [DataType] {
        const TIMES: [DataType; 2] = [TIMESTAMP, TIMESTAMP];
        const SCALED: [DataType; 2] = [INTERVAL, DataType::Float64];
        const ONE: [DataType; 1] = [INTERVAL];
        match self {
            Self::Age => &TIMES,
            Self::Multiply | Self::Divide => &SCALED,
            Self::JustifyDays | Self::JustifyHours | Self::JustifyInterval => &ONE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Multiply => "interval_mul",
            Self::Divide => "interval_div",
            Self::JustifyDays => "justify_days",
            Self::JustifyHours => "justify_hours",
            Self::JustifyInterval => "justify_interval",
        }
    }

    fn compute(self, arrays: &[ArrayRef], row: usize) -> Result<IntervalMonthDayNano> {
        let interval = || {
            arrays[0]
                .as_primitive::<IntervalMonthDayNanoType>()
                .value(row)
        };
        let number = || arrays[1].as_primitive::<Float64Type>().value(row);
        let time = |array: &ArrayRef| {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range);
            time.map(|time| time.naive_utc())
        };
        match self {
            Self::Age => age(time(&arrays[0])?, time(&arrays[1])?),
            Self::Multiply => scale(interval(), &|part| part * number()),
            Self::Divide if number() == 0.0 => Err(Error::new(
                ErrorKind::Query,
                "division of an interval by zero",
            )),
            Self::Divide => scale(interval(), &|part| part / number()),
            Self::JustifyDays => justify_days(interval()),
            Self::JustifyHours => justify_hours(interval()),
            Self::JustifyInterval => justify(interval()),
        }
    }
}

fn out_of_range() -> Error {
    Error::new(ErrorKind::Query, "an interval or timestamp is out of range")
}

impl ScalarUDFImpl for IntervalFunction {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let fits = |(found, wanted): (&DataType, &DataType)| match (wanted, found) {
            // PostgreSQL compares what clocks in the session's zone show.
            (DataType::Timestamp(..), DataType::Timestamp(_, Some(zone))) => zone.as_ref() == "UTC",
            (DataType::Timestamp(..), DataType::Timestamp(_, None)) => true,
            (DataType::Timestamp(..), found) => {
                matches!(found, DataType::Date32 | DataType::Date64)
            }
            (DataType::Interval(_), found) => matches!(found, DataType::Interval(_)),
            (_, found) => found.is_numeric(),
        };
        let wanted = self.function.types();
        let are_null = |found: &DataType| *found == DataType::Null;
        let fits = types.len() == wanted.len()
            && types
                .iter()
                .zip(wanted)
                .all(|(found, wanted)| are_null(found) || fits((found, wanted)));
        if fits {
            return Ok(INTERVAL);
        }
        let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
        let why = format!("there is no {}({})", self.name(), shown.join(", "));
        Err(Error::new(ErrorKind::DatatypeMismatch, why).into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let arrays = arrays.iter().zip(self.function.types());
        let arrays: std::result::Result<Vec<_>, _> =
            arrays.map(|(array, wanted)| cast(array, wanted)).collect();
        let arrays = arrays?;
        let rows = arrays.first().map_or(0, |array| array.len());
        let intervals = (0..rows).map(|row| match arrays.iter().any(|array| array.is_null(row)) {
            true => Ok(None),
            false => self.function.compute(&arrays, row).map(Some),
        });
        let intervals: IntervalMonthDayNanoArray = intervals.collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(intervals)))
    }
}

/// The number of days in the month of a time.
fn days_of_month(time: &NaiveDateTime) -> i32 {
    let (year, month) = (time.year(), time.month());
    let next = match month {
        12 => NaiveDate::from_ymd_opt(year.saturating_add(1), 1, 1),
        _ => NaiveDate::from_ymd_opt(year, month + 1, 1),
    };
    let last = next.and_then(|next| next.pred_opt());
    last.map_or(31, |last| i32::try_from(last.day()).unwrap_or(31))
}

/// The difference in years, months, days and time of day.
fn age(end: NaiveDateTime, start: NaiveDateTime) -> Result<IntervalMonthDayNano> {
    let is_negative = end < start;
    let (late, early) = match is_negative {
        true => (start, end),
        false => (end, start),
    };
    let nanos_of_day = |time: NaiveDateTime| {
        i64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(time.nanosecond())
    };
    let number = |number: u32| i32::try_from(number).unwrap_or_default();
    let mut nanos = nanos_of_day(late) - nanos_of_day(early);
    let mut days = number(late.day()) - number(early.day());
    let mut months =
        (late.year() - early.year()) * 12 + number(late.month()) - number(early.month());
    if nanos < 0 {
        nanos += DAY;
        days -= 1;
    }
    while days < 0 {
        // The month of the second argument.
        days += days_of_month(if is_negative { &end } else { &start });
        months -= 1;
    }
    let sign = if is_negative { -1 } else { 1 };
    Ok(IntervalMonthDayNano::new(
        sign * months,
        sign * days,
        i64::from(sign) * nanos,
    ))
}

fn whole(number: f64) -> Result<i32> {
    let is_in_range = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    match is_in_range {
        true => Ok(number as i32),
        false => Err(out_of_range()),
    }
}

/// Rounds to microseconds.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round_ties_even() / 1e6
}

/// Scales an interval. Fractions of months become days, of 30 a month, and fractions of days become
/// time.
fn scale(
    interval: IntervalMonthDayNano,
    factor: &dyn Fn(f64) -> f64,
) -> Result<IntervalMonthDayNano> {
    const SECONDS_PER_DAY: f64 = 86_400.0;
    let months = factor(f64::from(interval.months));
    let days = factor(f64::from(interval.days));
    let (whole_months, mut whole_days) = (whole(months.trunc())?, whole(days.trunc())?);
    let days_of_months = rounded((months - months.trunc()) * 30.0);
    let fraction = days - days.trunc() + days_of_months - days_of_months.trunc();
    let mut seconds = rounded(fraction * SECONDS_PER_DAY);
    if seconds.abs() >= SECONDS_PER_DAY {
        let more = (seconds / SECONDS_PER_DAY).trunc();
        whole_days = whole_days
            .checked_add(whole(more)?)
            .ok_or_else(out_of_range)?;
        seconds -= more * SECONDS_PER_DAY;
    }
    let more = whole(days_of_months.trunc())?;
    whole_days = whole_days.checked_add(more).ok_or_else(out_of_range)?;
    let micros = interval.nanoseconds as f64 / 1e3;
    let micros = (factor(micros) + seconds * 1e6).round_ties_even();
    if micros.is_nan() || micros.abs() * 1e3 >= i64::MAX as f64 {
        return Err(out_of_range());
    }
    Ok(IntervalMonthDayNano::new(
        whole_months,
        whole_days,
        micros as i64 * 1000,
    ))
}

/// Moves the whole units of `low` to `high`. One of `high` is `unit` of `low`.
fn move_whole(high: i32, low: i64, unit: i64) -> Result<(i32, i64)> {
    let more = i32::try_from(low / unit).map_err(|_| out_of_range())?;
    let high = high.checked_add(more).ok_or_else(out_of_range)?;
    Ok((high, low % unit))
}

/// Moves one unit if the sign of `rest`, which is `low` or what follows it, differs from that of `high`.
fn align(high: i32, low: i64, unit: i64, rest: i64) -> (i32, i64) {
    match (high.signum(), rest.signum()) {
        (1, -1) => (high - 1, low + unit),
        (-1, 1) => (high + 1, low - unit),
        _ => (high, low),
    }
}

fn justify_hours(interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let (days, nanos) = move_whole(interval.days, interval.nanoseconds, DAY)?;
    let (days, nanos) = align(days, nanos, DAY, nanos);
    Ok(IntervalMonthDayNano::new(interval.months, days, nanos))
}

fn justify_days(interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let (months, days) = move_whole(interval.months, interval.days.into(), DAYS_PER_MONTH)?;
    let (months, days) = align(months, days, DAYS_PER_MONTH, days);
    let days = i32::try_from(days).map_err(|_| out_of_range())?;
    Ok(IntervalMonthDayNano::new(
        months,
        days,
        interval.nanoseconds,
    ))
}

/// Gives months, days and time the same sign.
fn justify(interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let (days, nanos) = move_whole(interval.days, interval.nanoseconds, DAY)?;
    let (months, days) = move_whole(interval.months, days.into(), DAYS_PER_MONTH)?;
    let rest = if days == 0 { nanos } else { days };
    let (months, days) = align(months, days, DAYS_PER_MONTH, rest);
    let days = i32::try_from(days).map_err(|_| out_of_range())?;
    let (days, nanos) = align(days, nanos, DAY, nanos);
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}
