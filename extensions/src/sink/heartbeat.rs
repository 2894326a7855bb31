//! The sign that an export lives.
//!
//! Invariant: while a [`Heartbeat`] runs, `INCOMPLETE` is never older than [`HEARTBEAT`] and one
//! request; after [`Heartbeat::stop`] has returned, nothing writes it any more.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bookkeeping::{HEARTBEAT, MEDIA_TYPE};
use super::store::UploadStore;

/// The task that keeps `INCOMPLETE` fresh.
#[derive(Debug)]
pub(super) struct Heartbeat {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Writes what `note` says under `key`, now and again and again.
    pub(super) fn start(
        store: Arc<dyn UploadStore>,
        key: String,
        note: impl Fn() -> Bytes + Send + 'static,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = store.put(&key, note(), MEDIA_TYPE, false).await {
                    tracing::warn!(%error, "the export's sign of life was not written");
                }
                let pause = tokio::time::timeout(HEARTBEAT, stopped.cancelled());
                if pause.await.is_ok() {
                    break;
                }
            }
        });
        Self { stop, task }
    }

    /// Stops and waits for a beat under way, which would bring `INCOMPLETE` back.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}
