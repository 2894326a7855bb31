//! One export, from its first request to its last.
//!
//! Invariant: an [`Export`] ends exactly once, committed or rolled back. Every request that changes
//! the store runs in a task of its own that the export counts, so that rolling back can wait for
//! what is under way instead of racing it; once rolling back has begun, no new one starts.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::bookkeeping::{ClaimState, Keys, Lock, Note};
use super::budget::ByteBudget;
use super::claim::{claim_target, confirm_claim, find_obsolete, inspect_target};
use super::cleanup::sweep_uploads;
use super::heartbeat::Heartbeat;
use super::options::Mode;
use super::progress::ExportProgress;
use super::reaper::{Reaper, Unfinishable, Unfinished};
use super::report::{ExportReport, ExportedFile, StagedFile};
use super::rollback::{Traces, undo};
use super::spec::ExportSpec;
use super::store::{PendingUpload, UploadStore};
use crate::error::{Error, ErrorKind, Result};
use crate::format::PartPool;
use crate::sql::ast::quote_name;
use crate::tasks::finished;

/// An export under way, shared by its writers and its sink.
#[derive(Debug)]
pub struct Export {
    id: String,
    spec: ExportSpec,
    store: Arc<dyn UploadStore>,
    parts: PartPool,
    /// For the parts of this export, and for those of all.
    budgets: [ByteBudget; 2],
    reaper: Reaper,
    progress: ExportProgress,
    begun: OnceCell<std::result::Result<(), Error>>,
    confirmed: OnceLock<Confirmed>,
    ended: OnceCell<Vec<String>>,
    committed: OnceLock<Vec<StagedFile>>,
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
    over: CancellationToken,
}

