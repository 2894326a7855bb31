//! PostgreSQL's text format, the default of `COPY … TO STDOUT`.
//!
//! Invariant: a row is one line. Delimiters, line ends and backslashes in values are escaped with a
//! backslash, so no value reads as the default NULL string `\N`. A value that equals another NULL
//! string is not escaped. The rules:
//! <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2>

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::LineFormat;
use super::compression::TextCompression;
use super::lines::format_lines;
use super::values::{plain_arrays, refuse_textless, texts};
use crate::error::Result;

/// Options for writing the text format.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct CopyTextOptions {
    /// Whether the first line names the columns.
    pub header: bool,
    /// The byte between values.
    pub delimiter: u8,
    /// The text for NULL.
    pub null: String,
}

impl Default for CopyTextOptions {
    fn default() -> Self {
        Self {
            header: false,
            delimiter: b'\t',
            null: "\\N".to_owned(),
        }
    }
}

/// PostgreSQL's text format.
#[derive(Debug, Clone)]
pub struct CopyTextFormat {
    options: CopyTextOptions,
}

impl CopyTextFormat {
    /// Creates the format with `options`.
    pub fn new(options: CopyTextOptions) -> Self {
        Self { options }
    }

    fn push_escaped(&self, out: &mut Vec<u8>, value: &[u8]) {
        for byte in value {
            let letter = match *byte {
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                b'\\' => b'\\',
                other if other == self.options.delimiter => other,
                other => {
                    out.push(other);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', letter]);
        }
    }
}

impl LineFormat for CopyTextFormat {
    const NAME: &'static str = "text";

    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn compression(&self) -> TextCompression {
        TextCompression::None
    }

    fn check_columns(&self, schema: &Schema) -> Result<()> {
        refuse_textless(Self::NAME, schema)
    }

    fn push_header(&self, schema: &Schema, out: &mut Vec<u8>) {
        if !self.options.header {
            return;
        }
        for (i, field) in schema.fields().iter().enumerate() {
            if i > 0 {
                out.push(self.options.delimiter);
            }
            self.push_escaped(out, field.name().as_bytes());
        }
        out.push(b'\n');
    }

    fn format_rows(
        &self,
        batch: &RecordBatch,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let arrays = plain_arrays(batch)?;
        let columns = texts(&batch.schema(), &arrays)?;
        let null = self.options.null.as_bytes();
        format_lines(batch, self.options.delimiter, out, |place, rows, cells| {
            columns[place].push_cells_with(rows, null, cells, |value, out| {
                self.push_escaped(out, value);
            });
        })
    }
}
