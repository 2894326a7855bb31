//! Finds and aborts the pending uploads of an export.
//!
//! Invariant: an upload that became an object, or that may be another export's, is never aborted.
//!
//! Some stores list pending uploads only by their exact key, others by folder. A key that contains
//! the export's id belongs to this export only. Several exports may use the key of a single file,
//! so its uploads are aborted only while no other export to the folder is alive or decided.

use futures::StreamExt;

use super::bookkeeping::{JournalPage, Keys, from_json};
use super::ledger::Ledger;
use super::survey::{FoundExport, find_exports};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::staged::StagedFile;
use crate::sink::store::{PendingUpload, StoreError, StoreErrorKind, UploadStore};
use crate::sink::target::Target;

/// Upper bound for concurrent requests.
const REQUESTS_AT_ONCE: usize = 16;

/// Aborts the fence of an export: the upload that its `ALIVE` names, and any other pending upload
/// of its `COMMIT`. After that, the export can't commit, unless `COMMIT` exists already.
pub(super) async fn abort_fence(
    store: &dyn UploadStore,
    keys: &Keys,
    id: &str,
    own: Option<&Ledger>,
    found: Option<&FoundExport>,
) -> Result<(), StoreError> {
    let key = keys.commit(id);
    let (fence, others) = match own {
        Some(ledger) => (ledger.fence(), ledger.lost_uploads().contains(&key)),
        None => {
            let note = found.and_then(|found| found.note.as_ref());
            (note.and_then(|note| note.fence.clone()), true)
        }
    };
    if let Some(fence) = &fence {
        store.abort_upload(fence).await?;
    }
    if !others && fence.is_some() {
        return Ok(());
    }
    match store.list_uploads(&key).await {
        Ok(pending) => {
            for upload in pending.iter().filter(|upload| upload.key.contains(id)) {
                store.abort_upload(upload).await?;
            }
            Ok(())
        }
        Err(error) if error.kind == StoreErrorKind::Unsupported && fence.is_some() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Aborts the uploads of this process's export. Returns a description, for the user, of every upload
/// that may be left.
pub(super) async fn abort_own(
    store: &dyn UploadStore,
    keys: &Keys,
    ledger: &Ledger,
) -> Vec<String> {
    let mut left = abort_all(store, ledger.uploads(), |upload| {
        ledger.forget_upload(upload);
    })
    .await;
    left.extend(sweep_lost(store, keys, ledger, &[]).await);
    if ledger.may_get_uploads() && left.is_empty() {
        left.extend(
            ledger
                .lost_uploads()
                .iter()
                .map(|key| format!("an upload of {} that may still appear", store.url(key))),
        );
    }
    left
}

/// Aborts uploads of this process's export whose ids are not known, because the answers to the
/// requests that created them were lost. Returns a description, for the user, of every upload that
/// may be left. An upload in `committed` that is still listed is never aborted: it would be the only
/// copy of its rows.
pub(super) async fn sweep_lost(
    store: &dyn UploadStore,
    keys: &Keys,
    ledger: &Ledger,
    committed: &[StagedFile],
) -> Vec<String> {
    let sweep = |key: String| async move {
        let swept = async {
            let mut pending = store.list_uploads(&key).await?;
            pending.retain(|upload| {
                let is_key = upload.key == key || upload.key.contains(ledger.id());
                is_key && !is_committed(upload, committed)
            });
            if pending
                .iter()
                .any(|upload| !upload.key.contains(ledger.id()))
            {
                refuse_others(store, keys, ledger.id()).await?;
            }
            Ok::<_, Error>(abort_all(store, pending, |_| {}).await)
        };
        // There is no other way to find the upload. The user must know that it may be pending.
        swept.await.unwrap_or_else(|error| {
            vec![format!(
                "an upload of {} that may be pending ({})",
                store.url(&key),
                error.message()
            )]
        })
    };
    let sweeps: Vec<_> = ledger.lost_uploads().into_iter().map(sweep).collect();
    let left: Vec<Vec<String>> = futures::stream::iter(sweeps)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .collect()
        .await;
    left.into_iter().flatten().collect()
}

/// Aborts the uploads of another export, whose bookkeeping says which keys they may have. Uploads in
/// `committed` are objects, even if the store still lists them.
///
/// # Errors
/// The store refuses to list or abort, or a journal can't be read.
pub(super) async fn abort_foreign(
    store: &dyn UploadStore,
    keys: &Keys,
    target: &Target,
    id: &str,
    found: &FoundExport,
    committed: &[StagedFile],
) -> Result<u64> {
    let prefix = target.prefix();
    let mut pending = store.list_uploads(&prefix).await?;
    pending.retain(|upload| target.is_file_of(&upload.key, id));
    if pending.is_empty() && target.file().is_none() {
        pending = find_announced(store, found, id).await?;
    }
    pending.retain(|upload| !is_committed(upload, committed));
    if target.file().is_some() && !pending.is_empty() {
        refuse_others(store, keys, id).await?;
    }
    let count = pending.len() as u64;
    let aborts: Vec<_> = pending
        .iter()
        .map(|upload| store.abort_upload(upload))
        .collect();
    let results: Vec<Result<(), StoreError>> = futures::stream::iter(aborts)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .collect()
        .await;
    results.into_iter().collect::<Result<(), StoreError>>()?;
    Ok(count)
}

fn is_committed(upload: &PendingUpload, committed: &[StagedFile]) -> bool {
    let mut ids = committed.iter().filter_map(|file| file.upload_id.as_ref());
    ids.any(|id| *id == upload.upload_id)
}

/// Refuses to abort uploads of a single file that may belong to another export than `id`.
async fn refuse_others(store: &dyn UploadStore, keys: &Keys, id: &str) -> Result<()> {
    let listed = store.list(keys.folder(), usize::MAX).await?;
    let others = find_exports(store, keys, &listed, Some(id), true).await?;
    let mut others = others.values();
    match others.find(|other| other.committed || !other.is_silent()) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::TargetInUse,
            format!(
                "export {} to the same folder has not ended, and a pending upload may belong to it",
                other.id
            ),
        )),
    }
}

