//! Finishes or removes exports whose process died.
//!
//! Invariant: an export that began to commit is finished, any other is removed. A live export is
//! left alone, unless `force` is set. An export that can't be finished because an upload is gone is
//! removed only if `force` is set. An interrupted recovery can be repeated.

use super::bookkeeping::{Keys, Lock};
use super::cleanup::{decide_to_undo, remove_bookkeeping, remove_export, run_all};
use super::commit::{complete_all, confirm_swept, delete_obsolete, put_manifest};
use super::survey::{FoundExport, Remains, find_exports, find_remains};
use super::uploads::sweep_uploads;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::store::UploadStore;
use crate::sink::target::Target;

/// How one export was recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The export's id.
    pub export_id: String,
    /// `completed` or `removed`.
    pub action: &'static str,
    /// The number of objects that are there now, or of uploads and objects that were removed.
    pub objects: u64,
    /// The total size of the objects that are there now, in bytes.
    pub bytes: u64,
}

/// Recovers every unfinished export under `target`.
///
/// # Errors
/// [`ErrorKind::UndefinedObject`] if there is no unfinished export, [`ErrorKind::TargetInUse`] if
/// an export is alive and `force` is false, [`ErrorKind::DataCorrupted`] if an export can't be
/// finished because an upload is gone, and errors of the store.
pub async fn recover_exports(
    store: &dyn UploadStore,
    target: &Target,
    force: bool,
) -> Result<Vec<Recovered>> {
    let mut found = find_exports(store, target, None).await?;
    let mut folder = target.clone();
    if found.is_empty()
        && let Ok(single) = target.clone().into_single_file()
    {
        // The target may be one object: its bookkeeping is in the folder around it.
        found = find_exports(store, &single, None).await?;
        found.retain(|export| export.target(&single) == single);
        folder = single.with_file(None);
    }
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("there is no unfinished export under {target}"),
        ));
    }
    if let Some(living) = found.iter().find(|export| !force && !export.is_dead()) {
        return Err(Error::new(
            ErrorKind::TargetInUse,
            format!(
                "export {} to {target} gave a sign of life {} seconds ago",
                living.id,
                living.age.as_secs()
            ),
        )
        .with_hint("wait a minute, or add FORCE = true if its process is certainly gone"));
    }
    let mut recovered = Vec::new();
    for export in found {
        recovered.push(recover(store, &folder, &export, force).await?);
    }
    Ok(recovered)
}

async fn recover(
    store: &dyn UploadStore,
    target: &Target,
    export: &FoundExport,
    force: bool,
) -> Result<Recovered> {
    let keys = Keys::new(target);
    let intent = match find_remains(store, target, export).await? {
        Remains::Undone => return remove(store, &export.target(target), &export.id).await,
        Remains::Committed(objects) => {
            let bytes = count_bytes(store, &objects).await?;
            remove_bookkeeping(store, &keys, &export.id, Lock::Unsure).await?;
            return Ok(completed(&export.id, objects.len(), bytes));
        }
        Remains::Intended(intent) => intent,
    };
    let target = export.target(target);
    // Without `INCOMPLETE` the export was published. Its objects may have been changed since, so
    // they are left alone.
    if export.incomplete {
        let committed = match complete_all(store, &intent, |_| {}).await {
            Ok(committed) => committed,
            Err(error) if error.kind() == ErrorKind::DataCorrupted => {
                // If the export replaces objects, these may be gone, and its own objects are the
                // only copy.
                if force && !intent.replaces {
                    decide_to_undo(store, &keys, &export.id).await?;
                    return remove(store, &target, &export.id).await;
                }
                let why = error.hint().unwrap_or_default().to_owned();
                let cure = match intent.replaces {
                    true => format!(
                        "look which of its objects you want to keep, then delete {}",
                        store.url(&keys.commit(&export.id))
                    ),
                    false => "FORCE = true removes what is there of the export".to_owned(),
                };
                return Err(error.with_hint(format!("{why}; {cure}")));
            }
            Err(error) => return Err(error),
        };
        put_manifest(store, &keys, &intent, &committed).await?;
        let (deleted, leftovers) = tokio::join!(
            delete_obsolete(store, &intent),
            sweep_uploads(store, &target, &export.id, intent.upload_lost, &committed)
        );
        deleted?;
        confirm_swept(&leftovers)?;
    }
    remove_bookkeeping(store, &keys, &export.id, Lock::Unsure).await?;
    let bytes = intent.files.iter().map(|file| file.bytes).sum();
    Ok(completed(&export.id, intent.files.len(), bytes))
}

/// The total size of the objects, in bytes.
async fn count_bytes(store: &dyn UploadStore, objects: &[String]) -> Result<u64> {
    let looks = objects.iter().map(|key| store.identify(key));
    let mut bytes = 0;
    for object in run_all(looks.collect()).await {
        bytes += object?.map_or(0, |object| object.bytes);
    }
    Ok(bytes)
}

fn completed(id: &str, objects: usize, bytes: u64) -> Recovered {
    Recovered {
        export_id: id.to_owned(),
        action: "completed",
        objects: objects as u64,
        bytes,
    }
}

async fn remove(store: &dyn UploadStore, target: &Target, id: &str) -> Result<Recovered> {
    let removed = remove_export(store, target, id).await?;
    Ok(Recovered {
        export_id: id.to_owned(),
        action: "removed",
        objects: removed.uploads + removed.objects,
        bytes: 0,
    })
}
