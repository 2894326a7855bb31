//! JSON files as tables: objects one after the other, or in one array.
//!
//! Invariant: every value is read as its text says, every key has a column, and columns stand in the
//! order of the keys. A record that does not fit is an error.
//!
//! DataFusion's reader sorts the keys, cuts fractions off integers, rounds long numbers to doubles,
//! and passes over keys that it does not know. It does the writing for `INSERT INTO`.

mod records;
mod shape;
mod split;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Schema};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::GetExt;
use datafusion::common::config::JsonOptions;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::{JsonFormat, JsonFormatFactory};
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::session_state::SessionStateBuilder;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::open::open_file;
use super::replace_factory;
use super::text::{Batches, FileToRead, TextFiles, TextFormat, is_told};
use crate::error::{Error, ErrorKind, Result};
use records::{BatchReader, Decoder, RecordStream, read_texts};
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

/// The settings for reading JSON files.
#[derive(Debug, Clone)]
struct JsonSettings {
    /// The compression of all files. If it was not told, each file's name tells its own.
    compression: Option<FileCompressionType>,
    /// How many records, over all files, are read to guess the columns.
    guessed_records: usize,
    is_guessed: bool,
}

impl JsonSettings {
    fn new(options: &JsonOptions, has_compression: bool) -> Self {
        const GUESSED_RECORDS: usize = 1000;
        let compression = FileCompressionType::from(options.compression);
        Self {
            compression: has_compression.then_some(compression),
            guessed_records: options.schema_infer_max_rec.unwrap_or(GUESSED_RECORDS),
            is_guessed: false,
        }
    }

    async fn open(&self, store: &dyn ObjectStore, file: &Path) -> Result<RecordStream> {
        let opened = open_file(store, file, self.compression).await?;
        Ok(RecordStream::new(opened.chunks))
    }

    /// The first records of the files, and their shape.
    async fn sample(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
    ) -> Result<(Vec<Record>, Shape)> {
        let mut sample: Vec<Record> = Vec::new();
        let mut shape = Shape::Null;
        for object in objects {
            if sample.len() >= self.guessed_records {
                break;
            }
            let mut records = self.open(store, &object.location).await?;
            while sample.len() < self.guessed_records {
                let Some(record) = records.next().await? else {
                    break;
                };
                let wrong = |why: String| {
                    let (file, line) = (&object.location, record.line);
                    Error::new(ErrorKind::Query, format!("{file}, line {line}: {why}"))
                };
                let found: Shape = serde_json::from_slice(&record.bytes)
                    .map_err(|error| wrong(format!("not valid JSON: {error}")))?;
                if !matches!(found, Shape::Object(_)) {
                    return Err(wrong("a record must be an object".to_owned()));
                }
                shape = shape.merge(found);
                if let Some(key) = shape.find_mixed("") {
                    let why = format!("the values of \"{key}\" have no common type");
                    let hint = "read the file as lines of text, or write the key with one type";
                    return Err(wrong(why).with_hint(hint));
                }
                sample.push(record);
            }
        }
        Ok((sample, shape))
    }
}

#[async_trait]
impl TextFormat for JsonSettings {
    fn name(&self) -> &'static str {
        "json"
    }

    fn describe(&self) -> String {
        String::new()
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
        let (sample, shape) = self.sample(store, objects).await?;
        let DataType::Struct(fields) = values::shape_type(&shape) else {
            return Ok(Schema::empty());
        };
        let texts = read_texts(&Arc::new(Schema::new(fields)), &sample, true);
        let texts: ArrayRef = Arc::new(StructArray::from(texts.map_err(DataFusionError::from)?));
        match values::guess_type(&shape, &texts) {
            DataType::Struct(fields) => Ok(Schema::new(fields)),
            _ => Ok(Schema::empty()),
        }
    }

    async fn read(&self, file: FileToRead) -> Result<Batches> {
        let records = self.open(file.store.as_ref(), &file.path).await?;
        let name = file.path.to_string();
        let decoder = Decoder::new(&file.schema, file.projection, self.is_guessed, name)?;
        let batches = BatchReader {
            records,
            decoder,
            batch_rows: file.batch_rows,
        };
        Ok(batches.into_batches())
    }
}
