//! The connections that are served, and what each of them runs.
//!
//! Invariant: a statement that has begun can be cancelled from outside its connection until it ends,
//! and a cancel request from the network must have the connection's secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate::CancellationToken;

/// Bytes of a secret. Clients of protocol 3.0 get only the first four.
pub(super) const SECRET_BYTES: usize = 32;
pub(super) const SHORT_SECRET_BYTES: usize = 4;

/// Why a statement is cancelled from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A cancel request, or `pg_cancel_backend`.
    Request,
    /// `statement_timeout`
    Timeout,
    /// The client has gone.
    Gone,
    /// The server stops.
    Shutdown,
}

impl Reason {
    /// What the client is told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Request => "on request of the user",
            Self::Timeout => "statement_timeout has passed",
            Self::Gone => "the client has gone",
            Self::Shutdown => "the server stops",
        }
    }
}

/// A connection.
pub(super) struct Backend {
    pub(super) pid: i32,
    pub(super) secret: [u8; SECRET_BYTES],
    running: Mutex<Running>,
    /// Cancelled when the client has gone.
    gone: CancellationToken,
}

#[derive(Default)]
struct Running {
    token: CancellationToken,
    reason: Option<Reason>,
    is_running: bool,
}

impl Backend {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a statement, and returns the token that cancels it.
    pub(super) fn begin(&self) -> CancellationToken {
        let mut running = self.lock();
        *running = Running {
            is_running: true,
            ..Running::default()
        };
        if self.gone.is_cancelled() {
            running.reason = Some(Reason::Gone);
            running.token.cancel();
        }
        running.token.clone()
    }

    /// Ends the statement.
    pub(super) fn end(&self) {
        self.lock().is_running = false;
    }

    /// Cancels the statement that runs, if there is one.
    pub(super) fn cancel(&self, reason: Reason) {
        let mut running = self.lock();
        if running.is_running {
            running.reason.get_or_insert(reason);
            running.token.cancel();
        }
    }

    /// Cancels `token`'s statement, if it still runs.
    pub(super) fn cancel_only(&self, token: &CancellationToken, reason: Reason) {
        let mut running = self.lock();
        if running.is_running && !token.is_cancelled() {
            running.reason.get_or_insert(reason);
            token.cancel();
        }
    }

    /// Why the last statement was cancelled.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.lock().reason
    }

    /// Remembers that the client has gone, and cancels what it runs.
    pub(super) fn leave(&self) {
        self.gone.cancel();
        self.cancel(Reason::Gone);
    }

    pub(super) fn has_left(&self) -> bool {
        self.gone.is_cancelled()
    }
}

/// All connections with a user.
#[derive(Default)]
pub(super) struct Backends {
    all: Mutex<BTreeMap<i32, Arc<Backend>>>,
}

impl Backends {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Backend>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. `None` if there are already `most` of them.
    pub(super) fn add(self: &Arc<Self>, most: usize) -> Option<Registration> {
        let mut all = self.lock();
        if all.len() >= most {
            return None;
        }
        let pid = loop {
            let pid = rand::random::<i32>() & i32::MAX;
            if pid > 0 && !all.contains_key(&pid) {
                break pid;
            }
        };
        let backend = Arc::new(Backend {
            pid,
            secret: rand::random(),
            running: Mutex::default(),
            gone: CancellationToken::new(),
        });
        all.insert(pid, Arc::clone(&backend));
        Some(Registration {
            backends: Arc::clone(self),
            backend,
        })
    }

    /// Cancels the statement of a connection whose secret, or its first four bytes, is `secret`.
    pub(super) fn cancel(&self, pid: i32, secret: &[u8]) {
        let found = self.lock().get(&pid).cloned();
        let Some(backend) = found else { return };
        let is_length = [SHORT_SECRET_BYTES, SECRET_BYTES].contains(&secret.len());
        // Takes the same time wherever the first difference is.
        let differences = backend.secret.iter().zip(secret);
        let differences = differences.fold(0, |all, (a, b)| all | (a ^ b));
        if is_length && differences == 0 {
            backend.cancel(Reason::Request);
        }
    }

    /// Cancels every statement.
    pub(super) fn cancel_all(&self, reason: Reason) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        all.iter().for_each(|backend| backend.cancel(reason));
    }
}

/// Removes its connection when it is dropped.
pub(super) struct Registration {
    backends: Arc<Backends>,
    pub(super) backend: Arc<Backend>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.backends.lock().remove(&self.backend.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(backends: &Arc<Backends>) -> Registration {
        backends.add(2).unwrap()
    }

    #[test]
    fn only_the_secret_cancels() {
        let backends = Arc::new(Backends::default());
        let added = backend(&backends);
        let token = added.backend.begin();
        let secret = added.backend.secret;
        let mut wrong = secret;
        wrong[31] ^= 1;
        for secret in [&wrong[..], &secret[..3], &secret[..31], &[]] {
            backends.cancel(added.backend.pid, secret);
            assert!(!token.is_cancelled());
        }
        backends.cancel(added.backend.pid, &secret[..4]);
        assert!(token.is_cancelled());
        let next = added.backend.begin();
        backends.cancel(added.backend.pid, &secret);
        assert!(next.is_cancelled());
        added.backend.end();
        assert_eq!(added.backend.reason(), Some(Reason::Request));
    }

    #[test]
    fn connections_are_counted_until_they_end() {
        let backends = Arc::new(Backends::default());
        let first = backend(&backends);
        let _second = backend(&backends);
        assert!(backends.add(2).is_none());
        drop(first);
        assert!(backends.add(2).is_some());
    }

    #[test]
    fn nothing_runs_for_a_client_that_has_gone() {
        let backends = Arc::new(Backends::default());
        let added = backend(&backends);
        let token = added.backend.begin();
        added.backend.leave();
        assert!(token.is_cancelled());
        assert!(added.backend.begin().is_cancelled());
        assert_eq!(added.backend.reason(), Some(Reason::Gone));
    }
}
