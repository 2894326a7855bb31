//! Access to JSON, which is kept as text.
//!
//! Invariant: a text that is no JSON is an error wherever a value is taken out of it.
//! See <https://www.postgresql.org/docs/15/functions-json.html>. `json_extract` and
//! `json_extract_string` are DuckDB's: <https://duckdb.org/docs/stable/data/json/json_functions>.

mod text;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use self::text::{Step, Value};
use super::rows::{Arg, RowFunction};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::functions;

/// The most arguments of a function with a path.
const MOST: usize = 100;

pub(super) fn json_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![
        RowFunction::new(functions::JSON, 1..=1, |args| {
            Value::parse(args[0].text())?;
            Ok(Some(args[0].text().to_owned()))
        }),
        RowFunction::new(functions::JSONB, 1..=1, |args| {
            let mut normal = String::new();
            Value::parse(args[0].text())?.write_normal(&mut normal)?;
            Ok(Some(normal))
        }),
        RowFunction::new(functions::JSON_GET, 2..=2, |args| {
            json(args, &one_step(args)?)
        }),
        RowFunction::new(functions::JSON_GET_TEXT, 2..=2, |args| {
            text(args, &one_step(args)?)
        }),
        RowFunction::new(functions::JSON_GET_PATH, 2..=2, |args| {
            json(args, &list_of_steps(args[1].text())?)
        }),
        RowFunction::new(functions::JSON_GET_PATH_TEXT, 2..=2, |args| {
            text(args, &list_of_steps(args[1].text())?)
        }),
        RowFunction::new("json_extract", 2..=2, |args| {
            json(args, &duckdb_steps(args)?)
        }),
        RowFunction::new("json_extract_string", 2..=2, |args| {
            text(args, &duckdb_steps(args)?)
        }),
        RowFunction::new("json_valid", 1..=1, |args| {
            Ok(Some(Value::parse(args[0].text()).is_ok().to_string()))
        })
        .returning(DataType::Boolean),
    ];
    let array_length = |args: &[Arg<'_>]| match Value::parse(args[0].text())?.elements() {
        Some(elements) => Ok(Some(elements.len().to_string())),
        None => {
            let why = "the length of a JSON value that is no array";
            Err(Error::new(ErrorKind::InvalidParameter, why))
        }
    };
    let type_of = |args: &[Arg<'_>]| {
        let value = Value::parse(args[0].text())?;
        Ok(Some(value.type_name().to_owned()))
    };
    for (array_length_name, type_name) in [
        ("json_array_length", "json_typeof"),
        ("jsonb_array_length", "jsonb_typeof"),
    ] {
        all.push(
            RowFunction::new(array_length_name, 1..=1, array_length).returning(DataType::Int32),
        );
        all.push(RowFunction::new(type_name, 1..=1, type_of));
    }
    all.extend([
        RowFunction::new("json_extract_path", 1..=MOST, |args| {
            json(args, &steps(&args[1..]))
        }),
        RowFunction::new("json_extract_path_text", 1..=MOST, |args| {
            text(args, &steps(&args[1..]))
        }),
    ]);
    all.into_iter().map(RowFunction::into_udf).collect()
}

/// The value at a path in the first argument, as JSON.
fn json(args: &[Arg<'_>], path: &[Step]) -> Result<Option<String>> {
    let found = Value::parse(args[0].text())?.find(path)?;
    Ok(found.map(|value| value.as_str().to_owned()))
}

/// The value at a path in the first argument, as text.
fn text(args: &[Arg<'_>], path: &[Step]) -> Result<Option<String>> {
    match Value::parse(args[0].text())?.find(path)? {
        Some(value) => value.to_text(),
        None => Ok(None),
    }
}

/// The right operand of `->`: a number is an index, a text is a name.
fn one_step(args: &[Arg<'_>]) -> Result<[Step; 1]> {
    let arg = args[1];
    if !arg.data_type.is_integer() {
        return Ok([Step::Member(arg.text().to_owned())]);
    }
    let index = arg.text().parse().map_err(|_| {
        let why = format!("{} is out of range of an index", arg.text());
        Error::new(ErrorKind::InvalidParameter, why)
    })?;
    Ok([Step::Element(index)])
}

fn steps(args: &[Arg<'_>]) -> Vec<Step> {
    let names = args.iter().map(|arg| arg.text().to_owned());
    names.map(Step::Either).collect()
}

/// The steps of a list of texts, as PostgreSQL prints it: `{a,"b c",0}`.
fn list_of_steps(list: &str) -> Result<Vec<Step>> {
    let refuse = || {
        let why = format!("\"{list}\" is no list of texts");
        Error::new(ErrorKind::InvalidParameter, why).with_hint("write a path as '{a,b,0}'")
    };
    let inner = list.trim().strip_prefix('{');
    let inner = inner
        .and_then(|list| list.strip_suffix('}'))
        .ok_or_else(refuse)?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut steps, mut step) = (Vec::new(), String::new());
    let (mut in_quotes, mut was_quoted) = (false, false);
    let mut chars = inner.chars();
    loop {
        let next = chars.next();
        match next {
            Some('"') if in_quotes => in_quotes = false,
            // Blanks before a quote are no part of the text.
            Some('"') if !was_quoted && step.trim().is_empty() => {
                step.clear();
                (in_quotes, was_quoted) = (true, true);
            }
            Some('\\') => step.push(chars.next().ok_or_else(refuse)?),
            Some(c) if in_quotes => step.push(c),
            None if in_quotes => return Err(refuse()),
            None | Some(',') => {
                let step = std::mem::take(&mut step);
                let plain = step.trim();
                match was_quoted {
                    true => steps.push(Step::Either(step)),
                    false if plain.is_empty() || plain.eq_ignore_ascii_case("null") => {
                        return Err(refuse());
                    }
                    false => steps.push(Step::Either(plain.to_owned())),
                }
                was_quoted = false;
                if next.is_none() {
                    return Ok(steps);
                }
            }
            Some(c) if was_quoted && c.is_ascii_whitespace() => {}
            Some(c) if !was_quoted && !matches!(c, '"' | '{' | '}') => step.push(c),
            Some(_) => return Err(refuse()),
        }
    }
}

/// The steps of DuckDB's `json_extract`: an index, a name, `$.a[0]` or `/a/0`.
fn duckdb_steps(args: &[Arg<'_>]) -> Result<Vec<Step>> {
    let written = args[1].text();
    if args[1].data_type.is_integer() {
        return Ok(one_step(args)?.to_vec());
    }
    if let Some(pointer) = written.strip_prefix('/') {
        let names = pointer.split('/');
        let names = names.map(|name| name.replace("~1", "/").replace("~0", "~"));
        return Ok(names.map(Step::Either).collect());
    }
    let Some(mut rest) = written.strip_prefix('$') else {
        return Ok(vec![Step::Member(written.to_owned())]);
    };
    let refuse = || {
        let why = format!("the JSON path '{written}' is not supported");
        Error::new(ErrorKind::Unsupported, why).with_hint("write a path as '$.name[0]'")
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = if let Some(name) = rest.strip_prefix(".\"") {
            let (name, after) = name.split_once('"').ok_or_else(refuse)?;
            (Step::Member(name.to_owned()), after)
        } else if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            if name.is_empty() || name.contains('*') {
                return Err(refuse());
            }
            (Step::Member(name.to_owned()), after)
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']').ok_or_else(refuse)?;
            // `#-1` is the last element.
            let index = index.strip_prefix('#').unwrap_or(index);
            (Step::Element(index.parse().map_err(|_| refuse())?), after)
        } else {
            return Err(refuse());
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}
