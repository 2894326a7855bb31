//! Splits PostgreSQL's texts of arrays and records into the texts of their values.
//!
//! The formats, which [`crate::format`] writes:
//! <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO> and
//! <https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX>.

use arrow::array::{Array, OffsetSizeTrait, StringArray, StringBuilder};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

use super::values::BadValue;

/// The items of all lists of a column.
pub(super) struct ListTexts {
    pub(super) items: StringArray,
    /// The index of each row's first item, and then the number of all items.
    pub(super) offsets: Vec<usize>,
}

impl ListTexts {
    /// # Errors
    /// [`BadValue::Row`] for a text that is not an array.
    pub(super) fn parse(texts: &StringArray) -> Result<Self, BadValue> {
        let mut items = StringBuilder::new();
        let mut offsets = vec![0];
        let mut count = 0;
        for (row, text) in texts.iter().enumerate() {
            if let Some(text) = text {
                let listed = list_items(text).ok_or(BadValue::Row(row))?;
                count += listed.len();
                items.extend(listed);
            }
            offsets.push(count);
        }
        Ok(Self {
            items: items.finish(),
            offsets,
        })
    }

    /// Changes the number of an item in an error to the number of its row.
    pub(super) fn at_rows<T>(&self, values: Result<T, BadValue>) -> Result<T, BadValue> {
        values.map_err(|error| match error {
            BadValue::Row(item) => {
                let row = self.offsets.partition_point(|start| *start <= item);
                BadValue::Row(row.saturating_sub(1))
            }
            other => other,
        })
    }

    pub(super) fn offset_buffer<O: OffsetSizeTrait>(&self) -> Result<OffsetBuffer<O>, ArrowError> {
        let offset = |offset: &usize| O::from_usize(*offset);
        let offsets: Option<Vec<O>> = self.offsets.iter().map(offset).collect();
        let too_many = || ArrowError::OffsetOverflowError(self.items.len());
        let offsets = offsets.ok_or_else(too_many)?;
        Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
    }
}

/// Returns one column of texts for each field.
///
/// # Errors
/// [`BadValue::Row`] for a text that is not a record with `fields` fields.
pub(super) fn record_texts(
    texts: &StringArray,
    fields: usize,
) -> Result<Vec<StringArray>, BadValue> {
    let mut columns: Vec<StringBuilder> = (0..fields).map(|_| StringBuilder::new()).collect();
    for (row, text) in texts.iter().enumerate() {
        let values = match text {
            Some(text) => record_values(text).filter(|values| values.len() == fields),
            None => Some(vec![None; fields]),
        };
        for (column, value) in columns.iter_mut().zip(values.ok_or(BadValue::Row(row))?) {
            column.append_option(value);
        }
    }
    Ok(columns.iter_mut().map(StringBuilder::finish).collect())
}

/// Splits `{1,NULL,"a b"}` into its items. A nested list stays a text. `None` if the text is not an
/// array.
fn list_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    let items = split(inner)?.into_iter().map(|item| {
        let item = item.trim();
        if item.starts_with('{') {
            return Some(Some(item.to_owned()));
        }
        match unquote(item)? {
            Value::Unquoted(value) if value.is_empty() => None,
            Value::Unquoted(value) if value.eq_ignore_ascii_case("NULL") => Some(None),
            Value::Unquoted(value) | Value::Quoted(value) => Some(Some(value)),
        }
    });
    items.collect()
}

/// Splits `(1,,"a b")` into its values. `None` if the text is not a record.
fn record_values(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let values = split(inner)?.into_iter().map(|value| {
        Some(match unquote(value)? {
            Value::Unquoted(value) if value.is_empty() => None,
            Value::Unquoted(value) | Value::Quoted(value) => Some(value),
        })
    });
    values.collect()
}

/// Splits at commas outside quotes and braces. `None` if quotes or braces are not balanced.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut in_quotes = false;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()?),
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (depth == 0 && !in_quotes).then_some(parts)
}

enum Value {
    Quoted(String),
    Unquoted(String),
}

/// The value without its quotes and escapes.
fn unquote(text: &str) -> Option<Value> {
    let mut value = String::with_capacity(text.len());
    let (mut quoted, mut in_quotes) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => value.push(chars.next()?),
            '"' if in_quotes && chars.peek() == Some(&'"') => {
                value.push('"');
                chars.next();
            }
            '"' => {
                in_quotes = !in_quotes;
                quoted = true;
            }
            other => value.push(other),
        }
    }
    Some(match quoted {
        true => Value::Quoted(value),
        false => Value::Unquoted(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn arrays_and_records_are_taken_apart() {
        let items = list_items(r#"{1, NULL,"NULL","a,\"b\\",{x,{"}"}}}"#).unwrap();
        let expected = vec![
            some("1"),
            None,
            some("NULL"),
            some(r#"a,"b\"#),
            some(r#"{x,{"}"}}"#),
        ];
        assert_eq!(items, expected);
        assert_eq!(list_items("{}"), Some(Vec::new()));
        for bad in ["", "1", "{1", "{1,}", "{\"a}", "{{1}", "{1}}"] {
            assert_eq!(list_items(bad), None, "{bad}");
        }
        let values = record_values(r#"(1,,"","say ""hi"" \\ (x)")"#).unwrap();
        assert_eq!(
            values,
            [some("1"), None, some(""), some(r#"say "hi" \ (x)"#)]
        );
        assert_eq!(record_values("(1"), None);
    }
}
