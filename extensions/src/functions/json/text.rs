//! JSON as text: finds values in it, and writes its normal form.
//!
//! Invariant: a text is checked as a whole before a value is taken out of it, so that a damaged text
//! is an error and not NULL. Numbers keep their digits.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::error::{Error, ErrorKind, Result};

/// The most zeros that an exponent may add to a number.
const MOST_ZEROS: i64 = 1000;

/// How deep arrays and objects may be nested: they are written by recursion.
const DEEPEST: usize = 500;

/// A value in a JSON text, without the white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a>(&'a str);

/// A step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The member with this name.
    Member(String),
    /// The element with this index; from the end if it is negative.
    Element(i64),
    /// The member or element with this name, whichever the value has.
    Either(String),
}

fn refuse(why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

fn no_text() -> Error {
    refuse("\\u0000 can't be converted to text".to_owned())
}

/// Whether arrays and objects are nested at most [`DEEPEST`] deep.
fn is_shallow(text: &str) -> bool {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at = skip_text(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return false;
        }
        at += 1;
    }
    true
}

/// The first character that is not white space, from `at` on.
fn skip_space(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    let spaces = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    at + spaces.count()
}

/// The end of the text that begins with the quote at `at`.
fn skip_text(text: &str, at: usize) -> usize {
    let mut is_escaped = false;
    let rest = text.bytes().enumerate().skip(at + 1);
    for (at, byte) in rest {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The end of the value that begins at `at`.
fn skip_value(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (at, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_text(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The text of a JSON string.
fn unescape(written: &str) -> Result<Cow<'_, str>> {
    let inner = written.get(1..written.len().saturating_sub(1));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => match serde_json::from_str::<String>(written) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(error) => Err(refuse(format!("{written} is no JSON string: {error}"))),
        },
    }
}

impl<'a> Value<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] with the place of the fault.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        if !is_shallow(text) {
            let why = format!("JSON is nested more than {DEEPEST} deep");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Ok(Self(text.trim_ascii())),
            Err(error) => {
                let mut shown: String = text.chars().take(60).collect();
                if shown.len() < text.len() {
                    shown.push('…');
                }
                Err(refuse(format!(
                    "invalid input for type json: \"{shown}\": {error}"
                )))
            }
        }
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// The name of the value's type, as `json_typeof` returns it.
    pub(super) fn type_name(self) -> &'static str {
        match self.0.bytes().next() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ => "number",
        }
    }

    /// The text of a string, the JSON text of any other value; `None` for `null`.
    pub(super) fn to_text(self) -> Result<Option<String>> {
        match self.type_name() {
            "null" => Ok(None),
            "string" => match unescape(self.0)? {
                text if text.contains('\0') => Err(no_text()),
                text => Ok(Some(text.into_owned())),
            },
            _ => Ok(Some(self.0.to_owned())),
        }
    }

    /// The names and values of an object, or the values of an array. Empty for any other value.
    fn entries(self) -> Vec<(Option<&'a str>, Value<'a>)> {
        let text = self.0;
        let is_object = self.type_name() == "object";
        let mut entries = Vec::new();
        if !is_object && self.type_name() != "array" {
            return entries;
        }
        let mut at = skip_space(text, 1);
        while !matches!(text.as_bytes().get(at), None | Some(b'}' | b']')) {
            let mut name = None;
            if is_object {
                let end = skip_value(text, at);
                name = text.get(at..end);
                at = skip_space(text, skip_space(text, end) + 1);
            }
            let end = skip_value(text, at);
            let Some(value) = text.get(at..end) else {
                break;
            };
            entries.push((name, Value(value)));
            at = skip_space(text, end);
            if text.as_bytes().get(at) == Some(&b',') {
                at = skip_space(text, at + 1);
            }
        }
        entries
    }

    /// The elements of an array. `None` for any other value.
    pub(super) fn elements(self) -> Option<Vec<Value<'a>>> {
        let values = self.entries().into_iter().map(|(_, value)| value);
        (self.type_name() == "array").then(|| values.collect())
    }

    /// The last member of this name.
    fn member(self, name: &str) -> Result<Option<Value<'a>>> {
        for (written, value) in self.entries().into_iter().rev() {
            if let Some(written) = written
                && unescape(written)? == name
            {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn element(self, index: i64) -> Option<Value<'a>> {
        let elements = self.elements()?;
        let index = match index {
            0.. => usize::try_from(index).ok()?,
            _ => elements
                .len()
                .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        elements.get(index).copied()
    }

    /// The value that a path leads to.
    ///
    /// # Errors
    /// A name in the text can't be read.
    pub(super) fn find(self, path: &[Step]) -> Result<Option<Value<'a>>> {
        let mut value = self;
        for step in path {
            let found = match step {
                Step::Member(name) => value.member(name)?,
                Step::Element(index) => value.element(*index),
                Step::Either(name) => match value.type_name() {
                    "array" => name
                        .trim_ascii_start()
                        .parse()
                        .ok()
                        .and_then(|at| value.element(at)),
                    _ => value.member(name)?,
                },
            };
            match found {
                Some(found) => value = found,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// Writes the value as PostgreSQL prints `jsonb`: names ordered by length and bytes, the last one
    /// of equal names, one space after commas and colons.
    ///
    /// # Errors
    /// A text or number can't be written.
    pub(super) fn write_normal(self, out: &mut String) -> Result<()> {
        match self.type_name() {
            "object" => {
                let mut members: Vec<(Cow<'_, str>, Value<'_>)> = Vec::new();
                for (name, value) in self.entries() {
                    members.push((unescape(name.unwrap_or_default())?, value));
                }
                // The sort is stable, so the last one of equal names stays last.
                members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
                let mut kept: Vec<(Cow<'_, str>, Value<'_>)> = Vec::new();
                for (name, value) in members {
                    match kept.last_mut() {
                        Some((last, old)) if *last == name => *old = value,
                        _ => kept.push((name, value)),
                    }
                }
                out.push('{');
                for (number, (name, value)) in kept.into_iter().enumerate() {
                    out.push_str(if number == 0 { "" } else { ", " });
                    write_string(&name, out)?;
                    out.push_str(": ");
                    value.write_normal(out)?;
                }
                out.push('}');
            }
            "array" => {
                out.push('[');
                for (number, value) in self.elements().into_iter().flatten().enumerate() {
                    out.push_str(if number == 0 { "" } else { ", " });
                    value.write_normal(out)?;
                }
                out.push(']');
            }
            "string" => write_string(&unescape(self.0)?, out)?,
            "number" => write_number(self.0, out)?,
            _ => out.push_str(self.0),
        }
        Ok(())
    }
}

fn write_string(text: &str, out: &mut String) -> Result<()> {
    if text.contains('\0') {
        return Err(no_text());
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(())
}

/// Writes a number without an exponent, with all its digits.
fn write_number(written: &str, out: &mut String) -> Result<()> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", written),
    };
    let too_long = || refuse(format!("the number {written} is too long"));
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().map_err(|_| too_long())?),
        None => (digits, 0_i64),
    };
    if !(-MOST_ZEROS..=MOST_ZEROS).contains(&exponent) {
        return Err(too_long());
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    // The place of the decimal point in the digits.
    let place = i64::try_from(whole.len()).map_err(|_| too_long())? + exponent;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    let length = i64::try_from(all.len()).map_err(|_| too_long())?;
    let (whole, fraction) = match place {
        ..=0 => (String::new(), format!("{}{all}", zeros(-place))),
        place if place >= length => (format!("{all}{}", zeros(place - length)), String::new()),
        place => {
            let (whole, fraction) = all.split_at(usize::try_from(place).unwrap_or_default());
            (whole.to_owned(), fraction.to_owned())
        }
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let is_zero = !format!("{whole}{fraction}").contains(|c| c != '0');
    out.push_str(if is_zero { "" } else { sign });
    out.push_str(whole);
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(&fraction);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        let mut out = String::new();
        Value::parse(text).unwrap().write_normal(&mut out).unwrap();
        out
    }

    #[test]
    fn the_normal_form_is_that_of_jsonb() {
        let cases = [
            (
                r#" {"bb":1,"a":2 , "a":{"x":[ ]}} "#,
                r#"{"a": {"x": []}, "bb": 1}"#,
            ),
            (
                "[1e2,1.50,-0,-0.0,1.5e1,12e-3,1E-2,0.10e1]",
                "[100, 1.50, 0, 0.0, 15, 0.012, 0.01, 1.0]",
            ),
            (r#""a\u0041\n\/\u001f☃""#, r#""aA\n/\u001f☃""#),
            ("true", "true"),
            (r#"{"k\"}":"]{"}"#, r#"{"k\"}": "]{"}"#),
        ];
        for (text, wanted) in cases {
            assert_eq!(normal(text), wanted, "{text}");
        }
    }

    #[test]
    fn values_are_found_by_name_and_index() {
        let text = r#"{"a": [1, {"b" : "x\ty"}, "]"], "a,b": null, "a": [10, 20]}"#;
        let value = Value::parse(text).unwrap();
        let found = |path: &[Step]| value.find(path).unwrap().map(Value::as_str);
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(found(&[member("a"), Step::Element(-1)]), Some("20"));
        assert_eq!(found(&[member("a"), Step::Element(-3)]), None);
        assert_eq!(found(&[member("a,b")]), Some("null"));
        assert_eq!(found(&[Step::Element(0)]), None);
        assert!(Value::parse(r#"{"a": 01}"#).is_err());
        assert!(Value::parse("{\"a\": 1} x").is_err());
    }
}
