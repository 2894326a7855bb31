//! Parquet.
//!
//! Invariant: a finished file's row count is the one in its footer; the Arrow schema is embedded,
//! so that what Arrow knows and Parquet doesn't survives.
//!
//! Defaults: snappy, format version 1.0, dictionaries, page statistics; a row group ends at
//! 1,048,576 rows or 64 MB encoded. The format: <https://parquet.apache.org/docs/file-format/>

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{SortOptions, sort_to_indices};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use super::{ColumnSummary, EncodedFile, Encoder, FileFormat, PartBuffer, refuse_columns};
use crate::error::{Error, ErrorKind, Result};

const ROW_GROUP_ROWS: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Parquet files.
#[derive(Debug, Clone)]
pub struct ParquetFormat {
    row_group_bytes: usize,
    summarize_columns: bool,
}

impl ParquetFormat {
    /// Files of at most `max_file_bytes` encoded bytes, which caps the row group too.
    pub fn new(max_file_bytes: u64) -> Self {
        let max_file_bytes = usize::try_from(max_file_bytes).unwrap_or(usize::MAX);
        Self {
            row_group_bytes: ROW_GROUP_BYTES.min(max_file_bytes),
            summarize_columns: false,
        }
    }

    /// Finished files say what their columns hold.
    #[must_use]
    pub fn with_column_summaries(mut self, summarize_columns: bool) -> Self {
        self.summarize_columns = summarize_columns;
        self
    }

    fn properties(&self) -> WriterProperties {
        WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(self.row_group_bytes))
            .set_created_by(concat!("tidegate version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build()
    }

    fn writer(&self, schema: &SchemaRef, parts: PartBuffer) -> Result<ArrowWriter<PartBuffer>> {
        ArrowWriter::try_new(parts, SchemaRef::clone(schema), Some(self.properties()))
            .map_err(encode_error)
    }

    /// Whether the writer itself can write a column of this type.
    fn can_encode(&self, field: &Field) -> bool {
        if contains_unwritable(field.data_type()) {
            return false;
        }
        let schema = SchemaRef::new(Schema::new(vec![field.clone()]));
        self.writer(&schema, PartBuffer::new(1))
            .ok()
            .and_then(|writer| writer.into_serialized_writer().ok())
            .is_some_and(|(_, row_groups)| row_groups.create_column_writers(0).is_ok())
    }
}

/// Types that the parquet crate takes into a schema and then can't write: Parquet's INTERVAL holds
/// milliseconds, not nanoseconds, and there is no union.
fn contains_unwritable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(unit) => *unit == IntervalUnit::MonthDayNano,
        DataType::Union(_, _) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => contains_unwritable(field.data_type()),
        DataType::Struct(fields) => fields
            .iter()
            .any(|field| contains_unwritable(field.data_type())),
        DataType::Dictionary(_, values) => contains_unwritable(values),
        DataType::RunEndEncoded(_, values) => contains_unwritable(values.data_type()),
        _ => false,
    }
}

fn encode_error(error: parquet::errors::ParquetError) -> Error {
    Error::new(
        ErrorKind::Query,
        format!("cannot encode as parquet: {error}"),
    )
    .with_source(error)
}

impl FileFormat for ParquetFormat {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn extension(&self) -> &'static str {
        ".parquet"
    }

    fn content_type(&self) -> &'static str {
        "application/vnd.apache.parquet"
    }

    fn gathers(&self) -> bool {
        true
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        if schema.fields().is_empty() {
            return Err(Error::new(
                ErrorKind::DatatypeMismatch,
                "cannot write parquet: the query has no columns",
            ));
        }
        let refused: Vec<&Field> = schema
            .fields()
            .iter()
            .map(AsRef::as_ref)
            .filter(|field| !self.can_encode(field))
            .collect();
        refuse_columns("parquet", &refused)
    }

    fn start_file(&self, schema: &SchemaRef, part_bytes: usize) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(ParquetEncoder {
            writer: self.writer(schema, PartBuffer::new(part_bytes))?,
            summarized: self.summarize_columns.then(|| SchemaRef::clone(schema)),
            estimate_ratio: 1.0,
        }))
    }
}

struct ParquetEncoder {
    writer: ArrowWriter<PartBuffer>,
    /// The schema, if the columns are to be summarized.
    summarized: Option<SchemaRef>,
    /// Encoded bytes per estimated byte, learned from the row groups already closed: the estimate
    /// counts pages that are not yet compressed.
    estimate_ratio: f64,
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(encode_error)
    }

    fn encoded_bytes(&self) -> u64 {
        let in_progress = self.writer.in_progress_size() as f64 * self.estimate_ratio;
        self.writer.bytes_written() as u64 + in_progress as u64
    }

    fn memory_bytes(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().buffered_bytes()
    }

    fn gathered_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    fn flush(&mut self) -> Result<()> {
        let estimated = self.writer.in_progress_size();
        let before = self.writer.bytes_written();
        self.writer.flush().map_err(encode_error)?;
        let written = self.writer.bytes_written() - before;
        if estimated > 0 && written > 0 {
            self.estimate_ratio = written as f64 / estimated as f64;
        }
        Ok(())
    }

    fn parts(&mut self) -> &mut PartBuffer {
        self.writer.inner_mut()
    }

    fn finish(mut self: Box<Self>) -> Result<EncodedFile> {
        let footer = self.writer.finish().map_err(encode_error)?;
        let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
        let parts = std::mem::replace(self.writer.inner_mut(), PartBuffer::new(1));
        let columns = match &self.summarized {
            Some(schema) => summarize_columns(&footer, schema)?,
            None => Vec::new(),
        };
        Ok(EncodedFile {
            rows,
            parts,
            columns,
        })
    }
}

/// Minimum, maximum and NULLs of each column over all row groups. Nested columns have no order, and
/// then only their name is known.
fn summarize_columns(footer: &ParquetMetaData, schema: &Schema) -> Result<Vec<ColumnSummary>> {
    let file = footer.file_metadata().schema_descr();
    let row_groups = footer.row_groups();
    let summarize = |field: &Arc<Field>| -> Result<ColumnSummary> {
        let mut summary = ColumnSummary {
            name: field.name().clone(),
            min: None,
            max: None,
            nulls: None,
        };
        let converter =
            StatisticsConverter::try_new(field.name(), schema, file).map_err(encode_error)?;
        if converter.parquet_column_index().is_none() {
            return Ok(summary);
        }
        let nulls = converter
            .row_group_null_counts(row_groups)
            .map_err(encode_error)?;
        summary.nulls = (nulls.null_count() == 0).then(|| nulls.iter().flatten().sum());
        let mins = converter.row_group_mins(row_groups).map_err(encode_error)?;
        let maxes = converter
            .row_group_maxes(row_groups)
            .map_err(encode_error)?;
        summary.min = extreme(&mins, false);
        summary.max = extreme(&maxes, true);
        Ok(summary)
    };
    schema.fields().iter().map(summarize).collect()
}

/// The smallest or largest of the values as text; none if there is none.
fn extreme(values: &ArrayRef, largest: bool) -> Option<String> {
    let order = SortOptions {
        descending: largest,
        nulls_first: false,
    };
    let first = sort_to_indices(values, Some(order), Some(1)).ok()?;
    let row = first.values().first().map(|row| *row as usize)?;
    if values.is_null(row) {
        return None;
    }
    array_value_to_string(values, row).ok()
}
