//! The catalog: secrets and connections, which are kept between statements.
//!
//! Invariant: a connection refers to its secrets by name. A new client sees a changed secret at
//! once, a running client within ten seconds. A secret's value leaves the catalog only as a
//! [`SecretValue`].

mod connection;
#[cfg(feature = "file-catalog")]
mod file;
#[cfg(feature = "file-catalog")]
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
#[cfg(feature = "file-catalog")]
pub use file::FileCatalog;
#[cfg(feature = "file-catalog")]
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
/// Names are passed in folded: in lower case unless they were quoted.
pub trait Catalog: std::fmt::Debug + Send + Sync {
    /// A snapshot of all secrets and connections.
    ///
    /// # Errors
    /// The catalog can't be read.
    fn objects(&self) -> Result<Objects>;

    /// Applies `change` atomically: every session and process sees all of it, or nothing if it
    /// fails.
    ///
    /// # Errors
    /// The error of `change`, or the catalog can't be read or written.
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
