//! Errors of requests to a store, classified by their cause.
//!
//! Invariant: an [`S3Error`] has the operation, the resource, and the store's own code and message.
//! It has nothing of the signed headers.

use std::error::Error as StdError;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use crate::error::{Error, ErrorKind};

/// The cause of a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum S3ErrorKind {
    /// No bucket of that name.
    NoSuchBucket,
    /// No object of that key.
    NoSuchKey,
    /// The upload is not pending: completed, aborted, or never created.
    NoSuchUpload,
    /// A condition (`If-None-Match`) was not met.
    PreconditionFailed,
    /// The store does not know the access key.
    UnknownKey,
    /// The signature is wrong, which means that the secret access key is wrong.
    WrongSecret,
    /// Access is denied. The store does not say whether the key or the secret is wrong, or whether
    /// a permission is missing.
    AccessDenied,
    /// The session token does not belong to the access key.
    WrongToken,
    /// The credentials have expired.
    Expired,
    /// There are no credentials to sign with.
    NoCredentials,
    /// The bucket or the signature belongs to another region.
    WrongRegion,
    /// This machine's clock and the store's differ too much.
    ClockSkew,
    /// The store does not support the operation.
    Unsupported,
    /// The host could not be reached.
    Unreachable,
    /// No answer before the deadline.
    Timeout,
    /// The store asks to slow down, or failed on its side.
    Busy,
    /// Anything else.
    Other,
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[error("{operation} on {resource}: {reason}")]
pub struct S3Error {
    /// The cause.
    pub kind: S3ErrorKind,
    /// The S3 operation, for example `PutObject`.
    pub operation: &'static str,
    /// `s3://bucket/key`, or the endpoint if no bucket is involved.
    pub resource: String,
    /// The store's code and message, or the reason why there was no answer.
    pub reason: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The store's error code, if it sent one.
    pub code: Option<Box<str>>,
    /// The region that the store named, if it differs from the signed region.
    pub region: Option<Box<str>>,
    /// How often the request was sent before, without an answer or with a transient failure.
    pub retries: u32,
    /// The error of the transport or of the credentials, if there was no answer.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl S3Error {
    /// Whether the store may have executed the request, or may still execute it. Only a refusal of
    /// the first attempt shows that it has not and will not.
    pub fn maybe_executed(&self) -> bool {
        let refused = self
            .status
            .is_some_and(|status| (400..500).contains(&status));
        let not_sent = self.kind == S3ErrorKind::NoCredentials;
        self.retries > 0 || !(refused || not_sent)
    }
}

impl S3ErrorKind {
    /// Classifies an answer by its code, message and status.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>
    pub(super) fn classify(status: u16, code: &str, message: &str) -> Self {
        match code {
            "NoSuchBucket" | "InvalidBucketName" => Self::NoSuchBucket,
            "NoSuchKey" => Self::NoSuchKey,
            "NoSuchUpload" => Self::NoSuchUpload,
            "PreconditionFailed" | "ConditionalRequestConflict" => Self::PreconditionFailed,
            // s3s sends NotSignedUp for an unknown key.
            "InvalidAccessKeyId" | "NotSignedUp" => Self::UnknownKey,
            "SignatureDoesNotMatch" => Self::WrongSecret,
            "InvalidToken" | "InvalidClientTokenId" => Self::WrongToken,
            "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "RequestExpired" => Self::Expired,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "IllegalLocationConstraintException" => Self::WrongRegion,
            "RequestTimeTooSkewed" => Self::ClockSkew,
            "NotImplemented" | "MethodNotAllowed" => Self::Unsupported,
            // AWS asks to try again after OperationAborted:
            // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
            "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout"
            | "Throttling" | "OperationAborted" => Self::Busy,
            // Garage sends AccessDenied for both of these and names the cause in its message.
            "AccessDenied" if message.contains("No such key") => Self::UnknownKey,
            "AccessDenied" if message.contains("Invalid signature") => Self::WrongSecret,
            "AccessDenied" => Self::AccessDenied,
            _ => match status {
                301 | 307 => Self::WrongRegion,
                401 | 403 => Self::AccessDenied,
                404 => Self::NoSuchKey,
                412 => Self::PreconditionFailed,
                405 | 501 => Self::Unsupported,
                408 | 429 | 500 | 502 | 503 | 504 => Self::Busy,
                _ => Self::Other,
            },
        }
    }

