//! A catalog in a file that several processes share.
//!
//! Invariant: this version never writes to a file that it can't interpret (damaged, another
//! program's, or a newer version's). Each change is one transaction, which sees all earlier changes
//! of all processes. A secret is sealed for its id, version and name, so a sealed value that is
//! copied to another secret does not open. (A user who can write the file can restore a complete
//! old row.)
//!
//! The format of the file is SQLite's: <https://www.sqlite.org/fileformat2.html>

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection as Database, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::{Connection, ConnectionOption, ConnectionValue};
use super::key::{Key, KeyFile};
use super::{Catalog, Entry, Objects, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// SQLite's application id of a catalog: "TIDE" in ASCII.
const APPLICATION_ID: i32 = 0x5449_4445;

/// The statements that migrate the schema of a catalog. Item n leads from version n to n + 1.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE secrets (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        sealed BLOB NOT NULL
    ) STRICT;
    CREATE TABLE connections (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        options TEXT NOT NULL
    ) STRICT;
    -- One row: an empty value, sealed. It tells a wrong key from a damaged secret.
    CREATE TABLE key_check (sealed BLOB NOT NULL) STRICT;
"];

/// How long to wait for the transaction of another process.
const PATIENCE: Duration = Duration::from_secs(10);

const KEY_CHECK: &str = "key check";

/// Secrets and connections in a file. The first change creates the file.
pub struct FileCatalog {
    path: PathBuf,
    key: KeyFile,
    database: Mutex<Option<Database>>,
}

impl std::fmt::Debug for FileCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileCatalog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A connection's option, as stored in JSON.
#[derive(Serialize, Deserialize)]
struct StoredOption {
    name: String,
    value: StoredValue,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredValue {
    Text(String),
    Secret(String),
    Boolean(bool),
    /// Base64.
    Sealed(String),
}

/// A row of either table.
struct Row<T> {
    id: String,
    name: String,
    version: i64,
    created_at: String,
    changed_at: String,
    value: T,
}

impl FileCatalog {
    /// A catalog at `path`, with secrets sealed by `key`. No file is read or created yet.
    pub fn new(path: impl Into<PathBuf>, key: KeyFile) -> Self {
        Self {
            path: path.into(),
            key,
            database: Mutex::new(None),
        }
    }

    /// The path of the catalog's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the database. `None` if there is no file and `create` is false.
    fn open(&self, create: bool) -> Result<MutexGuard<'_, Option<Database>>> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.is_some() {
            return Ok(database);
        }
        let exists = self.path.try_exists().map_err(|error| {
            let why = format!("the catalog {} can't be accessed", self.path.display());
            Error::new(ErrorKind::Io, why).with_source(error)
        })?;
        if !exists {
            if !create {
                return Ok(database);
            }
            self.create_file()?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Database::open_with_flags(&self.path, flags);
        let mut opened = opened.map_err(|error| self.failed(error))?;
        self.migrate(&mut opened)?;
        *database = Some(opened);
        Ok(database)
    }

    /// Creates an empty file that only its owner can read.
    fn create_file(&self) -> Result<()> {
        let failed = |error| {
            let why = format!("the catalog {} can't be made", self.path.display());
            Error::new(ErrorKind::Io, why).with_source(error)
        };
        if let Some(folder) = self.path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(folder).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(&self.path).map(drop).map_err(failed)
    }

