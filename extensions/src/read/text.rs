//! Files of a text format: what CSV and JSON share as formats of DataFusion.
//!
//! Invariant: files are looked at once, before their columns are guessed, and every scan uses what
//! was found.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Statistics;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::passed_over::PassedOver;
use super::scan::TextScan;
use crate::error::Result;

/// The rows of a file that is being read.
pub(super) type Batches = BoxStream<'static, DataFusionResult<RecordBatch>>;

/// A file to read, and the columns that are wanted of it.
pub(super) struct FileToRead {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    /// All columns of the file.
    pub(super) schema: SchemaRef,
    /// The indexes of the wanted columns.
    pub(super) projection: Vec<usize>,
    pub(super) batch_rows: usize,
    /// Takes the records that can't be read; without it they are errors.
    pub(super) passed_over: Option<Arc<PassedOver>>,
}

/// Selects columns of batches; `None` keeps all.
pub(super) fn select(batches: Batches, columns: Option<Vec<usize>>) -> Batches {
    match columns {
        None => batches,
        Some(columns) => batches
            .map(move |batch| Ok(batch?.project(&columns)?))
            .boxed(),
    }
}

/// The settings for reading the files of a format.
#[async_trait]
pub(super) trait TextFormat: fmt::Debug + Clone + Send + Sync + 'static {
    /// DataFusion's name of the format.
    fn name(&self) -> &'static str;

    /// What a plan shows of the settings.
    fn describe(&self) -> String;

    /// Whether records that can't be read are passed over.
    fn ignores_errors(&self) -> bool;

    /// The settings after a look at the files. `declared` are their columns; `None` if the columns
    /// must be guessed.
    ///
    /// # Errors
    /// The store's.
    async fn look(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
        declared: Option<&Schema>,
    ) -> Result<Self>;

    /// Guesses the columns from the first records of the files.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::Query`](crate::error::ErrorKind::Query) if records do not fit each
    /// other.
    async fn guess_schema(&self, store: &dyn ObjectStore, objects: &[ObjectMeta])
    -> Result<Schema>;

    /// Opens a file.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::Query`](crate::error::ErrorKind::Query) if the file does not have
    /// the columns.
    async fn read(&self, file: FileToRead) -> Result<Batches>;
}

/// Files with the same settings.
#[derive(Debug)]
pub(super) struct TextFiles<F> {
    settings: F,
    /// The settings after the files were looked at.
    found: OnceLock<F>,
    /// DataFusion's format, which does the writing.
    writer: Arc<dyn FileFormat>,
}

impl<F: TextFormat> TextFiles<F> {
    pub(super) fn new(settings: F, writer: impl FileFormat) -> Self {
        Self {
            settings,
            found: OnceLock::new(),
            writer: Arc::new(writer),
        }
    }

    /// The same format with changed settings. Its files must be looked at again.
    pub(super) fn with(&self, change: impl FnOnce(&mut F)) -> Self {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Self {
            settings,
            found: OnceLock::new(),
            writer: Arc::clone(&self.writer),
        }
    }

    /// The settings, after a look at the files if there was one.
    pub(super) fn settings(&self) -> &F {
        self.found.get().unwrap_or(&self.settings)
    }

    /// Looks at the files, unless that was done. See [`TextFormat::look`].
    pub(super) async fn look(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
        declared: Option<&Schema>,
    ) -> Result<&F> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = self.settings.look(store, objects, declared).await?;
        Ok(self.found.get_or_init(|| found))
    }
}

/// Whether DataFusion's options of a format include the option, with or without the prefix
/// `format.`.
pub(super) fn is_told(options: &HashMap<String, String>, name: &str) -> bool {
    let mut options = options.keys();
    options.any(|option| option.strip_prefix("format.").unwrap_or(option) == name)
}

#[async_trait]
impl<F: TextFormat> FileFormat for TextFiles<F> {
    fn get_ext(&self) -> String {
        self.writer.get_ext()
    }

    fn get_ext_with_compression(
        &self,
        compression: &FileCompressionType,
    ) -> DataFusionResult<String> {
        self.writer.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.writer.compression_type()
    }

    async fn infer_schema(
        &self,
        _state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> DataFusionResult<SchemaRef> {
        let settings = self.look(store.as_ref(), objects, None).await?;
        let schema = settings.guess_schema(store.as_ref(), objects).await;
        schema.map(Arc::new).map_err(DataFusionError::from)
    }

    async fn infer_stats(
        &self,
        _state: &dyn Session,
        _store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        _object: &ObjectMeta,
    ) -> DataFusionResult<Statistics> {
        Ok(Statistics::new_unknown(&table_schema))
    }

    async fn create_physical_plan(
        &self,
        _state: &dyn Session,
        scan: FileScanConfig,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(DataSourceExec::from_data_source(scan))
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        sink: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.writer
            .create_writer_physical_plan(input, state, sink, order)
            .await
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(TextScan::new(self.settings().clone(), table_schema))
    }
}
