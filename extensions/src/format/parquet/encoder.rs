//! Encodes the rows of one file. The columns of a batch are encoded in parallel.
//!
//! Invariant: a row group ends when it reaches its row limit or is within 1/64 of its byte limit
//! (estimated), for any batch size and any number of threads. Only an early flush or the end of the
//! file ends it before.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory};
use parquet::file::properties::WriterProperties;

use super::column::{Chunk, ColumnWriter, PageOptions};
use super::encode_error;
use super::file::ParquetFile;
use super::summary::{Origin, summarize_columns};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{EncodedFile, Encoder, PartBuffer, threads_for};
use crate::tasks::map_on_threads;

/// For this many rows, row groups reuse the dictionary decisions of the row group before them. When
/// memory is short, row groups are small, and a trial in each of them would be wasteful.
const DICTIONARY_KNOWN_ROWS: usize = 1 << 20;

/// Limits at which a row group ends, whichever is reached first.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowGroupLimits {
    pub(super) rows: usize,
    /// Encoded bytes. They are estimated while pages are still being filled.
    pub(super) bytes: usize,
}

pub(super) struct ParquetEncoder {
    file: ParquetFile,
    schema: SchemaRef,
    column_writers: ArrowRowGroupWriterFactory,
    limits: RowGroupLimits,
    pages: PageOptions,
    threads: usize,
    summarize_columns: bool,
    row_group: Option<RowGroup>,
    dictionaries: KnownDictionaries,
    /// Encoded bytes per estimated byte in the last closed row group: the estimate counts pages
    /// that are not yet compressed.
    estimate_ratio: f64,
}

/// The row group that is being filled.
pub(super) struct RowGroup {
    columns: Vec<ColumnWriter>,
    rows: usize,
}

/// For which columns of the file a dictionary pays.
#[derive(Default)]
struct KnownDictionaries {
    columns: Vec<Option<bool>>,
    /// Rows written since the decisions were last discarded.
    rows: usize,
}

/// From this number of row groups on, row groups get larger.
const MANY_ROW_GROUPS: usize = 16_384;

/// After how many further row groups their size doubles again, and how often.
const GROUPS_PER_DOUBLING: usize = 512;
const MOST_DOUBLINGS: usize = 20;

/// The parquet crate's own column writers. The crate makes the writers of all columns at once, so
/// they are made only when the first is needed.
struct OtherColumns<'a> {
    encoder: &'a ParquetEncoder,
    writers: Vec<Option<ArrowColumnWriter>>,
}

impl ParquetEncoder {
    /// Starts a file that is encoded on up to `threads` threads.
    pub(super) fn new(
        schema: &SchemaRef,
        properties: WriterProperties,
        limits: RowGroupLimits,
        pages: PageOptions,
        parts: PartBuffer,
        threads: usize,
    ) -> Result<Self> {
        let (file, column_writers) =
            ParquetFile::start(embedded_schema(schema), properties, parts)?;
        Ok(Self {
            file,
            schema: SchemaRef::clone(schema),
            column_writers,
            limits,
            pages,
            threads,
            summarize_columns: false,
            row_group: None,
            dictionaries: KnownDictionaries::default(),
            estimate_ratio: 1.0,
        })
    }

    /// Sets whether the finished file reports summaries of its columns.
    #[must_use]
    pub(super) fn with_column_summaries(mut self, summarize_columns: bool) -> Self {
        self.summarize_columns = summarize_columns;
        self
    }

    #[cfg(test)]
    pub(super) fn logical_type(&self, leaf: usize) -> Option<parquet::basic::LogicalType> {
        let column = self.file.schema().column(leaf);
        column.logical_type_ref().cloned()
    }

