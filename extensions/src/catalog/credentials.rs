//! Credentials read from the catalog at every use.
//!
//! Invariant: a request is signed with the secret as it is now, and the error for a secret that is
//! missing or unusable names the secret and the connection, never the value.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::{Catalog, Connection, TextOrSecret};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// Gives object_store and the upload client a connection's current credentials.
#[derive(Debug)]
pub struct CatalogCredentials {
    catalog: Arc<dyn Catalog>,
    connection: Connection,
}

impl CatalogCredentials {
    /// Credentials of `connection`, with its secrets taken from `catalog`.
    pub fn new(catalog: Arc<dyn Catalog>, connection: Connection) -> Self {
        Self {
            catalog,
            connection,
        }
    }

    /// Resolves every secret now.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedObject`] for a secret that does not exist and
    /// [`ErrorKind::InvalidCredentials`] for a value that can't stand in an HTTP header.
    pub fn resolve(&self) -> Result<AwsCredential> {
        let credentials = &self.connection.credentials;
        Ok(AwsCredential {
            key_id: self.text("ACCESS KEY ID", &credentials.access_key_id)?,
            secret_key: self.secret("SECRET ACCESS KEY", &credentials.secret_access_key)?,
            token: credentials
                .session_token
                .as_ref()
                .map(|token| self.text("SESSION TOKEN", token))
                .transpose()?,
        })
    }

    fn text(&self, option: &str, value: &TextOrSecret) -> Result<String> {
        match value {
            TextOrSecret::Text(text) => self.header_text(option, text),
            TextOrSecret::Secret(name) => self.secret(option, name),
        }
    }

    fn secret(&self, option: &str, name: &str) -> Result<String> {
        let value = self.catalog.secret(name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::UndefinedObject,
                format!(
                    "secret \"{name}\" of connection \"{}\" does not exist",
                    self.connection.name
                ),
            )
        })?;
        self.header_text(option, &value)
    }

    /// Keys and tokens travel in HTTP headers: visible ASCII only.
    fn header_text(&self, option: &str, value: &SecretValue) -> Result<String> {
        match value.expose_str() {
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(text.to_owned())
            }
            _ => Err(Error::new(
                ErrorKind::InvalidCredentials,
                format!(
                    "{option} of connection \"{}\" contains characters that no access key has \
                     (white space, line ends or non-ASCII)",
                    self.connection.name
                ),
            )
            .with_hint("check how the secret was created")),
        }
    }
}

#[async_trait]
impl CredentialProvider for CatalogCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.resolve()
            .map(Arc::new)
            .map_err(|error| object_store::Error::Unauthenticated {
                path: String::new(),
                source: Box::new(error),
            })
    }
}
