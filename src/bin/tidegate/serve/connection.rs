//! One connection of a client: it reads messages and answers them.
//!
//! Invariant: messages are answered in order. While a statement runs, the socket is read on, so that
//! a client that has gone cancels it; but only as many messages are kept as their limit allows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate::{CancellationToken, Session};
use tidegate_extensions::format::postgres::ValueFormat;
use tidegate_extensions::sql::ScriptStatement;
use tokio::io::{AsyncRead, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::backends::{Backend, Client, Reason, Registration, SHORT_SECRET_BYTES};
use super::fault::{Fault, Stop};
use super::login::{NEWEST_MINOR, Request, authenticate, negotiate};
use super::message::{MOST_LOGIN_BYTES, Message, Named, Reader};
use super::pg_catalog::{CatalogPlan, CatalogQuery, Numbers, Objects, with_functions};
use super::portal::{Cursor, Plan, Portal, Prepared};
use super::reply::{Block, Replies, push_text};
use super::server::Server;
use super::settings::Settings;
use super::tls::Socket;
use super::users::User;

/// What a message takes besides its bytes.
const MESSAGE_BYTES: usize = 256;

/// How long a client that is told the last error may take to read it.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the answer to a wrong password takes.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_millis(500);

/// Serves a client until it or the server ends the connection.
pub(super) async fn serve(server: Arc<Server>, tcp: TcpStream, client: SocketAddr) {
    let starting = tokio::time::timeout(server.limits.login, start(&server, tcp, client));
    let Ok(Some((mut connection, _registration))) = starting.await else {
        return;
    };
    connection.server.counters.connections.add(1);
    connection.run().await;
}

/// Starts a connection, up to the first `ReadyForQuery`. `None` if it has ended already.
async fn start(
    server: &Arc<Server>,
    tcp: TcpStream,
    client: SocketAddr,
) -> Option<(Connection, Registration)> {
    let (socket, message) = negotiate(tcp, server.tls.as_ref()).await.ok()?;
    let is_encrypted = socket.is_encrypted();
    let (read, write) = tokio::io::split(socket);
    let mut reader = Reader::new(read, MOST_LOGIN_BYTES);
    let mut replies = Replies::new(write);
    let transport = (client, is_encrypted);
    let started = log_in(server, &mut reader, &mut replies, message, transport).await;
    let fault = match started {
        Ok(None) | Err(Stop::Gone) => return None,
        Ok(Some(login)) => {
            let (mut connection, registration) = Connection::new(server, login, reader, replies);
            return match connection.welcome().await {
                Ok(()) => Some((connection, registration)),
                Err(Stop::Gone) => None,
                Err(Stop::Fault(fault)) => {
                    farewell(&mut connection.replies, &fault).await;
                    None
                }
            };
        }
        Err(Stop::Fault(fault)) => fault,
    };
    if fault.sqlstate == "28P01" {
        tracing::warn!(%client, "a log-in failed");
        server.counters.failed_logins.add(1);
        tokio::time::sleep(WRONG_PASSWORD_DELAY).await;
    }
    farewell(&mut replies, &fault).await;
    None
}

/// Tells a client why its connection ends, and ends it.
async fn farewell(replies: &mut Replies<WriteHalf<Socket>>, fault: &Fault) {
    let fatal = Fault {
        is_fatal: true,
        ..fault.clone()
    };
    replies.fault(&fatal, "");
    let _ = tokio::time::timeout(FAREWELL, replies.flush()).await;
    let _ = tokio::time::timeout(FAREWELL, replies.close()).await;
}

/// A client that has logged in.
struct Login {
    user: User,
    session: Session,
    settings: Arc<Mutex<Settings>>,
    minor: u16,
    registration: Registration,
}

async fn log_in(
    server: &Arc<Server>,
    reader: &mut Reader<ReadHalf<Socket>>,
    replies: &mut Replies<WriteHalf<Socket>>,
    message: bytes::Bytes,
    (address, is_encrypted): (SocketAddr, bool),
) -> Result<Option<Login>, Stop> {
    let startup = match Request::parse(message)? {
        Request::Cancel { pid, secret } => {
            server.backends.cancel(pid, &secret);
            return Ok(None);
        }
        Request::Session(startup) => startup,
    };
    if server.tls.is_some() && !is_encrypted {
        let why = "this server serves only encrypted connections";
        return Err(Fault::fatal("28000", why)
            .with_hint("connect with sslmode=require")
            .into());
    }
    if startup.minor > NEWEST_MINOR || !startup.unsupported.is_empty() {
        replies.message(b'v', |body| {
            let newest = 3 << 16 | u32::from(startup.minor.min(NEWEST_MINOR));
            body.extend_from_slice(&newest.to_be_bytes());
            let count = u32::try_from(startup.unsupported.len()).unwrap_or(u32::MAX);
            body.extend_from_slice(&count.to_be_bytes());
            for option in &startup.unsupported {
                push_text(body, option);
            }
        });
    }
    let user = authenticate(
        reader,
        replies,
        &startup.user,
        &server.users,
        &server.nobody,
    )
    .await?;
    let mut settings = Settings::default();
    settings.fix("session_authorization", &user.name);
    for (name, value) in &startup.settings {
        settings.start_with(name, value)?;
    }
    let settings = Arc::new(Mutex::new(settings));
    let database = match startup.database.as_str() {
        "" => user.name.clone(),
        name => name.to_owned(),
    };
    let most = server.limits.connections;
    let client = Client {
        user: user.name.clone(),
        database: database.clone(),
        address,
        settings: Arc::clone(&settings),
    };
    let registration = server.backends.add(most, client).ok_or_else(|| {
        Fault::fatal(
            "53300",
            format!("the server already has {most} connections"),
        )
        .with_hint("tidegate serve --max-connections sets the limit")
    })?;
    let session = new_session(server, &user, &registration.backend, &settings)?;
    Ok(Some(Login {
        user,
        session,
        settings,
        minor: startup.minor,
        registration,
    }))
}

/// A session of a client.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) user: User,
    pub(super) session: Session,
    settings: Arc<Mutex<Settings>>,
    /// The settings that the client was told.
    told: BTreeMap<&'static str, String>,
    /// The planner's.
    time_zone: String,
    pub(super) backend: Arc<Backend>,
    /// The numbers of its objects in the catalog.
    numbers: Numbers,
    minor: u16,
    inbox: mpsc::UnboundedReceiver<Received>,
    reading: JoinHandle<()>,
    pub(super) replies: Replies<WriteHalf<Socket>>,
    pub(super) block: Block,
    /// The savepoints of the block, in order.
    pub(super) savepoints: Vec<String>,
    /// The block's client was told that statements take effect at once.
    pub(super) is_warned: bool,
    /// Messages are ignored until `Sync`.
    is_skipping: bool,
    pub(super) statements: BTreeMap<String, Prepared>,
    pub(super) portals: BTreeMap<String, Portal>,
    pub(super) cursors: BTreeMap<String, NamedCursor>,
}

