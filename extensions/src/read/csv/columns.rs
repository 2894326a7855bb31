//! Collects records into batches.
//!
//! Invariant: the error for a text that is not a value of its column's type names the file, the
//! line and the column.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::error::ArrowError;

use super::exact::find_inexact;
use super::records::Record;
use super::values::{BadValue, values_of};
use crate::error::{Error, ErrorKind, Result};
use crate::read::passed_over::PassedOver;

/// A batch ends after this many bytes of text, regardless of its rows, to bound its memory.
const BATCH_BYTES: usize = 8 << 20;

/// How records of a file map to the columns of a batch.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The indexes of the wanted columns in the file; `None` for a column that is NULL because the
    /// file does not have it.
    pub(super) projection: Vec<Option<usize>>,
    /// The wanted columns.
    pub(super) schema: SchemaRef,
    /// How many columns the file has.
    pub(super) file_columns: usize,
    /// The text that is NULL unless it is quoted.
    pub(super) null: String,
    /// Whether values may be missing at the end of a record; they are NULL.
    pub(super) may_be_short: bool,
    /// Whether the types were guessed from the first records.
    pub(super) is_guessed: bool,
    /// Whether the file may lack columns of the table.
    pub(super) may_lack_columns: bool,
    /// Takes the records that can't be read; without it they are errors.
    pub(super) passed_over: Option<Arc<PassedOver>>,
}

impl Layout {
    /// The layout of a file with a header. `names` are the names in it, `columns` all columns of the
    /// table. A header without any of the table's names renames nothing: its columns are the table's
    /// in order.
    ///
    /// # Errors
    /// [`ErrorKind::Query`] if the header has columns that the table does not have, or lacks some
    /// that it may not lack.
    pub(super) fn by_names(self, names: &[String], columns: &[String], file: &str) -> Result<Self> {
        let exact = |column: &String| names.iter().position(|name| name == column);
        let mut places: Vec<Option<usize>> = columns.iter().map(exact).collect();
        for (at, column) in columns.iter().enumerate() {
            if places[at].is_none() {
                // A name in another case, unless it is another column's.
                let mut others = names.iter().enumerate();
                let similar = others.find(|(place, name)| {
                    name.eq_ignore_ascii_case(column) && !places.contains(&Some(*place))
                });
                places[at] = similar.map(|(place, _)| place);
            }
        }
        let known = places.iter().flatten().count();
        let has_all = known == columns.len() || self.may_lack_columns && known > 0;
        match has_all && known == names.len() {
            true => {
                let place = |column: &Option<usize>| column.and_then(|column| places[column]);
                Ok(Self {
                    projection: self.projection.iter().map(place).collect(),
                    file_columns: names.len(),
                    ..self
                })
            }
            false if known == 0 && names.len() == columns.len() => Ok(self),
            false => {
                let (names, columns) = (names.join(", "), columns.join(", "));
                let why = format!("{file} has the columns {names}, but {columns} are expected");
                let hint = "name their columns alike, or add union_by_name => true";
                Err(Error::new(ErrorKind::Query, why).with_hint(hint))
            }
        }
    }
}

/// Collects records until they are a batch.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    layout: Layout,
    /// For errors.
    file: String,
    /// For each column of the file, its index in `columns`; `None` if the column is not wanted.
    slots: Vec<Option<usize>>,
    columns: Vec<Texts>,
    /// The line of each record.
    lines: Vec<u64>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    is_valid: Vec<bool>,
}

