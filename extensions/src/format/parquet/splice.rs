//! Files made of row groups of other files, which are not decoded.
//!
//! Invariant: a row group that was added has the bytes of its source, and every offset in its
//! metadata points to the same bytes as in the source. Statistics and indexes are the source's, so
//! the caller chooses which of them the [`SpliceSource`] has.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnChunkMetaDataBuilder, ParquetMetaData, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::encoder::embedded_schema;
use super::file::ParquetFile;
use super::summary::{Origin, summarize_columns};
use super::{ParquetCompression, ParquetFormat, encode_error};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ColumnSummary, EncodedFile, PartBuffer};

/// The columns of a Parquet file that go into another file, by its footer.
#[derive(Debug, Clone)]
pub struct SpliceSource {
    footer: Arc<ParquetMetaData>,
    /// The columns, in the order of the new file.
    schema: SchemaDescPtr,
    /// Their leaves in the source, in the order of the new file.
    leaves: Vec<usize>,
}

impl SpliceSource {
    /// The top-level columns `columns` of the file with this footer, in the order of the new file.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`]: the file has no such column.
    pub fn new(footer: Arc<ParquetMetaData>, columns: &[usize]) -> Result<Self> {
        let file = footer.file_metadata().schema_descr();
        let root = file.root_schema().get_fields();
        let chosen = columns.iter().map(|column| root.get(*column).cloned());
        let Some(fields) = chosen.collect::<Option<Vec<_>>>() else {
            return Err(Error::new(ErrorKind::Internal, "a moved column is missing"));
        };
        let leaves = columns.iter().flat_map(|column| {
            (0..file.num_columns()).filter(|leaf| file.get_column_root_idx(*leaf) == *column)
        });
        let leaves = leaves.collect();
        let root = Type::group_type_builder(ROOT).with_fields(fields).build();
        let root = Arc::new(root.map_err(encode_error)?);
        let schema = Arc::new(SchemaDescriptor::new(root));
        Ok(Self {
            footer,
            schema,
            leaves,
        })
    }

    /// Whether one file can hold row groups of both sources: the columns are the same, and both have
    /// an index of their pages or both have none.
    pub fn fits_with(&self, other: &Self) -> bool {
        self.schema.root_schema() == other.schema.root_schema()
            && self.has_offset_index() == other.has_offset_index()
    }

    /// The rows of a row group.
    pub fn rows(&self, row_group: usize) -> u64 {
        let rows = self.footer.row_group(row_group).num_rows();
        u64::try_from(rows).unwrap_or_default()
    }

    /// The rows of all row groups.
    pub fn all_rows(&self) -> u64 {
        (0..self.footer.num_row_groups())
            .map(|row_group| self.rows(row_group))
            .sum()
    }

    /// The number of bytes in [`Self::ranges`].
    pub fn bytes(&self, row_group: usize) -> u64 {
        let ranges = self.ranges(row_group).into_iter();
        ranges.map(|range| range.end - range.start).sum()
    }

    /// The number of columns that hold values: nested columns have several.
    pub fn columns(&self) -> usize {
        self.leaves.len()
    }

    /// The places of the bytes of a row group in the source, in the order of the new file: those of
    /// each column, then the Bloom filters.
    pub fn ranges(&self, row_group: usize) -> Vec<Range<u64>> {
        let chunks = || self.chunks(row_group);
        let filters = chunks().filter_map(bloom_filter_range);
        chunks().map(chunk_range).chain(filters).collect()
    }

    fn chunks(&self, row_group: usize) -> impl Iterator<Item = &ColumnChunkMetaData> {
        let row_group = self.footer.row_group(row_group);
        self.leaves.iter().map(|leaf| row_group.column(*leaf))
    }

    fn has_offset_index(&self) -> bool {
        self.footer
            .offset_index()
            .is_some_and(|index| index.len() == self.footer.num_row_groups())
    }

    fn offset_index(&self, row_group: usize, leaf: usize) -> Option<&OffsetIndexMetaData> {
        self.footer.offset_index()?.get(row_group)?.get(leaf)
    }

