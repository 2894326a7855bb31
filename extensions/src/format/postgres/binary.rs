//! The binary form of values.
//!
//! Invariant: the bytes are those of PostgreSQL's send function of the type that
//! [`pg_type`](super::pg_type) returns for the column.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Field, FieldRef, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
};

use super::Column;
use super::declared::{declared_type, push_declared};
use super::numeric::push_numeric;
use super::types::{oid, pg_type};
use crate::error::{Error, ErrorKind, Result};
use crate::format::text::{ColumnText, column_text};

/// PostgreSQL counts days and microseconds from 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS * 86_400_000_000;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// A column whose values can be written in binary form.
pub(super) struct ColumnBinary<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

type Push<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + 'a>;

enum Values<'a> {
    /// The binary form has the same bytes as the text form.
    Text(ColumnText<'a>),
    /// A number, read from its text.
    Numeric(ColumnText<'a>),
    /// A value of a declared type, read from its text.
    Declared(u32, ColumnText<'a>),
    Own(Push<'a>),
}

impl ColumnBinary<'_> {
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends a value that is not NULL.
    pub(super) fn push(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.values {
            Values::Text(column) => {
                column.push_text(row, out);
                Ok(())
            }
            Values::Numeric(column) => {
                let mut text = Vec::new();
                column.push_text(row, &mut text);
                push_numeric(&String::from_utf8_lossy(&text), out);
                Ok(())
            }
            Values::Declared(type_oid, column) => {
                let mut text = Vec::new();
                column.push_text(row, &mut text);
                push_declared(*type_oid, &String::from_utf8_lossy(&text), out)
            }
            Values::Own(push) => push(row, out),
        }
    }
}

/// Prepares an array that is [plain](super::plain_arrays) for writing its values.
///
/// # Errors
/// [`ErrorKind::DatatypeMismatch`] for a type without a text form.
pub(super) fn column_binary<'a>(field: &'a Field, array: &'a ArrayRef) -> Result<ColumnBinary<'a>> {
    let values = match array.data_type() {
        DataType::Utf8 if declared_type(field).is_some() => {
            Values::Declared(pg_type(field).oid, column_text(field, array.as_ref())?)
        }
        DataType::Boolean => {
            let array = array.as_boolean();
            own(move |row, out| {
                out.push(u8::from(array.value(row)));
                Ok(())
            })
        }
        DataType::Int8 => bytes(array.as_primitive::<Int8Type>(), |value| {
            Ok(i16::from(value).to_be_bytes())
        }),
        DataType::UInt8 => bytes(array.as_primitive::<UInt8Type>(), |value| {
            Ok(i16::from(value).to_be_bytes())
        }),
        DataType::Int16 => bytes(array.as_primitive::<Int16Type>(), |value| {
            Ok(value.to_be_bytes())
        }),
        DataType::UInt16 => bytes(array.as_primitive::<UInt16Type>(), |value| {
            Ok(i32::from(value).to_be_bytes())
        }),
        DataType::Int32 => bytes(array.as_primitive::<Int32Type>(), |value| {
            Ok(value.to_be_bytes())
        }),
        DataType::UInt32 => bytes(array.as_primitive::<UInt32Type>(), |value| {
            Ok(i64::from(value).to_be_bytes())
        }),
        DataType::Int64 => bytes(array.as_primitive::<Int64Type>(), |value| {
            Ok(value.to_be_bytes())
        }),
        DataType::Float16 => bytes(array.as_primitive::<Float16Type>(), |value| {
            Ok(value.to_f32().to_be_bytes())
        }),
        DataType::Float32 => bytes(array.as_primitive::<Float32Type>(), |value| {
            Ok(value.to_be_bytes())
        }),
        DataType::Float64 => bytes(array.as_primitive::<Float64Type>(), |value| {
            Ok(value.to_be_bytes())
        }),
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Values::Numeric(column_text(field, array.as_ref())?),
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            own(move |row, out| push_bytes(array.value(row), out))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            own(move |row, out| push_bytes(array.value(row), out))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            own(move |row, out| push_bytes(array.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            own(move |row, out| push_bytes(array.value(row), out))
        }
        DataType::Date32 => bytes(array.as_primitive::<Date32Type>(), |days| {
            date(i64::from(days))
        }),
        DataType::Date64 => bytes(array.as_primitive::<Date64Type>(), |millis| {
            date(millis.div_euclid(MILLIS_PER_DAY))
        }),
        DataType::Time32(TimeUnit::Second) => micros(
            array.as_primitive::<Time32SecondType>(),
            TimeUnit::Second,
            0,
        ),
        DataType::Time32(_) => micros(
            array.as_primitive::<Time32MillisecondType>(),
            TimeUnit::Millisecond,
            0,
        ),
        DataType::Time64(TimeUnit::Nanosecond) => micros(
            array.as_primitive::<Time64NanosecondType>(),
            TimeUnit::Nanosecond,
            0,
        ),
        DataType::Time64(_) => micros(
            array.as_primitive::<Time64MicrosecondType>(),
            TimeUnit::Microsecond,
            0,
        ),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => micros(
                array.as_primitive::<TimestampSecondType>(),
                *unit,
                EPOCH_MICROS,
            ),
            TimeUnit::Millisecond => micros(
                array.as_primitive::<TimestampMillisecondType>(),
                *unit,
                EPOCH_MICROS,
            ),
            TimeUnit::Microsecond => micros(
                array.as_primitive::<TimestampMicrosecondType>(),
                *unit,
                EPOCH_MICROS,
            ),
            TimeUnit::Nanosecond => micros(
                array.as_primitive::<TimestampNanosecondType>(),
                *unit,
                EPOCH_MICROS,
            ),
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => durations(array.as_primitive::<DurationSecondType>(), *unit),
            TimeUnit::Millisecond => {
                durations(array.as_primitive::<DurationMillisecondType>(), *unit)
            }
            TimeUnit::Microsecond => {
                durations(array.as_primitive::<DurationMicrosecondType>(), *unit)
            }
            TimeUnit::Nanosecond => {
                durations(array.as_primitive::<DurationNanosecondType>(), *unit)
            }
        },
        DataType::Interval(IntervalUnit::YearMonth) => {
            bytes(array.as_primitive::<IntervalYearMonthType>(), |months| {
                Ok(interval(0, 0, months))
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            bytes(array.as_primitive::<IntervalDayTimeType>(), |value| {
                let micros = i64::from(value.milliseconds) * 1000;
                Ok(interval(micros, value.days, 0))
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            bytes(array.as_primitive::<IntervalMonthDayNanoType>(), |value| {
                let micros = in_micros(value.nanoseconds, TimeUnit::Nanosecond)?;
                Ok(interval(micros, value.days, value.months))
            })
        }
        DataType::List(item) if pg_type(field).oid != oid::TEXT => {
            let list = array.as_list::<i32>();
            let ends = list.offsets().iter().map(|offset| *offset as usize);
            lists(item, list.values(), ends.collect())?
        }
        DataType::LargeList(item) if pg_type(field).oid != oid::TEXT => {
            let list = array.as_list::<i64>();
            let ends = list.offsets().iter().map(|offset| *offset as usize);
            lists(item, list.values(), ends.collect())?
        }
        _ => Values::Text(column_text(field, array.as_ref())?),
    };
    Ok(ColumnBinary {
        nulls: array.logical_nulls(),
        values,
    })
}

fn own<'a>(push: impl Fn(usize, &mut Vec<u8>) -> Result<()> + 'a) -> Values<'a> {
    Values::Own(Box::new(push))
}

fn bytes<'a, T: ArrowPrimitiveType, const N: usize>(
    array: &'a PrimitiveArray<T>,
    bytes: impl Fn(T::Native) -> Result<[u8; N]> + 'a,
) -> Values<'a> {
    own(move |row, out| push_bytes(&bytes(array.value(row))?, out))
}

fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn out_of_range(what: &str) -> Error {
    let why = format!("a {what} is out of the range of PostgreSQL's type");
    Error::new(ErrorKind::Query, why).with_hint("cast it to text in the query")
}

fn date(days: i64) -> Result<[u8; 4]> {
    let days = i32::try_from(days - EPOCH_DAYS).map_err(|_| out_of_range("date"))?;
    Ok(days.to_be_bytes())
}

/// A time in microseconds; nanoseconds are rounded.
fn in_micros(value: i64, unit: TimeUnit) -> Result<i64> {
    let scaled = match unit {
        TimeUnit::Second => value.checked_mul(1_000_000),
        TimeUnit::Millisecond => value.checked_mul(1000),
        TimeUnit::Microsecond => Some(value),
        TimeUnit::Nanosecond => {
            let rounds_up = value.rem_euclid(1000) >= 500;
            Some(value.div_euclid(1000) + i64::from(rounds_up))
        }
    };
    scaled.ok_or_else(|| out_of_range("time"))
}

fn micros<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &PrimitiveArray<T>,
    unit: TimeUnit,
    epoch: i64,
) -> Values<'_> {
    bytes(array, move |value| {
        let micros = in_micros(value.into(), unit)?.checked_sub(epoch);
        let micros = micros.ok_or_else(|| out_of_range("timestamp"))?;
        Ok(micros.to_be_bytes())
    })
}

