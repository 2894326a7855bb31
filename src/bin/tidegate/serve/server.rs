//! The server: what its connections share, and its life from start to stop.
//!
//! Invariant: it listens only if nobody can get in without proof: beyond loopback it needs users and
//! a certificate. When it stops, every statement has ended or been cancelled, and exports are cleaned
//! up.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tidegate::{Access, CLEAN_UP, CancellationToken, Engine, Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::backends::{Backends, Reason};
use super::connection;
use super::counters::Counters;
use super::http;
use super::shared_tables::SharedTables;
use super::tls::Tls;
use super::users::{Role, User, UsersFile, write_private};
use crate::print;
use crate::signals::{Ending, SIGHUP, Signals};

/// How many clients may be about to log in, besides the connections.
const MOST_STARTING: usize = 200;

/// How long the system waits before it asks a silent client whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The most time for connections to end after their statements were cancelled.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Bounds for clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) message_bytes: usize,
    pub(super) login: Duration,
    pub(super) grace: Duration,
}

/// What all connections share.
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) shared_tables: SharedTables,
    pub(super) users: UsersFile,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Limits,
    pub(super) backends: Arc<Backends>,
    /// The rights of administrators. Users have them without the right to change the catalog.
    pub(super) rights: Access,
    /// Makes up verifiers for unknown users.
    pub(super) nobody: [u8; 32],
    /// Cancelled when the server stops.
    pub(super) stopping: CancellationToken,
    pub(super) started: DateTime<Utc>,
    pub(super) counters: Counters,
    /// The port that it listens on; 0 before it does.
    pub(super) port: AtomicU16,
}

impl Server {
    /// The port that the server listens on.
    pub(super) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// What a user may do.
    pub(super) fn access(&self, role: Role) -> Access {
        let mut access = self.rights.clone();
        access.manages_catalog = role == Role::Admin;
        access
    }

    /// Listens, and serves until a signal arrives. Returns its number.
    ///
    /// # Errors
    /// The address can't be listened on, or is beyond loopback without users or a certificate.
    pub(super) async fn run(
        self: Arc<Self>,
        address: SocketAddr,
        metrics: Option<SocketAddr>,
    ) -> Result<u8> {
        let has_users = !self.users.read()?.is_empty();
        if !address.ip().is_loopback() {
            let refused = |why: &str| {
                let why = format!("{address} is not on this machine's loopback: {why}");
                Error::new(ErrorKind::InvalidParameter, why)
            };
            if self.tls.is_none() {
                return Err(refused("a certificate is required")
                    .with_hint("give --tls-certificate and --tls-key"));
            }
            if !has_users {
                return Err(
                    refused("users are required").with_hint("add them: tidegate user add NAME")
                );
            }
        }
        let failed = |error: std::io::Error| {
            let why = format!("can't listen on {address}: {error}");
            Error::new(ErrorKind::Io, why).with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        self.port.store(address.port(), Ordering::Relaxed);
        let patience = self.limits.grace + CLEAN_UP + LAST_WORDS;
        let mut signals = Signals::listen_to(Ending {
            interrupts_end: true,
            hangups_end: false,
            patience,
        });
        let metrics = match metrics {
            Some(address) => Some(http::listen(address).await?),
            None => None,
        };
        println!("listening on {address}");
        if !has_users {
            add_first_user(&self.users, address)?;
        }
        if let Some(listener) = metrics {
            let address = listener.local_addr().map_err(failed)?;
            // A program that has read the first line may have closed the pipe.
            let _ = writeln!(std::io::stdout(), "metrics on http://{address}/metrics");
            tokio::spawn(http::answer(Arc::clone(&self), listener));
        }
        let tasks = TaskTracker::new();
        let starting = Arc::new(Semaphore::new(self.limits.connections + MOST_STARTING));
        let signal = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    SIGHUP => self.reload(),
                    signal => break signal,
                },
                accepted = listener.accept() => match accepted {
                    Ok((socket, client)) => {
                        let Ok(place) = Arc::clone(&starting).try_acquire_owned() else {
                            // There is no room even to tell the client so.
                            continue;
                        };
                        prepare(&socket);
                        let server = Arc::clone(&self);
                        tasks.spawn(async move {
                            connection::serve(server, socket, client).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        // Usually too many open files. Others must end first.
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        };
        drop(listener);
        tasks.close();
        self.stop(&tasks).await;
        Ok(signal)
    }

    fn reload(&self) {
        let Some(tls) = &self.tls else { return };
        match tls.reload() {
            Ok(()) => print::complain("tidegate: the certificate was loaded again"),
            Err(error) => print::complain(&format!("tidegate: the old certificate stays: {error}")),
        }
    }

    /// Ends idle connections, lets statements run on for the grace period, and cancels the rest.
    async fn stop(&self, tasks: &TaskTracker) {
        self.stopping.cancel();
        if tokio::time::timeout(self.limits.grace, tasks.wait())
            .await
            .is_err()
        {
            self.backends.cancel_all(Reason::Shutdown);
            let _ = tokio::time::timeout(CLEAN_UP + LAST_WORDS, tasks.wait()).await;
        }
        self.engine.shutdown(CLEAN_UP).await;
    }
}

/// Sets a client's socket up. Without these settings, it works, too.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "a socket has no keepalive");
    }
}

/// The name of the user that a server without users makes.
const FIRST_USER: &str = "admin";

/// Makes an administrator, and shows how to connect: once, on a terminal or in a file that only its
/// owner can read.
fn add_first_user(users: &UsersFile, address: SocketAddr) -> Result<()> {
    let password = random_password();
    users.set(User::new(FIRST_USER, Role::Admin, &password))?;
    let url = format!("postgresql://{FIRST_USER}:{password}@{address}/tidegate");
    if std::io::stdout().is_terminal() {
        println!("There were no users yet. To connect, now and later:");
        println!("  {url}");
        return Ok(());
    }
    let path = users.path().with_extension("first");
    write_private(&path, format!("{url}\n").as_bytes()).map_err(|error| {
        let why = format!("{} can't be written: {error}", path.display());
        Error::new(ErrorKind::Io, why)
    })?;
    println!(
        "There were no users yet. How to connect is in {}",
        path.display()
    );
    Ok(())
}

/// A password of 24 letters and digits.
pub(crate) fn random_password() -> String {
    use rand::Rng;
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric);
    letters.take(24).map(char::from).collect()
}
