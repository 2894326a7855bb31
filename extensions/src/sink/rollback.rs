//! Undoing an export that will not happen.
//!
//! Invariant: what [`undo`] could not take away is in its result, in words for the user, and then
//! the bookkeeping stays, so that `RECOVER EXPORT` finds the rest.

use std::collections::BTreeSet;

use super::bookkeeping::{Keys, Lock};
use super::cleanup::{
    abort_uploads, decide_to_undo, delete_objects, remove_bookkeeping, sweep_uploads,
};
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
    // The intent must not be found without the uploads that it names.
    if traces.intent
        && let Err(error) = decide_to_undo(store, &keys, export.id()).await
    {
        let url = store.url(&keys.commit(export.id()));
        return vec![format!("object {url} ({})", error.message())];
    }
    let mut leftovers =
        abort_uploads(store, traces.uploads, |upload| export.forget_upload(upload)).await;
    leftovers.extend(delete_objects(store, traces.objects).await);
    if traces.uploads_started {
        leftovers.extend(
            sweep_uploads(
                store,
                &export.spec().target,
                export.id(),
                traces.upload_lost,
                &[],
            )
            .await,
        );
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
