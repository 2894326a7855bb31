//! Columns: encodes arrays into the column chunks of a row group.
//!
//! Invariant: the chunks that a [`ColumnWriter`] returns contain all values that it was given.
//! There is one chunk for each column of the file that stores them.
//!
//! This code ([`leaf`]) writes booleans, numbers, times and texts, also in lists, structs and maps ([`levels`]).
//! The parquet crate writes rare types, and nested columns that contain one.

mod booleans;
mod bytes;
mod chunk;
mod codec;
mod fixed;
mod hybrid;
mod leaf;
mod levels;
mod statistics;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::basic::Type;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use self::booleans::BooleanValues;
use self::bytes::BytesValues;
use self::chunk::EncodedChunk;
use self::fixed::FixedValues;
pub(super) use self::leaf::PageOptions;
use self::leaf::{LeafWriter, Values, WriteLeaf};
use self::levels::LevelLimits;
use super::encode_error;
use crate::error::{Error, ErrorKind, Result};

/// Writes one column of the batches, for one row group.
pub(super) enum ColumnWriter {
    Flat(Box<dyn WriteLeaf>),
    /// A nested column, which may take several columns of the file.
    Nested(FieldRef, Vec<Box<dyn WriteLeaf>>),
    /// A column of a rare type, or a nested column that contains one.
    Other(FieldRef, Vec<ArrowColumnWriter>),
}

/// Settings to start a chunk that do not depend on the type of its values.
struct Start<'a> {
    column: &'a ColumnDescPtr,
    limits: LevelLimits,
    options: PageOptions,
    uses_dictionary: Option<bool>,
}

impl Start<'_> {
    fn writer<V: Values + 'static>(self, values: V) -> Box<dyn WriteLeaf> {
        let column = ColumnDescPtr::clone(self.column);
        let (limits, options) = (self.limits, self.options);
        let writer = LeafWriter::new(values, column, limits, options, self.uses_dictionary);
        Box::new(writer)
    }

    /// Returns a writer for values of `data_type`, or `None` if the parquet crate has to write them.
    fn writer_of(self, data_type: &DataType) -> Option<Box<dyn WriteLeaf>> {
        let order = self.column.sort_order();
        Some(match (self.column.physical_type(), data_type) {
            (Type::BOOLEAN, DataType::Boolean) => {
                let start = Self {
                    uses_dictionary: Some(false),
                    ..self
                };
                start.writer(BooleanValues::default())
            }
            (Type::INT32, _) => self.writer(FixedValues::<i32>::of_type(data_type, order)?),
            (Type::INT64, _) => self.writer(FixedValues::<i64>::of_type(data_type, order)?),
            (Type::FLOAT, DataType::Float32) => self.writer(FixedValues::floats()),
            (Type::DOUBLE, DataType::Float64) => self.writer(FixedValues::doubles()),
            (Type::BYTE_ARRAY, _) => self.writer(BytesValues::of_type(data_type)?),
            _ => return None,
        })
    }
}

/// A finished chunk.
pub(super) enum Chunk {
    /// The chunk, and whether a dictionary pays for its column, if known.
    Own(EncodedChunk, Option<bool>),
    Other(ArrowColumnChunk),
}

impl ColumnWriter {
    /// Returns a writer for the values of `field`, or `None` if the parquet crate has to write them.
    /// The columns of `file` from `first` on store them. `uses_dictionary` says for a column whether a
    /// dictionary pays, if known.
    pub(super) fn of_field(
        field: &FieldRef,
        file: &SchemaDescriptor,
        first: usize,
        options: PageOptions,
        uses_dictionary: impl Fn(usize) -> Option<bool>,
    ) -> Option<Self> {
        let leaves = levels::leaves(field)?.into_iter().zip(first..);
        let writers = leaves.map(|((data_type, definition, repetition), number)| {
            let column = &file.column(number);
            let limits = LevelLimits::of_column(column)?;
            let start = Start {
                column,
                limits,
                options,
                uses_dictionary: uses_dictionary(number),
            };
            // The parquet crate may write a type in another way than its fields say.
            let is_known = limits.equal(definition, repetition);
            is_known.then(|| start.writer_of(data_type)).flatten()
        });
        let mut writers: Vec<Box<dyn WriteLeaf>> = writers.collect::<Option<_>>()?;
        if field.data_type().is_nested() {
            return Some(Self::Nested(FieldRef::clone(field), writers));
        }
        writers.pop().map(Self::Flat)
    }

    /// Adds the values of `array`.
    ///
    /// # Errors
    /// A value that Parquet can't hold.
    pub(super) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        match self {
            Self::Flat(writer) => writer.write(array, None),
            Self::Nested(field, writers) => {
                let mut writers = writers.iter_mut();
                levels::shred(field, array, &mut |slots, levels| match writers.next() {
                    Some(writer) => writer.write(slots, Some(&levels)),
                    None => Err(unexpected_type(array.data_type())),
                })
            }
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
            Self::Flat(writer) => Ok(vec![close_leaf(writer)?]),
            Self::Nested(_, writers) => writers.into_iter().map(close_leaf).collect(),
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
            Self::Nested(_, writers) => {
                let bytes = writers.iter().map(|writer| writer.estimated_bytes());
                bytes.sum()
            }
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
            Self::Nested(_, writers) => writers.iter().map(|writer| writer.memory_bytes()).sum(),
            Self::Other(_, writers) => writers.iter().map(ArrowColumnWriter::memory_size).sum(),
        }
    }
}

fn close_leaf(writer: Box<dyn WriteLeaf>) -> Result<Chunk> {
    let (chunk, uses_dictionary) = writer.close()?;
    Ok(Chunk::Own(chunk, uses_dictionary))
}

impl Chunk {
    /// Whether a dictionary pays for the column, if the chunk shows it.
    pub(super) fn uses_dictionary(&self) -> Option<bool> {
        match self {
            Self::Own(_, uses_dictionary) => *uses_dictionary,
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
            Self::Own(chunk, _) => chunk.append_to(row_group),
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
