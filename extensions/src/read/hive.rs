//! Partition columns as Hive and Spark write them.
//!
//! Invariant: a partition column has its declared type, or text if it is not declared. Hive's name
//! for a NULL partition is read as NULL:
//! <https://cwiki.apache.org/confluence/display/Hive/Configuration+Properties>
//! (`hive.exec.default.partition.name`).
//!
//! DataFusion's listing table reads the values as text, and a projection above it casts them to
//! their types. Filters on the column pass through the projection, so folders are still pruned.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::ViewTable;
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType, cast, lit};
use datafusion::physical_plan::ExecutionPlan;

use crate::sink::NULL_PARTITION;

/// Returns the table with its partition columns in their `declared` types. Partition columns that
/// are not declared are text.
pub(super) fn read_partitions(
    listing: ListingTable,
    declared: &Schema,
) -> Result<Arc<dyn TableProvider>> {
    let names: Vec<String> = listing
        .options()
        .table_partition_cols
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let definition = listing.get_table_definition().map(str::to_owned);
    let table: Arc<dyn TableProvider> = Arc::new(listing);
    if names.is_empty() {
        return Ok(table);
    }
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| {
        let column = Expr::Column(Column::new_unqualified(field.name()));
        if !names.contains(field.name()) {
            return column;
        }
        let data_type = declared
            .field_with_name(field.name())
            .map_or(DataType::Utf8, |field| field.data_type().clone());
        let text = cast(column, DataType::Utf8);
        cast(nullif(text, lit(NULL_PARTITION)), data_type).alias(field.name())
    });
    let plan = LogicalPlanBuilder::scan("files", provider_as_source(Arc::clone(&table)), None)?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(Arc::new(PartitionedTable {
        rows: ViewTable::new(plan, None),
        definition,
    }))
}

/// A projection over files that DataFusion treats as a base table, so that `DROP TABLE` drops it.
#[derive(Debug)]
struct PartitionedTable {
    rows: ViewTable,
    definition: Option<String>,
}

#[async_trait]
impl TableProvider for PartitionedTable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    /// DataFusion plans this instead of the table, so that filters and projections reach the files.
    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.rows.get_logical_plan()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.rows.scan(state, projection, filters, limit).await
    }
}
