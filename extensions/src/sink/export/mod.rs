//! One export, from its first request to its last.
//!
//! Invariant: an [`Export`] ends exactly once, committed or rolled back, and only its owner task
//! ends it. Every request of a writer that changes the store runs in a task that the export counts.
//! Once a rollback has begun, no such request starts. The rollback waits for those under way.

mod guard;
mod owner;
mod phase;
mod progress;
mod reaper;
mod report;

pub use self::guard::CancelOnDrop;
pub use self::progress::ExportProgress;
pub use self::reaper::{Reaper, Unfinished};
pub use self::report::{ExportReport, ExportedFile, files_batch, files_schema};

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::phase::{Ending, Phase};
use self::reaper::Unfinishable;
use super::budget::ByteBudget;
use super::protocol::execute::Executor;
use super::protocol::ledger::{Ledger, Replaced};
use super::protocol::{manifest_key, refusal};
use super::spec::ExportSpec;
use super::staged::StagedFile;
use super::store::{PendingUpload, UploadStore};
use crate::error::{Error, ErrorKind, Result};
use crate::format::PartPool;

/// How many parts the store copies at once for one export.
const COPIES_AT_ONCE: usize = 16;

/// An export under way, shared by its writers, its sink and its owner.
#[derive(Debug)]
pub struct Export {
    ledger: Arc<Ledger>,
    parts: PartPool,
    /// Bytes in flight of this export, and of all exports.
    budgets: [ByteBudget; 2],
    reaper: Reaper,
    progress: ExportProgress,
    phase: watch::Sender<Phase>,
    /// Why the export fails: the first error.
    cause: OnceLock<Error>,
    committed: OnceLock<Vec<StagedFile>>,
    notices: OnceLock<Vec<String>>,
    /// Requests of writers under way that change the store.
    operations: TaskTracker,
    /// Limits the parts that the store copies at once.
    copies: Semaphore,
    /// Cancelled when the phase becomes [`Phase::Stopping`].
    stopped: CancellationToken,
}

