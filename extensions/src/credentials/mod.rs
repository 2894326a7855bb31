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
use uuid::Uuid;

use crate::catalog::{AccessKey, Catalog, Connection, Credentials, Objects, Secret, TextOrSecret};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// For how long a secret that was read from the catalog is used without looking again: somebody may
/// have changed it while an export runs.
const CATALOG_AGE: Duration = Duration::from_secs(10);

/// For how long credentials are used that don't say when they end.
const LASTING_USE: Duration = Duration::from_secs(3600);

/// Whoever gives credentials out has so long for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Credentials whose life is shorter than the margin are renewed no more often than this.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// Gives object_store and the upload client a connection's current credentials.
pub(crate) struct ConnectionCredentials {
    catalog: Arc<dyn Catalog>,
    connection: Connection,
    /// The connection's entry in the catalog, if it is in there: its name may change.
    id: Option<Uuid>,
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

    /// Checks what can be checked without asking anybody but the catalog.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedObject`] for a secret that does not exist and
    /// [`ErrorKind::InvalidCredentials`] for a value that can't stand in an HTTP header.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.connection.credentials {
            Credentials::AccessKey(key) => self.resolve(key, &self.catalog.objects()?).map(drop),
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
        let fetched = tokio::time::timeout(PATIENCE, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(self.no_answer()));
        let fetched = match (fetched, current.as_ref()) {
            (Ok(fetched), _) => fetched,
            // An export under way goes on with what it has, as long as that is good.
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
            // All from one look, so that an id and a secret that belong together stay together.
            let objects = self.catalog.objects()?;
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
            .get_or_try_init(|| aws::provider(&self.connection));
        let provided = provider.await?.provide_credentials().await;
        let provided =
            provided.map_err(|error| aws::explain(&self.connection, &error).with_source(error))?;
        let expires = provided.expiry();
        let life = expires.and_then(|end| end.duration_since(SystemTime::now()).ok());
        let use_for = life.map_or(LASTING_USE, |life| {
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

    fn no_answer(&self) -> Error {
        let (name, kind) = (&self.connection.name, self.connection.credentials_kind());
        let seconds = PATIENCE.as_secs();
        let why = format!("connection \"{name}\" got no credentials ({kind}) in {seconds} seconds");
        Error::new(ErrorKind::InvalidCredentials, why)
    }

    /// Resolves every secret now.
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

    /// The secret that is used once the catalog is looked at again.
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
        // Whoever begins now has nothing to begin with.
        let late = ConnectionCredentials::new(catalog, connection(), margin);
        assert!(late.get().await.is_err());
    }
}
