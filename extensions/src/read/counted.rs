//! Scans that count their rows.
//!
//! Invariant: a scan of whole Parquet files returns as many rows as their footers say, or fails. A
//! decoder that passes over rows fails the query instead of shrinking its result.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;

use crate::error::{Error, ErrorKind};

/// Has scans of whole Parquet files count their rows. Runs after all other rules: they look for
/// scans, and push filters and limits into them.
#[derive(Debug)]
pub(crate) struct CountScans;

impl PhysicalOptimizerRule for CountScans {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let counted = plan.transform_down(|plan| {
            if plan.downcast_ref::<CountedScanExec>().is_some() {
                return Ok(Transformed::new(plan, false, TreeNodeRecursion::Jump));
            }
            Ok(match rows_of(&plan) {
                Some(rows) => {
                    let counted = Arc::new(CountedScanExec::new(plan, rows));
                    Transformed::new(counted, true, TreeNodeRecursion::Jump)
                }
                None => Transformed::no(plan),
            })
        });
        Ok(counted?.data)
    }

    fn name(&self) -> &str {
        "count_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of a scan of whole Parquet files, by their footers. `None` for any other operator.
fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let (files, source) = scan.downcast_to_file_source::<ParquetSource>()?;
    if source.filter().is_some() || files.limit.is_some() {
        return None;
    }
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    match statistics.ok()?.num_rows {
        Precision::Exact(rows) => Some(rows),
        _ => None,
    }
}

/// Passes on the rows of a scan, and fails if there are not as many as expected.
#[derive(Debug)]
struct CountedScanExec {
    scan: Arc<dyn ExecutionPlan>,
    expected: usize,
    counted: Arc<Mutex<Counted>>,
}

/// The rows of one execution.
#[derive(Debug, Default)]
struct Counted {
    rows: usize,
    ended: BTreeSet<usize>,
}

impl CountedScanExec {
    fn new(scan: Arc<dyn ExecutionPlan>, expected: usize) -> Self {
        Self {
            scan,
            expected,
            counted: Arc::default(),
        }
    }
}

impl Counted {
    /// Adds the rows of a partition that was read to its end. Returns the rows of all partitions
    /// with the last one of them.
    fn end(&mut self, partition: usize, rows: usize, partitions: usize) -> Option<usize> {
        if !self.ended.insert(partition) {
            // Another execution has begun.
            *self = Self::default();
            self.ended.insert(partition);
        }
        self.rows += rows;
        let is_whole = self.ended.len() == partitions;
        is_whole.then(|| std::mem::take(self).rows)
    }
}

impl DisplayAs for CountedScanExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountedScanExec: rows={}", self.expected)
    }
}

impl ExecutionPlan for CountedScanExec {
    fn name(&self) -> &str {
        "CountedScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// A rule that changes the scan may leave rows out, so the changed scan is not counted.
    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([scan]) = <[_; 1]>::try_from(children) else {
            return Err(DataFusionError::Internal(
                "CountedScanExec has one input".to_owned(),
            ));
        };
        Ok(match rows_of(&scan) {
            Some(rows) => Arc::new(Self::new(scan, rows)),
            None => scan,
        })
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.scan.metrics()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.scan.execute(partition, context)?;
        let schema = rows.schema();
        let partitions = self.scan.output_partitioning().partition_count();
        let (counted, expected) = (Arc::clone(&self.counted), self.expected);
        let state = Some((rows, 0));
        let rows = futures::stream::unfold(state, move |state| {
            let counted = Arc::clone(&counted);
            async move {
                let (mut rows, mut count) = state?;
                let error = match rows.next().await {
                    Some(Ok(batch)) => {
                        count += batch.num_rows();
                        return Some((Ok(batch), Some((rows, count))));
                    }
                    Some(Err(error)) => error,
                    None => {
                        let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
                        let all = counted.end(partition, count, partitions)?;
                        if all == expected {
                            return None;
                        }
                        miscounted(expected, all).into()
                    }
                };
                Some((Err(error), None))
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn miscounted(expected: usize, found: usize) -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        format!("the Parquet files have {expected} rows by their footers, but {found} were read"),
    )
    .with_hint(
        "a file is damaged or of a kind that is not read rightly; read the files one by one to \
         find it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_complete_with_the_last_partition() {
        let mut counted = Counted::default();
        assert_eq!(counted.end(1, 5, 2), None);
        assert_eq!(counted.end(0, 7, 2), Some(12));
        // Another execution of the same plan, the first of whose partitions was given up.
        assert_eq!(counted.end(0, 7, 2), None);
        assert_eq!(counted.end(0, 7, 2), None);
        assert_eq!(counted.end(1, 5, 2), Some(12));
    }
}
