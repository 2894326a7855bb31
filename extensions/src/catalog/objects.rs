//! The content of a catalog, and the changes that statements make to it.
//!
//! Invariant: names are unique, and every secret that a connection names exists. A change that
//! would break this returns an error, and [`Catalog::change`](super::Catalog::change) then discards
//! it completely.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::connection::Connection;
#[cfg(feature = "file-catalog")]
use super::connection::{ConnectionOption, ConnectionValue};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// Upper bound for the length of a secret, in bytes.
const MOST_SECRET_BYTES: usize = 64 << 10;

/// What to do when a name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnConflict {
    /// Fail with [`ErrorKind::DuplicateObject`].
    Fail,
    /// Keep what is there (`IF NOT EXISTS`).
    Keep,
    /// Replace the value (`OR REPLACE`).
    Replace,
}

/// What to do when no object has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnMissing {
    /// Fail with [`ErrorKind::UndefinedObject`].
    Fail,
    /// Do nothing (`IF EXISTS`).
    Skip,
}

/// Secrets and connections by their folded names.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub(super) secrets: BTreeMap<String, Entry<Secret>>,
    pub(super) connections: BTreeMap<String, Entry<Connection>>,
}

/// A secret or connection, with its id, version and times.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// Stays the same until the object is dropped.
    pub id: Uuid,
    /// Counts the values that were set, from 1. Renaming does not count.
    pub version: u64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub changed_at: DateTime<Utc>,
    /// The object itself.
    pub value: T,
}

/// A secret's value, plain or sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// The plain value.
    Plain(SecretValue),
    /// The encrypted value, as a catalog in a file stores it.
    Sealed {
        /// The encrypted bytes. [`Catalog::open_secret`](super::Catalog::open_secret) opens them.
        bytes: Vec<u8>,
        /// The place it was sealed for. It does not open for any other place.
        place: String,
    },
}

impl<T> Entry<T> {
    fn new(value: T) -> Self {
        let now = Utc::now();
        Self {
            id: Uuid::now_v7(),
            version: 1,
            created_at: now,
            changed_at: now,
            value,
        }
    }

    fn set(&mut self, value: T) {
        self.value = value;
        self.version += 1;
        self.touch();
    }

    fn touch(&mut self) {
        self.changed_at = Utc::now();
    }
}

impl Objects {
    /// The secrets, by name.
    pub fn secrets(&self) -> &BTreeMap<String, Entry<Secret>> {
        &self.secrets
    }

    /// The connections, by name.
    pub fn connections(&self) -> &BTreeMap<String, Entry<Connection>> {
        &self.connections
    }

    /// The names of the connections that use a secret.
    pub fn users_of<'a>(&'a self, secret: &'a str) -> impl Iterator<Item = &'a str> {
        let uses = move |entry: &Entry<Connection>| {
            let mut names = entry.value.secret_names();
            names.any(|name| name == secret)
        };
        let users = self
            .connections
            .iter()
            .filter(move |(_, entry)| uses(entry));
        users.map(|(name, _)| name.as_str())
    }

    /// Whether there are values that a catalog must seal: secrets or hidden options.
    #[cfg(feature = "file-catalog")]
    pub(super) fn has_sealed(&self) -> bool {
        let is_hidden =
            |option: &ConnectionOption| matches!(option.value, ConnectionValue::Hidden(_));
        let mut connections = self.connections.values();
        !self.secrets.is_empty()
            || connections.any(|entry| entry.value.options().iter().any(is_hidden))
    }

    /// Checks that a secret exists.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedObject`], with the nearest known name.
    pub fn check_secret(&self, name: &str) -> Result<()> {
        match self.secrets.contains_key(name) {
            true => Ok(()),
            false => Err(missing("secret", name, self.secrets.keys())),
        }
    }

