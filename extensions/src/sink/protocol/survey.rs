//! Finds the exports and objects under a target.
//!
//! Invariant: a survey changes nothing. The age of an export is the age that the store reports. The
//! times in its bookkeeping are not used.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_commit::Sign;

use super::bookkeeping::{JOURNAL, Keys, Note, from_json};
use super::heartbeat::DEAD_AFTER;
use crate::error::Result;
use crate::sink::mode::Mode;
use crate::sink::store::UploadStore;
use crate::sink::target::Target;

/// How many keys the first list request asks for.
pub(super) const LOOK_AT: usize = 100;

/// An export that has bookkeeping under a target.
#[derive(Debug, Clone, Default)]
pub(super) struct FoundExport {
    pub(super) id: String,
    /// The content of `ALIVE`, or else of `ENDING`, `INCOMPLETE` or `LOCK`.
    pub(super) note: Option<Note>,
    /// It has an `ALIVE` that names a fence.
    pub(super) claimed: bool,
    /// It has a `COMMIT`.
    pub(super) committed: bool,
    /// It has a `ROLLBACK`.
    pub(super) rolled_back: bool,
    /// The keys of its journals.
    pub(super) journals: Vec<String>,
    /// The age of its newest bookkeeping, without journals. `None` if only journals are left.
    pub(super) age: Option<Duration>,
}

impl FoundExport {
    /// Whether other exports may try to end it.
    pub(super) fn is_silent(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.ended)
            || self.age.is_none_or(|age| age > DEAD_AFTER)
    }

    pub(super) fn sign(&self) -> Sign<String> {
        let note = self.note.as_ref();
        Sign {
            id: self.id.clone(),
            // An export without notes is removing its bookkeeping, so it writes nothing any more.
            exclusive: note.is_some_and(|note| note.mode != Mode::Append),
            silent: self.is_silent(),
            // Journals are written after `ALIVE`. If there is a journal and no `ALIVE`, `ALIVE` was
            // removed.
            claimed: self.claimed || self.rolled_back || !self.journals.is_empty(),
            committed: self.committed,
        }
    }

    /// The target of the export: the folder in which it was found, or one object in that folder.
    pub(super) fn target(&self, found_in: &Target) -> Target {
        let file = self.note.as_ref().and_then(|note| note.file.clone());
        found_in.with_file(file)
    }
}

/// The exports that have bookkeeping at `listed` keys, by id, without the export `own_id`.
///
/// `has_lock` skips `LOCK`, for an export that holds it. Therefore an access key without permission
/// to read objects can export to a target that no other export uses.
///
/// # Errors
/// The store fails, or a note can't be read by this version.
pub(super) async fn find_exports(
    store: &dyn UploadStore,
    keys: &Keys,
    listed: &[String],
    own_id: Option<&str>,
    has_lock: bool,
) -> Result<BTreeMap<String, FoundExport>> {
    let mut found: BTreeMap<String, FoundExport> = BTreeMap::new();
    for key in listed {
        let (id, name) = match keys.split(key) {
            _ if *key == keys.lock() && !has_lock => (None, "LOCK"),
            Some((id, name)) if Some(id) != own_id => (Some(id), name),
            _ => continue,
        };
        let note = match name {
            "LOCK" | "INCOMPLETE" | "ALIVE" | "ENDING" => match read_note(store, key).await? {
                Some(note) => Some(note),
                // Deleted since the listing: its export has just ended.
                None => continue,
            },
            "COMMIT" | "ROLLBACK" => None,
            _ if name.starts_with(JOURNAL) => None,
            _ => continue,
        };
        // An export that died between two requests may have left only `LOCK`, whose note has the
        // id.
        let id = id.or(note.as_ref().map(|note| note.export_id.as_str()));
        let Some(id) = id
            .map(str::to_owned)
            .filter(|id| Some(id.as_str()) != own_id)
        else {
            continue;
        };
        if name.starts_with(JOURNAL) {
            let export = found.entry(id.clone()).or_default();
            export.id = id;
            export.journals.push(key.clone());
            continue;
        }
        let Some(age) = store.age(key).await? else {
            continue;
        };
        let export = found.entry(id.clone()).or_default();
        export.id = id;
        export.age = Some(export.age.map_or(age, |earlier| earlier.min(age)));
        match name {
            "ALIVE" => export.claimed = note.as_ref().is_some_and(|note| note.fence.is_some()),
            "COMMIT" => export.committed = true,
            "ROLLBACK" => export.rolled_back = true,
            _ => {}
        }
        if name == "ALIVE" || export.note.is_none() {
            export.note = note.or_else(|| export.note.take());
        }
    }
    Ok(found)
}

/// Reads a note; `None` if there is none.
///
/// # Errors
/// The store fails, or the note can't be read by this version.
pub(super) async fn read_note(store: &dyn UploadStore, key: &str) -> Result<Option<Note>> {
    match store.get(key).await? {
        Some(json) => Ok(Some(from_json(&json, &store.url(key))?)),
        None => Ok(None),
    }
}

/// Whether there is an object with exactly this key. Needs no permission to read objects.
pub(super) async fn is_there(store: &dyn UploadStore, key: &str) -> Result<bool> {
    let found = store.list(key, 1).await?;
    Ok(found.iter().any(|found| found == key))
}

/// The key of any data object under a target, if there is one.
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

/// The data objects of one export. Their keys contain its id. The user chooses the key of a single
/// file, so there the tag of the upload identifies the object.
pub(super) async fn list_objects(
    store: &dyn UploadStore,
    target: &Target,
    id: &str,
) -> Result<Vec<String>> {
    let mut found = store.list(&target.prefix(), usize::MAX).await?;
    found.retain(|key| target.has_data(key));
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

/// The key of an object in a folder that has the name of the target object.
pub(super) async fn find_obstacle(
    store: &dyn UploadStore,
    target: &Target,
) -> Result<Option<String>> {
    let folder = format!("{}/", target.prefix());
    Ok(store.list(&folder, 1).await?.pop())
}
