//! File formats: from record batches to encoded bytes, cut into parts.
//!
//! Invariant: the parts of a finished file contain every row that its [`Encoder`] was given, and
//! the reported row count was counted by the format itself. Encoders do no I/O.

mod neighbor;
mod parquet;
mod parts;
pub mod postgres;
mod text;

pub use neighbor::{Comparison, Neighbor};
pub(crate) use parquet::{
    MOST_ROW_GROUPS, Misfit, SplicedFile, can_splice, has_types, merge_schemas,
};
pub use parquet::{ParquetCompression, ParquetFormat, ParquetOptions, SpliceSource};
pub use parts::{PART_ALIGN_BYTES, PartBuffer, PartPool};
pub use text::{
    CopyTextFormat, CopyTextOptions, CsvFormat, CsvOptions, ForceQuote, JsonFormat, JsonOptions,
    LineFormat, TextCompression,
};
pub(crate) use text::{format_on_threads, text_array};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A file format with its settings: checks schemas and makes encoders.
pub trait FileFormat: std::fmt::Debug + Send + Sync {
    /// The format's name in the `FORMAT` option.
    fn name(&self) -> &'static str;

    /// The extension of file names, with its dot: `.csv.gz`.
    fn extension(&self) -> String;

    /// The media type of a file's content before the file is compressed as a whole.
    fn content_type(&self) -> &'static str;

    /// The HTTP content coding of a file that is compressed as a whole; `None` if it is not.
    fn content_encoding(&self) -> Option<&'static str>;

    /// Memory in bytes that an open file needs in addition to the part being filled: for its
    /// compressor, or for row groups that are not too small.
    fn file_memory_bytes(&self) -> usize;

    /// Checks that the format can hold every column of `schema`.
    ///
    /// # Errors
    /// [`ErrorKind::DatatypeMismatch`] naming every column that it can't hold, with its type.
    fn check_schema(&self, schema: &Schema) -> Result<()>;

    /// Whether the end of a file tells its columns. Otherwise its beginning does.
    fn tells_at_end(&self) -> bool {
        false
    }

    /// Compares files of `schema` with another file of the format.
    fn compare(&self, schema: &Schema, other: &Neighbor) -> Comparison {
        let _ = (schema, other);
        Comparison::Fits
    }

    /// Starts a file of `schema`. Its bytes go into `parts`, and up to `threads` threads of the
    /// tokio runtime encode it.
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
    /// The format can't hold a value. The file can't be continued after that.
    async fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// The size in bytes that the file would have if it ended now. This is an estimate while
    /// encoded data is still being gathered.
    fn encoded_bytes(&self) -> u64;

    /// Memory in use for this file, in bytes.
    fn memory_bytes(&self) -> usize;

    /// The share of [`Self::memory_bytes`] that [`Self::flush`] turns into parts, in bytes.
    fn gathered_bytes(&self) -> usize;

    /// Turns gathered data into parts and frees its memory.
    async fn flush(&mut self) -> Result<()>;

    /// The encoded parts that are ready.
    fn parts(&mut self) -> &mut PartBuffer;

    /// Ends the file. The result contains the parts that were not taken yet.
    async fn finish(self: Box<Self>) -> Result<EncodedFile>;
}

/// Summary of a file's column, taken from the footer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ColumnSummary {
    /// The column's name.
    pub name: String,
    /// The smallest value as text; `None` if the column has no value or its type has no order.
    pub min: Option<String>,
    /// The largest value as text; `None` as for `min`.
    pub max: Option<String>,
    /// Number of NULLs; `None` if the format does not count them.
    pub nulls: Option<u64>,
}

/// A finished file.
#[derive(Debug)]
pub struct EncodedFile {
    /// Number of rows, counted by the format's own footer or writer.
    pub rows: u64,
    /// The parts that were not taken yet. The last part may be short.
    pub parts: PartBuffer,
    /// Column summaries. Empty if they were not requested or the format has none.
    pub columns: Vec<ColumnSummary>,
}

/// Minimum number of values (rows × columns) per thread. A smaller batch is encoded faster than it
/// is handed to another thread.
const VALUES_PER_THREAD: usize = 8192;

/// How many threads, at most `threads`, are worth using to encode a batch.
fn threads_for(batch: &RecordBatch, threads: usize) -> usize {
    let values = batch.num_rows() * batch.num_columns();
    threads.min(values / VALUES_PER_THREAD).max(1)
}

/// Returns an error that names the columns that a format can't hold, if there are any.
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
