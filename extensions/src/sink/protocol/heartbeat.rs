//! The heartbeat of an export.
//!
//! Invariant: an export whose heartbeats are not confirmed stops itself before other processes may
//! declare it dead. Safety does not depend on this: an export that was declared dead can't commit.
//!
//! After [`Heartbeat::stop`] has returned, nothing writes `ALIVE`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bookkeeping::{MEDIA_TYPE, to_json};
use super::ledger::Ledger;
use super::survey::is_there;
use crate::error::{Error, ErrorKind};
use crate::sink::store::BEAT_TIMEOUT;

/// How often a living export rewrites its `ALIVE`.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// The pause after a failed beat.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// An export without a confirmed beat for this long stops itself.
const STOP_AFTER: Duration = Duration::from_secs(40);

/// An export is dead if its newest bookkeeping is older than this, by the store's own clock.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(60);

// Even if one beat hangs, a live export sends another beat before it stops itself.
const _: () = assert!(HEARTBEAT.as_secs() + 2 * BEAT_TIMEOUT.as_secs() + 1 < STOP_AFTER.as_secs());
// Before other processes may declare an export dead, the export has stopped itself, and the store
// has executed its last beat.
const _: () = assert!(STOP_AFTER.as_secs() + 2 * BEAT_TIMEOUT.as_secs() < DEAD_AFTER.as_secs());

/// The task that keeps `ALIVE` fresh. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Rewrites the `ALIVE` of an export that has just written it. Calls `give_up` once if the
    /// export must stop: its beats are not confirmed, or another process has declared it dead.
    pub(crate) fn start(ledger: Arc<Ledger>, give_up: impl FnOnce(Error) + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut give_up = Some(give_up);
            let mut confirmed = Instant::now();
            let mut pause = HEARTBEAT;
            loop {
                let pausing = tokio::time::timeout(pause, stopped.cancelled());
                if pausing.await.is_ok() {
                    return;
                }
                let sent = Instant::now();
                match beat(&ledger).await {
                    Ok(true) => {
                        confirmed = sent;
                        pause = HEARTBEAT;
                    }
                    Ok(false) => {
                        if let Some(give_up) = give_up.take() {
                            give_up(taken_for_dead(&ledger));
                        }
                        pause = HEARTBEAT;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the export's heartbeat was not written");
                        pause = RETRY_PAUSE;
                    }
                }
                if confirmed.elapsed() >= STOP_AFTER
                    && let Some(give_up) = give_up.take()
                {
                    give_up(unconfirmed(&ledger));
                }
            }
        });
        Self { stop, task }
    }

    /// Stops, and waits for a beat in flight, which could otherwise recreate a deleted `ALIVE`.
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

/// Writes `ALIVE`. Returns false if the export's `INCOMPLETE` is gone: another process has removed
/// it. A store that does not answer the look in time does not make the beat fail.
async fn beat(ledger: &Ledger) -> Result<bool, Error> {
    let (store, keys) = (ledger.store(), ledger.keys());
    let note = to_json(&ledger.note(false))?;
    let alive = keys.alive(ledger.id());
    let putting = tokio::time::timeout(BEAT_TIMEOUT, store.beat(&alive, note, MEDIA_TYPE));
    match putting.await {
        Ok(put) => put?,
        Err(_) => {
            let why = "the store did not answer in time";
            return Err(Error::new(ErrorKind::ConnectionFailure, why));
        }
    }
    let incomplete = keys.incomplete(ledger.id());
    let looking = tokio::time::timeout(BEAT_TIMEOUT, is_there(store.as_ref(), &incomplete));
    Ok(!matches!(looking.await, Ok(Ok(false))))
}

/// The error of an export that another process has ended.
pub(crate) fn taken_for_dead(ledger: &Ledger) -> Error {
    Error::new(
        ErrorKind::TargetInUse,
        format!(
            "another process declared the export to {} dead and removed it",
            ledger.spec().target
        ),
    )
    .with_hint(format!(
        "this process wrote no heartbeat for {} seconds: it was paused, or the store was not \
         reachable; run the statement again",
        DEAD_AFTER.as_secs()
    ))
}

fn unconfirmed(ledger: &Ledger) -> Error {
    Error::new(
        ErrorKind::ConnectionFailure,
        format!(
            "the store did not confirm a heartbeat of the export to {} for {} seconds, so the \
             export was stopped",
            ledger.spec().target,
            STOP_AFTER.as_secs()
        ),
    )
}
