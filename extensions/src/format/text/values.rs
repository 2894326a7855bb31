//! Writes the values of Arrow arrays in PostgreSQL's text form.
//!
//! Invariant: every text equals the output of PostgreSQL's output function with default settings
//! (ISO dates, hex bytes, shortest exact floats):
//! <https://www.postgresql.org/docs/current/datatype.html>. Types that PostgreSQL doesn't have,
//! such as maps, are printed like the closest PostgreSQL type.

use std::ops::Range;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, MAX_INLINE_VIEW_LEN, PrimitiveArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, max, min};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Field, FieldRef, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Schema, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::digits::Scaled;
use super::lines::Cells;
use super::nested::{ListText, StructText};
use super::numbers::{push_decimal, push_f32, push_f64, push_long_decimal};
use super::temporal::{
    SECONDS_PER_DAY, fraction, push_date_with_era, push_interval, push_iso_timestamp, push_time,
    push_time_in, push_timestamp,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::refuse_columns;

const MILLIS_PER_DAY: i64 = SECONDS_PER_DAY * 1000;

/// The extension type of UUIDs:
/// <https://arrow.apache.org/docs/format/CanonicalExtensions.html#uuid>
const UUID_EXTENSION: &str = "arrow.uuid";

/// Whether values of this type can be written as text.
fn has_text_form(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, Some(zone)) => zone.parse::<Tz>().is_ok(),
        DataType::Union(_, _) => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_text_form(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| has_text_form(field.data_type())),
        DataType::Dictionary(_, values) => has_text_form(values),
        DataType::RunEndEncoded(_, values) => has_text_form(values.data_type()),
        _ => true,
    }
}

/// Converts dictionaries, run-end encoding and other list layouts to the plain layout, at any
/// depth, because the values print the same in every layout.
///
/// # Errors
/// Arrow can't cast the array.
fn plain_array(array: &ArrayRef) -> Result<ArrayRef> {
    let plain = plain_type(array.data_type());
    if plain == *array.data_type() {
        return Ok(ArrayRef::clone(array));
    }
    cast(array, &plain).map_err(|error| {
        let why = format!("cannot write {} as text", array.data_type());
        Error::new(ErrorKind::DatatypeMismatch, why).with_source(error)
    })
}

fn plain_type(data_type: &DataType) -> DataType {
    let plain_field = |field: &FieldRef| -> FieldRef {
        let plain = plain_type(field.data_type());
        FieldRef::new(field.as_ref().clone().with_data_type(plain))
    };
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(item) | DataType::ListView(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(plain_field(item))
        }
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(plain_field(item))
        }
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}

/// A column whose values can be written as text.
pub(in crate::format) struct ColumnText<'a> {
    nulls: Option<NullBuffer>,
    values: Box<dyn ValueText + 'a>,
}

impl ColumnText<'_> {
    pub(in crate::format) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(super) fn has_nulls(&self) -> bool {
        self.nulls
            .as_ref()
            .is_some_and(|nulls| nulls.null_count() > 0)
    }

    /// Whether the texts consist only of letters, digits and [`PLAIN_PUNCTUATION`].
    pub(super) fn is_plain(&self) -> bool {
        self.values.is_plain()
    }

    /// Appends the text of a value that is not NULL.
    pub(in crate::format) fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        self.values.push_text(row, out);
    }

    /// Appends a cell for each row: the unchanged text of the value, or `null`.
    pub(super) fn push_cells(&self, rows: Range<usize>, null: &[u8], cells: &mut Cells) {
        let nulls = self.nulls.as_ref().filter(|nulls| nulls.null_count() > 0);
        let nulls = nulls.map(|nulls| Nulls { nulls, text: null });
        self.values.push_cells(rows, nulls, cells);
    }

    /// Appends a cell for each row: the value's text as rewritten by `write`, or `null` unchanged.
    pub(super) fn push_cells_with(
        &self,
        rows: Range<usize>,
        null: &[u8],
        cells: &mut Cells,
        write: impl Fn(&[u8], &mut Vec<u8>),
    ) {
        let write_cell = |text: &[u8], cells: &mut Cells| {
            write(text, cells.text());
            cells.end_cell();
        };
        if !self.has_nulls() {
            return self
                .values
                .for_each(rows, &mut |text| write_cell(text, cells));
        }
        for row in rows {
            if self.is_null(row) {
                cells.text().extend_from_slice(null);
                cells.end_cell();
            } else {
                let only = row..row + 1;
                self.values
                    .for_each(only, &mut |text| write_cell(text, cells));
            }
        }
    }
}

