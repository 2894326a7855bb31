//! Aborting the pending uploads of an export.
//!
//! Invariant: an upload that became an object, or that may be another export's, is never aborted.

use super::cleanup::{failures, run_all};
use crate::sink::staged::StagedFile;
use crate::sink::store::{PendingUpload, UploadStore};
use crate::sink::target::Target;

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
