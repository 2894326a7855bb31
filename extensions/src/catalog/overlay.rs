//! A catalog that keeps its changes in memory only.
//!
//! Invariant: the catalog below is only read, never changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Catalog, Objects, Secret};
use crate::error::Result;
use crate::secret::SecretValue;

/// The content of another catalog, with changes that are kept in memory only. It is for trying out
/// statements.
#[derive(Debug)]
pub struct OverlayCatalog {
    below: Arc<dyn Catalog>,
    /// None until the first change.
    changed: Mutex<Option<Objects>>,
}

impl OverlayCatalog {
    /// A catalog with the content of `below`, and no changes yet.
    pub fn new(below: Arc<dyn Catalog>) -> Self {
        let changed = Mutex::default();
        Self { below, changed }
    }
}

impl OverlayCatalog {
    fn lock(&self) -> MutexGuard<'_, Option<Objects>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The changed objects; before the first change, the objects of the catalog below.
    fn current(&self, changed: &Option<Objects>) -> Result<Objects> {
        match changed {
            Some(objects) => Ok(objects.clone()),
            None => self.below.objects(),
        }
    }
}

impl Catalog for OverlayCatalog {
    fn objects(&self) -> Result<Objects> {
        self.current(&self.lock())
    }

    fn change(&self, change: &mut dyn FnMut(&mut Objects) -> Result<()>) -> Result<()> {
        let mut changed = self.lock();
        let mut objects = self.current(&changed)?;
        change(&mut objects)?;
        *changed = Some(objects);
        Ok(())
    }

    fn open_secret(&self, secret: &Secret) -> Result<SecretValue> {
        match secret {
            Secret::Plain(value) => Ok(value.clone()),
            Secret::Sealed { .. } => self.below.open_secret(secret),
        }
    }
}