    /// Whether the same request may succeed if sent again.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Timeout | Self::Unreachable)
    }
}

impl S3Error {
    /// An error without status, code, region and source.
    pub(super) fn new(
        kind: S3ErrorKind,
        operation: &'static str,
        resource: String,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation,
            resource,
            reason: reason.into(),
            status: None,
            code: None,
            region: None,
            retries: 0,
            source: None,
        }
    }

    /// The error for a missing answer. It says whether the host name, the port, TLS or the
    /// connection was the problem.
    pub(super) fn from_transport(
        operation: &'static str,
        resource: String,
        error: HttpError,
        may_want_tls: bool,
    ) -> Self {
        let kind = match error.kind() {
            HttpErrorKind::Timeout => S3ErrorKind::Timeout,
            _ => S3ErrorKind::Unreachable,
        };
        let reason = match transport_reason(&error) {
            reason if may_want_tls && CLOSED.contains(&reason.as_str()) => {
                format!("{reason}; does it speak TLS on this port: is it https://?")
            }
            reason => reason,
        };
        let mut failed = Self::new(kind, operation, resource, reason);
        failed.source = Some(Box::new(error));
        failed
    }
}

/// Failures that a server which expects TLS may cause.
const CLOSED: [&str; 2] = [CUT, NO_HTTP];

const CUT: &str = "the connection was cut";
const NO_HTTP: &str = "the server closed the connection without an answer";

/// Describes the innermost cause in terms that a user knows.
fn transport_reason(error: &HttpError) -> String {
    let mut causes = Vec::new();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return CUT.to_owned(),
                io::ErrorKind::TimedOut => return "no answer in time".to_owned(),
                _ => {}
            }
        }
        causes.push(current.to_string());
        cause = current.source();
    }
    if error.kind() == HttpErrorKind::Timeout {
        return "no answer in time".to_owned();
    }
    let says = |words: &str| causes.iter().any(|text| text.contains(words));
    if says("dns error") {
        return "the host's name could not be resolved".to_owned();
    }
    // The error types of rustls are not accessible here, only its messages.
    if says("invalid peer certificate") {
        let detail = causes.pop().unwrap_or_default();
        let detail = detail.rsplit("certificate: ").next().unwrap_or_default();
        return format!(
            "the server's certificate is not trusted ({detail}): it is self-signed, for another \
             host, out of date, or its authority is not known to this machine"
        );
    }
    if says("InvalidContentType") || says("corrupt message") {
        return "the server does not speak TLS on this port: is it http://?".to_owned();
    }
    if says("connection closed before message completed") || says("invalid HTTP version") {
        return NO_HTTP.to_owned();
    }
    causes.pop().unwrap_or_else(|| "no answer".to_owned())
}

impl S3Error {
    /// Returns the original error that says why there are no credentials. Any other error is
    /// returned as `Err`.
    fn into_credentials_error(mut self) -> Result<Error, Self> {
        if self.kind != S3ErrorKind::NoCredentials {
            return Err(self);
        }
        match self.source.take().map(|source| source.downcast::<Error>()) {
            Some(Ok(inner)) => Ok(*inner),
            Some(Err(other)) => {
                self.source = Some(other);
                Err(self)
            }
            None => Err(self),
        }
    }
}

