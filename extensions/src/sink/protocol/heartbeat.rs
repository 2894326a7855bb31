//! The heartbeat of an export.
//!
//! Invariant: while a [`Heartbeat`] runs, it rewrites `INCOMPLETE` at intervals of [`HEARTBEAT`]
//! plus the time of one request. A failed write is logged and tried again at the next interval.
//! After [`Heartbeat::stop`] has returned, nothing writes `INCOMPLETE`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bookkeeping::{ClaimState, Keys, MEDIA_TYPE};
use super::ledger::Ledger;

/// How often a living export rewrites its `INCOMPLETE`.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// An export is dead if its newest bookkeeping is older than this, by the store's own clock.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(60);

/// The task that keeps `INCOMPLETE` fresh. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Writes the `INCOMPLETE` of an export that holds its target: at once, and then every
    /// [`HEARTBEAT`].
    pub(crate) fn start(ledger: Arc<Ledger>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let key = Keys::new(&ledger.spec().target).incomplete(ledger.id());
        let task = tokio::spawn(async move {
            loop {
                let note = ledger.note(ClaimState::Writing).to_json();
                if let Err(error) = ledger.store().put(&key, note, MEDIA_TYPE, false).await {
                    tracing::warn!(%error, "the export's heartbeat was not written");
                }
                let pause = tokio::time::timeout(HEARTBEAT, stopped.cancelled());
                if pause.await.is_ok() {
                    break;
                }
            }
        });
        Self { stop, task }
    }

    /// Stops, and waits for a write in flight, which could otherwise recreate a deleted
    /// `INCOMPLETE`.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
