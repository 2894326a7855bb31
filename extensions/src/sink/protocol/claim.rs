//! Claims a target for one export.
//!
//! Invariant: of several exports in mode error or overwrite to one folder, at most one at a time
//! holds the target after [`confirm_claim`], whether or not the store honours `If-None-Match`.
//! [`claim_target`] runs first and refuses a target that is unusable even without concurrent
//! exports.
//!
//! `LOCK` is put with `If-None-Match`, which settles most races at once. But a store may ignore the
//! condition, and another process may be removing the lock of a dead export at the same moment. So
//! every claimant also writes its `INCOMPLETE` and then lists the bookkeeping. A claimant that sees
//! another one withdraws and retries after a random pause. Lists are consistent on every supported
//! store, so of two claimants at least one sees the other and withdraws. There is no tie-break: a
//! claim wins only if no other claim is visible.

use std::time::Duration;

use rand::Rng;

use super::bookkeeping::{ClaimState, Keys, Lock, MEDIA_TYPE};
use super::cleanup::{remove_bookkeeping, remove_export};
use super::ledger::Ledger;
use super::survey::{
    FoundExport, Remains, find_data, find_exports, find_obstacle, find_remains, read_note,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::mode::Mode;
use crate::sink::store::StoreErrorKind;
use crate::sink::target::FOLDER;

const ATTEMPTS: u32 = 12;

/// Upper bound for the random pause after the first withdrawal. It grows with every attempt.
const PAUSE: Duration = Duration::from_millis(40);

/// Checks the target, cleans up after dead exports, and writes the claim that the mode asks for.
///
/// # Errors
/// The target is not empty, another export holds it, one died while committing, or the store
/// refuses to list, delete or write there.
pub(crate) async fn claim_target(ledger: &Ledger) -> Result<()> {
    let keys = Keys::new(&ledger.spec().target);
    look_first(ledger, &keys).await?;
    match ledger.spec().mode {
        Mode::Append => mark(ledger, &keys, ClaimState::Writing).await,
        Mode::Error | Mode::Overwrite => put_claim(ledger, &keys).await,
    }
}

/// Makes sure that no other export claimed the target at the same time. If another one did,
/// withdraws and claims the target again. The caller then starts the heartbeat, which shows that
/// the export holds the target.
///
/// # Errors
/// Another export holds the target, or held it and left its data there, or the store fails.
pub(crate) async fn confirm_claim(ledger: &Ledger) -> Result<()> {
    if ledger.spec().mode == Mode::Append {
        return Ok(());
    }
    let keys = Keys::new(&ledger.spec().target);
    for attempt in 1..=ATTEMPTS {
        if is_only_claim(ledger, &keys).await? {
            return Ok(());
        }
        give_way(ledger, &keys, attempt).await?;
        put_claim(ledger, &keys).await?;
    }
    Err(in_use(ledger, "other exports"))
}

/// Checks the target as [`claim_target`] does, but changes nothing: leftovers of dead exports stay.
/// It can't check the permission to write, because only a write shows it.
///
/// # Errors
/// The target is not empty, another export holds it, one died while committing, or the store
/// refuses to list or delete there.
pub(crate) async fn inspect_target(ledger: &Ledger) -> Result<()> {
    let keys = Keys::new(&ledger.spec().target);
    let probe = keys.probe(ledger.id());
    let (clear, others, empty, deleted) = tokio::join!(
        refuse_obstacle(ledger),
        refuse_others(ledger),
        check_empty(ledger),
        ledger.store().delete(&probe),
    );
    clear?;
    others?;
    empty?;
    Ok(deleted?)
}

/// Records in the ledger the objects that an export in mode overwrite replaces: the data under the
/// target, and the manifests of that data.
///
/// # Errors
/// An export to a folder below the target has not ended, or the store refuses to list.
pub(crate) async fn list_obsolete(ledger: &Ledger) -> Result<()> {
    if ledger.spec().mode != Mode::Overwrite {
        return Ok(());
    }
    let (store, target) = (ledger.store().as_ref(), &ledger.spec().target);
    let keys = Keys::new(target);
    // The manifests of a single object lie in one folder with the manifests of other objects, so
    // they stay.
    let is_manifest =
        |key: &str| target.file().is_none() && matches!(keys.split(key), Some((_, "MANIFEST")));
    let mut obsolete = store.list(&target.prefix(), usize::MAX).await?;
    obsolete.retain(|key| target.has_data(key) || is_manifest(key));
    // In a subfolder, a manifest is replaced together with the data that it lists. Any other
    // bookkeeping there belongs to an export that has not ended.
    let is_running =
        |key: &&String| key.contains(&format!("/{FOLDER}")) && !key.ends_with("/MANIFEST");
    match obsolete.iter().find(is_running) {
        None => {
            ledger.set_obsolete(obsolete);
            Ok(())
        }
        Some(key) => Err(Error::new(
            ErrorKind::TargetInUse,
            format!(
                "an export to a folder under {target} has not ended: {}",
                store.url(key)
            ),
        )
        .with_hint("wait until it ends, or recover it with RECOVER EXPORT")),
    }
}

/// Refuses a target that a live export holds, or where an export died while committing.
async fn refuse_others(ledger: &Ledger) -> Result<()> {
    let target = &ledger.spec().target;
    for found in find_exports(ledger.store().as_ref(), target, None).await? {
        if found.is_dead() {
            refuse_committed(ledger, &found).await?;
        } else if ledger.spec().mode != Mode::Append {
            return Err(in_use(ledger, &describe(&found)));
        }
    }
    Ok(())
}

/// Runs all checks that are possible before the claim. They run concurrently, because each round
/// trip may be slow.
async fn look_first(ledger: &Ledger, keys: &Keys) -> Result<()> {
    let probe = keys.probe(ledger.id());
    let (clear, others, empty, deleted) = tokio::join!(
        refuse_obstacle(ledger),
        settle_others(ledger, None),
        check_empty(ledger),
        // Without permission to delete, the export must fail before it writes an object that it
        // would have to delete.
        ledger.store().delete(&probe),
    );
    clear?;
    if others?.removed_any {
        check_empty(ledger).await?;
    } else {
        empty?;
    }
    Ok(deleted?)
}

/// Other exports to a target that have not ended.
#[derive(Debug, Default)]
struct Others {
    /// Another export is claiming the target, or holds it while this one only appends.
    claim: bool,
    /// A dead export was found and removed.
    removed_any: bool,
}

/// Refuses a target that another export holds, or where an export died while committing. Removes
/// exports that died before their commit.
async fn settle_others(ledger: &Ledger, own_id: Option<&str>) -> Result<Others> {
    let target = &ledger.spec().target;
    let store = ledger.store().as_ref();
    let mut others = Others::default();
    for found in find_exports(store, target, own_id).await? {
        if found.is_dead() {
            refuse_committed(ledger, &found).await?;
            tracing::info!(export = %found.id, %target, "cleaning up after a dead export");
            remove_export(store, &found.target(target), &found.id).await?;
            others.removed_any = true;
            continue;
        }
        let writing = found
            .note
            .as_ref()
            .is_some_and(|note| note.state == ClaimState::Writing);
        if writing && ledger.spec().mode != Mode::Append {
            return Err(in_use(ledger, &describe(&found)));
        }
        others.claim = true;
    }
    Ok(others)
}

/// Refuses a target where an export died after it had begun to commit.
async fn refuse_committed(ledger: &Ledger, found: &FoundExport) -> Result<()> {
    let (store, target) = (ledger.store().as_ref(), &ledger.spec().target);
    match find_remains(store, target, found).await? {
        Remains::Undone => Ok(()),
        Remains::Intended(_) | Remains::Committed(_) => Err(half_committed(ledger, found)),
    }
}

/// Refuses a target folder if an object has its name, and a target object if a folder has its name.
async fn refuse_obstacle(ledger: &Ledger) -> Result<()> {
    let target = &ledger.spec().target;
    let Some(key) = find_obstacle(ledger.store().as_ref(), target).await? else {
        return Ok(());
    };
    let url = ledger.store().url(&key);
    let why = match target.file() {
        Some(_) => format!("the target {target} is a folder: it has {url}"),
        None => format!("the target {target} is a folder, but there is an object {url}"),
    };
    Err(Error::new(ErrorKind::TargetInUse, why).with_hint("choose another target"))
}

/// Refuses a target that has data, in mode error.
async fn check_empty(ledger: &Ledger) -> Result<()> {
    if ledger.spec().mode != Mode::Error {
        return Ok(());
    }
    let target = &ledger.spec().target;
    let Some(key) = find_data(ledger.store().as_ref(), target).await? else {
        return Ok(());
    };
    let url = ledger.store().url(&key);
    Err(match target.file() {
        Some(_) => Error::new(ErrorKind::TargetInUse, format!("the target {url} exists"))
            .with_hint("choose another target, or MODE = 'overwrite'"),
        None => Error::new(
            ErrorKind::TargetInUse,
            format!("the target {target} is not empty: it has {url}"),
        )
        .with_hint("choose another target, or MODE = 'append' or 'overwrite'"),
    })
}

/// Puts `LOCK` and `INCOMPLETE`. Retries while another export holds the lock.
async fn put_claim(ledger: &Ledger, keys: &Keys) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        ledger.expect_bookkeeping();
        ledger.set_lock(Lock::Unsure);
        let (has_lock, marked) = tokio::join!(
            take_lock(ledger, keys),
            mark(ledger, keys, ClaimState::Claiming)
        );
        marked?;
        if has_lock? {
            return Ok(());
        }
        give_way(ledger, keys, attempt).await?;
    }
    Err(in_use(ledger, "other exports"))
}

