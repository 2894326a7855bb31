//! One export, from its first request to its last.
//!
//! Invariant: an [`Export`] ends exactly once, committed or rolled back. Every request that changes
//! the store runs in a task of its own that the export counts, so that rolling back can wait for
//! what is under way instead of racing it; once rolling back has begun, no new one starts.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::bookkeeping::{ClaimState, FOLDER, HEARTBEAT, Keys, Lock, MEDIA_TYPE, Note};
use super::budget::ByteBudget;
use super::claim::claim_target;
use super::options::Mode;
use super::reaper::Reaper;
use super::store::{PendingUpload, UploadStore};
use super::survey::{list_data, remove_bookkeeping, run_all};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::format::FileFormat;

/// What is to be exported, and where to.
#[derive(Debug, Clone)]
pub struct ExportSpec {
    /// The folder that the objects appear in.
    pub target: Target,
    /// What is done about objects that are there already.
    pub mode: Mode,
    /// The connection's name, for messages.
    pub connection: String,
    /// The statement, without secrets, for the bookkeeping.
    pub statement: String,
    /// The schema of the files.
    pub schema: SchemaRef,
    /// The files' format.
    pub format: Arc<dyn FileFormat>,
    /// When a file is full, in encoded bytes.
    pub max_file_bytes: u64,
    /// The size of every part but a file's last, in bytes.
    pub part_bytes: usize,
}

/// How far an export has come; read it at any time.
#[derive(Debug, Default)]
pub struct ExportProgress {
    rows: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl ExportProgress {
    /// Rows given to the encoders.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Encoded bytes that the store has confirmed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files that are staged whole.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    pub(super) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

/// An export under way, shared by its writers and its sink.
#[derive(Debug)]
pub struct Export {
    id: String,
    spec: ExportSpec,
    store: Arc<dyn UploadStore>,
    budget: ByteBudget,
    reaper: Reaper,
    progress: ExportProgress,
    begun: OnceCell<std::result::Result<(), Error>>,
    ended: OnceCell<Vec<String>>,
    /// Why the export failed, as the first writer that failed said it.
    cause: OnceLock<Error>,
    started: String,
    heartbeat: Mutex<Option<Heartbeat>>,
    state: Mutex<State>,
    /// The runtime the export began on: a drop may come from a thread that has none.
    runtime: Mutex<Option<Handle>>,
    /// Held from the first request to the last, so that a program can wait for it.
    running: Mutex<Option<TaskTrackerToken>>,
    /// Requests under way that change the store.
    operations: TaskTracker,
    cancelled: CancellationToken,
    /// The creation of an upload failed without an answer: it may exist.
    lost_upload: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Uploads that exist, as far as the store has said.
    uploads: BTreeSet<PendingUpload>,
    /// Objects that appeared, or may have.
    objects: BTreeSet<String>,
    /// Bookkeeping was written, or may have been.
    bookkeeping: bool,
    /// `COMMIT` was written, or may have been.
    intent: bool,
    lock: Lock,
    /// Objects to delete once the export is committed (mode overwrite).
    obsolete: Vec<String>,
    /// The creation of an upload was sent.
    uploads_started: bool,
}

/// Where an export stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Planned: nothing was sent.
    #[default]
    New,
    /// Writers are at work.
    Writing,
    /// The uploads are being completed: from here only the commit ends the export.
    Committing,
    /// Everything is being undone.
    RollingBack,
    /// Ended, one way or the other.
    Ended,
}

impl Export {
    /// Plans an export; nothing is sent before [`Self::begin`].
    pub fn new(
        spec: ExportSpec,
        store: Arc<dyn UploadStore>,
        budget: ByteBudget,
        reaper: Reaper,
    ) -> Self {
        Self {
            id: Uuid::now_v7().simple().to_string(),
            spec,
            store,
            budget,
            reaper,
            progress: ExportProgress::default(),
            begun: OnceCell::new(),
            ended: OnceCell::new(),
            cause: OnceLock::new(),
            started: chrono::Utc::now().to_rfc3339(),
            heartbeat: Mutex::default(),
            state: Mutex::default(),
            runtime: Mutex::default(),
            running: Mutex::default(),
            operations: TaskTracker::new(),
            cancelled: CancellationToken::new(),
            lost_upload: AtomicBool::new(false),
        }
    }

