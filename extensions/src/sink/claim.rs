//! Getting a target for oneself.
//!
//! Invariant: of several exports in mode error or overwrite, at most one gets past
//! [`confirm_claim`] at a time, on stores that honour `If-None-Match` and on stores that ignore it.
//! Everything that a target can be refused for by itself is refused by [`claim_target`] before.
//!
//! `LOCK` is put with `If-None-Match`, which settles most races at once. Because a store may ignore
//! the condition, and because somebody may be removing a dead export's lock just now, every
//! claimant then writes its `INCOMPLETE` and lists: whoever sees another claimant withdraws and
//! tries again after a random pause. Lists are consistent on every store this is for, so of two
//! claimants at least one sees the other; that one never wins by being smaller, only by being alone.

use std::time::Duration;

use rand::Rng;

use super::bookkeeping::{ClaimState, FOLDER, Keys, Lock, MEDIA_TYPE};
use super::cleanup::{remove_bookkeeping, remove_export};
use super::export::Export;
use super::options::Mode;
use super::store::StoreErrorKind;
use super::survey::{
    FoundExport, Remains, find_data, find_exports, find_obstacle, find_remains, read_note,
};
use crate::error::{Error, ErrorKind, Result};

const ATTEMPTS: u32 = 12;

/// The longest random pause after the first withdrawal; it grows with each.
const PAUSE: Duration = Duration::from_millis(40);

/// Checks the target, cleans up after dead exports, and writes the claim that the mode asks for.
///
/// # Errors
/// The target is not empty, another export holds it, one died while committing, or the store
/// refuses to list, delete or write there.
pub(super) async fn claim_target(export: &Export) -> Result<()> {
    let keys = Keys::new(&export.spec().target);
    look_first(export, &keys).await?;
    match export.spec().mode {
        Mode::Append => mark(export, &keys, ClaimState::Writing).await,
        Mode::Error | Mode::Overwrite => put_claim(export, &keys).await,
    }
}

/// Makes sure that nobody else claimed the target at the same time; gives way and claims it again if
/// somebody did. From then on the export's heartbeat says that it has the target.
///
/// # Errors
/// Another export has the target, or had it and has left its data there, or the store fails.
pub(super) async fn confirm_claim(export: &Export) -> Result<()> {
    if export.spec().mode == Mode::Append {
        return Ok(());
    }
    let keys = Keys::new(&export.spec().target);
    for attempt in 1..=ATTEMPTS {
        if is_only_claim(export, &keys).await? {
            return Ok(());
        }
        give_way(export, &keys, attempt).await?;
        put_claim(export, &keys).await?;
    }
    Err(in_use(export, "other exports"))
}

/// Checks the target as [`claim_target`] does, and changes nothing: what an export that died has left
/// stays. Whether objects may be put is not known before one is.
///
/// # Errors
/// The target is not empty, another export holds it, one died while committing, or the store
/// refuses to list or delete there.
pub(super) async fn inspect_target(export: &Export) -> Result<()> {
    let keys = Keys::new(&export.spec().target);
    let probe = keys.probe(export.id());
    let (clear, others, empty, deleted) = tokio::join!(
        refuse_obstacle(export),
        refuse_others(export),
        check_empty(export),
        export.store().delete(&probe),
    );
    clear?;
    others?;
    empty?;
    Ok(deleted?)
}

