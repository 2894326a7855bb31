//! PostgreSQL's text for values, written from Arrow arrays.
//!
//! Invariant: for a type in [`has_text_form`], the text is what PostgreSQL's output function
//! prints with its default settings (ISO dates, hex bytes, shortest exact floats):
//! <https://www.postgresql.org/docs/current/datatype.html>

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, PrimitiveArray, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use chrono::{Offset, TimeZone};

use crate::error::{Error, ErrorKind, Result};

const SECONDS_PER_DAY: i64 = 86_400;
const MILLIS_PER_DAY: i64 = SECONDS_PER_DAY * 1000;

/// Whether values of this type have a text yet.
pub(super) fn has_text_form(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, Some(zone)) => zone.parse::<Tz>().is_ok(),
        other => {
            other.is_integer()
                || other.is_floating()
                || other.is_decimal()
                || matches!(
                    other,
                    DataType::Null
                        | DataType::Boolean
                        | DataType::Utf8
                        | DataType::LargeUtf8
                        | DataType::Utf8View
                        | DataType::Binary
                        | DataType::LargeBinary
                        | DataType::BinaryView
                        | DataType::FixedSizeBinary(_)
                        | DataType::Date32
                        | DataType::Date64
                        | DataType::Time32(_)
                        | DataType::Time64(_)
                        | DataType::Timestamp(_, None)
                )
        }
    }
}

/// A column whose values can be written as text.
pub(super) struct ColumnText<'a> {
    nulls: Option<NullBuffer>,
    values: Box<dyn ValueText + 'a>,
}

impl ColumnText<'_> {
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The text itself where the array already holds it.
    pub(super) fn as_bytes(&self, row: usize) -> Option<&[u8]> {
        self.values.as_bytes(row)
    }

    /// Whether no text of this column ever needs quotes.
    pub(super) fn is_plain(&self) -> bool {
        self.values.is_plain()
    }

    /// Appends the text of a value that is not NULL.
    pub(super) fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        self.values.push_text(row, out);
    }
}

trait ValueText {
    fn push_text(&self, row: usize, out: &mut Vec<u8>);

    fn as_bytes(&self, _row: usize) -> Option<&[u8]> {
        None
    }

    /// Digits, letters, signs, spaces and colons only.
    fn is_plain(&self) -> bool {
        true
    }
}

