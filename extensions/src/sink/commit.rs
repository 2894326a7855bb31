//! Making all objects appear.
//!
//! Invariant: [`commit`] returns the number of rows when every staged file is an object, or an
//! error when none is; it runs in a task of its own, so that dropping the statement in the middle
//! of it changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt;

use super::export::Export;
use super::manifest::StagedFile;
use super::store::{PendingUpload, StoreErrorKind};
use crate::error::Result;

/// How many uploads are completed at the same time.
const COMPLETIONS_AT_ONCE: usize = 16;

/// Completes every staged file, or none.
pub(super) async fn commit(export: &Arc<Export>, files: Vec<StagedFile>) -> Result<u64> {
    export.start_commit()?;
    let committing = Arc::clone(export);
    export
        .run_operation(async move {
            let finished = async {
                complete_all(&committing, &files).await?;
                committing.finish_commit().await
            };
            if let Err(error) = finished.await {
                committing.fail();
                return Err(error);
            }
            Ok(files.iter().map(|file| file.rows).sum())
        })
        .await
}

/// Completes files until one fails. What has been started is waited for: a completion that is cut
/// off may still happen, and could then not be undone.
async fn complete_all(export: &Arc<Export>, files: &[StagedFile]) -> Result<()> {
    let failed = AtomicBool::new(false);
    let failed = &failed;
    // Cloned, because a stream of futures that borrow from a slice can't be sent between threads.
    let results: Vec<Result<()>> = futures::stream::iter(files.to_vec())
        .map(|file| async move {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let completed = complete(export, &file).await;
            if completed.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            completed
        })
        .buffer_unordered(COMPLETIONS_AT_ONCE)
        .collect()
        .await;
    results.into_iter().collect()
}

async fn complete(export: &Export, file: &StagedFile) -> Result<()> {
    let store = export.store();
    export.register_object(&file.key);
    let Some(upload_id) = &file.upload_id else {
        let content_type = export.spec().format.content_type();
        store
            .put(&file.key, Bytes::new(), content_type, false)
            .await?;
        return Ok(());
    };
    let upload = PendingUpload {
        key: file.key.clone(),
        upload_id: upload_id.clone(),
    };
    match store.complete_upload(&upload, &file.etags).await {
        Ok(()) => {}
        // The answer to an earlier attempt may have been lost.
        Err(error) if error.kind == StoreErrorKind::NoSuchUpload => {
            if !is_completed(export, file).await? {
                return Err(error.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    export.forget_upload(&upload);
    Ok(())
}

/// Whether the object under the file's key came from this upload. A multipart ETag can't be
/// derived under KMS, so the size and our own tag decide.
async fn is_completed(export: &Export, file: &StagedFile) -> Result<bool> {
    let found = export.store().identify(&file.key).await?;
    Ok(found.is_some_and(|object| {
        let is_ours = object
            .file_tag
            .is_some_and(|tag| tag.starts_with(export.id()));
        is_ours && object.bytes == file.bytes
    }))
}
