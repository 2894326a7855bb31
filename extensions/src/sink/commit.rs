//! Making all objects appear.
//!
//! Invariant: [`commit`] returns the number of rows when every staged file is an object, or an
//! error when none is; it runs in a task of its own, so that dropping the statement in the middle
//! of it changes nothing.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::export::Export;
use super::manifest::StagedFile;
use super::store::StoreErrorKind;
use crate::error::{Error, Result};

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

async fn complete_all(export: &Arc<Export>, files: &[StagedFile]) -> Result<()> {
    // Cloned, because a stream of futures that borrow from a slice can't be sent between threads.
    futures::stream::iter(files.to_vec())
        .map(|file| complete(Arc::clone(export), file))
        .buffer_unordered(COMPLETIONS_AT_ONCE)
        .try_collect()
        .await
}

async fn complete(export: Arc<Export>, file: StagedFile) -> Result<()> {
    let completed = export
        .store()
        .complete_upload(&file.upload, &file.etags)
        .await;
    match completed {
        Ok(()) => {}
        // The answer to an earlier attempt may have been lost.
        Err(error) if error.kind == StoreErrorKind::NoSuchUpload => {
            if !is_completed(&export, &file).await? {
                return Err(error.into());
            }
        }
        Err(error) => {
            // It may have happened all the same: then rolling back must delete it.
            if is_completed(&export, &file).await.unwrap_or(true) {
                export.register_completed(&file.upload);
            }
            return Err(error.into());
        }
    }
    export.register_completed(&file.upload);
    Ok(())
}

/// Whether the object under the file's key came from this upload. A multipart ETag can't be
/// derived under KMS, so the size and our own tag decide.
async fn is_completed(export: &Export, file: &StagedFile) -> Result<bool> {
    let found = export
        .store()
        .identify(&file.upload.key)
        .await
        .map_err(Error::from)?;
    Ok(found.is_some_and(|object| {
        let is_ours = object
            .file_tag
            .is_some_and(|tag| tag.starts_with(export.id()));
        is_ours && object.bytes == file.bytes
    }))
}
