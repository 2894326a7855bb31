//! Exports and clean-up that outlive their statement.
//!
//! Invariant: every export that has begun counts as running until it has ended, even if its
//! statement was dropped. `Drop` can't await, so the rest of the work runs as a task of the reaper.
//! If [`Reaper::drain`] returns true, no such work is left.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Keeps track of tasks that may outlive the statements that started them.
#[derive(Debug, Clone, Default)]
pub struct Reaper {
    tasks: TaskTracker,
    begun: Arc<Mutex<Vec<Weak<dyn Unfinishable>>>>,
    left: Arc<Mutex<Vec<Unfinished>>>,
    /// How many callers wait in [`Self::drain`].
    draining: Arc<AtomicUsize>,
}

/// How many leftovers are remembered. Older ones are forgotten.
const MOST_LEFT: usize = 1000;

/// An export that has begun and may leave something behind.
pub(super) trait Unfinishable: std::fmt::Debug + Send + Sync {
    /// A description of its current leftovers; `None` once it has ended.
    fn unfinished(&self) -> Option<Unfinished>;
}

/// An export that left something behind, or that has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The target of the export.
    pub target: String,
    /// The known leftovers: everything whose removal the store did not confirm.
    pub leftovers: Vec<String>,
    /// The statement that removes the leftovers, or finishes an export that had begun to commit.
    pub recover: String,
}

impl Reaper {
    /// A reaper with nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `cleanup` to its end on `runtime`, even if no caller waits for it.
    pub(super) fn spawn(
        &self,
        runtime: &tokio::runtime::Handle,
        cleanup: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn_on(cleanup, runtime);
    }

    /// Counts an export as running until the token is dropped.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Remembers an export that has begun, for as long as it is referenced elsewhere.
    pub(super) fn watch(&self, begun: Weak<dyn Unfinishable>) {
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|earlier| earlier.strong_count() > 0);
        all.push(begun);
    }

    /// Remembers the leftovers of an export that has ended.
    pub(super) fn remember(&self, left: Unfinished) {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == MOST_LEFT {
            all.remove(0);
        }
        all.push(left);
    }

    /// Forgets the leftovers of exports to `target`: they were recovered.
    pub(crate) fn forget(&self, target: &str) {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|left| left.target != target);
    }

    /// The exports that left something behind, or have not ended.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let running = begun.iter().filter_map(Weak::upgrade);
        let running = running.filter_map(|export| export.unfinished());
        left.iter().cloned().chain(running).collect()
    }

    /// Waits until all tasks and exports have ended, for at most `patience`. Returns whether they
    /// have.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.draining.fetch_add(1, Ordering::SeqCst);
        self.tasks.close();
        let drained = tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_ok();
        // Another caller may still wait, and that works only while the tracker is closed.
        if self.draining.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tasks.reopen();
        }
        drained
    }
}
