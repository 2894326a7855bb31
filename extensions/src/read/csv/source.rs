//! Scans CSV files for DataFusion.
//!
//! Invariant: a scan never splits a file, because only a reader that starts at the beginning knows
//! which bytes are in quotes.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::StreamExt;
use object_store::ObjectStore;

use super::CsvSettings;
use super::columns::{BatchBuilder, Layout};
use super::stream::{BatchReader, RecordStream, read_chunks};

/// DataFusion's default batch size, used if DataFusion does not set one.
const BATCH_ROWS: usize = 8192;

/// A scan of CSV files.
#[derive(Debug, Clone)]
pub(super) struct CsvScan {
    settings: CsvSettings,
    table_schema: TableSchema,
    projection: SplitProjection,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl CsvScan {
    pub(super) fn new(settings: CsvSettings, table_schema: TableSchema) -> Self {
        Self {
            settings,
            projection: SplitProjection::unprojected(&table_schema),
            table_schema,
            batch_rows: BATCH_ROWS,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl FileSource for CsvScan {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        base: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let file_schema = self.table_schema.file_schema();
        let columns = &self.projection.file_indices;
        let opener = CsvOpener {
            settings: self.settings.clone(),
            layout: Layout {
                projection: columns.clone(),
                schema: Arc::new(file_schema.project(columns)?),
                file_columns: file_schema.fields().len(),
                null: self.settings.null.clone(),
                may_be_short: self.settings.may_be_short,
            },
            batch_rows: self.batch_rows,
            compression: base.file_compression_type,
            store,
        };
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), file_schema)
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table_schema
    }

    fn with_batch_size(&self, batch_rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            batch_rows,
            ..self.clone()
        })
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let projection = self.projection.source.try_merge(projection)?;
        Ok(Some(Arc::new(Self {
            projection: SplitProjection::new(self.table_schema.file_schema(), &projection),
            ..self.clone()
        })))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "csv"
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match kind {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, ", has_header={}", self.settings.has_header)
            }
            DisplayFormatType::TreeRender => Ok(()),
        }
    }

    fn apply_expressions(
        &self,
        apply: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for projected in self.projection.source.iter() {
            if apply(&projected.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

struct CsvOpener {
    settings: CsvSettings,
    layout: Layout,
    batch_rows: usize,
    compression: FileCompressionType,
    store: Arc<dyn ObjectStore>,
}

impl FileOpener for CsvOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let location = file.object_meta.location;
        let file = location.to_string();
        let (settings, layout) = (self.settings.clone(), self.layout.clone());
        let (store, compression) = (Arc::clone(&self.store), self.compression);
        let batch_rows = self.batch_rows;
        Ok(Box::pin(async move {
            let chunks = read_chunks(store.as_ref(), &location, compression).await?;
            let batches = BatchReader {
                records: RecordStream::new(settings.dialect, file.clone(), chunks),
                skip_header: settings.has_header,
                builder: BatchBuilder::new(layout, file),
                batch_rows,
            };
            let batches = futures::stream::try_unfold(batches, |mut batches| async move {
                let batch = batches.next().await?;
                Ok::<_, DataFusionError>(batch.map(|batch| (batch, batches)))
            });
            Ok(batches.boxed())
        }))
    }
}
