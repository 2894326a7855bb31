//! Infers the columns of files if they are not declared.
//!
//! Invariant: every sampled value of a column is a value of the inferred type; the fallback is
//! text.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use object_store::{ObjectMeta, ObjectStore};

use super::CsvSettings;
use super::columns::{BatchBuilder, Layout};
use super::exact::{find_inexact, is_flag};
use super::records::Record;
use super::stream::{BatchReader, RecordStream, read_first};
use super::values::values_of;
use crate::error::{Error, ErrorKind, Result};

/// Infers the columns from the first records of the files.
///
/// # Errors
/// The store's; [`ErrorKind::Query`] if files have different columns, or if a record has too many
/// or too few values.
pub(super) async fn infer_schema(
    settings: &CsvSettings,
    store: &dyn ObjectStore,
    objects: &[ObjectMeta],
) -> Result<Schema> {
    let sample = Sample {
        settings,
        store,
        objects,
    };
    // All records may not fit in memory. Then they are read twice.
    let is_whole = settings.inferred_records == usize::MAX;
    let mut guesses: Vec<DataType> = Vec::new();
    let mut samples: Vec<RecordBatch> = Vec::new();
    let names = match settings.is_union {
        true => Some(sample.all_names().await?),
        false => None,
    };
    let names = sample
        .for_each(names, |names, batch| {
            match is_whole {
                true => merge_types(&mut guesses, &guess_types(names, &[batch])?),
                false => samples.push(batch),
            }
            Ok(())
        })
        .await?;
    if !is_whole {
        guesses = guess_types(&names, &samples)?;
    }
    guesses.resize(names.len(), DataType::Null);
    let mut are_fit = vec![true; names.len()];
    let mut check = |batch: &RecordBatch| {
        for (column, guess) in guesses.iter().enumerate() {
            are_fit[column] &= fits(batch, column, guess);
        }
    };
    match is_whole {
        true => {
            let checked = sample.for_each(Some(names.clone()), |_, batch| {
                check(&batch);
                Ok(())
            });
            checked.await?;
        }
        false => samples.iter().for_each(check),
    }
    let fields = names.iter().zip(guesses).zip(are_fit);
    let fields = fields.map(|((name, guess), is_fit)| {
        // Without samples, every column is text.
        let data_type = match is_fit && guess != DataType::Null {
            true => guess,
            false => DataType::Utf8,
        };
        Field::new(name, data_type, true)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The first records of files.
struct Sample<'a> {
    settings: &'a CsvSettings,
    store: &'a dyn ObjectStore,
    objects: &'a [ObjectMeta],
}

impl Sample<'_> {
    /// Opens a file; `None` if it is empty.
    async fn open(&self, object: &ObjectMeta) -> Result<Option<Opened>> {
        let (mut records, has_header) = self.settings.open(self.store, &object.location).await?;
        // The scan counts them.
        records.pass_over(self.settings.ignores_errors.then(Arc::default));
        let first = read_first(&mut records).await?;
        Ok(first.map(|first| match has_header {
            true => Opened {
                names: first.texts(),
                first: None,
                records,
            },
            false => Opened {
                names: number_columns(&first),
                first: Some(first),
                records,
            },
        }))
    }

    /// The names of the columns of all files, in the order in which they first appear.
    async fn all_names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for object in self.objects {
            let opened = self.open(object).await?;
            for name in opened.into_iter().flat_map(|opened| opened.names) {
                if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// Calls `take` with the names of the columns and the records as texts, batch by batch. Returns
    /// the names; without `names`, they are those of the first file.
    async fn for_each(
        &self,
        mut names: Option<Vec<String>>,
        mut take: impl FnMut(&[String], RecordBatch) -> Result<()>,
    ) -> Result<Vec<String>> {
        let mut wanted = self.settings.inferred_records;
        for object in self.objects {
            let Some(opened) = self.open(object).await? else {
                continue;
            };
            let file = object.location.to_string();
            let names = names.get_or_insert_with(|| opened.names.clone());
            let mut layout = text_layout(self.settings, names);
            match self.settings.is_union && opened.first.is_some() {
                // Without names, a file lacks the last columns.
                true => layout.may_be_short = true,
                false => layout = layout.by_names(&opened.names, names, &file)?,
            }
            let mut builder = BatchBuilder::new(layout, file);
            if let Some(record) = opened.first.filter(|_| wanted > 0) {
                builder.push(&record)?;
            }
            let mut reader = BatchReader {
                records: opened.records,
                builder,
                batch_rows: wanted,
            };
            while wanted > 0
                && let Some(batch) = reader.next().await?
            {
                wanted -= batch.num_rows().min(wanted);
                reader.batch_rows = wanted;
                take(names, batch)?;
            }
            if wanted == 0 {
                break;
            }
        }
        Ok(names.unwrap_or_default())
    }
}

/// A file that is being sampled.
struct Opened {
    /// The names of its columns.
    names: Vec<String>,
    /// Its first record, unless that is the header.
    first: Option<Record>,
    /// The further records.
    records: RecordStream,
}

/// Widens the types so that they hold the values of other types, too.
fn merge_types(types: &mut Vec<DataType>, others: &[DataType]) {
    types.resize(others.len(), DataType::Null);
    for (known, other) in types.iter_mut().zip(others) {
        *known = match (&*known, other) {
            (known, other) if known == other => continue,
            (DataType::Null, other) => other.clone(),
            (known, DataType::Null) => known.clone(),
            (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => {
                DataType::Float64
            }
            (DataType::Date32, DataType::Timestamp(unit, None))
            | (DataType::Timestamp(unit, None), DataType::Date32) => {
                DataType::Timestamp(*unit, None)
            }
            (DataType::Timestamp(unit, zone), DataType::Timestamp(other, other_zone))
                if zone == other_zone =>
            {
                DataType::Timestamp((*unit).max(*other), zone.clone())
            }
            _ => DataType::Utf8,
        };
    }
}

/// Names for the columns of a file without a header, as DataFusion gives them.
fn number_columns(record: &Record) -> Vec<String> {
    let numbers = 1..=record.len();
    numbers.map(|number| format!("column_{number}")).collect()
}

fn text_layout(settings: &CsvSettings, names: &[String]) -> Layout {
    let fields = names
        .iter()
        .map(|name| Field::new(name, DataType::Utf8, true));
    Layout {
        projection: (0..names.len()).map(Some).collect(),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        file_columns: names.len(),
        null: settings.null.clone(),
        may_be_short: settings.may_be_short,
        is_guessed: false,
        may_lack_columns: settings.is_union,
        // The scan counts them.
        passed_over: settings.ignores_errors.then(Arc::default),
    }
}

/// Returns the types that Arrow infers from a copy of the values as plain CSV.
fn guess_types(names: &[String], samples: &[RecordBatch]) -> Result<Vec<DataType>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Internal, "cannot copy the first records").with_source(source)
    };
    for batch in samples {
        let columns: Vec<&StringArray> = batch
            .columns()
            .iter()
            .map(|column| column.as_string())
            .collect();
        for row in 0..batch.num_rows() {
            let value = |column: &&StringArray| match column.is_null(row) {
                true => String::new(),
                false => column.value(row).to_owned(),
            };
            writer
                .write_record(columns.iter().map(value))
                .map_err(|error| failed(error.into()))?;
        }
    }
    let copy = writer
        .into_inner()
        .map_err(|error| failed(error.to_string().into()))?;
    let inferred = Format::default().infer_schema(copy.as_slice(), None);
    let (schema, _) = inferred.map_err(|error| failed(error.into()))?;
    let mut types: Vec<DataType> = schema
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    types.resize(names.len(), DataType::Null);
    for (column, data_type) in types.iter_mut().enumerate() {
        // Arrow does not know `t` and `f`.
        if *data_type == DataType::Utf8 && samples.iter().all(|batch| has_flags(batch, column)) {
            *data_type = DataType::Boolean;
        }
        // Arrow's unit fits the finest sampled value; later values may be finer.
        if let DataType::Timestamp(unit @ (TimeUnit::Second | TimeUnit::Millisecond), _) = data_type
        {
            *unit = TimeUnit::Microsecond;
        }
    }
    Ok(types)
}

/// Whether all values of a column are texts of booleans.
fn has_flags(batch: &RecordBatch, column: usize) -> bool {
    let texts = batch.column(column).as_string::<i32>();
    texts.iter().flatten().all(is_flag)
}

/// Whether the column's values are of the type. A column without values fits no type, so it becomes
/// text.
fn fits(batch: &RecordBatch, column: usize, data_type: &DataType) -> bool {
    let texts = batch.column(column).as_string();
    values_of(texts, data_type).is_ok() && find_inexact(texts, data_type).is_none()
}