    fn column_index(&self, row_group: usize, leaf: usize) -> Option<&ColumnIndexMetaData> {
        self.footer.column_index()?.get(row_group)?.get(leaf)
    }
}

/// The name of the root of a schema, as the parquet crate writes it.
const ROOT: &str = "arrow_schema";

/// Whether encoding the columns `columns` of a file as `schema` would give columns of the same type,
/// and whether `codec`, if there is one, is that of all their chunks. Decimals may be stored in any
/// of the ways that Parquet has for them.
pub(crate) fn can_splice(
    schema: &SchemaRef,
    footer: &ParquetMetaData,
    columns: &[usize],
    codec: Option<ParquetCompression>,
) -> bool {
    let file = footer.file_metadata().schema_descr();
    let is_wanted = |leaf: usize| columns.contains(&file.get_column_root_idx(leaf));
    let Ok(codec) = codec.map(ParquetCompression::codec).transpose() else {
        return false;
    };
    has_sound_writer(footer)
        && has_types(schema, footer, columns)
        && footer.row_groups().iter().all(|group| {
            let chunks = group.columns().iter().enumerate();
            chunks
                .filter(|(leaf, _)| is_wanted(*leaf))
                .all(|(_, chunk)| can_move(chunk, codec))
        })
}

/// Whether the columns `columns` of a file have the types that encoding them as `schema` would give.
pub(crate) fn has_types(schema: &SchemaRef, footer: &ParquetMetaData, columns: &[usize]) -> bool {
    let Ok(own) = ArrowSchemaConverter::new().convert(&embedded_schema(schema)) else {
        return false;
    };
    if schema
        .fields()
        .iter()
        .any(|field| has_unit_of_arrow(field.data_type()))
    {
        return false;
    }
    let root = footer.file_metadata().schema_descr().root_schema();
    let own = own.root_schema().get_fields();
    columns.len() == own.len()
        && columns.iter().zip(own).all(|(column, own)| {
            let theirs = root.get_fields().get(*column);
            theirs.is_some_and(|theirs| is_same_type(theirs, own))
        })
}

/// Whether a type contains one whose unit only the embedded Arrow schema tells. Files may differ in it.
fn has_unit_of_arrow(data_type: &DataType) -> bool {
    match data_type {
        DataType::Duration(_) | DataType::Interval(_) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_unit_of_arrow(field.data_type()),
        DataType::Struct(fields) => fields
            .iter()
            .any(|field| has_unit_of_arrow(field.data_type())),
        DataType::Dictionary(_, values) => has_unit_of_arrow(values),
        DataType::RunEndEncoded(_, values) => has_unit_of_arrow(values.data_type()),
        _ => false,
    }
}

/// Programs whose files have faults that readers work round by their name:
/// <https://issues.apache.org/jira/browse/PARQUET-816>,
/// <https://issues.apache.org/jira/browse/PARQUET-246>
const WRITERS_WITH_FAULTS: [&str; 11] = [
    "parquet-mr version 1.0.",
    "parquet-mr version 1.1.",
    "parquet-mr version 1.2.",
    "parquet-mr version 1.3.",
    "parquet-mr version 1.4.",
    "parquet-mr version 1.5.",
    "parquet-mr version 1.6.",
    "parquet-mr version 1.7.",
    "parquet-cpp version 1.0.",
    "parquet-cpp version 1.1.",
    "parquet-cpp version 1.2.",
];

/// Whether a file says that a program wrote it that has no known faults.
fn has_sound_writer(footer: &ParquetMetaData) -> bool {
    footer.file_metadata().created_by().is_some_and(|writer| {
        writer != "parquet-mr"
            && !WRITERS_WITH_FAULTS
                .iter()
                .any(|old| writer.starts_with(old))
    })
}

impl ParquetFormat {
    /// Summaries of the columns of a whole file, if the format is to summarize columns.
    ///
    /// # Errors
    /// [`ErrorKind::Query`]: the statistics can't be read.
    pub(crate) fn summarize(
        &self,
        source: &SpliceSource,
        schema: &SchemaRef,
    ) -> Result<Vec<ColumnSummary>> {
        match self.summarize_columns {
            true => summarize_columns(&source.footer, schema, Origin::Other),
            false => Ok(Vec::new()),
        }
    }