    fn migrate(&self, database: &mut Database) -> Result<()> {
        let failed = |error| self.failed(error);
        database.busy_timeout(PATIENCE).map_err(failed)?;
        let (application, version) = versions(database).map_err(failed)?;
        if application == APPLICATION_ID && version == MIGRATIONS.len() {
            return Ok(());
        }
        // Another process may be creating the schema now, so check again in a transaction.
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(failed)?;
        let (application, version) = versions(&transaction).map_err(failed)?;
        let objects = "SELECT count(*) FROM sqlite_schema";
        let objects: i64 = transaction
            .query_row(objects, [], |row| row.get(0))
            .map_err(failed)?;
        let is_new = application == 0 && version == 0 && objects == 0;
        if application != APPLICATION_ID && !is_new {
            return Err(self.refused("is a database of another program"));
        }
        if version > MIGRATIONS.len() {
            let why = format!(
                "was written by a newer version of Tidegate (its schema is {version}, this version knows {})",
                MIGRATIONS.len()
            );
            return Err(self.refused(&why).with_hint("use the newer version"));
        }
        for migration in &MIGRATIONS[version..] {
            transaction.execute_batch(migration).map_err(failed)?;
        }
        let mark = |name, value| transaction.pragma_update(None, name, value);
        mark("application_id", i64::from(APPLICATION_ID)).map_err(failed)?;
        mark("user_version", MIGRATIONS.len() as i64).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    fn load(&self, transaction: &Transaction<'_>) -> Result<Objects> {
        let failed = |error| self.failed(error);
        let mut objects = Objects::default();
        let secrets = read_rows(transaction, "secrets", "sealed").map_err(failed)?;
        for row in secrets {
            let place = secret_place(&row.id, row.version, &row.name);
            let sealed = |bytes| Secret::Sealed { bytes, place };
            let (name, entry) = self.entry(row, sealed)?;
            objects.secrets.insert(name, entry);
        }
        let connections = read_rows(transaction, "connections", "options").map_err(failed)?;
        for row in connections {
            let connection = self.read_connection(&row)?;
            let (name, entry) = self.entry(row, |_: String| connection)?;
            objects.connections.insert(name, entry);
        }
        Ok(objects)
    }

    fn entry<S, T>(&self, row: Row<S>, value: impl FnOnce(S) -> T) -> Result<(String, Entry<T>)> {
        let time = |text: &str| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
        let (Ok(id), Ok(version), Ok(created_at), Ok(changed_at)) = (
            Uuid::parse_str(&row.id),
            u64::try_from(row.version),
            time(&row.created_at),
            time(&row.changed_at),
        ) else {
            return Err(self.damaged(&row.name));
        };
        let entry = Entry {
            id,
            version,
            created_at,
            changed_at,
            value: value(row.value),
        };
        Ok((row.name, entry))
    }

    fn read_connection(&self, row: &Row<String>) -> Result<Connection> {
        let damaged = || self.damaged(&row.name);
        let options: Vec<StoredOption> =
            serde_json::from_str(&row.value).map_err(|error| damaged().with_source(error))?;
        let options = options.into_iter().map(|option| {
            let value = match option.value {
                StoredValue::Text(text) => ConnectionValue::Text(text),
                StoredValue::Secret(name) => ConnectionValue::Secret(name),
                StoredValue::Boolean(value) => ConnectionValue::Boolean(value),
                StoredValue::Sealed(bytes) => ConnectionValue::Hidden(Secret::Sealed {
                    bytes: BASE64_STANDARD.decode(bytes).map_err(|_| damaged())?,
                    place: option_place(&row.id, &option.name),
                }),
            };
            Ok(ConnectionOption {
                name: option.name,
                value,
            })
        });
        let options = options.collect::<Result<Vec<_>>>()?;
        Connection::from_remembered(row.name.clone(), options)
            .map_err(|error| damaged().with_source(error))
    }

    fn store(&self, transaction: &Transaction<'_>, old: &Objects, new: &Objects) -> Result<()> {
        let failed = |error| self.failed(error);
        let sealer = Sealer {
            catalog: self,
            transaction,
            key: std::cell::OnceCell::new(),
        };
        let secrets = changed_entries(&old.secrets, &new.secrets);
        let connections = changed_entries(&old.connections, &new.connections);
        for id in secrets.gone {
            delete_row(transaction, "secrets", id).map_err(failed)?;
        }
        for id in connections.gone {
            delete_row(transaction, "connections", id).map_err(failed)?;
        }
        for (name, entry) in secrets.changed {
            let place = secret_place(&entry.id.to_string(), entry.version as i64, name);
            let sealed = sealer.seal(&entry.value, place)?;
            write_row(transaction, "secrets", "sealed", name, entry, &sealed).map_err(failed)?;
        }
        for (name, entry) in connections.changed {
            let options = entry.value.options().iter().map(|option| {
                Ok(StoredOption {
                    name: option.name.clone(),
                    value: match &option.value {
                        ConnectionValue::Text(text) => StoredValue::Text(text.clone()),
                        ConnectionValue::Secret(name) => StoredValue::Secret(name.clone()),
                        ConnectionValue::Boolean(value) => StoredValue::Boolean(*value),
                        ConnectionValue::Hidden(secret) => {
                            let place = option_place(&entry.id.to_string(), &option.name);
                            let sealed = sealer.seal(secret, place)?;
                            StoredValue::Sealed(BASE64_STANDARD.encode(sealed))
                        }
                    },
                })
            });
            let options = options.collect::<Result<Vec<_>>>()?;
            let options = serde_json::to_string(&options).map_err(|error| {
                Error::new(ErrorKind::Internal, "a connection can't be written as JSON")
                    .with_source(error)
            })?;
            write_row(transaction, "connections", "options", name, entry, &options)
                .map_err(failed)?;
        }
        if !new.has_sealed() {
            // No sealed value is left, so another key may be used from now on.
            let forgotten = transaction.execute("DELETE FROM key_check", []);
            forgotten.map_err(failed)?;
        }
        Ok(())
    }

    /// The key that this catalog's secrets are sealed with. If nothing is sealed yet, this is the
    /// key in the key file, which is created if it does not exist.
    fn key(&self, database: &Database) -> Result<Key> {
        let check = "SELECT sealed FROM key_check";
        let check = database.prepare(check).and_then(|mut check| {
            let mut rows = check.query([])?;
            rows.next()?.map(|row| row.get::<_, Vec<u8>>(0)).transpose()
        });
        let Some(check) = check.map_err(|error| self.failed(error))? else {
            return self.key.read_or_create();
        };
        let Some(key) = self.key.read()? else {
            let error = self.key.error("is missing, so secrets can't be read");
            return Err(error.with_hint(KEEP_THE_KEY));
        };
        match key.open(&check, KEY_CHECK) {
            Some(_) => Ok(key),
            None => {
                let why = format!("is not the key of the catalog {}", self.path.display());
                Err(self.key.error(&why).with_hint(KEEP_THE_KEY))
            }
        }
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        let path = self.path.display();
        let (why, hint) = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                return self
                    .refused("is damaged, or no catalog at all")
                    .with_source(error);
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                ("is in use by another process", "try again")
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
                "can't be written",
                "check the permissions of the file and its folder",
            ),
            _ => ("can't be used", "the message ends with SQLite's own error"),
        };
        let error_text = error.to_string();
        Error::new(
            ErrorKind::Io,
            format!("the catalog {path} {why}: {error_text}"),
        )
        .with_hint(hint)
        .with_source(error)
    }

    fn refused(&self, why: &str) -> Error {
        let path = self.path.display();
        let hint = "put a backup in its place, or use another file: --catalog";
        Error::new(
            ErrorKind::DataCorrupted,
            format!("the catalog {path} {why}; it was not touched"),
        )
        .with_hint(hint)
    }

    fn damaged(&self, name: &str) -> Error {
        self.refused(&format!("is damaged at \"{name}\""))
    }
}

