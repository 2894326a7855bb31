//! Executes the requests of the commit protocol's machines.
//!
//! Invariant: a request is answered with "done" only if the store has confirmed it, and with
//! "refused" only if the store will never execute it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tidegate_commit::{Action, Answer, Commit, Mark, Request, Survey};

use super::bookkeeping::{FORMAT, Intent, Keys, MEDIA_TYPE, Rollback, from_json, to_json};
use super::files;
use super::ledger::Ledger;
use super::lock;
use super::look::{Sight, confirm, look, refuse_foreign};
use super::manifest::Manifest;
use super::survey::{FoundExport, find_exports, is_there};
use super::uploads;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::mode::Mode;
use crate::sink::staged::StagedFile;
use crate::sink::store::{ContentHeaders, StoreError, StoreErrorKind, UploadStore};
use crate::sink::target::Target;

/// Upper bound for concurrent requests that complete or clean up.
const REQUESTS_AT_ONCE: usize = 16;

/// How many replaced objects are deleted before the export looks for its `COMMIT` again.
const DELETES_BETWEEN_LOOKS: usize = 256;

/// Upper bound for the pause that lets other exports proceed.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Executes the requests of an export, of a recovery, or of a check that changes nothing.
#[derive(Debug)]
pub(crate) struct Executor {
    store: Arc<dyn UploadStore>,
    /// The folder in which exports are found.
    folder: Target,
    own: Option<Arc<Ledger>>,
    known: Mutex<Known>,
}

/// What earlier requests have shown.
#[derive(Debug, Default)]
struct Known {
    found: BTreeMap<String, FoundExport>,
    /// Exports that were found earlier.
    ended: BTreeMap<String, FoundExport>,
    intents: BTreeMap<String, Arc<Intent>>,
    /// The ETags of files that are objects, by export and number.
    etags: BTreeMap<(String, usize), Option<String>>,
    /// Exports of dead processes that were finished, in words for the user.
    finished: Vec<String>,
    /// The key of a data object under the target, if a survey has found one.
    data: Option<String>,
    looked: bool,
    claimed: bool,
    /// The first failure since [`Executor::take_failure`].
    failure: Option<Error>,
    /// What could not be removed, in words for the user.
    leftovers: Vec<String>,
    /// How many uploads and objects were removed.
    removed: u64,
}

/// Why a request was not executed.
pub(super) enum Failure {
    Error(Error),
    /// The store has refused it and will never execute it.
    Refusal(Error),
    Gone(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NoSuchUpload => Self::Gone(error.error),
            _ if error.maybe_executed => Self::Error(error.error),
            _ => Self::Refusal(error.error),
        }
    }
}

type Executed = std::result::Result<Answer<String>, Failure>;

const DONE: Executed = Ok(Answer::Done);

impl Executor {
    /// The executor of the export that `ledger` is about.
    pub(crate) fn of_export(ledger: Arc<Ledger>) -> Self {
        Self {
            store: Arc::clone(ledger.store()),
            folder: ledger.spec().target.with_file(None),
            own: Some(ledger),
            known: Mutex::default(),
        }
    }

    /// An executor that ends exports which are found in `folder`.
    pub(super) fn of_recovery(store: Arc<dyn UploadStore>, folder: Target) -> Self {
        Self {
            store,
            folder,
            own: None,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &dyn UploadStore {
        self.store.as_ref()
    }

    fn own_id(&self) -> Option<&str> {
        self.own.as_ref().map(|ledger| ledger.id())
    }

    fn keys(&self) -> Keys {
        Keys::new(&self.folder)
    }

    /// An export that a survey has found.
    pub(super) fn found(&self, id: &str) -> Option<FoundExport> {
        self.known().found.get(id).cloned()
    }

    /// The content of the `COMMIT` of another export, once it was read.
    pub(super) fn intent(&self, id: &str) -> Option<Arc<Intent>> {
        self.known().intents.get(id).cloned()
    }

    /// The key of a data object under the target, if a survey has found one.
    pub(super) fn data(&self) -> Option<String> {
        self.known().data.clone()
    }

    /// The first failure since the last call.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.known().failure.take()
    }

    /// Notes a failure that was not an answer of the store.
    pub(crate) fn note_failure(&self, error: Error) {
        self.known().failure.get_or_insert(error);
    }

    /// What could not be removed, in words for the user.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.known().leftovers.clone()
    }

