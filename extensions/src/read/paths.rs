//! Paths and globs as tables: `SELECT * FROM 'data/*.parquet'`.
//!
//! Invariant: a name is read as a path only if no table has this name and if the path has files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::TableReference;
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl,
};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::functions::FunctionCall;
use super::hive::read_partitions;
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

/// Returns the files of a path as a table, in the format of their extension. `None` if the name is
/// not a path.
async fn path_table(
    state: &SessionState,
    path: &str,
) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
    if path.starts_with("s3://") {
        return Err(needs_connection(path).into());
    }
    let Ok(mut url) = ListingTableUrl::parse(path) else {
        return Ok(None);
    };
    if url.is_collection() && url.get_glob().is_none() {
        url = url.with_glob(VISIBLE)?;
    }
    let config = match ListingTableConfig::new(url).infer_options(state).await {
        Ok(config) => config,
        // A name that does not look like a path is the name of a table that does not exist.
        Err(_) if !path.contains(['/', '*', '.']) => return Ok(None),
        Err(error) => {
            let why =
                format!("'{path}' can't be read as a table: no file, or none of a known kind");
            let error = Error::new(ErrorKind::UndefinedObject, why).with_source(error);
            return Err(error.with_hint(KINDS).into());
        }
    };
    let config = config.infer_partitions_from_path(state).await?;
    let mut config = config.infer_schema(state).await?;
    if let (Some(options), Some(schema)) = (&mut config.options, &config.file_schema) {
        let in_names = &mut options.table_partition_cols;
        if in_names.iter().all(|(name, _)| has_column(schema, name)) {
            in_names.clear();
        }
    }
    let table = ListingTable::try_new(config)?;
    read_partitions(table, &Schema::empty()).map(Some)
}

/// Whether files hold a column. A partition column that they hold is read from the files, because
/// its type is known there.
fn has_column(files: &Schema, name: &str) -> bool {
    files.column_with_name(name).is_some()
}

/// Splits the glob off a URL, because DataFusion looks for globs only in paths.
fn parse_location(location: &str) -> DataFusionResult<ListingTableUrl> {
    if !location.contains("://") {
        return ListingTableUrl::parse(location);
    }
    let Some(special) = location.find(['*', '?', '[']) else {
        return ListingTableUrl::parse(location);
    };
    let folder = location[..special].rfind('/').map_or(0, |slash| slash + 1);
    let (folder, glob) = location.split_at(folder);
    ListingTableUrl::parse(folder)?.with_glob(glob)
}

const KINDS: &str = "file names must end in .parquet, .csv, .json or .arrow; compressed text also ends in .gz or .zst; read_csv and similar functions read files of any name";

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
    let location = match &call.connection {
        Some(connection) => {
            let services = Services::of(state.config())?;
            readable_location(state, &services, connection, &call.location).await?
        }
        None if call.location.starts_with("s3://") => {
            return Err(needs_connection(&call.location));
        }
        None => call.location.clone(),
    };
    let options: HashMap<String, String> = call.options.iter().cloned().collect();
    let folder = Folder {
        format: call.format,
        table: None,
        options: &options,
        location: &location,
        declared: &Schema::empty(),
        partition_columns: &[],
    };
    let table = folder.list(state).await?;
    let Some(table) = table else {
        return Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("there are no files to read at '{}'", call.location),
        ));
    };
    Ok(read_partitions(table, &Schema::empty())?)
}

/// Files of one format at a path, glob or URL.
pub(super) struct Folder<'a> {
    pub(super) format: &'a str,
    /// The table's name, if it has one. Dropping the table drops the cache entries of this name.
    pub(super) table: Option<&'a TableReference>,
    /// DataFusion's options of the format.
    pub(super) options: &'a HashMap<String, String>,
    pub(super) location: &'a str,
    /// The declared columns, including partition columns. Inferred if there are none.
    pub(super) declared: &'a Schema,
    /// The columns in the folders' names. Inferred if there are none and no column is declared.
    pub(super) partition_columns: &'a [String],
}

impl Folder<'_> {
    /// The files as a table whose partition columns are text; `None` if no column is
    /// declared and there are no files.
    pub(super) async fn list(&self, state: &SessionState) -> Result<Option<ListingTable>> {
        let factory = state.get_file_format_factory(self.format).ok_or_else(|| {
            let why = format!("this session reads no {}", self.format);
            Error::new(ErrorKind::Unsupported, why)
        })?;
        let format = factory.create(state, self.options)?;
        let is_declared = !self.declared.fields().is_empty();
        let mut url = parse_location(self.location)?;
        if let Some(table) = self.table {
            url = url.with_table_ref(table.clone());
        }
        if url.is_collection() && url.get_glob().is_none() {
            let extension = match format.compression_type() {
                Some(compression) => format.get_ext_with_compression(&compression),
                None => Ok(format.get_ext()),
            };
            url = match extension {
                Ok(extension) if !is_declared => {
                    url.with_glob(&format!("{VISIBLE}.{}", extension.trim_start_matches('.')))?
                }
                _ => url.with_glob(VISIBLE)?,
            };
        }
        if !is_declared {
            let store = state.runtime_env().object_store(&url)?;
            let mut files = url.list_all_files(state, store.as_ref(), "").await?;
            if files.try_next().await?.is_none() {
                return Ok(None);
            }
        }
        let mut listing = ListingOptions::new(format).with_file_extension("");
        let is_told = is_declared || !self.partition_columns.is_empty();
        let mut partition_columns = match is_told {
            true => self.partition_columns.to_vec(),
            false => listing.infer_partitions(state, &url).await?,
        };
        let schema = if is_declared {
            let is_in_files = |field: &&FieldRef| !partition_columns.contains(field.name());
            let fields = self.declared.fields().iter().filter(is_in_files);
            let fields: Vec<FieldRef> = fields.cloned().collect();
            SchemaRef::new(Schema::new(fields))
        } else {
            listing.infer_schema(state, &url).await?
        };
        let mut names = partition_columns.iter();
        if !is_told && names.all(|name| has_column(&schema, name)) {
            partition_columns.clear();
        }
        let as_text = |name| (name, DataType::Utf8);
        listing =
            listing.with_table_partition_cols(partition_columns.into_iter().map(as_text).collect());
        let config = ListingTableConfig::new(url)
            .with_listing_options(listing)
            .with_schema(schema);
        let cache = state.runtime_env().cache_manager.get_file_statistic_cache();
        Ok(Some(ListingTable::try_new(config)?.with_cache(cache)))
    }
}

/// Matches the data files of a folder. Names that begin with `_` or `.` are not data, as in Hive
/// and Spark: an export's bookkeeping, for example.
const VISIBLE: &str = "[!_.]*";