const KEEP_THE_KEY: &str =
    "nothing is lost: put the right key file there, or name it with --key-file";

impl Catalog for FileCatalog {
    fn objects(&self) -> Result<Objects> {
        let mut database = self.open(false)?;
        let Some(database) = database.as_mut() else {
            return Ok(Objects::default());
        };
        let transaction = database.transaction().map_err(|error| self.failed(error))?;
        self.load(&transaction)
    }

    fn change(&self, change: &mut dyn FnMut(&mut Objects) -> Result<()>) -> Result<()> {
        let mut database = self.open(true)?;
        let Some(database) = database.as_mut() else {
            return Err(Error::new(ErrorKind::Internal, "the catalog is not open"));
        };
        let failed = |error| self.failed(error);
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(failed)?;
        let old = self.load(&transaction)?;
        let mut new = old.clone();
        change(&mut new)?;
        self.store(&transaction, &old, &new)?;
        transaction.commit().map_err(failed)
    }

    fn open_secret(&self, secret: &Secret) -> Result<SecretValue> {
        let (bytes, place) = match secret {
            Secret::Plain(value) => return Ok(value.clone()),
            Secret::Sealed { bytes, place } => (bytes, place),
        };
        let database = self.open(false)?;
        let Some(database) = database.as_ref() else {
            return Err(self.refused("has vanished"));
        };
        self.key(database)?
            .open(bytes, place)
            .ok_or_else(|| self.refused("has a secret that was damaged or put in another's place"))
    }
}

