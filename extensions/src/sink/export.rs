//! One export, from its first request to its last.
//!
//! Invariant: an [`Export`] ends exactly once, committed or rolled back. Every request that changes
//! the store runs in a task of its own that the export counts, so that rolling back can wait for
//! what is under way instead of racing it; once rolling back has begun, no new one starts.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::budget::ByteBudget;
use super::reaper::Reaper;
use super::store::{PendingUpload, StoreErrorKind, UploadStore};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::format::FileFormat;

/// The folder of an export's bookkeeping, below its target.
const BOOKKEEPING: &str = "_tidegate/";

/// The media type of bookkeeping.
const NOTE_TYPE: &str = "application/json";

/// How many keys a look at the target asks for: enough to tell bookkeeping from data.
const LOOK_AT: usize = 100;

/// What is to be exported, and where to.
#[derive(Debug, Clone)]
pub struct ExportSpec {
    /// The folder that the objects appear in.
    pub target: Target,
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
    state: Mutex<State>,
    /// The runtime the export began on: a drop may come from a thread that has none.
    runtime: Mutex<Option<Handle>>,
    /// Requests under way that change the store.
    operations: TaskTracker,
    cancelled: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Uploads that exist, as far as the store has said.
    uploads: BTreeSet<PendingUpload>,
    /// Objects that appeared, or may have.
    objects: BTreeSet<String>,
    lock: Claim,
    /// An `INCOMPLETE` was sent, or may have been.
    marked: bool,
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

/// Whether the target's `LOCK` is this export's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Claim {
    #[default]
    None,
    /// Asked for, the answer is not in.
    Unsure,
    Held,
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
            state: Mutex::default(),
            runtime: Mutex::default(),
            operations: TaskTracker::new(),
            cancelled: CancellationToken::new(),
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

    fn bookkeeping_key(&self, name: &str) -> String {
        format!("{}{BOOKKEEPING}{name}", self.spec.target.prefix())
    }

    fn lock_key(&self) -> String {
        self.bookkeeping_key("LOCK")
    }