    /// The export's id: 32 hexadecimal digits that sort by time.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is exported, and where to.
    pub fn spec(&self) -> &ExportSpec {
        &self.spec
    }

    /// How far it has come.
    pub fn progress(&self) -> &ExportProgress {
        &self.progress
    }

    pub(super) fn store(&self) -> &Arc<dyn UploadStore> {
        &self.store
    }

    pub(super) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    pub(super) fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// The key of a writer's file: `<prefix>part-<writer>-<sequence>-<export id>.<ext>`.
    pub(super) fn file_key(&self, writer: u32, sequence: u64) -> String {
        format!(
            "{}part-{writer:05}-{sequence:08}-{}{}",
            self.spec.target.prefix(),
            self.id,
            self.spec.format.extension()
        )
    }

    /// What `INCOMPLETE` and `LOCK` say.
    pub(super) fn note(&self, state: ClaimState) -> Note {
        Note {
            started: self.started.clone(),
            ..Note::new(&self.id, self.spec.mode, &self.spec.statement, state)
        }
    }

    /// The statement that finishes this export if its process dies.
    pub(super) fn recover_statement(&self) -> String {
        let target = self.spec.target.to_string().replace('\'', "''");
        let connection = &self.spec.connection;
        format!("RECOVER EXPORT '{target}' WITH (AWS CONNECTION = {connection})")
    }

    /// Bookkeeping is about to be written: from here rolling back removes it.
    pub(super) fn expect_bookkeeping(&self) {
        self.state().bookkeeping = true;
    }

    /// `COMMIT` is about to be written: rolling back removes it before anything that it names.
    pub(super) fn expect_intent(&self) {
        self.state().intent = true;
    }

    pub(super) fn lock(&self) -> Lock {
        self.state().lock
    }

    pub(super) fn set_lock(&self, lock: Lock) {
        self.state().lock = lock;
    }

