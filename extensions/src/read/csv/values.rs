//! Parses texts into values of a type.
//!
//! Invariant: the text that [`crate::format`] writes for a value, in PostgreSQL's format, becomes
//! that value again. A text that is not a value of the type is an error; only an empty text may
//! become NULL.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, GenericListArray, MapArray, OffsetSizeTrait,
    StringArray, StructArray,
};
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields, IntervalUnit};
use arrow::error::ArrowError;

use super::exact::find_time;
use super::nested::{ListTexts, record_texts};

/// Why a column can't be read: the first row whose text is not a value, or Arrow's error.
#[derive(Debug)]
pub(in crate::read) enum BadValue {
    Row(usize),
    Arrow(ArrowError),
}

impl BadValue {
    /// The same in the row that holds the value's row.
    pub(in crate::read) fn in_row(self, row_of: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Row(row) => Self::Row(row_of(row)),
            other => other,
        }
    }
}

impl From<ArrowError> for BadValue {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

/// Parses the texts. Returns one value for each text, and NULL for NULL.
///
/// # Errors
/// [`BadValue::Row`] for the first text that is not a value of the type, [`BadValue::Arrow`] if no
/// text can be converted to the type.
pub(in crate::read) fn values_of(
    texts: &StringArray,
    data_type: &DataType,
) -> Result<ArrayRef, BadValue> {
    match data_type {
        DataType::Utf8 => Ok(Arc::new(texts.clone())),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => cast_checked(&bytes_of(texts)?, data_type),
        // Arrow would cut a time off.
        DataType::Date32 | DataType::Date64 => match find_time(texts) {
            Some(row) => Err(BadValue::Row(row)),
            None => cast_checked(texts, data_type),
        },
        DataType::Boolean => cast_checked(&map_texts(texts, spell_boolean), data_type),
        DataType::Interval(_) => cast_checked(&map_texts(texts, spell_interval), data_type),
        DataType::Float16 => {
            let wide = cast_checked(texts, &DataType::Float32)?;
            cast_checked(&wide, data_type)
        }
        DataType::Duration(_) => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            cast_checked(&values_of(texts, &interval)?, data_type)
        }
        DataType::List(item) => list::<i32>(texts, item),
        DataType::LargeList(item) => list::<i64>(texts, item),
        DataType::FixedSizeList(item, length) => {
            let lists = ListTexts::parse(texts)?;
            let length_of = |row: usize| lists.offsets[row + 1] - lists.offsets[row];
            let length = usize::try_from(*length).unwrap_or_default();
            let wrong = |row: &usize| texts.is_valid(*row) && length_of(*row) != length;
            if let Some(row) = (0..texts.len()).find(wrong) {
                return Err(BadValue::Row(row));
            }
            Ok(cast(&list::<i32>(texts, item)?, data_type)?)
        }
        DataType::Struct(fields) => Ok(Arc::new(records(texts, fields)?)),
        DataType::Map(entries, sorted) => {
            let lists = ListTexts::parse(texts)?;
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError("a map without entries".to_owned()).into());
            };
            let pairs = lists.at_rows(records(&lists.items, fields))?;
            let map = MapArray::try_new(
                FieldRef::clone(entries),
                lists.offset_buffer::<i32>()?,
                pairs,
                texts.nulls().cloned(),
                *sorted,
            )?;
            Ok(Arc::new(map))
        }
        other => cast_checked(texts, other),
    }
}

fn list<O: OffsetSizeTrait>(texts: &StringArray, item: &FieldRef) -> Result<ArrayRef, BadValue> {
    let lists = ListTexts::parse(texts)?;
    let items = lists.at_rows(values_of(&lists.items, item.data_type()))?;
    let offsets = lists.offset_buffer::<O>()?;
    let nulls = texts.nulls().cloned();
    let array = GenericListArray::<O>::try_new(FieldRef::clone(item), offsets, items, nulls)?;
    Ok(Arc::new(array))
}