/// What an export in mode overwrite will replace: the data under the target, and the manifests that list
/// it.
///
/// # Errors
/// An export to a folder below the target has not ended, or the store refuses to list.
pub(super) async fn find_obsolete(export: &Export) -> Result<Vec<String>> {
    let (store, target) = (export.store().as_ref(), &export.spec().target);
    let keys = Keys::new(target);
    // One object's manifests lie among those of others in its folder.
    let is_manifest =
        |key: &str| target.file().is_none() && matches!(keys.split(key), Some((_, "MANIFEST")));
    let mut obsolete = store.list(&target.prefix(), usize::MAX).await?;
    obsolete.retain(|key| target.has_data(key) || is_manifest(key));
    // A manifest in a folder below is replaced with the data that it lists.
    let is_running =
        |key: &&String| key.contains(&format!("/{FOLDER}")) && !key.ends_with("/MANIFEST");
    match obsolete.iter().find(is_running) {
        None => Ok(obsolete),
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

/// Refuses what is live or half committed.
async fn refuse_others(export: &Export) -> Result<()> {
    let target = &export.spec().target;
    for found in find_exports(export.store().as_ref(), target, None).await? {
        if found.is_dead() {
            refuse_committed(export, &found).await?;
        } else if export.spec().mode != Mode::Append {
            return Err(in_use(export, &describe(&found)));
        }
    }
    Ok(())
}

/// All that can be asked before anything is written, at once: each answer may take its time.
async fn look_first(export: &Export, keys: &Keys) -> Result<()> {
    let probe = keys.probe(export.id());
    let (clear, others, empty, deleted) = tokio::join!(
        refuse_obstacle(export),
        settle_others(export, None),
        check_empty(export),
        // Whoever may not delete must learn it before anything is written that would have to be.
        export.store().delete(&probe),
    );
    clear?;
    if others?.removed_any {
        check_empty(export).await?;
    } else {
        empty?;
    }
    Ok(deleted?)
}

/// What is known about other exports to a target that have not ended.
#[derive(Debug, Default)]
struct Others {
    /// One is claiming the target, or has it where that does not matter.
    claim: bool,
    /// One was dead, and what it left was removed.
    removed_any: bool,
}

/// Refuses what is live or half committed, and removes what died before its commit.
async fn settle_others(export: &Export, own_id: Option<&str>) -> Result<Others> {
    let target = &export.spec().target;
    let store = export.store().as_ref();
    let mut others = Others::default();
    for found in find_exports(store, target, own_id).await? {
        if found.is_dead() {
            refuse_committed(export, &found).await?;
            tracing::info!(export = %found.id, %target, "cleaning up after a dead export");
            remove_export(store, &found.target(target), &found.id).await?;
            others.removed_any = true;
            continue;
        }
        let writing = found
            .note
            .as_ref()
            .is_some_and(|note| note.state == ClaimState::Writing);
        if writing && export.spec().mode != Mode::Append {
            return Err(in_use(export, &describe(&found)));
        }
        others.claim = true;
    }
    Ok(others)
}

/// Refuses a target where an export died that had begun to commit, however far it came.
async fn refuse_committed(export: &Export, found: &FoundExport) -> Result<()> {
    let (store, target) = (export.store().as_ref(), &export.spec().target);
    match find_remains(store, target, found).await? {
        Remains::Undone => Ok(()),
        Remains::Intended(_) | Remains::Committed(_) => Err(half_committed(export, found)),
    }
}

/// Refuses a folder that is an object, and an object that is a folder.
async fn refuse_obstacle(export: &Export) -> Result<()> {
    let target = &export.spec().target;
    let Some(key) = find_obstacle(export.store().as_ref(), target).await? else {
        return Ok(());
    };
    let url = export.store().url(&key);
    let why = match target.file() {
        Some(_) => format!("the target {target} is a folder: it has {url}"),
        None => format!("the target {target} is a folder, but there is an object {url}"),
    };
    Err(Error::new(ErrorKind::TargetInUse, why).with_hint("choose another target"))
}

/// Refuses a target that has data, in mode error.
async fn check_empty(export: &Export) -> Result<()> {
    if export.spec().mode != Mode::Error {
        return Ok(());
    }
    let target = &export.spec().target;
    let Some(key) = find_data(export.store().as_ref(), target).await? else {
        return Ok(());
    };
    let url = export.store().url(&key);
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

/// Puts `LOCK` and `INCOMPLETE`, as soon as nobody else has the lock.
async fn put_claim(export: &Export, keys: &Keys) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        export.expect_bookkeeping();
        export.set_lock(Lock::Unsure);
        let (has_lock, marked) = tokio::join!(
            take_lock(export, keys),
            mark(export, keys, ClaimState::Claiming)
        );
        marked?;
        if has_lock? {
            return Ok(());
        }
        give_way(export, keys, attempt).await?;
    }
    Err(in_use(export, "other exports"))
}

/// Whether nobody else is claiming the target.
async fn is_only_claim(export: &Export, keys: &Keys) -> Result<bool> {
    if is_alone(export, keys).await? {
        return Ok(true);
    }
    let others = settle_others(export, Some(export.id())).await?;
    // Between the first look and the claim another export may have come and gone. This comes second:
    // whoever has ended by the look before has left its data.
    check_empty(export).await?;
    Ok(!others.claim)
}

/// Whether nothing is under the target but this export's own claim: then one answer says all.
async fn is_alone(export: &Export, keys: &Keys) -> Result<bool> {
    let target = &export.spec().target;
    if target.file().is_some() {
        return Ok(false);
    }
    let own = [keys.lock(), keys.incomplete(export.id())];
    let found = export.store().list(&target.prefix(), own.len() + 1).await?;
    Ok(found.iter().all(|key| own.contains(key)))
}

/// Puts `LOCK`; `false` if somebody else has it.
async fn take_lock(export: &Export, keys: &Keys) -> Result<bool> {
    let store = export.store().as_ref();
    let lock = export.note(ClaimState::Claiming).to_json();
    let key = keys.lock();
    match store.put(&key, lock.clone(), MEDIA_TYPE, true).await {
        Ok(_) => {}
        // The first answer may have been lost: then the lock is ours.
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            match read_note(store, &key).await? {
                Some(note) if note.export_id == export.id() => {}
                Some(_) => {
                    export.set_lock(Lock::NotTaken);
                    return Ok(false);
                }
                // Gone again or no note: that says nothing about whose it was.
                None => return Ok(false),
            }
        }
        // A store without conditional requests: looking for others decides alone.
        Err(error) if error.kind == StoreErrorKind::Unsupported => {
            store.put(&key, lock, MEDIA_TYPE, false).await?;
        }
        Err(error) => return Err(error.into()),
    }
    export.set_lock(Lock::Held);
    Ok(true)
}

