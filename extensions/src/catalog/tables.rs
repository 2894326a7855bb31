//! The content of a catalog as rows, for `SHOW SECRETS` and `tidegate.connections`.
//!
//! Invariant: no row holds a secret's value. A scan of a table shows the catalog at the time of the
//! scan.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::{filter_record_batch, like};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::{Catalog, Objects};
use crate::error::{Error, ErrorKind, Result};
use crate::services::Services;

/// The name of the schema that holds the tables.
const SCHEMA: &str = "tidegate";

/// Adds the tables `tidegate.secrets` and `tidegate.connections` to a session that was built with
/// [`install`](crate::install).
///
/// # Errors
/// [`ErrorKind::Internal`] if it was not built so, or if it has no default catalog of tables.
pub fn with_catalog_tables(context: SessionContext) -> Result<SessionContext> {
    let state = context.state();
    let services = Services::of(state.config())?;
    let options = &state.config_options().catalog;
    let catalog = context
        .catalog(&options.default_catalog)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "this session has no catalog of tables"))?;
    let tables = CatalogTables {
        catalog: Arc::clone(&services.catalog),
    };
    catalog.register_schema(SCHEMA, Arc::new(tables))?;
    Ok(context)
}

fn time(name: &str) -> Field {
    let utc = Some(Arc::from("UTC"));
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, utc), false)
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// The columns of [`secret_rows`].
pub(crate) fn secrets_schema() -> Schema {
    Schema::new(vec![
        text("name", false),
        text("used_by", false),
        time("created_at"),
        time("changed_at"),
    ])
}

/// The columns of [`connection_rows`].
pub(crate) fn connections_schema() -> Schema {
    Schema::new(vec![
        text("name", false),
        text("provider", false),
        text("endpoint", true),
        text("region", true),
        text("credentials", false),
        time("created_at"),
        time("changed_at"),
    ])
}

fn times(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
    let micros = values.map(|time| time.timestamp_micros());
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// One row per secret, without values.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] if `like` is not a valid pattern.
pub(crate) fn secret_rows(objects: &Objects, like: Option<&str>) -> Result<RecordBatch> {
    let secrets = objects.secrets();
    let users = secrets.keys().map(|name| {
        let users: Vec<&str> = objects.users_of(name).collect();
        users.join(", ")
    });
    let columns = vec![
        texts(secrets.keys().map(String::as_str)),
        Arc::new(StringArray::from_iter_values(users)) as ArrayRef,
        times(secrets.values().map(|entry| entry.created_at)),
        times(secrets.values().map(|entry| entry.changed_at)),
    ];
    rows(secrets_schema(), columns, like)
}

/// One row per connection.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] if `like` is not a valid pattern.
pub(crate) fn connection_rows(objects: &Objects, like: Option<&str>) -> Result<RecordBatch> {
    let entries = objects.connections();
    let connections = || entries.values().map(|entry| &entry.value);
    let endpoints: StringArray = connections()
        .map(|connection| connection.endpoint.as_ref().map(url::Url::as_str))
        .collect();
    let regions: StringArray = connections()
        .map(|connection| connection.region.as_deref())
        .collect();
    let columns = vec![
        texts(entries.keys().map(String::as_str)),
        texts(connections().map(|connection| connection.provider().name)),
        Arc::new(endpoints) as ArrayRef,
        Arc::new(regions) as ArrayRef,
        texts(connections().map(|connection| connection.credentials_kind())),
        times(entries.values().map(|entry| entry.created_at)),
        times(entries.values().map(|entry| entry.changed_at)),
    ];
    rows(connections_schema(), columns, like)
}

/// Builds a batch. With a pattern, keeps only the rows whose first column matches it.
fn rows(schema: Schema, columns: Vec<ArrayRef>, pattern: Option<&str>) -> Result<RecordBatch> {
    let failed =
        |error| Error::new(ErrorKind::Internal, "the rows can't be built").with_source(error);
    let names = columns.first().map(Arc::clone);
    let batch = RecordBatch::try_new(Arc::new(schema), columns).map_err(failed)?;
    let (Some(pattern), Some(names)) = (pattern, names) else {
        return Ok(batch);
    };
    let wanted = like(&names, &StringArray::new_scalar(pattern)).map_err(|error| {
        let why = format!("'{pattern}' is no pattern for LIKE");
        Error::new(ErrorKind::InvalidParameter, why).with_source(error)
    })?;
    filter_record_batch(&batch, &wanted).map_err(failed)
}

#[derive(Debug)]
struct CatalogTables {
    catalog: Arc<dyn Catalog>,
}

type RowsOf = fn(&Objects, Option<&str>) -> Result<RecordBatch>;

/// The name, schema and rows of a table.
struct Definition {
    name: &'static str,
    schema: fn() -> Schema,
    rows: RowsOf,
}

const TABLES: [Definition; 2] = [
    Definition {
        name: "secrets",
        schema: secrets_schema,
        rows: secret_rows,
    },
    Definition {
        name: "connections",
        schema: connections_schema,
        rows: connection_rows,
    },
];

#[async_trait]
impl SchemaProvider for CatalogTables {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|table| table.name.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let found = TABLES.iter().find(|table| table.name == name);
        Ok(found.map(|table| {
            Arc::new(CatalogTable {
                catalog: Arc::clone(&self.catalog),
                schema: Arc::new((table.schema)()),
                rows: table.rows,
            }) as Arc<dyn TableProvider>
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.iter().any(|table| table.name == name)
    }
}

#[derive(Debug)]
struct CatalogTable {
    catalog: Arc<dyn Catalog>,
    schema: SchemaRef,
    rows: RowsOf,
}

#[async_trait]
impl TableProvider for CatalogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let rows = (self.rows)(&self.catalog.objects()?, None)?;
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(state, projection, filters, limit).await
    }
}
