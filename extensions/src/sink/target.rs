//! Where an export goes.
//!
//! Invariant: a [`Target`] is a bucket and a folder in it. The folder is empty or ends in `/`, so
//! that `s3://b/p` never means anything under `p2/`.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// `s3://bucket/prefix/`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    bucket: String,
    /// Empty, or ends in `/`.
    prefix: String,
}

impl Target {
    /// Reads a target as a user writes it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for another scheme, no bucket, or a path that URL rules
    /// would change (`.` and `..`).
    pub fn parse(url: &str) -> Result<Self> {
        let refuse = |why: String| Error::new(ErrorKind::InvalidParameter, why);
        let is_s3 = url
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://"));
        if !is_s3 {
            return Err(refuse(
                "only 's3://...' urls are supported as COPY TO target".to_owned(),
            ));
        }
        let (bucket, path) = url[5..].split_once('/').unwrap_or((&url[5..], ""));
        if bucket.is_empty() {
            return Err(refuse(format!("COPY TO target '{url}' has no bucket"))
                .with_hint("write it as 's3://bucket/prefix'"));
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and the
        // characters that stores without that rule allow.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !bucket.chars().all(allowed) {
            return Err(refuse(format!("'{bucket}' is not the name of a bucket")));
        }
        if path.chars().any(char::is_control) {
            return Err(refuse(
                "COPY TO target contains a control character".to_owned(),
            ));
        }
        let path = path.trim_end_matches('/');
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(refuse(format!(
                "COPY TO target '{url}' contains '.' or '..' as a folder"
            )));
        }
        if path.starts_with('/') || path.contains("//") {
            return Err(refuse(format!(
                "COPY TO target '{url}' contains an empty folder ('//')"
            )));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: if path.is_empty() {
                String::new()
            } else {
                format!("{path}/")
            },
        })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The folder within the bucket: empty, or ending in `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        let target = Target::parse("s3://b/day=1/x").unwrap();
        assert_eq!((target.bucket(), target.prefix()), ("b", "day=1/x/"));
        assert_eq!(Target::parse("S3://b").unwrap().prefix(), "");
        assert_eq!(Target::parse("s3://b/x//").unwrap().prefix(), "x/");
    }

    #[test]
    fn bad_targets_are_refused() {
        for url in [
            "",
            "s3:",
            "s3://",
            "s3:///x",
            "gs://b/x",
            "x",
            "s3://b/../x",
            "s3://b/a//b",
            "s3://b /x",
            "s3://b/a\nb",
            "é3://x",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