/// Whether no other export is claiming the target.
async fn is_only_claim(ledger: &Ledger, keys: &Keys) -> Result<bool> {
    if is_alone(ledger, keys).await? {
        return Ok(true);
    }
    let others = settle_others(ledger, Some(ledger.id())).await?;
    // Another export may have begun and ended between the first look and the claim. This check
    // comes last: an export that had ended when the others were listed has left its data.
    check_empty(ledger).await?;
    Ok(!others.claim)
}

/// Whether only this export's own claim is under the target. Then one list request is enough.
async fn is_alone(ledger: &Ledger, keys: &Keys) -> Result<bool> {
    let target = &ledger.spec().target;
    if target.file().is_some() {
        return Ok(false);
    }
    let own = [keys.lock(), keys.incomplete(ledger.id())];
    let found = ledger.store().list(&target.prefix(), own.len() + 1).await?;
    Ok(found.iter().all(|key| own.contains(key)))
}

/// Puts `LOCK`; returns `false` if another export holds it.
async fn take_lock(ledger: &Ledger, keys: &Keys) -> Result<bool> {
    let store = ledger.store().as_ref();
    let lock = ledger.note(ClaimState::Claiming).to_json();
    let key = keys.lock();
    match store.put(&key, lock.clone(), MEDIA_TYPE, true).await {
        Ok(_) => {}
        // The answer to an earlier attempt may have been lost: then the lock is ours.
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            match read_note(store, &key).await? {
                Some(note) if note.export_id == ledger.id() => {}
                Some(_) => {
                    ledger.set_lock(Lock::NotTaken);
                    return Ok(false);
                }
                // The lock is gone again, or its note is unreadable: it is unknown which export
                // held it.
                None => return Ok(false),
            }
        }
        // The store has no conditional requests: only the list in `confirm_claim` decides.
        Err(error) if error.kind == StoreErrorKind::Unsupported => {
            store.put(&key, lock, MEDIA_TYPE, false).await?;
        }
        Err(error) => return Err(error.into()),
    }
    ledger.set_lock(Lock::Held);
    Ok(true)
}

