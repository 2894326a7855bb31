//! A connection: the address of a store, and how to get credentials for it.
//!
//! Invariant: a [`Connection`] is checked when it is built. It has exactly one way to get
//! credentials, its endpoint is an http(s) URL without a path, and it holds secrets by name only.
//! The exception is a session token, which may be given as text and is never printed.

use std::fmt;

use url::Url;

use super::{Secret, fold};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::s3::{Provider, UrlStyle, is_private};
use crate::sql::ast::{OptionChange, OptionValue, SqlOption, quote_name};

/// The address of a store, and the way to get credentials for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// The name, folded.
    pub name: String,
    /// The store's endpoint; `None` means AWS.
    pub endpoint: Option<Url>,
    /// The region as given.
    pub region: Option<String>,
    /// How to get credentials.
    pub credentials: Credentials,
    /// The URL style as given.
    pub url_style: Option<UrlStyle>,
    options: Vec<ConnectionOption>,
}

/// How a connection gets credentials.
#[derive(Debug, Clone, PartialEq)]
pub enum Credentials {
    /// An access key.
    AccessKey(AccessKey),
    /// A profile of the shared AWS configuration.
    Profile(String),
    /// The first source that is set up: environment, profile, SSO, web identity, ECS, instance
    /// metadata.
    Chain,
    /// A role to assume.
    AssumeRole(AssumedRole),
}

/// An access key, with its secrets by name.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessKey {
    /// The access key's id.
    pub id: TextOrSecret,
    /// The name of the secret that holds the secret access key.
    pub secret: String,
    /// The session token of temporary credentials.
    pub session_token: Option<TextOrSecret>,
}

/// A role, and the credentials that assume it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumedRole {
    /// The role's ARN.
    pub arn: String,
    /// The name of the session in the account's logs.
    pub session_name: Option<String>,
    /// The external id, if the role's trust policy requires one.
    pub external_id: Option<String>,
    /// The credentials that assume the role.
    pub base: RoleBase,
}

/// The credentials that assume a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleBase {
    /// As [`Credentials::Chain`], but without instance metadata, which needs CREDENTIAL CHAIN.
    Environment,
    /// As [`Credentials::Profile`]. The profile may itself assume a role.
    Profile(String),
    /// As [`Credentials::Chain`].
    Chain,
}

/// A value given in the statement, or the name of a secret that holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOrSecret {
    /// The value itself.
    Text(String),
    /// The value itself, which must not be shown: a session token.
    Hidden(Secret),
    /// A secret's name.
    Secret(String),
}

/// An option, as a catalog stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionOption {
    /// The canonical name.
    pub name: String,
    /// The value.
    pub value: ConnectionValue,
}

/// The value of a connection's option.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionValue {
    /// A text that may be shown.
    Text(String),
    /// A text that must not be shown.
    Hidden(Secret),
    /// The name of a secret.
    Secret(String),
    /// True or false.
    Boolean(bool),
}

/// The order in which options are shown.
const ORDER: [&str; 12] = [
    ENDPOINT,
    REGION,
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    ASSUME_ROLE_ARN,
    ASSUME_ROLE_SESSION_NAME,
    EXTERNAL_ID,
    PROFILE,
    CREDENTIAL_CHAIN,
    URL_STYLE,
    ALLOW_HTTP,
];

const ENDPOINT: &str = "ENDPOINT";
const REGION: &str = "REGION";
const ACCESS_KEY_ID: &str = "ACCESS KEY ID";
const SECRET_ACCESS_KEY: &str = "SECRET ACCESS KEY";
const SESSION_TOKEN: &str = "SESSION TOKEN";
const ASSUME_ROLE_ARN: &str = "ASSUME ROLE ARN";
const ASSUME_ROLE_SESSION_NAME: &str = "ASSUME ROLE SESSION NAME";
const EXTERNAL_ID: &str = "EXTERNAL ID";
const PROFILE: &str = "PROFILE";
const CREDENTIAL_CHAIN: &str = "CREDENTIAL CHAIN";
const URL_STYLE: &str = "URL STYLE";
const ALLOW_HTTP: &str = "ALLOW HTTP";

