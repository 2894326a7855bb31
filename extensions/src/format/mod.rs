//! File formats: from record batches to encoded bytes, cut into parts.
//!
//! Invariant: what an [`Encoder`] was given is in the parts it hands out once it has finished, and
//! the row count it then reports was counted by the format itself. Encoders do no I/O.

mod parquet;
mod parts;
mod text;

pub use parquet::{ParquetCompression, ParquetFormat, ParquetOptions};
pub use parts::{PART_ALIGN_BYTES, PartBuffer, PartPool};
pub(crate) use text::format_on_threads;
pub use text::{
    CopyTextFormat, CopyTextOptions, CsvFormat, CsvOptions, ForceQuote, JsonFormat, JsonOptions,
    LineFormat, TextCompression,
};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A file format with its settings: checks schemas and makes encoders.
pub trait FileFormat: std::fmt::Debug + Send + Sync {
    /// The format's name as `FORMAT` takes it.
    fn name(&self) -> &'static str;

    /// The end of a file's name, with its dot: `.csv.gz`.
    fn extension(&self) -> String;

    /// The media type of a file, before it was compressed as a whole.
    fn content_type(&self) -> &'static str;

    /// How the file is compressed as a whole, as HTTP names it.
    fn content_encoding(&self) -> Option<&'static str>;

    /// The memory in bytes that a file needs beside the part that is being filled, before flushing
    /// early leaves it too small.
    fn file_memory_bytes(&self) -> usize;

    /// Refuses, all at once, the columns this format can't hold.
    ///
    /// # Errors
    /// [`ErrorKind::DatatypeMismatch`] naming every such column and its type.
    fn check_schema(&self, schema: &Schema) -> Result<()>;

    /// Starts a file of `schema` that is handed out in `parts` and encoded on as many as `threads`
    /// threads of the tokio runtime.
    fn start_file(
        &self,
        schema: &SchemaRef,
        parts: PartBuffer,
        threads: usize,
    ) -> Result<Box<dyn Encoder>>;
}

/// Encodes the rows of one file.
#[async_trait]
pub trait Encoder: Send {
    /// Encodes a batch of the file's schema.
    ///
    /// # Errors
    /// A value that the format can't hold; the file can't be continued then.
    async fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// The size in bytes that the file would have if it ended now; an estimate where encoded data
    /// is still being gathered.
    fn encoded_bytes(&self) -> u64;

    /// The memory in bytes that is in use for this file.
    fn memory_bytes(&self) -> usize;

    /// The part of [`Self::memory_bytes`] that [`Self::flush`] turns into parts.
    fn gathered_bytes(&self) -> usize;

    /// Turns gathered data into parts, which gives its memory free.
    async fn flush(&mut self) -> Result<()>;

    /// The encoded parts that are ready.
    fn parts(&mut self) -> &mut PartBuffer;

    /// Ends the file; the remaining parts are in the result.
    async fn finish(self: Box<Self>) -> Result<EncodedFile>;
}

/// What a file's column holds, as its footer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSummary {
    /// The column's name.
    pub name: String,
    /// The smallest value, as text; none if the column has no value or no order.
    pub min: Option<String>,
    /// The largest value, as text.
    pub max: Option<String>,
    /// How many values are NULL, where the format counts them.
    pub nulls: Option<u64>,
}

/// A finished file.
#[derive(Debug)]
pub struct EncodedFile {
    /// The rows in it, as the format's own footer or writer counted them.
    pub rows: u64,
    /// The parts not yet taken; the last may be short.
    pub parts: PartBuffer,
    /// What its columns hold, if the format was told to say so and can.
    pub columns: Vec<ColumnSummary>,
}

/// Fewer values than this, in all columns, are encoded sooner than handed to another thread.
const VALUES_PER_THREAD: usize = 8192;

/// On how many of `threads` threads it pays to encode a batch.
fn threads_for(batch: &RecordBatch, threads: usize) -> usize {
    let values = batch.num_rows() * batch.num_columns();
    threads.min(values / VALUES_PER_THREAD).max(1)
}

/// The error for columns that a format can't hold.
fn refuse_columns(format: &str, refused: &[&Field]) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let columns: Vec<String> = refused
        .iter()
        .map(|field| format!("\"{}\" ({})", field.name(), field.data_type()))
        .collect();
    Err(Error::new(
        ErrorKind::DatatypeMismatch,
        format!(
            "cannot encode the following columns as {format}: {}; cast them in the query",
            columns.join(", ")
        ),
    ))
}
