//! The operator above a `COPY` that returns its files.
//!
//! Invariant: it returns rows only after the export below it has committed.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::StreamExt;

use super::properties::one_partition;
use crate::sink::{Export, files_batch, files_schema};

/// Waits for the count of an export and returns one row per object instead.
#[derive(Debug)]
pub(super) struct ExportedFilesExec {
    input: Arc<dyn ExecutionPlan>,
    export: Arc<Export>,
    properties: Arc<PlanProperties>,
}

impl ExportedFilesExec {
    /// The files of `export`, which `input` commits.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, export: Arc<Export>) -> Self {
        Self {
            input,
            export,
            properties: one_partition(files_schema(), EmissionType::Final),
        }
    }
}

impl DisplayAs for ExportedFilesExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExportedFilesExec")
    }
}

impl ExecutionPlan for ExportedFilesExec {
    fn name(&self) -> &str {
        "ExportedFilesExec"
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
            return Err(DataFusionError::Internal(
                "ExportedFilesExec has one input".to_owned(),
            ));
        };
        Ok(Arc::new(Self::new(input, Arc::clone(&self.export))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let mut count = self.input.execute(partition, context)?;
        let export = Arc::clone(&self.export);
        let files = futures::stream::once(async move {
            while let Some(batch) = count.next().await {
                batch?;
            }
            let batch = files_batch(export.committed_files(), |key| export.url(key))?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            files_schema(),
            files,
        )))
    }
}