    /// How many uploads and objects of other exports were removed.
    pub(super) fn removed(&self) -> u64 {
        self.known().removed
    }

    fn leave(&self, what: impl IntoIterator<Item = String>) {
        self.known().leftovers.extend(what);
    }

    /// The export's files, as objects.
    pub(crate) fn committed(&self, id: &str, files: &[StagedFile]) -> Vec<StagedFile> {
        let known = self.known();
        let with_etags = files.iter().enumerate().map(|(number, file)| {
            let mut file = file.clone();
            let etag = known.etags.get(&(id.to_owned(), number));
            file.object_etag = etag.cloned().flatten();
            file
        });
        let mut files: Vec<StagedFile> = with_etags.collect();
        files.sort_by(|a, b| a.key.cmp(&b.key));
        files
    }

    /// Executes requests at the same time, at most [`REQUESTS_AT_ONCE`] of them, and returns their
    /// answers in the same order. Completions of this process's export start in order, and none
    /// starts after one has failed: the export is then likely to be rolled back.
    pub(crate) async fn run(&self, requests: &[Request<String>]) -> Vec<Answer<String>> {
        if requests.iter().any(|request| is_progress(&request.action)) {
            // The machine has dealt with earlier failures.
            self.known().failure = None;
        }
        let failed = AtomicBool::new(false);
        let failed = &failed;
        let execute = |request: Request<String>| {
            let is_own = self.own_id() == Some(request.export.as_str());
            async move {
                let completes = is_own && matches!(request.action, Action::Complete(_));
                if completes && failed.load(Ordering::Relaxed) {
                    return Answer::Refused;
                }
                let answer = self.answer(&request).await;
                if completes && answer != Answer::Done {
                    failed.store(true, Ordering::Relaxed);
                }
                answer
            }
        };
        // Owned, because a future that borrows an iterator is not `Send`.
        futures::stream::iter(requests.to_vec())
            .map(execute)
            .buffered(REQUESTS_AT_ONCE)
            .collect()
            .await
    }

    async fn answer(&self, request: &Request<String>) -> Answer<String> {
        let (answer, error) = match self.execute(request).await {
            Ok(answer) => return answer,
            Err(Failure::Error(error)) => (Answer::Lost, error),
            Err(Failure::Refusal(error)) => (Answer::Refused, error),
            Err(Failure::Gone(error)) => (Answer::Gone, error),
        };
        tracing::debug!(?request, %error, "a request of the commit protocol failed");
        let url = |key: String| self.store.url(&key);
        let id = &request.export;
        match &request.action {
            Action::AbortFence => {
                let commit = url(self.keys().commit(id));
                self.leave([format!("an upload of {commit} ({error})")]);
            }
            Action::Remove(_) => {
                let folder = url(self.keys().folder().to_owned());
                self.leave([format!("bookkeeping under {folder} ({error})")]);
            }
            Action::Withdraw(number) => {
                let file = self.file(id, *number).map(|file| url(file.key));
                self.leave(file.map(|file| format!("object {file} ({error})")));
            }
            _ => {}
        }
        self.note_failure(error);
        answer
    }

