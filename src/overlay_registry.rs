//! Object stores of a dry run.
//!
//! Invariant: the registry below is only ever read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use url::Url;

/// The stores of another registry, and stores on top of them.
#[derive(Debug)]
pub(crate) struct OverlayRegistry {
    below: Arc<dyn ObjectStoreRegistry>,
    /// By scheme and authority.
    own: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl OverlayRegistry {
    pub(crate) fn new(below: Arc<dyn ObjectStoreRegistry>) -> Self {
        let own = Mutex::default();
        Self { below, own }
    }

    fn own(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn ObjectStore>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

impl ObjectStoreRegistry for OverlayRegistry {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.own().insert(key(url), store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match self.own().remove(&key(url)) {
            Some(store) => Ok(store),
            None => self.below.get_store(url),
        }
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match self.own().get(&key(url)) {
            Some(store) => Ok(Arc::clone(store)),
            None => self.below.get_store(url),
        }
    }
}
