//! The credentials that sign the requests of a connection.
//!
//! Invariant: every request asks for the current credentials. Credentials that expire are renewed
//! before they expire, while the export runs. Only the source that the connection names is asked.

#[cfg(feature = "aws-chain")]
mod aws;
#[cfg(not(feature = "aws-chain"))]
mod no_chain;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

#[cfg(feature = "aws-chain")]
use self::aws::Provider;
#[cfg(not(feature = "aws-chain"))]
use self::no_chain::Provider;

use crate::catalog::{AccessKey, Catalog, Connection, Credentials, Objects, Secret, TextOrSecret};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// How long a secret is used before it is read from the catalog again. It may change while an
/// export runs.
const CATALOG_AGE: Duration = Duration::from_secs(10);

/// How long credentials without an expiry time are used.
const LASTING_USE: Duration = Duration::from_secs(3600);

/// Timeout for getting credentials.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lower bound for the time between renewals, for credentials that live shorter than the margin and
/// after a failed renewal.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// Provides object_store and the upload client with a connection's current credentials.
pub(crate) struct ConnectionCredentials {
    catalog: Arc<dyn Catalog>,
    connection: Connection,
    /// The id of the connection in the catalog, if it is there. Its name may change.
    id: Option<Uuid>,
    /// Credentials that expire are renewed this long before their expiry.
    margin: Duration,
    provider: OnceCell<Provider>,
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    credential: Arc<AwsCredential>,
    renew_at: Instant,
    expires: Option<SystemTime>,
}

