//! Values of parameters, as clients send them.
//!
//! Invariant: a value reaches the statement as the literal that its type reads back exactly, or it is
//! refused.

use arrow::datatypes::Field;
use bytes::{Buf, Bytes};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use datafusion::arrow;
use tidegate_extensions::format::postgres::{
    ValueFormat, array_elements, element_of, numeric_text, oid, pg_type,
};
use tidegate_extensions::sql::{Parameter, ParameterUse, ParameterValue};

use super::fault::Fault;
use super::message::{Fields, utf8};

/// The type of a parameter by what stands around it; `None` if that says nothing.
pub(super) fn type_of_use(context: &ParameterUse) -> Option<u32> {
    let name = match context {
        ParameterUse::RowCount => return Some(oid::INT8),
        ParameterUse::Cast(name) => name.as_str(),
    };
    let (name, is_array) = match name.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (name, false),
    };
    let found = match name {
        "boolean" | "bool" => oid::BOOL,
        "smallint" | "int2" => oid::INT2,
        "integer" | "int" | "int4" => oid::INT4,
        "bigint" | "int8" => oid::INT8,
        "real" | "float4" => oid::FLOAT4,
        "double precision" | "double" | "float8" | "float" => oid::FLOAT8,
        "numeric" | "decimal" => oid::NUMERIC,
        "text" | "varchar" | "character varying" | "char" | "string" => oid::TEXT,
        "bytea" => oid::BYTEA,
        "date" => oid::DATE,
        "time" | "time without time zone" => oid::TIME,
        "timestamp" | "timestamp without time zone" => oid::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => oid::TIMESTAMPTZ,
        "interval" => oid::INTERVAL,
        "uuid" => oid::UUID,
        _ => return None,
    };
    match is_array {
        true => tidegate_extensions::format::postgres::array_of(found),
        false => Some(found),
    }
}

/// The type that a client is told for a parameter that the planner gave this type.
pub(super) fn type_of_planner(data_type: &arrow::datatypes::DataType) -> u32 {
    pg_type(&Field::new("", data_type.clone(), true)).oid
}

/// A parameter without its value, for planning. A type that literals are not cast to has some value.
pub(super) fn without_value(type_oid: u32) -> Parameter {
    let number = || ParameterValue::Number("0.0".to_owned());
    let value = match type_oid {
        oid::NUMERIC => Some(number()),
        oid::BYTEA => Some(ParameterValue::Bytes(Vec::new())),
        1231 => Some(ParameterValue::Array(vec![number()])),
        1001 => Some(ParameterValue::Array(vec![ParameterValue::Bytes(
            Vec::new(),
        )])),
        _ => None,
    };
    Parameter {
        value,
        cast: cast_of(type_oid),
    }
}

/// The parameter as a bare literal. Arguments of table functions must be literals.
pub(super) fn as_literal(parameter: &Parameter) -> Parameter {
    let value = parameter.value.clone();
    match (&value, parameter.cast) {
        (Some(ParameterValue::Number(_)), _) => Parameter { value, cast: None },
        (None, Some("smallint" | "int" | "bigint")) => Parameter {
            value: Some(ParameterValue::Number("1".to_owned())),
            cast: None,
        },
        _ => parameter.clone(),
    }
}

/// The SQL type that literals of a type are cast to. Texts, numbers with a scale and bytes have
/// literals of their own.
fn cast_of(type_oid: u32) -> Option<&'static str> {
    Some(match type_oid {
        oid::BOOL => "boolean",
        oid::INT2 => "smallint",
        oid::INT4 => "int",
        oid::INT8 | oid::OID => "bigint",
        oid::FLOAT4 => "real",
        oid::FLOAT8 => "double precision",
        oid::DATE => "date",
        oid::TIME => "time",
        oid::TIMESTAMP => "timestamp",
        oid::TIMESTAMPTZ => "timestamp with time zone",
        oid::INTERVAL => "interval",
        1000 => "boolean[]",
        1005 => "smallint[]",
        1007 => "int[]",
        1016 => "bigint[]",
        1021 => "real[]",
        1022 => "double precision[]",
        1009 | 1014 | 1015 => "text[]",
        1115 => "timestamp[]",
        1182 => "date[]",
        1183 => "time[]",
        1187 => "interval[]",
        2951 => "text[]",
        _ => return None,
    })
}

