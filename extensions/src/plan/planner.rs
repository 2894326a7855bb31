//! Turns Tidegate's logical nodes into operators.
//!
//! Invariant: an export's data ends in the writers of `FileWriteExec`; only their reports flow to
//! the operators above:
//!
//! ```text
//! DataSinkExec: ExportSink        the count
//!   CoalescePartitionsExec      reports; absent with one writer
//!     FileWriteExec             parallel file writers
//!       <the query>
//! ```
//!
//! If row groups of Parquet files can be moved as they are, a `RowGroupMoveExec` stands beside the
//! writers of the rest, or in their place.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, UserDefinedLogicalNode, WriteOp};
use datafusion::physical_expr::OrderingRequirements;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::batches::{session_for_batches, with_config};
use super::change::{ChangeExec, ChangeNode};
use super::command::CommandExec;
use super::copy_out::{CopyOutExec, CopyOutNode};
use super::layout::export_layout;
use super::logical::{CommandNode, CopyToNode};
use super::move_exec::RowGroupMoveExec;
use super::options::CopyOptions;
use super::passthrough::{Passed, PassedCounts, pass_through};
use super::returned_files::ExportedFilesExec;
use super::write::{FileWriteExec, Writers};
use crate::connect::open_store;
use crate::error::Result;
use crate::memory::{ExportMemory, ScanLoad};
use crate::services::Services;
use crate::sink::{Export, ExportSink, ExportSpec, Partition, Place, Target};
use crate::sql::ast::quote_name;

/// Plans Tidegate's nodes, as part of any physical planner.
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
        if let (Some(copy), [logical], [physical]) = (
            node.as_any().downcast_ref::<CopyOutNode>(),
            logical_inputs,
            physical_inputs,
        ) {
            let is_ordered = is_ordered(logical);
            let exec = CopyOutExec::new(Arc::clone(physical), copy.options.clone(), is_ordered);
            return Ok(Some(Arc::new(exec)));
        }
        if let (Some(change), [physical]) =
            (node.as_any().downcast_ref::<ChangeNode>(), physical_inputs)
        {
            let exec = ChangeExec::new(change.clone(), Arc::clone(physical));
            return Ok(Some(Arc::new(exec)));
        }
        let (Some(copy), [logical], [physical]) = (
            node.as_any().downcast_ref::<CopyToNode>(),
            logical_inputs,
            physical_inputs,
        ) else {
            return Ok(None);
        };
        let is_ordered = is_ordered(logical);
        let passed = match is_ordered {
            true => None,
            false => {
                let place = copy.target.place();
                let memory = export_memory(session, place)?;
                let part_bytes = copy.options.part_bytes(place);
                pass_through(physical, session, &copy.options, part_bytes, memory).await?
            }
        };
        let rows = ExportedRows {
            query: Arc::clone(physical),
            is_ordered,
            passed,
        };
        let CopyToNode {
            target,
            options,
            statement,
            ..
        } = copy;
        Ok(Some(plan_copy(target, options, statement, rows, session)?))
    }
}

/// The rows of an export.
pub(super) struct ExportedRows {
    /// The query.
    pub(super) query: Arc<dyn ExecutionPlan>,
    /// Whether the files must have the query's order.
    pub(super) is_ordered: bool,
    /// The row groups that are moved, if any.
    pub(super) passed: Option<Passed>,
}

