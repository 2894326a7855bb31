//! Rows as PostgreSQL sends them to clients: each value with its length, in text or binary form.
//!
//! Invariant: both forms of a value read back as the same value, except that the binary form of a
//! time or timestamp has microseconds, as PostgreSQL's types have, and rounds nanoseconds.
//!
//! The forms: <https://www.postgresql.org/docs/15/protocol-overview.html#PROTOCOL-FORMAT-CODES>.

mod binary;
mod declared;
mod numeric;
mod types;

pub use self::declared::{PG_TYPE_KEY, array_elements};
pub use self::numeric::numeric_text;
pub use self::types::{PgType, array_of, element_of, oid, pg_type};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use self::binary::{ColumnBinary, column_binary};
use super::text::{ColumnText, column_text, plain_arrays};
use crate::error::{Error, ErrorKind, Result};

/// The form of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValueFormat {
    /// PostgreSQL's text form.
    #[default]
    Text,
    /// PostgreSQL's binary form.
    Binary,
}

/// A batch whose rows can be written one after the other.
#[derive(Debug)]
pub struct PgRows {
    schema: SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
}

/// A column that is ready to be written.
enum Column<'a> {
    Text(ColumnText<'a>),
    Binary(ColumnBinary<'a>),
}

impl Column<'_> {
    /// Appends a value and its length in bytes; -1 stands for NULL.
    fn push(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let is_null = match self {
            Self::Text(column) => column.is_null(row),
            Self::Binary(column) => column.is_null(row),
        };
        if is_null {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(());
        }
        push_with_length(out, |out| match self {
            Self::Text(column) => {
                column.push_text(row, out);
                Ok(())
            }
            Self::Binary(column) => column.push(row, out),
        })
    }
}

/// Appends what `push` appends, after its length in bytes.
///
/// # Errors
/// Errors of `push`; [`ErrorKind::Unsupported`] for a value of 2 GB or more.
fn push_with_length(
    out: &mut Vec<u8>,
    push: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    push(out)?;
    let length = i32::try_from(out.len() - start - 4).map_err(|_| {
        Error::new(
            ErrorKind::Unsupported,
            "a value of 2 GB or more can't be sent",
        )
    })?;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

impl PgRows {
    /// Prepares the rows of a batch.
    ///
    /// # Errors
    /// [`ErrorKind::DatatypeMismatch`] for a type without a text form.
    pub fn new(batch: &RecordBatch) -> Result<Self> {
        Ok(Self {
            schema: batch.schema(),
            arrays: plain_arrays(batch)?,
            rows: batch.num_rows(),
        })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Passes the rows from `first` on to `take`, until it returns false or the rows end. A row is
    /// the number of its columns (16 bits), and for each column the length in bytes (32 bits) and
    /// the value in the form that `formats` has for the column; a missing item stands for text.
    /// Returns the number of rows passed.
    ///
    /// # Errors
    /// A value has no such form.
    pub fn each(
        &self,
        first: usize,
        formats: &[ValueFormat],
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<usize> {
        let fields = self.schema.fields().iter().zip(&self.arrays).enumerate();
        let columns = fields.map(|(place, (field, array))| {
            Ok(match formats.get(place) {
                Some(ValueFormat::Binary) => Column::Binary(column_binary(field, array)?),
                _ => Column::Text(column_text(field, array.as_ref())?),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let count = i16::try_from(columns.len()).map_err(|_| {
            Error::new(
                ErrorKind::Unsupported,
                format!("{} columns are too many to send", columns.len()),
            )
        })?;
        let mut row_bytes = Vec::new();
        for row in first..self.rows {
            row_bytes.clear();
            row_bytes.extend_from_slice(&count.to_be_bytes());
            for column in &columns {
                column.push(row, &mut row_bytes)?;
            }
            if !take(&row_bytes) {
                return Ok(row + 1 - first);
            }
        }
        Ok(self.rows.saturating_sub(first))
    }
}

#[cfg(test)]
mod tests;
