//! Chooses the number of rows in the query's batches.
//!
//! Invariant: a batch of the result is expected to take at most [`BATCH_BYTES`]. If sorts have
//! little memory, batches are so small that every sort can merge [`LEAST_RUNS`] runs. Neither limit
//! goes below [`LEAST_ROWS`] rows.
//!
//! DataFusion limits batches by rows alone: 8,192 rows of 400 texts are hundreds of megabytes, and
//! several such batches are in flight at once.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::catalog::Session;
use datafusion::common::config::ExecutionOptions;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;

use crate::memory::merging_bytes;

/// Upper bound for the expected size of a batch, in bytes.
const BATCH_BYTES: usize = 4 << 20;

/// Lower bound for the rows of a batch: with fewer, the cost per column and batch is noticeable.
const LEAST_ROWS: usize = 64;

/// The assumed size of a value without a fixed size, in bytes.
const TEXT_BYTES: usize = 64;

/// The memory that a merge needs for each spilled run, in batches: it reads two batches ahead, and
/// is charged the same again for their sort keys.
const BATCHES_PER_RUN: usize = 4;

/// The minimum number of runs that are merged at once. With fewer, rows would be spilled and read
/// again many times.
const LEAST_RUNS: usize = 8;

/// Returns the rows per batch that keep a batch within `most` bytes, for rows of `row_bytes` bytes.
/// `None` if the batch size of `config` is not larger.
fn fewer_rows(config: &SessionConfig, row_bytes: usize, most: usize) -> Option<usize> {
    let rows = (most / row_bytes.max(1)).max(LEAST_ROWS);
    (rows < config.batch_size()).then_some(rows)
}

fn row_bytes(schema: &Schema) -> usize {
    let fields = schema.fields().iter();
    fields.map(|field| value_bytes(field.data_type())).sum()
}

/// Returns the maximum number of spilled runs that a sort merges at once, for
/// `RuntimeEnvBuilder::with_max_spill_merge_fan_in`. `bytes` is the memory that queries share,
/// `threads` the number of threads that sort. Without a limit, the first sort takes all of the
/// memory and the others fail.
pub fn runs_merged(bytes: usize, threads: NonZeroUsize) -> usize {
    (bytes / threads / (BATCH_BYTES * BATCHES_PER_RUN)).max(LEAST_RUNS)
}

/// The sorts of a query that may spill.
#[derive(Debug, Default)]
struct Sorts {
    /// The number of sorts, counted once for each partition.
    count: usize,
    /// The expected size of the widest row of any sort, in bytes.
    row_bytes: usize,
}

impl Sorts {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut sorts = Self::default();
        sorts.find(plan);
        sorts
    }

    fn find(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        plan.children()
            .into_iter()
            .for_each(|child| self.find(child));
        // A sort with a limit keeps only its first rows, in memory, and does not spill.
        if plan
            .downcast_ref::<SortExec>()
            .is_some_and(|sort| sort.fetch().is_none())
        {
            self.count += plan.output_partitioning().partition_count();
            self.row_bytes = self.row_bytes.max(row_bytes(&plan.schema()));
        }
    }

    /// The bytes that each sort may reserve for merging; `None` if there is no sort, or if the
    /// memory pool is large.
    fn merging_bytes(&self, context: &TaskContext) -> Option<usize> {
        match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => merging_bytes(bytes)?.checked_div(self.count),
            _ => None,
        }
    }
}

/// Returns a session with a smaller batch size if the rows of `query` are too wide for the batch size
/// of `session`, or if sorts have little memory; else `None`. The query must be planned in it, because
/// some tables fix their batch size while planning.
pub(super) fn session_for_batches(
    session: &dyn Session,
    query: &LogicalPlan,
) -> Option<SessionState> {
    let config = session.config();
    let mut widest = row_bytes(query.schema().as_arrow());
    let mut most = BATCH_BYTES;
    let pool = session.runtime_env().memory_pool.memory_limit();
    if let (MemoryLimit::Finite(bytes), Some(sorted)) = (pool, widest_sort(query))
        && let Some(merging) = merging_bytes(bytes)
    {
        // Each partition may have a sort.
        let each = merging / config.target_partitions().max(1);
        most = most.min(each / (LEAST_RUNS * BATCHES_PER_RUN));
        widest = widest.max(sorted);
    }
    let rows = fewer_rows(config, widest, most)?;
    with_config(session, |config| config.with_batch_size(rows))
}

/// The session with another configuration; `None` if it is not DataFusion's own.
pub(super) fn with_config(
    session: &dyn Session,
    change: impl FnOnce(SessionConfig) -> SessionConfig,
) -> Option<SessionState> {
    let mut state = session.as_any().downcast_ref::<SessionState>()?.clone();
    let config = change(state.config().clone());
    *state.config_mut() = config;
    Some(state)
}