    async fn execute(&self, request: &Request<String>) -> Executed {
        let id = &request.export;
        let own = self.own.as_deref().filter(|ledger| ledger.id() == id);
        let (store, keys) = (self.store(), self.keys());
        match &request.action {
            Action::Survey => self.survey(own).await,
            Action::Wait => {
                tokio::time::sleep(wait_of(id)).await;
                DONE
            }
            Action::AbortFence => {
                uploads::abort_fence(store, &keys, id, own, self.found(id).as_ref()).await?;
                DONE
            }
            Action::ReadCommit => self.read_commit(id, own).await,
            Action::Complete(number) => match self.file(id, *number) {
                None => Ok(Answer::Gone),
                Some(file) => {
                    // Where the file is an object already, some stores would fail only after all
                    // retries.
                    let found = match own {
                        Some(_) => None,
                        None => files::find(store, &self.target_of(id), id, &file).await?,
                    };
                    let etag = match found {
                        Some(etag) => etag,
                        None => files::complete(store, &file).await?,
                    };
                    if let Some(ledger) = own {
                        ledger.forget_upload_of(&file);
                    }
                    self.known().etags.insert((id.clone(), *number), etag);
                    DONE
                }
            },
            Action::Abort(number) => {
                if let Some(upload) = self.file(id, *number).and_then(|file| file.upload()) {
                    store.abort_upload(&upload).await?;
                }
                DONE
            }
            Action::Find(number) => {
                let found = match self.file(id, *number) {
                    Some(file) => files::find(store, &self.target_of(id), id, &file).await?,
                    None => None,
                };
                Ok(match found {
                    Some(etag) => {
                        self.known().etags.insert((id.clone(), *number), etag);
                        Answer::Done
                    }
                    None => Answer::Gone,
                })
            }
            Action::FindIncomplete => Ok(match is_there(store, &keys.incomplete(id)).await? {
                true => Answer::Done,
                false => Answer::Gone,
            }),
            Action::Withdraw(number) => {
                if let Some(file) = self.file(id, *number) {
                    files::withdraw(store, &self.target_of(id), &file).await?;
                    self.known().removed += 1;
                    if let Some(ledger) = own {
                        ledger.forget_upload_of(&file);
                    }
                }
                DONE
            }
            Action::AbortUploads => self.abort_uploads(id, own).await,
            Action::Publish => self.publish(id, own).await,
            Action::MarkEnding => {
                let Some(mut note) = self.found(id).and_then(|found| found.note) else {
                    return Ok(Answer::Gone);
                };
                note.ended = true;
                let note = to_json(&note)?;
                store.put(&keys.ending(id), note, MEDIA_TYPE, false).await?;
                DONE
            }
            Action::MarkRollback(file) => {
                let mark = to_json(&Rollback {
                    format: FORMAT,
                    export_id: id.clone(),
                    file: *file,
                })?;
                store
                    .put(&keys.rollback(id), mark, MEDIA_TYPE, false)
                    .await?;
                DONE
            }
            Action::Remove(mark) => self.remove(id, *mark, own).await,
            Action::Announce | Action::CreateFence | Action::Claim | Action::Decide => match own {
                Some(ledger) => self.execute_own(ledger, &request.action).await,
                None => {
                    let why = "another process can't claim or decide for an export";
                    Err(Error::new(ErrorKind::Internal, why).into())
                }
            },
        }
    }

    async fn execute_own(&self, ledger: &Ledger, action: &Action) -> Executed {
        let (store, keys, id) = (self.store(), self.keys(), ledger.id());
        match action {
            Action::Announce => self.announce(ledger).await,
            Action::CreateFence => {
                let key = keys.commit(id);
                let tag = format!("{id}/COMMIT");
                let created = store.create_upload(&key, ContentHeaders::BOOKKEEPING, &tag);
                let created = created.await?;
                if created.maybe_another {
                    ledger.record_lost_upload(&key);
                }
                ledger.set_fence(created.upload);
                DONE
            }
            Action::Claim => {
                self.known().claimed = true;
                let note = to_json(&ledger.note(false))?;
                store.put(&keys.alive(id), note, MEDIA_TYPE, false).await?;
                DONE
            }
            _ => self.decide(ledger).await,
        }
    }

