//! Reading files as tables.
//!
//! Invariant: reading an export's files returns the exported rows. DataFusion's own listing tables
//! read the files; this module adds the features that they lack:
//!
//! - `csv`: NULL is not the empty text.
//! - `counted`: a scan of whole Parquet files returns as many rows as their footers say.
//! - `parquet`: statistics supply no values, and exclude rows only where they can be trusted.
//! - `partitions`: a folder `p=__HIVE_DEFAULT_PARTITION__` holds the rows whose `p` is NULL.
//! - `external`: a folder of `CREATE EXTERNAL TABLE` holds no data under names like `_tidegate`.
//! - `files`: `SELECT * FROM 'data/*.parquet'`, a path as a table.
//! - `functions`: `read_parquet('s3://…', aws_connection => 'c')`, with a connection and options.

mod counted;
mod csv;
mod external;
mod functions;
mod hive;
mod parquet;
mod paths;

pub(crate) use counted::CountScans;
pub(crate) use csv::with_csv;
pub(crate) use external::with_exported_folders;
pub(crate) use functions::rewrite_functions;
pub(crate) use parquet::with_parquet;
pub use paths::with_file_tables;