/// A parameter with the value that a client has sent; `None` is NULL. `number` is the parameter's,
/// for errors.
///
/// # Errors
/// 22P02 or 22P03 for a value that is not one of the type, 0A000 for a type that is not supported.
pub(super) fn with_value(
    number: usize,
    type_oid: u32,
    format: ValueFormat,
    value: Option<&Bytes>,
) -> Result<Parameter, Fault> {
    let value = match value {
        None => ParameterValue::Null,
        Some(bytes) => {
            let read = match format {
                ValueFormat::Text => text_of(bytes).and_then(|text| of_text(type_oid, &text)),
                ValueFormat::Binary => of_binary(type_oid, bytes.clone()),
            };
            read.map_err(|fault| Fault {
                message: format!("parameter ${number}: {}", fault.message),
                is_fatal: false,
                ..fault
            })?
        }
    };
    Ok(Parameter {
        cast: cast_of(type_oid),
        value: Some(value),
    })
}

/// A text without zero bytes, which PostgreSQL's texts can't have.
fn text_of(bytes: &[u8]) -> Result<String, Fault> {
    match bytes.contains(&0) {
        true => Err(Fault::new("22021", "a text has a zero byte")),
        false => utf8(bytes),
    }
}

fn invalid_text(what: &str, text: &str) -> Fault {
    let why = format!("invalid input syntax for type {what}: \"{text}\"");
    Fault::new("22P02", why)
}

fn of_text(type_oid: u32, text: &str) -> Result<ParameterValue, Fault> {
    if let Some(element) = element_of(type_oid) {
        return array_of_text(element, text);
    }
    let trimmed = text.trim();
    Ok(match type_oid {
        oid::BOOL => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => ParameterValue::Boolean(true),
            "f" | "false" | "n" | "no" | "off" | "0" => ParameterValue::Boolean(false),
            _ => return Err(invalid_text("boolean", text)),
        },
        oid::INT2 | oid::INT4 | oid::INT8 | oid::OID => {
            let (what, least, most) = match type_oid {
                oid::INT2 => ("smallint", i64::from(i16::MIN), i64::from(i16::MAX)),
                oid::INT4 => ("integer", i64::from(i32::MIN), i64::from(i32::MAX)),
                _ => ("bigint", i64::MIN, i64::MAX),
            };
            match trimmed.parse::<i128>() {
                Ok(number) if (i128::from(least)..=i128::from(most)).contains(&number) => {
                    ParameterValue::Number(number.to_string())
                }
                Ok(_) => {
                    let why = format!("value \"{trimmed}\" is out of range for type {what}");
                    return Err(Fault::new("22003", why));
                }
                Err(_) => return Err(invalid_text(what, text)),
            }
        }
        oid::FLOAT4 | oid::FLOAT8 => match trimmed.parse::<f64>() {
            Ok(_) => ParameterValue::Text(trimmed.to_owned()),
            Err(_) => return Err(invalid_text("double precision", text)),
        },
        oid::NUMERIC => number(trimmed)?,
        oid::BYTEA => ParameterValue::Bytes(bytes_of_text(text)?),
        _ => ParameterValue::Text(text.to_owned()),
    })
}

/// A number in decimal notation.
fn number(text: &str) -> Result<ParameterValue, Fault> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().filter(|byte| *byte == b'.').count() <= 1;
    if is_number {
        let text = text.strip_prefix('+').unwrap_or(text);
        return Ok(ParameterValue::Number(text.to_owned()));
    }
    if ["nan", "infinity", "-infinity"].contains(&text.to_ascii_lowercase().as_str()) {
        let why = format!("{text} is not supported as a numeric");
        return Err(Fault::new("0A000", why).with_hint("use double precision"));
    }
    Err(invalid_text("numeric", text))
}