    /// The connection with this name.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedObject`], with the nearest known name.
    pub fn connection(&self, name: &str) -> Result<&Connection> {
        let entry = self.connections.get(name);
        let entry = entry.ok_or_else(|| missing("connection", name, self.connections.keys()))?;
        Ok(&entry.value)
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// The name is taken and `on_conflict` says to fail, or the value is empty or too long.
    pub fn create_secret(
        &mut self,
        name: &str,
        value: SecretValue,
        on_conflict: OnConflict,
    ) -> Result<()> {
        check_value(name, &value)?;
        insert(
            &mut self.secrets,
            "secret",
            name,
            Secret::Plain(value),
            on_conflict,
        )
    }

    /// Changes the value of a secret.
    ///
    /// # Errors
    /// No secret has the name and `on_missing` says to fail, or the value is empty or too long.
    pub fn alter_secret(
        &mut self,
        name: &str,
        value: SecretValue,
        on_missing: OnMissing,
    ) -> Result<()> {
        check_value(name, &value)?;
        if let Some(entry) = find(&mut self.secrets, "secret", name, on_missing)? {
            entry.set(Secret::Plain(value));
        }
        Ok(())
    }

    /// Renames a secret, also in the connections that use it.
    ///
    /// # Errors
    /// No secret has the name and `on_missing` says to fail, or the new name is taken.
    pub fn rename_secret(&mut self, name: &str, to: &str, on_missing: OnMissing) -> Result<()> {
        if !rename(&mut self.secrets, "secret", name, to, on_missing)? {
            return Ok(());
        }
        for entry in self.connections.values_mut() {
            if entry.value.secret_names().any(|secret| secret == name) {
                entry.value = entry.value.with_secret_renamed(name, to)?;
                entry.touch();
            }
        }
        Ok(())
    }

    /// Drops a secret. With `cascade`, also drops the connections that use it.
    ///
    /// # Errors
    /// No secret has the name and `on_missing` says to fail, or connections use it and `cascade` is
    /// false.
    pub fn drop_secret(&mut self, name: &str, cascade: bool, on_missing: OnMissing) -> Result<()> {
        if find(&mut self.secrets, "secret", name, on_missing)?.is_none() {
            return Ok(());
        }
        let users: Vec<String> = self.users_of(name).map(str::to_owned).collect();
        if !cascade && !users.is_empty() {
            let (plural, users) = (if users.len() > 1 { "s" } else { "" }, users.join("\", \""));
            let why = format!(
                "cannot drop secret \"{name}\": still used by connection{plural} \"{users}\""
            );
            let hint = "use DROP … CASCADE to drop what uses it too";
            return Err(Error::new(ErrorKind::DependentObjects, why).with_hint(hint));
        }
        for user in users {
            self.connections.remove(&user);
        }
        self.secrets.remove(name);
        Ok(())
    }

    /// Creates a connection.
    ///
    /// # Errors
    /// The name is taken and `on_conflict` says to fail, or a secret it uses does not exist.
    pub fn create_connection(
        &mut self,
        connection: Connection,
        on_conflict: OnConflict,
    ) -> Result<()> {
        self.check_secrets_of(&connection)?;
        let name = connection.name.clone();
        insert(
            &mut self.connections,
            "connection",
            &name,
            connection,
            on_conflict,
        )
    }

    /// Changes a connection.
    ///
    /// # Errors
    /// No connection has the name and `on_missing` says to fail, a secret that the changed
    /// connection uses does not exist, or `change` fails.
    pub fn alter_connection(
        &mut self,
        name: &str,
        on_missing: OnMissing,
        change: impl FnOnce(&Connection) -> Result<Connection>,
    ) -> Result<()> {
        let Some(entry) = find(&mut self.connections, "connection", name, on_missing)? else {
            return Ok(());
        };
        let changed = change(&entry.value)?;
        entry.set(changed.clone());
        self.check_secrets_of(&changed)
    }

    /// Renames a connection.
    ///
    /// # Errors
    /// No connection has the name and `on_missing` says to fail, or the new name is taken.
    pub fn rename_connection(&mut self, name: &str, to: &str, on_missing: OnMissing) -> Result<()> {
        if rename(&mut self.connections, "connection", name, to, on_missing)?
            && let Some(entry) = self.connections.get_mut(to)
        {
            to.clone_into(&mut entry.value.name);
        }
        Ok(())
    }

    /// Drops a connection.
    ///
    /// # Errors
    /// No connection has the name and `on_missing` says to fail.
    pub fn drop_connection(&mut self, name: &str, on_missing: OnMissing) -> Result<()> {
        find(&mut self.connections, "connection", name, on_missing)?;
        self.connections.remove(name);
        Ok(())
    }

    fn check_secrets_of(&self, connection: &Connection) -> Result<()> {
        let mut names = connection.secret_names();
        names.try_for_each(|name| self.check_secret(name))
    }
}

fn check_value(name: &str, value: &SecretValue) -> Result<()> {
    let length = value.expose().len();
    if length == 0 {
        let why = format!("the value of secret \"{name}\" is empty");
        return Err(Error::new(ErrorKind::InvalidParameter, why));
    }
    if length <= MOST_SECRET_BYTES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!(
            "the value of secret \"{name}\" is {length} bytes long: at most {MOST_SECRET_BYTES} are allowed"
        ),
    ))
}

fn taken(what: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::DuplicateObject,
        format!("{what} \"{name}\" already exists"),
    )
}

fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let why = format!("{what} \"{name}\" does not exist");
    let error = Error::new(ErrorKind::UndefinedObject, why);
    let known: Vec<&str> = known.map(String::as_str).collect();
    match (crate::sql::nearest(name, &known), what) {
        (Some(near), _) => error.with_hint(format!("did you mean \"{near}\"?")),
        (None, "secret") => error.with_hint("create it first: CREATE SECRET name AS 'value'"),
        (None, _) => error.with_hint("create it first: CREATE CONNECTION name TO AWS (…)"),
    }
}

fn insert<T>(
    map: &mut BTreeMap<String, Entry<T>>,
    what: &str,
    name: &str,
    value: T,
    on_conflict: OnConflict,
) -> Result<()> {
    match (map.get_mut(name), on_conflict) {
        (None, _) => {
            map.insert(name.to_owned(), Entry::new(value));
        }
        (Some(entry), OnConflict::Replace) => entry.set(value),
        (Some(_), OnConflict::Keep) => {}
        (Some(_), OnConflict::Fail) => return Err(taken(what, name)),
    }
    Ok(())
}

fn find<'a, T>(
    map: &'a mut BTreeMap<String, Entry<T>>,
    what: &str,
    name: &str,
    on_missing: OnMissing,
) -> Result<Option<&'a mut Entry<T>>> {
    if !map.contains_key(name) && on_missing == OnMissing::Fail {
        return Err(missing(what, name, map.keys()));
    }
    Ok(map.get_mut(name))
}

/// Renames an entry. False if it does not exist and `on_missing` says to skip.
fn rename<T>(
    map: &mut BTreeMap<String, Entry<T>>,
    what: &str,
    name: &str,
    to: &str,
    on_missing: OnMissing,
) -> Result<bool> {
    if find(map, what, name, on_missing)?.is_none() {
        return Ok(false);
    }
    if map.contains_key(to) {
        return Err(taken(what, to));
    }
    if let Some(mut entry) = map.remove(name) {
        entry.touch();
        map.insert(to.to_owned(), entry);
    }
    Ok(true)
}
