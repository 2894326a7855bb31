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
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{GetExt, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::{JsonFormat, JsonFormatFactory};
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::open::{compression_of, open_file};
use super::scan::{Batches, TextFormat, TextScan};
use crate::error::{Error, ErrorKind};
use records::{BatchReader, Decoder, RecordStream, read_texts};
use shape::Shape;
use split::Record;

/// Makes the session read JSON files with this module.
pub(crate) fn with_json(builder: &mut SessionStateBuilder) {
    for format in builder.file_formats().iter_mut().flatten() {
        if format.is::<JsonFormatFactory>() {
            *format = Arc::new(JsonFactory {
                options: JsonFormatFactory::new(),
            });
        }
    }
}

/// Creates [`JsonFiles`] from DataFusion's options for JSON.
#[derive(Debug)]
struct JsonFactory {
    options: JsonFormatFactory,
}

impl FileFormatFactory for JsonFactory {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let is_told = options.keys().any(|name| name.ends_with("compression"));
        let format = self.options.create(state, options)?;
        let writer = match format.downcast_ref::<JsonFormat>() {
            Some(format) => JsonFormat::default().with_options(format.options().clone()),
            None => JsonFormat::default(),
        };
        Ok(Arc::new(JsonFiles::new(writer, is_told)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(JsonFiles::new(JsonFormat::default(), false))
    }
}

impl GetExt for JsonFactory {
    fn get_ext(&self) -> String {
        self.options.get_ext()
    }
}

/// JSON files with the same settings.
#[derive(Debug)]
struct JsonFiles {
    settings: JsonSettings,
    /// The columns were guessed.
    is_guessed: AtomicBool,
    writer: JsonFormat,
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

impl JsonFiles {
    fn new(writer: JsonFormat, has_compression: bool) -> Self {
        const GUESSED_RECORDS: usize = 1000;
        let options = writer.options();
        let compression = FileCompressionType::from(options.compression);
        Self {
            settings: JsonSettings {
                compression: has_compression.then_some(compression),
                guessed_records: options.schema_infer_max_rec.unwrap_or(GUESSED_RECORDS),
                is_guessed: false,
            },
            is_guessed: AtomicBool::new(false),
            writer,
        }
    }
}

impl JsonSettings {
    async fn open(&self, store: &dyn ObjectStore, file: &Path) -> Result<RecordStream> {
        let compression = self.compression.unwrap_or_else(|| compression_of(file));
        let opened = open_file(store, file, compression).await?;
        Ok(RecordStream::new(opened.chunks))
    }

    /// Guesses the columns from the first records of the files.
    async fn guess_schema(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
    ) -> Result<Schema> {
        let mut sample: Vec<Record> = Vec::new();
        let mut shape = Shape::Null;
        for object in objects {
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
                    return Err(wrong("a record must be an object".to_owned()).into());
                }
                shape = shape.merge(found);
                if let Some(key) = mixed_key(&shape) {
                    let why = format!("the values of \"{key}\" have no common type");
                    let hint = "read the file as lines of text, or write the key with one type";
                    return Err(wrong(why).with_hint(hint).into());
                }
                sample.push(record);
            }
        }
        let Shape::Object(keys) = &shape else {
            return Ok(Schema::empty());
        };
        let DataType::Struct(fields) = values::shape_type(&shape) else {
            return Ok(Schema::empty());
        };
        let texts = read_texts(&Arc::new(Schema::new(fields)), &sample, true)?;
        let texts: ArrayRef = Arc::new(StructArray::from(texts));
        match values::guess_type(&Shape::Object(keys.clone()), &texts) {
            Some(DataType::Struct(fields)) => Ok(Schema::new(fields)),
            _ => Ok(Schema::empty()),
        }
    }
}

/// A key whose values have no common type.
fn mixed_key(shape: &Shape) -> Option<String> {
    match shape {
        Shape::Object(keys) => keys.iter().find_map(|(key, shape)| match shape {
            Shape::Mixed => Some(key.clone()),
            Shape::List(item) if **item == Shape::Mixed => Some(key.clone()),
            inner => mixed_key(inner),
        }),
        Shape::List(item) => mixed_key(item),
        _ => None,
    }
}

impl TextFormat for JsonSettings {
    fn name(&self) -> &'static str {
        "json"
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn open(
        self: Arc<Self>,
        store: Arc<dyn ObjectStore>,
        file: Path,
        schema: SchemaRef,
        projection: Vec<usize>,
        batch_rows: usize,
    ) -> BoxFuture<'static, Result<Batches>> {
        Box::pin(async move {
            let records = JsonSettings::open(&self, store.as_ref(), &file).await?;
            let decoder = Decoder::new(&schema, projection, self.is_guessed, file.to_string())?;
            let batches = BatchReader {
                records,
                decoder,
                batch_rows,
            };
            Ok(batches.into_batches())
        })
    }
}

#[async_trait]
impl FileFormat for JsonFiles {
    fn get_ext(&self) -> String {
        self.writer.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.writer.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.writer.compression_type()
    }

    async fn infer_schema(
        &self,
        _state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.is_guessed.store(true, Ordering::Relaxed);
        let schema = self.settings.guess_schema(store.as_ref(), objects);
        schema.await.map(Arc::new)
    }

    async fn infer_stats(
        &self,
        _state: &dyn Session,
        _store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        _object: &ObjectMeta,
    ) -> Result<Statistics> {
        Ok(Statistics::new_unknown(&table_schema))
    }

    async fn create_physical_plan(
        &self,
        _state: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(DataSourceExec::from_data_source(scan))
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        sink: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.writer
            .create_writer_physical_plan(input, state, sink, order)
            .await
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        let settings = JsonSettings {
            is_guessed: self.is_guessed.load(Ordering::Relaxed),
            ..self.settings.clone()
        };
        Arc::new(TextScan::new(settings, table_schema))
    }
}
