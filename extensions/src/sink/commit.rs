//! Making all objects appear.
//!
//! Invariant: [`commit`] returns the number of rows when every staged file is an object, an error
//! that says so when they are but not all around them could be done, and else an error when none is.
//! It runs in a task of its own, so that dropping the statement in the middle of it changes nothing.
//! Once an object of an earlier export has been deleted or replaced there is no way back, only
//! forward; where the store doesn't tell whether that has happened, the intent stays and the error
//! says how to finish.
//!
//! Killed in the middle, the `COMMIT` it wrote first tells [`recover`](super::recover) how to go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::bookkeeping::{Decision, Intent, Keys, MEDIA_TYPE};
use super::cleanup::{remove_bookkeeping, run_all, run_all_ok};
use super::export::Export;
use super::manifest::Manifest;
use super::report::StagedFile;
use super::store::{ObjectIdentity, StoreErrorKind, UploadStore};
use crate::error::{Error, ErrorKind, Result};

/// Completes every staged file, or none. Returns the number of rows.
pub(super) async fn commit(export: &Arc<Export>, files: Vec<StagedFile>) -> Result<u64> {
    export.start_commit()?;
    let committing = Arc::clone(export);
    export
        .run_operation(async move { commit_files(&committing, files).await })
        .await
}

async fn commit_files(export: &Arc<Export>, files: Vec<StagedFile>) -> Result<u64> {
    let rows = files.iter().map(|file| file.rows).sum();
    let intent = intend(export, files);
    let keys = Keys::new(&export.spec().target);
    if let Err(error) = write_intent(export, &keys, &intent).await {
        export.fail();
        return Err(error);
    }
    let store = export.store().as_ref();
    let completed = complete_all(store, &intent, |key| export.register_object(key)).await;
    let committed = match completed {
        Ok(committed) => committed,
        Err(error) => match find_replacement(export, &intent).await {
            Ok(Some(committed)) => committed,
            Ok(None) => {
                export.fail();
                return Err(error);
            }
            Err(unknown) => {
                tracing::warn!(export = %export.id(), %unknown, "the outcome is not known");
                export.stop_heartbeat().await;
                export.end();
                return Err(unsettled(export, error));
            }
        },
    };
    let finished = match write_manifest(export, &keys, &intent, &committed).await {
        Ok(()) => finish(export, &keys, &intent, &committed).await,
        Err(error) if replaced_file(export, &intent).is_none() => {
            export.fail();
            return Err(error);
        }
        Err(error) => Err(error),
    };
    // Every object is there: what else failed is for RECOVER to finish.
    export.stop_heartbeat().await;
    export.set_committed(committed);
    export.end();
    match finished {
        Ok(()) => Ok(rows),
        Err(error) => Err(half_published(export, error)),
    }
}

fn intend(export: &Export, files: Vec<StagedFile>) -> Intent {
    let spec = export.spec();
    let obsolete = export.obsolete();
    let draft = || Manifest::draft(export.id(), &spec.statement, export.started(), &spec.schema);
    Intent {
        export_id: export.id().to_owned(),
        replaces: !obsolete.is_empty(),
        upload_lost: export.upload_lost(),
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

/// The one file of an export that replaces an object by its own: once it is an object, there is no
/// way back.
fn replaced_file<'a>(export: &Export, intent: &'a Intent) -> Option<&'a StagedFile> {
    let is_single = export.spec().target.file().is_some() && intent.replaces;
    intent.files.first().filter(|_| is_single)
}

/// The one object that replaces another, if it is there although completing it failed. `None` if the
/// export can be undone.
///
/// # Errors
/// The store doesn't tell.
async fn find_replacement(export: &Export, intent: &Intent) -> Result<Option<Vec<StagedFile>>> {
    let Some(file) = replaced_file(export, intent) else {
        return Ok(None);
    };
    let store = export.store().as_ref();
    if let Some(upload) = file.upload() {
        // A completion that is still under way can't happen after this.
        store.abort_upload(&upload).await?;
    }
    let found = find_object(store, &intent.export_id, file).await?;
    Ok(found.map(|object| {
        let mut file = file.clone();
        file.object_etag = object.etag;
        vec![file]
    }))
}

fn unsettled(export: &Export, error: Error) -> Error {
    let message = format!(
        "{}; whether {} was replaced is not known",
        error.message(),
        export.spec().target,
    );
    Error::new(error.kind(), message)
        .with_hint(format!("finish it: {}", export.recover_statement()))
        .with_source(error)
}

fn half_published(export: &Export, error: Error) -> Error {
    Error::new(
        error.kind(),
        format!(
            "every object is there, but what the export to {} replaces, or its bookkeeping, could not \
             all be removed: {}",
            export.spec().target,
            error.message()
        ),
    )
    .with_hint(format!("finish it: {}", export.recover_statement()))
    .with_source(error)
}

async fn write_intent(export: &Export, keys: &Keys, intent: &Intent) -> Result<()> {
    let json = Decision::Commit(Box::new(intent.clone())).to_json()?;
    export.expect_intent();
    let key = keys.commit(export.id());
    export.store().put(&key, json, MEDIA_TYPE, false).await?;
    Ok(())
}

/// Completes files until one fails, and returns them with their objects' ETags. What has been
/// started is waited for: a completion that is cut off may still happen, and could then not be
/// undone. `about_to_appear` hears of every key before its object can be there.
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

/// Makes one file an object; returns the object's ETag, if the store has such.
async fn complete_file(
    store: &dyn UploadStore,
    export_id: &str,
    file: &StagedFile,
) -> Result<Option<String>> {
    let Some(upload) = file.upload() else {
        let put = store.put(&file.key, Bytes::new(), &file.content_type, false);
        return Ok(put.await?);
    };
    match store.complete_upload(&upload, &file.etags).await {
        Ok(etag) => Ok(etag),
        // It may have been completed already: by an attempt whose answer was lost, or by the
        // process that died. A multipart ETag can't be derived under KMS, so the size and our own
        // tag decide.
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
    export: &Export,
    keys: &Keys,
    intent: &Intent,
    committed: &[StagedFile],
) -> Result<()> {
    if intent.manifest.is_some() {
        export.register_object(&keys.manifest(export.id()));
    }
    put_manifest(export.store().as_ref(), keys, intent, committed).await
}

async fn finish(
    export: &Export,
    keys: &Keys,
    intent: &Intent,
    committed: &[StagedFile],
) -> Result<()> {
    let store = export.store().as_ref();
    let sweep = async {
        // Every upload is known where every answer came.
        match intent.upload_lost {
            true => export.sweep_uploads(committed).await,
            false => Vec::new(),
        }
    };
    let (deleted, leftovers) = tokio::join!(delete_obsolete(store, intent), sweep);
    // Deleting may take long, and the export lives until it is done.
    export.stop_heartbeat().await;
    deleted?;
    confirm_swept(&leftovers)?;
    remove_bookkeeping(store, keys, &intent.export_id, export.lock()).await
}

/// An error if uploads are left, so that the bookkeeping stays and `RECOVER` can try again.
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

/// Writes the manifest, if one is wanted.
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

/// Removes what the export replaces.
pub(super) async fn delete_obsolete(store: &dyn UploadStore, intent: &Intent) -> Result<()> {
    let deletes = intent.obsolete.iter().map(|key| store.delete(key));
    Ok(run_all_ok(deletes.collect()).await?)
}
