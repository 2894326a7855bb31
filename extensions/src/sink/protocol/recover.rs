//! Finishes or removes exports whose process died.
//!
//! Invariant: a decided export is finished, and any other export is removed. A live export is left
//! alone, unless `force` is set. A decided export that can't be finished because an upload is gone
//! is removed only if `force` is set. An interrupted recovery can be repeated.

use std::sync::Arc;

use tidegate_commit::{Action, Answer, EndingResult, Mark, OTHER_MARKS, Recovery, Request};

use super::bookkeeping::Keys;
use super::execute::{Executor, describe};
use super::survey::{FoundExport, find_exports, list_objects};
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
/// finished because an upload is gone or its bookkeeping can't be read, and errors of the store.
pub async fn recover_exports(
    store: Arc<dyn UploadStore>,
    target: &Target,
    force: bool,
) -> Result<Vec<Recovered>> {
    let folder = find_folder(store.as_ref(), target).await?;
    let executor = Executor::of_recovery(store, folder.clone());
    // The recovery has no export, so its id is empty.
    let mut recovery = Recovery::new(String::new(), force);
    let mut requests = recovery.start();
    let mut recovered = Vec::new();
    let mut reported = 0;
    while !requests.is_empty() {
        let answers = executor.run(&requests).await;
        if let [answer @ (Answer::Lost | Answer::Refused)] = answers.as_slice()
            && recovery.results().is_empty()
            && requests[0].action == Action::Survey
        {
            tracing::debug!(?answer, "the exports can't be listed");
            return Err(failure(&executor));
        }
        requests = recovery.next(&answers);
        for (id, result) in &recovery.results()[reported..] {
            reported += 1;
            recovered.extend(report(&executor, &folder, id, *result, force).await?);
        }
    }
    if let Some(living) = recovery.living() {
        let age = executor.found(living).and_then(|found| found.age);
        return Err(Error::new(
            ErrorKind::TargetInUse,
            format!(
                "export {living} to {target} is alive: it wrote its bookkeeping {} seconds ago",
                age.unwrap_or_default().as_secs()
            ),
        )
        .with_hint("wait a minute, or add FORCE = true if you are sure that its process is gone"));
    }
    Ok(recovered)
}

/// The folder whose bookkeeping is about `target`: the target, or the folder around a single object.
async fn find_folder(store: &dyn UploadStore, target: &Target) -> Result<Target> {
    let list = async |folder: &Target| -> Result<Vec<FoundExport>> {
        let keys = Keys::new(folder);
        let listed = store.list(keys.folder(), usize::MAX).await?;
        let found = find_exports(store, &keys, &listed, None, false).await?;
        Ok(found.into_values().collect())
    };
    if !list(target).await?.is_empty() {
        return Ok(target.clone());
    }
    if let Ok(single) = target.clone().into_single_file() {
        let folder = single.with_file(None);
        let found = list(&folder).await?;
        if found.iter().any(|export| export.target(&folder) == single) {
            return Ok(folder);
        }
    }
    Err(Error::new(
        ErrorKind::UndefinedObject,
        format!("there is no unfinished export under {target}"),
    ))
}

fn failure(executor: &Executor) -> Error {
    executor
        .take_failure()
        .unwrap_or_else(|| Error::new(ErrorKind::Internal, "a recovery failed without an error"))
}

async fn report(
    executor: &Executor,
    folder: &Target,
    id: &str,
    result: EndingResult,
    force: bool,
) -> Result<Option<Recovered>> {
    let found = executor.found(id).unwrap_or_default();
    let completed = |objects: usize, bytes| Recovered {
        export_id: id.to_owned(),
        action: "completed",
        objects: objects as u64,
        bytes,
    };
    match result {
        EndingResult::Finished => {
            let Some(intent) = executor.intent(id) else {
                return Ok(None);
            };
            let bytes = intent.files.iter().map(|file| file.bytes).sum();
            Ok(Some(completed(intent.files.len(), bytes)))
        }
        EndingResult::Removed => {
            // An export that died in its last deletes is complete.
            let store = executor.store();
            let objects = list_objects(store, &found.target(folder), id).await?;
            if objects.is_empty() {
                return Ok(Some(removed(id, executor.removed())));
            }
            let mut bytes = 0;
            for key in &objects {
                let object = store.identify(key).await?;
                bytes += object.and_then(|object| object.bytes).unwrap_or_default();
            }
            Ok(Some(completed(objects.len(), bytes)))
        }
        EndingResult::Vanished => Ok(None),
        EndingResult::Stuck => {
            let replaces = executor.intent(id).is_none_or(|intent| intent.replaces);
            if force && !replaces {
                return remove_by_force(executor, id).await.map(Some);
            }
            Err(stuck(executor, folder, id, replaces))
        }
        EndingResult::Unreadable | EndingResult::Failed => Err(failure(executor)),
    }
}

fn removed(id: &str, objects: u64) -> Recovered {
    Recovered {
        export_id: id.to_owned(),
        action: "removed",
        objects,
        bytes: 0,
    }
}

/// The error of a decided export that can't be finished.
pub(super) fn stuck(executor: &Executor, folder: &Target, id: &str, replaces: bool) -> Error {
    let started = executor.found(id).and_then(|found| found.note);
    let name = match started {
        Some(note) => describe(id, &note.started),
        None => format!("export {id}"),
    };
    let store = executor.store();
    let commit = store.url(&Keys::new(folder).commit(id));
    let cure = match replaces {
        true => format!("decide which of its objects you want to keep, then delete {commit}"),
        false => "RECOVER EXPORT with FORCE = true removes everything of this export".to_owned(),
    };
    Error::new(
        ErrorKind::DataCorrupted,
        format!(
            "{name} to {folder} can't be finished: the upload of a file is gone and did not become \
             an object"
        ),
    )
    .with_hint(format!(
        "a lifecycle rule or another program aborted it; {cure}"
    ))
}

/// Removes a decided export that can't be finished. By `force`, the user says that nobody needs it.
async fn remove_by_force(executor: &Executor, id: &str) -> Result<Recovered> {
    let files = executor.intent(id).map_or(0, |intent| intent.files.len());
    let request = |action| Request {
        export: id.to_owned(),
        action,
    };
    let steps = [
        (0..files)
            .map(|file| request(Action::Withdraw(file)))
            .collect(),
        vec![request(Action::AbortUploads)],
        vec![request(Action::Remove(Mark::Commit))],
        OTHER_MARKS
            .map(|mark| request(Action::Remove(mark)))
            .to_vec(),
    ];
    for step in steps {
        let answers = executor.run(&step).await;
        if answers.iter().any(|answer| *answer != Answer::Done) {
            return Err(failure(executor));
        }
    }
    Ok(removed(id, executor.removed()))
}
