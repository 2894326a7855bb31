//! JSON files as tables: objects one after the other, or in one array.
//!
//! Invariant: every value is read as its text says, every key has a column, and columns stand in the
//! order of the keys. A record that does not fit is an error.
//!
//! DataFusion's reader sorts the keys, cuts fractions off integers, rounds long numbers to doubles,
//! and passes over keys that it does not know. It does the writing for `INSERT INTO`.

mod guess;
mod records;
mod shape;
mod split;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::GetExt;
use datafusion::common::config::JsonOptions;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::{JsonFormat, JsonFormatFactory};
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionStateBuilder;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::open::open_file;
use super::replace_factory;
use super::text::{Batches, FileToRead, TextFiles, TextFormat, is_told, select};
use crate::error::{Error, ErrorKind, Result};
use guess::Guesser;
use records::{BatchReader, Decoder, RecordStream};
use shape::Shape;
use split::Record;

/// Makes the session read JSON files with this module.
pub(crate) fn with_json(builder: &mut SessionStateBuilder) {
    replace_factory::<JsonFormatFactory>(
        builder,
        Arc::new(JsonFactory {
            options: JsonFormatFactory::new(),
        }),
    );
}

/// Creates the format of JSON files from DataFusion's options for JSON.
#[derive(Debug)]
struct JsonFactory {
    options: JsonFormatFactory,
}

impl FileFormatFactory for JsonFactory {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> DataFusionResult<Arc<dyn FileFormat>> {
        let has_compression = is_told(options, "compression");
        let format = self.options.create(state, options)?;
        let writer = match format.downcast_ref::<JsonFormat>() {
            Some(format) => JsonFormat::default().with_options(format.options().clone()),
            None => JsonFormat::default(),
        };
        let settings = JsonSettings::new(writer.options(), has_compression);
        Ok(Arc::new(TextFiles::new(settings, writer)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        let writer = JsonFormat::default();
        let settings = JsonSettings::new(writer.options(), false);
        Arc::new(TextFiles::new(settings, writer))
    }
}

impl GetExt for JsonFactory {
    fn get_ext(&self) -> String {
        self.options.get_ext()
    }
}

/// Lets JSON files have records that can't be read: they are passed over.
pub(super) fn ignoring_errors(format: Arc<dyn FileFormat>) -> Arc<dyn FileFormat> {
    match format.downcast_ref::<TextFiles<JsonSettings>>() {
        Some(files) => Arc::new(files.with(|settings| settings.ignores_errors = true)),
        None => format,
    }
}

/// The settings for reading JSON files.
#[derive(Debug, Clone)]
struct JsonSettings {
    /// The compression of all files. If it was not told, each file's name tells its own.
    compression: Option<FileCompressionType>,
    /// How many records, over all files, are read to guess the columns.
    guessed_records: usize,
    is_guessed: bool,
    /// Whether records that can't be read are passed over.
    ignores_errors: bool,
}

impl JsonSettings {
    fn new(options: &JsonOptions, has_compression: bool) -> Self {
        const GUESSED_RECORDS: usize = 1000;
        let compression = FileCompressionType::from(options.compression);
        Self {
            compression: has_compression.then_some(compression),
            guessed_records: options.schema_infer_max_rec.unwrap_or(GUESSED_RECORDS),
            is_guessed: false,
            ignores_errors: false,
        }
    }

    async fn open(&self, store: &dyn ObjectStore, file: &Path) -> Result<RecordStream> {
        let opened = open_file(store, file, self.compression).await?;
        Ok(RecordStream::new(opened.chunks, self.ignores_errors))
    }

    /// Calls `take` with the first records of the files, and the places of the records.
    ///
    /// # Errors
    /// The store's, and those of `take`, unless bad records are passed over.
    async fn for_each(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
        mut take: impl FnMut(&Path, Record) -> Result<()>,
    ) -> Result<()> {
        let mut wanted = self.guessed_records;
        for object in objects {
            let mut records = match wanted {
                0 => break,
                _ => self.open(store, &object.location).await?,
            };
            while wanted > 0
                && let Some(record) = records.next().await?
            {
                match take(&object.location, record) {
                    // The scan counts it.
                    Err(_) if self.ignores_errors => continue,
                    taken => taken?,
                }
                wanted -= 1;
            }
        }
        Ok(())
    }
}

/// Adds the shape of a record of a file to the shape of the records before it.
///
/// # Errors
/// [`ErrorKind::Query`] with the line, if the record is not valid or fits no common type.
fn add_shape(shape: &mut Shape, file: &Path, record: &Record) -> Result<()> {
    let wrong = |why: String| {
        let line = record.line;
        Error::new(ErrorKind::Query, format!("{file}, line {line}: {why}"))
    };
    let found: Shape = serde_json::from_slice(&record.bytes)
        .map_err(|error| wrong(format!("not valid JSON: {error}")))?;
    if !matches!(found, Shape::Object(_)) {
        return Err(wrong("a record must be an object".to_owned()));
    }
    let merged = shape.clone().merge(found);
    if let Some(key) = merged.find_mixed("") {
        let why = format!("the values of \"{key}\" have no common type");
        let hint = "read the file as lines of text, or write the key with one type";
        return Err(wrong(why).with_hint(hint));
    }
    *shape = merged;
    Ok(())
}

#[async_trait]
impl TextFormat for JsonSettings {
    fn name(&self) -> &'static str {
        "json"
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn ignores_errors(&self) -> bool {
        self.ignores_errors
    }

    async fn look(
        &self,
        _store: &dyn ObjectStore,
        _objects: &[ObjectMeta],
        declared: Option<&Schema>,
    ) -> Result<Self> {
        Ok(Self {
            is_guessed: declared.is_none(),
            ..self.clone()
        })
    }

    async fn guess_schema(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
    ) -> Result<Schema> {
        // All records may not fit in memory. Then they are read twice.
        let is_whole = self.guessed_records == usize::MAX;
        let mut shape = Shape::Null;
        let mut sample: Vec<Record> = Vec::new();
        let add = |file: &Path, record: Record| {
            add_shape(&mut shape, file, &record)?;
            if !is_whole {
                sample.push(record);
            }
            Ok(())
        };
        self.for_each(store, objects, add).await?;
        let mut guesser = Guesser::new(&shape);
        if is_whole {
            let mut again = Shape::Null;
            let add = |file: &Path, record: Record| {
                // A record that is passed over has no values.
                add_shape(&mut again, file, &record)?;
                guesser.add(record)
            };
            self.for_each(store, objects, add).await?;
        } else {
            sample
                .into_iter()
                .try_for_each(|record| guesser.add(record))?;
        }
        guesser.finish()
    }

    async fn read(&self, file: FileToRead) -> Result<Batches> {
        let records = self.open(file.store.as_ref(), &file.path).await?;
        let name = file.path.to_string();
        // Whether a record is passed over does not depend on the wanted columns.
        let (read, selected) = match file.passed_over {
            Some(_) => {
                let all = (0..file.schema.fields().len()).collect();
                (all, Some(file.projection))
            }
            None => (file.projection, None),
        };
        let decoder = Decoder::new(&file.schema, read, self.is_guessed, name)?;
        let batches = BatchReader {
            records,
            decoder,
            batch_rows: file.batch_rows,
            passed_over: file.passed_over,
        };
        Ok(select(batches.into_batches(), selected))
    }
}
