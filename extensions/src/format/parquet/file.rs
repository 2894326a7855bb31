//! A file that is being written: its row groups one after another, then its footer.
//!
//! Invariant: the footer contains the metadata of every row group as its writer returned it on
//! close.
//!
//! Until the footer is written, this metadata is kept serialized in Thrift, one row group after
//! another. As Rust values it would take four times the memory, in small allocations that fragment
//! the memory that encoders free. When memory is short, a file has hundreds of small row groups.
//!
//! The layout: <https://parquet.apache.org/docs/file-format/>

use std::io::{self, Write};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{
    FileMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataOptions,
    ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};

use super::encode_error;
use crate::error::Result;
use crate::format::{PartBuffer, PartPool};

const MAGIC: &[u8; 4] = b"PAR1";

/// A file has no more row groups than this: the format counts them in 16 bits.
pub(crate) const MOST_ROW_GROUPS: usize = i16::MAX as usize;

pub(super) struct ParquetFile {
    out: TrackedWrite<PartBuffer>,
    schema: SchemaDescPtr,
    properties: WriterPropertiesPtr,
    /// The version of the format in the footer.
    version: i32,
    row_groups: KeptRowGroups,
}

/// Metadata of row groups, each serialized as a file without data.
#[derive(Default)]
struct KeptRowGroups {
    files: Vec<u8>,
    /// The end of each file in `files`.
    ends: Vec<usize>,
}

impl ParquetFile {
    /// Starts a file for rows of `schema`. Also returns the factory for the parquet crate's own
    /// column writers.
    ///
    /// # Errors
    /// The schema has a type that Parquet can't store.
    pub(super) fn start(
        schema: SchemaRef,
        properties: WriterProperties,
        parts: PartBuffer,
    ) -> Result<(Self, ArrowRowGroupWriterFactory)> {
        let (file, column_writers) = ArrowWriter::try_new(io::sink(), schema, Some(properties))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(encode_error)?;
        let root = file.schema_descr().root_schema_ptr();
        let mut out = TrackedWrite::new(parts);
        out.write_all(MAGIC)
            .map_err(|error| encode_error(error.into()))?;
        let file = Self {
            out,
            schema: Arc::new(SchemaDescriptor::new(root)),
            version: file.properties().writer_version().as_num(),
            properties: Arc::clone(file.properties()),
            row_groups: KeptRowGroups::default(),
        };
        Ok((file, column_writers))
    }

    /// The same file, without row groups yet, with the columns of another file and its version of the
    /// format.
    pub(super) fn with_columns_of(self, schema: SchemaDescPtr, version: i32) -> Self {
        Self {
            schema,
            version,
            ..self
        }
    }

    pub(super) fn schema(&self) -> &SchemaDescriptor {
        &self.schema
    }

    /// How many row groups have been written.
    pub(super) fn row_groups(&self) -> usize {
        self.row_groups.ends.len()
    }

    pub(super) fn bytes_written(&self) -> usize {
        self.out.bytes_written()
    }

    pub(super) fn parts(&self) -> &PartBuffer {
        self.out.inner()
    }

    pub(super) fn parts_mut(&mut self) -> &mut PartBuffer {
        self.out.inner_mut()
    }

    /// The parts of a finished file that were not taken.
    pub(super) fn into_parts(mut self) -> PartBuffer {
        std::mem::replace(self.out.inner_mut(), PartBuffer::new(PartPool::new(1)))
    }