/// Credentials that a source outside the catalog provided.
struct Provided {
    credential: AwsCredential,
    /// When they expire, if the source says so.
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
        let entry = catalog.objects().ok();
        let entry = entry.and_then(|objects| {
            let entry = objects.connections().get(&connection.name)?;
            (entry.value == connection).then_some(entry.id)
        });
        Self {
            id: entry,
            catalog,
            connection,
            margin,
            provider: OnceCell::new(),
            current: Mutex::new(None),
        }
    }

    /// Checks the connection's access key with the catalog. Other sources are not asked.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedObject`] for a secret that does not exist, and
    /// [`ErrorKind::InvalidCredentials`] for a value that is not allowed in an HTTP header.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.connection.credentials {
            Credentials::AccessKey(key) => self.resolve(key, &self.catalog.objects()?).map(drop),
            _ => Ok(()),
        }
    }

    /// The credentials to sign a request with now.
    ///
    /// # Errors
    /// As [`Self::check`], and [`ErrorKind::InvalidCredentials`] if there are none.
    pub(crate) async fn get(&self) -> Result<Arc<AwsCredential>> {
        // The lock is held during the fetch, so that concurrent requests share one fetch.
        let mut current = self.current.lock().await;
        if let Some(known) = current.as_ref()
            && Instant::now() < known.renew_at
        {
            return Ok(Arc::clone(&known.credential));
        }
        let fetched = tokio::time::timeout(PATIENCE, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(self.no_answer()));
        let fetched = match (fetched, current.as_ref()) {
            (Ok(fetched), _) => fetched,
            // A running export keeps its old credentials until they expire.
            (Err(error), Some(known)) if known.expires.is_none_or(is_ahead) => {
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
            // Read from one snapshot, so that the key's id and secret belong together. Reading may wait
            // for another process's lock, and the heartbeats of exports must not wait with it.
            let catalog = Arc::clone(&self.catalog);
            let reading = tokio::task::spawn_blocking(move || catalog.objects());
            let objects = reading.await.map_err(|error| {
                Error::new(ErrorKind::Internal, "the catalog could not be read").with_source(error)
            })??;
            let mut entries = objects.connections().values();
            let entry = entries.find(|entry| Some(entry.id) == self.id);
            let key = match entry.map(|entry| &entry.value.credentials) {
                Some(Credentials::AccessKey(changed)) => changed,
                _ => key,
            };
            return Ok(Current {
                credential: Arc::new(self.resolve(key, &objects)?),
                renew_at: Instant::now() + CATALOG_AGE,
                expires: None,
            });
        }
        let provider = self
            .provider
            .get_or_try_init(|| Provider::new(&self.connection));
        let Provided {
            credential,
            expires,
        } = provider.await?.provide(&self.connection).await?;
        // Credentials that have expired already are asked for again at once.
        let life = expires.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        let use_for = life.map_or(LASTING_USE, |life| {
            life.saturating_sub(self.margin).max(SHORTEST_USE)
        });
        tracing::debug!(connection = %self.connection.name, ?life, "got credentials");
        Ok(Current {
            credential: Arc::new(credential),
            renew_at: Instant::now() + use_for,
            expires,
        })
    }

    fn no_answer(&self) -> Error {
        let (name, kind) = (&self.connection.name, self.connection.credentials_kind());
        let seconds = PATIENCE.as_secs();
        let why = format!("connection \"{name}\" got no credentials ({kind}) in {seconds} seconds");
        Error::new(ErrorKind::InvalidCredentials, why)
    }

    /// Reads every secret of the key from `objects`.
    fn resolve(&self, key: &AccessKey, objects: &Objects) -> Result<AwsCredential> {
        let token = key.session_token.as_ref();
        Ok(AwsCredential {
            key_id: self.text("ACCESS KEY ID", &key.id, objects)?,
            secret_key: self.named("SECRET ACCESS KEY", &key.secret, objects)?,
            token: token
                .map(|token| self.text("SESSION TOKEN", token, objects))
                .transpose()?,
        })
    }

    fn text(&self, option: &str, value: &TextOrSecret, objects: &Objects) -> Result<String> {
        match value {
            TextOrSecret::Text(text) => self.header_text(option, &SecretValue::new(text.clone())),
            TextOrSecret::Hidden(secret) => self.opened(option, secret),
            TextOrSecret::Secret(name) => self.named(option, name, objects),
        }
    }

    fn named(&self, option: &str, name: &str, objects: &Objects) -> Result<String> {
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

    /// Checks that a value has only visible ASCII, as HTTP headers require.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{MemoryCatalog, OnConflict, OnMissing};
    use crate::sql::ast::{OptionValue, SqlOption};

    fn connection() -> Connection {
        let option = |name, value| SqlOption {
            name,
            value,
            location: crate::Location { line: 1, column: 1 },
        };
        let options = [
            option("ACCESS KEY ID", OptionValue::Text("id".to_owned())),
            option("SECRET ACCESS KEY", OptionValue::Secret("s".into())),
        ];
        Connection::from_sql("c".to_owned(), &options).unwrap()
    }

    /// The secret key after the catalog has been read again.
    async fn next(credentials: &ConnectionCredentials) -> String {
        if let Some(current) = credentials.current.lock().await.as_mut() {
            current.renew_at = Instant::now();
        }
        credentials.get().await.unwrap().secret_key.clone()
    }

    #[tokio::test]
    async fn whoever_is_under_way_goes_on() {
        let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new());
        let change = |change: &mut dyn FnMut(&mut Objects) -> Result<()>| {
            catalog.change(change).unwrap();
        };
        change(&mut |objects| {
            objects.create_secret("s", SecretValue::new("one"), OnConflict::Fail)?;
            objects.create_connection(connection(), OnConflict::Fail)
        });
        let margin = Duration::from_secs(300);
        let credentials = ConnectionCredentials::new(Arc::clone(&catalog), connection(), margin);
        assert_eq!(next(&credentials).await, "one");
        change(&mut |objects| {
            objects.alter_secret("s", SecretValue::new("two"), OnMissing::Fail)?;
            objects.rename_secret("s", "t", OnMissing::Fail)?;
            objects.rename_connection("c", "d", OnMissing::Fail)
        });
        assert_eq!(next(&credentials).await, "two");
        change(&mut |objects| objects.drop_secret("t", true, OnMissing::Fail));
        assert_eq!(next(&credentials).await, "two");
        // A new client gets no credentials, because the secret is gone.
        let late = ConnectionCredentials::new(catalog, connection(), margin);
        assert!(late.get().await.is_err());
    }
}