/// Prepares an array for writing its values.
///
/// # Errors
/// [`ErrorKind::DatatypeMismatch`] for a type that [`has_text_form`] refuses.
pub(super) fn column_text(array: &dyn Array) -> Result<ColumnText<'_>> {
    let values: Box<dyn ValueText + '_> = match array.data_type() {
        DataType::Null => Box::new(NullText),
        DataType::Boolean => Box::new(array.as_boolean().clone()),
        DataType::Int8 => Box::new(IntegerText(array.as_primitive::<Int8Type>())),
        DataType::Int16 => Box::new(IntegerText(array.as_primitive::<Int16Type>())),
        DataType::Int32 => Box::new(IntegerText(array.as_primitive::<Int32Type>())),
        DataType::Int64 => Box::new(IntegerText(array.as_primitive::<Int64Type>())),
        DataType::UInt8 => Box::new(IntegerText(array.as_primitive::<UInt8Type>())),
        DataType::UInt16 => Box::new(IntegerText(array.as_primitive::<UInt16Type>())),
        DataType::UInt32 => Box::new(IntegerText(array.as_primitive::<UInt32Type>())),
        DataType::UInt64 => Box::new(IntegerText(array.as_primitive::<UInt64Type>())),
        DataType::Float16 => write_with(array.as_primitive::<Float16Type>(), |value, out| {
            push_float(ryu::Buffer::new().format(value.to_f32()), 6, out);
        }),
        DataType::Float32 => write_with(array.as_primitive::<Float32Type>(), |value, out| {
            push_float(ryu::Buffer::new().format(value), 6, out);
        }),
        DataType::Float64 => write_with(array.as_primitive::<Float64Type>(), |value, out| {
            push_float(ryu::Buffer::new().format(value), 15, out);
        }),
        DataType::Decimal32(_, scale) => {
            let scale = *scale;
            write_with(array.as_primitive::<Decimal32Type>(), move |value, out| {
                push_decimal(itoa::Buffer::new().format(value), scale, out);
            })
        }
        DataType::Decimal64(_, scale) => {
            let scale = *scale;
            write_with(array.as_primitive::<Decimal64Type>(), move |value, out| {
                push_decimal(itoa::Buffer::new().format(value), scale, out);
            })
        }
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            write_with(array.as_primitive::<Decimal128Type>(), move |value, out| {
                // Most decimals fit into 64 bits, which divide much faster.
                match i64::try_from(value) {
                    Ok(small) => push_decimal(itoa::Buffer::new().format(small), scale, out),
                    Err(_) => push_decimal(itoa::Buffer::new().format(value), scale, out),
                }
            })
        }
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            write_with(array.as_primitive::<Decimal256Type>(), move |value, out| {
                push_decimal(&value.to_string(), scale, out);
            })
        }
        DataType::Utf8 => Box::new(BytesText(array.as_string::<i32>())),
        DataType::LargeUtf8 => Box::new(BytesText(array.as_string::<i64>())),
        DataType::Utf8View => Box::new(array.as_string_view().clone()),
        DataType::Binary => Box::new(HexText(array.as_binary::<i32>().clone())),
        DataType::LargeBinary => Box::new(HexText(array.as_binary::<i64>().clone())),
        DataType::BinaryView => Box::new(HexText(array.as_binary_view().clone())),
        DataType::FixedSizeBinary(_) => Box::new(HexText(array.as_fixed_size_binary().clone())),
        DataType::Date32 => write_with(array.as_primitive::<Date32Type>(), |days, out| {
            push_date_with_era(i64::from(days), out);
        }),
        DataType::Date64 => write_with(array.as_primitive::<Date64Type>(), |millis, out| {
            push_date_with_era(millis.div_euclid(MILLIS_PER_DAY), out);
        }),
        DataType::Time32(TimeUnit::Second) => {
            write_with(array.as_primitive::<Time32SecondType>(), |value, out| {
                push_time(i64::from(value), 0, 0, out);
            })
        }
        DataType::Time32(_) => write_with(
            array.as_primitive::<Time32MillisecondType>(),
            |value, out| push_time_in(i64::from(value), TimeUnit::Millisecond, out),
        ),
        DataType::Time64(TimeUnit::Nanosecond) => write_with(
            array.as_primitive::<Time64NanosecondType>(),
            |value, out| {
                push_time_in(value, TimeUnit::Nanosecond, out);
            },
        ),
        DataType::Time64(_) => write_with(
            array.as_primitive::<Time64MicrosecondType>(),
            |value, out| push_time_in(value, TimeUnit::Microsecond, out),
        ),
        DataType::Timestamp(unit, zone) => {
            let zone = zone
                .as_deref()
                .map(|name| name.parse::<Tz>())
                .transpose()
                .map_err(|_| no_text(array))?;
            timestamp_text(array, *unit, zone)
        }
        _ => return Err(no_text(array)),
    };
    Ok(ColumnText {
        nulls: array.logical_nulls(),
        values,
    })
}

fn no_text(array: &dyn Array) -> Error {
    Error::new(
        ErrorKind::DatatypeMismatch,
        format!("cannot encode {} as csv", array.data_type()),
    )
}

struct NullText;

impl ValueText for NullText {
    fn push_text(&self, _row: usize, _out: &mut Vec<u8>) {}
}

impl ValueText for BooleanArray {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        out.push(if self.value(row) { b't' } else { b'f' });
    }
}

struct IntegerText<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native: itoa::Integer>> ValueText for IntegerText<'_, T> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self.0.value(row)).as_bytes());
    }
}

struct PrimitiveText<'a, T: ArrowPrimitiveType, F> {
    array: &'a PrimitiveArray<T>,
    write: F,
}

impl<T: ArrowPrimitiveType, F: Fn(T::Native, &mut Vec<u8>)> ValueText for PrimitiveText<'_, T, F> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        (self.write)(self.array.value(row), out);
    }
}