/// The bytes in `\x…`, or in PostgreSQL's older form with `\\` and `\ooo`.
fn bytes_of_text(text: &str) -> Result<Vec<u8>, Fault> {
    let invalid = || invalid_text("bytea", text);
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        if !digits.len().is_multiple_of(2) {
            return Err(invalid());
        }
        let pairs = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok();
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        return pairs.collect::<Option<Vec<_>>>().ok_or_else(invalid);
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        if *first != b'\\' {
            bytes.push(*first);
            rest = others;
        } else if others.first() == Some(&b'\\') {
            bytes.push(b'\\');
            rest = &others[1..];
        } else {
            let octal = others
                .get(..3)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = octal.and_then(|octal| u8::from_str_radix(octal, 8).ok());
            bytes.push(byte.ok_or_else(invalid)?);
            rest = &others[3..];
        }
    }
    Ok(bytes)
}

/// An array such as `{1,NULL,"a \"b\""}`.
fn array_of_text(element: u32, text: &str) -> Result<ParameterValue, Fault> {
    let elements = array_elements(text).ok_or_else(|| {
        invalid_text("array", text).with_hint("arrays of one dimension are supported")
    })?;
    let values = elements.iter().map(|value| match value {
        Some(text) => of_text(element, text),
        None => Ok(ParameterValue::Null),
    });
    Ok(ParameterValue::Array(values.collect::<Result<_, _>>()?))
}

pub(super) fn of_binary(type_oid: u32, bytes: Bytes) -> Result<ParameterValue, Fault> {
    if let Some(element) = element_of(type_oid) {
        return array_of_binary(element, bytes);
    }
    let invalid = || Fault::new("22P03", "its binary form is not one of its type");
    let exactly = |count: usize| match bytes.len() == count {
        true => Ok(bytes.clone()),
        false => Err(invalid()),
    };
    let text = |text: String| ParameterValue::Text(text);
    let whole = |number: i64| ParameterValue::Number(number.to_string());
    Ok(match type_oid {
        oid::BOOL => ParameterValue::Boolean(exactly(1)?.get_u8() != 0),
        oid::INT2 => whole(exactly(2)?.get_i16().into()),
        oid::INT4 => whole(exactly(4)?.get_i32().into()),
        oid::INT8 => whole(exactly(8)?.get_i64()),
        oid::OID => whole(exactly(4)?.get_u32().into()),
        oid::FLOAT4 => text(exactly(4)?.get_f32().to_string()),
        oid::FLOAT8 => text(exactly(8)?.get_f64().to_string()),
        oid::NUMERIC => number(&numeric_text(&bytes).ok_or_else(invalid)?)?,
        oid::BYTEA => ParameterValue::Bytes(bytes.to_vec()),
        oid::DATE => {
            let days = TimeDelta::try_days(i64::from(exactly(4)?.get_i32()));
            let date = days.and_then(|days| epoch().checked_add_signed(days));
            text(date.ok_or_else(invalid)?.to_string())
        }
        oid::TIME => {
            let micros = u64::try_from(exactly(8)?.get_i64()).map_err(|_| invalid())?;
            let seconds = u32::try_from(micros / 1_000_000).map_err(|_| invalid())?;
            let nanos = (micros % 1_000_000) as u32 * 1000;
            let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos);
            text(time.ok_or_else(invalid)?.to_string())
        }
        oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            let start = epoch().and_time(NaiveTime::MIN).and_utc();
            let micros = exactly(8)?.get_i64().checked_add(start.timestamp_micros());
            let time = micros.and_then(DateTime::from_timestamp_micros);
            let time = time.ok_or_else(invalid)?;
            match type_oid {
                oid::TIMESTAMP => text(time.naive_utc().to_string()),
                _ => text(time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string()),
            }
        }
        oid::INTERVAL => {
            let mut bytes = exactly(16)?;
            let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            let seconds = format!(
                "{}{}.{:06}",
                if micros < 0 { "-" } else { "" },
                micros.unsigned_abs() / 1_000_000,
                micros.unsigned_abs() % 1_000_000
            );
            text(format!("{months} months {days} days {seconds} seconds"))
        }
        oid::UUID => {
            let hex: String = exactly(16)?
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            text(format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            ))
        }
        oid::JSONB => {
            // A version in front of the text.
            let (version, json) = bytes.split_first().ok_or_else(invalid)?;
            if *version != 1 {
                return Err(invalid());
            }
            text(text_of(json)?)
        }
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::JSON | oid::UNKNOWN | 0 => {
            text(text_of(&bytes)?)
        }
        other => {
            let why = format!("the binary form of type {other} is not supported");
            return Err(Fault::new("0A000", why).with_hint("send the value as text"));
        }
    })
}

fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default()
}

fn array_of_binary(element: u32, bytes: Bytes) -> Result<ParameterValue, Fault> {
    let mut fields = Fields::new(bytes);
    let dimensions = fields.u32()?;
    let _has_nulls = fields.u32()?;
    let _element = fields.u32()?;
    if dimensions == 0 {
        return Ok(ParameterValue::Array(Vec::new()));
    }
    if dimensions > 1 {
        let why = "arrays of several dimensions are not supported as parameters";
        return Err(Fault::new("0A000", why));
    }
    let (count, _first) = (fields.u32()?, fields.u32()?);
    let item = |_| match fields.u32()? {
        u32::MAX => Ok(ParameterValue::Null),
        length => of_binary(element, fields.bytes(length as usize)?),
    };
    let items = (0..count).map(item).collect::<Result<Vec<_>, _>>()?;
    Ok(ParameterValue::Array(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> ParameterValue {
        ParameterValue::Text(value.to_owned())
    }

    #[test]
    fn texts_are_checked_by_their_types() {
        let number = |text: &str| ParameterValue::Number(text.to_owned());
        assert!(of_text(oid::INT4, " -5 ").unwrap() == number("-5"));
        assert!(of_text(oid::INT4, "2147483648").is_err());
        assert!(of_text(oid::INT8, "5; select").is_err());
        assert!(of_text(oid::NUMERIC, "+1.50").unwrap() == number("1.50"));
        assert!(of_text(oid::NUMERIC, "1.2.3").is_err());
        assert!(of_text(oid::NUMERIC, "NaN").is_err());
        assert!(of_text(oid::BOOL, "TRUE").unwrap() == ParameterValue::Boolean(true));
        let bytes = |bytes: &[u8]| ParameterValue::Bytes(bytes.to_vec());
        assert!(of_text(oid::BYTEA, "\\x00fF").unwrap() == bytes(&[0, 255]));
        assert!(of_text(oid::BYTEA, "a\\\\\\001").unwrap() == bytes(b"a\\\x01"));
        assert!(of_text(oid::BYTEA, "\\x0").is_err());
        assert!(of_text(oid::TEXT, "';").unwrap() == text("';"));
    }

    #[test]
    fn arrays_are_read() {
        let array = ParameterValue::Array(vec![
            text("a"),
            ParameterValue::Null,
            text("null"),
            text("b,\"c\\"),
        ]);
        let read = of_text(1009, r#"{a,NULL, "null" ,"b,\"c\\"}"#);
        assert!(read.unwrap() == array);
        let numbers = ["1", "2"].map(|text| ParameterValue::Number(text.to_owned()));
        let numbers = ParameterValue::Array(numbers.to_vec());
        assert!(of_text(1007, "{1,2}").unwrap() == numbers);
        assert!(of_text(1007, "{}").unwrap() == ParameterValue::Array(Vec::new()));
        for wrong in ["1", "{1", "{{1},{2}}", "{\"a}", "{1,}"] {
            assert!(of_text(1007, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn binary_values_are_read() {
        let read = |type_oid, bytes: &[u8]| of_binary(type_oid, Bytes::copy_from_slice(bytes));
        let seven = ParameterValue::Number("-7".to_owned());
        assert!(read(oid::INT8, &(-7_i64).to_be_bytes()).unwrap() == seven);
        assert!(read(oid::INT8, &[0; 4]).is_err());
        assert!(read(oid::DATE, &(-1_i32).to_be_bytes()).unwrap() == text("1999-12-31"));
        assert!(
            read(oid::TIMESTAMP, &1_500_000_i64.to_be_bytes()).unwrap()
                == text("2000-01-01 00:00:01.500")
        );
        assert!(
            read(oid::TIMESTAMPTZ, &0_i64.to_be_bytes()).unwrap() == text("2000-01-01 00:00:00+00")
        );
        assert!(
            read(oid::UUID, &[0xab; 16]).unwrap() == text("abababab-abab-abab-abab-abababababab")
        );
        assert!(read(oid::FLOAT8, &f64::NAN.to_be_bytes()).unwrap() == text("NaN"));
        assert!(read(oid::JSONB, b"\x02{}").is_err());
        assert!(read(999, b"").is_err());
    }
}
