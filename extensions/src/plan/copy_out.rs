//! `COPY … TO STDOUT`: returns rows as lines to the caller.
//!
//! Invariant: the lines come in the query's order, and at most one batch is buffered.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{BinaryArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::options::StreamOptions;
use super::properties::one_partition;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    CopyTextFormat, CsvFormat, FileFormat, JsonFormat, LineFormat, format_on_threads,
};

/// `COPY … TO STDOUT`: the rows of its input as lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyOutNode {
    /// The query.
    pub input: Arc<LogicalPlan>,
    /// How its rows are written.
    pub options: StreamOptions,
}

/// The columns that `COPY … TO STDOUT` returns: the number of rows in the lines, and the lines
/// themselves.
fn lines_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let schema = Schema::new(vec![
            Field::new("rows", DataType::UInt64, false),
            Field::new("lines", DataType::Binary, false),
        ]);
        Arc::new(DFSchema::try_from(schema).unwrap_or_else(|_| DFSchema::empty()))
    });
    &SCHEMA
}

impl CopyOutNode {
    /// Checks that the format can hold the columns.
    ///
    /// # Errors
    /// [`ErrorKind::DatatypeMismatch`] naming every column that it can't hold.
    pub(super) fn check_schema(&self) -> Result<()> {
        let schema = self.input.schema().as_arrow();
        match self.options.clone() {
            StreamOptions::Text(options) => CopyTextFormat::new(options).check_schema(schema),
            StreamOptions::Csv(options) => CsvFormat::new(options).check_schema(schema),
            StreamOptions::Json(options) => JsonFormat::new(options).check_schema(schema),
        }
    }
}

impl PartialOrd for CopyOutNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.options.cmp(&other.options) {
            Ordering::Equal => self.input.partial_cmp(&other.input),
            unequal => Some(unequal),
        }
    }
}

impl UserDefinedLogicalNodeCore for CopyOutNode {
    fn name(&self) -> &str {
        "CopyOut"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        lines_schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CopyOut: format={}", self.options.name())
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> DataFusionResult<Self> {
        let mut node = self.clone();
        if let Some(input) = inputs.into_iter().next() {
            node.input = Arc::new(input);
        }
        Ok(node)
    }

    /// Every column of the input is written, so none may be pruned.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Turns the rows of its input into lines.
#[derive(Debug)]
pub(super) struct CopyOutExec {
    input: Arc<dyn ExecutionPlan>,
    options: StreamOptions,
    /// The rows are written in the order of the query.
    is_ordered: bool,
    properties: Arc<PlanProperties>,
}

impl CopyOutExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        options: StreamOptions,
        is_ordered: bool,
    ) -> Self {
        let schema = SchemaRef::clone(lines_schema().inner());
        Self {
            input,
            options,
            is_ordered,
            properties: one_partition(schema, EmissionType::Incremental),
        }
    }
}

impl DisplayAs for CopyOutExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyOutExec: format={}", self.options.name())
    }
}

impl ExecutionPlan for CopyOutExec {
    fn name(&self) -> &str {
        "CopyOutExec"
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

    /// Without this, the optimizer removes the query's Sort. The order can't be a requirement: the
    /// sorted columns may not be among the written ones.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.is_ordered]
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
                "CopyOutExec has one input".to_owned(),
            ));
        };
        let options = self.options.clone();
        Ok(Arc::new(Self::new(input, options, self.is_ordered)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let threads = context.session_config().target_partitions();
        let rows = self.input.execute(partition, context)?;
        Ok(match self.options.clone() {
            StreamOptions::Text(options) => lines(CopyTextFormat::new(options), rows, threads),
            StreamOptions::Csv(options) => lines(CsvFormat::new(options), rows, threads),
            StreamOptions::Json(options) => lines(JsonFormat::new(options), rows, threads),
        })
    }
}

fn lines<F: LineFormat>(
    format: F,
    rows: SendableRecordBatchStream,
    threads: usize,
) -> SendableRecordBatchStream {
    let mut header = Vec::new();
    format.push_header(&rows.schema(), &mut header);
    let header = futures::stream::once(async move { lines_batch(0, &header) });
    let lines = rows.and_then(move |batch| {
        let format = format.clone();
        async move {
            let texts = format_on_threads(&format, &batch, threads).await?;
            let rows: u64 = texts.iter().map(|(_, lines)| lines).sum();
            let texts: Vec<Vec<u8>> = texts.into_iter().map(|(text, _)| text).collect();
            lines_batch(rows, &texts.concat())
        }
    });
    let schema = SchemaRef::clone(lines_schema().inner());
    Box::pin(RecordBatchStreamAdapter::new(schema, header.chain(lines)))
}

fn lines_batch(rows: u64, lines: &[u8]) -> DataFusionResult<RecordBatch> {
    let schema = SchemaRef::clone(lines_schema().inner());
    let rows = UInt64Array::from_iter_values([rows]);
    let lines = BinaryArray::from_iter_values([lines]);
    let batch = RecordBatch::try_new(schema, vec![Arc::new(rows), Arc::new(lines)]);
    batch.map_err(|error| {
        Error::new(ErrorKind::Internal, "the lines can't be built")
            .with_source(error)
            .into()
    })
}
