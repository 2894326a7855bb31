//! The connections that are served, and what each of them runs.
//!
//! Invariant: a statement that has begun can be cancelled from outside its connection until it ends,
//! and a cancel request from the network must have the connection's secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tidegate::{CancellationToken, Progress};

use super::fault::Fault;
use super::reply::Block;
use super::settings::Settings;
use super::users::{Role, User};

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
    /// `pg_terminate_backend`
    Terminated,
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
            Self::Terminated => "an administrator ended the connection",
            Self::Shutdown => "the server stops",
        }
    }
}

/// Who has a connection.
pub(super) struct Client {
    pub(super) user: String,
    pub(super) database: String,
    pub(super) address: SocketAddr,
    pub(super) settings: Arc<Mutex<Settings>>,
}

/// A connection.
pub(super) struct Backend {
    pub(super) pid: i32,
    pub(super) secret: [u8; SECRET_BYTES],
    pub(super) client: Client,
    pub(super) started: DateTime<Utc>,
    running: Mutex<Running>,
    /// Cancelled when the client has gone.
    gone: CancellationToken,
    /// Cancelled when the connection has to end.
    pub(super) terminated: CancellationToken,
}

/// The statement that runs, or the last one.
struct Running {
    token: CancellationToken,
    reason: Option<Reason>,
    is_running: bool,
    text: Arc<str>,
    since: DateTime<Utc>,
    progress: Option<Progress>,
    block: Block,
}

/// What a connection does.
pub(super) struct Activity {
    pub(super) state: &'static str,
    /// The statement that runs, or the last one. It may hold a secret.
    pub(super) text: Arc<str>,
    pub(super) since: DateTime<Utc>,
    /// The progress of the statement, if it runs and returns no rows.
    pub(super) progress: Option<Progress>,
}

impl Backend {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a statement, and returns the token that cancels it.
    pub(super) fn begin(&self, text: &Arc<str>) -> CancellationToken {
        let mut running = self.lock();
        *running = Running {
            token: CancellationToken::new(),
            reason: None,
            is_running: true,
            text: Arc::clone(text),
            since: Utc::now(),
            progress: None,
            block: running.block,
        };
        if self.gone.is_cancelled() {
            running.reason = Some(Reason::Gone);
            running.token.cancel();
        }
        running.token.clone()
    }

    /// Ends the statement.
    pub(super) fn end(&self) {
        let mut running = self.lock();
        running.is_running = false;
        running.progress = None;
    }

    /// Lets others see the progress of the statement.
    pub(super) fn watch(&self, progress: &Progress) {
        self.lock().progress = Some(progress.clone());
    }

    /// Remembers whether the connection is in a transaction.
    pub(super) fn set_block(&self, block: Block) {
        self.lock().block = block;
    }

    pub(super) fn activity(&self) -> Activity {
        let running = self.lock();
        let state = match (running.is_running, running.block) {
            (true, _) => "active",
            (false, Block::None) => "idle",
            (false, Block::Open) => "idle in transaction",
            (false, Block::Failed) => "idle in transaction (aborted)",
        };
        Activity {
            state,
            text: Arc::clone(&running.text),
            since: running.since,
            progress: running.progress.clone(),
        }
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
    pub(super) fn add(self: &Arc<Self>, most: usize, client: Client) -> Option<Registration> {
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
            client,
            started: Utc::now(),
            running: Mutex::new(Running {
                token: CancellationToken::new(),
                reason: None,
                is_running: false,
                text: Arc::from(""),
                since: Utc::now(),
                progress: None,
                block: Block::None,
            }),
            gone: CancellationToken::new(),
            terminated: CancellationToken::new(),
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
        self.list()
            .iter()
            .for_each(|backend| backend.cancel(reason));
    }

    /// All connections.
    pub(super) fn list(&self) -> Vec<Arc<Backend>> {
        self.lock().values().cloned().collect()
    }

    /// Cancels what a connection runs, or ends it. Returns whether there is such a connection.
    ///
    /// # Errors
    /// 42501 if it is another user's, and `user` is no administrator.
    pub(super) fn stop(&self, pid: i32, user: &User, reason: Reason) -> Result<bool, Fault> {
        let Some(backend) = self.lock().get(&pid).cloned() else {
            return Ok(false);
        };
        if user.role != Role::Admin && backend.client.user != user.name {
            let why = "only administrators stop what other users run";
            return Err(Fault::new("42501", why));
        }
        backend.cancel(reason);
        if reason == Reason::Terminated {
            backend.terminated.cancel();
        }
        Ok(true)
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
        backends.add(2, client()).unwrap()
    }

    fn client() -> Client {
        Client {
            user: "u".to_owned(),
            database: "d".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            settings: Arc::default(),
        }
    }

    #[test]
    fn only_the_secret_cancels() {
        let backends = Arc::new(Backends::default());
        let added = backend(&backends);
        let token = added.backend.begin(&Arc::from(""));
        let secret = added.backend.secret;
        let mut wrong = secret;
        wrong[31] ^= 1;
        for secret in [&wrong[..], &secret[..3], &secret[..31], &[]] {
            backends.cancel(added.backend.pid, secret);
            assert!(!token.is_cancelled());
        }
        backends.cancel(added.backend.pid, &secret[..4]);
        assert!(token.is_cancelled());
        let next = added.backend.begin(&Arc::from(""));
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
        assert!(backends.add(2, client()).is_none());
        drop(first);
        assert!(backends.add(2, client()).is_some());
    }

    #[test]
    fn nothing_runs_for_a_client_that_has_gone() {
        let backends = Arc::new(Backends::default());
        let added = backend(&backends);
        let token = added.backend.begin(&Arc::from(""));
        added.backend.leave();
        assert!(token.is_cancelled());
        assert!(added.backend.begin(&Arc::from("")).is_cancelled());
        assert_eq!(added.backend.reason(), Some(Reason::Gone));
    }
}