/// A cursor of `DECLARE`.
pub(super) struct NamedCursor {
    pub(super) rows: Cursor,
    pub(super) binary: bool,
    pub(super) hold: bool,
    /// Its transaction was committed.
    pub(super) is_kept: bool,
}

impl NamedCursor {
    /// The forms of its values.
    pub(super) fn formats(&self) -> Vec<ValueFormat> {
        let columns = self
            .rows
            .columns()
            .map_or(0, |columns| columns.fields().len());
        match self.binary {
            true => vec![ValueFormat::Binary; columns],
            false => Vec::new(),
        }
    }
}

/// A message, and its share of the memory for messages.
struct Received {
    message: Result<Message, Fault>,
    _share: Option<OwnedSemaphorePermit>,
}

/// A statement that runs. Its token is not cancelled any more after this is dropped.
pub(super) struct Running {
    pub(super) token: CancellationToken,
    backend: Arc<Backend>,
    timer: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.backend.end();
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Reads messages while the connection answers others.
async fn read_messages<R: AsyncRead + Unpin>(
    mut reader: Reader<R>,
    messages: mpsc::UnboundedSender<Received>,
    backend: Arc<Backend>,
    most_bytes: usize,
) {
    let room = Arc::new(Semaphore::new(most_bytes.min(Semaphore::MAX_PERMITS)));
    loop {
        let (message, length) = match reader.next().await {
            Ok(None) => break,
            Ok(Some((message, length))) => (Ok(message), length),
            Err(fault) => (Err(fault), 0),
        };
        let is_last = message.is_err();
        let share = (length + MESSAGE_BYTES).min(most_bytes);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let share = Arc::clone(&room).acquire_many_owned(share).await.ok();
        let received = Received {
            message,
            _share: share,
        };
        if messages.send(received).is_err() || is_last {
            return;
        }
    }
    backend.leave();
}

impl Connection {
    fn new(
        server: &Arc<Server>,
        login: Login,
        mut reader: Reader<ReadHalf<Socket>>,
        replies: Replies<WriteHalf<Socket>>,
    ) -> (Self, Registration) {
        let backend = Arc::clone(&login.registration.backend);
        // Bounded by the shares of the messages.
        let (messages, inbox) = mpsc::unbounded_channel();
        let most_bytes = server.limits.message_bytes;
        reader.allow(most_bytes);
        let reading = read_messages(reader, messages, Arc::clone(&backend), most_bytes);
        let connection = Self {
            server: Arc::clone(server),
            user: login.user,
            session: login.session,
            settings: login.settings,
            told: BTreeMap::new(),
            time_zone: "UTC".to_owned(),
            backend,
            numbers: Numbers::default(),
            minor: login.minor,
            inbox,
            reading: tokio::spawn(reading),
            replies,
            block: Block::None,
            savepoints: Vec::new(),
            is_warned: false,
            is_skipping: false,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            cursors: BTreeMap::new(),
        };
        (connection, login.registration)
    }