/// Characters in the texts of numbers, times and bytes, besides letters and digits.
pub(super) const PLAIN_PUNCTUATION: &[u8] = b" +-.:\\";

/// The NULLs of a column that has some, and their text.
#[derive(Clone, Copy)]
pub(super) struct Nulls<'a> {
    nulls: &'a NullBuffer,
    text: &'a [u8],
}

/// Appends a cell for each row: the text for NULL, or the cell that `push` appends.
fn push_each(
    rows: Range<usize>,
    nulls: Option<Nulls<'_>>,
    cells: &mut Cells,
    push: impl Fn(usize, &mut Cells),
) {
    let Some(Nulls { nulls, text }) = nulls else {
        return rows.for_each(|row| push(row, cells));
    };
    for row in rows {
        if nulls.is_null(row) {
            cells.text().extend_from_slice(text);
            cells.end_cell();
        } else {
            push(row, cells);
        }
    }
}

pub(super) trait ValueText {
    fn push_text(&self, row: usize, out: &mut Vec<u8>);

    /// Whether the texts consist only of letters, digits and [`PLAIN_PUNCTUATION`].
    fn is_plain(&self) -> bool {
        true
    }

    /// Appends a cell for each row.
    fn push_cells(&self, rows: Range<usize>, nulls: Option<Nulls<'_>>, cells: &mut Cells) {
        push_each(rows, nulls, cells, |row, cells| {
            self.push_text(row, cells.text());
            cells.end_cell();
        });
    }

    /// Calls `work` with the text of each row. No row may be NULL.
    fn for_each(&self, rows: Range<usize>, work: &mut dyn FnMut(&[u8])) {
        let mut text = Vec::new();
        for row in rows {
            text.clear();
            self.push_text(row, &mut text);
            work(&text);
        }
    }
}

