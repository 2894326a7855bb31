//! The report of a committed export, for the user.
//!
//! Invariant: a report exists only once every object that it names is there.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::error::{Error, ErrorKind, Result};
use crate::format::ColumnSummary;
use crate::sink::spec::MovedFiles;
use crate::sink::staged::{StagedFile, summaries_array, summaries_type};

/// The result of a committed export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// The export's id: 32 hexadecimal digits that sort by time.
    pub export_id: String,
    /// The objects, in the order of their keys.
    pub files: Vec<ExportedFile>,
    /// The number of rows in all objects.
    pub rows: u64,
    /// The total size of all objects, in bytes.
    pub bytes: u64,
    /// The URL of the manifest, if the statement asked for a manifest.
    pub manifest: Option<String>,
    /// The source files, if row groups of some of them were moved without decoding.
    pub moved: Option<MovedFiles>,
    /// Further notes for the user, one sentence each.
    pub notices: Vec<String>,
}

/// An object that an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportedFile {
    /// The URL or path of the object.
    pub url: String,
    /// Its number of rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its ETag, if the store has ETags.
    pub etag: Option<String>,
    /// Minimum, maximum and null count of each column: only for Parquet with `RETURN = 'files'`.
    pub columns: Vec<ColumnSummary>,
}

/// The schema of `RETURN = 'files'`: one row per object.
pub fn files_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("rows", DataType::UInt64, false),
            Field::new("bytes", DataType::UInt64, false),
            Field::new("columns", summaries_type(), false),
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
        Arc::new(summaries_array(
            files.iter().map(|file| file.columns.as_slice()),
        )),
    ];
    RecordBatch::try_new(files_schema(), columns).map_err(|error: ArrowError| {
        Error::new(ErrorKind::Internal, "the list of files can't be built").with_source(error)
    })
}
