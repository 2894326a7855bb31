//! What stands under a target.
//!
//! Invariant: looking changes nothing; whether an export lives is told by the store's own clock,
//! never by this machine's.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;

use super::bookkeeping::{DEAD_AFTER, FOLDER, Keys, Lock, Note};
use super::store::UploadStore;
use super::target::Target;
use crate::error::Result;

/// How many requests look or clean up at the same time.
pub(super) const REQUESTS_AT_ONCE: usize = 16;

/// How many keys a first look asks for.
const LOOK_AT: usize = 100;

/// An export that has bookkeeping under a target.
#[derive(Debug, Clone)]
pub(super) struct FoundExport {
    pub(super) id: String,
    /// It has begun to commit.
    pub(super) committing: bool,
    /// How long ago it gave a sign of life.
    pub(super) age: Duration,
    /// What it says about itself.
    pub(super) note: Option<Note>,
}

impl FoundExport {
    pub(super) fn is_dead(&self) -> bool {
        self.age > DEAD_AFTER
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
        let (id, is_commit) = if key == keys.lock() {
            if own_id.is_some() {
                continue;
            }
            // An export that died between its lock and its note is known by the lock alone.
            match read_note(store, &key).await? {
                Some(note) => (note.export_id, false),
                None => continue,
            }
        } else {
            match keys.split(&key) {
                Some((id, name @ ("INCOMPLETE" | "COMMIT"))) if Some(id) != own_id => {
                    (id.to_owned(), name == "COMMIT")
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
            age,
            note: None,
        });
        entry.committing |= is_commit;
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
    let first = store.list(target.prefix(), LOOK_AT).await?;
    let all_looked_at = first.len() < LOOK_AT;
    let found = first.into_iter().find(|key| is_data(target, key));
    if found.is_some() || all_looked_at {
        return Ok(found);
    }
    let all = store.list(target.prefix(), usize::MAX).await?;
    Ok(all.into_iter().find(|key| is_data(target, key)))
}

/// All data objects under a target.
pub(super) async fn list_data(store: &dyn UploadStore, target: &Target) -> Result<Vec<String>> {
    let mut keys = store.list(target.prefix(), usize::MAX).await?;
    keys.retain(|key| is_data(target, key));
    Ok(keys)
}

/// Neither bookkeeping nor a folder marker, as consoles create them.
fn is_data(target: &Target, key: &str) -> bool {
    key.strip_prefix(target.prefix())
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(FOLDER))
}

/// What removing a dead export took.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Removed {
    pub(super) uploads: u64,
    pub(super) objects: u64,
}

/// Removes everything of an export that will not happen: its uploads, objects that appeared, and
/// its bookkeeping last, so that what is interrupted here can be done again.
///
/// # Errors
/// The store refuses to list, abort or delete; then the bookkeeping is still there.
pub(super) async fn remove_export(
    store: &dyn UploadStore,
    target: &Target,
    id: &str,
) -> Result<Removed> {
    let keys = Keys::new(target);
    store.delete(&keys.commit(id)).await?;
    let mut removed = Removed::default();
    for upload in store.list_uploads(target.prefix()).await? {
        if upload.key.contains(id) {
            store.abort_upload(&upload).await?;
            removed.uploads += 1;
        }
    }
    for key in list_data(store, target).await? {
        if key.contains(id) {
            store.delete(&key).await?;
            removed.objects += 1;
        }
    }
    remove_bookkeeping(store, &keys, id, Lock::Unsure).await?;
    Ok(removed)
}

/// Removes an export's `INCOMPLETE` and, if it is this export's, `LOCK`.
pub(super) async fn remove_bookkeeping(
    store: &dyn UploadStore,
    keys: &Keys,
    id: &str,
    lock: Lock,
) -> Result<()> {
    store.delete(&keys.incomplete(id)).await?;
    let is_ours = match lock {
        Lock::NotTaken => false,
        Lock::Held => true,
        Lock::Unsure => read_note(store, &keys.lock())
            .await?
            .is_some_and(|note| note.export_id == id),
    };
    if is_ours {
        store.delete(&keys.lock()).await?;
    }
    Ok(())
}

/// Runs requests side by side and returns the errors. It takes them in a `Vec`, because an iterator
/// that borrows can't be sent between threads while it is waited for.
pub(super) async fn run_all<E>(
    requests: Vec<impl Future<Output = std::result::Result<(), E>>>,
) -> Vec<E> {
    futures::stream::iter(requests)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .filter_map(|result| std::future::ready(result.err()))
        .collect()
        .await
}
