//! Credentials from profiles, the credential chain and roles, through the AWS SDK.
//!
//! Invariant: instance metadata is asked only if the connection sets CREDENTIAL CHAIN, or if a
//! profile names it as its `credential_source`.
//!
//! The order of the chain:
//! <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>

use std::error::Error as StdError;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::Provider as TlsProvider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use object_store::aws::AwsCredential;

use super::Provided;
use crate::catalog::{AssumedRole, Connection, Credentials, RoleBase};
use crate::error::{Error, ErrorKind, Result};

/// The default name of a role's session.
const SESSION_NAME: &str = "tidegate";

/// Provides the credentials of a connection without an access key.
#[derive(Debug)]
pub(super) struct Provider(SharedCredentialsProvider);

impl Provider {
    /// # Errors
    /// [`ErrorKind::Internal`] for a connection that has an access key.
    pub(super) async fn new(connection: &Connection) -> Result<Self> {
        provider(connection).await.map(Self)
    }

    /// Current credentials, and when they expire.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCredentials`] if no source has any.
    pub(super) async fn provide(&self, connection: &Connection) -> Result<Provided> {
        let provided = self.0.provide_credentials().await;
        let provided = provided.map_err(|error| explain(connection, &error).with_source(error))?;
        Ok(Provided {
            credential: AwsCredential {
                key_id: provided.access_key_id().to_owned(),
                secret_key: provided.secret_access_key().to_owned(),
                token: provided.session_token().map(str::to_owned),
            },
            expires: provided.expiry(),
        })
    }
}

async fn provider(connection: &Connection) -> Result<SharedCredentialsProvider> {
    // Some stores accept "auto" in signatures, but STS needs a real region.
    let region = match connection.signing_region() {
        region if region == "auto" => "us-east-1".to_owned(),
        region => region,
    };
    let region = Region::new(region);
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(TlsProvider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(http.clone());
    let role = match &connection.credentials {
        Credentials::Profile(name) => return Ok(profile(&config, name)),
        Credentials::Chain => return Ok(chain(&config, true)),
        Credentials::AssumeRole(role) => role,
        Credentials::AccessKey(_) => {
            let why = "an access key needs no provider";
            return Err(Error::new(ErrorKind::Internal, why));
        }
    };
    let base = match &role.base {
        RoleBase::Environment => chain(&config, false),
        RoleBase::Profile(name) => profile(&config, name),
        RoleBase::Chain => chain(&config, true),
    };
    let mut sts = aws_config::defaults(BehaviorVersion::latest())
        .no_credentials()
        .region(region)
        .http_client(http);
    if let Some(endpoint) = &connection.endpoint
        && !connection.provider().is_aws()
    {
        // Other stores that support roles serve STS at the store's own endpoint.
        sts = sts.endpoint_url(endpoint.as_str());
    }
    let mut assumed = AssumeRoleProvider::builder(&role.arn)
        .configure(&sts.load().await)
        .session_name(role.session_name.as_deref().unwrap_or(SESSION_NAME));
    if let Some(id) = &role.external_id {
        assumed = assumed.external_id(id);
    }
    let assumed = assumed.build_from_provider(base).await;
    Ok(SharedCredentialsProvider::new(assumed))
}

fn profile(config: &ProviderConfig, name: &str) -> SharedCredentialsProvider {
    let profile = ProfileFileCredentialsProvider::builder()
        .configure(config)
        .profile_name(name);
    SharedCredentialsProvider::new(profile.build())
}

fn chain(config: &ProviderConfig, with_metadata: bool) -> SharedCredentialsProvider {
    let profile = ProfileFileCredentialsProvider::builder().configure(config);
    let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(config);
    let container = EcsCredentialsProvider::builder().configure(config);
    let environment = EnvironmentVariableCredentialsProvider::new();
    let mut chain = CredentialsProviderChain::first_try("environment", environment)
        .or_else("profile", profile.build())
        .or_else("web identity", web_identity.build())
        .or_else("container", container.build());
    if with_metadata {
        let metadata = ImdsCredentialsProvider::builder().configure(config);
        chain = chain.or_else("instance metadata", metadata.build());
    }
    SharedCredentialsProvider::new(chain)
}

/// The error that says why there are no credentials and what to do.
fn explain(connection: &Connection, error: &CredentialsError) -> Error {
    let why = causes(error);
    // The same message appears if the chain finds no credentials to assume a role with.
    let found_nobody = why.contains("no providers in chain");
    let (what, hint) = match &connection.credentials {
        Credentials::AssumeRole(AssumedRole { arn, base, .. }) if found_nobody => {
            let places = match base {
                RoleBase::Chain => "the credential chain",
                _ => "environment, profile, SSO, web identity or container",
            };
            (
                format!("has nobody to assume role {arn}: there are no credentials in {places}"),
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give PROFILE or CREDENTIAL CHAIN = true",
            )
        }
        Credentials::AssumeRole(AssumedRole { arn, .. }) => (
            format!("can't assume role {arn}: {why}"),
            "the role must exist, trust the caller (with its EXTERNAL ID, if it asks for one), and the caller needs sts:AssumeRole",
        ),
        Credentials::Profile(profile) => (
            format!("gets no credentials from profile '{profile}': {why}"),
            "check the profile in ~/.aws/config and ~/.aws/credentials; for SSO run aws sso login",
        ),
        _ if found_nobody => (
            "finds no credentials in environment, profile, SSO, web identity, container or instance metadata".to_owned(),
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
        ),
        _ => (
            format!("gets no credentials: {why}"),
            "only the first source that is set up is asked: environment, profile, SSO, web identity, container, instance metadata",
        ),
    };
    let name = &connection.name;
    let message = format!("connection \"{name}\" {what}");
    Error::new(ErrorKind::InvalidCredentials, message).with_hint(hint)
}

/// The messages of the error and its causes, without repetitions.
fn causes(error: &dyn StdError) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(current) = cause {
        let text = current.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        cause = current.source();
    }
    said.join(": ")
}
