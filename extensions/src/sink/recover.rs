//! Finishing or removing exports whose process died.
//!
//! Invariant: an export whose `COMMIT` can be read is finished, any other is removed; nothing is
//! done to an export that lives, unless it is forced. Interrupted, it can be done again.

use super::bookkeeping::{Intent, Keys, Lock};
use super::cleanup::{remove_bookkeeping, remove_export, sweep_uploads};
use super::commit::{complete_all, delete_obsolete, forget_intent, put_manifest};
use super::store::UploadStore;
use super::survey::{FoundExport, find_exports};
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
        recovered.push(recover(store, &folder, &export).await?);
    }
    Ok(recovered)
}

async fn recover(
    store: &dyn UploadStore,
    target: &Target,
    export: &FoundExport,
) -> Result<Recovered> {
    let keys = Keys::new(target);
    let intent = store.get(&keys.commit(&export.id)).await?;
    let intent: Option<Intent> = intent.and_then(|json| serde_json::from_slice(&json).ok());
    let Some(intent) = intent else {
        let removed = remove_export(store, &export.target(target), &export.id).await?;
        return Ok(Recovered {
            export_id: export.id.clone(),
            action: "removed",
            objects: removed.uploads + removed.objects,
            bytes: 0,
        });
    };
    let committed = complete_all(store, &intent, |_| {}).await?;
    let target = export.target(target);
    let lost = sweep_uploads(store, &target, &export.id, false, &committed).await;
    if !lost.is_empty() {
        tracing::warn!(export = %export.id, ?lost, "left behind");
    }
    put_manifest(store, &keys, &intent, &committed).await?;
    delete_obsolete(store, &intent).await?;
    remove_bookkeeping(store, &keys, &intent.export_id, Lock::Unsure).await?;
    forget_intent(store, &keys, &intent).await?;
    Ok(Recovered {
        export_id: export.id.clone(),
        action: "completed",
        objects: intent.files.len() as u64,
        bytes: intent.files.iter().map(|file| file.bytes).sum(),
    })
}
