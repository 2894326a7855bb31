//! `INSERT INTO` a table of files, as an export that appends.
//!
//! Invariant: inserted rows are written as `COPY … TO` writes them, with the same promises.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::physical_expr::expressions::{Column, cast};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::bind::Destination;
use super::options::FormatOptions;
use super::parquet_types::stored_type;
use super::planner::{ExportedRows, plan_copy};
use crate::error::Result;
use crate::read::Insert;
use crate::services::Services;
use crate::sql::ast::describe_export;

/// Plans the export of the inserted rows.
///
/// # Errors
/// As for `COPY … TO`, without places in a text.
pub(crate) fn plan_insert(insert: Insert, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
    let planned = || {
        let services = &Services::of(session.config())?;
        let destination = Destination::bind(services, &insert.url, &insert.options)?;
        let mut rows = insert.rows;
        if matches!(destination.options.format, FormatOptions::Parquet(_)) {
            rows = cast_rows(rows)?;
        }
        let statement = describe_export(&insert.url, &insert.options);
        let Destination { target, options } = &destination;
        let rows = ExportedRows {
            query: rows,
            is_ordered: false,
            passed: None,
        };
        plan_copy(target, options, &statement, rows, session)
    };
    planned().map_err(crate::error::Error::without_location)
}

/// Casts rows to types that Parquet has.
fn cast_rows(rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = rows.schema();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let column = Arc::new(Column::new(field.name(), index));
        let wanted = stored_type(field.data_type(), None);
        columns.push(ProjectionExpr {
            expr: cast(column, &schema, wanted)?,
            alias: field.name().clone(),
        });
    }
    Ok(Arc::new(ProjectionExec::try_new(columns, rows)?))
}
