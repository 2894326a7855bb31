//! Streams a JSON file's records, and turns them into batches.
//!
//! Invariant: at most one chunk of the file and [`BATCHES_AT_ONCE`] batches are held in memory. An
//! error names the file and the line of the record.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use bytes::{Buf, Bytes};
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use futures::{StreamExt, TryStreamExt};

use super::split::{Record, Splitter};
use super::values::{text_fields, values_from};
use crate::error::{Error, ErrorKind, Result};
use crate::read::csv::BadValue;
use crate::read::open::Chunks;
use crate::read::passed_over::PassedOver;
use crate::read::text::Batches;

/// A batch ends after this many bytes of JSON, regardless of its rows, to bound its memory.
pub(super) const BATCH_BYTES: usize = 8 << 20;

/// The records of a file, one after the other.
pub(super) struct RecordStream {
    splitter: Splitter,
    chunks: Chunks,
    chunk: Bytes,
    has_ended: bool,
}

impl RecordStream {
    /// `finds_lines`: each line is a record if the first line is one.
    pub(super) fn new(chunks: Chunks, finds_lines: bool) -> Self {
        Self {
            splitter: Splitter::new(finds_lines),
            chunks,
            chunk: Bytes::new(),
            has_ended: false,
        }
    }

    /// The next record.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if !self.chunk.is_empty() {
                let (read, record) = self.splitter.read(&self.chunk);
                self.chunk.advance(read);
                if record.is_some() {
                    return Ok(record);
                }
            } else if self.has_ended {
                return Ok(None);
            } else if let Some(chunk) = self.chunks.next().await {
                self.chunk = chunk?;
            } else {
                self.has_ended = true;
                return Ok(self.splitter.finish());
            }
        }
    }
}

/// Turns records into batches.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// The columns that are read.
    schema: SchemaRef,
    /// The same columns as arrow-json reads them.
    texts: SchemaRef,
    /// The wanted ones of them.
    projection: Vec<usize>,
    /// Whether the columns and their types were guessed. Then every key must be one of them.
    is_guessed: bool,
    /// For errors.
    file: String,
}

impl Decoder {
    /// A decoder of the columns of `schema` that `projection` names.
    ///
    /// # Errors
    /// A column is not in the schema.
    pub(super) fn new(
        schema: &SchemaRef,
        projection: Vec<usize>,
        is_guessed: bool,
        file: String,
    ) -> Result<Self> {
        // Declared columns may be some of the keys; the others need not be read.
        let (schema, projection) = match is_guessed || projection.is_empty() {
            true => (SchemaRef::clone(schema), projection),
            false => {
                let wanted = schema.project(&projection).map_err(|error| {
                    let why = "a column is not in its schema";
                    Error::new(ErrorKind::Internal, why).with_source(error)
                })?;
                (Arc::new(wanted), (0..projection.len()).collect())
            }
        };
        Ok(Self {
            texts: Arc::new(Schema::new(text_fields(schema.fields()))),
            schema,
            projection,
            is_guessed,
            file,
        })
    }

