//! Functions of texts that DataFusion does not have.
//!
//! Invariant: each returns what PostgreSQL's function of the same name returns.
//! See <https://www.postgresql.org/docs/15/functions-string.html>.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::rows::{Arg, RowFunction};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::functions;

/// The most arguments of `format`.
const MOST: usize = 100;

pub(super) fn string_functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        RowFunction::new("quote_literal", 1..=1, |args| {
            Ok(Some(quote_literal(args[0].text())))
        }),
        RowFunction::new("quote_nullable", 1..=1, |args| {
            Ok(Some(literal_or_null(args[0])))
        })
        .with_nulls(),
        RowFunction::new("quote_ident", 1..=1, |args| {
            Ok(Some(quote_ident(args[0].text())))
        }),
        RowFunction::new("format", 1..=MOST, |args| match args[0].text {
            Some(template) => format_text(template, &args[1..]).map(Some),
            None => Ok(None),
        })
        .with_nulls(),
        RowFunction::new(functions::UUID, 1..=1, |args| {
            uuid(args[0].text()).map(Some)
        }),
        RowFunction::new("num_nulls", 1..=MOST, |args| {
            let nulls = args.iter().filter(|arg| arg.text.is_none());
            Ok(Some(nulls.count().to_string()))
        })
        .with_nulls()
        .returning(DataType::Int32),
        RowFunction::new("num_nonnulls", 1..=MOST, |args| {
            let values = args.iter().filter(|arg| arg.text.is_some());
            Ok(Some(values.count().to_string()))
        })
        .with_nulls()
        .returning(DataType::Int32),
    ];
    all.map(RowFunction::into_udf).into()
}

fn quote_literal(text: &str) -> String {
    let escape = if text.contains('\\') { "E" } else { "" };
    let quoted = text.replace('\\', "\\\\").replace('\'', "''");
    format!("{escape}'{quoted}'")
}

fn literal_or_null(arg: Arg<'_>) -> String {
    arg.text.map_or_else(|| "NULL".to_owned(), quote_literal)
}

/// An identifier, quoted if it needs quotes.
fn quote_ident(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain && !is_reserved(name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// PostgreSQL's keywords that an identifier without quotes can't be everywhere.
/// See <https://www.postgresql.org/docs/15/sql-keywords-appendix.html>.
const RESERVED: &str = "
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists extract false fetch float for foreign freeze from full grant greatest group grouping
    having ilike in initially inner inout int integer intersect interval into is isnull join lateral
    leading least left like limit localtime localtimestamp national natural nchar none normalize not
    notnull null nullif numeric offset on only or order out outer overlaps overlay placing position
    precision primary real references returning right row select session_user setof similar smallint
    some substring symmetric table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

fn is_reserved(name: &str) -> bool {
    RESERVED.split_ascii_whitespace().any(|word| word == name)
}

/// One `%` of a template.
struct Field {
    /// The number of the argument, from 1.
    position: Option<usize>,
    is_left: bool,
    /// Takes the width from an argument: the next one, or the one of this number.
    width_from: Option<Option<usize>>,
    width: usize,
    kind: char,
}

/// Reads the field after a `%`. Returns it with the rest of the template.
fn parse_field(template: &str) -> Option<(Field, &str)> {
    let number = |text: &str| -> (Option<usize>, usize) {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        (
            text.get(..length).and_then(|text| text.parse().ok()),
            length,
        )
    };
    let mut rest = template;
    let mut position = None;
    if let (Some(found), length) = number(rest)
        && let Some(after) = rest.get(length..)?.strip_prefix('$')
    {
        (position, rest) = (Some(found), after);
    }
    let mut is_left = false;
    while let Some(after) = rest.strip_prefix('-') {
        (is_left, rest) = (true, after);
    }
    let (mut width, mut width_from) = (0, None);
    if let Some(after) = rest.strip_prefix('*') {
        rest = after;
        width_from = Some(None);
        if let (Some(found), length) = number(rest)
            && let Some(after) = rest.get(length..)?.strip_prefix('$')
        {
            (width_from, rest) = (Some(Some(found)), after);
        }
    } else if let (Some(found), length) = number(rest) {
        (width, rest) = (found, rest.get(length..)?);
    }
    let kind = rest.chars().next()?;
    let field = Field {
        position,
        is_left,
        width_from,
        width,
        kind,
    };
    Some((field, &rest[kind.len_utf8()..]))
}

fn format_text(template: &str, args: &[Arg<'_>]) -> Result<String> {
    let refuse = |why: &str| Error::new(ErrorKind::InvalidParameter, format!("format: {why}"));
    let mut out = String::new();
    let mut rest = template;
    let mut next = 0;
    let mut take = |position: Option<usize>| {
        next = position.unwrap_or(next + 1);
        match next.checked_sub(1).and_then(|index| args.get(index)) {
            Some(arg) => Ok(*arg),
            None => Err(refuse("the template names an argument that is not there")),
        }
    };
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let field = parse_field(after).ok_or_else(|| refuse("the template ends after a %"))?;
        let (field, after) = field;
        rest = after;
        if field.kind == '%' {
            out.push('%');
            continue;
        }
        let (mut width, mut is_left) = (field.width, field.is_left);
        if let Some(position) = field.width_from {
            let arg = take(position)?;
            let wanted: i64 = arg.text.map_or(Ok(0), |text| {
                text.parse().map_err(|_| refuse("a width is no integer"))
            })?;
            is_left |= wanted < 0;
            width = usize::try_from(wanted.unsigned_abs()).unwrap_or(usize::MAX);
        }
        if width > 1 << 20 {
            return Err(refuse("a width is out of range"));
        }
        let mut arg = take(field.position)?;
        if arg.data_type == &DataType::Boolean {
            // `format` prints values, it does not cast them.
            arg.text = arg.text.map(|text| if text == "true" { "t" } else { "f" });
        }
        let text = match field.kind {
            's' => arg.text().to_owned(),
            'I' => match arg.text {
                Some(name) => quote_ident(name),
                None => return Err(refuse("NULL is no identifier")),
            },
            'L' => literal_or_null(arg),
            other => {
                let why = format!("%{other} is unknown; write %s, %I, %L or %%");
                return Err(refuse(&why));
            }
        };
        let filler = " ".repeat(width.saturating_sub(text.chars().count()));
        match is_left {
            true => out.extend([text, filler]),
            false => out.extend([filler, text]),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A UUID in lower case with hyphens.
/// See <https://www.postgresql.org/docs/15/datatype-uuid.html>.
fn uuid(written: &str) -> Result<String> {
    let refuse = || {
        let why = format!("invalid input for type uuid: \"{written}\"");
        Error::new(ErrorKind::InvalidParameter, why)
            .with_hint("write it as 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'")
    };
    let inner = match written.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}').ok_or_else(refuse)?,
        None => written,
    };
    let mut digits = String::with_capacity(32);
    for (at, part) in inner.split('-').enumerate() {
        // A hyphen may follow every four digits.
        if at > 0 && (digits.len() % 4 != 0 || digits.is_empty() || part.is_empty()) {
            return Err(refuse());
        }
        digits.push_str(part);
    }
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    digits.make_ascii_lowercase();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_with_all_kinds_of_hyphens() {
        let wanted = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for written in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(uuid(written).unwrap(), wanted);
        }
        for written in [
            "",
            "xyz",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0e-ebc99-9c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert!(uuid(written).is_err(), "{written}");
        }
    }
}
