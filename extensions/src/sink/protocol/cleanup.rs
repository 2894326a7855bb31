//! Removes uploads, objects and bookkeeping of an export.
//!
//! Invariant: every step can be repeated, so an interrupted clean-up starts again from the
//! beginning. Bookkeeping is removed last, because it marks that there is something to clean up.

use futures::StreamExt;

use super::bookkeeping::{Decision, Keys, Lock, MEDIA_TYPE};
use super::survey::{list_objects, read_note};
use crate::error::Result;
use crate::sink::staged::StagedFile;
use crate::sink::store::{PendingUpload, UploadStore};
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

/// Aborts uploads. Returns a description, for the user, of each upload that it could not abort.
/// Calls `aborted` for every other upload.
pub(super) async fn abort_uploads(
    store: &dyn UploadStore,
    uploads: impl IntoIterator<Item = PendingUpload>,
    aborted: impl Fn(&PendingUpload) + Sync,
) -> Vec<String> {
    let aborted = &aborted;
    let abort = |upload: PendingUpload| async move {
        let done = store.abort_upload(&upload).await;
        done.map(|()| aborted(&upload)).map_err(|error| {
            let url = store.url(&upload.key);
            format!("upload {} of {url} ({error})", upload.upload_id)
        })
    };
    failures(run_all(uploads.into_iter().map(abort).collect()).await)
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

fn failures(results: Vec<std::result::Result<(), String>>) -> Vec<String> {
    results
        .into_iter()
        .filter_map(std::result::Result::err)
        .collect()
}

/// Aborts uploads of an export whose ids are unknown, because the answer to the request that
/// created them was lost. Returns a description, for the user, of everything that it could not
/// abort.
///
/// All keys contain the export's id, so the uploads can't belong to another export. The key of a
/// single file is the user's choice, so there the sweep runs only if the export knows that it lost
/// an upload. An upload in `committed` that is still listed is never aborted: it would be the only
/// copy of its rows.
pub(super) async fn sweep_uploads(
    store: &dyn UploadStore,
    target: &Target,
    id: &str,
    upload_lost: bool,
    committed: &[StagedFile],
) -> Vec<String> {
    if target.file().is_some() && !upload_lost {
        return Vec::new();
    }
    let prefix = target.prefix();
    match store.list_uploads(&prefix).await {
        Ok(pending) => {
            let is_committed = |upload: &PendingUpload| {
                let mut ids = committed.iter().filter_map(|file| file.upload_id.as_ref());
                ids.any(|id| *id == upload.upload_id)
            };
            let ours = pending
                .into_iter()
                .filter(|upload| target.is_file_of(&upload.key, id) && !is_committed(upload));
            abort_uploads(store, ours, |_| {}).await
        }
        // There is no other way to find the upload. The user must know that it may be pending.
        Err(error) if upload_lost => {
            let url = store.url(&prefix);
            vec![format!(
                "an upload that may be pending under {url} ({error})"
            )]
        }
        Err(error) => {
            tracing::debug!(%error, "pending uploads can't be listed");
            Vec::new()
        }
    }
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
