//! Functions of texts, numbers, times and arrays.

use chrono::{DateTime, Datelike, Timelike, Utc};
use tidegate_extensions::format::postgres::oid;

use super::operators::{pattern, short};
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::objects::{Objects, quoted};
use crate::serve::pg_catalog::plan::{Apply, Call};
use crate::serve::pg_catalog::text::{name_parts, write};
use crate::serve::pg_catalog::value::Value;

fn int(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The texts of all arguments but those that are NULL.
fn written(values: &[Value], call: &Call, objects: &Objects) -> Vec<String> {
    let texts = values
        .iter()
        .enumerate()
        .filter(|(_, value)| !value.is_null());
    let texts = texts.map(|(place, value)| {
        let of = call.types.get(place).copied().unwrap_or(oid::TEXT);
        write(of, value, objects)
    });
    texts.collect()
}

/// The implementation of a function.
pub(super) fn function(name: &str) -> Option<Apply> {
    let apply: Apply = match name {
        "lower" => |v, _, _| Ok(Value::text(v[0].as_text().to_lowercase())),
        "upper" => |v, _, _| Ok(Value::text(v[0].as_text().to_uppercase())),
        "length" | "char_length" | "character_length" => {
            |v, _, _| Ok(int(v[0].as_text().chars().count()))
        }
        "octet_length" => |v, _, _| Ok(int(v[0].as_text().len())),
        "concat" => |v, call, objects| Ok(Value::text(written(v, call, objects).concat())),
        "concat_ws" => |v, call, objects| {
            if v[0].is_null() {
                return Ok(Value::Null);
            }
            let mut texts = written(v, call, objects);
            let separator = texts.remove(0);
            Ok(Value::text(texts.join(&separator)))
        },
        "format" => formatted,
        "replace" => |v, _, _| match v[1].as_text() {
            "" => Ok(v[0].clone()),
            from => short(v[0].as_text().replace(from, v[2].as_text())),
        },
        "btrim" | "ltrim" | "rtrim" => trimmed,
        "substring" | "substr" => substring,
        "left" => |v, _, _| {
            let text = v[0].as_text();
            let count = places(v[1].as_int().unwrap_or(0), text);
            Ok(Value::text(text.chars().take(count).collect::<String>()))
        },
        "right" => |v, _, _| {
            let text = v[0].as_text();
            let count = places(v[1].as_int().unwrap_or(0), text);
            let skipped = text.chars().count() - count;
            Ok(Value::text(text.chars().skip(skipped).collect::<String>()))
        },
        "position" | "strpos" => |v, _, _| {
            let (text, of) = (v[0].as_text(), v[1].as_text());
            Ok(int(text
                .find(of)
                .map_or(0, |at| text[..at].chars().count() + 1)))
        },
        "split_part" => |v, _, _| {
            let (text, separator) = (v[0].as_text(), v[1].as_text());
            let parts: Vec<&str> = match separator {
                "" => vec![text],
                separator => text.split(separator).collect(),
            };
            let number = v[2].as_int().unwrap_or(0);
            let place = match number {
                0 => return Err(Fault::new("22023", "field position must not be zero")),
                1.. => usize::try_from(number - 1).ok(),
                _ => usize::try_from(-number)
                    .ok()
                    .and_then(|back| parts.len().checked_sub(back)),
            };
            Ok(Value::text(
                place
                    .and_then(|place| parts.get(place))
                    .copied()
                    .unwrap_or(""),
            ))
        },
        "starts_with" => |v, _, _| Ok(Value::Bool(v[0].as_text().starts_with(v[1].as_text()))),
        "repeat" => |v, _, _| {
            let count = usize::try_from(v[1].as_int().unwrap_or(0)).unwrap_or(0);
            let text = v[0].as_text();
            match text.len().saturating_mul(count) {
                ..10_000_000 => Ok(Value::text(text.repeat(count))),
                _ => Err(Fault::new("54000", "requested length too large")),
            }
        },
        "reverse" => |v, _, _| {
            Ok(Value::text(
                v[0].as_text().chars().rev().collect::<String>(),
            ))
        },
        "lpad" | "rpad" => padded,
        "initcap" => |v, _, _| {
            let mut in_word = false;
            let mut text = String::new();
            for char in v[0].as_text().chars() {
                match in_word {
                    true => text.extend(char.to_lowercase()),
                    false => text.extend(char.to_uppercase()),
                }
                in_word = char.is_alphanumeric();
            }
            Ok(Value::text(text))
        },
        "chr" => |v, _, _| {
            let code = u32::try_from(v[0].as_int().unwrap_or(0)).unwrap_or(0);
            Ok(Value::text(
                char::from_u32(code).map_or_else(String::new, String::from),
            ))
        },
        "ascii" => |v, _, _| {
            let first = v[0].as_text().chars().next();
            Ok(Value::Int(
                first.map_or(0, |char| i64::from(u32::from(char))),
            ))
        },
        "translate" => |v, _, _| {
            let from: Vec<char> = v[1].as_text().chars().collect();
            let to: Vec<char> = v[2].as_text().chars().collect();
            let chars = v[0].as_text().chars().filter_map(|char| {
                match from.iter().position(|of| *of == char) {
                    Some(place) => to.get(place).copied(),
                    None => Some(char),
                }
            });
            Ok(Value::text(chars.collect::<String>()))
        },
        "quote_ident" => |v, _, _| Ok(Value::text(quoted(v[0].as_text()))),
        "quote_literal" | "quote_nullable" => |v, call, objects| {
            if v[0].is_null() {
                return Ok(Value::text("NULL"));
            }
            let text = write(call.types[0], &v[0], objects);
            Ok(Value::text(literal(&text)))
        },
        "regexp_replace" => regexp_replace,
        "regexp_match" => |v, _, _| {
            let found = pattern(v[1].as_text(), flags(v, 2).contains('i'))?;
            Ok(match found.captures(v[0].as_text()) {
                None => Value::Null,
                Some(captures) => Value::list(groups(&captures)),
            })
        },
        "regexp_split_to_array" => |v, _, _| {
            let found = pattern(v[1].as_text(), flags(v, 2).contains('i'))?;
            Ok(Value::list(found.split(v[0].as_text()).map(Value::text)))
        },
        "like_escape" => |v, _, _| {
            let escape = v[1].as_text().chars().next();
            let chars = v[0].as_text().chars().flat_map(|char| match char {
                char if Some(char) == escape => vec!['\\'],
                '\\' => vec!['\\', '\\'],
                char => vec![char],
            });
            Ok(Value::text(chars.collect::<String>()))
        },
        "similar_to_escape" => |v, _, _| {
            let text = v[0]
                .as_text()
                .replace('.', "\\.")
                .replace('%', ".*")
                .replace('_', ".");
            Ok(Value::text(format!("^(?:{text})$")))
        },
        "parse_ident" => |v, _, _| {
            let parts = name_parts(v[0].as_text());
            let bad = || {
                let why = format!("string is not a valid identifier: \"{}\"", v[0].as_text());
                Fault::new("22023", why)
            };
            Ok(Value::list(parts.ok_or_else(bad)?.iter().map(Value::text)))
        },
        "string_to_array" => |v, _, _| {
            let (Value::Text(text), separator) = (&v[0], &v[1]) else {
                return Ok(Value::Null);
            };
            let none = v.get(2).filter(|null| !null.is_null());
            let parts: Vec<String> = match separator {
                Value::Text(separator) if separator.is_empty() => vec![text.to_string()],
                Value::Text(_) if text.is_empty() => Vec::new(),
                Value::Text(separator) => text.split(&**separator).map(str::to_owned).collect(),
                _ => text.chars().map(String::from).collect(),
            };
            Ok(Value::list(parts.into_iter().map(|part| match none {
                Some(null) if null.as_text() == part => Value::Null,
                _ => Value::text(part),
            })))
        },
        "array_to_string" => |v, call, objects| {
            let (array, separator) = (&v[0], &v[1]);
            if array.is_null() || separator.is_null() {
                return Ok(Value::Null);
            }
            let of = objects.element_type(call.types[0]);
            let null = v.get(2).filter(|null| !null.is_null());
            let texts = array.items().iter().filter_map(|item| match item {
                Value::Null => null.map(|null| null.as_text().to_owned()),
                item => Some(write(of, item, objects)),
            });
            let texts: Vec<String> = texts.collect();
            Ok(Value::text(texts.join(separator.as_text())))
        },
        "array_length" | "array_upper" => |v, call, _| {
            let count = v[0].items().len();
            let is_first = v[1].as_int() == Some(1);
            let vector = matches!(call.types[0], oid::INT2VECTOR | oid::OIDVECTOR);
            Ok(match (count, is_first) {
                (0, _) | (_, false) => Value::Null,
                (count, true) if vector && call.name == "array_upper" => int(count - 1),
                (count, true) => int(count),
            })
        },
        "array_lower" => |v, call, _| {
            let is_first = v[1].as_int() == Some(1) && !v[0].items().is_empty();
            let vector = matches!(call.types[0], oid::INT2VECTOR | oid::OIDVECTOR);
            Ok(match is_first {
                true => Value::Int(i64::from(!vector)),
                false => Value::Null,
            })
        },
        "array_ndims" => |v, _, _| {
            Ok(match v[0].items().is_empty() {
                true => Value::Null,
                false => Value::Int(1),
            })
        },
        "cardinality" => |v, _, _| Ok(int(v[0].items().len())),
        "array_position" => |v, _, _| {
            let found = v[0].items().iter().position(|item| *item == v[1]);
            Ok(found.map_or(Value::Null, |place| int(place + 1)))
        },
        "array_positions" => |v, _, _| {
            let items = v[0].items().iter().enumerate();
            let found = items.filter(|(_, item)| **item == v[1]);
            Ok(Value::list(found.map(|(place, _)| int(place + 1))))
        },
        "array_remove" => |v, _, _| {
            let items = v[0].items().iter().filter(|item| **item != v[1]);
            Ok(match v[0].is_null() {
                true => Value::Null,
                false => Value::list(items.cloned()),
            })
        },
        "array_append" => |v, _, _| {
            Ok(Value::list(
                v[0].items().iter().cloned().chain([v[1].clone()]),
            ))
        },
        "array_prepend" => |v, _, _| {
            let first = [v[0].clone()].into_iter();
            Ok(Value::list(first.chain(v[1].items().iter().cloned())))
        },
        "array_cat" => |v, _, _| {
            Ok(Value::list(
                v[0].items().iter().chain(v[1].items()).cloned(),
            ))
        },
        "abs" => |v, _, _| {
            Ok(match &v[0] {
                Value::Int(number) => Value::Int(number.saturating_abs()),
                other => Value::Float(other.as_float().unwrap_or(0.0).abs()),
            })
        },
        "round" => |v, _, _| {
            let digits = v.get(1).and_then(Value::as_int).unwrap_or(0);
            let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
            Ok(Value::Float(
                (v[0].as_float().unwrap_or(0.0) * scale).round() / scale,
            ))
        },
        "floor" => |v, _, _| Ok(Value::Float(v[0].as_float().unwrap_or(0.0).floor())),
        "ceil" | "ceiling" => |v, _, _| Ok(Value::Float(v[0].as_float().unwrap_or(0.0).ceil())),
        "mod" => |v, _, _| match (v[0].as_int(), v[1].as_int()) {
            (_, Some(0)) => Err(Fault::new("22012", "division by zero")),
            (Some(a), Some(b)) => Ok(Value::Int(a.wrapping_rem(b))),
            _ => Ok(Value::Null),
        },
        "now"
        | "transaction_timestamp"
        | "statement_timestamp"
        | "clock_timestamp"
        | "current_timestamp" => |_, _, _| Ok(Value::Micros(Utc::now().timestamp_micros())),
        // No transaction is counted: all are as old as those of the system's rows.
        "age" => |v, call, _| {
            if call.types[0] == oid::XID {
                return Ok(Value::Int(i64::from(i32::MAX)));
            }
            let Value::Micros(first) = &v[0] else {
                return Ok(Value::Null);
            };
            Ok(match v.get(1) {
                Some(Value::Micros(second)) => Value::Micros(first.saturating_sub(*second)),
                _ => Value::Micros(Utc::now().timestamp_micros().saturating_sub(*first)),
            })
        },
        "extract" | "date_part" => |v, call, _| {
            let Value::Micros(micros) = &v[1] else {
                return Ok(Value::Null);
            };
            part(v[0].as_text(), *micros, call.types[1] == oid::INTERVAL)
        },
        "bpchar" | "text" | "varchar" | "name" => {
            |v, call, objects| Ok(Value::text(write(call.types[0], &v[0], objects)))
        }
        "host" => |v, _, _| {
            let text = v[0].as_text();
            Ok(Value::text(text.split('/').next().unwrap_or(text)))
        },
        "to_char" => to_char,
        "pg_size_pretty" => |v, _, _| {
            let mut size = v[0].as_int().unwrap_or(0);
            for unit in ["bytes", "kB", "MB", "GB", "TB"] {
                if size.abs() < 10 * 1024 {
                    return Ok(Value::text(format!("{size} {unit}")));
                }
                // Half a unit is rounded up.
                size = (size + 512) >> 10;
            }
            Ok(Value::text(format!("{size} PB")))
        },
        _ => return None,
    };
    Some(apply)
}

/// How many characters a count means; a negative one counts from the end.
fn places(count: i64, text: &str) -> usize {
    let length = text.chars().count();
    match usize::try_from(count) {
        Ok(count) => count.min(length),
        Err(_) => length.saturating_sub(usize::try_from(-count).unwrap_or(usize::MAX)),
    }
}

/// A literal of SQL.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

fn trimmed(values: &[Value], call: &Call, _: &Objects) -> Result<Value, Fault> {
    let characters = values.get(1).map_or(" ", Value::as_text);
    let is_trimmed = |char: char| characters.contains(char);
    let text = values[0].as_text();
    Ok(Value::text(match call.name.as_str() {
        "ltrim" => text.trim_start_matches(is_trimmed),
        "rtrim" => text.trim_end_matches(is_trimmed),
        _ => text.trim_matches(is_trimmed),
    }))
}

fn substring(values: &[Value], _: &Call, _: &Objects) -> Result<Value, Fault> {
    let text = values[0].as_text();
    if let Value::Text(of) = &values[1] {
        let found = pattern(of, false)?;
        return Ok(match found.captures(text) {
            None => Value::Null,
            Some(captures) => {
                let group = captures.get(1).or_else(|| captures.get(0));
                group.map_or(Value::Null, |group| Value::text(group.as_str()))
            }
        });
    }
    let from = values[1].as_int().unwrap_or(1);
    let end = match values.get(2).and_then(Value::as_int) {
        Some(count) if count < 0 => {
            return Err(Fault::new("22011", "negative substring length not allowed"));
        }
        Some(count) => from.saturating_add(count),
        None => i64::MAX,
    };
    let skipped = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
    let count = usize::try_from(end - from.max(1)).unwrap_or(0);
    Ok(Value::text(
        text.chars().skip(skipped).take(count).collect::<String>(),
    ))
}

fn padded(values: &[Value], call: &Call, _: &Objects) -> Result<Value, Fault> {
    let text = values[0].as_text();
    let length = usize::try_from(values[1].as_int().unwrap_or(0))
        .unwrap_or(0)
        .min(10_000_000);
    let count = text.chars().count();
    let fill = values.get(2).map_or(" ", Value::as_text);
    if count >= length || fill.is_empty() {
        return Ok(Value::text(text.chars().take(length).collect::<String>()));
    }
    let fill: String = fill.chars().cycle().take(length - count).collect();
    Ok(Value::text(match call.name.as_str() {
        "lpad" => format!("{fill}{text}"),
        _ => format!("{text}{fill}"),
    }))
}

/// `format` with its conversions `%s`, `%I`, `%L` and `%%`.
fn formatted(values: &[Value], call: &Call, objects: &Objects) -> Result<Value, Fault> {
    if values[0].is_null() {
        return Ok(Value::Null);
    }
    let mut text = String::new();
    let mut next = 1;
    let mut chars = values[0].as_text().chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        let conversion = chars.next();
        if conversion == Some('%') {
            text.push('%');
            continue;
        }
        let value = values
            .get(next)
            .ok_or_else(|| Fault::new("22023", "too few arguments for format()"))?;
        let of = call.types.get(next).copied().unwrap_or(oid::TEXT);
        next += 1;
        let written = write(of, value, objects);
        match (conversion, value) {
            (Some('s'), _) => text.push_str(&written),
            (Some('I'), Value::Null) => {
                return Err(Fault::new(
                    "22004",
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            (Some('I'), _) => text.push_str(&quoted(&written)),
            (Some('L'), Value::Null) => text.push_str("NULL"),
            (Some('L'), _) => text.push_str(&literal(&written)),
            _ => {
                let why = "format() takes %s, %I, %L and %% here";
                return Err(Fault::new("0A000", why));
            }
        }
    }
    Ok(Value::text(text))
}

fn flags(values: &[Value], place: usize) -> &str {
    values.get(place).map_or("", Value::as_text)
}

/// The groups of a match, or all of it if there are none.
pub(super) fn groups(captures: &regex::Captures<'_>) -> Vec<Value> {
    let value = |group: Option<regex::Match<'_>>| {
        group.map_or(Value::Null, |group| Value::text(group.as_str()))
    };
    match captures.len() {
        1 => vec![value(captures.get(0))],
        count => (1..count).map(|place| value(captures.get(place))).collect(),
    }
}

fn regexp_replace(values: &[Value], _: &Call, _: &Objects) -> Result<Value, Fault> {
    if values.len() > 4 || matches!(values.get(3), Some(Value::Int(_))) {
        let why = "regexp_replace takes a text, a pattern, a replacement and flags here";
        return Err(Fault::new("0A000", why));
    }
    let flags = flags(values, 3);
    let found = pattern(values[1].as_text(), flags.contains('i'))?;
    // `\1` and `\&` stand for groups.
    let mut replacement = String::new();
    let mut chars = values[2].as_text().chars();
    while let Some(char) = chars.next() {
        match char {
            '$' => replacement.push_str("$$"),
            '\\' => match chars.next() {
                Some('&') => replacement.push_str("${0}"),
                Some(digit) if digit.is_ascii_digit() => {
                    replacement.push_str(&format!("${{{digit}}}"));
                }
                Some(other) => replacement.push(other),
                None => replacement.push('\\'),
            },
            char => replacement.push(char),
        }
    }
    let text = values[0].as_text();
    Ok(Value::text(match flags.contains('g') {
        true => found.replace_all(text, replacement.as_str()),
        false => found.replace(text, replacement.as_str()),
    }))
}

/// A time by a pattern of fields: `YYYY`, `MM`, `DD`, `HH24`, `HH12`, `MI`, `SS`, `MS`, `US`, `TZ`.
fn to_char(values: &[Value], _: &Call, _: &Objects) -> Result<Value, Fault> {
    const FIELDS: [(&str, &str); 11] = [
        ("YYYY", "%Y"),
        ("HH24", "%H"),
        ("HH12", "%I"),
        ("MM", "%m"),
        ("DD", "%d"),
        ("HH", "%I"),
        ("MI", "%M"),
        ("SS", "%S"),
        ("MS", "%3f"),
        ("US", "%6f"),
        ("TZ", "UTC"),
    ];
    let Value::Micros(micros) = &values[0] else {
        return Err(Fault::new("0A000", "to_char takes times here"));
    };
    let time = DateTime::from_timestamp_micros(*micros)
        .ok_or_else(|| Fault::new("22008", "timestamp out of range"))?;
    let (mut rest, mut pattern) = (values[1].as_text(), String::new());
    while let Some(first) = rest.chars().next() {
        let found = FIELDS.iter().find(|(name, _)| rest.starts_with(name));
        match found {
            Some((name, field)) => {
                pattern.push_str(field);
                rest = &rest[name.len()..];
            }
            None if first.is_ascii_alphabetic() || first == '%' => {
                let why = format!(
                    "the pattern {} of to_char is not supported here",
                    values[1].as_text()
                );
                return Err(Fault::new("0A000", why));
            }
            None => {
                pattern.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    Ok(Value::text(time.format(&pattern).to_string()))
}

fn part(field: &str, micros: i64, is_interval: bool) -> Result<Value, Fault> {
    let seconds = micros as f64 / 1e6;
    if field == "epoch" {
        return Ok(Value::Float(seconds));
    }
    let unknown = || Fault::new("0A000", format!("the field {field} is not supported here"));
    if is_interval {
        let whole = micros / 1_000_000;
        return Ok(Value::Float(match field {
            "day" => (whole / 86_400) as f64,
            "hour" => (whole / 3600 % 24) as f64,
            "minute" => (whole / 60 % 60) as f64,
            "second" => seconds % 60.0,
            _ => return Err(unknown()),
        }));
    }
    let time = DateTime::from_timestamp_micros(micros).ok_or_else(unknown)?;
    Ok(Value::Float(match field {
        "year" => f64::from(time.year()),
        "month" => f64::from(time.month()),
        "day" => f64::from(time.day()),
        "hour" => f64::from(time.hour()),
        "minute" => f64::from(time.minute()),
        "second" => f64::from(time.second()) + f64::from(time.nanosecond()) / 1e9,
        "dow" => f64::from(time.weekday().num_days_from_sunday()),
        "doy" => f64::from(time.ordinal()),
        _ => return Err(unknown()),
    }))
}