/// Whether nobody else has the target, as soon as that is known; everybody who needs it waits for the
/// same answer.
type Confirmed = Shared<BoxFuture<'static, std::result::Result<(), Arc<Error>>>>;

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    traces: Traces,
    /// Objects to delete once the export is committed (mode overwrite).
    obsolete: Vec<String>,
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
        let gather = spec.format.file_memory_bytes() > 0;
        let own = spec.memory.parts_share(spec.partition.is_some(), gather);
        Self {
            id: Uuid::now_v7().simple().to_string(),
            parts: PartPool::new(spec.part_bytes),
            spec,
            store,
            budgets: [ByteBudget::new(own), budget],
            reaper,
            progress: ExportProgress::default(),
            begun: OnceCell::new(),
            confirmed: OnceLock::new(),
            ended: OnceCell::new(),
            committed: OnceLock::new(),
            cause: OnceLock::new(),
            started: chrono::Utc::now().to_rfc3339(),
            heartbeat: Mutex::default(),
            state: Mutex::default(),
            runtime: Mutex::default(),
            running: Mutex::default(),
            operations: TaskTracker::new(),
            cancelled: CancellationToken::new(),
            over: CancellationToken::new(),
        }
    }

    /// The export's id: 32 hexadecimal digits that sort by time.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The memory of its parts.
    pub(super) fn parts(&self) -> &PartPool {
        &self.parts
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

    /// Waits until a part of `bytes` bytes may be sent; it may be until the result is dropped.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<impl Send + 'static> {
        let [own, shared] = &self.budgets;
        Ok((own.reserve(bytes).await?, shared.reserve(bytes).await?))
    }

    pub(super) fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// When it was planned (RFC 3339).
    pub(super) fn started(&self) -> &str {
        &self.started
    }

    /// The key of a writer's file in `folder`, which is empty or ends in `/`:
    /// `<prefix><folder>part-<writer>-<sequence>-<export id>.<ext>`, or the single file's.
    pub(super) fn file_key(&self, folder: &str, writer: u32, sequence: u64) -> String {
        let target = &self.spec.target;
        if target.file().is_some() {
            return target.prefix();
        }
        format!(
            "{}{folder}part-{writer:05}-{sequence:08}-{}{}",
            target.folder(),
            self.id,
            self.spec.format.extension()
        )
    }

    /// What `INCOMPLETE` and `LOCK` say.
    pub(super) fn note(&self, state: ClaimState) -> Note {
        Note {
            export_id: self.id.clone(),
            state,
            mode: self.spec.mode,
            file: self.spec.target.file().map(str::to_owned),
            started: self.started.clone(),
            written: chrono::Utc::now().to_rfc3339(),
            process: std::process::id(),
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            statement: self.spec.statement.clone(),
        }
    }

    /// The statement that finishes this export if its process dies.
    pub(super) fn recover_statement(&self) -> String {
        // Bookkeeping is in the folder, also where the target is one object.
        let folder = self.spec.target.with_file(None);
        let target = folder.to_string().replace('\'', "''");
        match &self.spec.connection {
            Some(connection) => {
                let connection = quote_name(connection);
                format!("RECOVER EXPORT '{target}' WITH (AWS CONNECTION = {connection})")
            }
            None => format!("RECOVER EXPORT '{target}'"),
        }
    }

    /// A key as a URL, for people.
    pub fn url(&self, key: &str) -> String {
        self.store.url(key)
    }

    /// What the export wrote, once it is committed.
    pub fn report(&self) -> Option<ExportReport> {
        let files = self.committed.get()?;
        let manifest = Keys::new(&self.spec.target).manifest(&self.id);
        Some(ExportReport {
            export_id: self.id.clone(),
            files: files.iter().map(|file| self.exported(file)).collect(),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            manifest: self.spec.manifest.then(|| self.url(&manifest)),
        })
    }

    fn exported(&self, file: &StagedFile) -> ExportedFile {
        ExportedFile {
            url: self.url(&file.key),
            rows: file.rows,
            bytes: file.bytes,
            etag: file.object_etag.clone(),
            columns: file.columns.clone(),
        }
    }

    /// The objects of the export, once it is committed.
    pub fn committed_files(&self) -> &[StagedFile] {
        self.committed.get().map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn set_committed(&self, files: Vec<StagedFile>) {
        let _ = self.committed.set(files);
    }

    /// Bookkeeping is about to be written: from here rolling back removes it.
    pub(super) fn expect_bookkeeping(&self) {
        self.state().traces.bookkeeping = true;
    }

    /// `COMMIT` is about to be written: rolling back removes it before anything that it names.
    pub(super) fn expect_intent(&self) {
        self.state().traces.intent = true;
    }

    pub(super) fn lock(&self) -> Lock {
        self.state().traces.lock
    }

    pub(super) fn set_lock(&self, lock: Lock) {
        self.state().traces.lock = lock;
    }

    /// The objects that the export replaces.
    pub(super) fn obsolete(&self) -> Vec<String> {
        self.state().obsolete.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks and claims the target, once, whoever asks first. Everybody else waits for the result.
    /// That nobody else claimed it at the same moment is found out from here on: [`Self::confirmed`].
    ///
    /// # Errors
    /// The target is not empty or held by another export, or the store refuses to list, write or
    /// delete there.
    pub async fn begin(self: &Arc<Self>) -> Result<()> {
        let begun = self
            .begun
            .get_or_init(|| async {
                self.start()?;
                let export: Arc<dyn Unfinishable> = Arc::clone(self) as _;
                self.reaper.watch(Arc::downgrade(&export));
                let export = Arc::clone(self);
                self.run_operation(async move { claim_target(&export).await })
                    .await?;
                let export = Arc::clone(self);
                let confirming = self.start_operation(async move { export.confirm().await })?;
                let confirmed = async move { finished(confirming.await).map_err(Arc::new) };
                let _ = self.confirmed.set(confirmed.boxed().shared());
                Ok(())
            })
            .await;
        begun.as_ref().map_err(Error::copy).copied()
    }

    /// Begins the export, and waits until the target is its own. The query may run meanwhile, but
    /// no upload may exist before: exports that claimed a target at once give way to each other.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub async fn confirmed(self: &Arc<Self>) -> Result<()> {
        self.begin().await?;
        match self.confirmed.get() {
            Some(confirmed) => confirmed.clone().await.map_err(|error| error.copy()),
            None => Err(self.stopped()),
        }
    }

    /// From here on whoever stops the export undoes it, and the reaper counts it.
    fn start(&self) -> Result<()> {
        // Held to the end: who stops an export that writes needs its runtime.
        let _state = self.enter(Phase::New, Phase::Writing)?;
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = Some(Handle::current());
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.reaper.token());
        Ok(())
    }

    /// Checks the target without claiming it or changing anything there, for an export that is not to
    /// begin.
    ///
    /// # Errors
    /// As for [`Self::begin`], but for what only writing can tell.
    pub async fn inspect_target(&self) -> Result<()> {
        inspect_target(self).await
    }

    async fn confirm(self: &Arc<Self>) -> Result<()> {
        confirm_claim(self).await?;
        self.start_heartbeat();
        if self.spec.mode == Mode::Overwrite {
            let obsolete = find_obsolete(self).await?;
            self.state().obsolete = obsolete;
        }
        Ok(())
    }

    fn start_heartbeat(self: &Arc<Self>) {
        let key = Keys::new(&self.spec.target).incomplete(&self.id);
        let export = Arc::clone(self);
        let note = move || export.note(ClaimState::Writing).to_json();
        let heartbeat = Heartbeat::start(Arc::clone(&self.store), key, note);
        *self
            .heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(heartbeat);
    }

    /// Stops the heartbeat and waits for a beat under way.
    pub(super) async fn stop_heartbeat(&self) {
        let heartbeat = self
            .heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(heartbeat) = heartbeat {
            heartbeat.stop().await;
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
        self.state().traces.uploads_started = true;
    }

    /// An upload was asked for and no answer came.
    pub(super) fn register_lost_upload(&self) {
        self.state().traces.upload_lost = true;
    }

    /// Remembers an upload, so that it is completed or aborted.
    pub(super) fn register_upload(&self, upload: PendingUpload) {
        self.state().traces.uploads.insert(upload);
    }

    /// An upload is gone: it became an object, or was aborted.
    pub(super) fn forget_upload(&self, upload: &PendingUpload) {
        self.state().traces.uploads.remove(upload);
    }

    /// An object is about to appear: rolling back deletes it, unless it may have replaced another,
    /// which deleting would not bring back.
    pub(super) fn register_object(&self, key: &str) {
        let mut state = self.state();
        let replaces = self.spec.target.file().is_some() && !state.obsolete.is_empty();
        if !replaces {
            state.traces.objects.insert(key.to_owned());
        }
    }

    /// From here on only the commit ends the export.
    ///
    /// # Errors
    /// The export has been stopped.
    pub(super) fn start_commit(&self) -> Result<()> {
        self.enter(Phase::Writing, Phase::Committing).map(drop)
    }

    /// Goes from one phase to the next, unless somebody has stopped the export.
    fn enter(&self, from: Phase, to: Phase) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.phase != from {
            return Err(self.stopped());
        }
        state.phase = to;
        Ok(state)
    }

    /// The export is over.
    pub(super) fn end(&self) {
        self.state().phase = Phase::Ended;
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.over.cancel();
    }

    /// Waits until an export that has begun is over, committed or rolled back.
    pub async fn wait_until_over(&self) {
        if self.state().phase != Phase::New {
            self.over.cancelled().await;
        }
    }

    /// What is left of an export that was cancelled and is not over, or could not be removed.
    pub fn leftovers(&self) -> Option<Unfinished> {
        match self.ended.get() {
            Some(leftovers) if leftovers.is_empty() => None,
            Some(leftovers) => Some(self.left(leftovers.clone())),
            None => self.unfinished(),
        }
    }

    /// Stops an export that nobody waits for any more: the reaper cleans up what it left. One that has
    /// not begun never will. Does nothing once it is committing or has ended.
    pub fn cancel(self: &Arc<Self>) {
        self.stop(&[Phase::New, Phase::Writing]);
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
        self.stop(&[Phase::New, Phase::Writing, Phase::Committing]);
    }

    fn stop(self: &Arc<Self>, from: &[Phase]) {
        {
            let mut state = self.state();
            if !from.contains(&state.phase) {
                return;
            }
            if state.phase == Phase::New {
                state.phase = Phase::Ended;
                drop(state);
                return self.end();
            }
            state.phase = Phase::RollingBack;
        }
        self.cancelled.cancel();
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.as_ref() {
            let export = Arc::clone(self);
            self.reaper.spawn(runtime, async move {
                let leftovers = export.roll_back().await;
                if !leftovers.is_empty() {
                    tracing::warn!(export = %export.id(), ?leftovers, "left behind");
                    export.reaper.remember(export.left(leftovers));
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
                self.stop_heartbeat().await;
                let traces = self.state().traces.clone();
                let leftovers = undo(self, traces).await;
                self.end();
                leftovers
            })
            .await
            .clone()
    }

    /// Whether an upload may be pending that no answer told of.
    pub(super) fn upload_lost(&self) -> bool {
        self.state().traces.upload_lost
    }

    /// Aborts uploads of this export that nobody knows of, once `committed` are objects.
    pub(super) async fn sweep_uploads(&self, committed: &[StagedFile]) -> Vec<String> {
        let upload_lost = self.upload_lost();
        let (store, target) = (self.store.as_ref(), &self.spec.target);
        sweep_uploads(store, target, &self.id, upload_lost, committed).await
    }

    fn left(&self, leftovers: Vec<String>) -> Unfinished {
        Unfinished {
            target: self.spec.target.to_string(),
            leftovers,
            recover: self.recover_statement(),
        }
    }
}

impl Unfinishable for Export {
    fn unfinished(&self) -> Option<Unfinished> {
        let state = self.state();
        if matches!(state.phase, Phase::New | Phase::Ended) {
            return None;
        }
        let name = |upload: &PendingUpload| {
            let url = self.store.url(&upload.key);
            format!("upload {} of {url}", upload.upload_id)
        };
        Some(self.left(state.traces.uploads.iter().map(name).collect()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Schema, SchemaRef};

    use super::*;
    use crate::format::{ParquetFormat, ParquetOptions};
    use crate::sink::guard::CancelOnDrop;
    use crate::sink::{ExportMemory, LocalUploadStore, Target};

    fn plan_export(folder: &std::path::Path) -> (Arc<Export>, Reaper) {
        let target = Target::parse(&folder.display().to_string()).unwrap();
        let (schema, part_bytes) = (SchemaRef::new(Schema::empty()), 1 << 20);
        let store = LocalUploadStore::new(&target, part_bytes);
        let spec = ExportSpec {
            target,
            mode: Mode::Error,
            connection: None,
            statement: String::new(),
            input_schema: SchemaRef::clone(&schema),
            schema,
            partition: None,
            format: Arc::new(ParquetFormat::new(ParquetOptions::default(), u64::MAX)),
            max_file_bytes: u64::MAX,
            part_bytes,
            manifest: false,
            memory: ExportMemory::default(),
        };
        let (budget, reaper) = (ByteBudget::new(part_bytes), Reaper::new());
        let export = Export::new(spec, Arc::new(store), budget, reaper.clone());
        (Arc::new(export), reaper)
    }

    /// A statement may be dropped while one of its writers, on another thread, is about to begin.
    #[tokio::test]
    async fn what_was_cancelled_does_not_begin() {
        let root = tempfile::tempdir().unwrap();
        let (export, reaper) = plan_export(&root.path().join("target"));
        drop(CancelOnDrop::new(Arc::clone(&export)));
        assert!(reaper.drain(std::time::Duration::from_secs(60)).await);
        let error = export.begin().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