    /// The memory for the metadata of row groups, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.row_groups.files.len()
    }

    /// Starts a row group. The caller must close it.
    ///
    /// # Errors
    /// The file already has the maximum number of row groups.
    pub(super) fn next_row_group(&mut self) -> Result<SerializedRowGroupWriter<'_, PartBuffer>> {
        let ordinal = i16::try_from(self.row_groups()).map_err(|error| {
            encode_error(ParquetError::General(format!(
                "a file has at most {MOST_ROW_GROUPS} row groups: {error}"
            )))
        })?;
        let (kept, schema) = (&mut self.row_groups, &self.schema);
        Ok(SerializedRowGroupWriter::new(
            Arc::clone(schema),
            Arc::clone(&self.properties),
            &mut self.out,
            ordinal,
            Some(Box::new(
                move |_, row_group, _, column_index, offset_index| {
                    kept.push(schema, row_group, column_index, offset_index)
                },
            )),
        ))
    }

    /// Takes bytes of a row group that [`Self::add_row_group`] ends.
    pub(super) fn writer(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Adds a row group whose bytes have been written.
    ///
    /// # Errors
    /// The parquet crate can't write its metadata.
    pub(super) fn add_row_group(
        &mut self,
        row_group: RowGroupMetaData,
        column_index: Vec<Option<ColumnIndexMetaData>>,
        offset_index: Vec<Option<OffsetIndexMetaData>>,
    ) -> ParquetResult<()> {
        self.row_groups
            .push(&self.schema, row_group, column_index, offset_index)
    }

    /// Writes and returns the footer.
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::error::ErrorKind::Query): the parquet crate can't write it.
    pub(super) fn finish(&mut self) -> Result<ParquetMetaData> {
        self.write_footer().map_err(encode_error)
    }

    fn write_footer(&mut self) -> ParquetResult<ParquetMetaData> {
        let kept = std::mem::take(&mut self.row_groups);
        let (mut row_groups, mut columns, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for file in kept.into_files() {
            let mut kept = read_kept(&file)?.into_builder();
            for row_group in kept.take_row_groups() {
                row_groups.push(with_old_extremes(row_group)?);
            }
            // A row group without an index (only NaN, for example) gets an empty entry, so that the
            // entries of the other row groups keep their positions.
            let none = || vec![ColumnIndexMetaData::NONE; self.schema.num_columns()];
            let index = kept.take_column_index().and_then(|mut index| index.pop());
            columns.push(index.unwrap_or_else(none));
            offsets.extend(kept.take_offset_index().into_iter().flatten());
        }
        let rows = row_groups.iter().map(RowGroupMetaData::num_rows).sum();
        let file = FileMetaData::new(
            self.version,
            rows,
            Some(self.properties.created_by().to_owned()),
            self.properties.key_value_metadata().cloned(),
            Arc::clone(&self.schema),
            None,
        );
        let footer = ParquetMetaDataBuilder::new(file)
            .set_row_groups(row_groups)
            .set_column_index(Some(columns))
            .set_offset_index((!offsets.is_empty()).then_some(offsets))
            .build();
        self.out.flush()?;
        let written = self.out.bytes_written();
        let out = Continued::new(self.out.inner_mut(), written)?;
        ParquetMetaDataWriter::new_with_tracked(out, &footer).finish()?;
        Ok(footer)
    }
}

impl KeptRowGroups {
    fn push(
        &mut self,
        schema: &SchemaDescPtr,
        row_group: RowGroupMetaData,
        column_index: Vec<Option<ColumnIndexMetaData>>,
        offset_index: Vec<Option<OffsetIndexMetaData>>,
    ) -> ParquetResult<()> {
        let file = FileMetaData::new(
            1,
            row_group.num_rows(),
            None,
            None,
            Arc::clone(schema),
            None,
        );
        let column_index = column_index.into_iter();
        let column_index = column_index.map(|index| index.unwrap_or(ColumnIndexMetaData::NONE));
        let offset_index: Option<Vec<_>> = offset_index.into_iter().collect();
        let kept = ParquetMetaDataBuilder::new(file)
            .add_row_group(row_group)
            .set_column_index(Some(vec![column_index.collect()]))
            .set_offset_index(offset_index.map(|columns| vec![columns]))
            .build();
        ParquetMetaDataWriter::new(&mut self.files, &kept).finish()?;
        self.ends.push(self.files.len());
        Ok(())
    }

    fn into_files(self) -> impl Iterator<Item = Bytes> {
        let mut files = Bytes::from(self.files);
        let mut start = 0;
        self.ends.into_iter().map(move |end| {
            let file = files.split_to(end - start);
            start = end;
            file
        })
    }
}

fn read_kept(file: &Bytes) -> ParquetResult<ParquetMetaData> {
    let all = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .with_metadata_options(Some(all))
        .parse_and_finish(file)
}

/// Also writes minimum and maximum to the fields that readers used before 2018, if the column has
/// signed order:
/// <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>,
/// `Statistics`. Statistics that were serialized and read back no longer have the flag for this.
fn with_old_extremes(row_group: RowGroupMetaData) -> ParquetResult<RowGroupMetaData> {
    macro_rules! with_old {
        ($statistics:expr, $signed:expr, [$($kind:ident),*]) => {
            match $statistics {
                $(Statistics::$kind(values) => {
                    Statistics::$kind(values.with_backwards_compatible_min_max($signed))
                })*
            }
        };
    }
    let mut row_group = row_group.into_builder();
    let columns = row_group.take_columns().into_iter().map(|column| {
        let signed = column.column_descr().sort_order().is_signed();
        let Some(statistics) = column.statistics().cloned() else {
            return Ok(column);
        };
        let statistics = with_old!(
            statistics,
            signed,
            [
                Boolean,
                Int32,
                Int64,
                Int96,
                Float,
                Double,
                ByteArray,
                FixedLenByteArray
            ]
        );
        column.into_builder().set_statistics(statistics).build()
    });
    let columns = columns.collect::<ParquetResult<_>>()?;
    row_group.set_column_metadata(columns).build()
}

