//! Checks whether a connection works.
//!
//! Invariant: a check removes everything that it creates, or names the leftovers. An error names
//! the fault and a remedy.

use crate::catalog::Connection;
use crate::connect::{connect, connect_with_wrong_secret, open_store};
use crate::error::{Error, Result};
use crate::s3::S3ErrorKind;
use crate::services::Services;
use crate::sink::{ObjectOptions, Probe, Target, probe_store};

/// Sends one authenticated request that needs no bucket.
///
/// # Errors
/// Names the fault: the endpoint, the clock, the key, the secret, the region or the role.
pub(super) async fn validate_connection(
    connection: &Connection,
    services: &Services,
) -> Result<()> {
    let retry = services.retry.impatient();
    let client = connect(services, connection, None, retry.clone())?;
    let Err(error) = client.list_buckets().await else {
        return Ok(());
    };
    if error.code.as_deref() == Some("AccessDenied") && error.kind == S3ErrorKind::AccessDenied {
        // The key may be valid without permission to list buckets. If the store answers a request
        // with a wrong secret differently, it has accepted this secret.
        let wrong = connect_with_wrong_secret(services, connection, retry).await?;
        let refused = wrong.list_buckets().await.err();
        if refused.is_some_and(|refused| {
            matches!(
                refused.kind,
                S3ErrorKind::WrongSecret | S3ErrorKind::UnknownKey
            )
        }) {
            tracing::debug!(%error, "the key may not list buckets");
            return Ok(());
        }
    }
    Err(Error::from(error).in_connection(&connection.name))
}

/// Tries each operation of an export at a target, and undoes it. Each probe holds the result of one
/// operation.
///
/// # Errors
/// The connection can't be used at all.
pub(super) async fn validate_target(
    connection: &Connection,
    target: &Target,
    services: &Services,
) -> Result<Vec<Probe>> {
    let mut services = services.clone();
    services.retry = services.retry.impatient();
    let name = Some(connection.name.as_str());
    let store = open_store(&services, target, name, 1, &ObjectOptions::default())?;
    probe_store(store.as_ref(), target)
        .await
        .map_err(|error| error.in_connection(&connection.name))
}