impl BatchBuilder {
    pub(super) fn new(layout: Layout, file: String) -> Self {
        let mut slots = vec![None; layout.file_columns];
        for (slot, column) in layout.projection.iter().enumerate() {
            if let Some(column) = column {
                slots[*column] = Some(slot);
            }
        }
        let columns = layout.projection.iter().map(|_| Texts::default()).collect();
        Self {
            layout,
            file,
            slots,
            columns,
            lines: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn is_full(&self, rows: usize) -> bool {
        self.lines.len() >= rows || self.bytes >= BATCH_BYTES
    }

    /// Whether to skip the record. An empty line is a value in a file with a single column, and is
    /// not a record in other files.
    pub(super) fn skips(&self, record: &Record) -> bool {
        record.is_empty_line() && self.slots.len() != 1
    }

    /// # Errors
    /// [`ErrorKind::Query`] if it has more or fewer values than the file has columns.
    pub(super) fn check_width(&self, record: &Record) -> Result<()> {
        let (expected, found) = (self.slots.len(), record.len());
        if found > expected || (found < expected && !self.layout.may_be_short) {
            let why = format!("{expected} values expected, but {found} found");
            return Err(self.error_at(record.line, &why));
        }
        Ok(())
    }

    /// Adds a record, or passes over it.
    ///
    /// # Errors
    /// As [`Self::check_width`], and for a value of 2 GiB.
    pub(super) fn push(&mut self, record: &Record) -> Result<()> {
        match (self.check_width(record), &self.layout.passed_over) {
            (Ok(()), _) => {}
            (Err(error), Some(passed_over)) => {
                passed_over.add(&error);
                return Ok(());
            }
            (Err(error), None) => return Err(error),
        }
        let null = self.layout.null.as_bytes();
        for ((value, quoted), slot) in record.values().zip(&self.slots) {
            let Some(slot) = *slot else { continue };
            let column = &mut self.columns[slot];
            let is_valid = quoted || value != null;
            if is_valid {
                column.bytes.extend_from_slice(value);
                self.bytes += value.len();
            }
            column.is_valid.push(is_valid);
        }
        let rows = self.lines.len() + 1;
        for column in &mut self.columns {
            // Values that are missing at the end of the record are NULL.
            column.is_valid.resize(rows, false);
            let end = i32::try_from(column.bytes.len());
            let Ok(end) = end else {
                return Err(self.error_at(record.line, "a value of more than 2 GiB"));
            };
            column.ends.push(end);
        }
        self.lines.push(record.line);
        Ok(())
    }

    /// Builds a batch from the records since the last batch, except for those that are passed over.
    ///
    /// # Errors
    /// [`ErrorKind::Query`] for a text that is not UTF-8 or not a value of its column's type.
    pub(super) fn finish(&mut self) -> Result<RecordBatch> {
        let lines = std::mem::take(&mut self.lines);
        let columns = std::mem::take(&mut self.columns);
        self.columns = columns.iter().map(Texts::of_the_size_of).collect();
        self.bytes = 0;
        let Some(passed_over) = &self.layout.passed_over else {
            return self.build(columns, &lines);
        };
        let batches = passed_over.build(0..lines.len(), &|records| {
            let slices = columns.iter().map(|texts| texts.slice(&records));
            self.build(slices.collect(), &lines[records.clone()])
        });
        concat_batches(&self.layout.schema, &batches).map_err(|error| self.does_not_fit(error))
    }

    fn build(&self, columns: Vec<Texts>, lines: &[u64]) -> Result<RecordBatch> {
        let schema = SchemaRef::clone(&self.layout.schema);
        let fields = schema.fields().iter();
        let arrays = fields.zip(columns).map(|(field, texts)| {
            let texts = texts.finish().map_err(|row| {
                let why = format!("column {} is not UTF-8", field.name());
                self.error_at(lines[row], &why)
            })?;
            self.read_column(field, &texts, lines)
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(lines.len()));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options);
        batch.map_err(|error| self.does_not_fit(error))
    }

    fn does_not_fit(&self, error: ArrowError) -> Error {
        let why = format!("{} does not fit its table", self.file);
        Error::new(ErrorKind::Query, why).with_source(error)
    }

    fn read_column(
        &self,
        field: &FieldRef,
        texts: &StringArray,
        lines: &[u64],
    ) -> Result<ArrayRef> {
        let values = values_of(texts, field.data_type());
        let values = values.and_then(|values| {
            let inexact = match self.layout.is_guessed {
                true => find_inexact(texts, field.data_type()),
                false => None,
            };
            inexact.map_or(Ok(values), |row| Err(BadValue::Row(row)))
        });
        values.map_err(|bad| match bad {
            BadValue::Row(row) => {
                let (text, data_type) = (shorten(texts.value(row)), field.data_type());
                let why = format!("column {}: '{text}' is no {data_type}", field.name());
                let error = self.error_at(lines[row], &why);
                match self.layout.is_guessed {
                    true => error.with_hint(
                        "the type was guessed from the first records; sample_size => -1 looks at all \
                         of them, and all_varchar => true, columns => {…} or the columns of CREATE \
                         EXTERNAL TABLE read the texts",
                    ),
                    false => {
                        error.with_hint("declare the column as text, and cast it in the query")
                    }
                }
            }
            BadValue::Arrow(error) => {
                let why = format!("column {} of {} can't be read", field.name(), self.file);
                Error::new(ErrorKind::Query, why).with_source(error)
            }
        })
    }

    fn error_at(&self, line: u64, why: &str) -> Error {
        Error::new(
            ErrorKind::Query,
            format!("{}, line {line}: {why}", self.file),
        )
    }
}

impl Texts {
    /// Empty, with room for as much as `other` held.
    fn of_the_size_of(other: &Self) -> Self {
        Self {
            bytes: Vec::with_capacity(other.bytes.len()),
            ends: Vec::with_capacity(other.ends.len()),
            is_valid: Vec::with_capacity(other.is_valid.len()),
        }
    }

    fn slice(&self, rows: &Range<usize>) -> Self {
        let start_of = |row: usize| match row.checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        let (start, end) = (start_of(rows.start), start_of(rows.end));
        let at = |offset: i32| usize::try_from(offset).unwrap_or_default();
        let ends = self.ends[rows.clone()].iter().map(|end| end - start);
        Self {
            bytes: self.bytes[at(start)..at(end)].to_vec(),
            ends: ends.collect(),
            is_valid: self.is_valid[rows.clone()].to_vec(),
        }
    }

    /// The error is the row whose text is not UTF-8.
    fn finish(self) -> std::result::Result<StringArray, usize> {
        let bytes = match String::from_utf8(self.bytes) {
            Ok(text) => text.into_bytes(),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let row = |end: &i32| usize::try_from(*end).is_ok_and(|end| end <= at);
                return Err(self.ends.partition_point(row).min(self.ends.len() - 1));
            }
        };
        let rows = self.ends.len();
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        offsets.extend(self.ends);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let nulls = NullBuffer::from(self.is_valid);
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        // The whole is UTF-8, but a value might begin in the middle of a character.
        StringArray::try_new(offsets, bytes.into(), nulls).map_err(|_| rows - 1)
    }
}

/// Shortens a long value for an error message.
fn shorten(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