    pub(super) fn start_row_group(&self) -> Result<RowGroup> {
        let file = self.file.schema();
        let root = file.root_schema().get_fields();
        let mut others = OtherColumns::new(self);
        let mut columns = Vec::with_capacity(root.len());
        let mut next_leaf = 0;
        for (field, column) in self.schema.fields().iter().zip(root) {
            let leaves = next_leaf..next_leaf + count_leaves(column);
            next_leaf = leaves.end;
            let known = |column| self.dictionaries.of_column(column);
            let own = ColumnWriter::of_field(field, file, leaves.start, self.pages, known);
            columns.push(match own {
                Some(writer) => writer,
                None => ColumnWriter::Other(FieldRef::clone(field), others.take(leaves)?),
            });
        }
        Ok(RowGroup { columns, rows: 0 })
    }

    /// Upper bound for the rows of the current row group. It grows once a file has many row groups,
    /// because a file can't have more than [`i16::MAX`].
    fn most_rows(&self) -> usize {
        let doublings =
            self.file.row_groups().saturating_sub(MANY_ROW_GROUPS) / GROUPS_PER_DOUBLING;
        let doublings = doublings.min(MOST_DOUBLINGS) as u32;
        self.limits.rows.saturating_mul(1 << doublings)
    }

    /// Number of rows that still fit into the row group; at least 1.
    fn room(&self) -> usize {
        let Some(row_group) = &self.row_group else {
            return self.most_rows();
        };
        let rows = self.most_rows().saturating_sub(row_group.rows);
        let used = row_group.estimated_bytes();
        let Some(row_bytes) = used.checked_div(row_group.rows) else {
            return rows;
        };
        let bytes = self.limits.bytes.saturating_sub(used);
        rows.min(bytes / row_bytes.max(1)).max(1)
    }

    fn is_row_group_full(&self) -> bool {
        self.row_group.as_ref().is_some_and(|row_group| {
            // Filling the last 1/64 would take many steps of a few rows.
            let enough = self.limits.bytes - self.limits.bytes / 64;
            row_group.rows >= self.most_rows() || row_group.estimated_bytes() >= enough
        })
    }

    async fn add_to_row_group(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut row_group = match self.row_group.take() {
            Some(row_group) => row_group,
            None => self.start_row_group()?,
        };
        row_group.write(rows, self.threads).await?;
        self.row_group = Some(row_group);
        Ok(())
    }

    fn estimated_bytes(&self) -> usize {
        self.row_group.as_ref().map_or(0, RowGroup::estimated_bytes)
    }
}

#[async_trait]
impl Encoder for ParquetEncoder {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = self.room().min(batch.num_rows() - start);
            self.add_to_row_group(&batch.slice(start, rows)).await?;
            start += rows;
            if self.is_row_group_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn encoded_bytes(&self) -> u64 {
        let in_progress = self.estimated_bytes() as f64 * self.estimate_ratio;
        self.file.bytes_written() as u64 + in_progress as u64
    }

    fn memory_bytes(&self) -> usize {
        self.gathered_bytes() + self.file.parts().buffered_bytes()
    }

    fn gathered_bytes(&self) -> usize {
        self.row_group.as_ref().map_or(0, RowGroup::memory_bytes)
    }

    async fn flush(&mut self) -> Result<()> {
        let Some(row_group) = self.row_group.take() else {
            return Ok(());
        };
        let estimated = row_group.estimated_bytes();
        let (before, rows) = (self.file.bytes_written(), row_group.rows);
        let chunks = row_group.close(self.threads).await?;
        let uses_dictionary = chunks.iter().map(Chunk::uses_dictionary).collect();
        self.dictionaries.learn(rows, uses_dictionary);
        let mut row_group = self.file.next_row_group()?;
        for chunk in chunks {
            chunk.append_to(&mut row_group)?;
        }
        row_group.close().map_err(encode_error)?;
        let written = self.file.bytes_written() - before;
        if estimated > 0 && written > 0 {
            self.estimate_ratio = written as f64 / estimated as f64;
        }
        Ok(())
    }

    fn parts(&mut self) -> &mut PartBuffer {
        self.file.parts_mut()
    }

    async fn finish(mut self: Box<Self>) -> Result<EncodedFile> {
        self.flush().await?;
        let footer = self.file.finish()?;
        let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
        let columns = match self.summarize_columns {
            true => summarize_columns(&footer, &self.schema, Origin::Own)?,
            false => Vec::new(),
        };
        Ok(EncodedFile {
            rows,
            parts: self.file.into_parts(),
            columns,
        })
    }
}

