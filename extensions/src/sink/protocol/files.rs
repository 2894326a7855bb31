//! The files of a decided export: complete, find and withdraw them.
//!
//! Invariant: an object is deleted only if its key holds the id of its export, and only after the
//! abort of its upload was answered.

use bytes::Bytes;
use futures::StreamExt;

use crate::error::Result;
use crate::sink::staged::StagedFile;
use crate::sink::store::{PendingUpload, StoreError, StoreErrorKind, UploadStore};
use crate::sink::target::Target;

use super::survey::is_there;

/// Upper bound for concurrent deletes.
const DELETES_AT_ONCE: usize = 16;

/// Makes one file an object; returns the object's ETag, if the store has ETags.
///
/// # Errors
/// The upload is not pending: it is an object already, or was aborted. Or the store fails.
pub(super) async fn complete(
    store: &dyn UploadStore,
    file: &StagedFile,
) -> Result<Option<String>, StoreError> {
    let Some(upload) = file.upload() else {
        let put = store.put(&file.key, Bytes::new(), &file.content_type, false);
        return put.await;
    };
    match store.complete_upload(&upload, &file.receipts).await {
        // For an upload that is not pending, some stores return an unspecific error.
        Err(error) if error.maybe_executed && is_not_pending(store, &upload).await => {
            Err(StoreError {
                kind: StoreErrorKind::NoSuchUpload,
                ..error
            })
        }
        completed => completed,
    }
}

/// Whether the store says that an upload is not pending.
async fn is_not_pending(store: &dyn UploadStore, upload: &PendingUpload) -> bool {
    let pending = store.list_uploads(&upload.key).await;
    pending.is_ok_and(|pending| {
        !pending
            .iter()
            .any(|found| found.upload_id == upload.upload_id)
    })
}

/// Looks whether a file of the export `id` is an object. Returns its ETag, if the store has ETags.
///
/// A key that contains the export's id belongs to this export only, and listing it needs no
/// permission to read. The user chooses the key of a single file: there the size and the export's
/// tag identify the object, because the ETag of a multipart object can't be computed under KMS.
pub(super) async fn find(
    store: &dyn UploadStore,
    target: &Target,
    id: &str,
    file: &StagedFile,
) -> Result<Option<Option<String>>> {
    if target.file().is_none() {
        return Ok(is_there(store, &file.key).await?.then_some(None));
    }
    let found = store.identify(&file.key).await?;
    let is_ours = |object: &crate::sink::store::ObjectIdentity| {
        // A file that was put without an upload has no tag.
        let is_tagged = file.upload_id.is_none() || object.is_from_export(id);
        is_tagged && object.bytes.is_none_or(|bytes| bytes == file.bytes)
    };
    Ok(found.filter(is_ours).map(|object| object.etag))
}

/// Aborts the upload of a file, and deletes its object once the abort is answered.
pub(super) async fn withdraw(
    store: &dyn UploadStore,
    target: &Target,
    file: &StagedFile,
) -> Result<(), StoreError> {
    if let Some(upload) = file.upload() {
        store.abort_upload(&upload).await?;
    }
    // A single file is not an object here: the export is rolled back because its only file can't
    // become one. An object at its key does not belong to this export.
    match target.file() {
        Some(_) => Ok(()),
        None => store.delete(&file.key).await,
    }
}

/// Deletes objects, and returns the first error after all requests are answered.
pub(super) async fn delete_all(store: &dyn UploadStore, keys: &[String]) -> Result<(), StoreError> {
    let deletes: Vec<_> = keys.iter().map(|key| store.delete(key)).collect();
    let results: Vec<_> = futures::stream::iter(deletes)
        .buffer_unordered(DELETES_AT_ONCE)
        .collect()
        .await;
    results.into_iter().collect()
}
