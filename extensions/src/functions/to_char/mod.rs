//! `to_char` of dates, timestamps and numbers, and the functions that read what it writes.
//!
//! Invariant: a pattern without `%` is a template of PostgreSQL; with `%`, it is one of chrono, for
//! DataFusion's `to_char`. DataFusion returns a template of PostgreSQL as it stands.

mod numbers;
mod read;
mod template;

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Offset, TimeZone};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::functions::datetime::to_char::ToCharFunc;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use self::numbers::{DOUBLE_DIGITS, NumberTemplate, REAL_DIGITS};
use self::read::read_time;
use self::template::Template;
use super::rows::RowFunction;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::functions::READ_TIME;

/// The type of `to_number`. A number with more digits is refused.
const NUMBER: DataType = DataType::Decimal128(38, 10);

/// The functions that read times and numbers by a template.
pub(super) fn reading_functions() -> [Arc<ScalarUDF>; 2] {
    let read_time = RowFunction::new(READ_TIME, 2..=2, |args| {
        let time = read_time(args[0].text(), &Template::parse(args[1].text()))?;
        let (year, era) = match time.year() {
            year @ 1.. => (year, ""),
            year => (1 - year, " BC"),
        };
        let rest = time.format("%m-%d %H:%M:%S%.6f");
        Ok(Some(format!("{year:04}-{rest}{era}")))
    });
    let to_number = RowFunction::new("to_number", 2..=2, |args| {
        let number = NumberTemplate::parse(args[1].text())?.read(args[0].text())?;
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
        if fraction.len() > 10 || whole.len() > 28 {
            let why = format!("to_number(\"{number}\") has too many digits");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        Ok(Some(number))
    });
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    [read_time.returning(micros), to_number.returning(NUMBER)].map(RowFunction::into_udf)
}

/// `to_char(value, pattern)`
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToChar {
    inner: ToCharFunc,
    signature: Signature,
}

impl ToChar {
    pub(super) fn new() -> Self {
        Self {
            inner: ToCharFunc::new(),
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [times, patterns] = args.args.as_slice() else {
            let why = "to_char has a time and a pattern";
            return Err(Error::new(ErrorKind::InvalidParameter, why).into());
        };
        let is_single = matches!(
            (times, patterns),
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))
        );
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let patterns = cast(&arrays[1], &DataType::Utf8)?;
        let patterns = patterns.as_string::<i32>();
        let result = |texts: StringArray| -> DataFusionResult<ColumnarValue> {
            Ok(match is_single {
                true => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
                false => ColumnarValue::Array(Arc::new(texts)),
            })
        };
        if arrays[0].data_type().is_numeric() {
            return result(write_numbers(&arrays[0], patterns)?);
        }
        let of_chrono: BooleanArray = patterns
            .iter()
            .map(|text| Some(text.is_some_and(|text| text.contains('%'))))
            .collect();
        if of_chrono.true_count() == 0 {
            return result(write_times(&arrays[0], patterns)?);
        }
        // DataFusion's function takes the first pattern for all rows of a single time.
        args.args = match &args.args[1] {
            ColumnarValue::Array(_) => vec![
                ColumnarValue::Array(Arc::clone(&arrays[0])),
                ColumnarValue::Array(Arc::new(patterns.clone())),
            ],
            pattern => vec![
                args.args[0].clone(),
                pattern.cast_to(&DataType::Utf8, None)?,
            ],
        };
        let by_chrono = self.inner.invoke_with_args(args)?;
        if of_chrono.false_count() == 0 {
            return Ok(by_chrono);
        }
        let by_chrono = cast(&by_chrono.into_array(of_chrono.len())?, &DataType::Utf8)?;
        let by_template = write_times(&arrays[0], patterns)?;
        Ok(ColumnarValue::Array(zip(
            &of_chrono,
            &by_chrono,
            &by_template,
        )?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Writes each number with its template.
fn write_numbers(numbers: &ArrayRef, patterns: &StringArray) -> DataFusionResult<StringArray> {
    let mut last: Option<(String, NumberTemplate)> = None;
    let mut texts = StringBuilder::with_capacity(numbers.len(), numbers.len() * 16);
    let doubles = match numbers.data_type().is_floating() {
        true => Some(cast(numbers, &DataType::Float64)?),
        false => None,
    };
    let doubles = doubles
        .as_ref()
        .map(|array| array.as_primitive::<Float64Type>());
    let digits = match numbers.data_type() {
        DataType::Float64 => DOUBLE_DIGITS,
        _ => REAL_DIGITS,
    };
    let is_integer = numbers.data_type().is_integer();
    let decimals = cast(numbers, &DataType::Utf8)?;
    let decimals = decimals.as_string::<i32>();
    for (row, pattern) in patterns.iter().enumerate() {
        let Some(pattern) = pattern.filter(|_| numbers.is_valid(row)) else {
            texts.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| known != pattern) {
            last = Some((pattern.to_owned(), NumberTemplate::parse(pattern)?));
        }
        let Some((_, template)) = &last else {
            continue;
        };
        texts.append_value(match doubles {
            Some(doubles) => template.write_double(doubles.value(row), digits)?,
            None => template.write_decimal(decimals.value(row), is_integer)?,
        });
    }
    Ok(texts.finish())
}

/// Writes each time with its template.
fn write_times(times: &ArrayRef, patterns: &StringArray) -> Result<StringArray> {
    let zone = match times.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Date32 | DataType::Date64 | DataType::Null => None,
        other => {
            let why = format!("to_char of {other} with a template of PostgreSQL is not supported");
            let error = Error::new(ErrorKind::Unsupported, why);
            return Err(error.with_hint("to_char formats dates and timestamps"));
        }
    };
    let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    let zone: Option<Tz> = zone.map(|zone| zone.parse()).transpose().map_err(|error| {
        Error::new(ErrorKind::Query, "the time zone is not known").with_source(error)
    })?;
    let failed = |error| {
        Error::new(ErrorKind::Query, "a time is out of range of to_char").with_source(error)
    };
    let times = cast(times, &micros).map_err(failed)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut last: Option<(String, Template)> = None;
    let mut texts = StringBuilder::with_capacity(times.len(), times.len() * 16);
    let mut text = String::new();
    for (row, pattern) in patterns.iter().enumerate() {
        let time = times.is_valid(row).then(|| times.value(row));
        let time = time.and_then(DateTime::from_timestamp_micros);
        // PostgreSQL returns NULL for an empty template.
        let (Some(time), Some(pattern)) = (time, pattern.filter(|text| !text.is_empty())) else {
            texts.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| known != pattern) {
            last = Some((pattern.to_owned(), Template::parse(pattern)));
        }
        let Some((_, template)) = &last else {
            continue;
        };
        text.clear();
        match zone {
            Some(zone) => {
                let local = zone.from_utc_datetime(&time.naive_utc());
                let offset = local.offset();
                let name = match zone.to_string() {
                    utc if utc == "UTC" => utc,
                    _ => offset.to_string(),
                };
                let seconds = offset.fix().local_minus_utc();
                template.write(&local.naive_local(), Some((&name, seconds)), &mut text);
            }
            None => template.write(&time.naive_utc(), None, &mut text),
        }
        texts.append_value(&text);
    }
    Ok(texts.finish())
}
