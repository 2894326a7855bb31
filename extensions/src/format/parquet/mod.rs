//! Parquet.
//!
//! Invariant: a finished file's row count is the one in its footer; the Arrow schema is embedded,
//! so that what Arrow knows and Parquet doesn't survives.
//!
//! Format version 1.0, dictionaries with a fallback, page statistics, no bloom filters. The format:
//! <https://parquet.apache.org/docs/file-format/>

mod encoder;
mod options;
mod summary;

pub use options::{ParquetCompression, ParquetOptions};

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use self::encoder::{ParquetEncoder, RowGroupLimits};
use super::{Encoder, FileFormat, PartBuffer, refuse_columns};
use crate::error::{Error, ErrorKind, Result};

/// What an encoder needs for a row group, in bytes, before flushing early leaves it too small.
const ROW_GROUP_MEMORY: usize = 2 << 20;

/// Parquet files.
#[derive(Debug, Clone)]
pub struct ParquetFormat {
    options: ParquetOptions,
    summarize_columns: bool,
    page_index: bool,
}

impl ParquetFormat {
    /// Files as `options` say, of at most `max_file_bytes` encoded bytes, which caps the row group
    /// too.
    pub fn new(mut options: ParquetOptions, max_file_bytes: u64) -> Self {
        let max_file_bytes = usize::try_from(max_file_bytes).unwrap_or(usize::MAX);
        options.row_group_bytes = options.row_group_bytes.min(max_file_bytes);
        Self {
            options,
            summarize_columns: false,
            page_index: true,
        }
    }

    /// Finished files say what their columns hold.
    #[must_use]
    pub fn with_column_summaries(mut self, summarize_columns: bool) -> Self {
        self.summarize_columns = summarize_columns;
        self
    }

    /// Without an index, pages have no statistics of their own. Where row groups have a page or two
    /// of each column, it says nothing that the row group's statistics don't, and costs as much
    /// memory again until the file ends.
    #[must_use]
    pub fn with_page_index(mut self, page_index: bool) -> Self {
        self.page_index = page_index;
        self
    }

    fn properties(&self) -> Result<WriterProperties> {
        let statistics = match self.page_index {
            true => EnabledStatistics::Page,
            false => EnabledStatistics::Chunk,
        };
        Ok(WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(self.options.compression.codec()?)
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(!self.page_index)
            .set_created_by(concat!("tidegate version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build())
    }

    fn encoder(
        &self,
        schema: &SchemaRef,
        parts: PartBuffer,
        threads: usize,
    ) -> Result<ParquetEncoder> {
        let limits = RowGroupLimits {
            rows: self.options.row_group_rows,
            bytes: self.options.row_group_bytes,
        };
        ParquetEncoder::new(schema, self.properties()?, limits, parts, threads)
    }

    /// Whether the writer itself can write a column of this type.
    fn can_encode(&self, field: &Field) -> bool {
        if contains_unwritable(field.data_type()) {
            return false;
        }
        let schema = SchemaRef::new(Schema::new(vec![field.clone()]));
        self.encoder(&schema, PartBuffer::new(1), 1)
            .is_ok_and(|encoder| encoder.start_row_group().is_ok())
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

    fn extension(&self) -> String {
        ".parquet".to_owned()
    }

    fn content_type(&self) -> &'static str {
        "application/vnd.apache.parquet"
    }

    /// Its pages are compressed, not the file.
    fn content_encoding(&self) -> Option<&'static str> {
        None
    }

    fn file_memory_bytes(&self) -> usize {
        ROW_GROUP_MEMORY
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

    fn start_file(
        &self,
        schema: &SchemaRef,
        part_bytes: usize,
        threads: usize,
    ) -> Result<Box<dyn Encoder>> {
        let encoder = self
            .encoder(schema, PartBuffer::new(part_bytes), threads)?
            .with_column_summaries(self.summarize_columns);
        Ok(Box::new(encoder))
    }
}
