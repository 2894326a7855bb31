//! The text forms of values, both ways.
//!
//! Invariant: a text that is written reads back as the same value. It is the one that PostgreSQL 15
//! writes, but for fractions of 15 digits and more.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use tidegate_extensions::format::postgres::{array_elements, oid};

use super::objects::{Objects, quoted};
use super::system::{PG_CATALOG, System, is_array, is_on_path};
use super::value::Value;
use crate::serve::fault::Fault;

/// The numbers of types that only catalogs have.
pub(super) mod more {
    pub(in super::super) const REGPROCEDURE: u32 = 2202;
    pub(in super::super) const REGOPER: u32 = 2203;
    pub(in super::super) const REGOPERATOR: u32 = 2204;
    pub(in super::super) const RECORD: u32 = 2249;
    pub(in super::super) const ANY: u32 = 2276;
    pub(in super::super) const ANYARRAY: u32 = 2277;
    pub(in super::super) const ANYELEMENT: u32 = 2283;
    pub(in super::super) const ANYNONARRAY: u32 = 2776;
    pub(in super::super) const ANYCOMPATIBLE: u32 = 5077;
    pub(in super::super) const ANYCOMPATIBLEARRAY: u32 = 5078;
    pub(in super::super) const ANYCOMPATIBLENONARRAY: u32 = 5079;
}

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

fn invalid(type_oid: u32, text: &str) -> Fault {
    let name = System::get().types.get(&type_oid);
    let name = name.map_or("?", |of| of.name.as_str());
    let why = format!("invalid input syntax for type {name}: \"{text}\"");
    Fault::new("22P02", why)
}

/// Reads a value of a type.
///
/// # Errors
/// 22P02 if the text is none; 42P01, 42704 or 42883 if it names an object that does not exist.
pub(super) fn read(type_oid: u32, text: &str, objects: &Objects) -> Result<Value, Fault> {
    let bad = || invalid(type_oid, text);
    Ok(match type_oid {
        oid::BOOL => match text.trim().to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Value::Bool(true),
            "f" | "false" | "n" | "no" | "off" | "0" => Value::Bool(false),
            _ => return Err(bad()),
        },
        oid::INT2 | oid::INT4 | oid::INT8 | oid::OID | oid::XID => {
            let number: i64 = text.trim().parse().map_err(|_| bad())?;
            in_range(type_oid, number)?
        }
        oid::FLOAT4 | oid::FLOAT8 | oid::NUMERIC => {
            Value::Float(text.trim().parse().map_err(|_| bad())?)
        }
        oid::CHAR => Value::text(text.chars().take(1).collect::<String>()),
        oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::DATE => {
            Value::Micros(micros(text).ok_or_else(bad)?)
        }
        oid::INTERVAL => Value::Micros(read_interval(text)?),
        oid::BYTEA | oid::UUID | oid::TIME => {
            return Err(super::bind::unsupported(format!(
                "a value of the type {}",
                super::types::type_text(type_oid, i32::MIN, objects)
            )));
        }
        oid::INT2VECTOR | oid::OIDVECTOR => {
            let words = text.split_ascii_whitespace();
            let numbers = words.map(|word| word.parse().map(Value::Int));
            Value::List(numbers.collect::<Result<_, _>>().map_err(|_| bad())?)
        }
        _ if super::types::is_object(type_oid) => {
            Value::Int(i64::from(read_name(type_oid, text, objects)?))
        }
        _ if is_array(type_oid) => {
            let elements = array_elements(text).ok_or_else(bad)?;
            let of = objects.element_type(type_oid);
            let values = elements.iter().map(|element| match element {
                Some(text) => read(of, text, objects),
                None => Ok(Value::Null),
            });
            Value::List(values.collect::<Result<_, _>>()?)
        }
        _ => Value::text(text),
    })
}

/// A whole number, if its type has it.
pub(super) fn in_range(type_oid: u32, number: i64) -> Result<Value, Fault> {
    let (least, most, name) = match type_oid {
        oid::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX), "smallint"),
        oid::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX), "integer"),
        oid::OID | oid::REGCLASS | oid::REGTYPE | oid::REGPROC => {
            (i64::from(i32::MIN), i64::from(u32::MAX), "oid")
        }
        _ => return Ok(Value::Int(number)),
    };
    match (least..=most).contains(&number) {
        true => Ok(Value::Int(number)),
        false => Err(Fault::new("22003", format!("{name} out of range"))),
    }
}

