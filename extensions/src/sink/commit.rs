//! Making all objects appear.
//!
//! Invariant: [`commit`] returns the number of rows when every staged file is an object, or an
//! error when none is. It runs in a task of its own, so that dropping the statement in the middle of
//! it changes nothing. Once an object of an earlier export has been deleted there is no way back,
//! only forward.
//!
//! Killed in the middle, the `COMMIT` it wrote first tells [`recover`](super::recover) how to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::bookkeeping::{Intent, Keys, Lock, MEDIA_TYPE};
use super::export::Export;
use super::manifest::StagedFile;
use super::store::{PendingUpload, StoreErrorKind, UploadStore};
use super::survey::{remove_bookkeeping, run_all};
use crate::error::{Error, ErrorKind, Result};

/// Completes every staged file, or none.
pub(super) async fn commit(export: &Arc<Export>, files: Vec<StagedFile>) -> Result<u64> {
    export.start_commit()?;
    let committing = Arc::clone(export);
    export
        .run_operation(async move { commit_files(&committing, files).await })
        .await
}

async fn commit_files(export: &Arc<Export>, files: Vec<StagedFile>) -> Result<u64> {
    let rows = files.iter().map(|file| file.rows).sum();
    let mut obsolete = export.obsolete();
    obsolete.retain(|key| files.iter().all(|file| file.key != *key));
    let intent = Intent {
        export_id: export.id().to_owned(),
        files,
        obsolete,
    };
    if let Err(error) = complete(export, &intent).await {
        export.fail();
        return Err(error);
    }
    export.stop_heartbeat().await;
    for leftover in export.sweep_uploads().await {
        tracing::warn!(export = %export.id(), %leftover, "left behind");
    }
    let keys = Keys::new(&export.spec().target);
    let lock = export.lock();
    match publish(export.store().as_ref(), &keys, &intent, lock).await {
        Ok(()) => {
            export.end();
            Ok(rows)
        }
        Err(error) if intent.obsolete.is_empty() => {
            export.fail();
            Err(error)
        }
        Err(error) => {
            export.end();
            Err(Error::new(
                error.kind(),
                format!(
                    "every object is there, but what the export to {} replaces could not all be \
                     removed: {}",
                    export.spec().target,
                    error.message()
                ),
            )
            .with_hint(format!("finish it: {}", export.recover_statement()))
            .with_source(error))
        }
    }
}

async fn complete(export: &Arc<Export>, intent: &Intent) -> Result<()> {
    let store = export.store().as_ref();
    let keys = Keys::new(&export.spec().target);
    let json = serde_json::to_vec(intent).map_err(|error| {
        Error::new(ErrorKind::Internal, "the intent can't be written").with_source(error)
    })?;
    export.expect_intent();
    store
        .put(
            &keys.commit(export.id()),
            Bytes::from(json),
            MEDIA_TYPE,
            false,
        )
        .await?;
    complete_all(store, intent, |key| export.register_object(key)).await
}

/// Completes files until one fails. What has been started is waited for: a completion that is cut
/// off may still happen, and could then not be undone. `about_to_appear` hears of every key before
/// its object can be there.
pub(super) async fn complete_all(
    store: &dyn UploadStore,
    intent: &Intent,
    about_to_appear: impl Fn(&str) + Sync,
) -> Result<()> {
    let failed = AtomicBool::new(false);
    let (failed, about_to_appear) = (&failed, &about_to_appear);
    let complete = |file: &'_ StagedFile| {
        let file = file.clone();
        async move {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            about_to_appear(&file.key);
            let completed = complete_file(store, &intent.export_id, &file).await;
            if completed.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            completed
        }
    };
    let completions: Vec<_> = intent.files.iter().map(complete).collect();
    match run_all(completions).await.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

async fn complete_file(store: &dyn UploadStore, export_id: &str, file: &StagedFile) -> Result<()> {
    let Some(upload_id) = &file.upload_id else {
        store
            .put(&file.key, Bytes::new(), &file.content_type, false)
            .await?;
        return Ok(());
    };
    let upload = PendingUpload {
        key: file.key.clone(),
        upload_id: upload_id.clone(),
    };
    match store.complete_upload(&upload, &file.etags).await {
        Ok(()) => Ok(()),
        // It may have been completed already: by an attempt whose answer was lost, or by the
        // process that died.
        Err(error) if error.kind == StoreErrorKind::NoSuchUpload => {
            if is_completed(store, export_id, file).await? {
                return Ok(());
            }
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the object under the file's key came from this upload. A multipart ETag can't be
/// derived under KMS, so the size and our own tag decide.
async fn is_completed(store: &dyn UploadStore, export_id: &str, file: &StagedFile) -> Result<bool> {
    let found = store.identify(&file.key).await?;
    Ok(found.is_some_and(|object| {
        let is_ours = object
            .file_tag
            .is_some_and(|tag| tag.starts_with(export_id));
        is_ours && object.bytes == file.bytes
    }))
}

/// Removes what the export replaces, then its bookkeeping. `COMMIT` goes last: whatever else is
/// found without it is an export that must be undone.
pub(super) async fn publish(
    store: &dyn UploadStore,
    keys: &Keys,
    intent: &Intent,
    lock: Lock,
) -> Result<()> {
    let deletes: Vec<_> = intent
        .obsolete
        .iter()
        .map(|key| store.delete(key))
        .collect();
    if let Some(error) = run_all(deletes).await.into_iter().next() {
        return Err(error.into());
    }
    remove_bookkeeping(store, keys, &intent.export_id, lock).await?;
    Ok(store.delete(&keys.commit(&intent.export_id)).await?)
}
