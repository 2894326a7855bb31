//! A connection: where a store is and which credentials open it.
//!
//! Invariant: a [`Connection`] was checked when it was built. It has exactly one way to get
//! credentials, its endpoint is an http(s) URL without a path, and it holds secrets by name only.

use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::s3::UrlStyle;
use crate::secret::SecretValue;
use crate::sql::ast::{OptionValue, SqlOption};

/// How a connection reaches a store and proves who it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// The name, folded.
    pub name: String,
    /// The store's endpoint; AWS itself where there is none.
    pub endpoint: Option<Url>,
    /// The region as given.
    pub region: Option<String>,
    /// The credentials.
    pub credentials: StaticCredentials,
    /// The URL style as given.
    pub url_style: Option<UrlStyle>,
}

/// An access key, with its secrets by name.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticCredentials {
    /// The access key's id.
    pub access_key_id: TextOrSecret,
    /// The name of the secret that holds the secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<TextOrSecret>,
}

/// A value given in the statement, or the name of a secret that holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOrSecret {
    /// The value itself. It is not printed, because a session token may stand here.
    Text(SecretValue),
    /// A secret's name.
    Secret(String),
}

impl Connection {
    /// Builds a connection from the options of `CREATE CONNECTION`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a combination of credentials that is incomplete, a
    /// secret in plain text, or a value that an option can't take.
    pub fn from_options(name: String, options: &[SqlOption]) -> Result<Self> {
        let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
        let endpoint = find("ENDPOINT").map(parse_endpoint).transpose()?;
        let region = find("REGION").map(parse_region).transpose()?;
        let url_style = find("URL STYLE").map(parse_url_style).transpose()?;

        let (Some(access_key_id), Some(secret_access_key)) =
            (find("ACCESS KEY ID"), find("SECRET ACCESS KEY"))
        else {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "must specify both ACCESS KEY ID and SECRET ACCESS KEY with optional SESSION TOKEN",
            ));
        };
        Ok(Self {
            name,
            endpoint,
            region,
            credentials: StaticCredentials {
                access_key_id: text_or_secret(access_key_id)?,
                secret_access_key: secret_only(secret_access_key)?,
                session_token: find("SESSION TOKEN").map(text_or_secret).transpose()?,
            },
            url_style,
        })
    }

    /// The region that requests are signed for.
    pub fn signing_region(&self) -> &str {
        if let Some(region) = &self.region {
            return region;
        }
        // https://developers.cloudflare.com/r2/api/s3/api/#bucket-region
        let is_r2 = self
            .endpoint
            .as_ref()
            .and_then(Url::host_str)
            .is_some_and(|host| host.ends_with(".r2.cloudflarestorage.com"));
        if is_r2 { "auto" } else { "us-east-1" }
    }

    /// The names of the secrets this connection uses.
    pub fn secret_names(&self) -> Vec<&str> {
        let credentials = &self.credentials;
        let texts = [
            Some(&credentials.access_key_id),
            credentials.session_token.as_ref(),
        ];
        let mut names = vec![credentials.secret_access_key.as_str()];
        names.extend(texts.into_iter().flatten().filter_map(|value| match value {
            TextOrSecret::Secret(name) => Some(name.as_str()),
            TextOrSecret::Text(_) => None,
        }));
        names
    }
}

fn invalid(option: &SqlOption, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidParameter,
        format!("{} {why}", option.name),
    )
    .at(option.location)
}

fn text(option: &SqlOption) -> Result<String> {
    match &option.value {
        OptionValue::Text(text) if !text.is_empty() => Ok(text.clone()),
        OptionValue::Word(word) => Ok(word.value.clone()),
        _ => Err(invalid(option, "must be a text that is not empty")),
    }
}

fn text_or_secret(option: &SqlOption) -> Result<TextOrSecret> {
    match &option.value {
        OptionValue::Secret(name) => Ok(TextOrSecret::Secret(fold(name))),
        OptionValue::Text(text) if !text.is_empty() => {
            Ok(TextOrSecret::Text(SecretValue::new(text.clone())))
        }
        OptionValue::Sensitive(value) if !value.expose().is_empty() => {
            Ok(TextOrSecret::Text(value.clone()))
        }
        _ => Err(invalid(option, "must be a text or SECRET name")),
    }
}

fn secret_only(option: &SqlOption) -> Result<String> {
    match &option.value {
        OptionValue::Secret(name) => Ok(fold(name)),
        _ => Err(invalid(option, "must be a secret, not plain text")
            .with_hint("CREATE SECRET name AS 'value'; then SECRET ACCESS KEY = SECRET name")),
    }
}

fn parse_endpoint(option: &SqlOption) -> Result<Url> {
    let written = text(option)?;
    let url = Url::parse(&written)
        .map_err(|error| invalid(option, &format!("'{written}' is not a URL: {error}")))?;
    let problem = if !matches!(url.scheme(), "http" | "https") {
        Some("must begin with https:// or http://")
    } else if url.host_str().is_none() {
        Some("has no host")
    } else if !matches!(url.path(), "" | "/") || url.query().is_some() {
        Some("must be scheme, host and port only; the bucket goes into the target")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("must not contain credentials")
    } else {
        None
    };
    match problem {
        Some(why) => Err(invalid(option, why)),
        None => Ok(url),
    }
}

/// A region goes into every signature: letters, digits and hyphens.
fn parse_region(option: &SqlOption) -> Result<String> {
    let region = text(option)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if region.chars().all(allowed) {
        return Ok(region);
    }
    Err(invalid(
        option,
        "must consist of letters, digits and hyphens",
    ))
}

fn parse_url_style(option: &SqlOption) -> Result<UrlStyle> {
    match text(option)?.to_ascii_lowercase().as_str() {
        "path" => Ok(UrlStyle::Path),
        "virtual" => Ok(UrlStyle::Virtual),
        _ => Err(invalid(option, "must be 'path' or 'virtual'")),
    }
}

/// Folds a name as PostgreSQL does: to lower case unless it was quoted.
pub(crate) fn fold(name: &sqlparser::ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
