//! How many rows the query's batches have.
//!
//! Invariant: a batch of the result is expected to be no larger than [`BATCH_BYTES`], nor, where rows are
//! sorted, than merging what went to disk can have several of. DataFusion cuts batches by rows alone:
//! 8,192 rows of 400 texts are hundreds of megabytes, of which several are on their way at once.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::catalog::Session;
use datafusion::common::config::ExecutionOptions;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::prelude::SessionConfig;

/// What a batch is expected to take at most, in bytes.
const BATCH_BYTES: usize = 4 << 20;

/// With fewer rows, every column's fixed cost per batch would be felt.
const LEAST_ROWS: usize = 64;

/// What a value without a fixed size is taken to have, in bytes.
const TEXT_BYTES: usize = 64;

/// Sorts that merge, in memory or what they have on disk, may take one in so many bytes of the memory
/// that all queries and exports share.
const MERGING_SHARE: usize = 2;

/// What merging takes for each run on disk, in batches: it reads two ahead, and is charged as much again
/// for their keys.
const BATCHES_PER_RUN: usize = 4;

/// At least so many runs are merged at once: with fewer, rows would be written and read again many times.
const LEAST_RUNS: usize = 8;

/// The most that a sort keeps free for merging, in bytes: where there is more memory, less than its share
/// is enough, and other queries need theirs.
const MOST_RESERVED: usize = 32 << 20;

/// How many rows the batches of a query should have whose result has this schema, if that is fewer
/// than `config` says, for batches of `most` bytes.
fn fewer_rows(config: &SessionConfig, schema: &Schema, most: usize) -> Option<usize> {
    let fields = schema.fields().iter();
    let row_bytes: usize = fields.map(|field| value_bytes(field.data_type())).sum();
    let rows = (most / row_bytes.max(1)).max(LEAST_ROWS);
    (rows < config.batch_size()).then_some(rows)
}

/// How many runs of a sort that went to disk should be merged at once, where queries share `bytes` bytes and
/// sort on `threads` threads: `RuntimeEnvBuilder::with_max_spill_merge_fan_in`. Without a limit the first of
/// the sorts takes all the memory there is, and the others fail.
pub fn runs_merged(bytes: usize, threads: NonZeroUsize) -> usize {
    (bytes / threads / (BATCH_BYTES * BATCHES_PER_RUN)).max(LEAST_RUNS)
}

fn count_sorts(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below: usize = plan.children().into_iter().map(count_sorts).sum();
    below + usize::from(plan.downcast_ref::<SortExec>().is_some())
}

/// What one of `sorts` sorts may take for merging on one thread, in bytes; none if nothing limits it.
fn merging_bytes(context: &TaskContext, sorts: usize) -> Option<usize> {
    let MemoryLimit::Finite(bytes) = context.memory_pool().memory_limit() else {
        return None;
    };
    let threads = context.session_config().target_partitions();
    Some(bytes / MERGING_SHARE / (threads * sorts).max(1))
}

/// The session to plan a query in, if its result is too wide for the batches of `session`: some
/// tables decide on their batches when they are planned.
pub(super) fn session_for_wide_rows(
    session: &dyn Session,
    schema: &Schema,
) -> Option<SessionState> {
    let rows = fewer_rows(session.config(), schema, BATCH_BYTES)?;
    let mut state = session.as_any().downcast_ref::<SessionState>()?.clone();
    let config = state.config().clone().with_batch_size(rows);
    *state.config_mut() = config;
    Some(state)
}

/// The context of a query whose result has this schema: with smaller batches if its rows are wide, or are
/// sorted in little memory, of which every sort then keeps enough free for merging.
pub fn bound_batches(
    context: Arc<TaskContext>,
    query: &Arc<dyn ExecutionPlan>,
    schema: &Schema,
) -> Arc<TaskContext> {
    let mut config = context.session_config().clone();
    let mut batch_bytes = BATCH_BYTES;
    let sorts = count_sorts(query);
    if let (1.., Some(merging)) = (sorts, merging_bytes(&context, sorts)) {
        let runs = context.runtime_env().disk_manager.max_spill_merge_fan_in();
        let each = merging.checked_div(runs * BATCHES_PER_RUN);
        batch_bytes = each.map_or(BATCH_BYTES, |bytes| bytes.min(BATCH_BYTES));
        let set = config.options().execution.sort_spill_reservation_bytes;
        // What a user has set stays.
        if set == ExecutionOptions::default().sort_spill_reservation_bytes {
            config = config.with_sort_spill_reservation_bytes(merging.min(MOST_RESERVED));
        }
    }
    match fewer_rows(&config, schema, batch_bytes) {
        Some(rows) => config = config.with_batch_size(rows),
        None if sorts == 0 => return context,
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
        // A few values each.
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

    /// Two threads that share so many bytes, and merge eight runs at once.
    fn limited(bytes: usize) -> Arc<TaskContext> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(bytes)))
            .with_max_spill_merge_fan_in(8);
        let config = SessionConfig::new().with_target_partitions(2);
        let context = TaskContext::default().with_session_config(config);
        Arc::new(context.with_runtime(runtime.build_arc().unwrap()))
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

    /// The rows of a batch, and the bytes kept free by each sort on each thread.
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
        assert_eq!(settings(112 << 20, &once), (7168, 28 << 20));
        assert_eq!(settings(112 << 20, &twice), (3584, 14 << 20));
        assert_eq!(settings(8 << 30, &once), (8192, 32 << 20));
    }
}
