//! The options that a store applies to objects: encryption, storage class, checksum, durability.
//!
//! Invariant: every text is valid in an HTTP header.

use super::values::{choice, find, invalid, parse_boolean};
use crate::error::Result;
use crate::sink::{Encryption, ObjectOptions};
use crate::sql::ast::{OptionValue, SqlOption};

pub(super) fn parse_object(options: &[SqlOption]) -> Result<ObjectOptions> {
    let encryption = find(options, "SERVER SIDE ENCRYPTION");
    let key = find(options, "KMS KEY ID");
    let algorithm = choice(encryption, "kinds of encryption", Some)?;
    let kms_key_id = key.map(parse_header).transpose()?;
    let encryption = match (algorithm, key) {
        (Some(algorithm), Some(key)) if !algorithm.starts_with("aws:kms") => {
            let why =
                format!("KMS KEY ID needs SERVER SIDE ENCRYPTION = 'aws:kms', not '{algorithm}'");
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
    let sha256 = |name: &str| Some(name == "sha256");
    Ok(ObjectOptions {
        encryption,
        storage_class: find(options, "STORAGE CLASS")
            .map(parse_header)
            .transpose()?,
        sha256: choice(find(options, "CHECKSUM"), "checksums", sha256)?.unwrap_or(false),
        skip_sync: !find(options, "SYNC").map_or(Ok(true), parse_boolean)?,
    })
}

/// The options that targets on the local disk refuse.
pub(super) const OF_BUCKETS: [&str; 4] = [
    "SERVER SIDE ENCRYPTION",
    "KMS KEY ID",
    "STORAGE CLASS",
    "CHECKSUM",
];

/// Parses a header value: one or more visible ASCII characters, without spaces.
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
