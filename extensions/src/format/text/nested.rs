//! Arrays and records as PostgreSQL prints them.
//!
//! Invariant: the text of a list or struct reads back as the same values, because every ambiguous
//! value is quoted. The forms:
//! <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO> and
//! <https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX>

use arrow::array::{Array, ArrayRef, OffsetSizeTrait};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use super::values::{ColumnText, ValueText, column_text};
use crate::error::Result;

/// `{1,NULL,"a b"}`; a list in a list has its own braces and no quotes.
pub(super) struct ListText<'a, O: OffsetSizeTrait> {
    offsets: &'a OffsetBuffer<O>,
    items: ColumnText<'a>,
    are_lists: bool,
}

impl<'a, O: OffsetSizeTrait> ListText<'a, O> {
    pub(super) fn new(
        offsets: &'a OffsetBuffer<O>,
        item: &Field,
        items: &'a dyn Array,
    ) -> Result<Self> {
        let are_lists = matches!(
            item.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::Map(_, _)
        );
        Ok(Self {
            offsets,
            items: column_text(item, items)?,
            are_lists,
        })
    }
}

impl<O: OffsetSizeTrait> ValueText for ListText<'_, O> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        let (start, end) = (
            self.offsets[row].as_usize(),
            self.offsets[row + 1].as_usize(),
        );
        out.push(b'{');
        for item in start..end {
            if item > start {
                out.push(b',');
            }
            if self.items.is_null(item) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            let text = out.len();
            self.items.push_text(item, out);
            if !self.are_lists {
                quote_if(out, text, needs_quotes_in_array, |byte| [b'\\', byte]);
            }
        }
        out.push(b'}');
    }

    fn is_plain(&self) -> bool {
        false
    }
}

/// `(1,,"a b")`; NULL is an empty field.
pub(super) struct StructText<'a> {
    columns: Vec<ColumnText<'a>>,
}

impl<'a> StructText<'a> {
    pub(super) fn new(fields: &Fields, columns: &'a [ArrayRef]) -> Result<Self> {
        let columns = fields.iter().zip(columns);
        Ok(Self {
            columns: columns
                .map(|(field, column)| column_text(field, column))
                .collect::<Result<_>>()?,
        })
    }
}

impl ValueText for StructText<'_> {
    fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'(');
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if !column.is_null(row) {
                let text = out.len();
                column.push_text(row, out);
                quote_if(out, text, needs_quotes_in_record, |byte| [byte, byte]);
            }
        }
        out.push(b')');
    }

    fn is_plain(&self) -> bool {
        false
    }
}

/// ASCII whitespace, as defined by C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn needs_quotes_in_array(text: &[u8]) -> bool {
    let special = |byte: &u8| matches!(*byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(*byte);
    text.is_empty() || text.eq_ignore_ascii_case(b"NULL") || text.iter().any(special)
}

fn needs_quotes_in_record(text: &[u8]) -> bool {
    let special = |byte: &u8| matches!(*byte, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*byte);
    text.is_empty() || text.iter().any(special)
}

/// Quotes the text in `out` from `start` on, if `needs` returns true for it. `escape` returns the
/// escaped form of a quote or backslash.
fn quote_if(
    out: &mut Vec<u8>,
    start: usize,
    needs: impl Fn(&[u8]) -> bool,
    escape: impl Fn(u8) -> [u8; 2],
) {
    if !needs(&out[start..]) {
        return;
    }
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&escape(byte)),
            other => out.push(other),
        }
    }
    out.push(b'"');
}
