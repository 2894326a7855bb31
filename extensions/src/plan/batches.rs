//! How many rows the query's batches have.
//!
//! Invariant: a batch of the result is expected to be no larger than [`BATCH_BYTES`]. DataFusion
//! cuts batches by rows alone: 8,192 rows of 400 texts are hundreds of megabytes, of which several
//! are on their way at once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::catalog::Session;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::prelude::SessionConfig;

/// What a batch is expected to take at most, in bytes.
const BATCH_BYTES: usize = 4 << 20;

/// With fewer rows, every column's fixed cost per batch would be felt.
const LEAST_ROWS: usize = 64;

/// What a value without a fixed size is taken to have, in bytes.
const TEXT_BYTES: usize = 64;

/// How many rows the batches of a query should have whose result has this schema, if that is fewer
/// than `config` says.
fn fewer_rows(config: &SessionConfig, schema: &Schema) -> Option<usize> {
    let fields = schema.fields().iter();
    let row_bytes: usize = fields.map(|field| value_bytes(field.data_type())).sum();
    let rows = (BATCH_BYTES / row_bytes.max(1)).max(LEAST_ROWS);
    (rows < config.batch_size()).then_some(rows)
}

/// The session to plan a query in, if its result is too wide for the batches of `session`: some
/// tables decide on their batches when they are planned.
pub(super) fn session_for_wide_rows(
    session: &dyn Session,
    schema: &Schema,
) -> Option<SessionState> {
    let rows = fewer_rows(session.config(), schema)?;
    let mut state = session.as_any().downcast_ref::<SessionState>()?.clone();
    let config = state.config().clone().with_batch_size(rows);
    *state.config_mut() = config;
    Some(state)
}

/// The context of a query whose result has this schema, with smaller batches if its rows are wide.
pub(super) fn bound_batches(context: Arc<TaskContext>, schema: &Schema) -> Arc<TaskContext> {
    let config = context.session_config();
    let Some(rows) = fewer_rows(config, schema) else {
        return context;
    };
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        config.clone().with_batch_size(rows),
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

    use super::*;

    #[test]
    fn only_wide_rows_come_in_smaller_batches() {
        let batch_size = |columns: usize, data_type: &DataType| {
            let field = |i| Field::new(format!("c{i}"), data_type.clone(), true);
            let schema = Schema::new((0..columns).map(field).collect::<Vec<_>>());
            let context = bound_batches(Arc::new(TaskContext::default()), &schema);
            context.session_config().batch_size()
        };
        assert_eq!(batch_size(30, &DataType::Int64), 8192);
        assert_eq!(batch_size(400, &DataType::Utf8View), 163);
        assert_eq!(batch_size(4000, &DataType::Utf8), 64);
    }
}
