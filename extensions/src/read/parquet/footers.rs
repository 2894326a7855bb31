//! Reads the footers of Parquet files.
//!
//! Invariant: a footer that leaves this module has no statistics that [`trust`](super::trust) does
//! not allow, whether it was read or cached.

use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, CachedParquetMetaData,
};
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::trust::trusted;
use crate::error::{Error, ErrorKind};

/// Fetches footers from a store, through the session's cache.
pub(super) struct Footers<'a> {
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) cache: Arc<FileMetadataCache>,
    /// How many bytes at the end of a file to read first.
    pub(super) size_hint: Option<usize>,
}

impl Footers<'_> {
    /// # Errors
    /// The store's; [`ErrorKind::Query`] if the file is not Parquet.
    pub(super) async fn fetch(&self, object: &ObjectMeta) -> Result<Arc<ParquetMetaData>> {
        let footer = DFParquetMetadata::new(self.store.as_ref(), object)
            .with_metadata_size_hint(self.size_hint)
            .with_file_metadata_cache(Some(Arc::clone(&self.cache)));
        let wrong = || format!("{} can't be read as Parquet", object.location);
        // The parquet crate panics at some damaged footers.
        let fetched = AssertUnwindSafe(footer.fetch_metadata())
            .catch_unwind()
            .await;
        let fetched = fetched.map_err(|_| {
            let hint = "its footer is damaged";
            Error::new(ErrorKind::Query, wrong()).with_hint(hint)
        })?;
        let footer = fetched.map_err(|error| {
            let why = format!("{}: {error}", wrong());
            Error::new(ErrorKind::Query, why).with_source(error)
        })?;
        Ok(keep_trusted(footer, object, self.cache.as_ref()))
    }
}

/// Removes from a footer what is not trusted, and caches the result.
fn keep_trusted(
    footer: Arc<ParquetMetaData>,
    object: &ObjectMeta,
    cache: &FileMetadataCache,
) -> Arc<ParquetMetaData> {
    let Some(trusted) = trusted(&footer) else {
        return footer;
    };
    let trusted = Arc::new(trusted);
    let cached = Arc::new(CachedParquetMetaData::new(Arc::clone(&trusted)));
    let entry = CachedFileMetadataEntry::new(object.clone(), cached);
    cache.put(&object.location, entry);
    trusted
}

/// Opens files for DataFusion's scans.
#[derive(Debug)]
pub(super) struct TrustedFooters {
    inner: CachedParquetFileReaderFactory,
    cache: Arc<FileMetadataCache>,
}

impl TrustedFooters {
    pub(super) fn new(store: Arc<dyn ObjectStore>, cache: Arc<FileMetadataCache>) -> Self {
        Self {
            inner: CachedParquetFileReaderFactory::new(store, Arc::clone(&cache)),
            cache,
        }
    }
}

impl ParquetFileReaderFactory for TrustedFooters {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let object = file.object_meta.clone();
        let inner = self
            .inner
            .create_reader(partition, file, size_hint, metrics)?;
        Ok(Box::new(TrustedReader {
            inner,
            object,
            cache: Arc::clone(&self.cache),
        }))
    }
}

struct TrustedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    object: ObjectMeta,
    cache: Arc<FileMetadataCache>,
}

impl fmt::Debug for TrustedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedReader")
            .field("object", &self.object.location)
            .finish_non_exhaustive()
    }
}

impl AsyncFileReader for TrustedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let fetched = AssertUnwindSafe(self.inner.get_metadata(options))
                .catch_unwind()
                .await;
            let footer = fetched.unwrap_or_else(|_| {
                let why = format!("the footer of {} is damaged", self.object.location);
                Err(ParquetError::General(why))
            })?;
            Ok(keep_trusted(footer, &self.object, self.cache.as_ref()))
        }
        .boxed()
    }
}