/// Prepares an array that is [plain](plain_array) for writing its values.
///
/// # Errors
/// [`ErrorKind::DatatypeMismatch`] for a type that [`has_text_form`] refuses.
pub(in crate::format) fn column_text<'a>(
    field: &Field,
    array: &'a dyn Array,
) -> Result<ColumnText<'a>> {
    let values: Box<dyn ValueText + 'a> = match array.data_type() {
        DataType::Null => Box::new(NullText),
        DataType::Boolean => Box::new(array.as_boolean().clone()),
        DataType::Int8 => numbers(array.as_primitive::<Int8Type>(), |value| {
            i64::from(value).into()
        }),
        DataType::Int16 => numbers(array.as_primitive::<Int16Type>(), |value| {
            i64::from(value).into()
        }),
        DataType::Int32 => numbers(array.as_primitive::<Int32Type>(), |value| {
            i64::from(value).into()
        }),
        DataType::Int64 => numbers(array.as_primitive::<Int64Type>(), |value| value.into()),
        DataType::UInt8 => numbers(array.as_primitive::<UInt8Type>(), |value| {
            u64::from(value).into()
        }),
        DataType::UInt16 => numbers(array.as_primitive::<UInt16Type>(), |value| {
            u64::from(value).into()
        }),
        DataType::UInt32 => numbers(array.as_primitive::<UInt32Type>(), |value| {
            u64::from(value).into()
        }),
        DataType::UInt64 => numbers(array.as_primitive::<UInt64Type>(), |value| value.into()),
        DataType::Float16 => write_with(array.as_primitive::<Float16Type>(), |value, out| {
            push_f32(value.to_f32(), out);
        }),
        DataType::Float32 => write_with(array.as_primitive::<Float32Type>(), |value, out| {
            push_f32(value, out);
        }),
        DataType::Float64 => write_with(array.as_primitive::<Float64Type>(), |value, out| {
            push_f64(value, out);
        }),
        DataType::Decimal32(_, scale) => decimals(array.as_primitive::<Decimal32Type>(), *scale),
        DataType::Decimal64(_, scale) => decimals(array.as_primitive::<Decimal64Type>(), *scale),
        DataType::Decimal128(_, scale) => decimals(array.as_primitive::<Decimal128Type>(), *scale),
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            write_with(array.as_primitive::<Decimal256Type>(), move |value, out| {
                push_long_decimal(&value.to_string(), scale, out);
            })
        }
        DataType::Utf8 => Box::new(BytesText(array.as_string::<i32>())),
        DataType::LargeUtf8 => Box::new(BytesText(array.as_string::<i64>())),
        DataType::Utf8View => Box::new(array.as_string_view().clone()),
        DataType::Binary => Box::new(HexText(array.as_binary::<i32>().clone())),
        DataType::LargeBinary => Box::new(HexText(array.as_binary::<i64>().clone())),
        DataType::BinaryView => Box::new(HexText(array.as_binary_view().clone())),
        other if is_uuid(field, other) => Box::new(UuidText(array.as_fixed_size_binary())),
        DataType::FixedSizeBinary(_) => Box::new(HexText(array.as_fixed_size_binary().clone())),
        DataType::Date32 => write_with(array.as_primitive::<Date32Type>(), |days, out| {
            push_date_with_era(i64::from(days), out);
        }),
        DataType::Date64 => write_with(array.as_primitive::<Date64Type>(), |millis, out| {
            push_date_with_era(millis.div_euclid(MILLIS_PER_DAY), out);
        }),
        DataType::Time32(_) | DataType::Time64(_) if !is_within_day(array) => {
            let why = format!(
                "the column {} has a time that is not within a day",
                field.name()
            );
            return Err(Error::new(ErrorKind::Query, why));
        }
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
            let zone = parse_zone(array, zone.as_deref())?;
            timestamp_text(array, *unit, move |value, out| {
                push_timestamp(value, *unit, zone, out);
            })
        }
        DataType::Duration(unit) => duration_text(array, *unit),
        DataType::Interval(IntervalUnit::YearMonth) => write_with(
            array.as_primitive::<IntervalYearMonthType>(),
            |months, out| push_interval(i64::from(months), 0, 0, out),
        ),
        DataType::Interval(IntervalUnit::DayTime) => {
            write_with(array.as_primitive::<IntervalDayTimeType>(), |value, out| {
                let nanos = i128::from(value.milliseconds) * 1_000_000;
                push_interval(0, i64::from(value.days), nanos, out);
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => write_with(
            array.as_primitive::<IntervalMonthDayNanoType>(),
            |value, out| {
                let (months, days) = (i64::from(value.months), i64::from(value.days));
                push_interval(months, days, i128::from(value.nanoseconds), out);
            },
        ),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            Box::new(ListText::new(list.offsets(), item, list.values())?)
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            Box::new(ListText::new(list.offsets(), item, list.values())?)
        }
        DataType::Map(entries, _) => {
            let map = array.as_map();
            Box::new(ListText::new(map.offsets(), entries, map.entries())?)
        }
        DataType::Struct(fields) => Box::new(StructText::new(fields, array.as_struct().columns())?),
        _ => return Err(no_text(array)),
    };
    Ok(ColumnText {
        nulls: array.logical_nulls(),
        values,
    })
}