    /// Starts a file for row groups of `source` and of sources that fit with it.
    ///
    /// # Errors
    /// The schema has a type that Parquet can't store.
    pub(crate) fn start_spliced_file(
        &self,
        schema: &SchemaRef,
        source: &SpliceSource,
        parts: PartBuffer,
    ) -> Result<SplicedFile> {
        let (file, _) = ParquetFile::start(embedded_schema(schema), self.properties()?, parts)?;
        let version = source.footer.file_metadata().version();
        Ok(SplicedFile {
            file: file.with_columns_of(Arc::clone(&source.schema), version),
            schema: SchemaRef::clone(schema),
            source: source.clone(),
            summarize_columns: self.summarize_columns,
        })
    }
}

/// Whether the chunk is in this file, in one piece, not in a codec whose framing is not defined, and
/// in the codec that is asked for.
fn can_move(chunk: &ColumnChunkMetaData, codec: Option<Compression>) -> bool {
    let starts_at = chunk.dictionary_page_offset();
    let starts_at = starts_at.unwrap_or_else(|| chunk.data_page_offset());
    let is_whole = chunk.file_path().is_none()
        && starts_at >= MAGIC_BYTES
        && starts_at <= chunk.data_page_offset()
        && chunk.compressed_size() > 0;
    let has_codec = match codec {
        None => !matches!(chunk.compression(), Compression::LZ4 | Compression::LZO),
        Some(codec) => {
            std::mem::discriminant(&codec) == std::mem::discriminant(&chunk.compression())
        }
    };
    is_whole && has_codec
}

/// The bytes of a file before its first chunk.
const MAGIC_BYTES: i64 = 4;

/// Whether a column of a file has the name, the structure and the meaning of a column of ours.
fn is_same_type(theirs: &Type, own: &Type) -> bool {
    let (info, own_info) = (theirs.get_basic_info(), own.get_basic_info());
    let is_alike = info.name() == own_info.name()
        && info.repetition() == own_info.repetition()
        && meaning(theirs) == meaning(own)
        && is_interval(theirs) == is_interval(own);
    is_alike
        && match (theirs, own) {
            (
                Type::PrimitiveType {
                    physical_type,
                    type_length,
                    ..
                },
                Type::PrimitiveType {
                    physical_type: own_type,
                    type_length: own_length,
                    ..
                },
            ) => {
                matches!(meaning(own), Some(LogicalType::Decimal(_)))
                    || (physical_type == own_type
                        && (*physical_type != PhysicalType::FIXED_LEN_BYTE_ARRAY
                            || type_length == own_length))
            }
            (
                Type::GroupType { fields, .. },
                Type::GroupType {
                    fields: own_fields, ..
                },
            ) => {
                fields.len() == own_fields.len()
                    && fields
                        .iter()
                        .zip(own_fields)
                        .all(|(a, b)| is_same_type(a, b))
            }
            _ => false,
        }
}

fn is_interval(column: &Type) -> bool {
    column.get_basic_info().converted_type() == ConvertedType::INTERVAL
}

