//! Taking away what an export left: uploads, objects, bookkeeping.
//!
//! Invariant: everything here can be repeated, so what is interrupted is done again from the start;
//! the bookkeeping goes last, because it is what says that there is something to take away.

use futures::StreamExt;

use super::bookkeeping::{Decision, Keys, Lock, MEDIA_TYPE};
use super::report::StagedFile;
use super::store::{PendingUpload, UploadStore};
use super::survey::{list_objects, read_note};
use super::target::Target;
use crate::error::Result;

/// How many requests complete or clean up at the same time.
const REQUESTS_AT_ONCE: usize = 16;

/// Runs requests side by side and returns the results in no particular order. It takes them in a
/// `Vec`, because an iterator that borrows can't be sent between threads while it is waited for.
pub(super) async fn run_all<T>(requests: Vec<impl Future<Output = T>>) -> Vec<T> {
    futures::stream::iter(requests)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .collect()
        .await
}

/// Runs requests side by side and returns the first error, once all have ended.
pub(super) async fn run_all_ok<E>(
    requests: Vec<impl Future<Output = std::result::Result<(), E>>>,
) -> std::result::Result<(), E> {
    run_all(requests).await.into_iter().collect()
}

/// Aborts uploads; says which it could not, for people. `aborted` hears of every other one.
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

/// Deletes objects; says which it could not, for people.
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

/// Aborts uploads of an export that were created although the answer was lost. Returns what it could
/// not do.
///
/// The export's id is in every key, so they can't be anybody else's. The key of a single file is
/// the user's: there, only an export that knows that it lost an upload looks for it. An upload that
/// was completed and is listed nevertheless is never aborted: it would be the only copy of its rows.
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
        // A store that can't list them has no other way; whether one may be left is known.
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

/// Says that an export will not happen after all, in the place of its intent. Until nothing is left of
/// it, whoever finds this goes on with undoing it.
pub(super) async fn decide_to_undo(store: &dyn UploadStore, keys: &Keys, id: &str) -> Result<()> {
    let undo = Decision::Undo.to_json()?;
    store.put(&keys.commit(id), undo, MEDIA_TYPE, false).await?;
    Ok(())
}

/// What removing a dead export took.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Removed {
    pub(super) uploads: u64,
    pub(super) objects: u64,
}

/// Removes everything of an export that did not begin to commit, or has been decided against: its
/// uploads, objects that appeared, and its bookkeeping last.
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

/// Removes an export's `COMMIT`, `INCOMPLETE` and, if it is this export's, `LOCK`. In what order they go
/// does not matter: what any of them says without the others is still true.
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