impl Connection {
    /// Builds a connection from the options of `CREATE CONNECTION`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a combination of credentials that is incomplete, a
    /// secret in plain text, or a value that an option can't take.
    pub fn from_sql(name: String, options: &[SqlOption]) -> Result<Self> {
        let remembered = options.iter().map(remember).collect::<Result<Vec<_>>>()?;
        let place = |option: &str| {
            let given = options.iter().find(|given| given.name == option);
            given.map(|given| given.location)
        };
        Self::build(name, remembered).map_err(|wrong| wrong.at(place))
    }

    /// Returns the connection with the changes of `ALTER CONNECTION`.
    ///
    /// # Errors
    /// As [`Self::from_sql`], and [`ErrorKind::UndefinedObject`] if a dropped option is not set.
    pub fn altered(&self, changes: &[OptionChange]) -> Result<Self> {
        let mut options = self.options.clone();
        for change in changes {
            match change {
                OptionChange::Set(given) => {
                    for option in given {
                        let new = remember(option)?;
                        options.retain(|old| old.name != new.name);
                        options.push(new);
                    }
                }
                OptionChange::Drop(names) | OptionChange::Reset(names) => {
                    for name in names {
                        let is_drop = matches!(change, OptionChange::Drop(_));
                        if is_drop && !options.iter().any(|option| option.name == *name) {
                            let why = format!("connection \"{}\" has no {name}", self.name);
                            return Err(Error::new(ErrorKind::UndefinedObject, why));
                        }
                        options.retain(|option| option.name != *name);
                    }
                }
            }
        }
        Self::build(self.name.clone(), options).map_err(|wrong| wrong.error)
    }

    /// Builds a connection from stored options.
    ///
    /// # Errors
    /// As [`Self::from_sql`].
    pub fn from_remembered(name: String, options: Vec<ConnectionOption>) -> Result<Self> {
        Self::build(name, options).map_err(|wrong| wrong.error)
    }

    fn build(name: String, mut options: Vec<ConnectionOption>) -> Result<Self, Wrong> {
        options.sort_by_key(|option| ORDER.iter().position(|name| *name == option.name));
        let given = Given(&options);
        let url_style = given.text(URL_STYLE)?.map(parse_url_style).transpose()?;
        let region = given.text(REGION)?.map(parse_region).transpose()?;
        let allow_http = given.boolean(ALLOW_HTTP)?;
        let endpoint = given.text(ENDPOINT)?;
        let endpoint = endpoint.map(|text| parse_endpoint(text, allow_http));
        Ok(Self {
            endpoint: endpoint.transpose()?,
            region,
            credentials: parse_credentials(&given)?,
            url_style,
            name,
            options,
        })
    }

    /// The options, in the order in which they are shown.
    pub fn options(&self) -> &[ConnectionOption] {
        &self.options
    }

    /// The provider that runs the store.
    pub fn provider(&self) -> Provider {
        Provider::of(self.endpoint.as_ref())
    }

    /// The region that requests are signed for. If the connection sets none, this is a default, and
    /// the client may switch to the region that the store names.
    pub fn signing_region(&self) -> String {
        match &self.region {
            Some(region) => region.clone(),
            None => self.provider().default_region(self.endpoint.as_ref()),
        }
    }

    /// The names of the secrets this connection uses.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.options
            .iter()
            .filter_map(|option| match &option.value {
                ConnectionValue::Secret(name) => Some(name.as_str()),
                _ => None,
            })
    }

    /// Returns the connection with a secret's name replaced.
    pub(super) fn with_secret_renamed(&self, from: &str, to: &str) -> Result<Self> {
        let mut options = self.options.clone();
        for option in &mut options {
            if let ConnectionValue::Secret(name) = &mut option.value
                && name == from
            {
                to.clone_into(name);
            }
        }
        Self::from_remembered(self.name.clone(), options)
    }

    /// A short name for the way to get credentials.
    pub fn credentials_kind(&self) -> &'static str {
        match &self.credentials {
            Credentials::AccessKey(_) => "access key",
            Credentials::Profile(_) => "profile",
            Credentials::Chain => "credential chain",
            Credentials::AssumeRole(_) => "assume role",
        }
    }
}

/// Prints the statement that creates the connection. Secrets are printed by name only.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE CONNECTION {} TO AWS (", quote_name(&self.name))?;
        for (i, option) in self.options.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}\n    {} = {}", option.name, option.value)?;
        }
        f.write_str("\n)")
    }
}

impl fmt::Display for ConnectionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Hidden(_) => f.write_str("'…'"),
            Self::Secret(name) => write!(f, "SECRET {}", quote_name(name)),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

