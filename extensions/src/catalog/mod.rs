//! What is remembered between statements: secrets and connections.
//!
//! Invariant: a connection refers to its secrets by name and looks them up at every use, so a
//! changed secret takes effect at once; a secret's value leaves the catalog only as a
//! [`SecretValue`].

mod connection;
mod file;
mod key;
mod memory;
mod objects;
mod overlay;
mod tables;

pub(crate) use connection::boolean;
pub use connection::{
    AccessKey, AssumedRole, Connection, ConnectionOption, ConnectionValue, Credentials, RoleBase,
    TextOrSecret,
};
pub use file::FileCatalog;
pub use key::KeyFile;
pub use memory::MemoryCatalog;
pub use objects::{Entry, Objects, OnConflict, OnMissing, Secret};
pub use overlay::OverlayCatalog;
pub use tables::with_catalog_tables;
pub(crate) use tables::{connection_rows, connections_schema, secret_rows, secrets_schema};

use crate::error::Result;
use crate::secret::SecretValue;

/// The store of secrets and connections that a session uses.
///
/// Names arrive folded: lower case unless they were quoted.
pub trait Catalog: std::fmt::Debug + Send + Sync {
    /// What is remembered now.
    ///
    /// # Errors
    /// The catalog can't be read.
    fn objects(&self) -> Result<Objects>;

    /// Lets `change` change what is remembered. All of it happens, seen at once by every session and
    /// process, or, where it fails, nothing.
    ///
    /// # Errors
    /// What `change` says, or the catalog can't be written.
    fn change(&self, change: &mut dyn FnMut(&mut Objects) -> Result<()>) -> Result<()>;

    /// The value of a secret.
    ///
    /// # Errors
    /// The key is missing or the wrong one, or the secret is damaged.
    fn open_secret(&self, secret: &Secret) -> Result<SecretValue>;
}

/// Folds a name as PostgreSQL does: to lower case unless it was quoted.
pub(crate) fn fold(name: &sqlparser::ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