/// Builds the error that a user sees. Permissions have their IAM names.
impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        let error = match error.into_credentials_error() {
            Ok(inner) => return inner,
            Err(error) => error,
        };
        let resource = &error.resource;
        let operation = error.operation;
        let reason = &error.reason;
        let built = match error.kind {
            S3ErrorKind::NoSuchBucket => Error::new(
                ErrorKind::UndefinedObject,
                format!("the bucket of {resource} does not exist ({reason})"),
            )
            .with_hint("create the bucket, or check its name, the endpoint and the region"),
            S3ErrorKind::UnknownKey => Error::new(
                ErrorKind::InvalidCredentials,
                format!("the store does not know the ACCESS KEY ID ({reason})"),
            )
            .with_hint("check ACCESS KEY ID, and that the endpoint is the one it belongs to"),
            S3ErrorKind::WrongSecret => Error::new(
                ErrorKind::InvalidCredentials,
                format!("the SECRET ACCESS KEY is wrong for this ACCESS KEY ID ({reason})"),
            )
            .with_hint("check the secret's value; CREATE OR REPLACE SECRET changes it"),
            S3ErrorKind::AccessDenied => Error::new(
                ErrorKind::InsufficientPrivilege,
                format!(
                    "access denied: {} on {resource} ({reason})",
                    permission(operation)
                ),
            )
            .with_hint(format!(
                "ACCESS KEY ID or SECRET ACCESS KEY is wrong, or the key lacks {}",
                permission(operation)
            )),
            S3ErrorKind::WrongToken => Error::new(
                ErrorKind::InvalidCredentials,
                format!("the SESSION TOKEN is not the one of this ACCESS KEY ID ({reason})"),
            )
            .with_hint("get a key, its secret and its token together, and set all three"),
            S3ErrorKind::Expired => Error::new(
                ErrorKind::InvalidCredentials,
                format!("the credentials have expired ({reason})"),
            )
            .with_hint("get new ones, or use ASSUME ROLE ARN, PROFILE or CREDENTIAL CHAIN, which renew them"),
            S3ErrorKind::NoCredentials => Error::new(
                ErrorKind::InvalidCredentials,
                format!("there are no credentials for {operation} on {resource} ({reason})"),
            ),
            S3ErrorKind::WrongRegion => Error::new(
                ErrorKind::InvalidParameter,
                format!("the REGION is wrong for {resource} ({reason})"),
            )
            .with_hint(match &error.region {
                Some(region) => format!("the right one is '{region}': ALTER CONNECTION … SET (REGION = '{region}')"),
                None => "set REGION in the connection".to_owned(),
            }),
            S3ErrorKind::ClockSkew => Error::new(
                ErrorKind::InvalidCredentials,
                format!("this machine's clock differs too much from the store's ({reason})"),
            )
            .with_hint("set this machine's clock: signatures are good for some minutes only"),
            S3ErrorKind::Unreachable => Error::new(
                ErrorKind::ConnectionFailure,
                format!("can't reach the store for {operation} on {resource}: {reason}"),
            )
            .with_hint("check ENDPOINT and the network"),
            S3ErrorKind::Timeout => Error::new(
                ErrorKind::ConnectionFailure,
                format!("the store did not answer {operation} on {resource} in time"),
            ),
            S3ErrorKind::Unsupported => Error::new(
                ErrorKind::Unsupported,
                format!("the store does not support {operation} on {resource} ({reason})"),
            ),
            S3ErrorKind::NoSuchKey
            | S3ErrorKind::NoSuchUpload
            | S3ErrorKind::PreconditionFailed
            | S3ErrorKind::Busy
            | S3ErrorKind::Other => Error::new(
                ErrorKind::Io,
                format!("{operation} on {resource} failed: {reason}"),
            ),
        };
        built.with_source(error)
    }
}

/// The IAM action an operation needs:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>
fn permission(operation: &'static str) -> &'static str {
    match operation {
        "ListObjectsV2" | "HeadBucket" => "s3:ListBucket",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "DeleteObject" => "s3:DeleteObject",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "ListBuckets" => "s3:ListAllMyBuckets",
        _ => "s3:PutObject",
    }
}
