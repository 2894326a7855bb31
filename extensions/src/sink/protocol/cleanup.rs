//! Removes uploads, objects and bookkeeping of an export.
//!
//! Invariant: every step can be repeated, so an interrupted clean-up starts again from the
//! beginning. Bookkeeping is removed last, because it marks that there is something to clean up.

use futures::StreamExt;

use super::bookkeeping::{Decision, Keys, Lock, MEDIA_TYPE};
use super::survey::{list_objects, read_note};
use crate::error::Result;
use crate::sink::store::UploadStore;
use crate::sink::target::Target;

/// Upper bound for concurrent requests that complete or clean up.
const REQUESTS_AT_ONCE: usize = 16;

/// Runs requests concurrently and returns the results in no particular order. Takes a `Vec`,
/// because a future that borrows an iterator is not `Send`.
pub(super) async fn run_all<T>(requests: Vec<impl Future<Output = T>>) -> Vec<T> {
    futures::stream::iter(requests)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .collect()
        .await
}

/// Runs requests concurrently, waits for all of them, and returns the first error.
pub(super) async fn run_all_ok<E>(
    requests: Vec<impl Future<Output = std::result::Result<(), E>>>,
) -> std::result::Result<(), E> {
    run_all(requests).await.into_iter().collect()
}

/// Deletes objects. Returns a description, for the user, of each object that it could not delete.
pub(super) async fn delete_objects(
    store: &dyn UploadStore,
    keys: impl IntoIterator<Item = String>,
) -> Vec<String> {
    let delete = |key: String| async move {
        let deleted = store.delete(&key).await;
        deleted.map_err(|error| format!("object {} ({error})", store.url(&key)))
    };
    failures(run_all(keys.into_iter().map(delete).collect()).await)
}

pub(super) fn failures(results: Vec<std::result::Result<(), String>>) -> Vec<String> {
    results
        .into_iter()
        .filter_map(std::result::Result::err)
        .collect()
}

/// Replaces the intent in `COMMIT` by the decision to undo the export. Until everything is removed,
/// a process that finds it continues the rollback.
pub(super) async fn decide_to_undo(store: &dyn UploadStore, keys: &Keys, id: &str) -> Result<()> {
    let undo = Decision::Undo.to_json()?;
    store.put(&keys.commit(id), undo, MEDIA_TYPE, false).await?;
    Ok(())
}

/// The number of uploads and objects that were removed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Removed {
    pub(super) uploads: u64,
    pub(super) objects: u64,
}

/// Removes an export that did not begin to commit, or that was decided to be undone: its uploads,
/// its objects, and its bookkeeping last.
///
/// # Errors
/// The store refuses to list, abort or delete; then the bookkeeping is still there.
pub(super) async fn remove_export(
    store: &dyn UploadStore,
    target: &Target,
    id: &str,
) -> Result<Removed> {
    let mut removed = Removed::default();
    for upload in store.list_uploads(&target.prefix()).await? {
        if target.is_file_of(&upload.key, id) {
            store.abort_upload(&upload).await?;
            removed.uploads += 1;
        }
    }
    for key in list_objects(store, target, id).await? {
        store.delete(&key).await?;
        removed.objects += 1;
    }
    let keys = Keys::new(target);
    store.delete(&keys.manifest(id)).await?;
    remove_bookkeeping(store, &keys, id, Lock::Unsure).await?;
    Ok(removed)
}

/// Removes an export's `COMMIT` and `INCOMPLETE`, and the `LOCK` if this export holds it. The order
/// does not matter: each of them is still valid without the others.
pub(super) async fn remove_bookkeeping(
    store: &dyn UploadStore,
    keys: &Keys,
    id: &str,
    lock: Lock,
) -> Result<()> {
    let release = async {
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
        Result::Ok(())
    };
    let (commit, incomplete) = (keys.commit(id), keys.incomplete(id));
    let (decision, mark, released) =
        tokio::join!(store.delete(&commit), store.delete(&incomplete), release);
    decision?;
    mark?;
    released
}