/// Whether all times of an array are from 00:00:00 to before 24:00:00.
fn is_within_day(array: &dyn Array) -> bool {
    fn bounds<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<(i64, i64)>
    where
        T::Native: Into<i64>,
    {
        let times = array.as_primitive::<T>();
        Some((min(times)?.into(), max(times)?.into()))
    }
    let (unit, bounds) = match array.data_type() {
        DataType::Time32(TimeUnit::Second) => (TimeUnit::Second, bounds::<Time32SecondType>(array)),
        DataType::Time32(_) => (
            TimeUnit::Millisecond,
            bounds::<Time32MillisecondType>(array),
        ),
        DataType::Time64(TimeUnit::Nanosecond) => {
            (TimeUnit::Nanosecond, bounds::<Time64NanosecondType>(array))
        }
        _ => (
            TimeUnit::Microsecond,
            bounds::<Time64MicrosecondType>(array),
        ),
    };
    let (_, per_second) = fraction(unit);
    bounds.is_none_or(|(first, last)| first >= 0 && last < per_second * SECONDS_PER_DAY)
}

/// Whether a column holds UUIDs.
pub(in crate::format) fn is_uuid(field: &Field, data_type: &DataType) -> bool {
    *data_type == DataType::FixedSizeBinary(16)
        && field.extension_type_name() == Some(UUID_EXTENSION)
}

fn no_text(array: &dyn Array) -> Error {
    Error::new(
        ErrorKind::DatatypeMismatch,
        format!("cannot write {} as text", array.data_type()),
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

/// Whole numbers.
struct NumberText<'a, T: ArrowPrimitiveType, F> {
    array: &'a PrimitiveArray<T>,
    number: F,
}

impl<T: ArrowPrimitiveType, F: Fn(T::Native) -> Scaled> ValueText for NumberText<'_, T, F> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        (self.number)(self.array.value(row)).push(out);
    }

    fn push_cells(&self, rows: Range<usize>, nulls: Option<Nulls<'_>>, cells: &mut Cells) {
        push_each(rows, nulls, cells, |row, cells| {
            cells.push_number((self.number)(self.array.value(row)));
        });
    }
}

fn numbers<'a, T: ArrowPrimitiveType>(
    array: &'a PrimitiveArray<T>,
    number: impl Fn(T::Native) -> Scaled + 'a,
) -> Box<dyn ValueText + 'a> {
    Box::new(NumberText { array, number })
}

struct DecimalText<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    scale: i8,
}

impl<T: ArrowPrimitiveType<Native: Into<i128>>> ValueText for DecimalText<'_, T> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        push_decimal(self.array.value(row).into(), self.scale, out);
    }

    fn push_cells(&self, rows: Range<usize>, nulls: Option<Nulls<'_>>, cells: &mut Cells) {
        push_each(rows, nulls, cells, |row, cells| {
            let value = self.array.value(row).into();
            match Scaled::decimal(value, self.scale) {
                Some(number) => cells.push_number(number),
                None => {
                    push_decimal(value, self.scale, cells.text());
                    cells.end_cell();
                }
            }
        });
    }
}

fn decimals<T: ArrowPrimitiveType<Native: Into<i128>>>(
    array: &PrimitiveArray<T>,
    scale: i8,
) -> Box<dyn ValueText + '_> {
    Box::new(DecimalText { array, scale })
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

    fn for_each(&self, rows: Range<usize>, work: &mut dyn FnMut(&[u8])) {
        rows.for_each(|row| work(self.0.value(row).as_bytes()));
    }

    fn is_plain(&self) -> bool {
        false
    }
}

impl ValueText for StringViewArray {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.value(row).as_bytes());
    }

    fn for_each(&self, rows: Range<usize>, work: &mut dyn FnMut(&[u8])) {
        rows.for_each(|row| work(self.value(row).as_bytes()));
    }

    fn push_cells(&self, rows: Range<usize>, nulls: Option<Nulls<'_>>, cells: &mut Cells) {
        push_each(rows, nulls, cells, |row, cells| {
            let view = self.views()[row];
            let length = view as u32;
            if length <= MAX_INLINE_VIEW_LEN {
                // A short text follows its length in the view.
                cells.push_short(&(view >> u32::BITS).to_le_bytes(), length as usize);
            } else {
                self.push_text(row, cells.text());
                cells.end_cell();
            }
        });
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

fn parse_zone(array: &dyn Array, zone: Option<&str>) -> Result<Option<Tz>> {
    let zone = zone.map(str::parse).transpose();
    zone.map_err(|_| no_text(array))
}

/// Prepares timestamps for writing in ISO 8601 form: `2010-10-10T08:10:10.5Z`.
///
/// # Errors
/// The time zone is unknown, or the array does not contain timestamps.
pub(super) fn iso_timestamp_text(array: &dyn Array) -> Result<ColumnText<'_>> {
    let DataType::Timestamp(unit, zone) = array.data_type() else {
        return Err(no_text(array));
    };
    let zone = parse_zone(array, zone.as_deref())?;
    Ok(ColumnText {
        nulls: array.nulls().cloned(),
        values: timestamp_text(array, *unit, move |value, out| {
            push_iso_timestamp(value, *unit, zone, out);
        }),
    })
}

