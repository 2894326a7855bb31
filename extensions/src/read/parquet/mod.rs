//! Parquet files as tables.
//!
//! Invariant: a query over files returns what the same rows in memory would give. Values come only
//! from pages. Of a file's statistics only the number of rows is taken for a fact; minima, maxima,
//! page indexes and Bloom filters only exclude row groups and pages, and only where [`trust`]
//! allows.
//!
//! DataFusion's format takes columns for constant and answers `min` and `max` by statistics, which
//! leave NaN out and may be wrong. It does the reading and writing otherwise.

mod footers;
mod movable;
mod plain_scan;
mod schema;
mod trust;
mod weight;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{GetExt, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::parquet::{ParquetFormat, ParquetFormatFactory};
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory, FileMeta};
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSinkConfig, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_expr::{LexOrdering, LexRequirement};
use datafusion::physical_plan::ExecutionPlan;
use object_store::{ObjectMeta, ObjectStore};

use super::replace_factory;
use footers::{Footers, TrustedFooters};
pub(crate) use movable::{MovableFile, MovableRowGroup, READ_BYTES};
pub(crate) use plain_scan::{LeftOfFile, PlainScan};
pub(super) use weight::Weight;

/// The statistics of a file, and the weight of its wanted columns. `None` for other formats.
///
/// # Errors
/// The store's, and an error for a file that is not Parquet.
pub(super) async fn measure(
    format: &dyn FileFormat,
    state: &SessionState,
    store: &Arc<dyn ObjectStore>,
    schema: &SchemaRef,
    object: &ObjectMeta,
    wanted: &BTreeSet<String>,
) -> Result<Option<(Statistics, Weight)>> {
    let Some(files) = format.downcast_ref::<ParquetFiles>() else {
        return Ok(None);
    };
    let footer = files.footers(state, store).fetch(object).await?;
    let weight = Weight::of(&footer, object, wanted);
    Ok(Some((trust::count_rows(&footer, schema), weight)))
}

/// The unit that INT96 timestamps are read in. Nanoseconds, DataFusion's default, end in the year
/// 2262; Spark and DuckDB read microseconds, too.
const INT96_UNIT: &str = "us";

/// Makes the session read Parquet files with this module.
pub(crate) fn with_parquet(builder: &mut SessionStateBuilder) {
    replace_factory::<ParquetFormatFactory>(
        builder,
        Arc::new(ParquetFactory {
            inner: ParquetFormatFactory::new(),
        }),
    );
}

/// Creates [`ParquetFiles`] from DataFusion's options for Parquet.
#[derive(Debug)]
struct ParquetFactory {
    inner: ParquetFormatFactory,
}

impl FileFormatFactory for ParquetFactory {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let format = self.inner.create(state, options)?;
        let format: Option<&ParquetFormat> = format.downcast_ref();
        Ok(Arc::new(ParquetFiles::new(
            format.map_or_else(ParquetFormat::default, |format| {
                ParquetFormat::default().with_options(format.options().clone())
            }),
        )))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(ParquetFiles::new(ParquetFormat::default()))
    }
}

impl GetExt for ParquetFactory {
    fn get_ext(&self) -> String {
        self.inner.get_ext()
    }
}

/// Parquet files with the same options.
#[derive(Debug)]
struct ParquetFiles {
    inner: ParquetFormat,
}

impl ParquetFiles {
    fn new(inner: ParquetFormat) -> Self {
        let mut options = inner.options().clone();
        let unit = &mut options.global.coerce_int96;
        unit.get_or_insert_with(|| INT96_UNIT.to_owned());
        Self {
            inner: inner.with_options(options),
        }
    }

    fn footers<'a>(&self, state: &dyn Session, store: &'a Arc<dyn ObjectStore>) -> Footers<'a> {
        Footers {
            store,
            cache: state.runtime_env().cache_manager.get_file_metadata_cache(),
            size_hint: self.inner.metadata_size_hint(),
        }
    }
}

#[async_trait]
impl FileFormat for ParquetFiles {
    fn get_ext(&self) -> String {
        self.inner.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.inner.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.inner.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        let footers = self.footers(state, store);
        let concurrency = state.config_options().execution.meta_fetch_concurrency;
        schema::infer_schema(&self.inner, &footers, objects, concurrency.get()).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let footer = self.footers(state, store).fetch(object).await?;
        Ok(trust::count_rows(&footer, &table_schema))
    }

    /// Files may claim an order that they do not have.
    async fn infer_ordering(
        &self,
        _state: &dyn Session,
        _store: &Arc<dyn ObjectStore>,
        _table_schema: SchemaRef,
        _object: &ObjectMeta,
    ) -> Result<Option<LexOrdering>> {
        Ok(None)
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<FileMeta> {
        let statistics = self.infer_stats(state, store, table_schema, object).await?;
        Ok(FileMeta::new(statistics))
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = state.runtime_env().object_store(&scan.object_store_url)?;
        let plan = self.inner.create_physical_plan(state, scan).await?;
        let scan = plan
            .downcast_ref::<DataSourceExec>()
            .and_then(|exec| exec.downcast_to_file_source::<ParquetSource>());
        let Some((scan, source)) = scan else {
            return Ok(plan);
        };
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let footers = Arc::new(TrustedFooters::new(store, cache));
        let source = source.clone().with_parquet_file_reader_factory(footers);
        let scan = FileScanConfigBuilder::from(scan.clone()).with_source(Arc::new(source));
        Ok(DataSourceExec::from_data_source(scan.build()))
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        sink: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self
            .inner
            .create_writer_physical_plan(input, state, sink, order);
        plan.await
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        self.inner.file_source(table_schema)
    }
}
