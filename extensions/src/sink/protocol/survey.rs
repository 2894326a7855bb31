//! Finds the exports and objects under a target.
//!
//! Invariant: a survey changes nothing. The age of an export is only ever the age that the store
//! reports, never a comparison with times in its bookkeeping.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::bookkeeping::{Decision, Intent, Keys, Note};
use super::heartbeat::DEAD_AFTER;
use crate::error::Result;
use crate::sink::store::UploadStore;
use crate::sink::target::Target;

/// How many keys the first list request asks for.
const LOOK_AT: usize = 100;

/// An export that has bookkeeping under a target.
#[derive(Debug, Clone)]
pub(super) struct FoundExport {
    pub(super) id: String,
    /// It has a `COMMIT`.
    pub(super) decided: bool,
    /// It has an `INCOMPLETE`, which a published export no longer has.
    pub(super) incomplete: bool,
    /// The time since its last sign of life.
    pub(super) age: Duration,
    /// The content of its `INCOMPLETE`, or else of its `LOCK`.
    pub(super) note: Option<Note>,
}

impl FoundExport {
    pub(super) fn is_dead(&self) -> bool {
        self.age > DEAD_AFTER
    }

    /// Merges the sign found at another key of the same export.
    fn add(&mut self, sign: Self) {
        self.decided |= sign.decided;
        self.incomplete |= sign.incomplete;
        self.age = self.age.min(sign.age);
        // `INCOMPLETE` is newer than `LOCK`, which is written only once.
        if sign.incomplete || self.note.is_none() {
            self.note = sign.note.or_else(|| self.note.take());
        }
    }

    /// The target of the export: the folder in which it was found, or one object in that folder.
    pub(super) fn target(&self, found_in: &Target) -> Target {
        let file = self.note.as_ref().and_then(|note| note.file.clone());
        found_in.with_file(file)
    }
}

/// The state in which an export died.
#[derive(Debug)]
pub(super) enum Remains {
    /// Nothing has to stay: the export had not begun to commit, or was being undone.
    Undone,
    /// Uploads have to be completed. Some or all of them may be objects already.
    Intended(Box<Intent>),
    /// All its objects are there. Only its bookkeeping has to be removed.
    Committed(Vec<String>),
}

/// Finds the state in which an export died whose bookkeeping is under `found_in`.
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
    // Objects appear only after COMMIT is written, and a rollback deletes them before it removes
    // COMMIT. So objects without a COMMIT are a complete export.
    let objects = list_objects(store, &export.target(found_in), &export.id).await?;
    Ok(match objects.is_empty() {
        true => Remains::Undone,
        false => Remains::Committed(objects),
    })
}

/// The exports under a target that have not ended, by id.
///
/// An export that looks for others gives its own id. Then its own keys are skipped, and so is the
/// `LOCK`, which it holds: an access key without permission to read objects can still export.
pub(super) async fn find_exports(
    store: &dyn UploadStore,
    target: &Target,
    own_id: Option<&str>,
) -> Result<Vec<FoundExport>> {
    let keys = Keys::new(target);
    let mut found: BTreeMap<String, FoundExport> = BTreeMap::new();
    for key in store.list(keys.folder(), usize::MAX).await? {
        let Some(sign) = read_sign(store, &keys, &key, own_id).await? else {
            continue;
        };
        match found.entry(sign.id.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(sign)),
            Entry::Occupied(mut entry) => entry.get_mut().add(sign),
        }
    }
    Ok(found.into_values().collect())
}

/// The sign of an export that `key` gives. `None` if the key belongs to no export or to `own_id`.
async fn read_sign(
    store: &dyn UploadStore,
    keys: &Keys,
    key: &str,
    own_id: Option<&str>,
) -> Result<Option<FoundExport>> {
    let is_lock = key == keys.lock();
    let (id, name) = match keys.split(key) {
        _ if is_lock && own_id.is_none() => (None, "LOCK"),
        Some((id, name @ ("INCOMPLETE" | "COMMIT"))) if Some(id) != own_id => (Some(id), name),
        _ => return Ok(None),
    };
    let note = match name {
        "COMMIT" => None,
        _ => read_note(store, key).await?,
    };
    // An export that died between two requests may have left only `LOCK`, whose note has the id.
    let id = id.or(note.as_ref().map(|note| note.export_id.as_str()));
    let Some(id) = id.map(str::to_owned) else {
        return Ok(None);
    };
    // A key that was deleted since the listing belongs to an export that has just ended.
    let Some(age) = store.age(key).await? else {
        return Ok(None);
    };
    Ok(Some(FoundExport {
        id,
        decided: name == "COMMIT",
        incomplete: name == "INCOMPLETE",
        age,
        note,
    }))
}

pub(super) async fn read_note(store: &dyn UploadStore, key: &str) -> Result<Option<Note>> {
    let json = store.get(key).await?;
    Ok(json.and_then(|json| Note::from_json(&json)))
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

/// The data objects of one export. Their keys contain its id. The key of a single file is the
/// user's choice, so there the tag of the upload decides.
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

/// The key of an object that conflicts with the kind of the target: an object that has the name of
/// the target folder, or an object in a folder that has the name of the target object.
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
    // Keys are listed in byte order, so an object whose key is the whole prefix comes first.
    let found = store.list(&wanted, 1).await?;
    Ok(found
        .into_iter()
        .find(|key| *key == wanted || target.file().is_some()))
}
