//! Makes all objects of an export appear.
//!
//! Invariant: [`commit`] returns [`Outcome::Committed`] only when every staged file is an object;
//! it contains the error if cleaning up failed. After [`Outcome::Failed`] the caller must roll
//! back. Both run in the export's own task, so dropping the statement changes nothing.
//!
//! Once an object of an earlier export has been deleted or replaced, the export can only be
//! finished, not undone. If the store does not tell whether that has happened, the result is
//! [`Outcome::Unknown`]: `COMMIT` stays, and the error says how to finish.
//!
//! If the process is killed in the middle, [`recover`](super::recover) uses the `COMMIT` to finish.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::bookkeeping::{Decision, Intent, Keys, MEDIA_TYPE};
use super::cleanup::{remove_bookkeeping, run_all, run_all_ok};
use super::heartbeat::Heartbeat;
use super::ledger::Ledger;
use super::manifest::Manifest;
use super::uploads::sweep_uploads;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::staged::StagedFile;
use crate::sink::store::{ObjectIdentity, StoreErrorKind, UploadStore};

/// How a commit ended.
pub(crate) enum Outcome {
    /// Every file is an object. Contains an error if cleaning up failed.
    Committed(Vec<StagedFile>, Option<Error>),
    /// No object may stay: the export must be rolled back.
    Failed(Error),
    /// It is not known whether the single object was replaced. The bookkeeping stays.
    Unknown(Error),
}

/// Completes every staged file, or none, and stops the heartbeat.
pub(crate) async fn commit(
    ledger: &Ledger,
    files: Vec<StagedFile>,
    mut heartbeat: Option<Heartbeat>,
) -> Outcome {
    let outcome = commit_files(ledger, files, &mut heartbeat).await;
    stop(&mut heartbeat).await;
    outcome
}

async fn stop(heartbeat: &mut Option<Heartbeat>) {
    if let Some(heartbeat) = heartbeat.take() {
        heartbeat.stop().await;
    }
}

async fn commit_files(
    ledger: &Ledger,
    files: Vec<StagedFile>,
    heartbeat: &mut Option<Heartbeat>,
) -> Outcome {
    let intent = intend(ledger, files);
    let keys = Keys::new(&ledger.spec().target);
    if let Err(error) = write_intent(ledger, &keys, &intent).await {
        return Outcome::Failed(error);
    }
    let store = ledger.store().as_ref();
    let completed = complete_all(store, &intent, |key| ledger.expect_object(key)).await;
    let committed = match completed {
        Ok(committed) => committed,
        Err(error) => match find_replacement(ledger, &intent).await {
            Ok(Some(committed)) => committed,
            Ok(None) => return Outcome::Failed(error),
            Err(unknown) => {
                tracing::warn!(export = %ledger.id(), %unknown, "the outcome is not known");
                return Outcome::Unknown(outcome_unknown(ledger, error));
            }
        },
    };
    let finished = match write_manifest(ledger, &keys, &intent, &committed).await {
        Ok(()) => finish(ledger, &keys, &intent, &committed, heartbeat).await,
        Err(error) if replaced_file(ledger, &intent).is_none() => return Outcome::Failed(error),
        Err(error) => Err(error),
    };
    // Every object is there: RECOVER EXPORT finishes the rest.
    let uncleaned = finished.err().map(|error| cleanup_failed(ledger, error));
    Outcome::Committed(committed, uncleaned)
}

fn intend(ledger: &Ledger, files: Vec<StagedFile>) -> Intent {
    let spec = ledger.spec();
    let obsolete = ledger.obsolete();
    let draft = || Manifest::draft(ledger.id(), &spec.statement, ledger.started(), &spec.schema);
    Intent {
        export_id: ledger.id().to_owned(),
        replaces: !obsolete.is_empty(),
        upload_lost: ledger.upload_lost(),
        obsolete: {
            let written: HashSet<&str> = files.iter().map(|file| file.key.as_str()).collect();
            let replaced = obsolete.into_iter();
            replaced
                .filter(|key| !written.contains(key.as_str()))
                .collect()
        },
        manifest: spec.manifest.then(draft),
        files,
    }
}

/// The file of a `SINGLE FILE` export that replaces an existing object. Once the file is an object,
/// the export can't be undone.
fn replaced_file<'a>(ledger: &Ledger, intent: &'a Intent) -> Option<&'a StagedFile> {
    let is_single = ledger.spec().target.file().is_some() && intent.replaces;
    intent.files.first().filter(|_| is_single)
}

/// Checks whether the single object was replaced although completing it failed, and returns its
/// file if so. `None` means that the export can be undone.
///
/// # Errors
/// The store does not answer whether the object was replaced.
async fn find_replacement(ledger: &Ledger, intent: &Intent) -> Result<Option<Vec<StagedFile>>> {
    let Some(file) = replaced_file(ledger, intent) else {
        return Ok(None);
    };
    let store = ledger.store().as_ref();
    if let Some(upload) = file.upload() {
        // After this, a completion that is still in flight can't succeed.
        store.abort_upload(&upload).await?;
    }
    let found = find_object(store, &intent.export_id, file).await?;
    Ok(found.map(|object| {
        let mut file = file.clone();
        file.object_etag = object.etag;
        vec![file]
    }))
}

fn outcome_unknown(ledger: &Ledger, error: Error) -> Error {
    let message = format!(
        "{}; whether {} was replaced is not known",
        error.message(),
        ledger.spec().target,
    );
    Error::new(ErrorKind::OutcomeUnknown, message)
        .with_hint(format!("finish it: {}", ledger.spec().recover_statement))
        .with_source(error)
}

