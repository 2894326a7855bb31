//! The credentials that requests of a connection are signed with.
//!
//! Invariant: credentials are asked for at every request and are never used past their end: those
//! that expire are renewed before, while the export goes on. Nobody else is asked than the connection
//! says.

mod aws;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::{Mutex, OnceCell};

use crate::catalog::{AccessKey, Catalog, Connection, Credentials, Secret, TextOrSecret};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// For how long a secret that was read from the catalog is used without looking again: somebody may
/// have changed it while an export runs.
const CATALOG_AGE: Duration = Duration::from_secs(10);

/// Credentials whose life is shorter than the margin are renewed no more often than this.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// Gives object_store and the upload client a connection's current credentials.
pub(crate) struct ConnectionCredentials {
    catalog: Arc<dyn Catalog>,
    connection: Connection,
    /// Credentials that expire are renewed so long before.
    margin: Duration,
    provider: OnceCell<SharedCredentialsProvider>,
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    credential: Arc<AwsCredential>,
    renew_at: Instant,
    expires: Option<SystemTime>,
}

impl fmt::Debug for ConnectionCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionCredentials")
            .field("connection", &self.connection.name)
            .finish_non_exhaustive()
    }
}

impl ConnectionCredentials {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, connection: Connection, margin: Duration) -> Self {
        Self {
            catalog,
            connection,
            margin,
            provider: OnceCell::new(),
            current: Mutex::new(None),
        }
    }

    /// Checks what can be checked without asking anybody but the catalog.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedObject`] for a secret that does not exist and
    /// [`ErrorKind::InvalidCredentials`] for a value that can't stand in an HTTP header.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.connection.credentials {
            Credentials::AccessKey(key) => self.resolve(key).map(drop),
            _ => Ok(()),
        }
    }

    /// The credentials to sign a request with now.
    ///
    /// # Errors
    /// As [`Self::check`], and [`ErrorKind::InvalidCredentials`] where there are none.
    pub(crate) async fn get(&self) -> Result<Arc<AwsCredential>> {
        // Held while credentials are fetched: everybody else waits for the same.
        let mut current = self.current.lock().await;
        if let Some(known) = current.as_ref()
            && Instant::now() < known.renew_at
        {
            return Ok(Arc::clone(&known.credential));
        }
        let fetched = match (self.fetch().await, current.as_ref()) {
            (Ok(fetched), _) => fetched,
            (Err(error), Some(known)) if known.expires.is_some_and(is_ahead) => {
                tracing::warn!(connection = %self.connection.name, %error, "credentials can't be renewed yet");
                Current {
                    renew_at: Instant::now() + SHORTEST_USE,
                    ..known.clone()
                }
            }
            (Err(error), _) => return Err(error),
        };
        let credential = Arc::clone(&fetched.credential);
        *current = Some(fetched);
        Ok(credential)
    }

    async fn fetch(&self) -> Result<Current> {
        if let Credentials::AccessKey(key) = &self.connection.credentials {
            return Ok(Current {
                credential: Arc::new(self.resolve(key)?),
                renew_at: Instant::now() + CATALOG_AGE,
                expires: None,
            });
        }
        let provider = self
            .provider
            .get_or_try_init(|| aws::provider(&self.connection));
        let provided = provider.await?.provide_credentials().await;
        let provided =
            provided.map_err(|error| aws::explain(&self.connection, &error).with_source(error))?;
        let expires = provided.expiry();
        let life = expires.and_then(|end| end.duration_since(SystemTime::now()).ok());
        // What doesn't say when it ends may have been changed by somebody, like a secret.
        let use_for = life.map_or(CATALOG_AGE, |life| {
            life.saturating_sub(self.margin).max(SHORTEST_USE)
        });
        tracing::debug!(connection = %self.connection.name, ?life, "got credentials");
        Ok(Current {
            credential: Arc::new(AwsCredential {
                key_id: provided.access_key_id().to_owned(),
                secret_key: provided.secret_access_key().to_owned(),
                token: provided.session_token().map(str::to_owned),
            }),
            renew_at: Instant::now() + use_for,
            expires,
        })
    }

    /// Resolves every secret now.
    fn resolve(&self, key: &AccessKey) -> Result<AwsCredential> {
        let token = key.session_token.as_ref();
        Ok(AwsCredential {
            key_id: self.text("ACCESS KEY ID", &key.id)?,
            secret_key: self.named("SECRET ACCESS KEY", &key.secret)?,
            token: token
                .map(|token| self.text("SESSION TOKEN", token))
                .transpose()?,
        })
    }

    fn text(&self, option: &str, value: &TextOrSecret) -> Result<String> {
        match value {
            TextOrSecret::Text(text) => self.header_text(option, &SecretValue::new(text.clone())),
            TextOrSecret::Hidden(secret) => self.opened(option, secret),
            TextOrSecret::Secret(name) => self.named(option, name),
        }
    }

    fn named(&self, option: &str, name: &str) -> Result<String> {
        let objects = self.catalog.objects()?;
        let entry = objects.secrets().get(name).ok_or_else(|| {
            let connection = &self.connection.name;
            let why = format!("secret \"{name}\" of connection \"{connection}\" does not exist");
            Error::new(ErrorKind::UndefinedObject, why)
        })?;
        self.opened(option, &entry.value)
    }

    fn opened(&self, option: &str, secret: &Secret) -> Result<String> {
        self.header_text(option, &self.catalog.open_secret(secret)?)
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

fn is_ahead(time: SystemTime) -> bool {
    time > SystemTime::now()
}

#[async_trait]
impl CredentialProvider for ConnectionCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.get()
            .await
            .map_err(|error| object_store::Error::Unauthenticated {
                path: String::new(),
                source: Box::new(error),
            })
    }
}