fn durations<T: ArrowPrimitiveType<Native = i64>>(
    array: &PrimitiveArray<T>,
    unit: TimeUnit,
) -> Values<'_> {
    bytes(array, move |value| {
        Ok(interval(in_micros(value, unit)?, 0, 0))
    })
}

fn interval(micros: i64, days: i32, months: i32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&micros.to_be_bytes());
    bytes[8..12].copy_from_slice(&days.to_be_bytes());
    bytes[12..].copy_from_slice(&months.to_be_bytes());
    bytes
}

/// Lists as arrays of one dimension. `ends` has the place of the first element of each list, and
/// the end of the last one.
fn lists<'a>(item: &'a FieldRef, elements: &'a ArrayRef, ends: Vec<usize>) -> Result<Values<'a>> {
    let element_type = pg_type(item).oid;
    let elements = Column::Binary(column_binary(item, elements)?);
    let has_nulls = |range: std::ops::Range<usize>| match &elements {
        Column::Binary(column) => range.clone().any(|row| column.is_null(row)),
        Column::Text(_) => false,
    };
    let has_nulls: Vec<bool> = ends
        .windows(2)
        .map(|pair| has_nulls(pair[0]..pair[1]))
        .collect();
    Ok(own(move |row, out| {
        let range = ends[row]..ends[row + 1];
        let dimensions = i32::from(!range.is_empty());
        out.extend_from_slice(&dimensions.to_be_bytes());
        out.extend_from_slice(&i32::from(has_nulls[row]).to_be_bytes());
        out.extend_from_slice(&element_type.to_be_bytes());
        if range.is_empty() {
            return Ok(());
        }
        let length = i32::try_from(range.len()).map_err(|_| out_of_range("list"))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
        range
            .into_iter()
            .try_for_each(|row| elements.push(row, out))
    }))
}
