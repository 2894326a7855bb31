//! Whether a connection works.
//!
//! Invariant: what is tried leaves nothing behind, and what is wrong is named with what to do.

use crate::catalog::Connection;
use crate::connect::{connect, connect_with_wrong_secret, open_store};
use crate::error::{Error, Result};
use crate::s3::S3ErrorKind;
use crate::services::Services;
use crate::sink::{Check, ObjectOptions, Target, check_store};

/// Sends one authenticated request that needs no bucket.
///
/// # Errors
/// What is wrong: the endpoint, the clock, the key, the secret, the region, the role.
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
        // The key may be good without the right to list buckets. A store that has another answer
        // for a wrong secret has thereby accepted this one.
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

/// Does what an export does at a target, and undoes it.
///
/// # Errors
/// The connection can't be used at all; what does not work there is in the checks.
pub(super) async fn validate_target(
    connection: &Connection,
    target: &Target,
    services: &Services,
) -> Result<Vec<Check>> {
    let mut services = services.clone();
    services.retry = services.retry.impatient();
    let name = Some(connection.name.as_str());
    let store = open_store(&services, target, name, 1, &ObjectOptions::default())?;
    check_store(store.as_ref(), target)
        .await
        .map_err(|error| error.in_connection(&connection.name))
}