    async fn survey(&self, own: Option<&Ledger>) -> Executed {
        let Some(ledger) = own else {
            let (store, keys) = (self.store(), self.keys());
            let listed = store.list(keys.folder(), usize::MAX).await?;
            let others = find_exports(store, &keys, &listed, None, false).await?;
            return Ok(self.see(Sight {
                others,
                ..Sight::default()
            }));
        };
        let claimed = self.known().claimed;
        let sight = match claimed {
            true => confirm(ledger).await?,
            false => {
                let is_first = !std::mem::replace(&mut self.known().looked, true);
                look(ledger, is_first).await?
            }
        };
        Ok(self.see(sight))
    }

    fn see(&self, sight: Sight) -> Answer<String> {
        let survey = Survey {
            others: sight.others.values().map(FoundExport::sign).collect(),
            claimed: sight.claimed,
            occupied: sight.data.is_some(),
        };
        let mut known = self.known();
        let earlier = std::mem::replace(&mut known.found, sight.others);
        known.ended.extend(earlier);
        known.data = sight.data;
        Answer::Seen(survey)
    }

    /// Puts `INCOMPLETE` and, at the same time, `LOCK`, which detects most races early.
    async fn announce(&self, ledger: &Ledger) -> Executed {
        let (store, keys) = (self.store(), self.keys());
        let note = to_json(&ledger.note(false))?;
        let key = keys.incomplete(ledger.id());
        let marking = store.put(&key, note, MEDIA_TYPE, false);
        let (locked, marked) = tokio::join!(lock::take(store, &keys, ledger), marking);
        marked?;
        locked?;
        DONE
    }

