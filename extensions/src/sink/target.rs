//! The target of an export.
//!
//! Invariant: a [`Target`] is a folder, or one object in a folder. The folder is empty or ends in
//! `/`, so `s3://b/p` never matches keys under `p2/`. A key is the store's name of an object; on
//! the local disk it is the absolute path without its leading `/`.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// The folder of all bookkeeping, below a target.
pub(super) const FOLDER: &str = "_tidegate/";

/// `s3://bucket/folder/`, `/local/folder/`, or an object in one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    place: Place,
    /// Empty, or ends in `/`.
    folder: String,
    /// The single object's name in the folder, for `SINGLE FILE`.
    file: Option<String>,
}

/// A file of an export, as its key describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExportedFile {
    /// The name of its format.
    pub(super) format: String,
    /// The partition columns.
    pub(super) columns: Vec<String>,
}

/// The store of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// A bucket, by its name.
    Bucket(String),
    /// The local file system.
    LocalDisk,
}

impl Target {
    /// Parses a target as the user wrote it: an `s3://` URL, a `file://` URL or a path.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for another scheme, a missing or invalid bucket name, a
    /// control character, a path in a bookkeeping folder, and on S3 for `.`, `..` or an empty
    /// folder in the path.
    pub fn parse(text: &str) -> Result<Self> {
        if text.chars().any(char::is_control) {
            return Err(invalid("COPY TO target contains a control character"));
        }
        let scheme = text
            .split_once(':')
            .map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest.starts_with("//")));
        match scheme {
            Some((scheme, true)) if scheme == "s3" => Self::parse_s3(text),
            Some((scheme, true)) if scheme == "file" => {
                let path = Url::parse(text)
                    .ok()
                    .and_then(|url| url.to_file_path().ok());
                let path = path.ok_or_else(|| {
                    invalid(format!("COPY TO target '{text}' is not a file:// URL"))
                        .with_hint("write it as 'file:///folder', or as a path")
                })?;
                Self::parse_path(&path.to_string_lossy())
            }
            Some((scheme, has_host)) if has_host || scheme == "s3" => Err(invalid(
                "only 's3://...' urls are supported as COPY TO target",
            )
            .with_hint("or a path on this machine, without a scheme or with file://")),
            _ => Self::parse_path(text),
        }
    }

    fn parse_s3(url: &str) -> Result<Self> {
        let (bucket, path) = url[5..].split_once('/').unwrap_or((&url[5..], ""));
        if bucket.is_empty() {
            return Err(invalid(format!("COPY TO target '{url}' has no bucket"))
                .with_hint("write it as 's3://bucket/prefix'"));
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and the
        // characters that stores without that rule allow.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !bucket.chars().all(allowed) {
            return Err(invalid(format!("'{bucket}' is not the name of a bucket")));
        }
        refuse_bookkeeping(path)?;
        let path = path.trim_end_matches('/');
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(invalid(format!(
                "COPY TO target '{url}' contains '.' or '..' as a folder"
            )));
        }
        if path.starts_with('/') || path.contains("//") {
            return Err(invalid(format!(
                "COPY TO target '{url}' contains an empty folder ('//')"
            )));
        }
        Ok(Self {
            place: Place::Bucket(bucket.to_owned()),
            folder: as_folder(path),
            file: None,
        })
    }

    fn parse_path(path: &str) -> Result<Self> {
        if path.is_empty() {
            return Err(invalid("COPY TO target is empty"));
        }
        refuse_bookkeeping(path)?;
        let absolute = std::path::absolute(path).map_err(|error| {
            invalid(format!("COPY TO target '{path}' is not a path: {error}")).with_source(error)
        })?;
        let absolute = absolute
            .to_str()
            .ok_or_else(|| invalid("the current folder's path is not valid text"))?;
        Ok(Self {
            place: Place::LocalDisk,
            folder: as_folder(absolute.trim_matches('/')),
            file: None,
        })
    }

    /// The target as one object instead of a folder: the last part of the path is the object's
    /// name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if the path is empty, so that the object would have no name.
    pub fn into_single_file(self) -> Result<Self> {
        let path = self.folder.trim_end_matches('/');
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if file.is_empty() {
            return Err(invalid(format!(
                "SINGLE FILE needs the name of a file: {self}"
            )));
        }
        Ok(Self {
            folder: as_folder(folder),
            file: Some(file.to_owned()),
            place: self.place,
        })
    }

    /// The single object `file` in this target's folder, or the whole folder if `file` is `None`.
    pub(crate) fn with_file(&self, file: Option<String>) -> Self {
        Self {
            file,
            ..self.clone()
        }
    }

    /// The bucket, or the local disk.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The folder: empty, or ending in `/`.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The single object's name in the folder, if the target is one.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The common prefix of all data keys under this target: the folder, or the single object's
    /// key.
    pub fn prefix(&self) -> String {
        match &self.file {
            Some(file) => format!("{}{file}", self.folder),
            None => self.folder.clone(),
        }
    }

    /// Whether `key` is a data object of this target. Bookkeeping is not data, nor is the empty
    /// object by which consoles mark a folder.
    pub(super) fn has_data(&self, key: &str) -> bool {
        match &self.file {
            Some(_) => key == self.prefix(),
            None => key
                .strip_prefix(&self.folder)
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(FOLDER)),
        }
    }

    /// Whether the name of a data object says that an export wrote it, or that it marks a folder.
    pub(super) fn is_exported(&self, key: &str) -> bool {
        let rest = key.strip_prefix(&self.folder).unwrap_or(key);
        let (folder, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        let in_bookkeeping = format!("/{folder}/").contains(&format!("/{FOLDER}"));
        name.is_empty() || in_bookkeeping || is_file_name(name)
    }

    /// What the key of an export's file says about the file. `None` for any other key.
    pub(super) fn exported_file(&self, key: &str) -> Option<ExportedFile> {
        let rest = key.strip_prefix(&self.folder)?;
        let (folder, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        if !self.has_data(key) || !is_file_name(name) {
            return None;
        }
        let columns = folder.split('/').filter(|part| !part.is_empty());
        let columns = columns.map(|part| {
            let (column, _) = part.split_once('=')?;
            let column = percent_decode_str(column).decode_utf8().ok()?;
            Some(column.into_owned())
        });
        let format = name.split('.').nth(1)?;
        Some(ExportedFile {
            format: format.to_owned(),
            columns: columns.collect::<Option<_>>()?,
        })
    }

    /// Refuses folders that are too dangerous to replace: a whole bucket, the root folder, and every
    /// folder that holds the home folder or the current folder.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`].
    pub fn refuse_broad_folder(&self) -> Result<()> {
        let what = match &self.place {
            Place::Bucket(_) if self.folder.is_empty() => "all of a bucket",
            Place::Bucket(_) => return Ok(()),
            Place::LocalDisk => {
                let folder = std::path::PathBuf::from(format!("/{}", self.folder));
                let folder = folder.canonicalize().unwrap_or(folder);
                let holds = |inner: Option<std::path::PathBuf>| {
                    let inner = inner.and_then(|inner| inner.canonicalize().ok());
                    inner.is_some_and(|inner| inner.starts_with(&folder))
                };
                let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
                match () {
                    () if holds(home.map(Into::into)) => "a folder that holds your home folder",
                    () if holds(std::env::current_dir().ok()) => {
                        "a folder that holds the current folder"
                    }
                    () if folder.parent().is_none() => "the root folder",
                    () => return Ok(()),
                }
            }
        };
        let why = format!("MODE = 'overwrite' does not replace {what}: {self}");
        Err(invalid(why).with_hint("name a folder for the export"))
    }

    /// Whether `key` can be a file of the export `id` to this target.
    pub(super) fn is_file_of(&self, key: &str, id: &str) -> bool {
        key.contains(id) || self.file.is_some() && key == self.prefix()
    }
}

/// Whether a name has the form `part-<writer>-<sequence>-<export id>.<ext>`.
fn is_file_name(name: &str) -> bool {
    let is_number = |text: &str, least: usize| {
        text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = name
        .split_once('.')
        .map(|(stem, _)| stem.split('-').collect::<Vec<_>>());
    match parts.as_deref() {
        Some(["part", writer, sequence, id]) => {
            is_number(writer, 5) && is_number(sequence, 8) && is_id(id)
        }
        _ => false,
    }
}

/// Refuses a target inside a bookkeeping folder, because objects in such a folder do not count as
/// data.
fn refuse_bookkeeping(path: &str) -> Result<()> {
    if path.split('/').any(|name| format!("{name}/") == FOLDER) {
        return Err(invalid(format!(
            "COPY TO target '{path}' is in a folder '{FOLDER}', which is for bookkeeping"
        )));
    }
    Ok(())
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

fn as_folder(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Bucket(bucket) => write!(f, "s3://{bucket}/{}", self.prefix()),
            Place::LocalDisk => write!(f, "/{}", self.prefix()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        let target = Target::parse("s3://b/day=1/x").unwrap();
        assert_eq!(target.place(), &Place::Bucket("b".into()));
        assert_eq!(target.folder(), "day=1/x/");
        assert_eq!(Target::parse("S3://b").unwrap().folder(), "");
        assert_eq!(Target::parse("s3://b/x//").unwrap().folder(), "x/");
        let local = Target::parse("file:///tmp/a%20b/").unwrap();
        assert_eq!(local.to_string(), "/tmp/a b/");
        let here = Target::parse("x").unwrap();
        assert!(here.to_string().starts_with('/') && here.to_string().ends_with("/x/"));
    }

    #[test]
    fn a_single_file_is_an_object_in_a_folder() {
        let single = |text: &str| Target::parse(text).unwrap().into_single_file();
        let target = single("s3://b/x/y.csv").unwrap();
        assert_eq!((target.folder(), target.file()), ("x/", Some("y.csv")));
        assert_eq!(target.to_string(), "s3://b/x/y.csv");
        assert!(target.has_data("x/y.csv") && !target.has_data("x/y.csv2"));
        assert_eq!(single("s3://b/y").unwrap().prefix(), "y");
        assert!(single("s3://b").is_err() && single("/").is_err());
    }

    #[test]
    fn exported_files_are_known_by_their_names() {
        let target = Target::parse("s3://b/x").unwrap();
        let id = "0123456789abcdef".repeat(2);
        for key in [
            format!("x/part-00000-00000000-{id}.parquet"),
            format!("x/day=1/part-00012-00000345-{id}.csv.gz"),
            format!("x/sub/_tidegate/{id}/MANIFEST"),
            "x/day=1/".to_owned(),
        ] {
            assert!(target.is_exported(&key), "{key}");
        }
        for key in [
            "x/notes.md".to_owned(),
            "x/.git/HEAD".to_owned(),
            "x/_SUCCESS".to_owned(),
            format!("x/part-00000-{id}-c000.snappy.parquet"),
            format!("x/part-00000-00000000-{id}"),
            format!("x/part-0-0-{id}.csv"),
            format!("x/part-00000-00000000-{id}.d/notes.md"),
        ] {
            assert!(!target.is_exported(&key), "{key}");
        }
    }

    #[test]
    fn a_key_tells_format_and_partition_columns() {
        let target = Target::parse("s3://b/x").unwrap();
        let id = "0123456789abcdef".repeat(2);
        let file = |key: String| target.exported_file(&key);
        let found = file(format!("x/a=1/b%2Fc=2/part-00000-00000000-{id}.csv.gz")).unwrap();
        assert_eq!((found.format.as_str(), found.columns.len()), ("csv", 2));
        assert_eq!(found.columns[1], "b/c");
        assert!(file(format!("x/sub/part-00000-00000000-{id}.csv")).is_none());
        assert!(file("x/a=1/notes.md".to_owned()).is_none());
    }

    #[test]
    fn some_folders_are_not_emptied() {
        let refuses = |text: &str| Target::parse(text).unwrap().refuse_broad_folder().is_err();
        assert!(refuses("s3://b") && refuses("s3://b/") && !refuses("s3://b/x"));
        assert!(refuses("/") && refuses(".") && refuses("..") && !refuses("./x"));
    }

    #[test]
    fn bad_targets_are_refused() {
        for url in [
            "",
            "s3:",
            "s3://",
            "s3:///x",
            "gs://b/x",
            "s3://b/../x",
            "s3://b/a//b",
            "s3://b /x",
            "s3://b/a\nb",
            "é3://x",
            "file://host/x",
            "s3://b/_tidegate/x",
            "x/_tidegate",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
