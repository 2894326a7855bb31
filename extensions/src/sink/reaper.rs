//! Cleaning up that nobody waits for.
//!
//! Invariant: dropping can't await, so what a dropped export must still do is handed to the reaper,
//! and every export that has begun counts as long as it has not ended; a program that calls
//! [`Reaper::drain`] before it exits leaves nothing undone.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The tasks that outlive the statements which started them.
#[derive(Debug, Clone, Default)]
pub struct Reaper {
    tasks: TaskTracker,
    begun: Arc<Mutex<Vec<Weak<dyn Unfinishable>>>>,
    left: Arc<Mutex<Vec<Unfinished>>>,
}

/// What may be left behind: an export that has begun.
pub(super) trait Unfinishable: std::fmt::Debug + Send + Sync {
    /// What it leaves, if nothing more is done; none once it has ended.
    fn unfinished(&self) -> Option<Unfinished>;
}

/// An export that left something behind, or that has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Where it exported to.
    pub target: String,
    /// What the store did not confirm to be gone, as far as it is known.
    pub leftovers: Vec<String>,
    /// The statement that removes it, or finishes the export if that had begun to commit.
    pub recover: String,
}

impl Reaper {
    /// A reaper with nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `cleanup` to its end on `runtime`, whether or not anybody waits for it.
    pub(super) fn spawn(
        &self,
        runtime: &tokio::runtime::Handle,
        cleanup: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn_on(cleanup, runtime);
    }

    /// Counts something that is not over before the token is dropped: an export.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Remembers something that may be left behind, for as long as somebody holds it.
    pub(super) fn watch(&self, begun: Weak<dyn Unfinishable>) {
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|earlier| earlier.strong_count() > 0);
        all.push(begun);
    }

    /// Remembers what an export that has ended left behind.
    pub(super) fn remember(&self, left: Unfinished) {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(left);
    }

    /// The exports that left something behind, or have not ended.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let running = begun.iter().filter_map(Weak::upgrade);
        let running = running.filter_map(|export| export.unfinished());
        left.iter().cloned().chain(running).collect()
    }

    /// Waits until all clean-up has ended, at most `patience`. Says whether it has.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.tasks.close();
        let drained = tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_ok();
        self.tasks.reopen();
        drained
    }
}
