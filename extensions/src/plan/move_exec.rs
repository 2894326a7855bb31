//! The operator that moves row groups of Parquet files into the files of an export.
//!
//! Invariant: as for [`FileWriteExec`](super::write::FileWriteExec). No row group is decoded.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};

use futures::StreamExt;

use super::passthrough::{Move, PassedCounts};
use super::write::run_writer;
use crate::error::{Error, ErrorKind};
use crate::format::ParquetFormat;
use crate::read::READ_BYTES;
use crate::sink::{CopySource, Export, MoveWriter, WriterMetrics, WriterReport, report_schema};

/// How many files a writer looks at before it needs them.
const OPEN_AHEAD: usize = 2;

/// How many requests of a writer read at once.
const MOST_READS: usize = 8;

/// Moves row groups, one writer per partition; returns a report of staged files per partition.
#[derive(Debug)]
pub(super) struct RowGroupMoveExec {
    export: Arc<Export>,
    format: Arc<ParquetFormat>,
    moves: Vec<Vec<Move>>,
    counts: PassedCounts,
    /// How many writers the export has at least.
    writers: usize,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl RowGroupMoveExec {
    /// Moves `moves` as part of `export`, each of them by a writer of its own. The export has at least
    /// `writers` writers.
    pub(super) fn new(
        export: Arc<Export>,
        format: ParquetFormat,
        moves: Vec<Vec<Move>>,
        counts: PassedCounts,
        writers: usize,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(report_schema()),
            Partitioning::UnknownPartitioning(moves.len()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            export,
            format: Arc::new(format),
            moves,
            counts,
            writers,
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }

    pub(super) fn export(&self) -> &Arc<Export> {
        &self.export
    }
}

impl DisplayAs for RowGroupMoveExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PassedCounts {
            files,
            row_groups,
            files_copied,
        } = self.counts;
        write!(
            f,
            "RowGroupMoveExec: writers={}, files_moved={}, files_encoded={}, \
             row_groups={row_groups}",
            self.moves.len(),
            files.moved,
            files.encoded
        )?;
        match files_copied {
            0 => Ok(()),
            copied => write!(f, ", files_copied_by_the_store={copied}"),
        }
    }
}

impl ExecutionPlan for RowGroupMoveExec {
    fn name(&self) -> &str {
        "RowGroupMoveExec"
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

    /// The rows that are moved, for the progress of the statement.
    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        let moves = self.moves.iter().enumerate();
        let wanted = moves.filter(|(writer, _)| args.partition().is_none_or(|one| one == *writer));
        let rows = wanted
            .flat_map(|(_, moves)| moves)
            .map(|moved| moved.file.rows());
        let mut statistics = Statistics::new_unknown(&report_schema());
        statistics.num_rows =
            usize::try_from(rows.sum::<u64>()).map_or(Precision::Absent, Precision::Inexact);
        Ok(Arc::new(statistics))
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
        let writer = u32::try_from(partition).map_err(too_many)?;
        let writers = u32::try_from(self.writers).map_err(too_many)?;
        let moves = self.moves.get(partition).cloned().unwrap_or_default();
        let metrics = WriterMetrics::new(&self.metrics, partition);
        let (export, format) = (Arc::clone(&self.export), Arc::clone(&self.format));
        let report = futures::stream::once(async move {
            let to = MoveWriter::new(
                Arc::clone(&export),
                format,
                writer,
                writers,
                &context,
                &metrics,
            );
            let share = export.spec().memory.encoders_share(false, writers);
            let work = run_moves(moves, to, share, &context);
            Ok(run_writer(&export, work).await?.to_batch()?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            report_schema(),
            report,
        )))
    }
}

/// Moves row groups to `writer`, with at most `memory` bytes of them in memory.
async fn run_moves(
    moves: Vec<Move>,
    mut writer: MoveWriter,
    memory: usize,
    context: &Arc<TaskContext>,
) -> DataFusionResult<WriterReport> {
    let reads = (memory / READ_BYTES as usize / 2).clamp(1, MOST_READS);
    let planned: u64 = moves.iter().map(|moved| moved.file.rows()).sum();
    let mut store_copies = true;
    let open = |moved: Move| async move {
        let store = context.runtime_env().object_store(&moved.file.store_url)?;
        let open = moved.file.open(&store).await?;
        Ok::<_, DataFusionError>((moved, open))
    };
    let opened = futures::stream::iter(moves).map(open).buffered(OPEN_AHEAD);
    futures::pin_mut!(opened);
    while let Some((Move { file, copied_from }, open)) = opened.next().await.transpose()? {
        let object = copied_from.filter(|_| store_copies).zip(open.etag());
        if let Some((bucket, etag)) = object {
            let object = CopySource {
                bucket,
                key: file.object.location.to_string(),
                etag: etag.to_owned(),
            };
            let bytes = file.object.size;
            store_copies = writer.copy_file(open.source(), &object, bytes).await?;
            if store_copies {
                continue;
            }
        }
        let bytes = file.read(&open, reads);
        futures::pin_mut!(bytes);
        for group in &file.row_groups {
            let source = open.source();
            writer
                .add_row_group(source, group.number, &mut bytes)
                .await?;
        }
    }
    let report = writer.finish().await?;
    if report.rows_in != planned {
        let why = format!(
            "{planned} rows were to be moved, and {} were",
            report.rows_in
        );
        return Err(Error::new(ErrorKind::Internal, why).into());
    }
    Ok(report)
}