    /// Tells the client the settings and its key.
    async fn welcome(&mut self) -> Result<(), Stop> {
        self.tell_settings();
        let (pid, secret) = (self.backend.pid, self.backend.secret);
        let has_long_secret = self.minor >= NEWEST_MINOR;
        self.replies.message(b'K', |body| {
            body.extend_from_slice(&pid.to_be_bytes());
            body.extend_from_slice(match has_long_secret {
                true => &secret,
                false => &secret[..SHORT_SECRET_BYTES],
            });
        });
        self.replies.ready(self.block);
        Ok(self.replies.flush().await?)
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the client the settings that have changed.
    fn tell_settings(&mut self) {
        let reported = self.settings().reported();
        for (name, value) in &reported {
            if self.told.get(name) == Some(value) {
                continue;
            }
            self.replies.parameter_status(name, value);
        }
        self.told = reported;
    }

    /// Tells the planner the time zone.
    async fn apply_time_zone(&mut self) -> Result<(), Stop> {
        let zone = self.settings().get("timezone").unwrap_or_default();
        if zone != self.time_zone {
            let set = format!("SET TIME ZONE = '{}'", zone.replace('\'', "''"));
            self.session.execute(&set).await?;
            self.time_zone = zone;
        }
        Ok(())
    }

    /// Makes a new session, without the tables and settings of the old one.
    pub(super) fn renew_session(&mut self) -> Result<(), Fault> {
        self.session = new_session(&self.server, &self.user, &self.backend, &self.settings)?;
        self.time_zone = "UTC".to_owned();
        Ok(())
    }

    /// Answers messages until the client has gone or the server stops.
    async fn run(&mut self) {
        loop {
            let message = match self.next_message().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(fault) => return farewell(&mut self.replies, &fault).await,
            };
            let answered = self.answer(message).await;
            match answered {
                Ok(()) => {}
                Err(Stop::Gone) => return,
                Err(Stop::Fault(fault)) => return farewell(&mut self.replies, &fault).await,
            }
            if self.backend.has_left() {
                return;
            }
        }
    }

