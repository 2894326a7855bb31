//! The partition columns of a batch.
//!
//! Invariant: partition values are compared as bytes of Arrow's row format, which are equal exactly
//! if the values are equal. A value is formatted as text only for the name of its folder.
//!
//! Folders are named as Hive and Spark name them, `column=value/`:
//! <https://github.com/apache/spark/blob/v4.0.0/sql/catalyst/src/main/scala/org/apache/spark/sql/catalyst/catalog/ExternalCatalogUtils.scala>

use std::ops::Range;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{partition, take_record_batch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};
use crate::sink::spec::{ExportSpec, Partition};

/// The group of a row whose value has no file of its own.
pub(super) const NO_GROUP: usize = usize::MAX;

/// The folder value of Hive and Spark for NULL.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The characters that Hive and Spark escape. Unicode stays unchanged.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'*')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'\\')
    .add(b'{')
    .add(b'[')
    .add(b']')
    .add(b'^');

/// Upper bound for a folder's name: file systems allow 255 bytes, and an S3 key has 1,024 in all:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const LONGEST_FOLDER_BYTES: usize = 255;

/// The file columns of the rows of each non-empty group, and all columns of the rows of no group.
type Divided = (Vec<(usize, RecordBatch)>, Option<RecordBatch>);

/// Divides batches by their partition columns.
#[derive(Debug)]
pub(in crate::sink::write) struct PartitionColumns {
    /// The escaped names of the partition columns, with their index in a batch.
    columns: Vec<(String, usize)>,
    file_columns: Vec<usize>,
    converter: RowConverter,
}

impl PartitionColumns {
    pub(in crate::sink::write) fn new(partition: &Partition, spec: &ExportSpec) -> Result<Self> {
        let field = |column: &usize| spec.input_schema.field(*column);
        let sort_fields = partition
            .columns
            .iter()
            .map(|column| SortField::new(field(column).data_type().clone()))
            .collect();
        Ok(Self {
            columns: partition
                .columns
                .iter()
                .map(|column| (escape(field(column).name()), *column))
                .collect(),
            file_columns: partition.file_columns.clone(),
            converter: RowConverter::new(sort_fields).map_err(broken)?,
        })
    }

    fn arrays(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        let column = |(_, column): &(String, usize)| ArrayRef::clone(batch.column(*column));
        self.columns.iter().map(column).collect()
    }

    /// The values of all rows, comparable and hashable.
    pub(super) fn values(&self, batch: &RecordBatch) -> Result<Rows> {
        self.converter
            .convert_columns(&self.arrays(batch))
            .map_err(broken)
    }

    /// The value of one row.
    pub(super) fn value(&self, batch: &RecordBatch, row: usize) -> Result<Box<[u8]>> {
        let values = self.values(&batch.slice(row, 1))?;
        Ok(values.row(0).as_ref().into())
    }

    /// The runs of rows that have the same value.
    pub(super) fn runs(&self, batch: &RecordBatch) -> Result<Vec<Range<usize>>> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        Ok(partition(&self.arrays(batch)).map_err(broken)?.ranges())
    }

    /// The columns that go into the files.
    pub(super) fn file_rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        batch.project(&self.file_columns).map_err(broken)
    }

    /// Groups rows. Returns the file columns of the rows of each non-empty group (of `count`
    /// groups), and all columns of the rows of no group.
    pub(super) fn divide(
        &self,
        batch: &RecordBatch,
        groups: &[usize],
        count: usize,
    ) -> Result<Divided> {
        // A stable counting sort; rows of no group are counted last.
        let slot = |group: &usize| (*group).min(count);
        let mut ends = vec![0usize; count + 1];
        for group in groups {
            ends[slot(group)] += 1;
        }
        if let Some(only) = ends.iter().position(|rows| *rows == groups.len()) {
            return Ok(if only == count {
                (Vec::new(), Some(batch.clone()))
            } else {
                (vec![(only, self.file_rows(batch)?)], None)
            });
        }
        let mut starts = Vec::with_capacity(count + 1);
        let mut start = 0;
        for rows in &ends {
            starts.push(start);
            start += rows;
        }
        let mut places = starts.clone();
        let mut order = vec![0u32; groups.len()];
        for (row, group) in groups.iter().enumerate() {
            let place = &mut places[slot(group)];
            order[*place] = row as u32;
            *place += 1;
        }
        let own_rows = starts[count];
        let rest = order.split_off(own_rows);
        let moved = self.file_rows(batch)?;
        let moved = take_record_batch(&moved, &UInt32Array::from(order)).map_err(broken)?;
        let own = (0..count)
            .filter(|group| ends[*group] > 0)
            .map(|group| (group, moved.slice(starts[group], ends[group])))
            .collect();
        let rest = if rest.is_empty() {
            None
        } else {
            Some(take_record_batch(batch, &UInt32Array::from(rest)).map_err(broken)?)
        };
        Ok((own, rest))
    }

    /// The folder of a row's value: `a=1/b=x/`.
    pub(super) fn folder(&self, batch: &RecordBatch, row: usize) -> Result<String> {
        let mut folder = String::new();
        for (name, column) in &self.columns {
            let value = folder_value(batch.column(*column), row)?;
            let level = format!("{name}={value}");
            if level.len() > LONGEST_FOLDER_BYTES {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "a value of partition column \"{}\" is too long for a folder's name: it \
                         takes {} bytes of at most {LONGEST_FOLDER_BYTES}",
                        batch.schema_ref().field(*column).name(),
                        level.len()
                    ),
                )
                .with_hint("partition by a shorter column, such as a hash of this one"));
            }
            folder.push_str(&level);
            folder.push('/');
        }
        Ok(folder)
    }
}

/// Whether a column of this type can name folders.
pub fn can_partition_by(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => can_partition_by(values),
        DataType::Null
        | DataType::Boolean
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        other => other.is_numeric(),
    }
}

fn folder_value(column: &ArrayRef, row: usize) -> Result<String> {
    // An array of type Null has no null bitmap.
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(NULL_PARTITION.to_owned());
    }
    let options = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
        .with_datetime_format(Some("%Y-%m-%d"));
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(broken)?;
    let text = formatter.value(row).try_to_string().map_err(broken)?;
    if text == NULL_PARTITION {
        // The text itself must not read back as NULL.
        return Ok(text.replacen('_', "%5F", 1));
    }
    Ok(escape(&text))
}

/// Percent-encodes the characters in [`ESCAPED`] and leaves Unicode unchanged.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (i, c) in text.char_indices() {
        let piece = &text[i..i + c.len_utf8()];
        if c.is_ascii() {
            escaped.extend(utf8_percent_encode(piece, ESCAPED));
        } else {
            escaped.push_str(piece);
        }
    }
    escaped
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("rows can't be partitioned: {error}"),
    )
    .with_source(error)
}
