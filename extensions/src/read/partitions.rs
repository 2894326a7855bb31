//! Columns in the names of folders, `column=value/`, as Hive and Spark write them.
//!
//! Invariant: a partition column has its declared type. If it is not declared, it has a type that
//! gives every value back as it was written, or else is text: `007` is no integer. Hive's name for
//! NULL is NULL, and only that name as it stands; a text that was written escaped is a text:
//! <https://cwiki.apache.org/confluence/display/Hive/Configuration+Properties>
//! (`hive.exec.default.partition.name`).

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::common::ScalarValue;
use percent_encoding::percent_decode_str;

use super::csv::values_of;
use super::location::{FoundFile, Location};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::NULL_PARTITION;

/// The partition columns that the files' folders name.
///
/// # Errors
/// [`ErrorKind::Query`] if files have different ones.
pub(super) fn partition_names(location: &Location, files: &[FoundFile]) -> Result<Vec<String>> {
    let mut first: Option<(Vec<String>, &FoundFile)> = None;
    for file in files {
        let pairs = file.folders.iter().filter_map(|name| name.split_once('='));
        let names: Vec<String> = pairs.map(|(name, _)| decoded(name)).collect();
        match &first {
            None => first = Some((names, file)),
            Some((expected, _)) if *expected == names => {}
            Some((expected, other)) => {
                let named = |names: &[String]| match names {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                };
                let why = format!(
                    "the files of '{}' have different partition columns: {} has {}, {} has {}",
                    location.written,
                    other.object.location,
                    named(expected),
                    file.object.location,
                    named(&names),
                );
                let hint = "read the folders one by one, or name the files by a glob";
                return Err(Error::new(ErrorKind::Query, why).with_hint(hint));
            }
        }
    }
    let names = first.map(|(names, _)| names).unwrap_or_default();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let why = format!("the folders of '{}' name {name} twice", location.written);
            return Err(Error::new(ErrorKind::Query, why));
        }
    }
    Ok(names)
}

/// The fields of partition columns, with their declared or inferred types.
pub(super) fn partition_fields(
    names: &[String],
    declared: &Schema,
    files: &[FoundFile],
) -> Vec<FieldRef> {
    let fields = names.iter().map(|name| {
        if let Some((_, field)) = declared.column_with_name(name) {
            return Arc::new(field.clone());
        }
        let values = files.iter().filter_map(|file| value_of(file, name)?);
        let values: Vec<String> = values.collect();
        Arc::new(Field::new(name, type_of(&values), true))
    });
    fields.collect()
}

/// The values of the partition columns of a file.
///
/// # Errors
/// [`ErrorKind::Query`] if the file is in no folder of a column, or if a value is none of the
/// column's type.
pub(super) fn partition_values(
    location: &Location,
    fields: &[FieldRef],
    file: &FoundFile,
) -> Result<Vec<ScalarValue>> {
    let path = &file.object.location;
    let values = fields.iter().map(|field| {
        let (name, data_type) = (field.name(), field.data_type());
        let Some(text) = value_of(file, name) else {
            let why = format!("{path} is in no folder that names the partition column {name}");
            let hint = match file.folders.iter().find(|folder| folder.contains('=')) {
                Some(folder) => format!("it is in the folder {folder}"),
                None => format!("folders of '{}' are named {name}=…", location.written),
            };
            return Err(Error::new(ErrorKind::Query, why).with_hint(hint));
        };
        let texts = StringArray::from(vec![text.as_deref()]);
        let bad = || {
            let text = text.as_deref().unwrap_or_default();
            let why = format!("{path}: '{text}' is no {data_type}, the type of {name}");
            Error::new(ErrorKind::Query, why).with_hint("declare the column as text")
        };
        let values = values_of(&texts, data_type).map_err(|_| bad())?;
        // An empty text becomes NULL in a column that can't be empty.
        if text.is_some() && values.is_null(0) {
            return Err(bad());
        }
        Ok(ScalarValue::try_from_array(&values, 0)?)
    });
    values.collect()
}

/// The text of a partition column of a file. `Some(None)` is NULL; `None` means that the file is in
/// no folder of the column.
fn value_of(file: &FoundFile, column: &str) -> Option<Option<String>> {
    let pairs = file.folders.iter().filter_map(|name| name.split_once('='));
    let mut values = pairs.filter(|(name, _)| decoded(name) == column);
    let (_, value) = values.next()?;
    Some((value != NULL_PARTITION).then(|| decoded(value)))
}

fn decoded(text: &str) -> String {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => text.to_owned(),
    }
}

/// The type whose values have exactly these texts.
fn type_of(values: &[String]) -> DataType {
    let all = |is_one: fn(&str) -> bool| values.iter().all(|value| is_one(value));
    match () {
        () if values.is_empty() => DataType::Utf8,
        () if all(is_integer) => DataType::Int64,
        () if all(|text| matches!(text, "true" | "false")) => DataType::Boolean,
        () if all(is_date) => DataType::Date32,
        () if all(is_timestamp) => DataType::Timestamp(TimeUnit::Microsecond, None),
        () => DataType::Utf8,
    }
}

fn is_integer(text: &str) -> bool {
    text.parse::<i64>()
        .is_ok_and(|value| value.to_string() == text)
}

fn is_date(text: &str) -> bool {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    text.len() == 10 && date.is_ok_and(|date| date.to_string() == text)
}

fn is_timestamp(text: &str) -> bool {
    const FORMAT: &str = "%Y-%m-%d %H:%M:%S%.f";
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let time = NaiveDateTime::parse_from_str(text, FORMAT);
    fraction.len() <= 6 && time.is_ok_and(|time| time.format(FORMAT).to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_gives_the_texts_back() {
        let type_of = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            super::type_of(&values)
        };
        assert_eq!(type_of(&["1", "-20", "0"]), DataType::Int64);
        for texts in [
            &["007"][..],
            &["1", "x"],
            &["+1"],
            &["1", ""],
            &["9223372036854775808"],
        ] {
            assert_eq!(type_of(texts), DataType::Utf8, "{texts:?}");
        }
        assert_eq!(type_of(&["true", "false"]), DataType::Boolean);
        assert_eq!(type_of(&["t", "f"]), DataType::Utf8);
        assert_eq!(type_of(&["2024-02-29"]), DataType::Date32);
        assert_eq!(type_of(&["2024-02-30"]), DataType::Utf8);
        assert_eq!(type_of(&["2024-2-9"]), DataType::Utf8);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(
            type_of(&["2024-02-29 10:11:12", "2024-02-29 10:11:12.500"]),
            micros
        );
        assert_eq!(type_of(&["2024-02-29 10:11"]), DataType::Utf8);
        assert_eq!(type_of(&["2024-02-29 10:11:12.1234567"]), DataType::Utf8);
    }
}