fn cleanup_failed(ledger: &Ledger, error: Error) -> Error {
    Error::new(
        ErrorKind::CleanupFailed,
        format!(
            "every object is there, but cleaning up after the export to {} failed: {}",
            ledger.spec().target,
            error.message()
        ),
    )
    .with_hint(format!("finish it: {}", ledger.spec().recover_statement))
    .with_source(error)
}

async fn write_intent(ledger: &Ledger, keys: &Keys, intent: &Intent) -> Result<()> {
    let json = Decision::Commit(Box::new(intent.clone())).to_json()?;
    ledger.expect_intent();
    let key = keys.commit(ledger.id());
    ledger.store().put(&key, json, MEDIA_TYPE, false).await?;
    Ok(())
}

/// Completes files until one fails, and returns them with the ETags of their objects. Waits for all
/// completions in flight: a completion that is cut off may still take effect, and could not be
/// undone. `about_to_appear` is called with each key before its object can exist.
pub(super) async fn complete_all(
    store: &dyn UploadStore,
    intent: &Intent,
    about_to_appear: impl Fn(&str) + Sync,
) -> Result<Vec<StagedFile>> {
    let failed = AtomicBool::new(false);
    let (failed, about_to_appear) = (&failed, &about_to_appear);
    let complete = |file: &StagedFile| {
        let mut file = file.clone();
        async move {
            if failed.load(Ordering::Relaxed) {
                return Ok(file);
            }
            about_to_appear(&file.key);
            match complete_file(store, &intent.export_id, &file).await {
                Ok(etag) => file.object_etag = etag,
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(file)
        }
    };
    let completions: Vec<_> = intent.files.iter().map(complete).collect();
    let mut files = run_all(completions)
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(files)
}

/// Makes one file an object; returns the object's ETag, if the store has ETags.
async fn complete_file(
    store: &dyn UploadStore,
    export_id: &str,
    file: &StagedFile,
) -> Result<Option<String>> {
    let Some(upload) = file.upload() else {
        let put = store.put(&file.key, Bytes::new(), &file.content_type, false);
        return Ok(put.await?);
    };
    match store.complete_upload(&upload, &file.receipts).await {
        Ok(etag) => Ok(etag),
        // It may have been completed already: by an attempt whose answer was lost, or by a process
        // that died. The size and our own tag decide, because the ETag of a multipart object can't
        // be computed under KMS.
        Err(error) if error.kind == StoreErrorKind::NoSuchUpload => {
            match find_object(store, export_id, file).await? {
                Some(object) => Ok(object.etag),
                None => Err(upload_vanished(store, file, error.into())),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// The object that a staged file became, if it is there.
async fn find_object(
    store: &dyn UploadStore,
    export_id: &str,
    file: &StagedFile,
) -> Result<Option<ObjectIdentity>> {
    let found = store.identify(&file.key).await?;
    Ok(found.filter(|object| object.is_from_export(export_id) && object.bytes == file.bytes))
}

fn upload_vanished(store: &dyn UploadStore, file: &StagedFile, error: Error) -> Error {
    let url = store.url(&file.key);
    Error::new(
        ErrorKind::DataCorrupted,
        format!("the upload of {url} is gone and did not become an object"),
    )
    .with_hint("something else aborted it: a lifecycle rule, or another program")
    .with_source(error)
}

async fn write_manifest(
    ledger: &Ledger,
    keys: &Keys,
    intent: &Intent,
    committed: &[StagedFile],
) -> Result<()> {
    if intent.manifest.is_some() {
        ledger.expect_object(&keys.manifest(ledger.id()));
    }
    put_manifest(ledger.store().as_ref(), keys, intent, committed).await
}

async fn finish(
    ledger: &Ledger,
    keys: &Keys,
    intent: &Intent,
    committed: &[StagedFile],
    heartbeat: &mut Option<Heartbeat>,
) -> Result<()> {
    let store = ledger.store().as_ref();
    let sweep = async {
        // If no answer was lost, all uploads are known, and there is nothing to sweep.
        match intent.upload_lost {
            true => {
                let (target, id) = (&ledger.spec().target, ledger.id());
                sweep_uploads(store, target, id, true, committed).await
            }
            false => Vec::new(),
        }
    };
    let (deleted, leftovers) = tokio::join!(delete_obsolete(store, intent), sweep);
    // Deleting may take long, so the heartbeat runs until it is done.
    stop(heartbeat).await;
    deleted?;
    confirm_swept(&leftovers)?;
    remove_bookkeeping(store, keys, &intent.export_id, ledger.lock()).await
}

/// Returns an error if uploads are left. Then the bookkeeping stays, and `RECOVER EXPORT` can
/// retry.
pub(super) fn confirm_swept(leftovers: &[String]) -> Result<()> {
    if leftovers.is_empty() {
        return Ok(());
    }
    let what = leftovers.join("; ");
    Err(Error::new(
        ErrorKind::ConnectionFailure,
        format!("left behind: {what}"),
    ))
}

/// Writes the manifest, if the intent has one.
pub(super) async fn put_manifest(
    store: &dyn UploadStore,
    keys: &Keys,
    intent: &Intent,
    committed: &[StagedFile],
) -> Result<()> {
    let Some(manifest) = &intent.manifest else {
        return Ok(());
    };
    let json = manifest.clone().finish(committed, |key| store.url(key))?;
    let key = keys.manifest(&intent.export_id);
    store.put(&key, json, MEDIA_TYPE, false).await?;
    Ok(())
}

/// Deletes the objects that the export replaces.
pub(super) async fn delete_obsolete(store: &dyn UploadStore, intent: &Intent) -> Result<()> {
    let deletes = intent.obsolete.iter().map(|key| store.delete(key));
    Ok(run_all_ok(deletes.collect()).await?)
}