/// Seals secrets. A secret that is already sealed for its place stays unchanged; for another place
/// it is sealed again.
struct Sealer<'a> {
    catalog: &'a FileCatalog,
    transaction: &'a Transaction<'a>,
    key: std::cell::OnceCell<Key>,
}

impl Sealer<'_> {
    fn seal(&self, secret: &Secret, place: String) -> Result<Vec<u8>> {
        let value = match secret {
            Secret::Sealed { bytes, place: at } if *at == place => return Ok(bytes.clone()),
            Secret::Sealed { bytes, place: at } => self.key()?.open(bytes, at),
            Secret::Plain(value) => Some(value.clone()),
        };
        let moved = || self.catalog.refused("has a secret that can't be decrypted");
        self.key()?.seal(value.ok_or_else(moved)?.expose(), &place)
    }

    fn key(&self) -> Result<&Key> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = self.catalog.key(self.transaction)?;
        // The first key that seals a value becomes the key of this catalog.
        let check = key.seal(b"", KEY_CHECK)?;
        let insert = "INSERT INTO key_check SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM key_check)";
        let inserted = self.transaction.execute(insert, [check]);
        inserted.map_err(|error| self.catalog.failed(error))?;
        Ok(self.key.get_or_init(|| key))
    }
}

fn secret_place(id: &str, version: i64, name: &str) -> String {
    format!("secret {id} {version} {name}")
}

fn option_place(connection: &str, option: &str) -> String {
    format!("connection {connection} {option}")
}

fn versions(database: &Database) -> rusqlite::Result<(i32, usize)> {
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id")?;
    let version = pragma("user_version")?;
    Ok((application as i32, version as usize))
}

fn read_rows<T: rusqlite::types::FromSql>(
    transaction: &Transaction<'_>,
    table: &str,
    value: &str,
) -> rusqlite::Result<Vec<Row<T>>> {
    let sql = format!("SELECT id, name, version, created_at, changed_at, {value} FROM {table}");
    let mut statement = transaction.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Row {
            id: row.get(0)?,
            name: row.get(1)?,
            version: row.get(2)?,
            created_at: row.get(3)?,
            changed_at: row.get(4)?,
            value: row.get(5)?,
        })
    })?;
    rows.collect()
}

fn write_row<T>(
    transaction: &Transaction<'_>,
    table: &str,
    column: &str,
    name: &str,
    entry: &Entry<T>,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<usize> {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let sql = format!(
        "INSERT INTO {table} (id, name, version, created_at, changed_at, {column})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET
         name = ?2, version = ?3, created_at = ?4, changed_at = ?5, {column} = ?6"
    );
    transaction.execute(
        &sql,
        rusqlite::params![
            entry.id.to_string(),
            name,
            entry.version as i64,
            time(entry.created_at),
            time(entry.changed_at),
            value
        ],
    )
}

fn delete_row(transaction: &Transaction<'_>, table: &str, id: Uuid) -> rusqlite::Result<usize> {
    let sql = format!("DELETE FROM {table} WHERE id = ?1");
    transaction.execute(&sql, [id.to_string()])
}

struct Changes<'a, T> {
    gone: Vec<Uuid>,
    changed: Vec<(&'a String, &'a Entry<T>)>,
}

fn changed_entries<'a, T>(
    old: &BTreeMap<String, Entry<T>>,
    new: &'a BTreeMap<String, Entry<T>>,
) -> Changes<'a, T> {
    let mut before: HashMap<Uuid, (&String, u64, DateTime<Utc>)> = old
        .iter()
        .map(|(name, entry)| (entry.id, (name, entry.version, entry.changed_at)))
        .collect();
    let mut changed = Vec::new();
    for (name, entry) in new {
        if before.remove(&entry.id) != Some((name, entry.version, entry.changed_at)) {
            changed.push((name, entry));
        }
    }
    Changes {
        gone: before.into_keys().collect(),
        changed,
    }
}
