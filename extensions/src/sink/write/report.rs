//! The reports of writers to the sink, as rows.
//!
//! Invariant: the rows are plain data. The row of a staged file contains everything that completing
//! it needs, in any process. Each writer sends exactly one summary, after its files.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringBuilder, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};

use crate::error::{Error, ErrorKind, Result};
use crate::sink::staged::{StagedFile, read_summaries, summaries_array, summaries_type};

/// The result of one writer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WriterReport {
    /// The number of the writer, from 0.
    pub writer: u32,
    /// How many writers the export has.
    pub writers: u32,
    /// The number of rows that it was given.
    pub rows_in: u64,
    /// The files it staged, in order.
    pub files: Vec<StagedFile>,
}

/// The schema of a writer's report: one row per file, then one summary whose `key` is NULL.
pub fn report_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let receipt = Field::new("item", DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            Field::new("writer", DataType::UInt32, false),
            Field::new("writers", DataType::UInt32, false),
            Field::new("key", DataType::Utf8, true),
            Field::new("upload_id", DataType::Utf8, true),
            Field::new("receipts", DataType::List(Arc::new(receipt)), true),
            Field::new("bytes", DataType::UInt64, true),
            Field::new("content_type", DataType::Utf8, true),
            Field::new("rows", DataType::UInt64, false),
            Field::new("columns", summaries_type(), false),
        ]))
    });
    Arc::clone(&SCHEMA)
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
        let mut receipts = ListBuilder::new(StringBuilder::new());
        for file in &self.files {
            keys.append_value(&file.key);
            upload_ids.append_option(file.upload_id.as_ref());
            content_types.append_value(&file.content_type);
            receipts.append_value(file.receipts.iter().map(Some));
        }
        keys.append_null();
        upload_ids.append_null();
        content_types.append_null();
        receipts.append_null();
        let bytes = self.files.iter().map(|file| Some(file.bytes));
        let rows = self.files.iter().map(|file| file.rows);
        let summaries = self.files.iter().map(|file| file.columns.as_slice());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(vec![self.writer; count])),
            Arc::new(UInt32Array::from(vec![self.writers; count])),
            Arc::new(keys.finish()),
            Arc::new(upload_ids.finish()),
            Arc::new(receipts.finish()),
            Arc::new(UInt64Array::from_iter(bytes.chain([None]))),
            Arc::new(content_types.finish()),
            Arc::new(UInt64Array::from_iter_values(rows.chain([self.rows_in]))),
            Arc::new(summaries_array(summaries.chain([[].as_slice()]))),
        ];
        RecordBatch::try_new(report_schema(), columns).map_err(not_built)
    }
}

/// Collects the reports of all writers. Their rows may come in any order.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    files: Vec<StagedFile>,
    rows_in: u64,
    /// How many summaries each writer sent.
    summaries: Vec<u32>,
}

impl Reports {
    /// Adds rows of [`report_schema`].
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let writers = batch.column(0).as_primitive::<UInt32Type>();
        let totals = batch.column(1).as_primitive::<UInt32Type>();
        let keys = batch.column(2).as_string::<i32>();
        let upload_ids = batch.column(3).as_string::<i32>();
        let receipts = batch.column(4).as_list::<i32>();
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
            let file_receipts = receipts.value(row);
            self.files.push(StagedFile {
                key: keys.value(row).to_owned(),
                upload_id: upload_ids
                    .is_valid(row)
                    .then(|| upload_ids.value(row).to_owned()),
                receipts: file_receipts
                    .as_string::<i32>()
                    .iter()
                    .map(|receipt| receipt.unwrap_or_default().to_owned())
                    .collect(),
                rows: rows.value(row),
                bytes: bytes.value(row),
                content_type: content_types.value(row).to_owned(),
                columns: read_summaries(columns.value(row).as_struct()),
                object_etag: None,
            });
        }
        Ok(())
    }

    /// The staged files, if every writer reported once and the rows add up.
    ///
    /// # Errors
    /// [`ErrorKind::DataCorrupted`]: rows were lost or doubled on the way.
    pub(crate) fn into_files(self, rows_encoded: u64) -> Result<Vec<StagedFile>> {
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
    use crate::format::ColumnSummary;

    fn report(writer: u32, rows_in: u64) -> WriterReport {
        WriterReport {
            writer,
            writers: 2,
            rows_in,
            files: vec![StagedFile {
                key: format!("k{writer}"),
                upload_id: (writer == 0).then(|| "u".into()),
                receipts: vec!["\"a\"".into(), "\"b\"".into()],
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
