//! Infers the columns of Parquet files.
//!
//! Invariant: every column of every file is a column of the schema, with a type that holds its values.
//! Files that can't be read so are refused by name.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::{
    Int96Coercer, transform_binary_to_string, transform_schema_to_view,
};
use datafusion::error::Result;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::ConvertedType;
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescPtr;

use super::footers::Footers;
use crate::error::{Error, ErrorKind};
use crate::format::{Misfit, merge_schemas};

/// What a field's metadata says of its extension type:
/// <https://arrow.apache.org/docs/format/Columnar.html#extension-types>
const EXTENSION_KEYS: [&str; 2] = ["ARROW:extension:name", "ARROW:extension:metadata"];

/// The schema of all files together, whose columns stand in the order of the files' names.
///
/// # Errors
/// The store's; [`ErrorKind::Query`] if a file is not Parquet or does not fit the others, and
/// [`ErrorKind::Unsupported`] for columns that can't be told apart.
pub(super) async fn infer_schema(
    format: &ParquetFormat,
    footers: &Footers<'_>,
    objects: &[ObjectMeta],
    concurrency: usize,
) -> Result<SchemaRef> {
    let fetch = |object: &ObjectMeta| {
        let object = object.clone();
        async move {
            let footer = footers.fetch(&object).await?;
            let schema = schema_of(format, &footer, &object)?;
            Ok::<_, datafusion::error::DataFusionError>((object.location, schema))
        }
    };
    // Collected, because a future that borrows an iterator is not `Send`.
    let fetches: Vec<_> = objects.iter().map(fetch).collect();
    let mut schemas: Vec<_> = futures::stream::iter(fetches)
        .buffer_unordered(concurrency)
        .try_collect()
        .await?;
    schemas.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut merged: Option<Schema> = None;
    for (file, schema) in schemas {
        merged = Some(match merged {
            None => schema,
            Some(before) => merge_schemas(&before, &schema).map_err(|misfit| {
                let Misfit {
                    column,
                    before,
                    now,
                } = misfit;
                let why = format!(
                    "the column {column} of {file} is {now}, and {before} in the files before it"
                );
                Error::new(ErrorKind::Query, why)
                    .with_hint("read the files one by one, and cast the column")
            })?,
        });
    }
    let mut schema = merged.unwrap_or_else(Schema::empty);
    if format.binary_as_string() {
        schema = transform_binary_to_string(&schema);
    }
    if format.force_view_types() {
        schema = transform_schema_to_view(&schema);
    }
    Ok(Arc::new(schema))
}

fn schema_of(
    format: &ParquetFormat,
    footer: &ParquetMetaData,
    object: &ObjectMeta,
) -> Result<Schema> {
    let file = footer.file_metadata();
    let columns = file.schema_descr();
    refuse_intervals(footer, object)?;
    let schema = parquet_to_arrow_schema(columns, file.key_value_metadata()).map_err(|error| {
        let why = format!("the columns of {} have no Arrow types", object.location);
        Error::new(ErrorKind::Query, why).with_source(error)
    })?;
    let unit = match format.coerce_int96().as_deref() {
        Some("ns") => TimeUnit::Nanosecond,
        Some("ms") => TimeUnit::Millisecond,
        Some("s") => TimeUnit::Second,
        _ => TimeUnit::Microsecond,
    };
    let zone = format.options().global.coerce_int96_tz.as_deref();
    let coerced = Int96Coercer::new(columns, &schema, &unit)
        .with_timezone(zone.map(Arc::from))
        .coerce();
    let schema = coerced.unwrap_or(schema);
    let mut names = BTreeSet::new();
    for field in schema.fields() {
        if !names.insert(field.name()) {
            let why = format!(
                "{} has two columns named \"{}\", which can't be told apart",
                object.location,
                field.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, why).into());
        }
    }
    let fields = schema.fields().iter().map(with_extension_type);
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// Refuses intervals of other programs than Arrow: they have months, days and milliseconds, of which
/// the parquet crate reads only the last two. Remove this once it reads all three
/// (`intervals_are_refused` in `tests/it/wrong_rows.rs` then fails).
fn refuse_intervals(footer: &ParquetMetaData, object: &ObjectMeta) -> Result<()> {
    const ARROW_SCHEMA: &str = "ARROW:schema";
    let file = footer.file_metadata();
    let mut notes = file.key_value_metadata().into_iter().flatten();
    if notes.any(|note| note.key == ARROW_SCHEMA) {
        return Ok(());
    }
    let columns = file.schema_descr().columns();
    let is_interval = |column: &&ColumnDescPtr| column.converted_type() == ConvertedType::INTERVAL;
    let Some(column) = columns.iter().find(is_interval) else {
        return Ok(());
    };
    let why = format!(
        "the column {} of {} holds intervals of months, days and milliseconds, which Tidegate does \
         not read",
        column.path(),
        object.location
    );
    let hint = "write the column as text, or its parts as integers";
    Err(Error::new(ErrorKind::Unsupported, why)
        .with_hint(hint)
        .into())
}

/// A field without metadata, except for its extension type (a UUID, for example): the rest, such as
/// a writer's notes, differs between files that fit each other.
fn with_extension_type(field: &FieldRef) -> FieldRef {
    let kept = EXTENSION_KEYS.into_iter().filter_map(|key| {
        let value = field.metadata().get(key)?;
        Some((key.to_owned(), value.clone()))
    });
    let kept: HashMap<String, String> = kept.collect();
    Arc::new(Field::clone(field).with_metadata(kept))
}