/// Writes this export's `INCOMPLETE`.
async fn mark(ledger: &Ledger, keys: &Keys, state: ClaimState) -> Result<()> {
    ledger.expect_bookkeeping();
    let note = ledger.note(state).to_json();
    let key = keys.incomplete(ledger.id());
    ledger.store().put(&key, note, MEDIA_TYPE, false).await?;
    Ok(())
}

/// Withdraws the claim, waits for a random pause, and checks the other exports again.
async fn give_way(ledger: &Ledger, keys: &Keys, attempt: u32) -> Result<()> {
    let store = ledger.store().as_ref();
    remove_bookkeeping(store, keys, ledger.id(), ledger.lock()).await?;
    ledger.set_lock(Lock::NotTaken);
    let longest = PAUSE * attempt;
    let pause = longest.mul_f64(rand::rng().random_range(0.1..1.0));
    tokio::time::sleep(pause).await;
    settle_others(ledger, None).await?;
    Ok(())
}

fn describe(found: &FoundExport) -> String {
    match &found.note {
        Some(note) => format!("export {} (since {})", found.id, note.started),
        None => format!("export {}", found.id),
    }
}

fn in_use(ledger: &Ledger, holder: &str) -> Error {
    // Also for a single file, only one export at a time may use its folder.
    let target = ledger.spec().target.with_file(None);
    Error::new(
        ErrorKind::TargetInUse,
        format!("another export holds {target}: {holder}"),
    )
    .with_hint("wait until it ends; if its process is gone, it is given up after a minute")
}

fn half_committed(ledger: &Ledger, found: &FoundExport) -> Error {
    let target = &ledger.spec().target;
    Error::new(
        ErrorKind::TargetInUse,
        format!(
            "{} to {target} died while it committed; some or all of its objects are there",
            describe(found)
        ),
    )
    .with_hint(format!("finish it: {}", ledger.spec().recover_statement))
}
