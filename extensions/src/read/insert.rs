//! `INSERT INTO` a table of files.
//!
//! Invariant: inserted rows become files as `COPY … TO` writes them, with the format, the options
//! and the partition columns of the table. Stores and formats that `COPY` does not know are left to
//! DataFusion's writers.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::physical_plan::ExecutionPlan;

use super::csv::write_options;
use super::table::FileTable;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::ast::{OptionValue, SqlOption};

/// Rows to insert into a folder, and the options of the `COPY` that writes them.
pub(crate) struct Insert {
    /// The target, as in `COPY … TO`.
    pub(crate) url: String,
    pub(crate) options: Vec<SqlOption>,
    pub(crate) rows: Arc<dyn ExecutionPlan>,
}

/// Plans an [`Insert`]. An extension of the session's configuration, because planning an export
/// belongs to the modules above this one.
pub(crate) struct Inserter(pub(crate) fn(Insert, &dyn Session) -> Result<Arc<dyn ExecutionPlan>>);

impl FileTable {
    /// The insertion of `rows`. `None` if `COPY` can't write to the table's store or in its format.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the table's location is not a folder, or if its files are
    /// written in a way that `COPY` does not know.
    pub(super) fn insert(
        &self,
        rows: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Option<Insert>> {
        if self.has_file_name {
            let what = "INSERT INTO a table with a column of its files' names";
            return Err(unsupported(what));
        }
        let Some((url, connection)) = self.location.as_target() else {
            return Ok(None);
        };
        let format = self.format.get_ext();
        let of_format = match format.as_str() {
            "csv" => write_options(&self.format)?,
            "parquet" | "json" => Vec::new(),
            _ => return Ok(None),
        };
        let mode = match operation {
            InsertOp::Append => "append",
            InsertOp::Overwrite => "overwrite",
            InsertOp::Replace => return Err(unsupported("REPLACE INTO a table of files")),
        };
        let text = |text: &str| OptionValue::Text(text.to_owned());
        let mut options = vec![
            SqlOption::new("FORMAT", text(&format)),
            SqlOption::new("MODE", text(mode)),
            SqlOption::new("SINGLE FILE", text("false")),
        ];
        options.extend(of_format);
        options.extend(connection.map(|name| SqlOption::new("AWS CONNECTION", text(&name))));
        options.extend(
            compression(&self.options)
                .map(|codec| SqlOption::new("COMPRESSION", OptionValue::Text(codec))),
        );
        let partitions = self.schema.table_partition_cols().iter();
        let partitions: Vec<&str> = partitions.map(|field| field.name().as_str()).collect();
        if !partitions.is_empty() {
            let names = OptionValue::names(partitions);
            options.push(SqlOption::new("PARTITION BY", names));
        }
        Ok(Some(Insert { url, options, rows }))
    }

    /// Refuses a location that can't hold further files.
    pub(super) fn check_is_folder(&self) -> Result<()> {
        let what = match (self.location.may_be_folder(), self.is_folder) {
            (true, true) => return Ok(()),
            (true, false) => "a file",
            (false, _) => "a pattern",
        };
        let written = &self.location.written;
        let why = format!("rows can't be inserted into '{written}', {what}");
        let error = Error::new(ErrorKind::Unsupported, why);
        Err(error.with_hint("make an external table of a folder"))
    }

    /// Refuses partition columns, which DataFusion's writer does not fill.
    pub(super) fn check_has_no_partitions(&self) -> Result<()> {
        match self.schema.table_partition_cols().is_empty() {
            true => Ok(()),
            false => Err(unsupported(format!(
                "INSERT INTO '{}', which has partition columns,",
                self.location.written
            ))),
        }
    }
}

/// The codec that the table's options name, as `COPY` names it.
fn compression(options: &HashMap<String, String>) -> Option<String> {
    let codec = ["compression", "format.compression"]
        .iter()
        .find_map(|name| options.get(*name))?;
    let codec = codec.to_ascii_lowercase();
    Some(match codec.as_str() {
        "" | "uncompressed" => "none".to_owned(),
        _ => codec,
    })
}

fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not supported"))
}
