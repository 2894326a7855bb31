//! Options for storing an object: encryption, storage class, checksum.
//!
//! Invariant: every value is valid in an HTTP header.

/// How objects are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ObjectOptions {
    /// How the store encrypts them; `None` for the bucket's setting.
    pub encryption: Option<Encryption>,
    /// The storage class of the data objects; `None` for the bucket's default.
    pub storage_class: Option<String>,
    /// Whether parts are sent with a SHA-256 checksum, which the store verifies and keeps.
    pub sha256: bool,
    /// On the local disk: whether the system decides when files reach the disk.
    pub skip_sync: bool,
}

/// Encryption by the store:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: &'static str,
    /// The KMS key; `None` for the bucket's own key.
    pub kms_key_id: Option<String>,
}
