//! The users of the server, in a file.
//!
//! Invariant: the file holds verifiers, no passwords, and only its owner can read it. A change of it
//! holds for every log-in after it.
//!
//! A line is `name,role,verifier`, in CSV.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tidegate::{Error, ErrorKind, Result};

use super::scram::Verifier;

/// The rights of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Manages secrets and connections
    Admin,
    /// Uses connections
    User,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Admin, Self::User]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// A user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(super) verifier: Verifier,
}

impl User {
    pub(crate) fn new(name: &str, role: Role, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            verifier: Verifier::of_password(password),
        }
    }
}

/// The file of users.
#[derive(Debug, Clone)]
pub(crate) struct UsersFile {
    path: PathBuf,
}

impl UsersFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) -> Error {
        let why = format!("the users in {} {what}: {error}", self.path.display());
        Error::new(ErrorKind::Io, why)
    }

    /// All users. None if the file does not exist.
    ///
    /// # Errors
    /// The file can't be read, others than its owner can read it, or a line is damaged.
    pub(crate) fn read(&self) -> Result<Vec<User>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("can't be read", error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| self.failed("can't be read", error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            let why = format!("others may read the users in {}", self.path.display());
            return Err(Error::new(ErrorKind::InsufficientPrivilege, why)
                .with_hint(format!("chmod 600 {}", self.path.display())));
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(file);
        let mut users = Vec::new();
        for line in reader.records() {
            let line = line.map_err(|error| self.failed("can't be read", error))?;
            let number = users.len() + 1;
            let user = match (line.len(), line.get(0), line.get(1), line.get(2)) {
                (3, Some(name), Some(role), Some(verifier)) => {
                    let role = Role::from_name(role);
                    let verifier = verifier.parse().ok();
                    role.zip(verifier).map(|(role, verifier)| User {
                        name: name.to_owned(),
                        role,
                        verifier,
                    })
                }
                _ => None,
            };
            let damaged = "expected name,role,verifier";
            users.push(user.ok_or_else(|| {
                self.failed("can't be read", format!("line {number}: {damaged}"))
            })?);
        }
        Ok(users)
    }

    /// Adds a user, or changes the one that has the name. Returns whether there was one.
    ///
    /// # Errors
    /// The file can't be read or written, or the name is not valid.
    pub(crate) fn set(&self, user: User) -> Result<bool> {
        let is_control = |name: &str| name.chars().any(char::is_control);
        if user.name.is_empty() || user.name.len() > 63 || is_control(&user.name) {
            let why = "a user's name has 1 to 63 bytes and no control characters";
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        }
        let mut users = self.read()?;
        let there = users.iter_mut().find(|old| old.name == user.name);
        let was_there = there.is_some();
        match there {
            Some(old) => *old = user,
            None => users.push(user),
        }
        self.write(&users)?;
        Ok(was_there)
    }

    /// Removes a user. Returns whether there was one.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        let mut users = self.read()?;
        let before = users.len();
        users.retain(|user| user.name != name);
        let removed = users.len() < before;
        if removed {
            self.write(&users)?;
        }
        Ok(removed)
    }

    /// Replaces the file as a whole, so that a log-in at the same time sees the old or the new one.
    fn write(&self, users: &[User]) -> Result<()> {
        let failed = |error: std::io::Error| self.failed("can't be written", error);
        if let Some(folder) = self.path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed)?;
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        for user in users {
            let line = [&user.name, user.role.name(), &user.verifier.to_string()];
            writer
                .write_record(line)
                .map_err(|error| self.failed("can't be written", error))?;
        }
        let text = writer
            .into_inner()
            .map_err(|error| self.failed("can't be written", error))?;
        let new = self.path.with_extension("new");
        write_private(&new, &text).map_err(failed)?;
        std::fs::rename(&new, &self.path).map_err(failed)
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
