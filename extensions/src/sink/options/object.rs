//! What the store is told to do with objects: encrypt them, keep them cheaply, check their bytes.
//!
//! Invariant: every value can stand in an HTTP header.

use super::values::{choice, find, invalid};
use crate::error::Result;
use crate::sql::ast::{OptionValue, SqlOption};

/// How objects are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectOptions {
    /// How the store encrypts them; as the bucket says where not set.
    pub encryption: Option<Encryption>,
    /// The class of the data objects; the bucket's default where not set.
    pub storage_class: Option<String>,
    /// Parts are sent with a checksum that the store verifies and keeps.
    pub sha256: bool,
}

/// Encryption by the store:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: &'static str,
    /// The KMS key; the bucket's own where not set.
    pub kms_key_id: Option<String>,
}

const ALGORITHMS: [(&str, &str); 3] = [
    ("AES256", "AES256"),
    ("aws:kms", "aws:kms"),
    ("aws:kms:dsse", "aws:kms:dsse"),
];

impl ObjectOptions {
    pub(super) fn from_sql(options: &[SqlOption]) -> Result<Self> {
        let encryption = find(options, "SERVER SIDE ENCRYPTION");
        let key = find(options, "KMS KEY ID");
        let algorithm = choice(encryption, "kinds of encryption", &ALGORITHMS)?;
        let kms_key_id = key.map(parse_header).transpose()?;
        let encryption = match (algorithm, key) {
            (Some(algorithm), Some(key)) if !algorithm.starts_with("aws:kms") => {
                let why = format!(
                    "KMS KEY ID needs SERVER SIDE ENCRYPTION = 'aws:kms', not '{algorithm}'"
                );
                return Err(invalid(key, why));
            }
            (None, Some(key)) => {
                let why = "KMS KEY ID needs SERVER SIDE ENCRYPTION = 'aws:kms'";
                return Err(invalid(key, why.to_owned()));
            }
            (Some(algorithm), _) => Some(Encryption {
                algorithm,
                kms_key_id,
            }),
            (None, None) => None,
        };
        let checksums = [("none", false), ("sha256", true)];
        Ok(Self {
            encryption,
            storage_class: find(options, "STORAGE CLASS")
                .map(parse_header)
                .transpose()?,
            sha256: choice(find(options, "CHECKSUM"), "checksums", &checksums)?.unwrap_or(false),
        })
    }
}

/// The options above, which only stores know.
pub(super) const NAMES: [&str; 4] = [
    "SERVER SIDE ENCRYPTION",
    "KMS KEY ID",
    "STORAGE CLASS",
    "CHECKSUM",
];

/// A text for a header: some visible characters of ASCII.
fn parse_header(option: &SqlOption) -> Result<String> {
    let text = match &option.value {
        OptionValue::Text(text) => text.as_str(),
        OptionValue::Word(word) => word.value.as_str(),
        _ => "",
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("{} must be a text without spaces", option.name);
        return Err(invalid(option, why));
    }
    Ok(text.to_owned())
}
