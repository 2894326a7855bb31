//! A catalog in memory.
//!
//! Invariant: every session sees a statement's change completely or not at all.

use std::sync::{PoisonError, RwLock};

use super::{Catalog, Objects, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// Secrets and connections in memory, gone when dropped.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    objects: RwLock<Objects>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }
}

// A change replaces all objects in its last step, so the state behind a poisoned lock is complete.
impl Catalog for MemoryCatalog {
    fn objects(&self) -> Result<Objects> {
        let objects = self.objects.read();
        Ok(objects.unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn change(&self, change: &mut dyn FnMut(&mut Objects) -> Result<()>) -> Result<()> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = objects.clone();
        change(&mut changed)?;
        *objects = changed;
        Ok(())
    }

    fn open_secret(&self, secret: &Secret) -> Result<SecretValue> {
        match secret {
            Secret::Plain(value) => Ok(value.clone()),
            Secret::Sealed { .. } => Err(Error::new(
                ErrorKind::Internal,
                "a catalog in memory holds no sealed secrets",
            )),
        }
    }
}
