//! Reading files as tables.
//!
//! Invariant: what an export wrote is what is read back. DataFusion's own listing tables do the
//! reading; what they don't know is added here:
//!
//! - `csv`: NULL is not the empty text.
//! - `partitions`: a folder `p=__HIVE_DEFAULT_PARTITION__` holds the rows whose `p` is NULL.
//! - `external`: a folder of `CREATE EXTERNAL TABLE` holds no data under names like `_tidegate`.
//! - `files`: `SELECT * FROM 'data/*.parquet'`, a path as a table.
//! - `functions`: `read_parquet('s3://…', aws_connection => 'c')`, with a connection and options.

mod csv;
mod external;
mod files;
mod functions;
mod partitions;

pub(crate) use csv::with_csv;
pub(crate) use external::with_exported_folders;
pub use files::with_file_tables;
pub(crate) use functions::rewrite_functions;
