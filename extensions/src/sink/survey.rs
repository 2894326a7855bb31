//! What stands under a target.
//!
//! Invariant: looking changes nothing; whether an export lives is told by the store's own clock,
//! never by this machine's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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

    /// Takes over what another of its keys tells.
    fn add(&mut self, sign: Self) {
        self.decided |= sign.decided;
        self.incomplete |= sign.incomplete;
        self.age = self.age.min(sign.age);
        // A heartbeat says more than the lock, which stays as it was first written.
        if sign.incomplete || self.note.is_none() {
            self.note = sign.note.or_else(|| self.note.take());
        }
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

/// What one key tells of the export it belongs to, if it belongs to one that is looked for.
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
    // Of an export that died between two of its objects the lock may be all there is.
    let id = id.or(note.as_ref().map(|note| note.export_id.as_str()));
    let Some(id) = id.map(str::to_owned) else {
        return Ok(None);
    };
    // What has gone since it was listed belongs to an export that has just ended.
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
