//! Merges the columns of files whose types differ.
//!
//! Invariant: every value of a file's type is a value of the merged type, exactly. A cast that could
//! still overflow, such as that of a date in the year 9999 to nanoseconds, is an error when the value is
//! read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

/// Columns of two files that have no common type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The name of the column, with the names of the columns that contain it.
    pub(crate) column: String,
    pub(crate) before: DataType,
    pub(crate) now: DataType,
}

/// The columns of both: those of `before` first. A column that one of them lacks may be NULL.
pub(crate) fn merge_schemas(before: &Schema, now: &Schema) -> Result<Schema, Misfit> {
    merge_fields(before.fields(), now.fields()).map(Schema::new)
}

fn merge_fields(before: &Fields, now: &Fields) -> Result<Fields, Misfit> {
    let named = |fields: &Fields, name: &str| fields.find(name).map(|(_, field)| Arc::clone(field));
    let mut merged: Vec<FieldRef> = Vec::with_capacity(before.len());
    for field in before {
        merged.push(match named(now, field.name()) {
            Some(other) => merge_field(field, &other)?,
            None => nullable(field),
        });
    }
    let added = now
        .iter()
        .filter(|field| named(before, field.name()).is_none());
    merged.extend(added.map(nullable));
    Ok(merged.into())
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_nullable(true))
}

fn merge_field(before: &FieldRef, now: &FieldRef) -> Result<FieldRef, Misfit> {
    let misfit = || Misfit {
        column: before.name().clone(),
        before: before.data_type().clone(),
        now: now.data_type().clone(),
    };
    let metadata = merge_metadata(before.metadata(), now.metadata()).ok_or_else(misfit)?;
    let merged = merge_types(before.data_type(), now.data_type());
    let data_type = merged.map_err(|inner| match inner {
        Some(inner) => Misfit {
            column: format!("{}.{}", before.name(), inner.column),
            ..inner
        },
        None => misfit(),
    })?;
    let is_nullable = before.is_nullable() || now.is_nullable();
    let field = Field::new(before.name(), data_type, is_nullable);
    Ok(Arc::new(field.with_metadata(metadata)))
}

/// `None` if they say different things about a type.
fn merge_metadata(
    before: &HashMap<String, String>,
    now: &HashMap<String, String>,
) -> Option<HashMap<String, String>> {
    let mut merged = before.clone();
    for (key, value) in now {
        match before.get(key) {
            Some(other) if other != value => return None,
            _ => drop(merged.insert(key.clone(), value.clone())),
        }
    }
    Some(merged)
}

/// The type that holds the values of both. The error is the misfit of inner columns if there is one.
fn merge_types(one: &DataType, other: &DataType) -> Result<DataType, Option<Misfit>> {
    use DataType::*;
    if one == other {
        return Ok(one.clone());
    }
    let item = |one: &FieldRef, other: &FieldRef| merge_field(one, other).map_err(Some);
    Ok(match (one, other) {
        (Null, known) | (known, Null) => known.clone(),
        (Dictionary(_, values), known) | (known, Dictionary(_, values)) => {
            return merge_types(values, known);
        }
        (Utf8View, Utf8 | LargeUtf8) | (Utf8 | LargeUtf8, Utf8View) => Utf8View,
        (Utf8, LargeUtf8) | (LargeUtf8, Utf8) => LargeUtf8,
        (BinaryView, bytes) | (bytes, BinaryView) if is_bytes(bytes) => BinaryView,
        (LargeBinary, bytes) | (bytes, LargeBinary) if is_bytes(bytes) => LargeBinary,
        (one, other) if is_bytes(one) && is_bytes(other) => Binary,
        (Timestamp(unit, zone), Timestamp(other, other_zone))
            if zone.is_some() == other_zone.is_some() =>
        {
            Timestamp((*unit).max(*other), zone.clone())
        }
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => Timestamp(*unit, None),
        (Time32(_), time @ Time64(_)) | (time @ Time64(_), Time32(_)) => time.clone(),
        (Time32(unit), Time32(other)) => Time32((*unit).max(*other)),
        (Time64(unit), Time64(other)) => Time64((*unit).max(*other)),
        (Duration(unit), Duration(other)) => Duration((*unit).max(*other)),
        (List(one), List(other)) => List(item(one, other)?),
        (List(one) | LargeList(one), List(other) | LargeList(other)) => {
            LargeList(item(one, other)?)
        }
        (FixedSizeList(one, length), FixedSizeList(other, other_length)) => {
            let item = item(one, other)?;
            match length == other_length {
                true => FixedSizeList(item, *length),
                false => List(item),
            }
        }
        (FixedSizeList(one, _), List(other)) | (List(one), FixedSizeList(other, _)) => {
            List(item(one, other)?)
        }
        (Struct(one), Struct(other)) => Struct(merge_fields(one, other).map_err(Some)?),
        (Map(one, sorted), Map(other, other_sorted)) => {
            Map(merge_entries(one, other)?, *sorted && *other_sorted)
        }
        (one, other) => return merge_numbers(one, other).ok_or(None),
    })
}

