//! `tidegate serve`: Tidegate's statements for any client of PostgreSQL.
//!
//! Invariant: a client gets only what its user may have, and what it leaves behind is cleaned up.
//!
//! | module | what it does |
//! |---|---|
//! | `server` | listens, limits, stops |
//! | `connection` | reads and answers the messages of a client |
//! | `query`, `commands` | statements for the planner, and about the session |
//! | `login`, `scram`, `users`, `tls` | who gets in |
//! | `message`, `reply`, `fault`, `parameters` | the protocol's messages and values |
//! | `portal`, `settings`, `functions`, `backends` | the state of sessions |

mod backends;
mod commands;
mod connection;
mod counters;
mod fault;
mod http;
mod login;
mod message;
mod parameters;
mod pg_catalog;
mod portal;
mod query;
mod reply;
mod scram;
mod server;
mod settings;
mod shared_tables;
mod tls;
mod users;

use std::io::{BufRead, IsTerminal};
use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use chrono::Utc;
use clap::{Args, Subcommand};
use tidegate::{Access, CancellationToken, Engine, Error, ErrorKind, Result};

use self::backends::Backends;
use self::counters::Counters;
use self::server::{Limits, Server, random_password};
use self::shared_tables::SharedTables;
use self::tls::Tls;
use self::users::{Role, User, UsersFile};

/// How `tidegate serve` serves.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:6875", value_name = "ADDRESS")]
    listen: SocketAddr,

    #[command(flatten)]
    users: UsersOption,

    /// Where /healthz and /metrics are; "off" for nowhere [default: the next port, on loopback]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<Http>,

    /// Run this script first; all sessions share the tables and views that it makes
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,

    /// The certificate, and those of its issuers, in PEM; required beyond loopback
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// How many clients may be connected
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_connections: usize,

    /// The longest message of a client
    #[arg(long, default_value = "64MB", value_name = "SIZE", value_parser = parse_size)]
    max_message: usize,

    /// How long a log-in may take
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    login_timeout: u64,

    /// How long statements may run on when the server stops
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    grace: u64,

    /// Let clients read and write files of this machine
    #[arg(long)]
    allow_local_files: bool,

    /// Let administrators use this program's credentials: its environment, secrets in files, profiles
    /// and AWS's credential chain
    #[arg(long)]
    allow_own_credentials: bool,

    /// Let administrators make connections to stores other than AWS
    #[arg(long)]
    allow_endpoints: bool,
}

/// Where metrics are shown.
#[derive(Debug, Clone, Copy)]
enum Http {
    Off,
    At(SocketAddr),
}

impl FromStr for Http {
    type Err = AddrParseError;

    fn from_str(text: &str) -> std::result::Result<Self, AddrParseError> {
        match text {
            "off" => Ok(Self::Off),
            address => address.parse().map(Self::At),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct UsersOption {
    /// The file of users [default: in the user's configuration directory]
    #[arg(long, env = "TIDEGATE_USERS", value_name = "PATH")]
    users: Option<PathBuf>,
}

impl UsersOption {
    fn file(&self) -> Result<UsersFile> {
        let in_config = || Some(dirs::config_dir()?.join("tidegate").join("users"));
        let path = self.users.clone().or_else(in_config);
        path.map(UsersFile::new).ok_or_else(|| {
            let why = "there is no home directory to keep users in";
            Error::new(ErrorKind::InvalidParameter, why).with_hint("give --users PATH")
        })
    }
}

fn parse_size(text: &str) -> std::result::Result<usize, String> {
    let bytes = tidegate_extensions::plan::parse_bytes(text)?;
    usize::try_from(bytes).map_err(|_| "is too large".to_owned())
}

/// Serves until a signal arrives, and returns the signal's number.
///
/// # Errors
/// As for [`Server::run`]; a certificate can't be used.
pub(crate) async fn serve(engine: Engine, options: &ServeOptions) -> Result<u8> {
    let tls = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::load(certificate.clone(), key.clone())?),
        _ => None,
    };
    let mut rights = Access::none();
    rights.local_files = options.allow_local_files;
    rights.own_credentials = options.allow_own_credentials;
    rights.endpoints = options.allow_endpoints;
    let shared_tables = match &options.init {
        Some(path) => SharedTables::from_script(&engine, path).await?,
        None => SharedTables::default(),
    };
    let server = Arc::new(Server {
        engine,
        shared_tables,
        users: options.users.file()?,
        tls,
        limits: Limits {
            connections: options.max_connections,
            message_bytes: options.max_message,
            login: Duration::from_secs(options.login_timeout),
            grace: Duration::from_secs(options.grace),
        },
        backends: Arc::new(Backends::default()),
        rights,
        nobody: rand::random(),
        stopping: CancellationToken::new(),
        started: Utc::now(),
        counters: Counters::default(),
        port: AtomicU16::new(0),
    });
    let http = match options.http {
        Some(Http::Off) => None,
        Some(Http::At(address)) => Some(address),
        None => {
            // The next port, on this machine's loopback; a free one beside a free one.
            let port = match options.listen.port() {
                0 => 0,
                port => port.checked_add(1).unwrap_or(0),
            };
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        }
    };
    server.run(options.listen, http).await
}

/// What `tidegate user` does.
#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Add a user, or set another password; the password is asked for, or read from standard input
    Add {
        /// The user's name
        name: String,

        /// What the user may do
        #[arg(long, value_enum, default_value = "user")]
        role: Role,

        /// Make a password and print it
        #[arg(long)]
        generate: bool,

        #[command(flatten)]
        users: UsersOption,
    },
    /// Remove a user
    Remove {
        /// The user's name
        name: String,

        #[command(flatten)]
        users: UsersOption,
    },
    /// List the users
    List {
        #[command(flatten)]
        users: UsersOption,
    },
}

/// Changes or lists the users of the server.
///
/// # Errors
/// The file of users can't be read or written, or the passwords differ.
pub(crate) fn manage_users(action: &UserAction) -> Result<()> {
    match action {
        UserAction::Add {
            name,
            role,
            generate,
            users,
        } => {
            let password = match generate {
                true => random_password(),
                false => ask_password(name)?,
            };
            let changed = users.file()?.set(User::new(name, *role, &password))?;
            println!("{} {name}", if changed { "changed" } else { "added" });
            if *generate {
                println!("{password}");
            }
        }
        UserAction::Remove { name, users } => {
            if !users.file()?.remove(name)? {
                let why = format!("there is no user {name}");
                return Err(Error::new(ErrorKind::UndefinedObject, why));
            }
            println!("removed {name}");
        }
        UserAction::List { users } => {
            for user in users.file()?.read()? {
                println!("{}\t{}", user.name, user.role.name());
            }
        }
    }
    Ok(())
}

/// Asks twice on a terminal. Otherwise the password is the first line of standard input.
fn ask_password(name: &str) -> Result<String> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("can't read the password: {error}"))
    };
    let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidParameter, why));
    let password = if std::io::stdin().is_terminal() {
        let ask = |question: String| rpassword::prompt_password(question).map_err(failed);
        let password = ask(format!("Password of {name}: "))?;
        if ask("Again: ".to_owned())? != password {
            return invalid("the passwords differ");
        }
        password
    } else {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(failed)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    match password.is_empty() {
        true => invalid("the password is empty"),
        false => Ok(password),
    }
}
