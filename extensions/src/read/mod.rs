//! Reading files as tables.
//!
//! Invariant: reading an export's files returns the exported rows. DataFusion's own listing tables
//! read the files; this module adds the features that they lack:
//!
//! - `csv`: NULL is not the empty text.
//! - `partitions`: a folder `p=__HIVE_DEFAULT_PARTITION__` holds the rows whose `p` is NULL.
//! - `external`: a folder of `CREATE EXTERNAL TABLE` holds no data under names like `_tidegate`.
//! - `files`: `SELECT * FROM 'data/*.parquet'`, a path as a table.
//! - `functions`: `read_parquet('s3://…', aws_connection => 'c')`, with a connection and options.

mod csv;
mod external;
mod functions;
mod hive;
mod paths;

pub(crate) use csv::with_csv;
pub(crate) use external::with_exported_folders;
pub(crate) use functions::rewrite_functions;
pub use paths::with_file_tables;
