//! What is remembered between statements: secrets and connections.
//!
//! Invariant: a connection refers to its secrets by name and looks them up at every use, so a
//! changed secret takes effect at once; a secret's value leaves the catalog only as a
//! [`SecretValue`].

mod connection;
mod credentials;
mod memory;

pub(crate) use connection::fold;
pub use connection::{Connection, StaticCredentials, TextOrSecret};
pub use credentials::CatalogCredentials;
pub use memory::MemoryCatalog;

use crate::error::Result;
use crate::secret::SecretValue;

/// What to do when a name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnConflict {
    /// Fail with [`DuplicateObject`](crate::ErrorKind::DuplicateObject).
    Fail,
    /// Keep what is there (`IF NOT EXISTS`).
    Keep,
    /// Put the new one in its place (`OR REPLACE`).
    Replace,
}

/// The store of secrets and connections that a session uses.
///
/// Names arrive folded: lower case unless they were quoted.
pub trait Catalog: std::fmt::Debug + Send + Sync {
    /// Remembers a secret.
    ///
    /// # Errors
    /// The name is taken and `on_conflict` says to fail.
    fn create_secret(&self, name: &str, value: SecretValue, on_conflict: OnConflict) -> Result<()>;

    /// The value of a secret, or `None` if there is no secret of that name.
    fn secret(&self, name: &str) -> Result<Option<SecretValue>>;

    /// The names of all secrets, sorted.
    fn secret_names(&self) -> Result<Vec<String>>;

    /// Remembers a connection.
    ///
    /// # Errors
    /// The name is taken and `on_conflict` says to fail.
    fn create_connection(&self, connection: Connection, on_conflict: OnConflict) -> Result<()>;

    /// A connection, or `None` if there is none of that name.
    fn connection(&self, name: &str) -> Result<Option<Connection>>;

    /// The names of all connections, sorted.
    fn connection_names(&self) -> Result<Vec<String>>;
}
