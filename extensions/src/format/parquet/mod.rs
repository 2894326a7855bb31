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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array,
        Int64Builder, ListBuilder, RecordBatch, RecordBatchReader, StringArray, StringViewArray,
        StructArray, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::compute::{cast, concat_batches};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    /// A column of `rows` values of any type, with NULLs at every level.
    fn column(rows: usize) -> impl Strategy<Value = ArrayRef> {
        fn values<T: std::fmt::Debug>(
            rows: usize,
            value: impl Strategy<Value = T>,
        ) -> impl Strategy<Value = Vec<Option<T>>> {
            proptest::collection::vec(of(value), rows)
        }
        fn boxed<A: Array + 'static>(array: A) -> ArrayRef {
            Arc::new(array)
        }
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let list = || proptest::collection::vec(of(any::<i64>()), 0..4);
        prop_oneof![
            values(rows, any::<bool>()).prop_map(|v| boxed(BooleanArray::from(v))),
            values(rows, any::<i32>()).prop_map(|v| boxed(Int32Array::from(v))),
            values(rows, any::<u64>()).prop_map(|v| boxed(UInt64Array::from(v))),
            values(rows, any::<f64>()).prop_map(|v| boxed(Float64Array::from(v))),
            values(rows, -10i128.pow(17)..10i128.pow(17)).prop_map(|v| {
                let decimals = Decimal128Array::from(v);
                boxed(decimals.with_precision_and_scale(18, 4).unwrap())
            }),
            values(rows, any::<i64>()).prop_map(|v| boxed(TimestampMicrosecondArray::from(v))),
            values(rows, "\\PC{0,12}").prop_map(|v| boxed(StringArray::from(v))),
            values(rows, "\\PC{0,20}").prop_map(|v| boxed(StringViewArray::from_iter(v))),
            values(rows, bytes()).prop_map(|v| boxed(BinaryArray::from_iter(v))),
            values(rows, list()).prop_map(|v| {
                let mut lists = ListBuilder::new(Int64Builder::new());
                v.into_iter().for_each(|list| lists.append_option(list));
                boxed(lists.finish())
            }),
            (values(rows, any::<i32>()), values(rows, "[a-c]{0,3}")).prop_map(|(a, b)| {
                let fields = vec![
                    (
                        Arc::new(Field::new("a", DataType::Int32, true)),
                        boxed(Int32Array::from(a)),
                    ),
                    (
                        Arc::new(Field::new("b", DataType::Utf8, true)),
                        boxed(StringArray::from(b)),
                    ),
                ];
                boxed(StructArray::from(fields))
            }),
        ]
    }

    fn batch() -> impl Strategy<Value = RecordBatch> {
        let columns = |rows| proptest::collection::vec(column(rows), 1..5);
        (0usize..60).prop_flat_map(columns).prop_map(|columns| {
            let named = columns.into_iter().enumerate();
            let named = named.map(|(i, array)| (format!("c{i}"), array, true));
            RecordBatch::try_from_iter_with_nullable(named).unwrap()
        })
    }

    /// Encodes a batch in slices of `rows` rows and reads the file.
    fn round_trip(format: &ParquetFormat, batch: &RecordBatch, rows: usize) -> RecordBatch {
        format.check_schema(&batch.schema()).unwrap();
        let mut encoder = format.start_file(&batch.schema(), 1 << 20, 1).unwrap();
        let encoded = futures::executor::block_on(async {
            for start in (0..batch.num_rows()).step_by(rows) {
                let slice = batch.slice(start, rows.min(batch.num_rows() - start));
                encoder.write(&slice).await.unwrap();
            }
            encoder.finish().await.unwrap()
        });
        assert_eq!(encoded.rows, batch.num_rows() as u64);
        let mut parts = encoded.parts;
        let bytes: Vec<Bytes> = std::iter::from_fn(|| parts.take_any()).collect();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes.concat()));
        let reader = reader.unwrap().build().unwrap();
        let schema = RecordBatchReader::schema(&reader);
        let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    proptest! {
        #[test]
        fn any_batch_reads_back(
            batch in batch(),
            rows in 1usize..40,
            row_group_rows in 1usize..40,
            page_index in any::<bool>(),
        ) {
            let options = ParquetOptions { row_group_rows, ..ParquetOptions::default() };
            let format = ParquetFormat::new(options, u64::MAX).with_page_index(page_index);
            let read = round_trip(&format, &batch, rows);
            for (written, read) in batch.columns().iter().zip(read.columns()) {
                // Views are stored as plain texts.
                let read = cast(read, written.data_type()).unwrap();
                prop_assert_eq!(written, &read);
            }
        }
    }

    #[test]
    fn every_codec_reads_back() {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        for compression in [
            ParquetCompression::None,
            ParquetCompression::Snappy,
            ParquetCompression::Gzip(9),
            ParquetCompression::Brotli(11),
            ParquetCompression::Zstd(22),
            ParquetCompression::Lz4Raw,
        ] {
            let options = ParquetOptions {
                compression,
                ..ParquetOptions::default()
            };
            let format = ParquetFormat::new(options, u64::MAX);
            assert_eq!(round_trip(&format, &batch, 100), batch, "{compression:?}");
        }
    }

    #[test]
    fn a_uuid_is_one_in_parquet() {
        use arrow::array::FixedSizeBinaryArray;
        let uuids = FixedSizeBinaryArray::try_from_iter([[7u8; 16]].iter()).unwrap();
        let field = Field::new("u", DataType::FixedSizeBinary(16), false)
            .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
        let schema = SchemaRef::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(uuids)]).unwrap();
        let format = ParquetFormat::new(ParquetOptions::default(), u64::MAX);
        let encoder = format.encoder(&schema, PartBuffer::new(1), 1).unwrap();
        let logical = encoder.logical_type(0);
        assert_eq!(logical, Some(parquet::basic::LogicalType::Uuid));
        assert_eq!(round_trip(&format, &batch, 1).column(0), batch.column(0));
    }
}