    /// The next message; `None` if the client has gone.
    async fn next_message(&mut self) -> Result<Option<Message>, Fault> {
        let (limit, sqlstate) = match self.block {
            Block::None => ("idle_session_timeout", "57P05"),
            Block::Open | Block::Failed => ("idle_in_transaction_session_timeout", "25P03"),
        };
        let limit = self.settings().duration(limit);
        let timeout = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let received = tokio::select! {
            biased;
            () = self.server.stopping.cancelled() => {
                return Err(Fault::fatal("57P01", "the server stops"));
            }
            () = self.backend.terminated.cancelled() => {
                let why = "terminating connection due to administrator command";
                return Err(Fault::fatal("57P01", why));
            }
            received = self.inbox.recv() => received,
            () = timeout => {
                return Err(Fault::fatal(sqlstate, "the connection was idle for too long"));
            }
        };
        match received {
            Some(received) => match received.message? {
                Message::Terminate => Ok(None),
                message => Ok(Some(message)),
            },
            None => Ok(None),
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Sync => {
                self.is_skipping = false;
                if self.block == Block::None {
                    self.portals.clear();
                }
                self.statements
                    .values_mut()
                    .for_each(|statement| statement.plan = None);
                return self.get_ready().await;
            }
            _ if self.is_skipping => return Ok(()),
            Message::Query(text) => {
                let done = self.simple_query(&text).await;
                self.report(done, &text).await?;
                return self.get_ready().await;
            }
            Message::Refused {
                fault,
                is_query: true,
            } => {
                self.report(Err(fault.into()), "").await?;
                return self.get_ready().await;
            }
            Message::Flush => return Ok(self.replies.flush().await?),
            _ => {}
        }
        let text = self.text_of(&message);
        let done = self.extended(message).await;
        self.is_skipping = done.is_err();
        self.report(done, &text).await
    }

    /// The text that the places of a message's errors are in.
    fn text_of(&self, message: &Message) -> Arc<str> {
        let none = || Arc::from("");
        match message {
            Message::Parse { query, .. } => Arc::from(query.as_str()),
            Message::Bind(bind) => {
                let statement = self.statements.get(&bind.statement);
                statement.map_or_else(none, |statement| Arc::clone(&statement.text))
            }
            Message::Describe(Named::Statement(name)) => {
                let statement = self.statements.get(name);
                statement.map_or_else(none, |statement| Arc::clone(&statement.text))
            }
            Message::Describe(Named::Portal(name)) | Message::Execute { portal: name, .. } => {
                let portal = self.portals.get(name);
                portal.map_or_else(none, |portal| Arc::clone(&portal.text))
            }
            _ => none(),
        }
    }

    /// Tells the client an error, unless it ends the connection.
    async fn report(&mut self, done: Result<(), Stop>, text: &str) -> Result<(), Stop> {
        let fault = match done {
            Err(Stop::Fault(fault)) if !fault.is_fatal => fault,
            other => return other,
        };
        self.replies.fault(&fault, text);
        self.server.counters.errors.add(1);
        if self.block == Block::Open {
            self.block = Block::Failed;
            self.portals.clear();
        }
        // A client of a pipeline may wait for it before it sends more.
        Ok(self.replies.flush().await?)
    }

    async fn get_ready(&mut self) -> Result<(), Stop> {
        self.tell_settings();
        self.replies.ready(self.block);
        self.backend.set_block(self.block);
        Ok(self.replies.flush().await?)
    }

    /// Begins a statement. `text` is what others see of it.
    pub(super) fn begin(&self, text: &Arc<str>) -> Running {
        let token = self.backend.begin(text);
        let timeout = self.settings().duration("statement_timeout");
        let timer = timeout.map(|timeout| {
            let (backend, token) = (Arc::clone(&self.backend), token.clone());
            tokio::spawn(async move {
                tokio::time::sleep(timeout).await;
                backend.cancel_only(&token, Reason::Timeout);
            })
        });
        Running {
            token,
            backend: Arc::clone(&self.backend),
            timer,
        }
    }

    /// Plans a statement, unless it is cancelled.
    pub(super) async fn plan(
        &mut self,
        statement: ScriptStatement,
        token: &CancellationToken,
    ) -> Result<Plan, Stop> {
        if let Some(query) = CatalogQuery::of(&statement) {
            return Ok(Plan::Catalog(self.plan_catalog(&query, &[]).await?));
        }
        self.apply_time_zone().await?;
        let mentions_catalog = CatalogQuery::mentions(&statement);
        let planned = tokio::select! {
            planned = self.session.plan(statement) => planned,
            () = token.cancelled() => return Err(cancelled().into()),
        };
        let planned = planned.map_err(|error| match Fault::from(error) {
            fault if fault.sqlstate == "42P01" && mentions_catalog => {
                let hint =
                    "the system catalog is read by queries of it alone: without tables or COPY";
                fault.with_hint(hint)
            }
            fault => fault,
        })?;
        // Planning may have taken a worker for long.
        match token.is_cancelled() {
            true => Err(cancelled().into()),
            false => Ok(Plan::Statement(planned)),
        }
    }