fn write_with<'a, T: ArrowPrimitiveType>(
    array: &'a PrimitiveArray<T>,
    write: impl Fn(T::Native, &mut Vec<u8>) + 'a,
) -> Box<dyn ValueText + 'a> {
    Box::new(PrimitiveText { array, write })
}

struct BytesText<'a, O: arrow::array::OffsetSizeTrait>(&'a arrow::array::GenericStringArray<O>);

impl<O: arrow::array::OffsetSizeTrait> ValueText for BytesText<'_, O> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.value(row).as_bytes());
    }

    fn as_bytes(&self, row: usize) -> Option<&[u8]> {
        Some(self.0.value(row).as_bytes())
    }

    fn is_plain(&self) -> bool {
        false
    }
}

impl ValueText for StringViewArray {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.value(row).as_bytes());
    }

    fn as_bytes(&self, row: usize) -> Option<&[u8]> {
        Some(self.value(row).as_bytes())
    }

    fn is_plain(&self) -> bool {
        false
    }
}

struct HexText<A>(A);

macro_rules! hex_text {
    ($($array:ty),*) => {$(
        impl ValueText for HexText<$array> {
            fn push_text(&self, row: usize, out: &mut Vec<u8>) {
                push_hex((&self.0).value(row), out);
            }
        }
    )*};
}

hex_text!(
    BinaryArray,
    LargeBinaryArray,
    BinaryViewArray,
    FixedSizeBinaryArray
);

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn timestamp_text(array: &dyn Array, unit: TimeUnit, zone: Option<Tz>) -> Box<dyn ValueText + '_> {
    let write = move |value: i64, out: &mut Vec<u8>| push_timestamp(value, unit, zone, out);
    match unit {
        TimeUnit::Second => write_with(array.as_primitive::<TimestampSecondType>(), write),
        TimeUnit::Millisecond => {
            write_with(array.as_primitive::<TimestampMillisecondType>(), write)
        }
        TimeUnit::Microsecond => {
            write_with(array.as_primitive::<TimestampMicrosecondType>(), write)
        }
        TimeUnit::Nanosecond => write_with(array.as_primitive::<TimestampNanosecondType>(), write),
    }
}

/// How many digits a fraction of a second has in this unit, and how many of it make a second.
fn fraction(unit: TimeUnit) -> (usize, i64) {
    match unit {
        TimeUnit::Second => (0, 1),
        TimeUnit::Millisecond => (3, 1_000),
        TimeUnit::Microsecond => (6, 1_000_000),
        TimeUnit::Nanosecond => (9, 1_000_000_000),
    }
}

fn push_timestamp(value: i64, unit: TimeUnit, zone: Option<Tz>, out: &mut Vec<u8>) {
    let (digits, per_second) = fraction(unit);
    let utc = value.div_euclid(per_second);
    let rest = value.rem_euclid(per_second);
    let offset = zone.map(|zone| utc_offset(zone, utc));
    let local = utc + offset.unwrap_or(0);
    let year = push_date(local.div_euclid(SECONDS_PER_DAY), out);
    out.push(b' ');
    push_time(local.rem_euclid(SECONDS_PER_DAY), rest, digits, out);
    if let Some(offset) = offset {
        push_offset(offset, out);
    }
    push_era(year, out);
}

