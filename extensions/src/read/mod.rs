//! Reading files as tables.
//!
//! Invariant: every row is read as it was written, or the query fails. Reading an export's files
//! returns the exported rows.
//!
//! - `location`: which files a path, folder, glob or URL names.
//! - `kinds`: their format and compression.
//! - `partitions`: the columns in the names of their folders.
//! - `folder`, `table`: all of them as a table.
//! - `reading`: the arguments of the functions and the options of external tables.
//! - `open`, `text`, `scan`: text files, their formats and scans.
//! - `passed_over`: records that `ignore_errors` leaves out.
//! - `csv`: NULL is not the empty text.
//! - `json`: every value as its text says, every key a column.
//! - `parquet`: statistics supply no values, and exclude rows only where they can be trusted.
//! - `counted`: a scan of whole Parquet files returns as many rows as their footers say.
//! - `insert`: rows to insert, as `COPY` writes them.
//! - `external`: tables of `CREATE EXTERNAL TABLE`.
//! - `paths`: `SELECT * FROM 'data/*.parquet'`, a path as a table.
//! - `functions`: `read_parquet('s3://…', aws_connection => 'c')`, with a connection and options.

mod counted;
mod csv;
mod external;
mod folder;
mod functions;
mod insert;
mod json;
mod kinds;
mod location;
mod open;
mod parquet;
mod partitions;
mod passed_over;
mod paths;
mod reading;
mod scan;
mod table;
mod text;

pub(crate) use counted::CountScans;
pub(crate) use csv::with_csv;
#[cfg(any(test, fuzzing))]
pub(crate) use csv::{check_records, check_sniffer};
pub(crate) use external::with_exported_folders;
pub(crate) use functions::rewrite_functions;
pub(crate) use insert::{Insert, Inserter};
pub(crate) use json::with_json;
pub(crate) use parquet::{
    LeftOfFile, MovableFile, MovableRowGroup, PlainScan, READ_BYTES, with_parquet,
};
pub use paths::with_file_tables;

use std::sync::Arc;

use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::execution::session_state::SessionStateBuilder;

/// Makes the session use `factory` instead of DataFusion's factory `F`.
fn replace_factory<F: FileFormatFactory>(
    builder: &mut SessionStateBuilder,
    factory: Arc<dyn FileFormatFactory>,
) {
    for format in builder.file_formats().iter_mut().flatten() {
        if format.is::<F>() {
            *format = Arc::clone(&factory);
        }
    }
}