/// Plans the export of rows.
///
/// # Errors
/// The format can't hold the columns, or the connection can't be used.
pub(super) fn plan_copy(
    target: &Target,
    options: &CopyOptions,
    statement: &str,
    rows: ExportedRows,
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let services = Services::of(session.config())?;
    let place = target.place();
    let memory = export_memory(session, place)?;
    let layout = export_layout(options, &rows.query.schema(), memory)?;
    let part_bytes = options.part_bytes(place);
    let connection = options.connection.as_deref();
    let store = open_store(&services, target, connection, part_bytes, &options.object)?;
    let (moves, counts, encoded) = match rows.passed {
        Some(passed) => (passed.moves, passed.counts, passed.rest),
        None => (Vec::new(), PassedCounts::default(), Some(rows.query)),
    };
    let encoders = encoded
        .as_ref()
        .map_or(0, |query| query.output_partitioning().partition_count());
    let partition = options.partition.as_ref().map(|partition| Partition {
        columns: layout.partition_columns,
        file_columns: layout.file_columns,
        max_open_files: partition.max_open_files,
    });
    let spec = ExportSpec {
        target: target.clone(),
        mode: options.mode,
        force: options.force,
        statement: statement.to_owned(),
        recover_statement: recover_statement(target, connection),
        input_schema: layout.input_schema,
        schema: layout.file_schema,
        partition,
        writers: (moves.len() + encoders) as u32,
        format: layout.format,
        max_file_bytes: options.max_file_bytes(),
        part_bytes,
        manifest: options.manifest,
        memory,
        moved: (!moves.is_empty()).then_some(counts.files),
    };
    let export = Arc::new(Export::new(
        spec,
        store,
        services.budget.clone(),
        services.reaper.clone(),
    ));
    let mut writing: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let movers = moves.len();
    if let Some(format) = options.moved_format().filter(|_| movers > 0) {
        let writers = movers + usize::from(encoded.is_some());
        let export = Arc::clone(&export);
        let moving = RowGroupMoveExec::new(export, format, moves, counts, writers);
        writing.push(Arc::new(moving));
    }
    if let Some(query) = encoded {
        let writers = choose_writers(rows.is_ordered, &query, options);
        writing.push(write_files(query, &export, options, writers, movers));
    }
    let writing = match <[_; 1]>::try_from(writing) {
        Ok([only]) => only,
        Err(both) => UnionExec::try_new(both)?,
    };
    let sink = Arc::new(ExportSink::new(Arc::clone(&export)));
    let count = Arc::new(DataSinkExec::new(writing, sink, None));
    if options.return_files {
        return Ok(Arc::new(ExportedFilesExec::new(count, export)));
    }
    Ok(count)
}

/// The writers of the rows of `query`, with numbers from `first` on.
fn write_files(
    query: Arc<dyn ExecutionPlan>,
    export: &Arc<Export>,
    options: &CopyOptions,
    writers: Writers,
    first: usize,
) -> Arc<dyn ExecutionPlan> {
    let spec = export.spec();
    let columns = spec.schema.fields().len();
    let most = most_writers(options, spec.part_bytes, columns, spec.memory);
    let is_short = spec
        .memory
        .is_short_for(options.partition.is_some(), columns);
    let (writers, most) = match writers {
        // If memory is short, one writer reads the partitions one after the other. `Single` would
        // add an operator that reads all of them at once.
        Writers::Single if is_short => (Writers::PerPartition, 1),
        writers => (writers, most),
    };
    let export = Arc::clone(export);
    Arc::new(FileWriteExec::new(query, export, writers, most, first))
}

/// The statement that finishes or removes an export to `target`.
fn recover_statement(target: &Target, connection: Option<&str>) -> String {
    // Bookkeeping is in the folder even if the target is a single object.
    let folder = target.with_file(None).to_string().replace('\'', "''");
    match connection {
        Some(connection) => {
            let connection = quote_name(connection);
            format!("RECOVER EXPORT '{folder}' WITH (AWS CONNECTION = {connection})")
        }
        None => format!("RECOVER EXPORT '{folder}'"),
    }
}

fn choose_writers(
    ordered: bool,
    physical: &Arc<dyn ExecutionPlan>,
    options: &CopyOptions,
) -> Writers {
    if ordered {
        return Writers::Ordered(ordering_of(physical));
    }
    if options.single_file {
        return Writers::Single;
    }
    // Several writers would split a small result into tiny files.
    let statistics = StatisticsContext::new()
        .compute(physical.as_ref(), &StatisticsArgs::new())
        .map(|statistics| statistics.total_byte_size);
    match statistics {
        Ok(Precision::Exact(bytes) | Precision::Inexact(bytes))
            if (bytes as u64) < options.max_file_bytes() =>
        {
            Writers::Single
        }
        _ => Writers::PerPartition,
    }
}