/// Entries of maps. Writers name their keys and values differently.
fn merge_entries(one: &FieldRef, other: &FieldRef) -> Result<FieldRef, Option<Misfit>> {
    let (DataType::Struct(pair), DataType::Struct(others)) = (one.data_type(), other.data_type())
    else {
        return Err(None);
    };
    let merged = pair.iter().zip(others);
    let merged = merged.map(|(one, other)| merge_field(one, other).map_err(Some));
    let merged = merged.collect::<Result<Fields, _>>()?;
    let entries = Field::clone(one).with_data_type(DataType::Struct(merged));
    Ok(Arc::new(entries))
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// The values of a type of numbers.
#[derive(Clone, Copy)]
enum Numbers {
    /// Integers. `bits` does not count the sign.
    Integers { bits: u8, signed: bool },
    /// Floating-point numbers. `bits` is the length of the significand.
    Floats { bits: u8 },
    /// Decimals. `whole` and `scale` are the numbers of digits before and after the point.
    Decimals { whole: u8, scale: u8 },
}

impl Numbers {
    fn of(data_type: &DataType) -> Option<Self> {
        let integers = |bits, signed| Self::Integers { bits, signed };
        Some(match data_type {
            DataType::Int8 => integers(7, true),
            DataType::Int16 => integers(15, true),
            DataType::Int32 => integers(31, true),
            DataType::Int64 => integers(63, true),
            DataType::UInt8 => integers(8, false),
            DataType::UInt16 => integers(16, false),
            DataType::UInt32 => integers(32, false),
            DataType::UInt64 => integers(64, false),
            DataType::Float16 => Self::Floats { bits: 11 },
            DataType::Float32 => Self::Floats { bits: 24 },
            DataType::Float64 => Self::Floats { bits: 53 },
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => {
                let scale = u8::try_from(*scale).ok()?;
                Self::Decimals {
                    whole: precision.checked_sub(scale)?,
                    scale,
                }
            }
            _ => return None,
        })
    }
}

/// The number of decimal digits of an integer with `bits` bits.
fn digits(bits: u8) -> u8 {
    match bits {
        ..=8 => 3,
        9..=16 => 5,
        17..=32 => 10,
        33..=63 => 19,
        _ => 20,
    }
}

fn merge_numbers(one: &DataType, other: &DataType) -> Option<DataType> {
    use Numbers::{Decimals, Floats, Integers};
    match (Numbers::of(one)?, Numbers::of(other)?) {
        (
            Integers { bits, signed },
            Integers {
                bits: more,
                signed: other_signed,
            },
        ) => integer(bits.max(more), signed || other_signed),
        (Floats { bits }, Floats { bits: more } | Integers { bits: more, .. })
        | (Integers { bits: more, .. }, Floats { bits }) => float(bits.max(more)),
        (
            Decimals { whole, scale },
            Decimals {
                whole: more,
                scale: finer,
            },
        ) => decimal(whole.max(more), scale.max(finer)),
        (Decimals { whole, scale }, Integers { bits, .. })
        | (Integers { bits, .. }, Decimals { whole, scale }) => {
            decimal(whole.max(digits(bits)), scale)
        }
        (Decimals { .. }, Floats { .. }) | (Floats { .. }, Decimals { .. }) => None,
    }
}

fn integer(bits: u8, signed: bool) -> Option<DataType> {
    Some(match (bits, signed) {
        (..=8, false) => DataType::UInt8,
        (..=16, false) => DataType::UInt16,
        (..=32, false) => DataType::UInt32,
        (_, false) => DataType::UInt64,
        (..=7, true) => DataType::Int8,
        (..=15, true) => DataType::Int16,
        (..=31, true) => DataType::Int32,
        (..=63, true) => DataType::Int64,
        (bits, true) => return decimal(digits(bits), 0),
    })
}

fn float(bits: u8) -> Option<DataType> {
    Some(match bits {
        ..=11 => DataType::Float16,
        ..=24 => DataType::Float32,
        ..=53 => DataType::Float64,
        _ => return None,
    })
}

fn decimal(whole: u8, scale: u8) -> Option<DataType> {
    let (precision, scale) = (whole + scale, i8::try_from(scale).ok()?);
    match precision {
        ..=38 => Some(DataType::Decimal128(precision, scale)),
        ..=76 => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_are_widened_only_exactly() {
        use DataType::*;
        let cases = [
            (Int32, Int64, Some(Int64)),
            (Int8, UInt8, Some(Int16)),
            (UInt32, Int32, Some(Int64)),
            (UInt64, Int8, Some(Decimal128(20, 0))),
            (Int64, UInt64, Some(Decimal128(20, 0))),
            (UInt8, UInt64, Some(UInt64)),
            (Int32, Float32, Some(Float64)),
            (Int16, Float32, Some(Float32)),
            (Int64, Float64, None),
            (Float32, Float64, Some(Float64)),
            (
                Decimal128(10, 2),
                Decimal128(12, 4),
                Some(Decimal128(12, 4)),
            ),
            (
                Decimal128(38, 0),
                Decimal128(38, 38),
                Some(Decimal256(76, 38)),
            ),
            (Decimal128(5, 2), Int64, Some(Decimal128(21, 2))),
            (Decimal128(5, 2), Float64, None),
            (Utf8, LargeUtf8, Some(LargeUtf8)),
            (Utf8, Int32, None),
            (Utf8, Binary, None),
            (FixedSizeBinary(4), FixedSizeBinary(5), Some(Binary)),
            (
                Dictionary(Box::new(Int32), Box::new(Utf8)),
                Utf8,
                Some(Utf8),
            ),
            (
                Date32,
                Timestamp(TimeUnit::Millisecond, None),
                Some(Timestamp(TimeUnit::Millisecond, None)),
            ),
            (
                Timestamp(TimeUnit::Second, None),
                Timestamp(TimeUnit::Second, Some("UTC".into())),
                None,
            ),
            (Boolean, Int8, None),
            (Null, Boolean, Some(Boolean)),
        ];
        for (one, other, expected) in cases {
            for (one, other) in [(&one, &other), (&other, &one)] {
                let merged = merge_types(one, other).ok();
                assert_eq!(merged, expected, "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_misfit_names_the_inner_column() {
        let schema = |inner: DataType| {
            let fields = vec![Field::new("y", inner, false)];
            Schema::new(vec![Field::new(
                "x",
                DataType::Struct(fields.into()),
                false,
            )])
        };
        let misfit = merge_schemas(&schema(DataType::Int32), &schema(DataType::Utf8)).unwrap_err();
        assert_eq!(misfit.column, "x.y");
        assert_eq!(
            (misfit.before, misfit.now),
            (DataType::Int32, DataType::Utf8)
        );
        let merged = merge_schemas(&schema(DataType::Int32), &Schema::empty()).unwrap();
        assert!(merged.field(0).is_nullable());
    }
}
