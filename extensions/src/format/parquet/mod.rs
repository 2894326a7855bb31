//! Parquet.
//!
//! Invariant: a finished file's row count is the count in its footer. The Arrow schema is embedded,
//! so that readers recover types that Parquet doesn't have.
//!
//! Format version 1.0, dictionaries with a fallback, page statistics, no bloom filters. The format:
//! <https://parquet.apache.org/docs/file-format/>

mod column;
mod compare;
mod encoder;
mod file;
mod options;
mod splice;
mod summary;
mod widen;

pub(crate) use file::MOST_ROW_GROUPS;
pub use splice::SpliceSource;
pub(crate) use splice::{SplicedFile, can_splice, has_types};
pub(crate) use widen::{Misfit, merge_schemas};

pub use options::{ParquetCompression, ParquetOptions};

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use self::column::PageOptions;
use self::encoder::{ParquetEncoder, RowGroupLimits};
use super::{Comparison, Encoder, FileFormat, Neighbor, PartBuffer, PartPool, refuse_columns};
use crate::error::{Error, ErrorKind, Result};

/// A page ends at this many rows, as with other writers: readers skip data page by page, so pages
/// must not be too large.
const PAGE_ROWS: usize = 20_000;

/// A page also ends at this many bytes before compression.
const PAGE_BYTES: usize = 1 << 20;

/// Memory of an encoder for a row group, in bytes. With less, early flushes make row groups too
/// small.
const ROW_GROUP_MEMORY: usize = 2 << 20;

/// Parquet files.
#[derive(Debug, Clone)]
pub struct ParquetFormat {
    options: ParquetOptions,
    summarize_columns: bool,
    page_index: bool,
    page_rows: usize,
    page_bytes: usize,
}

impl ParquetFormat {
    /// Creates the format with `options`. A file has at most `max_file_bytes` encoded bytes, so
    /// this also caps the size of row groups.
    pub fn new(mut options: ParquetOptions, max_file_bytes: u64) -> Self {
        let max_file_bytes = usize::try_from(max_file_bytes).unwrap_or(usize::MAX);
        options.row_group_bytes = options.row_group_bytes.min(max_file_bytes);
        Self {
            options,
            summarize_columns: false,
            page_index: true,
            page_rows: PAGE_ROWS,
            page_bytes: PAGE_BYTES,
        }
    }

    /// Sets whether finished files report summaries of their columns.
    #[must_use]
    pub fn with_column_summaries(mut self, summarize_columns: bool) -> Self {
        self.summarize_columns = summarize_columns;
        self
    }

    /// Sets whether files have a page index. Without it, pages have no statistics of their own. If
    /// row groups have only one or two pages of each column, the index adds little to the
    /// statistics of the row group, but takes as much memory again until the file ends.
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
            .set_data_page_row_count_limit(self.page_rows)
            .set_data_page_size_limit(self.page_bytes)
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
        let pages = PageOptions {
            codec: self.options.compression,
            rows: self.page_rows,
            bytes: self.page_bytes,
            index: self.page_index,
        };
        let properties = self.properties()?;
        ParquetEncoder::new(schema, properties, limits, pages, parts, threads)
    }

    /// Whether the encoder can write a column of this type.
    fn can_encode(&self, field: &Field) -> bool {
        if contains_unwritable(field.data_type()) {
            return false;
        }
        let schema = SchemaRef::new(Schema::new(vec![field.clone()]));
        self.encoder(&schema, PartBuffer::new(PartPool::new(1)), 1)
            .is_ok_and(|encoder| encoder.start_row_group().is_ok())
    }
}

