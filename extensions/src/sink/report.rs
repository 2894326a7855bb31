//! What writers tell the sink, as rows.
//!
//! Invariant: the rows are plain data. A staged file's row holds all that is needed to complete it,
//! wherever it was written, and each writer sends exactly one summary, after its files.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, UInt32Type, UInt64Type};
use serde::{Deserialize, Serialize};

use super::store::PendingUpload;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ColumnSummary;

/// A file whose bytes are in the store, but which is not an object yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// The key the object will have.
    pub key: String,
    /// The pending upload's id; none for a file without bytes, which needs no upload and which some
    /// stores refuse as one.
    pub upload_id: Option<String>,
    /// Its parts' ETags, in order.
    pub etags: Vec<String>,
    /// Its rows, as the format counted them.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its media type.
    pub content_type: String,
    /// What its columns hold, where that was asked for and the format knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnSummary>,
    /// The object's ETag, once it is there and where the store has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_etag: Option<String>,
}

impl StagedFile {
    /// The upload that becomes the object, if it has one.
    pub(super) fn upload(&self) -> Option<PendingUpload> {
        self.upload_id.as_ref().map(|upload_id| PendingUpload {
            key: self.key.clone(),
            upload_id: upload_id.clone(),
        })
    }
}

/// What one writer did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriterReport {
    /// Which writer, from 0.
    pub writer: u32,
    /// How many writers the export has.
    pub writers: u32,
    /// The rows it was given.
    pub rows_in: u64,
    /// The files it staged, in order.
    pub files: Vec<StagedFile>,
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// The export's id: 32 hexadecimal digits that sort by time.
    pub export_id: String,
    /// The objects, in the order of their names where the query has an order.
    pub files: Vec<ExportedFile>,
    /// The rows in all of them.
    pub rows: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// The manifest's URL, where one was asked for.
    pub manifest: Option<String>,
}

/// An object that an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Where it is.
    pub url: String,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its ETag, where the store has such.
    pub etag: Option<String>,
    /// What its columns hold: Parquet only, and only with `RETURN = 'files'`.
    pub columns: Vec<ColumnSummary>,
}

/// The schema of a writer's report: one row per file, then one summary whose `key` is NULL.
pub fn report_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let etag = Field::new("item", DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            Field::new("writer", DataType::UInt32, false),
            Field::new("writers", DataType::UInt32, false),
            Field::new("key", DataType::Utf8, true),
            Field::new("upload_id", DataType::Utf8, true),
            Field::new("etags", DataType::List(Arc::new(etag)), true),
            Field::new("bytes", DataType::UInt64, true),
            Field::new("content_type", DataType::Utf8, true),
            Field::new("rows", DataType::UInt64, false),
            Field::new("columns", columns_type(), false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The schema of `RETURN = 'files'`: one row per object.
pub fn files_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("rows", DataType::UInt64, false),
            Field::new("bytes", DataType::UInt64, false),
            Field::new("columns", columns_type(), false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Files as rows of [`files_schema`]; `url` turns a key into a path for the user.
pub fn files_batch(files: &[StagedFile], url: impl Fn(&str) -> String) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            files.iter().map(|file| url(&file.key)),
        )),
        Arc::new(UInt64Array::from_iter_values(
            files.iter().map(|file| file.rows),
        )),
        Arc::new(UInt64Array::from_iter_values(
            files.iter().map(|file| file.bytes),
        )),
        Arc::new(columns_array(
            files.iter().map(|file| file.columns.as_slice()),
        )),
    ];
    RecordBatch::try_new(files_schema(), columns).map_err(not_built)
}

/// Four fields for each column of a file; minimum and maximum as text.
fn summary_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("min", DataType::Utf8, true),
        Field::new("max", DataType::Utf8, true),
        Field::new("nulls", DataType::UInt64, true),
    ])
}

fn columns_type() -> DataType {
    let summary = Field::new("item", DataType::Struct(summary_fields()), false);
    DataType::List(Arc::new(summary))
}