/// The parts of a qualified name, without quotes.
pub(super) fn name_parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut chars = text.trim().chars().peekable();
    loop {
        let mut part = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next()? {
                    '"' if chars.next_if_eq(&'"').is_some() => part.push('"'),
                    '"' => break,
                    char => part.push(char),
                }
            }
        } else {
            while let Some(char) = chars.next_if(|char| *char != '.') {
                part.extend(char.to_lowercase());
            }
            part.truncate(part.trim_end().len());
        }
        parts.push(part);
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        let next = chars.next();
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        match next {
            None => return Some(parts),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}

/// The number of the object with a name, which may also be its number; 0 for `-`.
fn read_name(type_oid: u32, text: &str, objects: &Objects) -> Result<u32, Fault> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(number) = text.trim().parse() {
        return Ok(number);
    }
    if type_oid == oid::REGTYPE {
        return super::types::parse_type(text, objects).map(|(number, _)| number);
    }
    let bare = match type_oid {
        more::REGPROCEDURE | more::REGOPERATOR => text.split('(').next().unwrap_or(text),
        _ => text,
    };
    let parts = name_parts(bare)
        .ok_or_else(|| Fault::new("42602", format!("invalid name syntax: \"{text}\"")))?;
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name.as_str()),
        [schema, name] => (Some(schema.as_str()), name.as_str()),
        [_, schema, name] => (Some(schema.as_str()), name.as_str()),
        _ => {
            return Err(Fault::new(
                "42601",
                format!("improper qualified name: {text}"),
            ));
        }
    };
    let (found, sqlstate, what) = match type_oid {
        oid::REGCLASS => (objects.relation_number(schema, name), "42P01", "relation"),
        oid::REGNAMESPACE => (objects.schema_number(name), "3F000", "schema"),
        oid::REGROLE => (objects.role_number(name), "42704", "role"),
        more::REGOPER | more::REGOPERATOR => (None, "42883", "operator"),
        _ => match System::get().functions(name) {
            [_, _, ..] if type_oid == oid::REGPROC => {
                let why = format!("more than one function named \"{text}\"");
                return Err(Fault::new("42725", why));
            }
            functions => {
                let first = functions.first();
                (first.map(|function| function.oid), "42883", "function")
            }
        },
    };
    found.ok_or_else(|| Fault::new(sqlstate, format!("{what} \"{text}\" does not exist")))
}

/// Writes a value that is not NULL.
pub(super) fn write(type_oid: u32, value: &Value, objects: &Objects) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "t".to_owned(),
        Value::Bool(false) => "f".to_owned(),
        Value::Int(number) => write_number(type_oid, *number, objects),
        Value::Float(number) => match type_oid {
            oid::FLOAT4 => (*number as f32).to_string(),
            _ => number.to_string(),
        },
        Value::Text(text) => text.to_string(),
        Value::Micros(micros) => match type_oid {
            oid::INTERVAL => interval(*micros),
            oid::DATE => timestamp(*micros).chars().take(10).collect(),
            oid::TIMESTAMPTZ => format!("{}+00", timestamp(*micros)),
            _ => timestamp(*micros),
        },
        Value::List(items) if matches!(type_oid, oid::INT2VECTOR | oid::OIDVECTOR) => {
            let texts: Vec<String> = items
                .iter()
                .map(|item| write(oid::INT8, item, objects))
                .collect();
            texts.join(" ")
        }
        Value::List(items) => {
            let of = objects.element_type(type_oid);
            let texts: Vec<String> = items
                .iter()
                .map(|item| match item {
                    Value::Null => "NULL".to_owned(),
                    Value::List(_) => write(type_oid, item, objects),
                    item => element(&write(of, item, objects)),
                })
                .collect();
            format!("{{{}}}", texts.join(","))
        }
        Value::Record(items) => {
            let texts: Vec<String> = items.iter().map(|item| field(item, objects)).collect();
            format!("({})", texts.join(","))
        }
    }
}