    fn incomplete_key(&self) -> String {
        self.bookkeeping_key(&format!("{}/INCOMPLETE", self.id))
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
                let export = Arc::clone(self);
                self.run_operation(async move { export.claim_target().await })
                    .await
            })
            .await;
        begun.as_ref().map_err(Error::copy).copied()
    }

    async fn claim_target(&self) -> Result<()> {
        self.check_target_is_empty().await?;
        // Whoever may not delete must learn it before anything is written that would have to be.
        self.store
            .delete(&self.bookkeeping_key(&format!("{}/PROBE", self.id)))
            .await?;
        self.state().lock = Claim::Unsure;
        self.take_lock().await?;
        self.state().lock = Claim::Held;
        // Between the first look and the lock another export may have come and gone.
        self.check_target_is_empty().await?;
        self.state().marked = true;
        self.store
            .put(
                &self.incomplete_key(),
                self.bookkeeping_note(),
                NOTE_TYPE,
                false,
            )
            .await?;
        Ok(())
    }

    async fn check_target_is_empty(&self) -> Result<()> {
        let prefix = self.spec.target.prefix();
        let keys = self.store.list(prefix, LOOK_AT).await?;
        let bookkeeping = self.bookkeeping_key("");
        let foreign = |key: &&String| {
            let ours = **key == self.lock_key() && self.state().lock == Claim::Held;
            // A folder marker, as consoles create them, is nothing.
            !ours && key.as_str() != prefix
        };
        let Some(found) = keys.iter().find(foreign) else {
            return Ok(());
        };
        let target = &self.spec.target;
        let url = self.store.url(found);
        if found.starts_with(&bookkeeping) {
            return Err(Error::new(
                ErrorKind::TargetInUse,
                format!("another export holds {target} ({url})"),
            )
            .with_hint(format!(
                "wait until it ends; if it died, abort its uploads and delete everything under \
                 {target}{BOOKKEEPING}"
            )));
        }
        Err(Error::new(
            ErrorKind::TargetInUse,
            format!("the target {target} is not empty: it has {url}"),
        )
        .with_hint("choose another target, or delete what is there"))
    }

    async fn take_lock(&self) -> Result<()> {
        let key = self.lock_key();
        match self
            .store
            .put(&key, self.bookkeeping_note(), NOTE_TYPE, true)
            .await
        {
            Ok(()) => Ok(()),
            // The first answer may have been lost: then the lock is ours.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                if self.holds_lock().await? {
                    return Ok(());
                }
                Err(Error::new(
                    ErrorKind::TargetInUse,
                    format!(
                        "another export holds {} ({})",
                        self.spec.target,
                        self.store.url(&key)
                    ),
                )
                .with_hint("wait until it ends"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn holds_lock(&self) -> Result<bool> {
        let note = self.store.get(&self.lock_key()).await?;
        let id = self.id.as_bytes();
        Ok(note.is_some_and(|note| note.windows(id.len()).any(|window| window == id)))
    }

    /// Who is exporting what, since when: for people who find the file.
    fn bookkeeping_note(&self) -> Bytes {
        let note = serde_json::json!({
            "export_id": self.id,
            "started": chrono::Utc::now().to_rfc3339(),
            "process": std::process::id(),
            "tidegate": env!("CARGO_PKG_VERSION"),
            "statement": self.spec.statement,
        });
        Bytes::from(note.to_string())
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

    /// Removes the bookkeeping of an export whose objects are all there.
    pub(super) async fn finish_commit(&self) -> Result<()> {
        self.sweep_uploads().await;
        self.store.delete(&self.incomplete_key()).await?;
        self.store.delete(&self.lock_key()).await?;
        self.state().phase = Phase::Ended;
        Ok(())
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
                self.state().phase = Phase::Ended;
                leftovers
            })
            .await
            .clone()
    }

    async fn undo(&self) -> Vec<String> {
        let (objects, uploads) = {
            let state = self.state();
            (state.objects.clone(), state.uploads.clone())
        };
        let aborts = uploads.into_iter().map(|upload| async move {
            let error = self.store.abort_upload(&upload).await.err()?;
            let url = self.store.url(&upload.key);
            Some(format!("upload {} of {url} ({error})", upload.upload_id))
        });
        let mut leftovers = confirmed(aborts).await;
        leftovers.extend(self.delete_objects(objects).await);
        if self.state().uploads_started {
            self.sweep_uploads().await;
        }

        // The bookkeeping goes last: while it is there, nobody else writes to the target.
        let (marked, lock) = {
            let state = self.state();
            (state.marked, state.lock)
        };
        let lock_is_ours = match lock {
            Claim::None => false,
            Claim::Unsure => self.holds_lock().await.unwrap_or(false),
            Claim::Held => true,
        };
        let mark = marked.then(|| self.incomplete_key());
        leftovers.extend(self.delete_objects(mark).await);
        let lock = lock_is_ours.then(|| self.lock_key());
        leftovers.extend(self.delete_objects(lock).await);
        leftovers
    }

    /// Deletes objects and names those that may still be there.
    async fn delete_objects(&self, keys: impl IntoIterator<Item = String>) -> Vec<String> {
        let deletes = keys.into_iter().map(|key| async move {
            let error = self.store.delete(&key).await.err()?;
            Some(format!("object {} ({error})", self.store.url(&key)))
        });
        confirmed(deletes).await
    }

    /// Aborts uploads of this export that were created although the answer was lost. The export's
    /// id is in every key, so they can't be anybody else's.
    async fn sweep_uploads(&self) {
        let pending = match self.store.list_uploads(self.spec.target.prefix()).await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::debug!(%error, "pending uploads can't be listed");
                return;
            }
        };
        for upload in pending {
            if !upload.key.contains(&self.id) {
                continue;
            }
            if let Err(error) = self.store.abort_upload(&upload).await {
                tracing::warn!(%error, upload = %upload.upload_id, "an upload can't be aborted");
            }
        }
    }
}

/// How many requests clean up at the same time.
const CLEAN_UPS_AT_ONCE: usize = 16;

/// Runs clean-up requests and returns what they could not confirm.
async fn confirmed(
    requests: impl Iterator<Item = impl Future<Output = Option<String>>>,
) -> Vec<String> {
    futures::stream::iter(requests)
        .buffer_unordered(CLEAN_UPS_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
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
