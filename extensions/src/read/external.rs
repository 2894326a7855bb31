//! `CREATE EXTERNAL TABLE` over files.
//!
//! Invariant: a statement that this factory does not support goes to DataFusion's own factory.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::CreateExternalTable;

use super::folder::FilesOf;
use super::location::nothing_at;
use super::reading::Reading;
use crate::connect::written_location;

/// The formats that this module reads, as DataFusion names them.
const FORMATS: [&str; 4] = ["parquet", "csv", "json", "arrow"];

/// Wraps each table factory of the session, so that its external tables are read by this module.
pub(crate) fn with_exported_folders(builder: &mut SessionStateBuilder) {
    let Some(factories) = builder.table_factories() else {
        return;
    };
    for factory in factories.values_mut() {
        let inner = Arc::clone(factory);
        *factory = Arc::new(FilesFactory { inner });
    }
}

#[derive(Debug)]
struct FilesFactory {
    inner: Arc<dyn TableProviderFactory>,
}

#[async_trait]
impl TableProviderFactory for FilesFactory {
    async fn create(
        &self,
        state: &dyn Session,
        cmd: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let has_more = cmd.unbounded || !cmd.order_exprs.is_empty();
        let is_named = |format: &&&str| format.eq_ignore_ascii_case(&cmd.file_type);
        let (Some(session), Some(format), false) = (
            state.as_any().downcast_ref::<SessionState>(),
            FORMATS.iter().find(is_named),
            has_more,
        ) else {
            return self.inner.create(state, cmd).await;
        };
        let names: Vec<String> = cmd.table_partition_cols.iter().map(unquoted).collect();
        let files = FilesOf {
            locations: &cmd.locations,
            format: Some(format),
            reading: &Reading::from_options(format, &cmd.options)?,
            declared: cmd.schema.inner(),
            partitioned_by: Some(names.as_slice()).filter(|names| !names.is_empty()),
        };
        let Some(mut table) = files.open(session).await? else {
            let location = cmd.locations.first().map_or("", String::as_str);
            let error = nothing_at(&written_location(location));
            let error = error.with_hint("declare the columns to make a table without files");
            return Err(DataFusionError::from(error));
        };
        table.definition.clone_from(&cmd.definition);
        table.constraints = cmd.constraints.clone();
        table.defaults.clone_from(&cmd.column_defaults);
        Ok(Arc::new(table))
    }
}

/// DataFusion keeps the quotes of the names in PARTITIONED BY.
fn unquoted(name: &String) -> String {
    let inner = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    match inner {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.clone(),
    }
}
