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
use super::exact::find_inexact;
use super::records::Record;
use super::stream::{BatchReader, read_first};
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
    let mut names: Option<Vec<String>> = None;
    let mut samples: Vec<RecordBatch> = Vec::new();
    let mut wanted = settings.inferred_records;
    for object in objects {
        let file = object.location.to_string();
        let (mut records, has_header) = settings.open(store, &object.location).await?;
        let Some(first) = read_first(&mut records).await? else {
            continue;
        };
        let (found, first) = match has_header {
            true => (first.texts(), None),
            false => (number_columns(&first), Some(first)),
        };
        let names = names.get_or_insert_with(|| found.clone());
        let layout = text_layout(settings, names).by_names(&found, names, &file)?;
        let mut builder = BatchBuilder::new(layout, file);
        if let Some(record) = first.filter(|_| wanted > 0) {
            builder.push(&record)?;
        }
        let mut reader = BatchReader {
            records,
            builder,
            batch_rows: wanted,
        };
        if wanted > 0
            && let Some(batch) = reader.next().await?
        {
            wanted -= batch.num_rows().min(wanted);
            samples.push(batch);
        }
        if wanted == 0 {
            break;
        }
    }
    let names = names.unwrap_or_default();
    let types = guess_types(&names, &samples)?;
    let fields = names.iter().enumerate().zip(types);
    let fields = fields.map(|((column, name), guess)| {
        // Without samples, every column is text.
        let is_guess = guess != DataType::Null;
        let data_type = match is_guess && samples.iter().all(|batch| fits(batch, column, &guess)) {
            true => guess,
            false => DataType::Utf8,
        };
        Field::new(name, data_type, true)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
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
        projection: (0..names.len()).collect(),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        file_columns: names.len(),
        null: settings.null.clone(),
        may_be_short: settings.may_be_short,
        is_guessed: false,
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
    for data_type in &mut types {
        // Arrow's unit fits the finest sampled value; later values may be finer.
        if let DataType::Timestamp(unit @ (TimeUnit::Second | TimeUnit::Millisecond), _) = data_type
        {
            *unit = TimeUnit::Microsecond;
        }
    }
    Ok(types)
}

/// Whether the column's values are of the type. A column without values fits no type, so it becomes
/// text.
fn fits(batch: &RecordBatch, column: usize, data_type: &DataType) -> bool {
    let texts = batch.column(column).as_string();
    values_of(texts, data_type).is_ok() && find_inexact(texts, data_type).is_none()
}
