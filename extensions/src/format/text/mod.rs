//! Line-based formats: CSV, JSON and PostgreSQL's text format.
//!
//! Invariant: every row becomes one or more complete lines. Rows can therefore be formatted in
//! parallel and joined in order.

mod compression;
mod copy_text;
mod csv;
mod digits;
mod json;
mod lines;
mod nested;
mod numbers;
mod temporal;
mod values;

pub use compression::TextCompression;
pub use copy_text::{CopyTextFormat, CopyTextOptions};
pub use csv::{CsvFormat, CsvOptions, ForceQuote};
pub use json::{JsonFormat, JsonOptions};
pub(crate) use values::text_array;
pub(super) use values::{ColumnText, column_text, is_uuid, plain_arrays};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;

use self::compression::TextParts;
use super::{Comparison, EncodedFile, Encoder, FileFormat, Neighbor, PartBuffer, threads_for};
use crate::error::Result;
use crate::tasks::map_on_threads;

/// Size in bytes at which formatted rows are handed on, so that many short rows need only one
/// append.
const SCRATCH_BYTES: usize = 32 << 10;

/// Slices of a batch per thread. There are several, because slices differ in cost.
const SLICES_PER_THREAD: usize = 4;

/// A format that writes rows as lines.
pub trait LineFormat: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// The format's name in the `FORMAT` option.
    const NAME: &'static str;

    /// The media type of its files, before they are compressed.
    fn content_type(&self) -> &'static str;

    /// How its files are compressed.
    fn compression(&self) -> TextCompression;

    /// Checks that every column can be written as text.
    ///
    /// # Errors
    /// [`ErrorKind::DatatypeMismatch`](crate::ErrorKind::DatatypeMismatch) naming every column that
    /// can't.
    fn check_columns(&self, schema: &Schema) -> Result<()>;

    /// Compares files of `schema` with another file of the format.
    fn compare_with(&self, schema: &Schema, other: &Neighbor) -> Comparison {
        let _ = (schema, other);
        Comparison::Fits
    }

    /// Appends the header of a file, if there is one.
    fn push_header(&self, schema: &Schema, out: &mut Vec<u8>);

    /// Formats the rows of a batch and passes the lines to `out`, several rows at a time. Returns
    /// how many lines it made: the export compares them with the rows that it was given.
    ///
    /// # Errors
    /// A value can't be written as text, or `out` fails.
    fn format_rows(
        &self,
        batch: &RecordBatch,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64>;
}

impl<F: LineFormat> FileFormat for F {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn extension(&self) -> String {
        format!(".{}{}", F::NAME, self.compression().extension())
    }

    fn content_type(&self) -> &'static str {
        LineFormat::content_type(self)
    }

    fn content_encoding(&self) -> Option<&'static str> {
        self.compression().content_encoding()
    }

    fn file_memory_bytes(&self) -> usize {
        self.compression().memory_bytes()
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        self.check_columns(schema)
    }

    fn compare(&self, schema: &Schema, other: &Neighbor) -> Comparison {
        self.compare_with(schema, other)
    }

    fn start_file(
        &self,
        schema: &SchemaRef,
        parts: PartBuffer,
        threads: usize,
    ) -> Result<Box<dyn Encoder>> {
        let encoder = TextEncoder::start(self.clone(), schema, parts, threads)?;
        Ok(Box::new(encoder))
    }
}

/// Calls `push_row` to append the line of each row, and passes the lines to `out`, several rows at
/// a time. Returns how many lines were appended.
fn format_each(
    rows: usize,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
    mut push_row: impl FnMut(usize, &mut Vec<u8>),
) -> Result<u64> {
    let mut text = Vec::with_capacity(SCRATCH_BYTES + 1024);
    let mut lines = 0;
    for row in 0..rows {
        push_row(row, &mut text);
        lines += 1;
        if text.len() >= SCRATCH_BYTES {
            out(&text)?;
            text.clear();
        }
    }
    out(&text)?;
    Ok(lines)
}

/// Formats a batch in slices on up to `threads` threads. Returns the lines of each slice and their
/// number, in the order of the rows.
pub(crate) async fn format_on_threads<F: LineFormat>(
    format: &F,
    batch: &RecordBatch,
    threads: usize,
) -> Result<Vec<(Vec<u8>, u64)>> {
    let format = format.clone();
    let slices = cut_rows(batch, threads * SLICES_PER_THREAD);
    map_on_threads(slices, threads, move |rows| {
        let mut whole = Vec::new();
        let lines = format.format_rows(&rows, &mut |text| {
            whole.extend_from_slice(text);
            Ok(())
        })?;
        Ok((whole, lines))
    })
    .await
}

/// Cuts the batch into at most `slices` slices.
fn cut_rows(batch: &RecordBatch, slices: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows().div_ceil(slices).max(1);
    (0..batch.num_rows())
        .step_by(rows)
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

/// Writes one line-based file.
struct TextEncoder<F> {
    format: F,
    parts: TextParts,
    rows: u64,
    threads: usize,
}

impl<F: LineFormat> TextEncoder<F> {
    fn start(format: F, schema: &SchemaRef, parts: PartBuffer, threads: usize) -> Result<Self> {
        let mut header = Vec::new();
        format.push_header(schema, &mut header);
        let mut parts = TextParts::new(parts, format.compression())?;
        parts.push(&header)?;
        Ok(Self {
            format,
            parts,
            rows: 0,
            threads,
        })
    }
}

#[async_trait]
impl<F: LineFormat> Encoder for TextEncoder<F> {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let threads = threads_for(batch, self.threads);
        if threads == 1 {
            let parts = &mut self.parts;
            self.rows += self
                .format
                .format_rows(batch, &mut |text| parts.push(text))?;
        } else {
            for (text, lines) in format_on_threads(&self.format, batch, threads).await? {
                self.parts.push(&text)?;
                self.rows += lines;
            }
        }
        Ok(())
    }

    fn encoded_bytes(&self) -> u64 {
        self.parts.buffer().written_bytes()
    }

    fn memory_bytes(&self) -> usize {
        self.parts.memory_bytes()
    }

    fn gathered_bytes(&self) -> usize {
        0
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn parts(&mut self) -> &mut PartBuffer {
        self.parts.buffer_mut()
    }

    async fn finish(self: Box<Self>) -> Result<EncodedFile> {
        Ok(EncodedFile {
            rows: self.rows,
            parts: self.parts.finish()?,
            columns: Vec::new(),
        })
    }
}
