//! Operators.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use tidegate_extensions::format::postgres::oid;

use crate::serve::fault::Fault;
use crate::serve::pg_catalog::convert::convert;
use crate::serve::pg_catalog::objects::Objects;
use crate::serve::pg_catalog::plan::{Apply, Call};
use crate::serve::pg_catalog::text::in_range;
use crate::serve::pg_catalog::value::Value;

/// The most regular expressions that a thread keeps.
const MOST_PATTERNS: usize = 100;

fn out_of_range() -> Fault {
    Fault::new("22003", "a number is out of range")
}

fn by_zero() -> Fault {
    Fault::new("22012", "division by zero")
}

fn is_comparable(a: &Value, b: &Value) -> bool {
    let kind = |value: &Value| match value {
        Value::Int(_) | Value::Float(_) => None,
        other => Some(std::mem::discriminant(other)),
    };
    kind(a) == kind(b)
}

/// The longest text that a function makes.
const MOST_TEXT: usize = 10 << 20;

/// # Errors
/// 54000 for a text that is too long.
pub(super) fn short(text: String) -> Result<Value, Fault> {
    match text.len() > MOST_TEXT {
        true => Err(Fault::new("54000", "requested length too large")),
        false => Ok(Value::text(text)),
    }
}

/// A calculation with whole numbers or fractions.
fn calculated(
    values: &[Value],
    call: &Call,
    whole: fn(i64, i64) -> Option<i64>,
    fraction: fn(f64, f64) -> f64,
) -> Result<Value, Fault> {
    match values {
        [Value::Int(a), Value::Int(b)] => {
            in_range(call.returns, whole(*a, *b).ok_or_else(out_of_range)?)
        }
        [Value::Micros(a), Value::Micros(b)] if call.returns == oid::INT4 => {
            const DAY: i64 = 86_400_000_000;
            let micros = whole(*a, *b).ok_or_else(out_of_range)?;
            Ok(Value::Int(micros / DAY))
        }
        [Value::Micros(a), Value::Micros(b)] => {
            Ok(Value::Micros(whole(*a, *b).ok_or_else(out_of_range)?))
        }
        [a, b] => match (a.as_float(), b.as_float()) {
            (Some(a), Some(b)) => Ok(Value::Float(fraction(a, b))),
            _ => Err(super::super::bind::unsupported(format!(
                "{} of these types",
                call.name
            ))),
        },
        _ => Err(out_of_range()),
    }
}

fn compared(values: &[Value], is: fn(Ordering) -> bool) -> Result<Value, Fault> {
    Ok(match values {
        // A field that differs decides, also beside one that is NULL.
        [Value::Record(a), Value::Record(b)] if a.iter().chain(b.iter()).any(Value::is_null) => {
            let mut pairs = a.iter().zip(b.iter());
            match pairs.any(|(a, b)| !a.is_null() && !b.is_null() && a != b) {
                true => Value::Bool(is(Ordering::Less)),
                false => Value::Null,
            }
        }
        [a, b] if !is_comparable(a, b) => {
            return Err(super::super::bind::unsupported(
                "a comparison of these types",
            ));
        }
        [a, b] => Value::Bool(is(a.order(b))),
        _ => Value::Null,
    })
}

/// The implementation of an operator.
pub(in super::super) fn operator(name: &str) -> Option<Apply> {
    let apply: Apply = match name {
        "=" => |v, _, _| compared(v, Ordering::is_eq),
        "<>" | "!=" => |v, _, _| compared(v, Ordering::is_ne),
        "<" => |v, _, _| compared(v, Ordering::is_lt),
        "<=" => |v, _, _| compared(v, Ordering::is_le),
        ">" => |v, _, _| compared(v, Ordering::is_gt),
        ">=" => |v, _, _| compared(v, Ordering::is_ge),
        "+" => |v, call, _| calculated(v, call, i64::checked_add, |a, b| a + b),
        "-" => |v, call, _| match v {
            [one] => calculated(
                &[Value::Int(0), one.clone()],
                call,
                i64::checked_sub,
                |a, b| a - b,
            ),
            _ => calculated(v, call, i64::checked_sub, |a, b| a - b),
        },
        "*" => |v, call, _| calculated(v, call, i64::checked_mul, |a, b| a * b),
        "/" => |v, call, _| match v {
            [_, Value::Int(0)] => Err(by_zero()),
            [_, Value::Float(0.0)] => Err(by_zero()),
            _ => calculated(v, call, i64::checked_div, |a, b| a / b),
        },
        "%" => |v, call, _| match v {
            [_, Value::Int(0)] => Err(by_zero()),
            _ => calculated(v, call, i64::checked_rem, |a, b| a % b),
        },
        "&" => |v, call, _| calculated(v, call, |a, b| Some(a & b), |a, _| a),
        "|" => |v, call, _| calculated(v, call, |a, b| Some(a | b), |a, _| a),
        "<<" => |v, call, _| {
            calculated(
                v,
                call,
                |a, b| a.checked_shl(u32::try_from(b).ok()?),
                |a, _| a,
            )
        },
        ">>" => |v, call, _| {
            calculated(
                v,
                call,
                |a, b| a.checked_shr(u32::try_from(b).ok()?),
                |a, _| a,
            )
        },
        "||" => joined,
        "~" => |v, _, _| matched(v, false).map(Value::Bool),
        "~*" => |v, _, _| matched(v, true).map(Value::Bool),
        "!~" => |v, _, _| matched(v, false).map(|found| Value::Bool(!found)),
        "!~*" => |v, _, _| matched(v, true).map(|found| Value::Bool(!found)),
        "~~" => |v, _, _| Ok(Value::Bool(is_like(v, false))),
        "~~*" => |v, _, _| Ok(Value::Bool(is_like(v, true))),
        "!~~" => |v, _, _| Ok(Value::Bool(!is_like(v, false))),
        "!~~*" => |v, _, _| Ok(Value::Bool(!is_like(v, true))),
        "@>" => |v, _, _| Ok(Value::Bool(contains(&v[0], &v[1]))),
        "<@" => |v, _, _| Ok(Value::Bool(contains(&v[1], &v[0]))),
        "&&" => |v, _, _| {
            let mut items = v[0].items().iter();
            Ok(Value::Bool(items.any(|item| v[1].items().contains(item))))
        },
        _ => return None,
    };
    Some(apply)
}