/// Appends to a file that already has bytes. The parquet crate's footer contains file offsets,
/// which it counts from the first byte of the writer that it gets. The existing bytes are therefore
/// counted first, without being written again.
struct Continued<'a, W> {
    file: &'a mut W,
    /// Existing bytes that are not counted yet. Until this is 0, writes are only counted.
    uncounted: usize,
}

impl<'a, W: Write> Continued<'a, W> {
    fn new(file: &'a mut W, written: usize) -> io::Result<TrackedWrite<Self>> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let uncounted = written;
        let mut out = TrackedWrite::new(Self { file, uncounted });
        let mut left = written;
        while left > 0 {
            let step = left.min(ZEROS.len());
            out.write_all(&ZEROS[..step])?;
            left -= step;
        }
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> Write for Continued<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.uncounted == 0 {
            return self.file.write(bytes);
        }
        let counted = bytes.len().min(self.uncounted);
        self.uncounted -= counted;
        Ok(counted)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::arrow_writer::compute_leaves;
    use parquet::file::properties::EnabledStatistics;

    use super::*;
    use crate::format::PartPool;

    fn batch(first: i64) -> RecordBatch {
        let numbers = Int64Array::from_iter((first..first + 100).map(|n| (n % 7 > 0).then_some(n)));
        let texts = StringArray::from_iter_values((first..first + 100).map(|n| format!("<{n}>")));
        // Pages with only NaN have no minimum, so their chunk has no index.
        let share = |n: i64| if first == 100 { f64::NAN } else { n as f64 };
        let shares = Float64Array::from_iter_values((first..first + 100).map(share));
        RecordBatch::try_from_iter([
            ("number", Arc::new(numbers) as _),
            ("text", Arc::new(texts) as _),
            ("share", Arc::new(shares) as _),
        ])
        .unwrap()
    }

    fn properties(statistics: EnabledStatistics) -> WriterProperties {
        WriterProperties::builder()
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(statistics != EnabledStatistics::Page)
            .set_data_page_row_count_limit(30)
            .set_write_batch_size(10)
            .build()
    }

    /// The file as the parquet crate alone writes it.
    fn write_with_crate(batches: &[RecordBatch], properties: WriterProperties) -> Vec<u8> {
        let schema = batches[0].schema();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
            writer.flush().unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn write_here(batches: &[RecordBatch], properties: WriterProperties) -> Vec<u8> {
        let schema = batches[0].schema();
        let parts = PartBuffer::new(PartPool::new(1000));
        let (mut file, columns) =
            ParquetFile::start(Arc::clone(&schema), properties, parts).unwrap();
        for (number, batch) in batches.iter().enumerate() {
            let writers = columns.create_column_writers(number).unwrap();
            let mut row_group = file.next_row_group().unwrap();
            let columns = schema.fields().iter().zip(batch.columns());
            for (mut writer, (field, array)) in writers.into_iter().zip(columns) {
                for leaf in compute_leaves(field, array).unwrap() {
                    writer.write(&leaf).unwrap();
                }
                let chunk = writer.close().unwrap();
                chunk.append_to_row_group(&mut row_group).unwrap();
            }
            row_group.close().unwrap();
        }
        file.finish().unwrap();
        std::iter::from_fn(|| file.parts_mut().take_any())
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn a_file_is_what_the_parquet_crate_writes() {
        for (row_groups, columns) in [(1, &[0, 1, 2][..]), (40, &[0, 1, 2]), (3, &[2])] {
            let batches = (0..row_groups).map(|n| batch(n * 100).project(columns).unwrap());
            let batches: Vec<_> = batches.collect();
            for statistics in [EnabledStatistics::Page, EnabledStatistics::Chunk] {
                let expected = write_with_crate(&batches, properties(statistics));
                let written = write_here(&batches, properties(statistics));
                let [expected, written] = [expected, written].map(Bytes::from);
                assert_eq!(read_kept(&written).unwrap(), read_kept(&expected).unwrap());
                assert!(written == expected, "their bytes differ");
            }
        }
    }
}