fn columns_array<'a>(files: impl Iterator<Item = &'a [ColumnSummary]> + Clone) -> ListArray {
    let lengths = OffsetBuffer::from_lengths(files.clone().map(<[ColumnSummary]>::len));
    let all: Vec<&ColumnSummary> = files.flatten().collect();
    let all = || all.iter();
    let fields: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            all().map(|column| &column.name),
        )),
        Arc::new(StringArray::from_iter(
            all().map(|column| column.min.as_ref()),
        )),
        Arc::new(StringArray::from_iter(
            all().map(|column| column.max.as_ref()),
        )),
        Arc::new(UInt64Array::from_iter(all().map(|column| column.nulls))),
    ];
    let summaries = StructArray::new(summary_fields(), fields, None);
    let item = Field::new("item", DataType::Struct(summary_fields()), false);
    ListArray::new(Arc::new(item), lengths, Arc::new(summaries), None)
}

fn read_columns(summaries: &StructArray) -> Vec<ColumnSummary> {
    let text = |field: usize, row: usize| {
        let texts = summaries.column(field).as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let nulls = summaries.column(3).as_primitive::<UInt64Type>();
    (0..summaries.len())
        .map(|row| ColumnSummary {
            name: text(0, row).unwrap_or_default(),
            min: text(1, row),
            max: text(2, row),
            nulls: nulls.is_valid(row).then(|| nulls.value(row)),
        })
        .collect()
}

fn not_built(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "a writer's report can't be built").with_source(error)
}

impl WriterReport {
    /// The report as rows of [`report_schema`].
    pub fn to_batch(&self) -> Result<RecordBatch> {
        let count = self.files.len() + 1;
        let mut keys = StringBuilder::new();
        let mut upload_ids = StringBuilder::new();
        let mut content_types = StringBuilder::new();
        let mut etags = ListBuilder::new(StringBuilder::new());
        for file in &self.files {
            keys.append_value(&file.key);
            upload_ids.append_option(file.upload_id.as_ref());
            content_types.append_value(&file.content_type);
            etags.append_value(file.etags.iter().map(Some));
        }
        keys.append_null();
        upload_ids.append_null();
        content_types.append_null();
        etags.append_null();
        let bytes = self.files.iter().map(|file| Some(file.bytes));
        let rows = self.files.iter().map(|file| file.rows);
        let summaries = self.files.iter().map(|file| file.columns.as_slice());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(vec![self.writer; count])),
            Arc::new(UInt32Array::from(vec![self.writers; count])),
            Arc::new(keys.finish()),
            Arc::new(upload_ids.finish()),
            Arc::new(etags.finish()),
            Arc::new(UInt64Array::from_iter(bytes.chain([None]))),
            Arc::new(content_types.finish()),
            Arc::new(UInt64Array::from_iter_values(rows.chain([self.rows_in]))),
            Arc::new(columns_array(summaries.chain([[].as_slice()]))),
        ];
        RecordBatch::try_new(report_schema(), columns).map_err(not_built)
    }
}

/// The reports of all writers, gathered from their rows in any order.
#[derive(Debug, Default)]
pub(super) struct Reports {
    files: Vec<StagedFile>,
    rows_in: u64,
    /// How many summaries each writer sent.
    summaries: Vec<u32>,
}

