//! Taking away what an export left: uploads, objects, bookkeeping.
//!
//! Invariant: everything here can be repeated, so what is interrupted is done again from the start;
//! the bookkeeping goes last, because it is what says that there is something to take away.

use futures::StreamExt;

use super::bookkeeping::{Keys, Lock};
use super::store::{PendingUpload, UploadStore};
use super::survey::{list_data, read_note};
use super::target::Target;
use crate::error::Result;

/// How many requests complete or clean up at the same time.
pub(super) const REQUESTS_AT_ONCE: usize = 16;

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

/// Aborts uploads; says which it could not, for people.
pub(super) async fn abort_uploads(
    store: &dyn UploadStore,
    uploads: impl IntoIterator<Item = PendingUpload>,
) -> Vec<String> {
    let abort = |upload: PendingUpload| async move {
        store.abort_upload(&upload).await.map_err(|error| {
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

/// What removing a dead export took.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Removed {
    pub(super) uploads: u64,
    pub(super) objects: u64,
}

/// Removes everything of an export that will not happen: its intent, its uploads, objects that
/// appeared, and its bookkeeping last.
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
    for upload in store.list_uploads(&target.prefix()).await? {
        if target.is_file_of(&upload.key, id) {
            store.abort_upload(&upload).await?;
            removed.uploads += 1;
        }
    }
    for key in list_data(store, target).await? {
        if is_from_export(store, target, &key, id).await? {
            store.delete(&key).await?;
            removed.objects += 1;
        }
    }
    store.delete(&keys.manifest(id)).await?;
    remove_bookkeeping(store, &keys, id, Lock::Unsure).await?;
    Ok(removed)
}

/// Whether the object came from the export: its key says so, or, where the user chose the key, the
/// tag it was uploaded with.
async fn is_from_export(
    store: &dyn UploadStore,
    target: &Target,
    key: &str,
    id: &str,
) -> Result<bool> {
    if target.file().is_none() {
        return Ok(key.contains(id));
    }
    let tag = store.identify(key).await?.and_then(|found| found.file_tag);
    Ok(tag.is_some_and(|tag| tag.starts_with(id)))
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