/// The zone's offset in seconds east of UTC at a moment in seconds since 1970.
fn utc_offset(zone: Tz, utc: i64) -> i64 {
    chrono::DateTime::from_timestamp(utc, 0).map_or(0, |moment| {
        let offset = zone.offset_from_utc_datetime(&moment.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    })
}

/// `+00`, `+05:30`, `-00:25:21`
fn push_offset(offset: i64, out: &mut Vec<u8>) {
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = offset.abs();
    push_two_digits(seconds / 3600, out);
    if seconds % 3600 != 0 {
        out.push(b':');
        push_two_digits(seconds / 60 % 60, out);
    }
    if seconds % 60 != 0 {
        out.push(b':');
        push_two_digits(seconds % 60, out);
    }
}

fn push_date_with_era(days: i64, out: &mut Vec<u8>) {
    let year = push_date(days, out);
    push_era(year, out);
}

/// Writes the date and returns the astronomical year (0 is 1 BC).
fn push_date(days: i64, out: &mut Vec<u8>) -> i64 {
    let (year, month, day) = civil_from_days(days);
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        push_two_digits(shown / 100, out);
        push_two_digits(shown % 100, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
    out.push(b'-');
    push_two_digits(month, out);
    out.push(b'-');
    push_two_digits(day, out);
    year
}

fn push_era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Year, month and day of a day counted from 1970-01-01 in the proleptic Gregorian calendar:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn push_time_in(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let (digits, per_second) = fraction(unit);
    push_time(
        value.div_euclid(per_second),
        value.rem_euclid(per_second),
        digits,
        out,
    );
}

/// `08:10:10.5`: a fraction of `digits` digits without its trailing zeros.
fn push_time(seconds: i64, fraction: i64, digits: usize, out: &mut Vec<u8>) {
    push_two_digits(seconds / 3600, out);
    out.push(b':');
    push_two_digits(seconds / 60 % 60, out);
    out.push(b':');
    push_two_digits(seconds % 60, out);
    if fraction != 0 {
        out.push(b'.');
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(fraction);
        out.extend(std::iter::repeat_n(b'0', digits - text.len()));
        out.extend_from_slice(text.trim_end_matches('0').as_bytes());
    }
}

fn push_two_digits(value: i64, out: &mut Vec<u8>) {
    let value = value as u8;
    out.push(b'0' + value / 10);
    out.push(b'0' + value % 10);
}

/// Puts the point into the digits of a scaled integer.
fn push_decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    out.extend_from_slice(sign.as_bytes());
    let Ok(scale) = usize::try_from(scale) else {
        out.extend_from_slice(digits.as_bytes());
        let zeros = if digits == "0" {
            0
        } else {
            scale.unsigned_abs()
        };
        out.extend(std::iter::repeat_n(b'0', usize::from(zeros)));
        return;
    };
    if scale == 0 {
        out.extend_from_slice(digits.as_bytes());
        return;
    }
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole.as_bytes());
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits.as_bytes());
    }
}

/// Rewrites ryu's shortest exact text (`1e20`, `0.1`, `100.0`) in PostgreSQL's form: decimal
/// notation while -4 <= exponent < `precision`, else an exponent of at least two digits. The rule
/// is `double_to_shortest_decimal_bufn` in PostgreSQL's src/common/d2s.c.
fn push_float(shortest: &str, precision: i32, out: &mut Vec<u8>) {
    match shortest {
        "NaN" => return out.extend_from_slice(b"NaN"),
        "inf" => return out.extend_from_slice(b"Infinity"),
        "-inf" => return out.extend_from_slice(b"-Infinity"),
        _ => {}
    }
    let unsigned = match shortest.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => shortest,
    };
    let (mantissa, exponent) = match unsigned.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');

    // All significant digits, and the exponent of the first of them.
    let mut digits: Vec<u8> = [whole.as_bytes(), fraction.as_bytes()].concat();
    let leading_zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    if leading_zeros == digits.len() {
        out.push(b'0');
        return;
    }
    let first_exponent = exponent + whole.len() as i32 - 1 - leading_zeros as i32;
    digits.drain(..leading_zeros);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }

    if (-4..precision).contains(&first_exponent) {
        push_plain(&digits, first_exponent, out);
    } else {
        push_scientific(&digits, first_exponent, out);
    }
}

fn push_plain(digits: &[u8], first_exponent: i32, out: &mut Vec<u8>) {
    match usize::try_from(first_exponent) {
        Err(_) => {
            out.extend_from_slice(b"0.");
            let zeros = first_exponent.unsigned_abs() as usize - 1;
            out.extend(std::iter::repeat_n(b'0', zeros));
            out.extend_from_slice(digits);
        }
        Ok(exponent) if digits.len() <= exponent + 1 => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', exponent + 1 - digits.len()));
        }
        Ok(exponent) => {
            out.extend_from_slice(&digits[..=exponent]);
            out.push(b'.');
            out.extend_from_slice(&digits[exponent + 1..]);
        }
    }
}

fn push_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let magnitude = i64::from(exponent.abs());
    if magnitude < 100 {
        push_two_digits(magnitude, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
    }
}
