//! What the ending of a file's name says about its content.

use crate::error::{Error, ErrorKind, Result};

use super::location::{FoundFile, Listing, Location};

/// The formats by endings, as DataFusion names them.
const FORMATS: [(&str, &str); 8] = [
    ("parquet", "parquet"),
    ("csv", "csv"),
    ("tsv", "csv"),
    ("json", "json"),
    ("jsonl", "json"),
    ("ndjson", "json"),
    ("arrow", "arrow"),
    ("feather", "arrow"),
];

/// The compressions by endings, as DataFusion names them.
const COMPRESSIONS: [(&str, &str); 4] = [
    ("gz", "gzip"),
    ("zst", "zstd"),
    ("bz2", "bzip2"),
    ("xz", "xz"),
];

/// The format and the compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kind {
    /// `None` if the ending is unknown.
    pub(super) format: Option<&'static str>,
    pub(super) compression: Option<&'static str>,
    pub(super) has_tabs: bool,
}

impl Kind {
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let split = |name: &str| {
            let (stem, ending) = name.rsplit_once('.')?;
            Some((stem.to_owned(), ending.to_owned()))
        };
        let Some((stem, ending)) = split(&name) else {
            return Self::default();
        };
        let known = |known: &[(&str, &'static str)], ending: &str| {
            known
                .iter()
                .find(|(known, _)| *known == ending)
                .map(|(_, name)| *name)
        };
        let compression = known(&COMPRESSIONS, &ending);
        let ending = match compression {
            Some(_) => split(&stem).map(|(_, ending)| ending).unwrap_or_default(),
            None => ending,
        };
        Self {
            format: known(&FORMATS, &ending),
            compression,
            has_tabs: ending == "tsv",
        }
    }

    fn of_file(file: &FoundFile) -> Self {
        Self::of(file.object.location.filename().unwrap_or_default())
    }
}

/// The kind of all files of a location. `wanted` is the format if it was named; then files with
/// unknown endings have it, too, and outside of a folder also others.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] if files differ in their format, or a file's format is unknown.
pub(super) fn kind_of_all(
    location: &Location,
    listing: &Listing,
    wanted: Option<&'static str>,
) -> Result<Kind> {
    let mut first: Option<(Kind, &FoundFile)> = None;
    for file in &listing.files {
        let mut kind = Kind::of_file(file);
        let path = &file.object.location;
        let format = match wanted {
            Some(_) if !listing.is_folder => wanted,
            _ => kind.format.or(wanted),
        };
        if format.is_none() || wanted.is_some_and(|wanted| format != Some(wanted)) {
            let why = match wanted {
                Some(wanted) => format!("{path} is no {wanted} file by its name"),
                None => format!("{path} is of no known kind by its name"),
            };
            return Err(Error::new(ErrorKind::InvalidParameter, why).with_hint(KINDS));
        }
        kind.format = format;
        match &first {
            None => first = Some((kind, file)),
            // Each file may have its own compression.
            Some((expected, _)) if expected.format == kind.format => {}
            Some((_, other)) => {
                let why = format!(
                    "'{}' has files of several kinds: {} and {path}",
                    location.written, other.object.location
                );
                let hint = "name the files of one kind by a glob, such as 'folder/*.csv'";
                return Err(Error::new(ErrorKind::InvalidParameter, why).with_hint(hint));
            }
        }
    }
    Ok(first.map(|(kind, _)| kind).unwrap_or_default())
}

const KINDS: &str = "file names must end in .parquet, .csv, .tsv, .json, .jsonl, .ndjson or .arrow; compressed text also ends in .gz, .zst, .bz2 or .xz; read_csv and similar functions read a file or a glob of any name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_what_a_file_is() {
        let kind = |name| {
            let kind = Kind::of(name);
            (kind.format, kind.compression)
        };
        assert_eq!(kind("a.parquet"), (Some("parquet"), None));
        assert_eq!(kind("A.CSV.GZ"), (Some("csv"), Some("gzip")));
        assert_eq!(kind("part-0.json.zst"), (Some("json"), Some("zstd")));
        assert_eq!(kind("x.gz"), (None, Some("gzip")));
        assert_eq!(kind("x"), (None, None));
        assert_eq!(kind("x.txt"), (None, None));
        assert!(Kind::of("a.tsv").has_tabs);
    }
}