/// Whether a type contains a type that the parquet crate accepts in a schema but can't write:
/// Parquet's INTERVAL holds milliseconds, not nanoseconds, and Parquet has no unions.
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

    /// `None`: the pages are compressed, not the file.
    fn content_encoding(&self) -> Option<&'static str> {
        None
    }

    fn file_memory_bytes(&self) -> usize {
        ROW_GROUP_MEMORY
    }

    fn tells_at_end(&self) -> bool {
        true
    }

    fn compare(&self, schema: &Schema, other: &Neighbor) -> Comparison {
        compare::compare(schema, other)
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
        parts: PartBuffer,
        threads: usize,
    ) -> Result<Box<dyn Encoder>> {
        let encoder = self
            .encoder(schema, parts, threads)?
            .with_column_summaries(self.summarize_columns);
        Ok(Box::new(encoder))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
        Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, Int64Builder,
        LargeStringArray, ListArray, ListBuilder, MapArray, RecordBatch, RecordBatchReader,
        StringArray, StringViewArray, StructArray, TimestampMicrosecondArray, UInt32Array,
        UInt64Array,
    };
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::compute::{cast, concat_batches};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Encoding;
    use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    use parquet::file::statistics::Statistics;
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
        let doubles = || prop_oneof![any::<f64>(), Just(f64::NAN), Just(-0.0), Just(0.0)];
        let long = "[a-z]{60,70}|[\u{10FFFF}]{15,18}";
        let list = || proptest::collection::vec(of(any::<i64>()), 0..4);
        prop_oneof![
            values(rows, any::<bool>()).prop_map(|v| boxed(BooleanArray::from(v))),
            values(rows, any::<i32>()).prop_map(|v| boxed(Int32Array::from(v))),
            values(rows, any::<u64>()).prop_map(|v| boxed(UInt64Array::from(v))),
            values(rows, any::<u32>()).prop_map(|v| boxed(UInt32Array::from(v))),
            values(rows, any::<i8>()).prop_map(|v| boxed(Int8Array::from(v))),
            values(rows, 0..3i64).prop_map(|v| boxed(Int64Array::from(v))),
            values(rows, 0..9i32).prop_map(|v| boxed(Date32Array::from(v))),
            values(rows, doubles()).prop_map(|v| boxed(Float64Array::from(v))),
            values(rows, any::<f32>()).prop_map(|v| boxed(Float32Array::from(v))),
            values(rows, -999i128..999).prop_map(|v| {
                let decimals = Decimal128Array::from(v);
                boxed(decimals.with_precision_and_scale(9, 2).unwrap())
            }),
            values(rows, any::<i128>()).prop_map(|v| {
                let decimals = Decimal128Array::from(v);
                boxed(decimals.with_precision_and_scale(38, 2).unwrap())
            }),
            values(rows, long).prop_map(|v| boxed(StringArray::from(v))),
            values(rows, "[a-c]{1,2}|[a-b]{14}").prop_map(|v| boxed(StringViewArray::from_iter(v))),
            values(rows, "[a-c]{1,2}").prop_map(|v| boxed(LargeStringArray::from(v))),
            values(rows, bytes()).prop_map(|v| boxed(BinaryViewArray::from_iter(v))),
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

    /// A column of `rows` rows with `depth` levels of lists, structs and maps.
    fn nested(rows: usize, depth: u32) -> BoxedStrategy<ArrayRef> {
        let flags = |rows| proptest::collection::vec(proptest::bool::weighted(0.8), rows);
        if depth == 0 {
            let numbers = proptest::collection::vec(0..5i64, rows);
            return prop_oneof![
                column(rows),
                numbers.prop_map(|values| Arc::new(Int64Array::from(values)) as ArrayRef),
            ]
            .boxed();
        }
        let field = |name: &str, array: &ArrayRef, may_be_null: bool| {
            // Arrow reads a required struct of a NULL struct without its NULL, and refuses to cast it.
            let is_struct = matches!(array.data_type(), DataType::Struct(_));
            let is_nullable = may_be_null || is_struct || array.null_count() > 0;
            Arc::new(Field::new(name, array.data_type().clone(), is_nullable))
        };
        // A NULL may have items, too.
        let lengths = proptest::collection::vec(0usize..4, rows);
        let lists = (lengths, flags(rows), any::<[bool; 2]>())
            .prop_flat_map(move |lists| {
                let items = lists.0.iter().sum();
                (Just(lists), nested(items, depth - 1), flags(items))
            })
            .prop_map(
                move |((lengths, valid, [may_be_null, is_map]), items, keys)| {
                    let offsets = OffsetBuffer::from_lengths(lengths);
                    let nulls = may_be_null.then(|| NullBuffer::from(valid));
                    if !is_map {
                        let item = field("item", &items, may_be_null);
                        return Arc::new(ListArray::new(item, offsets, items, nulls)) as ArrayRef;
                    }
                    let keys: ArrayRef = Arc::new(BooleanArray::from(keys));
                    let fields = vec![field("keys", &keys, false), field("values", &items, true)];
                    let entries = StructArray::new(fields.into(), vec![keys, items], None);
                    let entries_type = entries.data_type().clone();
                    let entry = Arc::new(Field::new("entries", entries_type, false));
                    Arc::new(MapArray::new(entry, offsets, entries, nulls, false))
                },
            );
        let structs = (
            nested(rows, depth - 1),
            nested(rows, depth - 1),
            flags(rows),
            any::<bool>(),
        );
        let structs = structs.prop_map(move |(a, b, valid, may_be_null)| {
            let fields = vec![field("a", &a, false), field("b", &b, may_be_null)];
            let nulls = may_be_null.then(|| NullBuffer::from(valid));
            Arc::new(StructArray::new(fields.into(), vec![a, b], nulls)) as ArrayRef
        });
        prop_oneof![lists, structs].boxed()
    }

    fn batch() -> impl Strategy<Value = RecordBatch> {
        let any_column = |rows| {
            let nested = (1u32..4).prop_flat_map(move |depth| nested(rows, depth));
            prop_oneof![2 => column(rows), 1 => nested]
        };
        let columns = move |rows| proptest::collection::vec(any_column(rows), 1..5);
        (0usize..60).prop_flat_map(columns).prop_map(|columns| {
            let named = columns.into_iter().enumerate();
            let named = named.map(|(i, array)| (format!("c{i}"), array, true));
            RecordBatch::try_from_iter_with_nullable(named).unwrap()
        })
    }

    /// Encodes a batch in slices of `rows` rows.
    fn encode(format: &ParquetFormat, batch: &RecordBatch, rows: usize) -> Bytes {
        format.check_schema(&batch.schema()).unwrap();
        let parts = PartBuffer::new(PartPool::new(1 << 20));
        let mut encoder = format.start_file(&batch.schema(), parts, 1).unwrap();
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
        Bytes::from(bytes.concat())
    }

    /// Encodes a batch in slices of `rows` rows and reads the file.
    fn round_trip(format: &ParquetFormat, batch: &RecordBatch, rows: usize) -> RecordBatch {
        let file = encode(format, batch, rows);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file);
        let reader = reader.unwrap().build().unwrap();
        let schema = RecordBatchReader::schema(&reader);
        let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    /// A file has at most 32,767 row groups.
    #[test]
    fn small_row_groups_do_not_run_out() {
        let options = ParquetOptions {
            row_group_rows: 1,
            ..ParquetOptions::default()
        };
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..50_000));
        let batch = RecordBatch::try_from_iter([("a", values)]).unwrap();
        let read = round_trip(&ParquetFormat::new(options, u64::MAX), &batch, 50_000);
        assert_eq!(read.column(0), batch.column(0));
    }

    proptest! {
        #[test]
        fn any_batch_reads_back(
            batch in batch(),
            rows in 1usize..40,
            row_group_rows in 1usize..40,
            page_index in any::<bool>(),
            page_rows in 1usize..30,
            page_bytes in 1usize..500,
        ) {
            let options = ParquetOptions { row_group_rows, ..ParquetOptions::default() };
            let mut format = ParquetFormat::new(options, u64::MAX).with_page_index(page_index);
            (format.page_rows, format.page_bytes) = (page_rows, page_bytes);
            let read = round_trip(&format, &batch, rows);
            for (written, read) in batch.columns().iter().zip(read.columns()) {
                // Views are stored as plain texts.
                let read = cast(read, written.data_type()).unwrap();
                prop_assert_eq!(written, &read);
            }
        }
    }

    /// The statistics of a file's columns: per row group, and per page.
    fn said_of_columns(file: Bytes) -> (Vec<Option<Statistics>>, Vec<Vec<ColumnIndexMetaData>>) {
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&file)
            .unwrap();
        let columns = metadata
            .row_groups()
            .iter()
            .flat_map(|group| group.columns());
        let statistics = columns.map(|column| column.statistics().cloned()).collect();
        let index = metadata.column_index().unwrap().clone();
        (statistics, index)
    }

    proptest! {
        #[test]
        fn statistics_are_those_of_the_parquet_crate(
            batch in batch(),
            page_rows in 1usize..30,
            row_group_rows in 30usize..70,
        ) {
            // The parquet crate itself writes columns with long decimals.
            let is_ours = |column: &usize| {
                let data_type = batch.column(*column).data_type().to_string();
                !data_type.contains("Decimal128(38")
            };
            let ours: Vec<usize> = (0..batch.num_columns()).filter(is_ours).collect();
            let batch = batch.project(&ours).unwrap();
            prop_assume!(batch.num_rows() > 0 && batch.num_columns() > 0);
            let options = ParquetOptions { row_group_rows, ..ParquetOptions::default() };
            let mut format = ParquetFormat::new(options, u64::MAX);
            format.page_rows = page_rows;
            let ours = said_of_columns(encode(&format, &batch, 1000));
            let properties = format.properties().unwrap().into_builder()
                .set_max_row_group_row_count(Some(row_group_rows))
                .set_write_batch_size(1)
                .build();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            let theirs = said_of_columns(writer.into_inner().unwrap().into());
            prop_assert_eq!(ours.0, theirs.0);
            // With single values, the parquet crate takes some pages of nested columns for NULLs.
            if !batch.columns().iter().any(|column| column.data_type().is_nested()) {
                prop_assert_eq!(ours.1, theirs.1);
            }
        }
    }

    #[test]
    fn a_dictionary_is_used_where_it_pays() {
        let file = |array: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
            let format = ParquetFormat::new(ParquetOptions::default(), u64::MAX);
            let read = round_trip(&format, &batch, 8192);
            let read = cast(read.column(0), batch.column(0).data_type()).unwrap();
            assert_eq!(&read, batch.column(0));
            let file = encode(&format, &batch, 8192);
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(&file)
                .unwrap();
            metadata.row_group(0).column(0).clone()
        };
        let numbers = |number: fn(i64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..300_000).map(number)))
        };
        let mixed = |n: i64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 1).abs();
        let all_different = file(numbers(mixed));
        assert_eq!(all_different.dictionary_page_offset(), None);
        let few = file(numbers(|n| (n * 7) % 1000));
        assert!(few.dictionary_page_offset().is_some());
        assert!(
            few.compressed_size() < 300_000 * 2,
            "{}",
            few.compressed_size()
        );
        // The dictionary fills up; later pages are plain.
        let ever_more = file(numbers(|n| n.wrapping_mul(7) % (n / 2 + 1000) * 1_000_003));
        let encodings: Vec<_> = ever_more.encodings().collect();
        assert!(
            encodings.contains(&Encoding::RLE_DICTIONARY) && encodings.contains(&Encoding::PLAIN)
        );
        let texts = (0..50_000).map(|n| format!("a text that is here {} times", n % 500));
        let texts = file(Arc::new(StringViewArray::from_iter_values(texts)));
        assert!(texts.dictionary_page_offset().is_some());
        assert!(
            texts.compressed_size() < 80_000,
            "{}",
            texts.compressed_size()
        );
    }

    #[test]
    fn the_next_row_groups_know_whether_a_dictionary_pays() {
        const ROWS: i64 = 10_000;
        type Number = fn(i64) -> Option<i64>;
        // Whether each row group has a dictionary. Each function makes the numbers of one row
        // group.
        let dictionaries = |groups: &[Number]| -> Vec<bool> {
            let numbers = groups.iter().flat_map(|number| (0..ROWS).map(number));
            let numbers: ArrayRef = Arc::new(numbers.collect::<Int64Array>());
            let field = Field::new("n", DataType::Int64, true);
            let schema = SchemaRef::new(Schema::new(vec![field]));
            let batch = RecordBatch::try_new(schema, vec![numbers]).unwrap();
            let options = ParquetOptions {
                row_group_rows: ROWS as usize,
                ..ParquetOptions::default()
            };
            let format = ParquetFormat::new(options, u64::MAX);
            assert_eq!(round_trip(&format, &batch, 1000), batch);
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(&encode(&format, &batch, 1000))
                .unwrap();
            let groups = metadata.row_groups().iter();
            let has_dictionary = |column: &ColumnChunkMetaData| column.dictionary_page_offset();
            groups
                .map(|group| has_dictionary(group.column(0)).is_some())
                .collect()
        };
        let few: Number = |n| Some(n % 3);
        let different: Number = |n| Some(n * n);
        let null: Number = |_| None;
        let one: Number = |n| (n == 0).then_some(0);
        assert_eq!(dictionaries(&[different, few]), [false, false]);
        assert_eq!(
            dictionaries(&[few, different, different]),
            [true, true, false]
        );
        assert_eq!(dictionaries(&[few, null, few]), [true, false, true]);
        assert_eq!(dictionaries(&[one, few]), [false, true]);
        // After `DICTIONARY_KNOWN_ROWS` rows a dictionary is tried again.
        let mut groups = vec![different; 105];
        groups.push(few);
        assert_eq!(dictionaries(&groups).last(), Some(&true));
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
        let encoder = format
            .encoder(&schema, PartBuffer::new(PartPool::new(1)), 1)
            .unwrap();
        let logical = encoder.logical_type(0);
        assert_eq!(logical, Some(parquet::basic::LogicalType::Uuid));
        assert_eq!(round_trip(&format, &batch, 1).column(0), batch.column(0));
    }
}
