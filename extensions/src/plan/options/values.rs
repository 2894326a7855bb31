//! Values of options.
//!
//! Invariant: an error about a value gives the option's name and its place in the statement.

use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::ast::{OptionValue, SqlOption};
use crate::sql::{choices, nearest};

pub(in crate::plan) fn find<'a>(options: &'a [SqlOption], name: &str) -> Option<&'a SqlOption> {
    options.iter().find(|option| option.name == name)
}

pub(super) fn invalid(option: &SqlOption, why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why).at(option.location)
}

pub(in crate::plan) fn parse_boolean(option: &SqlOption) -> Result<bool> {
    let written = match &option.value {
        OptionValue::None => return Ok(true),
        OptionValue::Word(word) => word.value.to_ascii_lowercase(),
        OptionValue::Text(text) => text.to_ascii_lowercase(),
        OptionValue::Number(digits) => digits.clone(),
        _ => String::new(),
    };
    match written.as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(invalid(
            option,
            format!("{} requires a Boolean value", option.name),
        )),
    }
}

/// The text of an option, or the name that it is.
pub(in crate::plan) fn text_of(option: &SqlOption) -> Result<String> {
    match &option.value {
        OptionValue::Text(text) => Ok(text.clone()),
        OptionValue::Word(word) => Ok(fold(word)),
        _ => Err(invalid(option, format!("{} requires a text", option.name))),
    }
}

/// A text as a literal of SQL.
pub(in crate::plan) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Maps the option's word to its value with `meaning`, which knows every word that the option
/// takes. `None` if the option is not set. `what` is the plural noun for the words in the hint.
pub(in crate::plan) fn choice<T>(
    option: Option<&SqlOption>,
    what: &str,
    meaning: impl Fn(&'static str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(option) = option else {
        return Ok(None);
    };
    let unknown = |written: &dyn std::fmt::Display| {
        invalid(option, format!("unknown {}: {written}", option.name))
    };
    let written = match &option.value {
        OptionValue::Word(word) => &word.value,
        OptionValue::Text(text) => text,
        other => return Err(unknown(other)),
    };
    let names = choices(option.name);
    let chosen = names.iter().find(|name| written.eq_ignore_ascii_case(name));
    match (
        chosen.and_then(|name| meaning(name)),
        nearest(written, names),
    ) {
        (Some(value), _) => Ok(Some(value)),
        (None, Some(name)) => Err(unknown(written).with_hint(format!("did you mean '{name}'?"))),
        (None, None) => {
            let (last, others) = names.split_last().unwrap_or((&"", &[]));
            let hint = format!("the {what} are {} and {last}", others.join(", "));
            Err(unknown(written).with_hint(hint))
        }
    }
}

pub(super) fn parse_count(option: &SqlOption) -> Result<usize> {
    let digits = match &option.value {
        OptionValue::Number(digits) | OptionValue::Text(digits) => digits.as_str(),
        _ => "",
    };
    let count = digits.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| {
        let why = format!("{} must be a whole number greater than 0", option.name);
        invalid(option, why)
    })
}

/// A size in bytes, as a number or as a text with a unit.
pub(super) fn parse_size(option: &SqlOption) -> Result<u64> {
    match &option.value {
        OptionValue::Number(digits) => parse_bytes(digits),
        OptionValue::Text(text) => parse_bytes(text),
        _ => Err("must be a number of bytes or a text such as '256MB'".to_owned()),
    }
    .map_err(|why| invalid(option, format!("{} {why}", option.name)))
}

/// Reads a number of bytes: `1000000`, `256MB`, `1.5 GB`. Units are powers of 1024, as in
/// PostgreSQL's settings: <https://www.postgresql.org/docs/current/config-setting.html>
///
/// # Errors
/// Names the fault in the text. The caller puts the option's name in front of the message.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let text = text.trim();
    let end_of_number = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end_of_number);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        "tb" => 1 << 40,
        _ => {
            return Err(format!(
                "'{text}' has an unknown unit; the units are B, kB, MB, GB and TB"
            ));
        }
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("'{text}' is not a number of bytes"))?;
    Ok((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("1000000"), Ok(1_000_000));
        assert_eq!(parse_bytes("256MB"), Ok(256 << 20));
        assert_eq!(parse_bytes(" 1.5 gb "), Ok(3 << 29));
        assert_eq!(parse_bytes("7kB"), Ok(7 << 10));
        assert!(parse_bytes("10XB").is_err());
        assert!(parse_bytes("MB").is_err());
        assert!(parse_bytes("1.2.3MB").is_err());
    }
}