    /// The objects that the export replaces.
    pub(super) fn obsolete(&self) -> Vec<String> {
        self.state().obsolete.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks and claims the target, once, whoever asks first. Everybody else waits for the result.
    ///
    /// # Errors
    /// The target is not empty or held by another export, or the store refuses to list, write or
    /// delete there.
    pub async fn begin(self: &Arc<Self>) -> Result<()> {
        let begun = self
            .begun
            .get_or_init(|| async {
                if self.state().phase != Phase::New {
                    return Err(self.stopped());
                }
                self.state().phase = Phase::Writing;
                let runtime = Handle::current();
                *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = Some(runtime);
                *self.running.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(self.reaper.token());
                let export = Arc::clone(self);
                self.run_operation(async move { export.claim().await })
                    .await
            })
            .await;
        begun.as_ref().map_err(Error::copy).copied()
    }

    async fn claim(self: &Arc<Self>) -> Result<()> {
        claim_target(self).await?;
        self.start_heartbeat();
        if self.spec.mode == Mode::Overwrite {
            let obsolete = list_data(self.store.as_ref(), &self.spec.target).await?;
            let nested = format!("/{FOLDER}");
            if let Some(key) = obsolete.iter().find(|key| key.contains(&nested)) {
                return Err(Error::new(
                    ErrorKind::TargetInUse,
                    format!(
                        "an export to a folder under {} has not ended: {}",
                        self.spec.target,
                        self.store.url(key)
                    ),
                )
                .with_hint("wait until it ends, or recover it with RECOVER EXPORT"));
            }
            self.state().obsolete = obsolete;
        }
        Ok(())
    }

    fn start_heartbeat(self: &Arc<Self>) {
        let export = Arc::clone(self);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let key = Keys::new(&export.spec.target).incomplete(&export.id);
            while tokio::time::timeout(HEARTBEAT, stopped.cancelled())
                .await
                .is_err()
            {
                let note = export.note(ClaimState::Writing).to_json();
                if let Err(error) = export.store.put(&key, note, MEDIA_TYPE, false).await {
                    tracing::warn!(%error, "the export's sign of life was not written");
                }
            }
        });
        *self
            .heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Heartbeat { stop, task });
    }

    /// Stops the heartbeat and waits for a beat under way, which would bring `INCOMPLETE` back.
    pub(super) async fn stop_heartbeat(&self) {
        let heartbeat = self
            .heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Heartbeat { stop, task }) = heartbeat {
            stop.cancel();
            let _ = task.await;
        }
    }

    /// Starts a request that changes the store, in a task that ends whether or not anybody waits.
    ///
    /// # Errors
    /// The export has been stopped.
    pub(super) fn start_operation<T: Send + 'static>(
        &self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let state = self.state();
        if !matches!(state.phase, Phase::Writing | Phase::Committing) {
            drop(state);
            return Err(self.stopped());
        }
        // Counted before the state is let go, so that rolling back can't miss it.
        let counted = self.operations.track_future(operation);
        Ok(tokio::spawn(counted))
    }

    /// Starts an operation and waits for it.
    pub(super) async fn run_operation<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        finished(self.start_operation(operation)?.await)
    }

    fn stopped(&self) -> Error {
        Error::new(
            ErrorKind::Cancelled,
            format!("the export to {} was cancelled", self.spec.target),
        )
    }

    /// An upload is about to be created; its answer may be lost.
    pub(super) fn register_attempt(&self) {
        self.state().uploads_started = true;
    }

    /// An upload was asked for and no answer came.
    pub(super) fn register_lost_upload(&self) {
        self.lost_upload.store(true, Ordering::Relaxed);
    }

    /// Remembers an upload, so that it is completed or aborted.
    pub(super) fn register_upload(&self, upload: PendingUpload) {
        self.state().uploads.insert(upload);
    }

    /// An upload is gone: it became an object, or was aborted.
    pub(super) fn forget_upload(&self, upload: &PendingUpload) {
        self.state().uploads.remove(upload);
    }

    /// An object is about to appear, or may have. The export's id is in its key, so deleting it
    /// can't hit anybody else's.
    pub(super) fn register_object(&self, key: &str) {
        self.state().objects.insert(key.to_owned());
    }

    /// From here on only the commit ends the export.
    ///
    /// # Errors
    /// The export has been stopped.
    pub(super) fn start_commit(&self) -> Result<()> {
        let mut state = self.state();
        if state.phase != Phase::Writing {
            drop(state);
            return Err(self.stopped());
        }
        state.phase = Phase::Committing;
        Ok(())
    }

    /// The export is over.
    pub(super) fn end(&self) {
        self.state().phase = Phase::Ended;
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Stops an export that nobody waits for any more: the reaper cleans up what it left. Does
    /// nothing once it is committing or has ended.
    pub fn cancel(self: &Arc<Self>) {
        self.stop(&[Phase::Writing]);
    }

    /// Remembers why the export fails. Stopping it makes every other writer fail as cancelled, and
    /// one of those errors may be seen first.
    pub(crate) fn note_cause(&self, cause: &Error) {
        let _ = self.cause.set(cause.copy());
    }

    /// The error to report for a failed export.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.cause.get() {
            Some(cause) if error.kind() == ErrorKind::Cancelled => cause.copy(),
            _ => error,
        }
    }

    /// Stops an export that failed, even while committing: the reaper undoes it.
    pub(super) fn fail(self: &Arc<Self>) {
        self.stop(&[Phase::Writing, Phase::Committing]);
    }

    fn stop(self: &Arc<Self>, from: &[Phase]) {
        {
            let mut state = self.state();
            if !from.contains(&state.phase) {
                return;
            }
            state.phase = Phase::RollingBack;
        }
        self.cancelled.cancel();
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.as_ref() {
            let export = Arc::clone(self);
            self.reaper.spawn(runtime, async move {
                for leftover in export.roll_back().await {
                    tracing::warn!(export = %export.id, %leftover, "the store did not confirm the removal");
                }
            });
        }
    }

    /// Undoes a stopped export, once, whoever asks first; everybody else waits for the result:
    /// what the store did not confirm.
    pub(super) async fn roll_back(&self) -> Vec<String> {
        self.ended
            .get_or_init(|| async {
                if self.state().phase != Phase::RollingBack {
                    return Vec::new();
                }
                self.operations.close();
                self.operations.wait().await;
                let leftovers = self.undo().await;
                self.end();
                leftovers
            })
            .await
            .clone()
    }

    async fn undo(&self) -> Vec<String> {
        self.stop_heartbeat().await;
        let keys = Keys::new(&self.spec.target);
        let (objects, uploads, intent, uploads_started, bookkeeping, lock) = {
            let state = self.state();
            (
                state.objects.clone(),
                state.uploads.clone(),
                state.intent,
                state.uploads_started,
                state.bookkeeping,
                state.lock,
            )
        };
        let mut leftovers = Vec::new();
        // The intent goes first: it must not be found without the uploads that it names.
        if intent && let Err(error) = self.store.delete(&keys.commit(&self.id)).await {
            let url = self.store.url(&keys.commit(&self.id));
            leftovers.push(format!("object {url} ({error})"));
            return leftovers;
        }
        let aborts = uploads.into_iter().map(|upload| async move {
            self.store.abort_upload(&upload).await.map_err(|error| {
                let url = self.store.url(&upload.key);
                format!("upload {} of {url} ({error})", upload.upload_id)
            })
        });
        leftovers.extend(run_all(aborts.collect()).await);
        let deletes = objects.into_iter().map(|key| async move {
            let deleted = self.store.delete(&key).await;
            deleted.map_err(|error| format!("object {} ({error})", self.store.url(&key)))
        });
        leftovers.extend(run_all(deletes.collect()).await);
        if uploads_started {
            leftovers.extend(self.sweep_uploads().await);
        }
        // The bookkeeping goes last, and stays where something is left for RECOVER.
        if bookkeeping
            && leftovers.is_empty()
            && let Err(error) = remove_bookkeeping(self.store.as_ref(), &keys, &self.id, lock).await
        {
            let url = self.store.url(keys.folder());
            leftovers.push(format!("bookkeeping under {url} ({})", error.message()));
        }
        leftovers
    }

    /// Aborts uploads of this export that were created although the answer was lost. The export's
    /// id is in every key, so they can't be anybody else's. Returns what it could not do.
    pub(super) async fn sweep_uploads(&self) -> Vec<String> {
        let prefix = self.spec.target.prefix();
        let pending = match self.store.list_uploads(prefix).await {
            Ok(pending) => pending,
            // A store that can't list them has no other way; whether one may be left is known.
            Err(error) if self.lost_upload.load(Ordering::Relaxed) => {
                let url = self.store.url(prefix);
                return vec![format!(
                    "an upload that may be pending under {url} ({error})"
                )];
            }
            Err(error) => {
                tracing::debug!(%error, "pending uploads can't be listed");
                return Vec::new();
            }
        };
        let ours = pending
            .into_iter()
            .filter(|upload| upload.key.contains(&self.id));
        let aborts = ours.map(|upload| async move {
            self.store.abort_upload(&upload).await.map_err(|error| {
                let url = self.store.url(&upload.key);
                format!("upload {} of {url} ({error})", upload.upload_id)
            })
        });
        run_all(aborts.collect()).await
    }
}

/// The task that keeps `INCOMPLETE` fresh.
#[derive(Debug)]
struct Heartbeat {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The result of a task that was waited for; a panic becomes an error.
pub(super) fn finished<T>(
    joined: std::result::Result<Result<T>, tokio::task::JoinError>,
) -> Result<T> {
    joined.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "a task of the export died").with_source(error))
    })
}

/// Cancels the export unless the work it guards came to its end.
#[derive(Debug)]
pub struct CancelOnDrop {
    export: Arc<Export>,
    armed: bool,
}

impl CancelOnDrop {
    /// Guards work on `export`.
    pub fn new(export: Arc<Export>) -> Self {
        Self {
            export,
            armed: true,
        }
    }

    /// The work is done.
    pub fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.export.cancel();
        }
    }
}
