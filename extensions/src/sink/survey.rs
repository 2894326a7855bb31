//! What stands under a target.
//!
//! Invariant: looking changes nothing; whether an export lives is told by the store's own clock,
//! never by this machine's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bookkeeping::{DEAD_AFTER, Decision, Intent, Keys, Note};
use super::store::UploadStore;
use super::target::Target;
use crate::error::Result;

/// How many keys a first look asks for.
const LOOK_AT: usize = 100;

/// An export that has bookkeeping under a target.
#[derive(Debug, Clone)]
pub(super) struct FoundExport {
    pub(super) id: String,
    /// It has a `COMMIT`.
    pub(super) decided: bool,
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

/// What an export that died has left.
#[derive(Debug)]
pub(super) enum Remains {
    /// Nothing that is to stay: it had not begun to commit, or was being undone.
    Undone,
    /// Uploads to complete, some or all of which may be objects already.
    Intended(Box<Intent>),
    /// All its objects, and bookkeeping that was not needed any more.
    Committed(Vec<String>),
}

/// What is left of an export that was found under `found_in`.
pub(super) async fn find_remains(
    store: &dyn UploadStore,
    found_in: &Target,
    export: &FoundExport,
) -> Result<Remains> {
    let keys = Keys::new(found_in);
    if export.decided
        && let Some(json) = store.get(&keys.commit(&export.id)).await?
    {
        return Ok(match Decision::from_json(&json) {
            Decision::Commit(intent) => Remains::Intended(intent),
            Decision::Undo => Remains::Undone,
        });
    }
    // Objects appear after COMMIT is there, and are undone before it goes: without it, they are whole.
    let objects = list_objects(store, &export.target(found_in), &export.id).await?;
    Ok(match objects.is_empty() {
        true => Remains::Undone,
        false => Remains::Committed(objects),
    })
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
        let (id, name, note) = if key == keys.lock() {
            if own_id.is_some() {
                continue;
            }
            // Of an export that died between two of its objects the lock may be all there is.
            match read_note(store, &key).await? {
                Some(note) => (note.export_id.clone(), "LOCK", Some(note)),
                None => continue,
            }
        } else {
            match keys.split(&key) {
                Some((id, name @ ("INCOMPLETE" | "COMMIT"))) if Some(id) != own_id => {
                    let note = match name {
                        "INCOMPLETE" => read_note(store, &key).await?,
                        _ => None,
                    };
                    (id.to_owned(), name, note)
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
            decided: false,
            incomplete: false,
            age,
            note: None,
        });
        entry.decided |= name == "COMMIT";
        entry.incomplete |= name == "INCOMPLETE";
        entry.age = entry.age.min(age);
        // A heartbeat says more than the lock, which stays as it was first written.
        if name == "INCOMPLETE" || entry.note.is_none() {
            entry.note = note.or_else(|| entry.note.take());
        }
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

/// The data objects of one export: their keys say so, or, where the user chose the key, the tag they
/// were uploaded with.
pub(super) async fn list_objects(
    store: &dyn UploadStore,
    target: &Target,
    id: &str,
) -> Result<Vec<String>> {
    let mut found = list_data(store, target).await?;
    if target.file().is_none() {
        found.retain(|key| key.contains(id));
        return Ok(found);
    }
    let mut own = Vec::new();
    for key in found {
        let identity = store.identify(&key).await?;
        if identity.is_some_and(|object| object.is_from_export(id)) {
            own.push(key);
        }
    }
    Ok(own)
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
