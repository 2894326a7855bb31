//! Conversions between types.

use tidegate_extensions::format::postgres::oid;

use super::objects::Objects;
use super::text::{in_range, read, write};
use super::types::{is_object, is_text};
use super::value::Value;
use crate::serve::fault::Fault;

fn is_whole(of: u32) -> bool {
    matches!(of, oid::INT2 | oid::INT4 | oid::INT8 | oid::OID | oid::XID) || is_object(of)
}

fn is_fraction(of: u32) -> bool {
    matches!(of, oid::FLOAT4 | oid::FLOAT8 | oid::NUMERIC)
}

/// The value as one of another type.
///
/// # Errors
/// Errors of reading its text; 22003 for a number that is too great.
pub(super) fn convert(value: Value, from: u32, to: u32, objects: &Objects) -> Result<Value, Fault> {
    Ok(match value {
        Value::Null => Value::Null,
        value if from == to => value,
        Value::Int(number) if is_whole(from) && is_whole(to) => in_range(to, number)?,
        Value::Int(number) if is_fraction(to) => Value::Float(number as f64),
        Value::Int(number) if to == oid::BOOL => Value::Bool(number != 0),
        Value::Bool(value) if is_whole(to) => Value::Int(i64::from(value)),
        Value::Bool(value) if is_text(to) => Value::text(if value { "true" } else { "false" }),
        Value::Float(number) if is_fraction(to) => Value::Float(match to {
            oid::FLOAT4 => f64::from(number as f32),
            _ => number,
        }),
        Value::Float(number) if is_whole(to) => in_range(to, number.round_ties_even() as i64)?,
        Value::Micros(micros) if to == oid::DATE => {
            const DAY: i64 = 86_400_000_000;
            Value::Micros(micros.div_euclid(DAY) * DAY)
        }
        Value::Micros(micros) if !is_text(to) => Value::Micros(micros),
        Value::List(items) if objects.element_type(to) != 0 => {
            let (from, to) = (objects.element_type(from), objects.element_type(to));
            let items = items.iter().cloned();
            let items = items.map(|item| convert(item, from, to, objects));
            Value::List(items.collect::<Result<_, Fault>>()?)
        }
        Value::Text(text) => match to {
            oid::CHAR => Value::text(text.chars().take(1).collect::<String>()),
            to if is_text(to) => Value::Text(text),
            to => read(to, &text, objects)?,
        },
        Value::Record(fields) if !is_text(to) => Value::Record(fields),
        value => read(to, &write(from, &value, objects), objects)?,
    })
}