fn timestamp_text<'a>(
    array: &'a dyn Array,
    unit: TimeUnit,
    write: impl Fn(i64, &mut Vec<u8>) + 'a,
) -> Box<dyn ValueText + 'a> {
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

struct UuidText<'a>(&'a FixedSizeBinaryArray);

impl ValueText for UuidText<'_> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        let uuid = uuid::Uuid::from_slice(self.0.value(row)).unwrap_or_default();
        let mut buffer = uuid::Uuid::encode_buffer();
        out.extend_from_slice(uuid.hyphenated().encode_lower(&mut buffer).as_bytes());
    }
}

fn duration_text(array: &dyn Array, unit: TimeUnit) -> Box<dyn ValueText + '_> {
    let (_, per_second) = fraction(unit);
    let nanos_per_unit = i128::from(1_000_000_000 / per_second);
    let write = move |value: i64, out: &mut Vec<u8>| {
        push_interval(0, 0, i128::from(value) * nanos_per_unit, out);
    };
    match unit {
        TimeUnit::Second => write_with(array.as_primitive::<DurationSecondType>(), write),
        TimeUnit::Millisecond => write_with(array.as_primitive::<DurationMillisecondType>(), write),
        TimeUnit::Microsecond => write_with(array.as_primitive::<DurationMicrosecondType>(), write),
        TimeUnit::Nanosecond => write_with(array.as_primitive::<DurationNanosecondType>(), write),
    }
}

/// Returns the batch's columns as [plain](plain_array) arrays.
pub(in crate::format) fn plain_arrays(batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    batch.columns().iter().map(plain_array).collect()
}

/// Prepares the [plain](plain_arrays) columns of a batch for writing.
pub(super) fn texts<'a>(schema: &Schema, arrays: &'a [ArrayRef]) -> Result<Vec<ColumnText<'a>>> {
    let columns = schema.fields().iter().zip(arrays);
    columns
        .map(|(field, array)| column_text(field, array))
        .collect()
}

/// Returns an error that names all columns whose values can't be written as text.
pub(super) fn refuse_textless(format: &str, schema: &Schema) -> Result<()> {
    let refused: Vec<&Field> = schema
        .fields()
        .iter()
        .map(AsRef::as_ref)
        .filter(|field| !has_text_form(field.data_type()))
        .collect();
    refuse_columns(format, &refused)
}

/// The values as PostgreSQL prints them; NULL stays NULL.
///
/// # Errors
/// [`ErrorKind::DatatypeMismatch`] for a type that has no text form.
pub(crate) fn text_array(field: &Field, array: &ArrayRef) -> Result<StringArray> {
    let plain = plain_array(array)?;
    if !has_text_form(plain.data_type()) {
        let why = format!("{} has no text form", plain.data_type());
        return Err(Error::new(ErrorKind::DatatypeMismatch, why));
    }
    let column = column_text(field, plain.as_ref())?;
    let mut text = Vec::new();
    let texts = (0..plain.len()).map(|row| {
        if plain.is_null(row) {
            return None;
        }
        text.clear();
        column.push_text(row, &mut text);
        Some(String::from_utf8_lossy(&text).into_owned())
    });
    Ok(texts.collect())
}