/// The expected size of the widest row that `query` sorts without a limit, in bytes; `None` if it
/// has no such sort.
fn widest_sort(query: &LogicalPlan) -> Option<usize> {
    let own = match query {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            Some(row_bytes(sort.input.schema().as_arrow()))
        }
        _ => None,
    };
    let below = query.inputs().into_iter().filter_map(widest_sort);
    own.into_iter().chain(below).max()
}

/// Returns a task context with a smaller batch size if rows of `schema` are wide or if sorts have
/// little memory. With little memory, also reserves memory for merging in each sort, unless the
/// user set `sort_spill_reservation_bytes`.
pub fn bound_batches(
    context: Arc<TaskContext>,
    query: &Arc<dyn ExecutionPlan>,
    schema: &Schema,
) -> Arc<TaskContext> {
    let mut config = context.session_config().clone();
    let mut rows = fewer_rows(&config, row_bytes(schema), BATCH_BYTES);
    let sorts = Sorts::of(query);
    let merging = sorts.merging_bytes(&context);
    if let Some(merging) = merging {
        let most = (merging / (LEAST_RUNS * BATCHES_PER_RUN)).min(BATCH_BYTES);
        let widest = sorts.row_bytes.max(row_bytes(schema));
        rows = fewer_rows(&config, widest, most);
        let set = config.options().execution.sort_spill_reservation_bytes;
        if set == ExecutionOptions::default().sort_spill_reservation_bytes {
            config = config.with_sort_spill_reservation_bytes(merging);
        }
    }
    match rows {
        Some(rows) => config = config.with_batch_size(rows),
        None if merging.is_none() => return context,
        None => {}
    }
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}

fn value_bytes(data_type: &DataType) -> usize {
    if let Some(bytes) = data_type.primitive_width() {
        return bytes;
    }
    match data_type {
        DataType::Null | DataType::Boolean => 1,
        DataType::FixedSizeBinary(bytes) => usize::try_from(*bytes).unwrap_or_default(),
        DataType::Struct(fields) => fields
            .iter()
            .map(|field| value_bytes(field.data_type()))
            .sum(),
        // Lists of unknown length: assumed to hold four values.
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            4 * value_bytes(item.data_type())
        }
        DataType::FixedSizeList(item, length) => {
            usize::try_from(*length).unwrap_or_default() * value_bytes(item.data_type())
        }
        DataType::Dictionary(_, _) | DataType::RunEndEncoded(_, _) => 4,
        _ => TEXT_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use datafusion::execution::memory_pool::FairSpillPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_expr::PhysicalSortExpr;
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    fn schema(columns: usize, data_type: &DataType) -> Arc<Schema> {
        let field = |i| Field::new(format!("c{i}"), data_type.clone(), true);
        Arc::new(Schema::new((0..columns).map(field).collect::<Vec<_>>()))
    }

    fn sorted(query: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let key = col("c0", &query.schema()).unwrap();
        let order = [PhysicalSortExpr::new_default(key)];
        Arc::new(SortExec::new(order.into(), query))
    }

    /// A context whose memory pool has `bytes` bytes.
    fn limited(bytes: usize) -> Arc<TaskContext> {
        let pool = Arc::new(FairSpillPool::new(bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
        Arc::new(TaskContext::default().with_runtime(runtime.build_arc().unwrap()))
    }

    #[test]
    fn only_wide_rows_come_in_smaller_batches() {
        let batch_size = |columns: usize, data_type: &DataType| {
            let schema = schema(columns, data_type);
            let query: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&schema)));
            let context = bound_batches(Arc::new(TaskContext::default()), &query, &schema);
            context.session_config().batch_size()
        };
        assert_eq!(batch_size(30, &DataType::Int64), 8192);
        assert_eq!(batch_size(400, &DataType::Utf8View), 163);
        assert_eq!(batch_size(4000, &DataType::Utf8), 64);
    }

    /// The settings are the rows of a batch, and the bytes that each sort reserves for merging.
    #[test]
    fn sorts_in_little_memory_have_smaller_batches_and_room_to_merge() {
        let schema = schema(16, &DataType::Int64);
        let settings = |bytes: usize, query: &Arc<dyn ExecutionPlan>| {
            let context = bound_batches(limited(bytes), query, &schema);
            let config = context.session_config();
            let reserved = config.options().execution.sort_spill_reservation_bytes;
            (config.batch_size(), reserved)
        };
        let plain: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&schema)));
        let (once, twice) = (
            sorted(Arc::clone(&plain)),
            sorted(sorted(Arc::clone(&plain))),
        );
        assert_eq!(settings(112 << 20, &plain), (8192, 10 << 20));
        assert_eq!(settings(112 << 20, &once), (8192, 42 << 20));
        assert_eq!(settings(112 << 20, &twice), (5376, 21 << 20));
        assert_eq!(settings(256 << 20, &twice), (8192, 10 << 20));
        let first_rows = once.downcast_ref::<SortExec>().unwrap().with_fetch(Some(3));
        let first_rows: Arc<dyn ExecutionPlan> = Arc::new(first_rows);
        assert_eq!(settings(112 << 20, &first_rows), (8192, 10 << 20));
    }
}