    /// Plans a query of the catalog, with the types that the client has declared for its parameters.
    pub(super) async fn plan_catalog(
        &mut self,
        query: &CatalogQuery,
        types: &[u32],
    ) -> Result<CatalogPlan, Stop> {
        let objects = Objects::new(&self.server, &self.settings, &self.user, &self.backend);
        let objects = objects
            .with_tables(&self.session, &mut self.numbers)
            .await?;
        Ok(query.plan(Arc::new(objects), types)?)
    }

    /// Starts a planned statement, unless it is cancelled.
    pub(super) async fn start(
        &mut self,
        plan: Plan,
        token: &CancellationToken,
    ) -> Result<Cursor, Stop> {
        let planned = match plan {
            Plan::Statement(planned) => planned,
            Plan::Catalog(plan) => return self.start_catalog(plan, token).await,
        };
        if planned.has_effect() {
            let in_block = self.block != Block::None;
            let words = planned.tag_words();
            if self.settings().is_read_only(in_block) {
                let why = format!("cannot execute {words} in a read-only transaction");
                return Err(Fault::new("25006", why).into());
            }
            self.warn_in_block(words);
        }
        let copy_out = planned.copy_out();
        let execution = tokio::select! {
            started = self.session.start_planned(planned) => started?,
            () = token.cancelled() => return Err(cancelled().into()),
        };
        if !execution.returns_rows() {
            self.backend.watch(execution.progress());
        }
        Ok(Cursor::new(execution.cancelled_by(token.clone()), copy_out))
    }

    async fn start_catalog(
        &mut self,
        plan: CatalogPlan,
        token: &CancellationToken,
    ) -> Result<Cursor, Stop> {
        let cancelled_by = token.clone();
        let rows = tokio::task::spawn_blocking(move || plan.run(&cancelled_by)).await;
        let rows = rows.map_err(|error| Fault::new("XX000", error.to_string()))?;
        let execution = self.session.start_rows(rows?)?;
        Ok(Cursor::new(execution.cancelled_by(token.clone()), None))
    }

    /// Warns the client, once in each block, that a rollback will not undo a statement.
    fn warn_in_block(&mut self, words: &str) {
        if self.block == Block::Open && !self.is_warned {
            self.is_warned = true;
            let why = format!(
                "{words} takes effect at once: statements are transactions of their own, and ROLLBACK does not undo them"
            );
            self.replies.notice("WARNING", "01000", &why);
        }
    }

    /// Adds the reason to the error of a cancelled statement.
    pub(super) fn with_reason(&self, stop: Stop) -> Stop {
        match stop {
            Stop::Fault(mut fault) if fault.sqlstate == "57014" => {
                fault.location = None;
                if let Some(reason) = self.backend.reason() {
                    fault.message = format!("{}: {}", fault.message, reason.text());
                }
                Stop::Fault(fault)
            }
            other => other,
        }
    }
}

fn cancelled() -> Fault {
    Fault::new("57014", "the statement was cancelled")
}

fn new_session(
    server: &Arc<Server>,
    user: &User,
    backend: &Backend,
    settings: &Arc<Mutex<Settings>>,
) -> Result<Session, Fault> {
    let session = server.engine.session_with(server.access(user.role))?;
    let context = session.context();
    server.shared_tables.add_to(&session)?;
    // The database has the name that the client calls it.
    let default = &context
        .state()
        .config_options()
        .catalog
        .default_catalog
        .clone();
    if let Some(catalog) = context.catalog(default) {
        context.register_catalog(&backend.client.database, catalog);
    }
    let objects = Objects::new(server, settings, user, backend);
    with_functions(&session, &Arc::new(objects));
    Ok(session)
}