/// The logical type of a column, also if only the older converted type says it:
/// <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md>
fn meaning(column: &Type) -> Option<LogicalType> {
    let info = column.get_basic_info();
    let logical = info.logical_type_ref().cloned();
    let logical = logical.or_else(|| match (info.converted_type(), column) {
        (ConvertedType::UTF8, _) => Some(LogicalType::String),
        (ConvertedType::ENUM, _) => Some(LogicalType::Enum),
        (ConvertedType::JSON, _) => Some(LogicalType::Json),
        (ConvertedType::BSON, _) => Some(LogicalType::Bson),
        (ConvertedType::LIST, _) => Some(LogicalType::List),
        (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, _) => Some(LogicalType::Map),
        (ConvertedType::DATE, _) => Some(LogicalType::Date),
        (
            ConvertedType::DECIMAL,
            Type::PrimitiveType {
                scale, precision, ..
            },
        ) => Some(LogicalType::decimal(*scale, *precision)),
        (ConvertedType::TIME_MILLIS, _) => Some(LogicalType::time(true, TimeUnit::MILLIS)),
        (ConvertedType::TIME_MICROS, _) => Some(LogicalType::time(true, TimeUnit::MICROS)),
        (ConvertedType::TIMESTAMP_MILLIS, _) => {
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS))
        }
        (ConvertedType::TIMESTAMP_MICROS, _) => {
            Some(LogicalType::timestamp(true, TimeUnit::MICROS))
        }
        (ConvertedType::INT_8, _) => Some(LogicalType::integer(8, true)),
        (ConvertedType::INT_16, _) => Some(LogicalType::integer(16, true)),
        (ConvertedType::UINT_8, _) => Some(LogicalType::integer(8, false)),
        (ConvertedType::UINT_16, _) => Some(LogicalType::integer(16, false)),
        (ConvertedType::UINT_32, _) => Some(LogicalType::integer(32, false)),
        (ConvertedType::UINT_64, _) => Some(LogicalType::integer(64, false)),
        _ => None,
    });
    // An integer of the full width needs no logical type.
    logical.filter(|logical| match logical {
        LogicalType::Integer(integer) => !integer.is_signed || integer.bit_width < 32,
        _ => true,
    })
}

fn chunk_range(chunk: &ColumnChunkMetaData) -> Range<u64> {
    let start = chunk.dictionary_page_offset();
    let start = start.unwrap_or_else(|| chunk.data_page_offset());
    let start = u64::try_from(start).unwrap_or_default();
    start..start + u64::try_from(chunk.compressed_size()).unwrap_or_default()
}

/// The place of the chunk's Bloom filter. Old files do not say its length; their filters are left
/// out.
fn bloom_filter_range(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = u64::try_from(chunk.bloom_filter_offset()?).ok()?;
    let length = u64::try_from(chunk.bloom_filter_length()?).ok()?;
    Some(start..start + length)
}

/// A file that takes row groups of other files.
pub(crate) struct SplicedFile {
    file: ParquetFile,
    /// The columns, for the summaries.
    schema: SchemaRef,
    /// The first source.
    source: SpliceSource,
    summarize_columns: bool,
}

impl SplicedFile {
    /// Whether the file can hold row groups of `source`.
    pub(crate) fn takes(&self, source: &SpliceSource) -> bool {
        self.source.fits_with(source)
    }

    pub(crate) fn row_groups(&self) -> usize {
        self.file.row_groups()
    }

    pub(crate) fn parts(&mut self) -> &mut PartBuffer {
        self.file.parts_mut()
    }

    /// The memory in use, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.file.parts().buffered_bytes() + self.file.kept_bytes()
    }

    /// The size of the file so far, in bytes.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Appends bytes of [`SpliceSource::ranges`], in order.
    ///
    /// # Errors
    /// None in practice: the file is a buffer.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let pushed = self.file.writer().write_all(bytes);
        pushed.map_err(|error| encode_error(error.into()))
    }

    /// Ends a row group whose bytes were all pushed.
    ///
    /// # Errors
    /// The file has too many row groups, or the footer of the source is damaged.
    pub(crate) fn end_row_group(&mut self, source: &SpliceSource, row_group: usize) -> Result<()> {
        let start = self.bytes_written() - source.bytes(row_group);
        let moved = move_row_group(source, row_group, start, self.file.row_groups());
        let (metadata, column_index, offset_index) = moved.map_err(encode_error)?;
        self.file
            .add_row_group(metadata, column_index, offset_index)
            .map_err(encode_error)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`ErrorKind::Query`]: the parquet crate can't write the footer.
    pub(crate) fn finish(mut self) -> Result<EncodedFile> {
        let footer = self.file.finish()?;
        let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
        let columns = match self.summarize_columns {
            true => summarize_columns(&footer, &self.schema, Origin::Other)?,
            false => Vec::new(),
        };
        Ok(EncodedFile {
            rows,
            parts: self.file.into_parts(),
            columns,
        })
    }
}

