//! The operator that changes a table in memory.
//!
//! Invariant: the table changes in one step, after all rows of the input have arrived. A failing
//! statement changes nothing. Rows that were inserted meanwhile stay.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::TryStreamExt;

use super::node::{Change, ChangeNode};
use super::numbered::{Snapshot, SnapshotExec};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::properties::one_partition;

/// Changes the rows of a table that its input returns.
#[derive(Debug)]
pub(in crate::plan) struct ChangeExec {
    node: ChangeNode,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ChangeExec {
    pub(in crate::plan) fn new(node: ChangeNode, input: Arc<dyn ExecutionPlan>) -> Self {
        let schema = SchemaRef::clone(node.schema.inner());
        Self {
            node,
            input,
            properties: one_partition(schema, EmissionType::Final),
        }
    }
}

impl DisplayAs for ChangeExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ChangeExec: {} {}",
            self.node.change.tag(),
            self.node.name
        )
    }
}

impl ExecutionPlan for ChangeExec {
    fn name(&self) -> &str {
        "ChangeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return Err(broken("ChangeExec has one input").into());
        };
        Ok(Arc::new(Self::new(self.node.clone(), input)))
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let rows = self.input.execute(0, context)?;
        let snapshot = SnapshotExec::find(&self.input);
        let node = self.node.clone();
        let schema = self.schema();
        let counted = async move {
            let rows: Vec<RecordBatch> = rows.try_collect().await?;
            let rows: Vec<RecordBatch> = rows
                .into_iter()
                .filter(|batch| batch.num_rows() > 0)
                .collect();
            let count = match (rows.is_empty(), snapshot) {
                (true, _) => 0,
                (false, Some(snapshot)) => apply(&node, &snapshot, &rows).await?,
                (false, None) => return Err(broken("the plan reads no snapshot").into()),
            };
            let columns: Vec<ArrayRef> = schema
                .fields()
                .iter()
                .map(|_| Arc::new(UInt64Array::from(vec![count])) as ArrayRef)
                .collect();
            let batch = (!columns.is_empty()).then(|| RecordBatch::try_new(schema, columns));
            Ok(batch.transpose()?)
        };
        let counted = futures::stream::once(counted);
        let counted = counted.try_filter_map(|batch| async move { Ok(batch) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            Box::pin(counted),
        )))
    }
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Internal, why)
}

/// A row of the table's snapshot after the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewRow {
    Same,
    Deleted,
    /// The row with this number in this batch of new rows.
    Updated(usize, usize),
}

/// Applies a change to the rows with the numbers in the last column of `rows`, and returns their
/// count. The other columns are the new values.
async fn apply(node: &ChangeNode, snapshot: &Snapshot, rows: &[RecordBatch]) -> Result<u64> {
    let table = node.table.table()?;
    let new_rows = number_new_rows(node.change, snapshot, rows)?;
    let values = match node.change {
        Change::Update => new_values(node, &table.schema(), rows)?,
        Change::Delete | Change::Truncate => Vec::new(),
    };
    let mut partitions = Vec::new();
    for partition in &table.batches {
        partitions.push(partition.write().await);
    }
    let are_same = partitions.len() == snapshot.partitions.len()
        && partitions
            .iter()
            .zip(&snapshot.partitions)
            .all(|(now, then)| starts_with(now, then));
    if !are_same {
        let name = &node.name;
        let why = format!("another statement has changed {name} meanwhile; nothing was changed");
        return Err(Error::new(ErrorKind::Query, why).with_hint("run the statement again"));
    }
    // Everything is computed before the first partition changes.
    let mut changed = Vec::new();
    let mut rest = new_rows.as_slice();
    for batches in &snapshot.partitions {
        let mut new_batches = Vec::new();
        for batch in batches {
            let (of_batch, after) = rest.split_at(batch.num_rows());
            rest = after;
            let batch = change_batch(batch, of_batch, &values)?;
            new_batches.extend(Some(batch).filter(|batch| batch.num_rows() > 0));
        }
        changed.push(new_batches);
    }
    for ((now, then), mut new) in partitions.iter_mut().zip(&snapshot.partitions).zip(changed) {
        new.extend(now.drain(then.len()..));
        **now = new;
    }
    if node.change == Change::Update {
        table.sort_order.lock().clear();
    }
    Ok(rows.iter().map(|batch| batch.num_rows() as u64).sum())
}

