//! Columns: from arrays to the chunks of a row group.
//!
//! Invariant: what a [`ColumnWriter`] was given since it was made is in the chunks it returns, one
//! for each of the file's columns that it is spread over.
//!
//! Flat columns of numbers, times and texts are written here, in [`leaf`]; nested columns and rare
//! types by the parquet crate.

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
    /// Spread over several columns of the file, or of a type that is rare.
    Other(FieldRef, Vec<ArrowColumnWriter>),
}

/// How a chunk is started, whatever its values.
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

/// A chunk that is done.
pub(super) enum Chunk {
    /// With what it says of its column's use for a dictionary.
    Flat(EncodedChunk, Option<bool>),
    Other(ArrowColumnChunk),
}

impl ColumnWriter {
    /// A writer for values of `data_type`, the first of whose columns in the file is `column`; none
    /// if the parquet crate has to write them. `uses_dictionary` is what is known of the column.
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

    /// What the chunks would take in the file, in bytes.
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
    /// Whether the column has use for a dictionary, where that was found out here.
    pub(super) fn uses_dictionary(&self) -> Option<bool> {
        match self {
            Self::Flat(_, uses_dictionary) => *uses_dictionary,
            Self::Other(_) => None,
        }
    }

    /// Appends the chunk to its row group.
    ///
    /// # Errors
    /// It is not the chunk of the row group's next column.
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

/// A number that nobody outside knows, so that no data can be made to collide.
fn hash_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn unexpected_type(data_type: &DataType) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("a column of the file has values of type {data_type}"),
    )
}