fn contains(outer: &Value, inner: &Value) -> bool {
    let mut items = inner.items().iter();
    items.all(|item| outer.items().contains(item))
}

/// Joins texts, or arrays and elements.
fn joined(values: &[Value], call: &Call, objects: &Objects) -> Result<Value, Fault> {
    let [left, right] = values else {
        return Ok(Value::Null);
    };
    let text = |place: usize| -> Result<Value, Fault> {
        let from = call.types.get(place).copied().unwrap_or(oid::TEXT);
        convert(values[place].clone(), from, oid::TEXT, objects)
    };
    Ok(match (left, right) {
        (Value::Null, other @ Value::List(_)) | (other @ Value::List(_), Value::Null)
            if call.types.first() == call.types.get(1) =>
        {
            other.clone()
        }
        (Value::Null, Value::Null) => Value::Null,
        (Value::List(a), Value::List(b)) => Value::list(a.iter().chain(b.iter()).cloned()),
        (Value::List(a), b) if call.returns != oid::TEXT => {
            Value::list(a.iter().cloned().chain([b.clone()]))
        }
        (a, Value::List(b)) if call.returns != oid::TEXT => {
            Value::list([a.clone()].into_iter().chain(b.iter().cloned()))
        }
        _ => short(format!("{}{}", text(0)?.as_text(), text(1)?.as_text()))?,
    })
}

thread_local! {
    static PATTERNS: RefCell<HashMap<(String, bool), Regex>> = RefCell::default();
}

/// A regular expression of PostgreSQL. Its directors and back references are not supported.
pub(super) fn pattern(text: &str, ignores_case: bool) -> Result<Regex, Fault> {
    PATTERNS.with_borrow_mut(|patterns| {
        let key = (text.to_owned(), ignores_case);
        if let Some(known) = patterns.get(&key) {
            return Ok(known.clone());
        }
        let mut builder = RegexBuilder::new(text.strip_prefix("***:").unwrap_or(text));
        let built = builder
            .case_insensitive(ignores_case)
            .size_limit(1 << 20)
            .build();
        let built = built
            .map_err(|error| Fault::new("2201B", format!("invalid regular expression: {error}")))?;
        if patterns.len() >= MOST_PATTERNS {
            patterns.clear();
        }
        patterns.insert(key, built.clone());
        Ok(built)
    })
}

fn matched(values: &[Value], ignores_case: bool) -> Result<bool, Fault> {
    let [text, of] = values else {
        return Ok(false);
    };
    Ok(pattern(of.as_text(), ignores_case)?.is_match(text.as_text()))
}

/// Whether a text is LIKE a pattern.
fn is_like(values: &[Value], ignores_case: bool) -> bool {
    let [text, of] = values else {
        return false;
    };
    let chars = |value: &Value| -> Vec<char> {
        match ignores_case {
            true => value.as_text().to_lowercase().chars().collect(),
            false => value.as_text().chars().collect(),
        }
    };
    let (text, of) = (chars(text), chars(of));
    // Where the text goes on after the last `%`, and where the pattern does.
    let (mut at, mut place) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let wanted = of.get(place).copied();
        let (literal, width) = match wanted {
            Some('%') => {
                retry = Some((at, place + 1));
                place += 1;
                continue;
            }
            Some('\\') => (of.get(place + 1).copied(), 2),
            other => (other, 1),
        };
        let is_any = wanted == Some('_');
        let current = text.get(at).copied();
        match (current, literal) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || is_any => {
                at += 1;
                place += width;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((from, after)) if from < text.len() => {
                retry = Some((from + 1, after));
                at = from + 1;
                place = after;
            }
            _ => return false,
        }
    }
}
