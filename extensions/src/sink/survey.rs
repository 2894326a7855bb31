//! What stands under a target.
//!
//! Invariant: looking changes nothing; whether an export lives is told by the store's own clock,
//! never by this machine's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bookkeeping::{DEAD_AFTER, Keys, Note};
use super::store::UploadStore;
use super::target::Target;
use crate::error::Result;

/// How many keys a first look asks for.
const LOOK_AT: usize = 100;

/// An export that has bookkeeping under a target.
#[derive(Debug, Clone)]
pub(super) struct FoundExport {
    pub(super) id: String,
    /// It has begun to commit.
    pub(super) committing: bool,
    /// It is marked as incomplete, which a published export is not any more.
    pub(super) incomplete: bool,
    /// How long ago it gave a sign of life.
    pub(super) age: Duration,
    /// What it says about itself.
    pub(super) note: Option<Note>,
}

impl FoundExport {
    pub(super) fn is_dead(&self) -> bool {
        self.age > DEAD_AFTER
    }

    /// What it exports to, which may be one object in the folder it was found in.
    pub(super) fn target(&self, found_in: &Target) -> Target {
        let file = self.note.as_ref().and_then(|note| note.file.clone());
        found_in.with_file(file)
    }
}

/// The exports under a target that have not ended, by id.
///
/// An export that looks for others names itself and is left out, and so is the `LOCK`, which it
/// holds: a key that may not read objects can export.
pub(super) async fn find_exports(
    store: &dyn UploadStore,
    target: &Target,
    own_id: Option<&str>,
) -> Result<Vec<FoundExport>> {
    let keys = Keys::new(target);
    let mut found: BTreeMap<String, FoundExport> = BTreeMap::new();
    for key in store.list(keys.folder(), usize::MAX).await? {
        let (id, name) = if key == keys.lock() {
            if own_id.is_some() {
                continue;
            }
            // An export that died between its lock and its note is known by the lock alone.
            match read_note(store, &key).await? {
                Some(note) => (note.export_id, "LOCK"),
                None => continue,
            }
        } else {
            match keys.split(&key) {
                Some((id, name @ ("INCOMPLETE" | "COMMIT"))) if Some(id) != own_id => {
                    (id.to_owned(), name)
                }
                _ => continue,
            }
        };
        // What has gone since it was listed belongs to an export that has just ended.
        let Some(age) = store.age(&key).await? else {
            continue;
        };
        let entry = found.entry(id.clone()).or_insert(FoundExport {
            id,
            committing: false,
            incomplete: false,
            age,
            note: None,
        });
        entry.committing |= name == "COMMIT";
        entry.incomplete |= name == "INCOMPLETE";
        entry.age = entry.age.min(age);
    }
    for export in found.values_mut() {
        export.note = read_note(store, &keys.incomplete(&export.id)).await?;
    }
    Ok(found.into_values().collect())
}

pub(super) async fn read_note(store: &dyn UploadStore, key: &str) -> Result<Option<Note>> {
    let json = store.get(key).await?;
    Ok(json.and_then(|json| Note::from_json(&json)))
}

/// Any one data object under a target.
pub(super) async fn find_data(store: &dyn UploadStore, target: &Target) -> Result<Option<String>> {
    let prefix = target.prefix();
    let first = store.list(&prefix, LOOK_AT).await?;
    let all_looked_at = first.len() < LOOK_AT;
    let found = first.into_iter().find(|key| target.has_data(key));
    if found.is_some() || all_looked_at {
        return Ok(found);
    }
    let all = store.list(&prefix, usize::MAX).await?;
    Ok(all.into_iter().find(|key| target.has_data(key)))
}

/// All data objects under a target.
pub(super) async fn list_data(store: &dyn UploadStore, target: &Target) -> Result<Vec<String>> {
    let mut keys = store.list(&target.prefix(), usize::MAX).await?;
    keys.retain(|key| target.has_data(key));
    Ok(keys)
}

/// The manifests that ended exports left in a target's folder.
pub(super) async fn list_manifests(
    store: &dyn UploadStore,
    target: &Target,
) -> Result<Vec<String>> {
    let keys = Keys::new(target);
    let mut found = store.list(keys.folder(), usize::MAX).await?;
    found.retain(|key| matches!(keys.split(key), Some((_, "MANIFEST"))));
    Ok(found)
}

/// What stands in the way of a target because it is the other sort of thing: an object where the
/// target is a folder, something in a folder where the target is one object.
pub(super) async fn find_obstacle(
    store: &dyn UploadStore,
    target: &Target,
) -> Result<Option<String>> {
    let prefix = target.prefix();
    let path = prefix.trim_end_matches('/');
    if path.is_empty() {
        return Ok(None);
    }
    let wanted = match target.file() {
        Some(_) => format!("{path}/"),
        None => path.to_owned(),
    };
    // Listed by its whole name, the object itself comes first: keys are in order of their bytes.
    let found = store.list(&wanted, 1).await?;
    Ok(found
        .into_iter()
        .find(|key| *key == wanted || target.file().is_some()))
}
