//! A table in memory with a column that numbers its rows.
//!
//! Invariant: the numbers count the rows of one snapshot, in the order of its partitions and batches.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};

use crate::error::{Error, ErrorKind, Result};
use crate::plan::properties::one_partition;

/// A table in memory whose last column numbers the rows.
#[derive(Debug)]
pub(super) struct NumberedTable {
    provider: Arc<dyn TableProvider>,
    schema: SchemaRef,
    number_column: String,
}

impl NumberedTable {
    /// `None` if the provider's table is not in memory.
    pub(super) fn of(provider: Arc<dyn TableProvider>) -> Option<Self> {
        provider.downcast_ref::<MemTable>()?;
        let schema = provider.schema();
        let mut number_column = "row_number".to_owned();
        while schema.column_with_name(&number_column).is_some() {
            number_column.push('_');
        }
        let mut fields = schema.fields().to_vec();
        let number = Field::new(&number_column, DataType::UInt64, false);
        fields.push(Arc::new(number));
        Some(Self {
            provider,
            schema: Arc::new(Schema::new(fields)),
            number_column,
        })
    }

    pub(super) fn number_column(&self) -> &str {
        &self.number_column
    }

    /// The table, without the column that numbers its rows.
    pub(super) fn table(&self) -> Result<&MemTable> {
        let table = self.provider.downcast_ref();
        table.ok_or_else(|| Error::new(ErrorKind::Internal, "the table is not in memory"))
    }
}

/// The rows of a table at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) partitions: Vec<Vec<RecordBatch>>,
}

impl Snapshot {
    async fn of(table: &MemTable) -> Self {
        let mut partitions = Vec::new();
        for partition in &table.batches {
            partitions.push(partition.read().await.clone());
        }
        Self { partitions }
    }

    pub(super) fn rows(&self) -> usize {
        let batches = self.partitions.iter().flatten();
        batches.map(RecordBatch::num_rows).sum()
    }
}

#[async_trait]
impl TableProvider for NumberedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.schema.project(&projection)?);
        Ok(Arc::new(SnapshotExec {
            snapshot: Arc::new(Snapshot::of(self.table()?).await),
            schema: Arc::clone(&self.schema),
            projection,
            properties: one_partition(schema, EmissionType::Incremental),
        }))
    }
}

/// Reads a snapshot of a [`NumberedTable`].
#[derive(Debug)]
pub(super) struct SnapshotExec {
    snapshot: Arc<Snapshot>,
    /// All columns, with the numbers.
    schema: SchemaRef,
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl SnapshotExec {
    /// The snapshot that a plan reads; `None` if it reads none.
    pub(super) fn find(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<Snapshot>> {
        if let Some(found) = plan.downcast_ref::<Self>() {
            return Some(Arc::clone(&found.snapshot));
        }
        plan.children().into_iter().find_map(Self::find)
    }
}

impl DisplayAs for SnapshotExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotExec: rows={}", self.snapshot.rows())
    }
}

impl ExecutionPlan for SnapshotExec {
    fn name(&self) -> &str {
        "SnapshotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let mut first = 0;
        let mut batches = Vec::new();
        for batch in self.snapshot.partitions.iter().flatten() {
            let end = first + batch.num_rows() as u64;
            let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(first..end));
            first = end;
            let mut columns = batch.columns().to_vec();
            columns.push(numbers);
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            batches.push(Ok(batch.project(&self.projection)?));
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            futures::stream::iter(batches),
        )))
    }
}
