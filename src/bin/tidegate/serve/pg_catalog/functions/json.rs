//! JSON from values.
//!
//! Invariant: the text is the one that PostgreSQL writes.
//! <https://www.postgresql.org/docs/15/functions-json.html>

use tidegate_extensions::format::postgres::oid;

use crate::serve::fault::Fault;
use crate::serve::pg_catalog::objects::Objects;
use crate::serve::pg_catalog::plan::{Apply, Call, Fields};
use crate::serve::pg_catalog::text::write;
use crate::serve::pg_catalog::value::Value;

/// The implementation of a function.
pub(super) fn function(name: &str) -> Option<Apply> {
    let apply: Apply = match name {
        "json_build_object" | "jsonb_build_object" => built,
        "json_build_array" | "jsonb_build_array" => |v, call, objects| {
            let texts: Vec<String> = (0..v.len())
                .map(|place| argument(v, call, place, objects))
                .collect();
            Ok(Value::text(format!("[{}]", texts.join(", "))))
        },
        "row_to_json" | "to_json" | "to_jsonb" | "array_to_json" => {
            |v, call, objects| Ok(Value::text(argument(v, call, 0, objects)))
        }
        _ => return None,
    };
    Some(apply)
}

fn argument(values: &[Value], call: &Call, place: usize, objects: &Objects) -> String {
    let of = call.types.get(place).copied().unwrap_or(oid::TEXT);
    let fields = call.fields.get(place).and_then(Option::as_ref);
    text(&values[place], of, fields, objects)
}

fn built(values: &[Value], call: &Call, objects: &Objects) -> Result<Value, Fault> {
    if values.len() % 2 != 0 {
        let why = "argument list must have even number of elements";
        return Err(Fault::new("22023", why));
    }
    let pairs = (0..values.len()).step_by(2).map(|place| {
        if values[place].is_null() {
            return Err(Fault::new("22004", "null value not allowed for object key"));
        }
        let name = key(&values[place], call.types[place], objects);
        Ok(format!(
            "{name} : {}",
            argument(values, call, place + 1, objects)
        ))
    });
    let pairs = pairs.collect::<Result<Vec<String>, Fault>>()?;
    Ok(Value::text(format!("{{{}}}", pairs.join(", "))))
}

/// The name of a member.
pub(in super::super) fn key(value: &Value, type_oid: u32, objects: &Objects) -> String {
    quoted(&write(type_oid, value, objects))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            char if u32::from(char) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A value as JSON.
pub(in super::super) fn text(
    value: &Value,
    type_oid: u32,
    fields: Option<&Fields>,
    objects: &Objects,
) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) if is_number(type_oid) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) if matches!(type_oid, oid::JSON | oid::JSONB) => text.to_string(),
        Value::List(items) => {
            let of = objects.element_type(type_oid);
            let items: Vec<String> = items
                .iter()
                .map(|item| self::text(item, of, None, objects))
                .collect();
            format!("[{}]", items.join(","))
        }
        Value::Record(items) => {
            let members = items.iter().enumerate().map(|(place, item)| {
                let field = fields.and_then(|fields| fields.get(place));
                let (name, of) = match field {
                    Some((name, of)) => (name.clone(), *of),
                    None => (format!("f{}", place + 1), kind(item)),
                };
                format!("{}:{}", quoted(&name), self::text(item, of, None, objects))
            });
            let members: Vec<String> = members.collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Micros(_) => quoted(&write(type_oid, value, objects).replacen(' ', "T", 1)),
        other => quoted(&write(type_oid, other, objects)),
    }
}

fn is_number(type_oid: u32) -> bool {
    matches!(type_oid, oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC)
}

/// A type for a value whose type is not known.
fn kind(value: &Value) -> u32 {
    match value {
        Value::Int(_) => oid::INT8,
        Value::List(_) => oid::TEXT_ARRAY,
        _ => oid::TEXT,
    }
}
