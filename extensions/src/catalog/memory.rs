//! A catalog that lives as long as the process.
//!
//! Invariant: each statement's change is seen whole or not at all by every session.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Catalog, Connection, OnConflict};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// Secrets and connections in memory, gone when dropped.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    objects: RwLock<Objects>,
}

#[derive(Debug, Default)]
struct Objects {
    secrets: BTreeMap<String, SecretValue>,
    connections: BTreeMap<String, Connection>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every change below is one map operation, so a poisoned lock still guards a whole state.
    fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert<T>(
    map: &mut BTreeMap<String, T>,
    what: &str,
    name: &str,
    value: T,
    on_conflict: OnConflict,
) -> Result<()> {
    match (map.entry(name.to_owned()), on_conflict) {
        (Entry::Vacant(vacant), _) => {
            vacant.insert(value);
        }
        (Entry::Occupied(mut occupied), OnConflict::Replace) => {
            occupied.insert(value);
        }
        (Entry::Occupied(_), OnConflict::Keep) => {}
        (Entry::Occupied(_), OnConflict::Fail) => {
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!("{what} \"{name}\" already exists"),
            ));
        }
    }
    Ok(())
}

impl Catalog for MemoryCatalog {
    fn create_secret(&self, name: &str, value: SecretValue, on_conflict: OnConflict) -> Result<()> {
        insert(
            &mut self.write().secrets,
            "secret",
            name,
            value,
            on_conflict,
        )
    }

    fn secret(&self, name: &str) -> Result<Option<SecretValue>> {
        Ok(self.read().secrets.get(name).cloned())
    }

    fn secret_names(&self) -> Result<Vec<String>> {
        Ok(self.read().secrets.keys().cloned().collect())
    }

    fn create_connection(&self, connection: Connection, on_conflict: OnConflict) -> Result<()> {
        let name = connection.name.clone();
        insert(
            &mut self.write().connections,
            "connection",
            &name,
            connection,
            on_conflict,
        )
    }

    fn connection(&self, name: &str) -> Result<Option<Connection>> {
        Ok(self.read().connections.get(name).cloned())
    }

    fn connection_names(&self) -> Result<Vec<String>> {
        Ok(self.read().connections.keys().cloned().collect())
    }
}