    /// Completes the fence: `COMMIT` appears.
    async fn decide(&self, ledger: &Ledger) -> Executed {
        let Some(fence) = ledger.fence() else {
            return Ok(Answer::Refused);
        };
        let intent = intend(ledger);
        if ledger.spec().mode == Mode::OverwritePartitions {
            refuse_foreign(ledger, intent.obsolete.iter()).map_err(Failure::Refusal)?;
        }
        let json = to_json(&intent)?;
        let store = self.store();
        let part = store.put_part(&fence, 1, json).await?;
        store.seal_upload(&fence).await?;
        match store.complete_upload(&fence, &[part.receipt]).await {
            Ok(_) => DONE,
            // An earlier attempt may have completed it. The abort and the look that follow show
            // whether it did.
            Err(error) if error.kind == StoreErrorKind::NoSuchUpload => {
                Err(Failure::Error(error.error))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_commit(&self, id: &str, own: Option<&Ledger>) -> Executed {
        let (store, keys) = (self.store(), self.keys());
        let key = keys.commit(id);
        if let Some(ledger) = own {
            return Ok(Answer::Commit(match is_there(store, &key).await? {
                true => Commit::Decided {
                    files: ledger.files().len(),
                    rollback: None,
                },
                false => Commit::Missing,
            }));
        }
        let Some(json) = store.get(&key).await? else {
            return Ok(Answer::Commit(Commit::Missing));
        };
        let intent: Intent = match from_json(&json, &store.url(&key)) {
            Ok(intent) => intent,
            Err(error) => {
                self.note_failure(error);
                return Ok(Answer::Commit(Commit::Unreadable));
            }
        };
        let files = intent.files.len();
        self.known().intents.insert(id.to_owned(), Arc::new(intent));
        let key = keys.rollback(id);
        let rollback = match store.get(&key).await? {
            Some(json) => Some(from_json::<Rollback>(&json, &store.url(&key))?.file),
            None => None,
        };
        Ok(Answer::Commit(Commit::Decided { files, rollback }))
    }

    async fn abort_uploads(&self, id: &str, own: Option<&Ledger>) -> Executed {
        let (store, keys) = (self.store(), self.keys());
        let left = match own {
            Some(ledger) => uploads::abort_own(store, &keys, ledger).await,
            None => {
                let found = self.found(id).unwrap_or_default();
                let target = found.target(&self.folder);
                let intent = self.intent(id);
                let committed = intent.as_ref().map_or(&[][..], |intent| &intent.files);
                let aborted =
                    uploads::abort_foreign(store, &keys, &target, id, &found, committed).await?;
                self.known().removed += aborted;
                Vec::new()
            }
        };
        if left.is_empty() {
            return DONE;
        }
        self.leave(left.iter().cloned());
        Err(Error::new(ErrorKind::ConnectionFailure, left.join("; ")).into())
    }

    /// Puts the manifest, deletes the objects that the export replaces, and aborts uploads whose
    /// ids were lost.
    async fn publish(&self, id: &str, own: Option<&Ledger>) -> Executed {
        let (store, keys) = (self.store(), self.keys());
        let (intent, ledger) = match (own, self.intent(id)) {
            (Some(ledger), _) => (Arc::new(intend(ledger)), Some(ledger)),
            (None, Some(intent)) => (intent, None),
            (None, None) => return Ok(Answer::Lost),
        };
        let committed = self.committed(id, &intent.files);
        let changes_folder = intent.manifest.is_some() || !intent.obsolete.is_empty();
        if changes_folder && !is_there(store, &keys.commit(id)).await? {
            // Another process has done this already. Later exports may have used the keys again.
            return DONE;
        }
        if let Some(manifest) = &intent.manifest {
            let json = manifest.clone().finish(&committed, |key| store.url(key))?;
            store
                .put(&keys.manifest(id), json, MEDIA_TYPE, false)
                .await?;
        }
        let sweep = async {
            match ledger {
                Some(ledger) => uploads::sweep_lost(store, &keys, ledger, &committed).await,
                None => Vec::new(),
            }
        };
        let deletes = self.delete_obsolete(id, &intent.obsolete);
        let (deleted, left) = tokio::join!(deletes, sweep);
        deleted?;
        if left.is_empty() {
            return DONE;
        }
        let why = format!("left behind: {}", left.join("; "));
        Err(Error::new(ErrorKind::ConnectionFailure, why).into())
    }

    /// Deletes the objects that a decided export replaces, as long as the export's `COMMIT` is there.
    async fn delete_obsolete(&self, id: &str, obsolete: &[String]) -> Result<()> {
        let (store, commit) = (self.store(), self.keys().commit(id));
        for (number, keys) in obsolete.chunks(DELETES_BETWEEN_LOOKS).enumerate() {
            if number > 0 && !is_there(store, &commit).await? {
                return Ok(());
            }
            files::delete_all(store, keys).await?;
        }
        Ok(())
    }

    async fn remove(&self, id: &str, mark: Mark, own: Option<&Ledger>) -> Executed {
        let (store, keys) = (self.store(), self.keys());
        let key = match mark {
            Mark::Commit => keys.commit(id),
            Mark::Alive => keys.alive(id),
            Mark::Rollback => keys.rollback(id),
            Mark::Ending => keys.ending(id),
            Mark::Incomplete => {
                let incomplete = keys.incomplete(id);
                let (removed, released) = tokio::join!(
                    store.delete(&incomplete),
                    lock::release(store, &keys, id, own)
                );
                removed?;
                released?;
                return DONE;
            }
            Mark::Journal => {
                let pages = match own {
                    Some(ledger) => {
                        let pages = ledger.journal().pages().await;
                        (0..pages).map(|page| keys.journal(id, page)).collect()
                    }
                    None => self.found(id).unwrap_or_default().journals,
                };
                files::delete_all(store, &pages).await?;
                return DONE;
            }
        };
        store.delete(&key).await?;
        DONE
    }

    /// Remembers exports of dead processes that were finished.
    pub(crate) fn note_finished<'a>(&self, ids: impl Iterator<Item = &'a String>) {
        let finished = ids.map(|id| self.describe_finished(id)).collect();
        self.known().finished = finished;
    }

    /// Exports of dead processes that were finished, in words for the user.
    pub(crate) fn finished(&self) -> Vec<String> {
        self.known().finished.clone()
    }

    /// Another export that was finished, as a sentence for the user.
    fn describe_finished(&self, id: &str) -> String {
        let (known, intents) = {
            let known = self.known();
            (known.ended.get(id).cloned(), known.intents.get(id).cloned())
        };
        let started = known.unwrap_or_default().note.map(|note| note.started);
        let rows: u64 = intents
            .iter()
            .flat_map(|intent| &intent.files)
            .map(|file| file.rows)
            .sum();
        format!(
            "finished {} to {}, whose process died while it committed: {rows} rows",
            describe(id, &started.unwrap_or_default()),
            self.folder
        )
    }

    /// Tells other processes that this process has given up the export. Otherwise they would wait
    /// until the export seems dead.
    pub(crate) async fn note_end(&self) {
        let Some(ledger) = &self.own else {
            return;
        };
        let Ok(note) = to_json(&ledger.note(true)) else {
            return;
        };
        // An `ALIVE` always names a fence.
        let key = match ledger.fence() {
            Some(_) => self.keys().alive(ledger.id()),
            None => self.keys().incomplete(ledger.id()),
        };
        if let Err(error) = self.store.beat(&key, note, MEDIA_TYPE).await {
            tracing::debug!(%error, "the end of the export was not noted");
        }
    }

    fn target_of(&self, id: &str) -> Target {
        match &self.own {
            Some(ledger) if ledger.id() == id => ledger.spec().target.clone(),
            _ => self.found(id).unwrap_or_default().target(&self.folder),
        }
    }

    /// A file of a decided export.
    fn file(&self, id: &str, number: usize) -> Option<StagedFile> {
        match &self.own {
            Some(ledger) if ledger.id() == id => ledger.files().get(number).cloned(),
            _ => self.intent(id)?.files.get(number).cloned(),
        }
    }
}

/// Whether a machine takes this action only if no earlier failure decides the outcome.
fn is_progress(action: &Action) -> bool {
    matches!(
        action,
        Action::Survey
            | Action::Announce
            | Action::CreateFence
            | Action::Claim
            | Action::Decide
            | Action::Complete(_)
            | Action::Publish
    )
}

/// The pause of the export `id`, in which other exports proceed. It differs between exports.
fn wait_of(id: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let share = hasher.finish() % 80 + 20;
    LONGEST_WAIT.mul_f64(share as f64 / 100.0)
}

/// The content of an export's `COMMIT`.
fn intend(ledger: &Ledger) -> Intent {
    let spec = ledger.spec();
    let files = ledger.files();
    let mut obsolete = ledger.obsolete();
    let replaces = !obsolete.is_empty();
    let written: std::collections::HashSet<&str> =
        files.iter().map(|file| file.key.as_str()).collect();
    obsolete.retain(|key| !written.contains(key.as_str()));
    let draft = || Manifest::draft(ledger.id(), &spec.statement, ledger.started(), &spec.schema);
    Intent {
        format: FORMAT,
        export_id: ledger.id().to_owned(),
        obsolete,
        replaces,
        manifest: spec.manifest.then(draft),
        files: files.to_vec(),
    }
}

/// An export for the user.
pub(super) fn describe(id: &str, started: &str) -> String {
    format!("export {id} (since {started})")
}

pub(super) fn in_use(folder: &Target, holder: &str) -> Error {
    // Even for a single file, only one export at a time may use its folder.
    Error::new(
        ErrorKind::TargetInUse,
        format!("another export holds {folder}: {holder}"),
    )
    .with_hint("wait until it ends; if its process died, run the statement again after a minute")
}
