//! From Tidegate's logical nodes to operators.
//!
//! Invariant: the data of an export flows from each partition of the query into a writer of its
//! own; only reports come together:
//!
//! ```text
//! DataSinkExec: S3Sink          the count
//!   CoalescePartitionsExec      reports; absent with one writer
//!     FileWriteExec             parallel file writers
//!       <the query>
//! ```

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::OrderingRequirements;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::command::CommandExec;
use super::connect::{connect, find_connection};
use super::logical::{CommandNode, CopyToNode};
use super::write::{FileWriteExec, Writers};
use crate::error::Result;
use crate::services::Services;
use crate::sink::{Export, ExportSpec, S3Sink, S3UploadStore};

/// Plans Tidegate's nodes; give it to any physical planner.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatementPlanner;

#[async_trait]
impl ExtensionPlanner for StatementPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _planning_ctx: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<CommandNode>() {
            let services = Services::of(session.config())?;
            let exec = CommandExec::new(Arc::clone(node.command()), services);
            return Ok(Some(Arc::new(exec)));
        }
        let (Some(copy), [logical], [physical]) = (
            node.as_any().downcast_ref::<CopyToNode>(),
            logical_inputs,
            physical_inputs,
        ) else {
            return Ok(None);
        };
        let services = Services::of(session.config())?;
        Ok(Some(plan_copy(copy, logical, physical, &services)?))
    }
}

fn plan_copy(
    copy: &CopyToNode,
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
    services: &Services,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = &copy.options;
    let connection = find_connection(services, &options.connection)?;
    let bucket = copy.target.bucket();
    let client = connect(services, connection, Some(bucket), services.retry.clone())?;
    let store = S3UploadStore::new(client, options.connection.clone());
    let spec = ExportSpec {
        target: copy.target.clone(),
        mode: options.mode,
        connection: options.connection.clone(),
        statement: copy.statement.clone(),
        schema: with_unique_names(&physical.schema()),
        format: options.file_format(),
        max_file_bytes: options.max_file_bytes,
        part_bytes: options.part_bytes(),
    };
    let export = Arc::new(Export::new(
        spec,
        Arc::new(store),
        services.budget.clone(),
        services.reaper.clone(),
    ));
    let writers = choose_writers(logical, physical, options.max_file_bytes);
    let write = FileWriteExec::new(Arc::clone(physical), Arc::clone(&export), writers);
    let sink = Arc::new(S3Sink::new(export));
    Ok(Arc::new(DataSinkExec::new(Arc::new(write), sink, None)))
}

fn choose_writers(
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
    max_file_bytes: u64,
) -> Writers {
    if is_ordered(logical) {
        let ordering = physical.output_ordering().cloned();
        return Writers::Ordered(ordering.map(OrderingRequirements::from));
    }
    // A small result in many files would be many tiny files.
    let statistics = StatisticsContext::new()
        .compute(physical.as_ref(), &StatisticsArgs::new())
        .map(|statistics| statistics.total_byte_size);
    match statistics {
        Ok(Precision::Exact(bytes) | Precision::Inexact(bytes))
            if (bytes as u64) < max_file_bytes =>
        {
            Writers::Single
        }
        _ => Writers::PerPartition,
    }
}

/// Whether the query's result has an order: a Sort at its top, below nothing but projections,
/// aliases and limits.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_ordered(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_ordered(&alias.input),
        LogicalPlan::Limit(limit) => is_ordered(&limit.input),
        _ => false,
    }
}

/// Numbers duplicate column names: `a`, `a2`, `a3`.
fn with_unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken: HashSet<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    if taken.len() == schema.fields().len() {
        return SchemaRef::clone(schema);
    }
    let mut seen: HashSet<String> = HashSet::new();
    let rename = |field: &Arc<Field>| {
        if seen.insert(field.name().clone()) {
            return Arc::clone(field);
        }
        let unique = (2u64..)
            .map(|number| format!("{}{number}", field.name()))
            .find(|name| taken.insert(name.clone()))
            .unwrap_or_else(|| field.name().clone());
        Arc::new(field.as_ref().clone().with_name(unique))
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(rename).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// DataFusion's planner with [`StatementPlanner`] added.
pub struct TidegateQueryPlanner {
    planner: DefaultPhysicalPlanner,
}

impl Default for TidegateQueryPlanner {
    fn default() -> Self {
        Self {
            planner: DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(
                StatementPlanner,
            )]),
        }
    }
}

impl fmt::Debug for TidegateQueryPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TidegateQueryPlanner")
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl QueryPlanner for TidegateQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.planner
            .create_physical_plan(logical_plan, session)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    #[test]
    fn duplicate_names_are_numbered() {
        let names = ["a", "b", "a", "a2", "a", "b"];
        let fields: Vec<Field> = names
            .iter()
            .map(|name| Field::new(*name, DataType::Int32, true))
            .collect();
        let unique = with_unique_names(&Arc::new(Schema::new(fields)));
        let unique: Vec<&str> = unique.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(unique, ["a", "b", "a3", "a2", "a4", "b2"]);
    }
}
