//! The operator that writes files, with one writer for one or several partitions of the query.
//!
//! Invariant: each of its streams begins the export before it asks the query for a row, and cancels
//! the export if it fails or is dropped before its end. The streams return rows about files, never
//! data.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, OrderingRequirements};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties,
};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::batches::bound_batches;
use super::move_exec::RowGroupMoveExec;
use super::rows::{QueryRows, WriterRows};
use crate::error::{Error, ErrorKind};
use crate::sink::{CancelOnDrop, Export, FileWriter, WriterMetrics, WriterReport, report_schema};

/// The capacity of the channel from several partitions to their writer, in batches.
const BATCHES_WAITING: usize = 1;

/// How the rows of the query are distributed over writers.
#[derive(Debug, Clone)]
pub enum Writers {
    /// One for each partition, or fewer if the number of writers is limited. Rows come in no
    /// particular order.
    PerPartition,
    /// One, because the result is small or goes into one file.
    Single,
    /// One, which gets the rows in the query's order.
    Ordered(Option<OrderingRequirements>),
}

/// Encodes and uploads its input; returns a report of staged files per partition.
#[derive(Debug)]
pub struct FileWriteExec {
    input: Arc<dyn ExecutionPlan>,
    export: Arc<Export>,
    writers: Writers,
    /// Upper bound for the number of writers. If the query has more partitions, writers get the
    /// rows of several partitions.
    most_writers: usize,
    /// The number of its first writer. Other operators of the export have the writers before it.
    first_writer: usize,
    rows: Arc<QueryRows>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl FileWriteExec {
    /// Writes `input` as part of `export`, with at most `most_writers` writers, which have numbers from
    /// `first_writer` on.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        export: Arc<Export>,
        writers: Writers,
        most_writers: usize,
        first_writer: usize,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(report_schema()),
            Partitioning::UnknownPartitioning(partitions.min(most_writers.max(1))),
            EmissionType::Final,
            input.boundedness(),
        );
        Self {
            input,
            export,
            writers,
            most_writers,
            first_writer,
            rows: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }
}

/// Returns the export that a plan contains; `None` if it contains none.
pub fn find_export(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<Export>> {
    if let Some(write) = plan.downcast_ref::<FileWriteExec>() {
        return Some(&write.export);
    }
    if let Some(moves) = plan.downcast_ref::<RowGroupMoveExec>() {
        return Some(moves.export());
    }
    plan.children().into_iter().find_map(find_export)
}

impl DisplayAs for FileWriteExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.properties.partitioning.partition_count();
        let order = match self.writers {
            Writers::Ordered(_) => ", ordered",
            Writers::PerPartition | Writers::Single => "",
        };
        write!(
            f,
            "FileWriteExec: writers={partitions}, format={}{order}",
            self.export.spec().format.name()
        )
    }
}

impl ExecutionPlan for FileWriteExec {
    fn name(&self) -> &str {
        "FileWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![match self.writers {
            Writers::PerPartition => Distribution::UnspecifiedDistribution,
            Writers::Single | Writers::Ordered(_) => Distribution::SinglePartition,
        }]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![match &self.writers {
            Writers::Ordered(ordering) => ordering.clone(),
            Writers::PerPartition | Writers::Single => None,
        }]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![matches!(self.writers, Writers::Ordered(_))]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        let partitions = self.input.output_partitioning().partition_count();
        let may_have_more = partitions < self.most_writers;
        vec![matches!(self.writers, Writers::PerPartition) && may_have_more]
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
            return Err(DataFusionError::Internal(
                "FileWriteExec has one input".to_owned(),
            ));
        };
        Ok(Arc::new(Self::new(
            input,
            Arc::clone(&self.export),
            self.writers.clone(),
            self.most_writers,
            self.first_writer,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let too_many = |_| Error::new(ErrorKind::Unsupported, "the export has too many writers");
        let partitions = self.properties.partitioning.partition_count();
        let work = WriterTask {
            export: Arc::clone(&self.export),
            input: Arc::clone(&self.input),
            rows: Arc::clone(&self.rows),
            partition,
            partitions,
            writer: u32::try_from(self.first_writer + partition).map_err(too_many)?,
            writers: u32::try_from(self.first_writer + partitions).map_err(too_many)?,
            metrics: WriterMetrics::new(&self.metrics, partition),
        };
        let report = futures::stream::once(async move {
            let report = run_writer(&work.export, work.write(context)).await?;
            Ok(report.to_batch()?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            report_schema(),
            report,
        )))
    }
}

/// One writer's work.
struct WriterTask {
    export: Arc<Export>,
    input: Arc<dyn ExecutionPlan>,
    rows: Arc<QueryRows>,
    partition: usize,
    partitions: usize,
    writer: u32,
    /// The number of writers in the export.
    writers: u32,
    metrics: WriterMetrics,
}

/// Runs the work of one writer of an export. Begins the export first, and cancels it if the work fails
/// or is dropped before its end.
pub(super) async fn run_writer(
    export: &Arc<Export>,
    work: impl Future<Output = DataFusionResult<WriterReport>>,
) -> DataFusionResult<WriterReport> {
    let guard = CancelOnDrop::new(Arc::clone(export));
    let worked = async {
        export.begin().await?;
        // If another export wins the target, this fails, and `try_join!` stops the query.
        let confirmed = async { Ok(export.confirmed().await?) };
        tokio::try_join!(work, confirmed)
    };
    // Caught here, so that the panic is the cause of the export's failure and not the cancellation
    // of the other writers.
    let worked = AssertUnwindSafe(worked).catch_unwind().await;
    let worked = worked.unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref()).into()));
    match worked {
        Ok((report, ())) => {
            guard.disarm();
            Ok(report)
        }
        Err(error) => {
            let error = Error::from(error);
            export.note_cause(&error);
            Err(error.into())
        }
    }
}

