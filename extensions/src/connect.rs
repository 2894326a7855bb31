//! From a connection's name to a store.
//!
//! Invariant: two connections to one bucket never share a store. DataFusion finds stores by scheme
//! and host, so inside a plan the connection is part of the scheme: `s3+<connection>://bucket/…`.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::CreateExternalTable;
use object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};
use object_store::{ClientOptions, StaticCredentialProvider};
use url::Url;

use crate::catalog::Connection;
use crate::credentials::ConnectionCredentials;
use crate::error::{Error, ErrorKind, Result};
use crate::s3::{RetryPolicy, S3Client, S3ErrorKind, S3Settings, UrlStyle, is_express_bucket};
use crate::services::Services;
use crate::sink::{LocalUploadStore, ObjectOptions, Place, S3UploadStore, Target, UploadStore};

/// The option of `CREATE EXTERNAL TABLE` that names a connection.
const CONNECTION_OPTION: &str = "aws.connection";

/// Looks a connection up.
///
/// # Errors
/// [`ErrorKind::UndefinedObject`], with the nearest known name.
pub(crate) fn find_connection(services: &Services, name: &str) -> Result<Connection> {
    services.catalog.objects()?.connection(name).cloned()
}

fn credentials(services: &Services, connection: &Connection) -> Arc<ConnectionCredentials> {
    Arc::new(ConnectionCredentials::new(
        Arc::clone(&services.catalog),
        connection.clone(),
        services.credential_margin,
    ))
}

/// A client for `bucket`, or for the endpoint alone, with the settings of `connection`. Fails if a
/// secret of the connection does not exist.
pub(crate) fn connect(
    services: &Services,
    connection: &Connection,
    bucket: Option<&str>,
    retry: RetryPolicy,
) -> Result<S3Client> {
    let credentials = credentials(services, connection);
    credentials.check()?;
    S3Client::new(settings(connection, credentials, retry), bucket)
}

/// Opens the store of a target: a bucket through its connection, or the local disk. `part_bytes` is
/// the size of a file's parts, `object` holds the store's options for objects.
pub(crate) fn open_store(
    services: &Services,
    target: &Target,
    connection: Option<&str>,
    part_bytes: usize,
    object: &ObjectOptions,
) -> Result<Arc<dyn UploadStore>> {
    let bucket = match target.place() {
        Place::Bucket(bucket) => bucket,
        Place::LocalDisk => {
            services.access.check_local_files()?;
            let store = LocalUploadStore::new(target, part_bytes);
            return Ok(Arc::new(match object.skip_sync {
                true => store.without_sync(),
                false => store,
            }));
        }
    };
    let name = connection.unwrap_or_default();
    let connection = find_connection(services, name)?;
    check_bucket(&connection, bucket, object)?;
    let client = connect(services, &connection, Some(bucket), services.retry.clone())?;
    Ok(Arc::new(S3UploadStore::new(
        client,
        name.to_owned(),
        object.clone(),
    )))
}

/// Refuses unsupported buckets and options before any request is sent.
fn check_bucket(connection: &Connection, bucket: &str, object: &ObjectOptions) -> Result<()> {
    if is_express_bucket(bucket) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("bucket {bucket} is one of S3 Express, which Tidegate does not write to"),
        )
        .with_hint("use a general purpose bucket"));
    }
    let provider = connection.provider();
    if object.sha256 && !provider.checksums {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} verifies no CHECKSUM", provider.name),
        )
        .with_hint("leave CHECKSUM out; parts are verified by their ETags"));
    }
    Ok(())
}

/// A client for the endpoint that signs with the correct key id and a wrong secret.
pub(crate) async fn connect_with_wrong_secret(
    services: &Services,
    connection: &Connection,
    retry: RetryPolicy,
) -> Result<S3Client> {
    let right = credentials(services, connection).get().await?;
    let wrong = StaticCredentialProvider::new(AwsCredential {
        secret_key: "0".repeat(right.secret_key.len()),
        key_id: right.key_id.clone(),
        token: right.token.clone(),
    });
    S3Client::new(settings(connection, Arc::new(wrong), retry), None)
}

fn settings(
    connection: &Connection,
    credentials: AwsCredentialProvider,
    retry: RetryPolicy,
) -> S3Settings {
    S3Settings {
        region: connection.signing_region(),
        region_is_given: connection.region.is_some(),
        endpoint: connection.endpoint.clone(),
        url_style: connection.url_style,
        credentials,
        retry,
    }
}

/// Lets `CREATE EXTERNAL TABLE … LOCATION 's3://…' OPTIONS ('aws.connection' 'c')` read through a
/// connection. Other locations stay as they are.
pub(crate) async fn resolve_external_table(
    state: &SessionState,
    services: &Services,
    create: &mut CreateExternalTable,
) -> Result<()> {
    let Some(name) = create.options.remove(CONNECTION_OPTION) else {
        return Ok(());
    };
    for location in &mut create.locations {
        *location = readable_location(state, services, &name, location).await?;
    }
    Ok(())
}