impl Reports {
    /// Adds rows of [`report_schema`].
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let writers = batch.column(0).as_primitive::<UInt32Type>();
        let totals = batch.column(1).as_primitive::<UInt32Type>();
        let keys = batch.column(2).as_string::<i32>();
        let upload_ids = batch.column(3).as_string::<i32>();
        let etags = batch.column(4).as_list::<i32>();
        let bytes = batch.column(5).as_primitive::<UInt64Type>();
        let content_types = batch.column(6).as_string::<i32>();
        let rows = batch.column(7).as_primitive::<UInt64Type>();
        let columns = batch.column(8).as_list::<i32>();
        for row in 0..batch.num_rows() {
            let total = totals.value(row) as usize;
            if self.summaries.len() < total {
                self.summaries.resize(total, 0);
            }
            if keys.is_null(row) {
                let writer = writers.value(row) as usize;
                let count = self
                    .summaries
                    .get_mut(writer)
                    .ok_or_else(|| broken("a writer that the plan does not have reported"))?;
                *count += 1;
                self.rows_in += rows.value(row);
                continue;
            }
            let file_etags = etags.value(row);
            self.files.push(StagedFile {
                key: keys.value(row).to_owned(),
                upload_id: upload_ids
                    .is_valid(row)
                    .then(|| upload_ids.value(row).to_owned()),
                etags: file_etags
                    .as_string::<i32>()
                    .iter()
                    .map(|etag| etag.unwrap_or_default().to_owned())
                    .collect(),
                rows: rows.value(row),
                bytes: bytes.value(row),
                content_type: content_types.value(row).to_owned(),
                columns: read_columns(columns.value(row).as_struct()),
                object_etag: None,
            });
        }
        Ok(())
    }

    /// The staged files, if every writer reported once and the rows add up.
    ///
    /// # Errors
    /// [`ErrorKind::DataCorrupted`]: rows were lost or doubled on the way.
    pub(super) fn into_files(self, rows_encoded: u64) -> Result<Vec<StagedFile>> {
        if self.summaries.is_empty() || self.summaries.iter().any(|count| *count != 1) {
            return Err(broken("not every writer reported exactly once"));
        }
        let rows_in_files: u64 = self.files.iter().map(|file| file.rows).sum();
        if self.rows_in != rows_in_files || self.rows_in != rows_encoded {
            return Err(broken(&format!(
                "{} rows were read from the query, {rows_encoded} were given to the encoders, \
                 {rows_in_files} are in the finished files",
                self.rows_in
            )));
        }
        Ok(self.files)
    }
}

fn broken(why: &str) -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        format!("the export was rolled back because its rows don't add up: {why}"),
    )
    .with_hint("this is a fault of Tidegate; please report it with the statement")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(writer: u32, rows_in: u64) -> WriterReport {
        WriterReport {
            writer,
            writers: 2,
            rows_in,
            files: vec![StagedFile {
                key: format!("k{writer}"),
                upload_id: (writer == 0).then(|| "u".into()),
                etags: vec!["\"a\"".into(), "\"b\"".into()],
                rows: 5,
                bytes: 100,
                content_type: "text/csv".into(),
                columns: vec![ColumnSummary {
                    name: "a".into(),
                    min: Some("1".into()),
                    max: None,
                    nulls: Some(0),
                }],
                object_etag: None,
            }],
        }
    }

    #[test]
    fn reports_survive_being_rows() {
        let mut reports = Reports::default();
        for writer in [1, 0] {
            reports.add(&report(writer, 5).to_batch().unwrap()).unwrap();
        }
        let files = reports.into_files(10).unwrap();
        assert_eq!(files, [report(1, 5).files, report(0, 5).files].concat());
    }

    #[test]
    fn a_missing_writer_or_row_is_noticed() {
        let mut one = Reports::default();
        one.add(&report(0, 5).to_batch().unwrap()).unwrap();
        assert!(one.into_files(5).is_err());

        let mut twice = Reports::default();
        for writer in [0, 0, 1] {
            twice.add(&report(writer, 5).to_batch().unwrap()).unwrap();
        }
        assert!(twice.into_files(15).is_err());

        let mut lost = Reports::default();
        for (writer, rows_in) in [(0, 5), (1, 6)] {
            lost.add(&report(writer, rows_in).to_batch().unwrap())
                .unwrap();
        }
        let error = lost.into_files(10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataCorrupted);
        assert!(error.message().contains("11 rows were read"));
    }
}
