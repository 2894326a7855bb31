//! Scans text files for DataFusion.
//!
//! Invariant: a scan never splits a file, because only a reader that starts at the beginning knows
//! which bytes are in quotes.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::ObjectStore;

use super::passed_over::PassedOver;
use super::text::{FileToRead, TextFormat};

/// DataFusion's default batch size, used if DataFusion does not set one.
const BATCH_ROWS: usize = 8192;

/// A scan of text files.
#[derive(Debug)]
pub(super) struct TextScan<F> {
    format: Arc<F>,
    table_schema: TableSchema,
    projection: SplitProjection,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
    passed_over: Option<Arc<PassedOver>>,
}

impl<F> Clone for TextScan<F> {
    fn clone(&self) -> Self {
        Self {
            format: Arc::clone(&self.format),
            table_schema: self.table_schema.clone(),
            projection: self.projection.clone(),
            batch_rows: self.batch_rows,
            metrics: self.metrics.clone(),
            passed_over: self.passed_over.clone(),
        }
    }
}

impl<F: TextFormat> TextScan<F> {
    pub(super) fn new(format: F, table_schema: TableSchema) -> Self {
        Self {
            passed_over: format.ignores_errors().then(PassedOver::in_notices),
            format: Arc::new(format),
            projection: SplitProjection::unprojected(&table_schema),
            table_schema,
            batch_rows: BATCH_ROWS,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl<F: TextFormat> FileSource for TextScan<F> {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        _base: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let file_schema = self.table_schema.file_schema();
        let opener = TextOpener {
            format: Arc::clone(&self.format),
            schema: SchemaRef::clone(file_schema),
            projection: self.projection.file_indices.clone(),
            batch_rows: self.batch_rows,
            store,
            passed_over: self.passed_over.clone(),
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
        self.format.name()
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match kind {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                f.write_str(&self.format.describe())
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

struct TextOpener<F> {
    format: Arc<F>,
    schema: SchemaRef,
    projection: Vec<usize>,
    batch_rows: usize,
    store: Arc<dyn ObjectStore>,
    passed_over: Option<Arc<PassedOver>>,
}

impl<F: TextFormat> FileOpener for TextOpener<F> {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let format = Arc::clone(&self.format);
        let file = FileToRead {
            store: Arc::clone(&self.store),
            path: file.object_meta.location,
            schema: SchemaRef::clone(&self.schema),
            projection: self.projection.clone(),
            batch_rows: self.batch_rows,
            passed_over: self.passed_over.clone(),
        };
        Ok(Box::pin(async move { Ok(format.read(file).await?) }))
    }
}
