//! Patterns of `LIKE … ESCAPE` and `SIMILAR TO`.
//!
//! Invariant: a translated pattern matches the texts that the pattern matches in PostgreSQL. A pattern
//! that PostgreSQL refuses is an error.
//! See <https://www.postgresql.org/docs/15/functions-matching.html>.

use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::{Error, ErrorKind, Result};
use crate::sql::functions::{LIKE, SIMILAR_TO};

/// The functions that translate patterns.
pub(super) fn pattern_functions() -> [ScalarUDF; 2] {
    [(LIKE, like as Translate), (SIMILAR_TO, similar_to)].map(|(name, translate)| {
        ScalarUDF::from(Translation {
            name,
            translate,
            signature: Signature::string(2, Volatility::Immutable),
        })
    })
}

/// Translates a pattern with an escape character, if it has one.
type Translate = fn(&str, Option<char>) -> Result<String>;

/// A function of a pattern and its escape character.
#[derive(Debug)]
struct Translation {
    name: &'static str,
    translate: Translate,
    signature: Signature,
}

impl PartialEq for Translation {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Translation {}

impl std::hash::Hash for Translation {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Translation {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let texts = ColumnarValue::values_to_arrays(&args.args)?;
        let texts: std::result::Result<Vec<_>, _> = texts
            .iter()
            .map(|text| cast(text, &DataType::Utf8))
            .collect();
        let texts = texts?;
        let [patterns, escapes] = texts.as_slice() else {
            let why = format!("{} has two arguments", self.name);
            return Err(Error::new(ErrorKind::Internal, why).into());
        };
        let pairs = patterns
            .as_string::<i32>()
            .iter()
            .zip(escapes.as_string::<i32>());
        let translated = pairs.map(|(pattern, escape)| match (pattern, escape) {
            (Some(pattern), Some(escape)) => {
                let mut chars = escape.chars();
                let first = chars.next();
                if chars.next().is_some() {
                    let why = "an escape character is one character, or none";
                    return Err(Error::new(ErrorKind::InvalidParameter, why));
                }
                (self.translate)(pattern, first).map(Some)
            }
            _ => Ok(None),
        });
        let translated: StringArray = translated.collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(translated)))
    }
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
    let mut in_brackets = false;
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
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '(' => regex.push_str("(?:"),
            ')' | '|' | '*' | '+' | '?' | '{' | '}' => regex.push(c),
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