fn ordering_of(physical: &Arc<dyn ExecutionPlan>) -> Option<OrderingRequirements> {
    let ordering = physical.output_ordering().cloned();
    ordering.map(OrderingRequirements::from)
}

/// Upper bound for the number of writers, from the memory budget and `MAX OPEN FILES`.
fn most_writers(
    options: &CopyOptions,
    part_bytes: usize,
    columns: usize,
    memory: ExportMemory,
) -> usize {
    match &options.partition {
        Some(partition) => memory
            .most_writers(true, part_bytes, columns)
            .min(partition.max_open_files),
        None => memory.most_writers(false, part_bytes, columns),
    }
}

/// Whether the query's result is ordered: a Sort is at its top, or below only projections, aliases
/// and limits.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_ordered(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_ordered(&alias.input),
        LogicalPlan::Limit(limit) => is_ordered(&limit.input),
        _ => false,
    }
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
        let exported = exported_query(logical_plan);
        let query = exported.unwrap_or(logical_plan);
        let narrowed = session_for_batches(session, query);
        let session = narrowed.as_ref().map_or(session, |state| state as _);
        let MemoryLimit::Finite(pool) = session.runtime_env().memory_pool.memory_limit() else {
            return self
                .planner
                .create_physical_plan(logical_plan, session)
                .await;
        };
        let most = session.config().target_partitions();
        let load = Arc::new(ScanLoad::new(pool, most));
        let plan = self.plan_scans(logical_plan, session, &load, most).await?;
        // Row groups that are moved are not decoded.
        if let Some(refused) = load.take_refusal().filter(|_| decodes_parquet(&plan)) {
            return Err(refused.into());
        }
        let beside = match exported {
            Some(_) => Services::of(session.config())?.export_memory.bytes(),
            None => 0,
        };
        let fit = load.partitions_beside(beside, most);
        if fit == most {
            return Ok(plan);
        }
        let load = Arc::new(ScanLoad::new(pool, most));
        self.plan_scans(logical_plan, session, &load, fit).await
    }
}

impl TidegateQueryPlanner {
    /// Plans with `partitions` partitions, and adds the scans to `load`.
    async fn plan_scans(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
        load: &Arc<ScanLoad>,
        partitions: usize,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let planned = with_config(session, |config| {
            config
                .with_extension(Arc::clone(load))
                .with_target_partitions(partitions)
        });
        let session = planned.as_ref().map_or(session, |state| state as _);
        self.planner
            .create_physical_plan(logical_plan, session)
            .await
    }
}

fn decodes_parquet(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let source: Option<&DataSourceExec> = plan.downcast_ref();
    source.is_some_and(|source| source.downcast_to_file_source::<ParquetSource>().is_some())
        || plan.children().into_iter().any(decodes_parquet)
}

/// The query whose rows a plan exports or inserts.
fn exported_query(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::Extension(extension) => {
            let copy = extension.node.as_any().downcast_ref::<CopyToNode>()?;
            Some(&copy.input)
        }
        LogicalPlan::Dml(DmlStatement {
            op: WriteOp::Insert(_),
            input,
            ..
        }) => Some(input),
        LogicalPlan::Explain(explain) => exported_query(&explain.plan),
        LogicalPlan::Analyze(analyze) => exported_query(&analyze.input),
        _ => None,
    }
}

/// The budget of an export to `place`, which leaves room for the row groups that its query reads at
/// once.
fn export_memory(session: &dyn Session, place: &Place) -> Result<ExportMemory> {
    let config = session.config();
    let memory = Services::of(config)?.export_memory;
    let memory = match config.get_extension::<ScanLoad>() {
        Some(load) => memory.within(load.left_for_export(config.target_partitions())),
        None => memory,
    };
    Ok(match place {
        Place::LocalDisk => memory.for_local_disk(),
        Place::Bucket(_) => memory,
    })
}