impl KnownDictionaries {
    fn of_column(&self, number: usize) -> Option<bool> {
        self.columns.get(number).copied().flatten()
    }

    /// Stores the decisions of a row group of `rows` rows, one for each column.
    fn learn(&mut self, rows: usize, columns: Vec<Option<bool>>) {
        self.rows += rows;
        self.columns = columns;
        if self.rows >= DICTIONARY_KNOWN_ROWS {
            *self = Self::default();
        }
    }
}

impl<'a> OtherColumns<'a> {
    fn new(encoder: &'a ParquetEncoder) -> Self {
        let writers = Vec::new();
        Self { encoder, writers }
    }

    /// Takes the writers of the file's columns `leaves`.
    fn take(&mut self, leaves: Range<usize>) -> Result<Vec<ArrowColumnWriter>> {
        if self.writers.is_empty() {
            let number = self.encoder.file.row_groups();
            let writers = self.encoder.column_writers.create_column_writers(number);
            self.writers = writers
                .map_err(encode_error)?
                .into_iter()
                .map(Some)
                .collect();
        }
        let taken = self.writers[leaves].iter_mut().map(|writer| {
            let gone = || {
                Error::new(
                    ErrorKind::Internal,
                    "the writer of a column was taken twice",
                )
            };
            writer.take().ok_or_else(gone)
        });
        taken.collect()
    }
}

impl RowGroup {
    async fn write(&mut self, rows: &RecordBatch, threads: usize) -> Result<()> {
        let threads = threads_for(rows, threads);
        let columns = std::mem::take(&mut self.columns);
        let work = columns.into_iter().zip(rows.columns().to_vec()).collect();
        self.columns = map_on_threads(work, threads, |(mut column, array)| {
            column.write(&array)?;
            Ok(column)
        })
        .await?;
        self.rows += rows.num_rows();
        Ok(())
    }

    /// Ends the columns and returns their chunks, in the order of the file.
    async fn close(self, threads: usize) -> Result<Vec<Chunk>> {
        let chunks = map_on_threads(self.columns, threads, ColumnWriter::close).await?;
        Ok(chunks.into_iter().flatten().collect())
    }

    fn estimated_bytes(&self) -> usize {
        self.columns.iter().map(ColumnWriter::estimated_bytes).sum()
    }

    fn memory_bytes(&self) -> usize {
        self.columns.iter().map(ColumnWriter::memory_bytes).sum()
    }
}

/// The Arrow schema that is embedded for readers, without views. Views are a layout in memory, and
/// many readers can't create them.
pub(super) fn embedded_schema(schema: &SchemaRef) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(without_views).collect();
    if fields == *schema.fields() {
        return SchemaRef::clone(schema);
    }
    let metadata = schema.metadata().clone();
    SchemaRef::new(Schema::new_with_metadata(fields, metadata))
}

fn without_views(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(without_views(item)),
        DataType::LargeList(item) => DataType::LargeList(without_views(item)),
        DataType::ListView(item) => DataType::List(without_views(item)),
        DataType::LargeListView(item) => DataType::LargeList(without_views(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(without_views(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(without_views).collect()),
        DataType::Map(entries, sorted) => DataType::Map(without_views(entries), *sorted),
        DataType::Dictionary(keys, values) => match values.as_ref() {
            DataType::Utf8View => DataType::Dictionary(keys.clone(), Box::new(DataType::Utf8)),
            DataType::BinaryView => DataType::Dictionary(keys.clone(), Box::new(DataType::Binary)),
            _ => return FieldRef::clone(field),
        },
        _ => return FieldRef::clone(field),
    };
    FieldRef::new(field.as_ref().clone().with_data_type(data_type))
}

/// Number of columns in the file that store one column of the batches.
fn count_leaves(column: &parquet::schema::types::Type) -> usize {
    if column.is_primitive() {
        return 1;
    }
    column
        .get_fields()
        .iter()
        .map(|field| count_leaves(field))
        .sum()
}
