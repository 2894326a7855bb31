//! Cleaning up that nobody waits for.
//!
//! Invariant: dropping can't await, so what a dropped export must still do is handed to the reaper,
//! and every export that has begun counts as long as it has not ended; a program that calls
//! [`Reaper::drain`] before it exits leaves nothing undone.

use std::future::Future;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The tasks that outlive the statements which started them.
#[derive(Debug, Clone, Default)]
pub struct Reaper {
    tasks: TaskTracker,
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