/// Registers a store for the bucket of `location` and returns the location by which DataFusion
/// reads it through the connection.
///
/// # Errors
/// The connection does not exist, or `location` is not on S3.
pub(crate) async fn readable_location(
    state: &SessionState,
    services: &Services,
    connection: &str,
    location: &str,
) -> Result<String> {
    let connection = find_connection(services, connection)?;
    // Not parsed as a URL: a glob's characters would be escaped.
    let rest = location.strip_prefix("s3://").unwrap_or_default();
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("'{location}' is not an s3://bucket/… location, which a connection is for"),
        ));
    }
    let root = format!("{}://{bucket}/", internal_scheme(&connection.name));
    let store = read_store(services, &connection, bucket).await?;
    let store_url = Url::parse(&root).map_err(|error| {
        Error::new(ErrorKind::Internal, "the location makes no URL").with_source(error)
    })?;
    state.runtime_env().register_object_store(&store_url, store);
    Ok(format!("{root}{path}"))
}

/// The location as a user writes it, of a location that [`readable_location`] has returned.
pub(crate) fn written_location(location: &str) -> String {
    match location.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("s3+") => format!("s3://{rest}"),
        _ => location.to_owned(),
    }
}

/// The connection of a location that [`readable_location`] has returned; `None` for any other.
pub(crate) fn connection_of(location: &str) -> Option<String> {
    let (scheme, _) = location.split_once("://")?;
    let encoded = scheme.strip_prefix("s3+")?;
    // The scheme's escapes are those of a URL, with another sign.
    let encoded = encoded.replace('.', "%");
    let decoded = percent_encoding::percent_decode_str(&encoded)
        .decode_utf8()
        .ok()?;
    Some(decoded.into_owned())
}

/// The bucket of a location that [`readable_location`] has returned.
pub(crate) fn bucket_of(location: &str) -> String {
    let rest = location
        .split_once("://")
        .map_or(location, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

/// A URL scheme that only this connection has. Characters that a scheme can't contain are encoded.
fn internal_scheme(connection: &str) -> String {
    let mut scheme = String::from("s3+");
    for byte in connection.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => scheme.push(char::from(byte)),
            other => scheme.push_str(&format!(".{other:02x}")),
        }
    }
    scheme
}

/// Asks the store for a key, so that errors of reading say what errors of an export say, and returns
/// the bucket's region.
///
/// # Errors
/// The store's, except that the connection may not list: it may still read.
async fn ask_for_region(
    services: &Services,
    connection: &Connection,
    bucket: &str,
) -> Result<String> {
    let retry = services.retry.impatient();
    let client = connect(services, connection, Some(bucket), retry)?;
    match client.list_objects("", 1).await {
        Err(error) if error.kind == S3ErrorKind::AccessDenied => {
            tracing::debug!(%error, "the bucket may not be listed");
        }
        Err(error) => return Err(Error::from(error).in_connection(&connection.name)),
        Ok(_) => {}
    }
    Ok(client.region())
}

/// object_store's reader for a bucket.
async fn read_store(
    services: &Services,
    connection: &Connection,
    bucket: &str,
) -> Result<Arc<dyn object_store::ObjectStore>> {
    let default_style = connection.provider().url_style;
    let virtual_hosted = connection.url_style.unwrap_or(default_style) == UrlStyle::Virtual;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(ask_for_region(services, connection, bucket).await?)
        .with_virtual_hosted_style_request(virtual_hosted)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_credentials(credentials(services, connection));
    if let Some(endpoint) = &connection.endpoint {
        let mut endpoint = endpoint.clone();
        if virtual_hosted {
            // object_store wants the bucket in a virtual-hosted endpoint.
            let host = format!("{bucket}.{}", endpoint.host_str().unwrap_or_default());
            endpoint.set_host(Some(&host)).map_err(|error| {
                Error::new(
                    ErrorKind::InvalidParameter,
                    format!("'{host}' is not a host name: {error}"),
                )
            })?;
        }
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    let store = builder.build().map_err(|error| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "connection \"{}\" can't be used for reading",
                connection.name
            ),
        )
        .with_source(error)
    })?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_valid_and_distinct() {
        let names = ["c", "C", "a_b", "a.5fb", "ü", "a b"];
        let schemes: Vec<String> = names.iter().map(|name| internal_scheme(name)).collect();
        for (i, scheme) in schemes.iter().enumerate() {
            let url = Url::parse(&format!("{scheme}://bucket/x")).unwrap();
            assert_eq!(url.scheme(), scheme);
            assert_eq!(connection_of(url.as_str()).as_deref(), Some(names[i]));
            assert!(!schemes[..i].contains(scheme));
        }
    }
}
