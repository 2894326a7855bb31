//! Object stores of sessions that may not use files of this machine.
//!
//! Invariant: no session gets a store of the local disk, whatever path or URL it reads.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use tidegate_extensions::Access;
use url::Url;

/// Another registry without its store of the local disk.
#[derive(Debug)]
pub(crate) struct ClosedRegistry {
    inner: Arc<dyn ObjectStoreRegistry>,
}

impl ClosedRegistry {
    pub(crate) fn new(inner: Arc<dyn ObjectStoreRegistry>) -> Self {
        Self { inner }
    }
}

impl ObjectStoreRegistry for ClosedRegistry {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.inner.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.inner.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.scheme() == "file" {
            Access::none().check_local_files()?;
        }
        self.inner.get_store(url)
    }
}
