//! `CREATE EXTERNAL TABLE` over a folder.
//!
//! Invariant: a statement that this factory does not support goes to DataFusion's own factory.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::CreateExternalTable;

use super::hive::read_partitions;
use super::paths::Folder;
use crate::error::{Error, ErrorKind};

/// Wraps each table factory of the session, so that its external tables can read an export's
/// folder.
pub(crate) fn with_exported_folders(builder: &mut SessionStateBuilder) {
    let Some(factories) = builder.table_factories() else {
        return;
    };
    for factory in factories.values_mut() {
        let inner = Arc::clone(factory);
        *factory = Arc::new(FolderFactory { inner });
    }
}

#[derive(Debug)]
struct FolderFactory {
    inner: Arc<dyn TableProviderFactory>,
}

#[async_trait]
impl TableProviderFactory for FolderFactory {
    async fn create(
        &self,
        state: &dyn Session,
        cmd: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let has_more = cmd.unbounded || !cmd.order_exprs.is_empty();
        let (Some(session), [location], false) = (
            state.as_any().downcast_ref::<SessionState>(),
            cmd.locations.as_slice(),
            has_more,
        ) else {
            return self.inner.create(state, cmd).await;
        };
        if !location.ends_with('/') || session.get_file_format_factory(&cmd.file_type).is_none() {
            return self.inner.create(state, cmd).await;
        }
        let folder = Folder {
            format: &cmd.file_type,
            table: Some(&cmd.name),
            options: &cmd.options,
            location,
            declared: cmd.schema.inner(),
            partition_columns: &cmd.table_partition_cols,
        };
        let Some(table) = folder.list(session).await? else {
            let why = format!("there are no files to read at '{location}'");
            let error = Error::new(ErrorKind::UndefinedObject, why);
            let error = error.with_hint("declare the columns to make a table without files");
            return Err(DataFusionError::from(error));
        };
        let table = table
            .with_definition(cmd.definition.clone())
            .with_constraints(cmd.constraints.clone())
            .with_column_defaults(cmd.column_defaults.clone());
        read_partitions(table, cmd.schema.inner())
    }
}
