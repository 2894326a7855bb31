//! Values of a column from the texts of its JSON values.
//!
//! Invariant: a value is what its text says, or an error names the first row whose text is no value
//! of the type. arrow-json would cut fractions off and round decimals, so it only finds the texts of
//! numbers, booleans and strings here, in lists and objects of the right shape.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    StringArray, StructArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

use crate::read::csv::{BadValue, find_inexact, values_of};

/// The type in which arrow-json reads a column of this type: its shape with texts for leaves.
pub(super) fn text_type(data_type: &DataType) -> DataType {
    let item = |field: &FieldRef| Arc::new(text_field(field));
    match data_type {
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return DataType::Utf8;
            };
            let fields = fields.iter().enumerate().map(|(at, field)| {
                // A key is never null.
                text_field(field).with_nullable(at > 0)
            });
            let fields = DataType::Struct(fields.collect());
            let entries = Field::clone(entries).with_data_type(fields);
            DataType::Map(Arc::new(entries), *sorted)
        }
        _ => DataType::Utf8,
    }
}

fn text_field(field: &FieldRef) -> Field {
    Field::new(field.name(), text_type(field.data_type()), true)
}

/// The fields in which arrow-json reads columns.
pub(super) fn text_fields(fields: &Fields) -> Fields {
    fields
        .iter()
        .map(|field| Arc::new(text_field(field)))
        .collect()
}

/// Turns texts, in the shape of [`text_type`], into values. `is_guessed`: the type was guessed, so
/// that a value must give its text back.
///
/// # Errors
/// [`BadValue::Row`] for the first row that has a text which is no value of the type.
pub(super) fn values_from(
    texts: &ArrayRef,
    data_type: &DataType,
    is_guessed: bool,
) -> Result<ArrayRef, BadValue> {
    match data_type {
        DataType::List(item) => list(texts.as_list::<i32>(), item, is_guessed),
        DataType::LargeList(item) => list(texts.as_list::<i64>(), item, is_guessed),
        DataType::FixedSizeList(item, length) => {
            let lists = texts.as_fixed_size_list();
            let in_list = |row: usize| row / usize::try_from(*length).unwrap_or(1).max(1);
            let values = values_from(lists.values(), item.data_type(), is_guessed);
            let values = values.map_err(|bad| bad.in_row(in_list))?;
            let nulls = lists.nulls().cloned();
            let lists = FixedSizeListArray::try_new(FieldRef::clone(item), *length, values, nulls);
            Ok(Arc::new(lists?))
        }
        DataType::Struct(fields) => Ok(Arc::new(records(texts.as_struct(), fields, is_guessed)?)),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError("a map without entries".to_owned()).into());
            };
            let map = texts.as_map();
            let offsets = map.offsets();
            let pairs = records(map.entries(), fields, is_guessed);
            let pairs = pairs.map_err(|bad| bad.in_row(|row| row_of(offsets, row)))?;
            let map = MapArray::try_new(
                FieldRef::clone(entries),
                offsets.clone(),
                pairs,
                map.nulls().cloned(),
                *sorted,
            );
            Ok(Arc::new(map?))
        }
        DataType::Null => match (0..texts.len()).find(|row| texts.is_valid(*row)) {
            Some(row) => Err(BadValue::Row(row)),
            None => Ok(new_null_array(data_type, texts.len())),
        },
        DataType::Dictionary(_, values) => {
            let values = values_from(texts, values, is_guessed)?;
            Ok(cast(&values, data_type)?)
        }
        _ => leaf(texts.as_string(), data_type, is_guessed),
    }
}

fn leaf(texts: &StringArray, data_type: &DataType, is_guessed: bool) -> Result<ArrayRef, BadValue> {
    let hexadecimal: StringArray;
    let texts = match data_type {
        // Exports write bytes as digits alone.
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let digits = texts
                .iter()
                .map(|text| text.map(|text| format!("\\x{text}")));
            hexadecimal = digits.collect();
            &hexadecimal
        }
        _ => texts,
    };
    let values = values_of(texts, data_type)?;
    let nulls = values.logical_nulls();
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    // An empty text would be NULL.
    if let Some(row) = (0..texts.len()).find(|row| texts.is_valid(*row) && is_null(*row)) {
        return Err(BadValue::Row(row));
    }
    match is_guessed.then(|| find_inexact(texts, data_type)).flatten() {
        Some(row) => Err(BadValue::Row(row)),
        None => Ok(values),
    }
}

fn list<O: OffsetSizeTrait>(
    lists: &GenericListArray<O>,
    item: &FieldRef,
    is_guessed: bool,
) -> Result<ArrayRef, BadValue> {
    let values = values_from(lists.values(), item.data_type(), is_guessed);
    let values = values.map_err(|bad| bad.in_row(|row| row_of(lists.offsets(), row)))?;
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    let array = GenericListArray::<O>::try_new(FieldRef::clone(item), offsets, values, nulls)?;
    Ok(Arc::new(array))
}

/// The row of a list that has the item.
fn row_of<O: OffsetSizeTrait>(offsets: &[O], item: usize) -> usize {
    offsets
        .partition_point(|offset| offset.as_usize() <= item)
        .saturating_sub(1)
}

fn records(
    texts: &StructArray,
    fields: &Fields,
    is_guessed: bool,
) -> Result<StructArray, BadValue> {
    let columns = texts.columns().iter().zip(fields);
    let columns = columns.map(|(texts, field)| values_from(texts, field.data_type(), is_guessed));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = texts.nulls().cloned();
    let length = texts.len();
    Ok(StructArray::try_new_with_length(
        fields.clone(),
        columns,
        nulls,
        length,
    )?)
}
