//! Paths and globs as tables: `SELECT * FROM 'data/*.parquet'`.
//!
//! Invariant: a name is read as a path only if no table has this name and if the path has files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::DFSchema;
use datafusion::datasource::MemTable;
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionState;
use datafusion::logical_expr::ExprSchemable;
use datafusion::prelude::SessionContext;

use super::folder::FilesOf;
use super::functions::{FunctionCall, GLOB};
use super::location::{Location, nothing_at};
use super::reading::Reading;
use crate::connect::readable_location;
use crate::error::{Error, ErrorKind, Result};
use crate::services::Services;

/// Returns the session with paths and globs as tables, and with the functions `read_parquet`,
/// `read_csv` and `read_json`.
pub fn with_file_tables(context: SessionContext) -> SessionContext {
    let tables = Arc::new(FileTables {
        session: DynamicListTableFactory::default(),
    });
    let catalogs = Arc::clone(context.state().catalog_list());
    let factory: Arc<dyn UrlTableFactory> = Arc::clone(&tables) as _;
    let id = context.session_id();
    let state = context
        .into_state_builder()
        .with_session_id(id)
        .with_catalog_list(Arc::new(DynamicFileCatalog::new(catalogs, factory)))
        .build();
    let context = SessionContext::from(state);
    let session = tables.session.session_store();
    session.with_state(context.state_weak_ref());
    context
}

#[derive(Debug)]
struct FileTables {
    /// Holds the session. Only DataFusion's own factory can do that.
    session: DynamicListTableFactory,
}

#[async_trait]
impl UrlTableFactory for FileTables {
    async fn try_new(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let session = self.session.session_store().get_session().upgrade();
        let state = session.and_then(|session| {
            let session = session.read();
            session.as_any().downcast_ref::<SessionState>().cloned()
        });
        let state = state.ok_or_else(|| {
            DataFusionError::from(Error::new(ErrorKind::Internal, "the session has ended"))
        })?;
        match FunctionCall::from_table_name(name) {
            Some(call) => Ok(Some(called_table(&state, &call).await?)),
            None => path_table(&state, name).await,
        }
    }
}

/// Returns the files of a path as a table, in the format of their ending. `None` if the name is not
/// a path.
async fn path_table(
    state: &SessionState,
    path: &str,
) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
    if path.starts_with("s3://") {
        return Err(needs_connection(path).into());
    }
    let looks_like_path = path.contains(['/', '*', '.']);
    if !looks_like_path && !Services::of(state.config())?.access.local_files {
        return Ok(None);
    }
    let files = FilesOf {
        locations: &[path.to_owned()],
        format: None,
        reading: &Reading::default(),
        declared: &Schema::empty(),
        partitioned_by: None,
    };
    match files.open(state).await? {
        Some(table) => Ok(Some(Arc::new(table))),
        // A name that does not look like a path is the name of a table that does not exist.
        None if !looks_like_path => Ok(None),
        None => {
            let why = format!("'{path}' can't be read as a table: there is no such file");
            Err(Error::new(ErrorKind::UndefinedObject, why).into())
        }
    }
}

fn needs_connection(location: &str) -> Error {
    Error::new(
        ErrorKind::InvalidParameter,
        format!("a connection is required to read '{location}'"),
    )
    .with_hint(format!(
        "read_parquet('{location}', aws_connection => 'name'), or read_csv, or read_json"
    ))
}

/// Returns the files that a function call reads as a table.
async fn called_table(state: &SessionState, call: &FunctionCall) -> Result<Arc<dyn TableProvider>> {
    let mut locations = Vec::with_capacity(call.locations.len());
    for location in &call.locations {
        locations.push(match &call.connection {
            Some(connection) => {
                let services = Services::of(state.config())?;
                readable_location(state, &services, connection, location).await?
            }
            None if location.starts_with("s3://") => return Err(needs_connection(location)),
            None => location.clone(),
        });
    }
    if call.function == GLOB {
        return list_files(state, &locations).await;
    }
    let files = FilesOf {
        locations: &locations,
        format: Some(call.format),
        reading: &call.reading()?,
        declared: &declared_columns(state, &call.columns)?,
        partitioned_by: None,
    };
    let table = files.open(state).await?;
    let table = table.ok_or_else(|| nothing_at(&call.locations.join("', '")))?;
    Ok(Arc::new(table))
}

/// The columns that `columns => {'name': 'type', …}` declares.
fn declared_columns(state: &SessionState, columns: &[(String, String)]) -> Result<Schema> {
    let fields = columns.iter().map(|(name, data_type)| {
        // The SQL planner knows the types; it takes them only in expressions.
        let null = format!("CAST(NULL AS {data_type})");
        let typed = state
            .create_logical_expr(&null, &DFSchema::empty())
            .and_then(|expr| expr.get_type(&DFSchema::empty()));
        match typed {
            Ok(data_type) => Ok(Field::new(name, data_type, true)),
            Err(error) => {
                let why = format!("the type '{data_type}' of the column {name} is not known");
                Err(Error::new(ErrorKind::InvalidParameter, why).with_source(error))
            }
        }
    });
    Ok(Schema::new(fields.collect::<Result<Vec<_>>>()?))
}

/// The files of locations as rows: path, size in bytes, time of the last change.
async fn list_files(state: &SessionState, locations: &[String]) -> Result<Arc<dyn TableProvider>> {
    let location = Location::parse_all(locations)?;
    let files = location.list(state).await?.files;
    let objects = || files.iter().map(|file| &file.object);
    let paths = objects().map(|object| Some(location.name_of(&object.location)));
    let sizes = objects().map(|object| i64::try_from(object.size).ok());
    let times = objects().map(|object| object.last_modified.timestamp_micros());
    let columns: [(&str, ArrayRef); 3] = [
        ("file", Arc::new(paths.collect::<StringArray>())),
        ("size", Arc::new(sizes.collect::<Int64Array>())),
        (
            "last_modified",
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_utc()),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).map_err(DataFusionError::from)?;
    Ok(Arc::new(MemTable::try_new(
        batch.schema(),
        vec![vec![batch]],
    )?))
}
