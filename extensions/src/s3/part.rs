//! The receipt for a part that the store has confirmed.
//!
//! Invariant: parsing the text of a receipt returns the same receipt. Without a checksum, the text
//! is the ETag alone.

use std::fmt;

/// Stands between ETag and checksum in a receipt's text. ETags have no spaces:
/// <https://www.rfc-editor.org/rfc/rfc9110#name-etag>
const CHECKSUM: &str = " sha256:";

/// A part's ETag, and its checksum if it was sent with one. Both are needed to complete the upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReceipt {
    /// The store's ETag.
    pub etag: String,
    /// Base64 of the part's SHA-256 digest.
    pub checksum: Option<String>,
}

impl fmt::Display for PartReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.etag)?;
        match &self.checksum {
            Some(checksum) => write!(f, "{CHECKSUM}{checksum}"),
            None => Ok(()),
        }
    }
}

impl From<&String> for PartReceipt {
    fn from(text: &String) -> Self {
        let (etag, checksum) = match text.split_once(CHECKSUM) {
            Some((etag, checksum)) => (etag, Some(checksum.to_owned())),
            None => (text.as_str(), None),
        };
        Self {
            etag: etag.to_owned(),
            checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_read_back() {
        for checksum in [None, Some("3q2+7w==".to_owned())] {
            let etag = "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned();
            let receipt = PartReceipt { etag, checksum };
            assert_eq!(PartReceipt::from(&receipt.to_string()), receipt);
        }
    }
}