impl WriterTask {
    async fn write(&self, context: Arc<TaskContext>) -> DataFusionResult<WriterReport> {
        let schema = SchemaRef::clone(&self.export.spec().input_schema);
        let export = Arc::clone(&self.export);
        let partitions = self.input.output_partitioning().partition_count();
        let own: Vec<usize> = (self.partition..partitions)
            .step_by(self.partitions)
            .collect();
        let clustered = own.len() == 1 && self.is_clustered();
        let context = bound_batches(context, &self.input, &schema);
        let (number, writers, metrics) = (self.writer, self.writers, &self.metrics);
        let mut writer = FileWriter::new(export, number, writers, clustered, &context, metrics)?;
        let rows = self.read(own, &context)?;
        let mut rows = match clustered || self.is_divided_by_value() {
            true => WriterRows::alone(rows),
            false => self.rows.share(rows),
        };
        let mut next = rows.next().await;
        while let Some(batch) = next {
            let batch = with_schema(&schema, batch?)?;
            let write = writer.write(&batch);
            // The query produces the next batch while this batch is encoded and uploaded.
            let following = async { Ok(rows.next().await) };
            ((), next) = tokio::try_join!(write, following)?;
        }
        Ok(writer.finish().await?)
    }

    /// Returns the rows of these partitions. A writer has several partitions if memory allows no
    /// more writers. It does not allow more readers either, so independent partitions are read one
    /// after the other. Other partitions are read concurrently, because an operator of the query
    /// may wait until all of them are read.
    fn read(
        &self,
        partitions: Vec<usize>,
        context: &Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        if are_independent(&self.input) {
            let (input, context) = (Arc::clone(&self.input), Arc::clone(context));
            let rows = futures::stream::iter(partitions)
                .map(move |partition| input.execute(partition, Arc::clone(&context)))
                .try_flatten();
            let schema = self.input.schema();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)));
        }
        let mut rows = RecordBatchReceiverStream::builder(self.input.schema(), BATCHES_WAITING);
        for partition in partitions {
            let mut input = self.input.execute(partition, Arc::clone(context))?;
            let sender = rows.tx();
            rows.spawn(async move {
                while let Some(batch) = input.next().await {
                    if sender.send(batch).await.is_err() {
                        break;
                    }
                }
                Ok(())
            });
        }
        Ok(rows.build())
    }

    /// Whether all rows of a folder may be in one partition of the query. Writers then do not steal
    /// rows, which keeps a folder's rows together.
    fn is_divided_by_value(&self) -> bool {
        let divided = matches!(self.input.output_partitioning(), Partitioning::Hash(..));
        divided && self.export.spec().partition.is_some()
    }

    /// Whether each partition of the query is sorted by the partition columns, in any order of
    /// these columns. Checked at execution, because the optimizer may have removed an order that no
    /// operator required.
    fn is_clustered(&self) -> bool {
        let (Some(ordering), Some(partition)) =
            (self.input.output_ordering(), &self.export.spec().partition)
        else {
            return false;
        };
        let leading: Vec<usize> = ordering
            .iter()
            .take(partition.columns.len())
            .filter_map(|sort| sort.expr.downcast_ref::<Column>().map(Column::index))
            .collect();
        leading.len() == partition.columns.len()
            && partition
                .columns
                .iter()
                .all(|column| leading.contains(column))
    }
}

/// Whether each partition can be read without the others: the rows come from a [`DataSourceExec`],
/// and no operator exchanges rows between partitions. Other tables may have one source that feeds
/// all partitions at once.
fn are_independent(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let partitions = plan.output_partitioning().partition_count();
    match plan.children().as_slice() {
        [] => plan.downcast_ref::<DataSourceExec>().is_some(),
        [input] => {
            plan.downcast_ref::<RepartitionExec>().is_none()
                && input.output_partitioning().partition_count() == partitions
                && are_independent(input)
        }
        _ => false,
    }
}

/// Returns the batch with `schema`, whose column names are unique.
fn with_schema(schema: &SchemaRef, batch: RecordBatch) -> DataFusionResult<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let (_, columns, _) = batch.into_parts();
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}