/// An error, and the option that caused it, if known.
struct Wrong {
    option: Option<&'static str>,
    error: Error,
}

impl Wrong {
    fn at(self, place: impl Fn(&str) -> Option<Location>) -> Error {
        match self.option.and_then(place) {
            Some(location) => self.error.at(location),
            None => self.error,
        }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self {
            option: None,
            error,
        }
    }
}

fn wrong(option: &'static str, why: impl fmt::Display) -> Wrong {
    Wrong {
        option: Some(option),
        error: invalid(format!("{option} {why}")),
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

/// Checks the value of an option and converts it to its stored form.
fn remember(option: &SqlOption) -> Result<ConnectionOption> {
    let refuse = |why: &str| invalid(format!("{} {why}", option.name)).at(option.location);
    let may_be_secret = matches!(
        option.name,
        ACCESS_KEY_ID | SECRET_ACCESS_KEY | SESSION_TOKEN
    );
    let value = match (option.name, &option.value) {
        (SECRET_ACCESS_KEY, value) if !matches!(value, OptionValue::Secret(_)) => {
            return Err(refuse("must be a secret, not plain text")
                .with_hint("CREATE SECRET name AS 'value'; then SECRET ACCESS KEY = SECRET name"));
        }
        (_, OptionValue::Secret(name)) if may_be_secret => ConnectionValue::Secret(fold(name)),
        (CREDENTIAL_CHAIN | ALLOW_HTTP, value) => {
            let Some(value) = boolean(value) else {
                return Err(refuse("must be true or false"));
            };
            ConnectionValue::Boolean(value)
        }
        (_, OptionValue::Text(text)) if !text.is_empty() => ConnectionValue::Text(text.clone()),
        (_, OptionValue::Word(word)) if option.name != SESSION_TOKEN => {
            ConnectionValue::Text(word.value.clone())
        }
        (_, OptionValue::Sensitive(value)) if !value.expose().is_empty() => {
            ConnectionValue::Hidden(Secret::Plain(value.clone()))
        }
        _ if may_be_secret => return Err(refuse("must be a text or SECRET name")),
        _ => return Err(refuse("must be a text that is not empty")),
    };
    Ok(ConnectionOption {
        name: option.name.to_owned(),
        value,
    })
}

/// Reads the boolean value of an option as PostgreSQL does. An option without a value is true.
pub(crate) fn boolean(value: &OptionValue) -> Option<bool> {
    let text = match value {
        OptionValue::None => return Some(true),
        OptionValue::Word(word) => &word.value,
        OptionValue::Text(text) | OptionValue::Number(text) => text,
        _ => return None,
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The options that were given.
struct Given<'a>(&'a [ConnectionOption]);

impl<'a> Given<'a> {
    fn find(&self, name: &str) -> Option<&'a ConnectionValue> {
        let option = self.0.iter().find(|option| option.name == name);
        option.map(|option| &option.value)
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, Wrong> {
        match self.find(name) {
            None => Ok(None),
            Some(ConnectionValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "must be a text that is not empty")),
        }
    }

    fn boolean(&self, name: &'static str) -> Result<bool, Wrong> {
        match self.find(name) {
            None => Ok(false),
            Some(ConnectionValue::Boolean(value)) => Ok(*value),
            Some(_) => Err(wrong(name, "must be true or false")),
        }
    }

    fn text_or_secret(&self, name: &'static str) -> Result<Option<TextOrSecret>, Wrong> {
        Ok(match self.find(name) {
            None => None,
            Some(ConnectionValue::Text(text)) => Some(TextOrSecret::Text(text.clone())),
            Some(ConnectionValue::Hidden(value)) => Some(TextOrSecret::Hidden(value.clone())),
            Some(ConnectionValue::Secret(secret)) => Some(TextOrSecret::Secret(secret.clone())),
            Some(ConnectionValue::Boolean(_)) => {
                return Err(wrong(name, "must be a text or SECRET name"));
            }
        })
    }

    fn secret(&self, name: &'static str) -> Result<Option<String>, Wrong> {
        match self.find(name) {
            None => Ok(None),
            Some(ConnectionValue::Secret(secret)) => Ok(Some(secret.clone())),
            Some(_) => Err(wrong(name, "must be a secret, not plain text")),
        }
    }
}

fn parse_credentials(given: &Given<'_>) -> Result<Credentials, Wrong> {
    let key = given.text_or_secret(ACCESS_KEY_ID)?;
    let secret = given.secret(SECRET_ACCESS_KEY)?;
    let token = given.text_or_secret(SESSION_TOKEN)?;
    let arn = given.text(ASSUME_ROLE_ARN)?;
    let session_name = given.text(ASSUME_ROLE_SESSION_NAME)?;
    let external_id = given.text(EXTERNAL_ID)?;
    let profile = given.text(PROFILE)?;
    let chain = given.boolean(CREDENTIAL_CHAIN)?;

    let has_key = key.is_some() || secret.is_some() || token.is_some();
    let has_role = arn.is_some() || session_name.is_some() || external_id.is_some();
    let others = [
        (ASSUME_ROLE_ARN, has_role),
        (PROFILE, profile.is_some()),
        (CREDENTIAL_CHAIN, chain),
    ];
    if has_key && let Some((other, _)) = others.into_iter().find(|(_, is_given)| *is_given) {
        return Err(invalid(format!("cannot specify both {ACCESS_KEY_ID} and {other}")).into());
    }
    if profile.is_some() && chain {
        return Err(invalid(format!(
            "cannot specify both {PROFILE} and {CREDENTIAL_CHAIN}"
        ))
        .into());
    }
    if has_key {
        let (Some(id), Some(secret)) = (key, secret) else {
            return Err(invalid(
                "must specify both ACCESS KEY ID and SECRET ACCESS KEY with optional SESSION TOKEN",
            )
            .into());
        };
        return Ok(Credentials::AccessKey(AccessKey {
            id,
            secret,
            session_token: token,
        }));
    }
    if has_role {
        let Some(arn) = arn else {
            return Err(invalid(
                "must specify ASSUME ROLE ARN with optional ASSUME ROLE SESSION NAME",
            )
            .into());
        };
        if !arn.starts_with("arn:") {
            return Err(wrong(
                ASSUME_ROLE_ARN,
                "must be a role's ARN, such as arn:aws:iam::123456789012:role/exports",
            ));
        }
        return Ok(Credentials::AssumeRole(AssumedRole {
            arn: arn.to_owned(),
            session_name: session_name.map(str::to_owned),
            external_id: external_id.map(str::to_owned),
            base: match (profile, chain) {
                (Some(profile), _) => RoleBase::Profile(profile.to_owned()),
                (None, true) => RoleBase::Chain,
                (None, false) => RoleBase::Environment,
            },
        }));
    }
    match (profile, chain) {
        (Some(profile), _) => Ok(Credentials::Profile(profile.to_owned())),
        (None, true) => Ok(Credentials::Chain),
        (None, false) => Err(invalid(
            "must specify either ASSUME ROLE ARN or ACCESS KEY ID and SECRET ACCESS KEY, or \
             PROFILE, or CREDENTIAL CHAIN",
        )
        .into()),
    }
}

fn parse_endpoint(written: &str, allow_http: bool) -> Result<Url, Wrong> {
    let url = Url::parse(written)
        // The error does not repeat the text, because it may hold credentials.
        .map_err(|error| wrong(ENDPOINT, format!("is not a URL: {error}")))?;
    let problem = if !matches!(url.scheme(), "http" | "https") {
        "must begin with https:// or http://"
    } else if url.host_str().is_none() {
        "has no host"
    } else if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        "must be scheme, host and port only; the bucket goes into the target"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not contain credentials"
    } else if url.scheme() == "http" && !is_private(&url) && !allow_http {
        let mut refused = wrong(
            ENDPOINT,
            "is plain http to a host that is not a loopback or private address: exported \
             data could be read in transit",
        );
        let hint = "use https://, or say ALLOW HTTP = true";
        refused.error = refused.error.with_hint(hint);
        return Err(refused);
    } else {
        return Ok(url);
    };
    Err(wrong(ENDPOINT, problem))
}

/// Checks a region: letters, digits, hyphens and underscores. It is part of every signature.
fn parse_region(region: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if region.chars().all(allowed) {
        return Ok(region.to_owned());
    }
    Err(wrong(REGION, "must consist of letters, digits and hyphens"))
}

fn parse_url_style(style: &str) -> Result<UrlStyle, Wrong> {
    match style.to_ascii_lowercase().as_str() {
        "path" => Ok(UrlStyle::Path),
        "virtual" => Ok(UrlStyle::Virtual),
        _ => Err(wrong(URL_STYLE, "must be 'path' or 'virtual'")),
    }
}