    /// # Errors
    /// [`ErrorKind::Query`] for a record that does not fit the columns.
    pub(super) fn decode(&self, records: &[Record]) -> Result<RecordBatch> {
        let texts = match self.read_texts(records) {
            Ok(texts) => texts,
            // The parser reads all records at once, so its error does not tell which one is wrong.
            Err(error) => {
                let mut singles = records.iter();
                let wrong = singles.find_map(|record| {
                    let error = self.read_texts(std::slice::from_ref(record)).err()?;
                    Some((record, error))
                });
                let (record, error) = match &wrong {
                    Some((record, error)) => (Some(*record), error),
                    None => (records.first(), &error),
                };
                return Err(self.wrong(record, &reason_of(error)));
            }
        };
        let fields = self
            .projection
            .iter()
            .map(|column| self.schema.field(*column));
        let columns = self
            .projection
            .iter()
            .zip(fields.clone())
            .map(|(column, field)| {
                let values = values_from(texts.column(*column), field.data_type(), self.is_guessed);
                values.map_err(|bad| match bad {
                    BadValue::Row(row) => {
                        let why =
                            format!("a value of {} is no {}", field.name(), field.data_type());
                        self.wrong(records.get(row), &why)
                    }
                    BadValue::Arrow(error) => {
                        let why = format!("{} of {} can't be read", field.name(), self.file);
                        Error::new(ErrorKind::Query, why).with_source(error)
                    }
                })
            });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options);
        batch.map_err(|error| self.does_not_fit(error))
    }

    /// As [`Self::decode`], but passes over records that do not fit.
    fn decode_good(&self, records: &[Record], passed_over: &PassedOver) -> Result<RecordBatch> {
        let batches = passed_over.build(0..records.len(), &|range| self.decode(&records[range]));
        let fields = self.projection.iter();
        let fields = fields.map(|column| self.schema.field(*column).clone());
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        concat_batches(&schema, &batches).map_err(|error| self.does_not_fit(error))
    }

    fn does_not_fit(&self, error: ArrowError) -> Error {
        let why = format!("{} does not fit its table", self.file);
        Error::new(ErrorKind::Query, why).with_source(error)
    }

    /// The columns as texts.
    fn read_texts(&self, records: &[Record]) -> std::result::Result<RecordBatch, ArrowError> {
        read_texts(&self.texts, records, self.is_guessed)
    }

    fn wrong(&self, record: Option<&Record>, why: &str) -> Error {
        let line = record.map(|record| format!(", line {}", record.line));
        let why = format!("{}{}: {why}", self.file, line.unwrap_or_default());
        let error = Error::new(ErrorKind::Query, why);
        match self.is_guessed {
            true => error.with_hint(
                "the columns and their types were guessed from the first records; declare them in \
                 CREATE EXTERNAL TABLE, as text where values differ",
            ),
            false => error.with_hint("declare the column as text, and cast it in the query"),
        }
    }
}

/// Reads records whose leaves are texts. `is_strict`: a key without a column is an error.
pub(super) fn read_texts(
    schema: &SchemaRef,
    records: &[Record],
    is_strict: bool,
) -> std::result::Result<RecordBatch, ArrowError> {
    let mut decoder = ReaderBuilder::new(SchemaRef::clone(schema))
        .with_batch_size(records.len().max(1))
        .with_coerce_primitive(true)
        .with_strict_mode(is_strict)
        .build_decoder()?;
    for record in records {
        decoder.decode(&record.bytes)?;
        decoder.decode(b"\n")?;
    }
    let batch = decoder.flush()?;
    let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(SchemaRef::clone(schema)));
    match batch.num_rows() == records.len() {
        true => Ok(batch),
        false => Err(ArrowError::JsonError(
            "a record is no whole object".to_owned(),
        )),
    }
}

fn reason_of(error: &ArrowError) -> String {
    match error {
        ArrowError::JsonError(why) => why.clone(),
        other => other.to_string(),
    }
}

/// How many batches of a file are decoded at the same time.
const BATCHES_AT_ONCE: usize = 2;

/// The batches of a file.
pub(super) struct BatchReader {
    pub(super) records: RecordStream,
    pub(super) decoder: Decoder,
    pub(super) batch_rows: usize,
    /// Takes the records that can't be read; without it they are errors.
    pub(super) passed_over: Option<Arc<PassedOver>>,
}

impl BatchReader {
    /// Starts decoding the next batch, in a task that ends when it is dropped. `None` after the last.
    ///
    /// # Errors
    /// The store's.
    async fn start_next(&mut self) -> Result<Option<SpawnedTask<Result<RecordBatch>>>> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < self.batch_rows && bytes < BATCH_BYTES {
            let Some(record) = self.records.next().await? else {
                break;
            };
            bytes += record.bytes.len();
            records.push(record);
        }
        match records.is_empty() {
            true => Ok(None),
            false => {
                let decoder = self.decoder.clone();
                let passed_over = self.passed_over.clone();
                let decode = async move {
                    match passed_over {
                        Some(passed_over) => decoder.decode_good(&records, &passed_over),
                        None => decoder.decode(&records),
                    }
                };
                Ok(Some(SpawnedTask::spawn(decode)))
            }
        }
    }

    /// The batches. An error is the store's, or [`ErrorKind::Query`] for a record that does not fit
    /// the columns.
    pub(super) fn into_batches(self) -> Batches {
        let started = futures::stream::try_unfold(self, |mut batches| async move {
            let task = batches.start_next().await?;
            Ok::<_, DataFusionError>(task.map(|task| (task, batches)))
        });
        let joined = started.map_ok(|task| async move {
            let batch = task.join().await.map_err(|error| {
                let why = "a batch of JSON was not decoded";
                Error::new(ErrorKind::Internal, why).with_source(error)
            })?;
            Ok(batch?)
        });
        joined.try_buffered(BATCHES_AT_ONCE).boxed()
    }
}
