//! Rolls back an export of this process.
//!
//! Invariant: [`undo`] returns a description, for the user, of everything that it could not remove.
//! If an upload or object is left, the bookkeeping stays, so that `RECOVER EXPORT` finds it.

use super::bookkeeping::Keys;
use super::cleanup::{decide_to_undo, delete_objects, remove_bookkeeping};
use super::ledger::Ledger;
use super::uploads::{abort_uploads, sweep_uploads};

/// Removes everything. Returns the removals that the store did not confirm, in words for the user.
pub(crate) async fn undo(ledger: &Ledger) -> Vec<String> {
    let entries = ledger.snapshot();
    let store = ledger.store().as_ref();
    let keys = Keys::new(&ledger.spec().target);
    // `COMMIT` must not say to complete uploads that are aborted below.
    if entries.intent
        && let Err(error) = decide_to_undo(store, &keys, ledger.id()).await
    {
        let url = store.url(&keys.commit(ledger.id()));
        return vec![format!("object {url} ({})", error.message())];
    }
    let mut leftovers = abort_uploads(store, entries.uploads, |upload| {
        ledger.forget_upload(upload)
    })
    .await;
    leftovers.extend(delete_objects(store, entries.objects).await);
    if entries.uploads_started {
        leftovers.extend(
            sweep_uploads(
                store,
                &ledger.spec().target,
                ledger.id(),
                entries.upload_lost,
                &[],
            )
            .await,
        );
    }
    // Bookkeeping is removed last, and stays if something is left for RECOVER.
    if entries.bookkeeping
        && leftovers.is_empty()
        && let Err(error) = remove_bookkeeping(store, &keys, ledger.id(), entries.lock).await
    {
        let url = store.url(keys.folder());
        leftovers.push(format!("bookkeeping under {url} ({})", error.message()));
    }
    leftovers
}
