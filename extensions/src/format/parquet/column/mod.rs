//! Columns: encodes arrays into the column chunks of a row group.
//!
//! Invariant: the chunks that a [`ColumnWriter`] returns contain all values that it was given.
//! There is one chunk for each column of the file that stores them.
//!
//! This code ([`leaf`]) writes flat columns of numbers, times and texts. The parquet crate writes
//! nested columns and rare types.

mod bytes;
mod chunk;
mod codec;
mod fixed;
mod hybrid;
mod leaf;
mod statistics;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::basic::Type;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

use self::bytes::BytesValues;
use self::chunk::EncodedChunk;
use self::fixed::FixedValues;
pub(super) use self::leaf::PageOptions;
use self::leaf::{LeafWriter, Values, WriteLeaf};
use super::encode_error;
use crate::error::{Error, ErrorKind, Result};

/// Writes one column of the batches, for one row group.
pub(super) enum ColumnWriter {
    Flat(Box<dyn WriteLeaf>),
    /// A nested column, which may take several columns of the file, or a column of a rare type.
    Other(FieldRef, Vec<ArrowColumnWriter>),
}

/// Settings to start a chunk that do not depend on the type of its values.
struct Start<'a> {
    column: &'a ColumnDescPtr,
    options: PageOptions,
    uses_dictionary: Option<bool>,
}

impl Start<'_> {
    fn writer<V: Values + 'static>(self, values: V) -> ColumnWriter {
        let column = ColumnDescPtr::clone(self.column);
        let writer = LeafWriter::new(values, column, self.options, self.uses_dictionary);
        ColumnWriter::Flat(Box::new(writer))
    }
}

/// A finished chunk.
pub(super) enum Chunk {
    /// The chunk, and whether a dictionary pays for its column, if known.
    Flat(EncodedChunk, Option<bool>),
    Other(ArrowColumnChunk),
}

impl ColumnWriter {
    /// Returns a writer for values of `data_type`, or `None` if the parquet crate has to write
    /// them. `column` is the first column of the file that stores them. `uses_dictionary` says
    /// whether a dictionary pays for the column, if known.
    pub(super) fn flat(
        data_type: &DataType,
        column: &ColumnDescPtr,
        options: PageOptions,
        uses_dictionary: Option<bool>,
    ) -> Option<Self> {
        let start = Start {
            column,
            options,
            uses_dictionary,
        };
        let order = column.sort_order();
        Some(match (column.physical_type(), data_type) {
            (Type::INT32, _) => start.writer(FixedValues::<i32>::of_type(data_type, order)?),
            (Type::INT64, _) => start.writer(FixedValues::<i64>::of_type(data_type, order)?),
            (Type::FLOAT, DataType::Float32) => start.writer(FixedValues::floats()),
            (Type::DOUBLE, DataType::Float64) => start.writer(FixedValues::doubles()),
            (Type::BYTE_ARRAY, _) => start.writer(BytesValues::of_type(data_type)?),
            _ => return None,
        })
    }

    /// Adds the values of `array`.
    ///
    /// # Errors
    /// A value that Parquet can't hold.
    pub(super) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        match self {
            Self::Flat(writer) => writer.write(array),
            Self::Other(field, writers) => {
                let leaves = compute_leaves(field, array).map_err(encode_error)?;
                let mut work = writers.iter_mut().zip(&leaves);
                work.try_for_each(|(writer, leaf)| writer.write(leaf).map_err(encode_error))
            }
        }
    }

    /// Ends the chunks.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn close(self) -> Result<Vec<Chunk>> {
        match self {
            Self::Flat(writer) => {
                let (chunk, uses_dictionary) = writer.close()?;
                Ok(vec![Chunk::Flat(chunk, uses_dictionary)])
            }
            Self::Other(_, writers) => writers
                .into_iter()
                .map(|writer| Ok(Chunk::Other(writer.close().map_err(encode_error)?)))
                .collect(),
        }
    }

    /// Estimated size of the chunks in the file, in bytes.
    pub(super) fn estimated_bytes(&self) -> usize {
        match self {
            Self::Flat(writer) => writer.estimated_bytes(),
            Self::Other(_, writers) => writers
                .iter()
                .map(ArrowColumnWriter::get_estimated_total_bytes)
                .sum(),
        }
    }

    /// The memory in use, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Flat(writer) => writer.memory_bytes(),
            Self::Other(_, writers) => writers.iter().map(ArrowColumnWriter::memory_size).sum(),
        }
    }
}

impl Chunk {
    /// Whether a dictionary pays for the column, if the chunk shows it.
    pub(super) fn uses_dictionary(&self) -> Option<bool> {
        match self {
            Self::Flat(_, uses_dictionary) => *uses_dictionary,
            Self::Other(_) => None,
        }
    }

    /// Appends the chunk to its row group.
    ///
    /// # Errors
    /// The chunk does not belong to the next column of the row group.
    pub(super) fn append_to<W: Write + Send>(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        match self {
            Self::Flat(chunk, _) => chunk.append_to(row_group),
            Self::Other(chunk) => chunk.append_to_row_group(row_group).map_err(encode_error),
        }
    }
}

/// The NULLs of an array, if it has any.
fn nulls_of(array: &dyn Array) -> Option<&NullBuffer> {
    array.nulls().filter(|nulls| nulls.null_count() > 0)
}

/// A random seed, so that no input can be made to collide on purpose.
fn hash_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn unexpected_type(data_type: &DataType) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("a column of the file has values of type {data_type}"),
    )
}