impl Export {
    /// Plans an export to `store`; nothing is sent before [`Self::begin`]. Its parts in flight are
    /// charged to `budget`, and the program waits for its end through `reaper`.
    pub fn new(
        spec: ExportSpec,
        store: Arc<dyn UploadStore>,
        budget: ByteBudget,
        reaper: Reaper,
    ) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        Self::with_id(id, spec, store, budget, reaper)
    }

    /// An export with a chosen id: 32 hexadecimal digits that no other export has.
    pub(crate) fn with_id(
        id: String,
        spec: ExportSpec,
        store: Arc<dyn UploadStore>,
        budget: ByteBudget,
        reaper: Reaper,
    ) -> Self {
        let gather = spec.format.file_memory_bytes() > 0;
        let own = spec.memory.parts_share(spec.partition.is_some(), gather);
        Self {
            parts: PartPool::new(spec.part_bytes),
            ledger: Arc::new(Ledger::new(id, spec, store)),
            budgets: [ByteBudget::new(own), budget],
            reaper,
            progress: ExportProgress::default(),
            phase: watch::Sender::default(),
            cause: OnceLock::new(),
            committed: OnceLock::new(),
            notices: OnceLock::new(),
            operations: TaskTracker::new(),
            copies: Semaphore::new(COPIES_AT_ONCE),
            stopped: CancellationToken::new(),
        }
    }

    /// The export's id: 32 hexadecimal digits that sort by time.
    pub fn id(&self) -> &str {
        self.ledger.id()
    }

    /// The settings of the export.
    pub fn spec(&self) -> &ExportSpec {
        self.ledger.spec()
    }

    /// Its progress counters.
    pub fn progress(&self) -> &ExportProgress {
        &self.progress
    }

    pub(super) fn store(&self) -> &Arc<dyn UploadStore> {
        self.ledger.store()
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The memory of its parts.
    pub(super) fn parts(&self) -> &PartPool {
        &self.parts
    }

    /// Waits until a part of `bytes` bytes may be sent. The bytes are reserved until the result is
    /// dropped.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<impl Send + 'static> {
        let [own, shared] = &self.budgets;
        Ok((own.reserve(bytes).await?, shared.reserve(bytes).await?))
    }

    /// Waits until the store may be asked to copy a part. It counts until the result is dropped.
    pub(super) async fn reserve_copy(&self) -> Result<SemaphorePermit<'_>> {
        let permit = self.copies.acquire().await;
        permit.map_err(|_| Error::new(ErrorKind::Internal, "the limit of copies is closed"))
    }

    /// Cancelled once the export is being undone.
    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// A key as a URL, for people.
    pub fn url(&self, key: &str) -> String {
        self.store().url(key)
    }

    /// The objects of the export, and their rows and bytes. `None` before it is committed.
    pub fn report(&self) -> Option<ExportReport> {
        let files = self.committed.get()?;
        let manifest = manifest_key(&self.spec().target, self.id());
        Some(ExportReport {
            export_id: self.id().to_owned(),
            files: files.iter().map(|file| self.exported(file)).collect(),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            manifest: self.spec().manifest.then(|| self.url(&manifest)),
            moved: self.spec().moved,
            notices: self.notices(),
        })
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = self.notices.get().cloned().unwrap_or_default();
        let replaced = self.replaced();
        notices.extend(replaced.map(|replaced| format!("replaced {replaced}")));
        notices
    }

    /// The data objects that the export replaces. `None` before they are known, or if there are
    /// none.
    pub fn replaced(&self) -> Option<Replaced> {
        self.ledger.replaced()
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

    /// Checks and claims the target, once; every caller waits for the same result. After this, the
    /// query may run. Meanwhile, the owner checks whether another export claimed the target at the
    /// same moment: [`Self::confirmed`].
    ///
    /// # Errors
    /// The target is not empty or held by another export, the store refuses to list, write or
    /// delete there, or the export was stopped.
    pub async fn begin(self: &Arc<Self>) -> Result<()> {
        // Held until the owner is spawned, so that a program that exits waits for it.
        let _running = self.reaper.token();
        self.start(|owner| self.reaper.spawn(&Handle::current(), owner));
        let reached = |phase: &Phase| phase.accepts_requests() && !matches!(phase, Phase::Claiming);
        self.wait_for(reached).await
    }

    /// Begins the export, and waits until it holds the target. No upload may exist before that: if
    /// exports that exclude each other claim the target at the same moment, all but one give up.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub async fn confirmed(self: &Arc<Self>) -> Result<()> {
        self.begin().await?;
        self.wait_for(|phase| matches!(phase, Phase::Writing | Phase::Committing(_)))
            .await
    }

    /// Gives the owner's task to `spawn`, unless the export has one already or was stopped.
    fn start(self: &Arc<Self>, spawn: impl FnOnce(BoxFuture<'static, ()>)) {
        if self.advance(|phase| matches!(phase, Phase::New), Phase::Claiming) {
            let export: Arc<dyn Unfinishable> = Arc::clone(self) as _;
            self.reaper.watch(Arc::downgrade(&export));
            spawn(Box::pin(owner::own(Arc::clone(self))));
        }
    }

    /// Checks the target without claiming it or changing anything there. For an export that will
    /// not begin.
    ///
    /// # Errors
    /// As for [`Self::begin`], except for errors that only a write reveals.
    pub async fn inspect_target(&self) -> Result<()> {
        let executor = Executor::of_export(Arc::clone(&self.ledger));
        refusal::inspect_target(&self.ledger, &executor).await
    }

    /// Lets the owner commit these files. Returns the number of rows once every object is there and
    /// nothing else is left.
    ///
    /// # Errors
    /// [`ErrorKind::CleanupFailed`]: every object is there, but clean-up failed.
    /// [`ErrorKind::OutcomeUnknown`]: it is not known whether the objects are or will be there. Any
    /// other kind: no object is there, and the owner rolls back; [`Self::rolled_back`] waits for
    /// it.
    pub(super) async fn commit(&self, files: Vec<StagedFile>) -> Result<u64> {
        let rows = files.iter().map(|file| file.rows).sum();
        let has_target = |phase: &Phase| matches!(phase, Phase::Writing);
        let commits = self.advance(has_target, Phase::Committing(files));
        if !commits && !self.phase.borrow().is_stopped() {
            let why = "an export was committed before it had its target";
            return Err(Error::new(ErrorKind::Internal, why));
        }
        let mut phases = self.phase.subscribe();
        match phases.wait_for(Phase::is_stopped).await.as_deref() {
            Ok(Phase::Ended(Ending::Committed(None))) => Ok(rows),
            Ok(Phase::Ended(Ending::Committed(Some(error)) | Ending::Unknown(error))) => {
                Err(error.copy())
            }
            _ => Err(self.failure()),
        }
    }

    /// Starts a request that changes the store, in a task that ends whether or not its caller waits
    /// for it.
    ///
    /// # Errors
    /// The export has been stopped.
    pub(super) fn start_operation<T: Send + 'static>(
        &self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let phase = self.phase.borrow();
        if !phase.accepts_requests() {
            drop(phase);
            return Err(self.failure());
        }
        // Counted while the phase can't change, so that rolling back waits for it.
        let counted = self.operations.track_future(operation);
        drop(phase);
        Ok(tokio::spawn(counted))
    }

    /// Waits until a phase is `reached`.
    ///
    /// # Errors
    /// The export has been stopped.
    async fn wait_for(&self, reached: impl Fn(&Phase) -> bool) -> Result<()> {
        let mut phases = self.phase.subscribe();
        let over = |phase: &Phase| reached(phase) || phase.is_stopped();
        match phases.wait_for(over).await.as_deref() {
            Ok(phase) if reached(phase) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Changes to the phase `to` if `from` accepts the current phase. Returns whether it did.
    fn advance(&self, from: impl FnOnce(&Phase) -> bool, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let may = from(phase);
            if may {
                *phase = to;
            }
            may
        })
    }

    /// Stops an export that has not begun to commit: its owner undoes it. An export that has not
    /// begun can't begin after this. Has no effect once the export commits or has ended.
    pub fn cancel(&self) {
        if self.advance(
            |phase| matches!(phase, Phase::New),
            Phase::Ended(Ending::RolledBack(Vec::new())),
        ) {
            return;
        }
        self.stop(|phase| phase.accepts_requests() && !matches!(phase, Phase::Committing(_)));
    }

    fn stop(&self, from: impl FnOnce(&Phase) -> bool) {
        if self.advance(from, Phase::Stopping) {
            self.stopped.cancel();
        }
    }

    /// Records why the export fails. When the export stops, its other writers fail as cancelled,
    /// and one of their errors may reach the user first: [`Self::explain`] replaces it by the
    /// cause.
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

    /// The first error of a stopped export, or an error that says that it was cancelled.
    pub(super) fn failure(&self) -> Error {
        match self.cause.get() {
            Some(cause) => cause.copy(),
            None => Error::new(
                ErrorKind::Cancelled,
                format!("the export to {} was cancelled", self.spec().target),
            ),
        }
    }

    /// Waits until an export that has begun has ended, committed or rolled back.
    pub async fn wait_until_over(&self) {
        let over = |phase: &Phase| matches!(phase, Phase::New | Phase::Ended(_));
        let _ = self.phase.subscribe().wait_for(over).await;
    }

    /// Waits for the end of a stopped export. Returns the removals that the store did not confirm.
    pub(super) async fn rolled_back(&self) -> Vec<String> {
        self.wait_until_over().await;
        match &*self.phase.borrow() {
            Phase::Ended(Ending::RolledBack(leftovers)) => leftovers.clone(),
            _ => Vec::new(),
        }
    }

    /// The leftovers of an export that has begun and has not ended, whose clean-up was not
    /// confirmed, or whose outcome is not known. `None` for any other export.
    pub fn leftovers(&self) -> Option<Unfinished> {
        let leftovers = match &*self.phase.borrow() {
            Phase::New => return None,
            Phase::Ended(Ending::RolledBack(leftovers)) if !leftovers.is_empty() => {
                leftovers.clone()
            }
            Phase::Ended(Ending::Unknown(_)) => Vec::new(),
            Phase::Ended(_) => return None,
            _ => self.name_uploads(),
        };
        Some(self.left(leftovers))
    }

    /// Whether the export is being completed: it is too late to cancel it.
    pub fn is_committing(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Committing(_))
    }

    fn name_uploads(&self) -> Vec<String> {
        let name = |upload: &PendingUpload| {
            let url = self.url(&upload.key);
            format!("upload {} of {url}", upload.upload_id)
        };
        self.ledger.uploads().iter().map(name).collect()
    }

    fn left(&self, leftovers: Vec<String>) -> Unfinished {
        Unfinished {
            target: self.spec().target.to_string(),
            leftovers,
            recover: self.spec().recover_statement.clone(),
        }
    }
}

impl Unfinishable for Export {
    fn unfinished(&self) -> Option<Unfinished> {
        if matches!(*self.phase.borrow(), Phase::New | Phase::Ended(_)) {
            return None;
        }
        Some(self.left(self.name_uploads()))
    }
}
