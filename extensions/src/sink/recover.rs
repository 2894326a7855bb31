//! Finishing or removing exports whose process died.
//!
//! Invariant: an export that began to commit is finished, any other is removed; nothing is done to an
//! export that lives, unless it is forced. Interrupted, it can be done again. One that can't be
//! finished, because an upload is gone, is removed only if that is forced.

use super::bookkeeping::{Keys, Lock};
use super::cleanup::{decide_to_undo, remove_bookkeeping, remove_export, run_all, sweep_uploads};
use super::commit::{complete_all, confirm_swept, delete_obsolete, put_manifest};
use super::store::UploadStore;
use super::survey::{FoundExport, Remains, find_exports, find_remains};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};

/// What was done about one export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The export's id.
    pub export_id: String,
    /// `completed` or `removed`.
    pub action: &'static str,
    /// Objects that are there now, or uploads and objects that were removed.
    pub objects: u64,
    /// The bytes of the objects that are there now.
    pub bytes: u64,
}

/// Recovers every unfinished export under `target`.
///
/// # Errors
/// [`ErrorKind::UndefinedObject`] if there is none, [`ErrorKind::TargetInUse`] if one lives and
/// `force` is not given, and whatever the store refuses.
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
    // Without its mark it was published, and what became of its objects since is not our business.
    if export.incomplete {
        let committed = match complete_all(store, &intent, |_| {}).await {
            Ok(committed) => committed,
            Err(error) if error.kind() == ErrorKind::DataCorrupted => {
                // What an export replaces may be gone: then its own objects are all there is.
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

/// What the objects are together, in bytes.
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
