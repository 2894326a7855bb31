//! Replaces the module `aws` if the feature `aws-chain` is off.
//!
//! Invariant: a connection that needs a role, a profile or the credential chain gets an error that
//! names the feature.

use super::Provided;
use crate::catalog::Connection;
use crate::error::{Error, ErrorKind, Result};

/// A provider that always fails.
#[derive(Debug)]
pub(super) struct Provider;

impl Provider {
    /// # Errors
    /// Always [`ErrorKind::Unsupported`].
    pub(super) async fn new(connection: &Connection) -> Result<Self> {
        Err(unsupported(connection))
    }

    /// # Errors
    /// Always [`ErrorKind::Unsupported`].
    pub(super) async fn provide(&self, connection: &Connection) -> Result<Provided> {
        Err(unsupported(connection))
    }
}

fn unsupported(connection: &Connection) -> Error {
    let (name, kind) = (&connection.name, connection.credentials_kind());
    Error::new(
        ErrorKind::Unsupported,
        format!("this program was built without the credentials of connection \"{name}\" ({kind})"),
    )
    .with_hint("give the connection an access key, or build with the feature aws-chain")
}
