//! Patterns of `LIKE … ESCAPE` and `SIMILAR TO`.
//!
//! Invariant: a translated pattern matches the texts that the pattern matches in PostgreSQL. A pattern
//! that PostgreSQL refuses is an error.
//! See <https://www.postgresql.org/docs/15/functions-matching.html>.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

use super::rows::{Arg, RowFunction};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::functions::{LIKE, SIMILAR_TO};

/// The functions that translate patterns.
pub(super) fn pattern_functions() -> [Arc<ScalarUDF>; 2] {
    let like = RowFunction::new(LIKE, 2..=2, |args| translate(args, like));
    let similar_to = RowFunction::new(SIMILAR_TO, 2..=2, |args| translate(args, similar_to));
    [like, similar_to].map(RowFunction::into_udf)
}

/// Translates a pattern with an escape character, if it has one.
fn translate(
    args: &[Arg<'_>],
    translate: fn(&str, Option<char>) -> Result<String>,
) -> Result<Option<String>> {
    let mut escape = args[1].text().chars();
    let first = escape.next();
    if escape.next().is_some() {
        let why = "an escape character is one character, or none";
        return Err(Error::new(ErrorKind::InvalidParameter, why));
    }
    translate(args[0].text(), first).map(Some)
}

fn ends_with_escape() -> Error {
    let why = "a pattern must not end with its escape character";
    Error::new(ErrorKind::InvalidParameter, why)
}

/// A pattern of `LIKE` with the escape character `\`.
fn like(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut translated = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let literal = match Some(c) == escape {
            true => Some(chars.next().ok_or_else(ends_with_escape)?),
            false => (c == '\\').then_some(c),
        };
        match literal {
            Some(literal) => translated.extend(['\\', literal]),
            None => translated.push(c),
        }
    }
    Ok(translated)
}

/// A pattern of `SIMILAR TO` as a regular expression that matches a whole text.
fn similar_to(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut regex = String::from("^(?s:");
    let mut chars = pattern.chars().peekable();
    let (mut in_brackets, mut in_braces) = (false, false);
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let literal = chars.next().ok_or_else(ends_with_escape)?;
            push_literal(&mut regex, literal);
            continue;
        }
        match c {
            ']' if in_brackets => {
                in_brackets = false;
                regex.push(c);
            }
            // A class such as `[:alpha:]`.
            '[' if in_brackets && matches!(chars.peek(), Some(':')) => {
                regex.push(c);
                for c in chars.by_ref() {
                    regex.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' | '\\' | '&' | '~' if in_brackets => regex.extend(['\\', c]),
            _ if in_brackets => regex.push(c),
            '[' => {
                in_brackets = true;
                regex.push(c);
                if chars.next_if_eq(&'^').is_some() {
                    regex.push('^');
                }
                // A bracket at the start is a character.
                if chars.next_if_eq(&']').is_some() {
                    regex.push_str("\\]");
                }
            }
            '{' | '}' => {
                in_braces = c == '{';
                regex.push(c);
            }
            ',' if in_braces => regex.push(c),
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '(' => regex.push_str("(?:"),
            ')' | '|' | '*' | '+' | '?' => regex.push(c),
            other => push_literal(&mut regex, other),
        }
    }
    regex.push_str(")$");
    Ok(regex)
}

fn push_literal(regex: &mut String, literal: char) {
    if literal.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(literal);
}