/// Writes this export's `INCOMPLETE`.
async fn mark(export: &Export, keys: &Keys, state: ClaimState) -> Result<()> {
    export.expect_bookkeeping();
    let note = export.note(state).to_json();
    let key = keys.incomplete(export.id());
    export.store().put(&key, note, MEDIA_TYPE, false).await?;
    Ok(())
}

/// Takes an attempt back, and waits a while.
async fn give_way(export: &Export, keys: &Keys, attempt: u32) -> Result<()> {
    let store = export.store().as_ref();
    remove_bookkeeping(store, keys, export.id(), export.lock()).await?;
    export.set_lock(Lock::NotTaken);
    let longest = PAUSE * attempt;
    let pause = longest.mul_f64(rand::rng().random_range(0.1..1.0));
    tokio::time::sleep(pause).await;
    settle_others(export, None).await?;
    Ok(())
}

fn describe(found: &FoundExport) -> String {
    match &found.note {
        Some(note) => format!("export {} (since {})", found.id, note.started),
        None => format!("export {}", found.id),
    }
}

fn in_use(export: &Export, holder: &str) -> Error {
    // A single file's folder, too, has one export at a time.
    let target = export.spec().target.with_file(None);
    Error::new(
        ErrorKind::TargetInUse,
        format!("another export holds {target}: {holder}"),
    )
    .with_hint("wait until it ends; if its process is gone, it is given up after a minute")
}

fn half_committed(export: &Export, found: &FoundExport) -> Error {
    let target = &export.spec().target;
    Error::new(
        ErrorKind::TargetInUse,
        format!(
            "{} to {target} died while it committed; some or all of its objects are there",
            describe(found)
        ),
    )
    .with_hint(format!("finish it: {}", export.recover_statement()))
}
