//! `LOCK`, which detects most races between exports early.
//!
//! Invariant: no decision depends on the lock. The look after the claim decides, also on stores that
//! ignore or refuse conditional requests.

use super::bookkeeping::{Keys, MEDIA_TYPE, to_json};
use super::execute::{Failure, describe, in_use};
use super::ledger::Ledger;
use super::survey::read_note;
use crate::error::Result;
use crate::sink::mode::Mode;
use crate::sink::store::{StoreErrorKind, UploadStore};

/// Puts `LOCK`, unless the export appends.
///
/// # Errors
/// Another export holds the target, or the store's.
pub(super) async fn take(
    store: &dyn UploadStore,
    keys: &Keys,
    ledger: &Ledger,
) -> std::result::Result<(), Failure> {
    if ledger.spec().mode == Mode::Append {
        return Ok(());
    }
    let key = keys.lock();
    let note = to_json(&ledger.note(false))?;
    ledger.set_lock(true);
    match store.put(&key, note, MEDIA_TYPE, true).await {
        Ok(_) => Ok(()),
        // The store has no conditional requests.
        Err(error) if error.kind == StoreErrorKind::Unsupported => {
            ledger.set_lock(false);
            Ok(())
        }
        // If the answer to an earlier attempt was lost, this export holds the lock.
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            match read_note(store, &key).await? {
                Some(note) if note.export_id == ledger.id() => Ok(()),
                holder => {
                    ledger.set_lock(false);
                    let holder = holder.map(|note| describe(&note.export_id, &note.started));
                    let holder = holder.unwrap_or_else(|| "another export".to_owned());
                    let folder = ledger.spec().target.with_file(None);
                    Err(Failure::Refusal(in_use(&folder, &holder)))
                }
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes `LOCK` if it is the export's.
///
/// # Errors
/// The store's.
pub(super) async fn release(
    store: &dyn UploadStore,
    keys: &Keys,
    id: &str,
    own: Option<&Ledger>,
) -> Result<()> {
    let key = keys.lock();
    let is_ours = match own {
        Some(ledger) => ledger.may_hold_lock(),
        None => {
            let note = read_note(store, &key).await?;
            note.is_some_and(|note| note.export_id == id)
        }
    };
    if is_ours {
        store.delete(&key).await?;
    }
    Ok(())
}