/// An element of an array, quoted if it has to be.
fn element(text: &str) -> String {
    let is_plain = !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text
            .chars()
            .any(|c| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace());
    match is_plain {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A value of a record. Its type is not known; it is written as its kind is.
fn field(value: &Value, objects: &Objects) -> String {
    let text = write(0, value, objects);
    let is_quoted = !value.is_null()
        && (text.is_empty()
            || text
                .chars()
                .any(|c| matches!(c, '(' | ')' | ',' | '"' | '\\') || c.is_ascii_whitespace()));
    match is_quoted {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
        false => text,
    }
}

/// A number, or the name of the object that has it.
fn write_number(type_oid: u32, number: i64, objects: &Objects) -> String {
    let object = u32::try_from(number).unwrap_or(0);
    if super::types::is_object(type_oid) && object == 0 {
        return "-".to_owned();
    }
    let name = match type_oid {
        oid::REGCLASS => objects
            .relation_name(object)
            .map(|(schema, name)| qualified(schema, &name, objects)),
        oid::REGTYPE => {
            Some(super::types::type_text(object, i32::MIN, objects)).filter(|text| text != "???")
        }
        oid::REGPROC => System::get().function(object).map(|function| {
            // A name that several functions have does not mean this one.
            match System::get().functions(&function.name).len() {
                1 => qualified(function.namespace, &function.name, objects),
                _ => {
                    let schema = objects.schema_name(function.namespace).unwrap_or_default();
                    format!("{}.{}", quoted(schema), quoted(&function.name))
                }
            }
        }),
        more::REGPROCEDURE => System::get().function(object).map(|function| {
            let types = function.arguments.iter();
            let types = types.map(|of| super::types::type_text(*of, i32::MIN, objects));
            let types: Vec<String> = types.collect();
            format!("{}({})", quoted(&function.name), types.join(","))
        }),
        more::REGOPER | more::REGOPERATOR => operator_text(type_oid, object, objects),
        oid::REGROLE => objects.role_name(object).map(quoted),
        oid::REGNAMESPACE => objects.schema_name(object).map(quoted),
        _ => None,
    };
    name.unwrap_or_else(|| number.to_string())
}

/// The name of an operator, with its types for `regoperator`.
fn operator_text(type_oid: u32, number: u32, objects: &Objects) -> Option<String> {
    let relation = System::get().relation(PG_CATALOG, "pg_operator")?;
    let mut rows = relation.system_rows().iter();
    let row = rows.find(|row| row[0].as_oid() == number)?;
    let place = |name| relation.place(name);
    let of = |place: usize| match row[place].as_oid() {
        0 => "NONE".to_owned(),
        of => super::types::type_text(of, i32::MIN, objects),
    };
    let name = row[place("oprname")?].as_text();
    Some(match type_oid {
        more::REGOPER => name.to_owned(),
        _ => format!(
            "{name}({},{})",
            of(place("oprleft")?),
            of(place("oprright")?)
        ),
    })
}

/// A name, with its schema if it is not found without.
pub(super) fn qualified(schema: u32, name: &str, objects: &Objects) -> String {
    if is_on_path(schema) {
        return quoted(name);
    }
    let schema = objects.schema_name(schema).unwrap_or("pg_toast");
    format!("{}.{}", quoted(schema), quoted(name))
}

/// An interval of numbers with units up to weeks.
///
/// # Errors
/// 0A000 for any other.
fn read_interval(text: &str) -> Result<i64, Fault> {
    let other = || super::bind::unsupported(format!("the interval '{text}'"));
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let mut total: i64 = 0;
    let pairs = words.chunks_exact(2);
    if words.is_empty() || !pairs.remainder().is_empty() {
        return Err(other());
    }
    for pair in pairs {
        let number: i64 = pair[0].parse().map_err(|_| other())?;
        let seconds = match pair[1].trim_end_matches('s') {
            "second" | "sec" => 1,
            "minute" | "min" => 60,
            "hour" => 3600,
            "day" => 86_400,
            "week" => 7 * 86_400,
            _ => return Err(other()),
        };
        let micros = number.checked_mul(seconds * MICROS_PER_SECOND);
        total = micros
            .and_then(|micros| total.checked_add(micros))
            .ok_or_else(other)?;
    }
    Ok(total)
}

fn micros(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(time.timestamp_micros());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f") {
        return Some(time.and_utc().timestamp_micros());
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

fn timestamp(micros: i64) -> String {
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        return String::new();
    };
    let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn interval(micros: i64) -> String {
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let days = micros / MICROS_PER_DAY.unsigned_abs();
    let rest = micros % MICROS_PER_DAY.unsigned_abs();
    let seconds = rest / MICROS_PER_SECOND.unsigned_abs();
    let fraction = rest % MICROS_PER_SECOND.unsigned_abs();
    let mut text = match days {
        0 => String::new(),
        1 => format!("{sign}1 day "),
        days => format!("{sign}{days} days "),
    };
    if days > 0 && rest == 0 {
        return text.trim_end().to_owned();
    }
    text.push_str(&format!(
        "{sign}{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    ));
    if fraction > 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text
}