/// Looks for uploads key by key, on stores that list uploads only by exact key.
async fn find_announced(
    store: &dyn UploadStore,
    found: &FoundExport,
    id: &str,
) -> Result<Vec<PendingUpload>> {
    let mut files = match &found.note {
        Some(note) => note.files.clone(),
        None => Vec::new(),
    };
    for key in &found.journals {
        if let Some(json) = store.get(key).await? {
            let page: JournalPage = from_json(&json, &store.url(key))?;
            files.extend(page.files);
        }
    }
    files.retain(|key| key.contains(id));
    let looks: Vec<_> = files.iter().map(|key| store.list_uploads(key)).collect();
    let found: Vec<Result<Vec<PendingUpload>, StoreError>> = futures::stream::iter(looks)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .collect()
        .await;
    let mut uploads = Vec::new();
    for found in found {
        uploads.extend(found?.into_iter().filter(|upload| upload.key.contains(id)));
    }
    Ok(uploads)
}

/// Aborts uploads. Returns a description, for the user, of each upload that it could not abort.
/// Calls `aborted` for every other upload.
async fn abort_all(
    store: &dyn UploadStore,
    uploads: Vec<PendingUpload>,
    aborted: impl Fn(&PendingUpload) + Sync,
) -> Vec<String> {
    let aborted = &aborted;
    let abort = |upload: PendingUpload| async move {
        match store.abort_upload(&upload).await {
            Ok(()) => {
                aborted(&upload);
                None
            }
            Err(error) => {
                let url = store.url(&upload.key);
                Some(format!("upload {} of {url} ({error})", upload.upload_id))
            }
        }
    };
    let aborts: Vec<_> = uploads.into_iter().map(abort).collect();
    let left: Vec<Option<String>> = futures::stream::iter(aborts)
        .buffer_unordered(REQUESTS_AT_ONCE)
        .collect()
        .await;
    left.into_iter().flatten().collect()
}