type MovedRowGroup = (
    RowGroupMetaData,
    Vec<Option<ColumnIndexMetaData>>,
    Vec<Option<OffsetIndexMetaData>>,
);

/// The metadata of a row group whose bytes begin at `start` of a file with `ordinal` row groups.
fn move_row_group(
    source: &SpliceSource,
    row_group: usize,
    start: u64,
    ordinal: usize,
) -> ParquetResult<MovedRowGroup> {
    let group = source.footer.row_group(row_group);
    let ranges = source.chunks(row_group).map(chunk_range);
    let chunk_bytes: u64 = ranges.map(|range| range.end - range.start).sum();
    let mut at = i64::try_from(start)?;
    let mut filter_at = i64::try_from(start + chunk_bytes)?;
    let mut columns = Vec::with_capacity(source.leaves.len());
    let mut column_index = Vec::with_capacity(source.leaves.len());
    let mut offset_index = Vec::with_capacity(source.leaves.len());
    for leaf in &source.leaves {
        let chunk = group.column(*leaf);
        let range = chunk_range(chunk);
        let by = at - i64::try_from(range.start)?;
        let filter = bloom_filter_range(chunk).map(|range| range.end - range.start);
        let filter = filter.map(i64::try_from).transpose()?;
        let moved = described(chunk)
            .set_data_page_offset(chunk.data_page_offset() + by)
            .set_dictionary_page_offset(chunk.dictionary_page_offset().map(|at| at + by))
            .set_bloom_filter_offset(filter.map(|_| filter_at))
            .set_bloom_filter_length(filter.map(i32::try_from).transpose()?);
        columns.push(moved.build()?);
        column_index.push(source.column_index(row_group, *leaf).cloned());
        let pages = source.offset_index(row_group, *leaf);
        offset_index.push(pages.map(|pages| shifted(pages, by)));
        at += i64::try_from(range.end - range.start)?;
        filter_at += filter.unwrap_or_default();
    }
    let plain_bytes = columns.iter().map(ColumnChunkMetaData::uncompressed_size);
    let metadata = RowGroupMetaData::builder(Arc::clone(&source.schema))
        .set_num_rows(group.num_rows())
        .set_total_byte_size(plain_bytes.sum())
        .set_ordinal(i16::try_from(ordinal)?)
        .set_file_offset(i64::try_from(start)?)
        .set_column_metadata(columns)
        .build()?;
    Ok((metadata, column_index, offset_index))
}

/// A chunk with everything that is said of `chunk` but where it is.
fn described(chunk: &ColumnChunkMetaData) -> ColumnChunkMetaDataBuilder {
    let mut described = ColumnChunkMetaData::builder(chunk.column_descr_ptr())
        .set_compression_codec(chunk.compression_codec())
        .set_encodings_mask(*chunk.encodings_mask())
        .set_total_compressed_size(chunk.compressed_size())
        .set_total_uncompressed_size(chunk.uncompressed_size())
        .set_num_values(chunk.num_values())
        .set_unencoded_byte_array_data_bytes(chunk.unencoded_byte_array_data_bytes())
        .set_repetition_level_histogram(chunk.repetition_level_histogram().cloned())
        .set_definition_level_histogram(chunk.definition_level_histogram().cloned());
    if let Some(statistics) = chunk.statistics() {
        described = described.set_statistics(statistics.clone());
    }
    if let Some(statistics) = chunk.geo_statistics() {
        described = described.set_geo_statistics(Box::new(statistics.clone()));
    }
    match chunk.page_encoding_stats() {
        Some(statistics) => described.set_page_encoding_stats(statistics.clone()),
        None => described,
    }
}

fn shifted(pages: &OffsetIndexMetaData, by: i64) -> OffsetIndexMetaData {
    let mut moved = pages.clone();
    for page in &mut moved.page_locations {
        page.offset += by;
    }
    moved
}