fn records(texts: &StringArray, fields: &Fields) -> Result<StructArray, BadValue> {
    let columns = record_texts(texts, fields.len())?;
    let columns = columns.iter().zip(fields);
    let columns = columns.map(|(texts, field)| values_of(texts, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = texts.nulls().cloned();
    Ok(StructArray::try_new(fields.clone(), columns, nulls)?)
}

/// Casts with Arrow, but returns an error for a value that Arrow would turn into NULL. An empty
/// text may become NULL, because other programs write a missing value as an empty text in quotes.
fn cast_checked(array: &dyn Array, data_type: &DataType) -> Result<ArrayRef, BadValue> {
    if !can_cast_types(array.data_type(), data_type) {
        let why = format!("CSV has no values of type {data_type}");
        return Err(ArrowError::CastError(why).into());
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let values = cast_with_options(array, data_type, &options)?;
    if values.logical_null_count() > array.null_count() {
        let nulls = values.logical_nulls();
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let texts = array.as_string_opt::<i32>();
        let is_empty = |row: usize| texts.is_some_and(|texts| texts.value(row).is_empty());
        let is_bad = |row: &usize| array.is_valid(*row) && is_null(*row) && !is_empty(*row);
        if let Some(row) = (0..array.len()).find(is_bad) {
            return Err(BadValue::Row(row));
        }
    }
    Ok(values)
}

fn map_texts(texts: &StringArray, spell: fn(&str) -> Cow<'_, str>) -> StringArray {
    texts.iter().map(|text| text.map(spell)).collect()
}

/// PostgreSQL's `t` and `f` as Arrow knows them.
fn spell_boolean(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(match text {
        "t" => "true",
        "f" => "false",
        other => other,
    })
}

/// PostgreSQL's `-1 days +04:05:06` as Arrow knows it: `-1 days 04 hours 05 minutes 06 seconds`.
fn spell_interval(text: &str) -> Cow<'_, str> {
    let words = text.split_ascii_whitespace().map(|word| {
        let word = word.strip_prefix('+').unwrap_or(word);
        let (sign, time) = match word.strip_prefix('-') {
            Some(time) => ("-", time),
            None => ("", word),
        };
        match time.split(':').collect::<Vec<_>>()[..] {
            [hours, minutes, seconds] => {
                format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds")
            }
            _ => word.to_owned(),
        }
    });
    Cow::Owned(words.collect::<Vec<_>>().join(" "))
}

/// Decodes `\x00ff` as hexadecimal digits. A text without the prefix `\x` gives its own bytes.
fn bytes_of(texts: &StringArray) -> Result<BinaryArray, BadValue> {
    let bytes = texts.iter().enumerate().map(|(row, text)| {
        let Some(text) = text else { return Ok(None) };
        let Some(digits) = text.strip_prefix("\\x") else {
            return Ok(Some(text.as_bytes().to_vec()));
        };
        hex(digits.as_bytes()).map(Some).ok_or(BadValue::Row(row))
    });
    let bytes = bytes.collect::<Result<Vec<Option<Vec<u8>>>, BadValue>>()?;
    Ok(bytes.iter().map(Option::as_deref).collect())
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_spelled_as_arrow_reads_them() {
        let spelled = spell_interval("1 year -2 mons +3 days -25:01:01.5");
        let expected = "1 year -2 mons 3 days -25 hours -01 minutes -01.5 seconds";
        assert_eq!(spelled, expected);
        assert_eq!(spell_interval("00:00:00"), "00 hours 00 minutes 00 seconds");
    }

    #[test]
    fn what_is_no_value_is_found() {
        let texts = StringArray::from(vec![None, Some("1"), Some(""), Some("x")]);
        let error = values_of(&texts, &DataType::Int64).unwrap_err();
        assert!(matches!(error, BadValue::Row(3)), "{error:?}");
        let values = values_of(&texts.slice(0, 3), &DataType::Int64).unwrap();
        assert_eq!(values.null_count(), 2);
        for bad in ["\\x0", "\\xzz"] {
            let texts = StringArray::from(vec![Some("\\x00"), Some(bad)]);
            let error = values_of(&texts, &DataType::Binary).unwrap_err();
            assert!(matches!(error, BadValue::Row(1)), "{error:?}");
        }
        let lists = DataType::new_list(DataType::Int64, true);
        let texts = StringArray::from(vec![Some("{1,2}"), Some("{}"), Some("{3,x}")]);
        let error = values_of(&texts, &lists).unwrap_err();
        assert!(matches!(error, BadValue::Row(2)), "{error:?}");
    }
}