/// What becomes of each row of the snapshot.
fn number_new_rows(
    change: Change,
    snapshot: &Snapshot,
    rows: &[RecordBatch],
) -> Result<Vec<NewRow>> {
    let mut new_rows = vec![NewRow::Same; snapshot.rows()];
    for (source, batch) in rows.iter().enumerate() {
        let (numbers, _) = split_numbers(batch)?;
        let numbers = numbers.as_primitive::<UInt64Type>().values();
        for (row, number) in numbers.iter().enumerate() {
            let new = new_rows
                .get_mut(*number as usize)
                .ok_or_else(|| broken("a changed row is not in the snapshot"))?;
            if *new != NewRow::Same {
                return Err(broken("a row is changed twice"));
            }
            *new = match change {
                Change::Update => NewRow::Updated(source, row),
                Change::Delete | Change::Truncate => NewRow::Deleted,
            };
        }
    }
    Ok(new_rows)
}

/// The numbers of changed rows, and their new values.
fn split_numbers(batch: &RecordBatch) -> Result<(&ArrayRef, &[ArrayRef])> {
    let split = batch.columns().split_last();
    split.ok_or_else(|| broken("the changed rows have no numbers"))
}

/// New rows, as the table holds them.
fn new_values(
    node: &ChangeNode,
    schema: &SchemaRef,
    rows: &[RecordBatch],
) -> Result<Vec<RecordBatch>> {
    let new = |batch: &RecordBatch| {
        let (_, columns) = split_numbers(batch)?;
        let mut fields = schema.fields().iter().zip(columns);
        let null = fields.find(|(field, column)| !field.is_nullable() && column.null_count() > 0);
        if let Some((field, _)) = null {
            let why = format!("column \"{}\" of {} can't be NULL", field.name(), node.name);
            return Err(Error::new(ErrorKind::Query, why));
        }
        let values = RecordBatch::try_new(SchemaRef::clone(schema), columns.to_vec());
        values.map_err(|error| broken("the new values do not fit the table").with_source(error))
    };
    rows.iter().map(new).collect()
}

/// Whether the batches begin with the same ones.
fn starts_with(now: &[RecordBatch], then: &[RecordBatch]) -> bool {
    let is_same = |(now, then): (&RecordBatch, &RecordBatch)| {
        let mut columns = now.columns().iter().zip(then.columns());
        now.num_rows() == then.num_rows() && columns.all(|(now, then)| Arc::ptr_eq(now, then))
    };
    now.len() >= then.len() && now.iter().zip(then).all(is_same)
}

fn change_batch(
    batch: &RecordBatch,
    new_rows: &[NewRow],
    values: &[RecordBatch],
) -> Result<RecordBatch> {
    if new_rows.iter().all(|new| *new == NewRow::Same) {
        return Ok(batch.clone());
    }
    let changed = if values.is_empty() {
        let kept: BooleanArray = new_rows
            .iter()
            .map(|new| Some(*new == NewRow::Same))
            .collect();
        filter_record_batch(batch, &kept)
    } else {
        let sources: Vec<&RecordBatch> = std::iter::once(batch).chain(values).collect();
        let rows = new_rows.iter().enumerate();
        let rows: Vec<(usize, usize)> = rows
            .map(|(row, new)| match new {
                NewRow::Updated(source, row) => (source + 1, *row),
                NewRow::Same | NewRow::Deleted => (0, row),
            })
            .collect();
        interleave_record_batch(&sources, &rows)
    };
    changed.map_err(|error| broken("the changed rows can't be built").with_source(error))
}
