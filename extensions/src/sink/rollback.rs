//! Undoing an export that will not happen.
//!
//! Invariant: what [`undo`] could not take away is in its result, in words for the user, and then
//! the bookkeeping stays, so that `RECOVER EXPORT` finds the rest.

use std::collections::BTreeSet;

use super::bookkeeping::{Keys, Lock};
use super::cleanup::{abort_uploads, delete_objects, remove_bookkeeping};
use super::export::Export;
use super::store::PendingUpload;

/// What an export has done to the store, as far as it knows.
#[derive(Debug, Default, Clone)]
pub(super) struct Traces {
    /// Uploads that exist, as far as the store has said.
    pub(super) uploads: BTreeSet<PendingUpload>,
    /// The creation of an upload was sent.
    pub(super) uploads_started: bool,
    /// The creation of an upload failed without an answer: it may exist.
    pub(super) upload_lost: bool,
    /// Objects that appeared, or may have.
    pub(super) objects: BTreeSet<String>,
    /// Bookkeeping was written, or may have been.
    pub(super) bookkeeping: bool,
    /// `COMMIT` was written, or may have been.
    pub(super) intent: bool,
    /// `LOCK` was taken, or may have been.
    pub(super) lock: Lock,
}

/// Takes everything away; returns what the store did not confirm.
pub(super) async fn undo(export: &Export, traces: Traces) -> Vec<String> {
    let store = export.store().as_ref();
    let keys = Keys::new(&export.spec().target);
    // The intent goes first: it must not be found without the uploads that it names.
    if traces.intent
        && let Err(error) = store.delete(&keys.commit(export.id())).await
    {
        let url = store.url(&keys.commit(export.id()));
        return vec![format!("object {url} ({error})")];
    }
    let mut leftovers = abort_uploads(store, traces.uploads).await;
    leftovers.extend(delete_objects(store, traces.objects).await);
    if traces.uploads_started {
        leftovers.extend(sweep_uploads(export, traces.upload_lost).await);
    }
    // The bookkeeping goes last, and stays where something is left for RECOVER.
    if traces.bookkeeping
        && leftovers.is_empty()
        && let Err(error) = remove_bookkeeping(store, &keys, export.id(), traces.lock).await
    {
        let url = store.url(keys.folder());
        leftovers.push(format!("bookkeeping under {url} ({})", error.message()));
    }
    leftovers
}

/// Aborts uploads of this export that were created although the answer was lost. Returns what it
/// could not do.
///
/// The export's id is in every key, so they can't be anybody else's. The key of a single file is
/// the user's: there, only an export that knows that it lost an upload looks for it.
pub(super) async fn sweep_uploads(export: &Export, upload_lost: bool) -> Vec<String> {
    let store = export.store().as_ref();
    let target = &export.spec().target;
    if target.file().is_some() && !upload_lost {
        return Vec::new();
    }
    let prefix = target.prefix();
    match store.list_uploads(&prefix).await {
        Ok(pending) => {
            let ours = pending
                .into_iter()
                .filter(|upload| target.is_file_of(&upload.key, export.id()));
            abort_uploads(store, ours).await
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
