//! Finds the files of a location: a path, a folder, a glob, or the URL of one.
//!
//! Invariant: a location names the same files with and without a slash at its end, on the local disk
//! and in a bucket. A path that exists is this path, whatever characters it has; otherwise `*`, `?`,
//! `[ab]`, `{a,b}` and `**` are patterns, and only `**` crosses a `/`. Names that begin with `_` or
//! `.` are no data, as in Hive and Spark: an export's bookkeeping, temporary folders, table logs.

use std::collections::BTreeMap;

use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use glob::Pattern;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::connect::{connection_of, written_location};
use crate::error::{Error, ErrorKind, Result};

/// A location before its files are looked for.
#[derive(Debug, Clone)]
pub(super) struct Location {
    /// The location as the user wrote it.
    pub(super) written: String,
    pub(super) store: ObjectStoreUrl,
    /// The path in the store, without a slash at its beginning or end.
    path: String,
    /// It was written with a slash at its end.
    is_folder: bool,
    /// Further locations in the same store.
    more: Vec<Location>,
}

/// The files of a location, sorted by their paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<FoundFile>,
    /// The location is a folder, not a file or a pattern.
    pub(super) is_folder: bool,
}

/// A file of a location.
#[derive(Debug, Clone)]
pub(super) struct FoundFile {
    pub(super) object: ObjectMeta,
    /// The names of the folders between the location and the file.
    pub(super) folders: Vec<String>,
}

impl Location {
    /// Parses a path or URL, as the session's stores know it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if it is no path and no URL.
    pub(super) fn parse(location: &str) -> Result<Self> {
        let written = written_location(location);
        let invalid = |why: String| {
            let why = format!("'{written}' is no location of files: {why}");
            Error::new(ErrorKind::InvalidParameter, why)
        };
        let (store, path) = match location.split_once("://") {
            Some(("file", path)) => {
                let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
                (ObjectStoreUrl::local_filesystem(), path.into_owned())
            }
            Some((scheme, rest)) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let store = ObjectStoreUrl::parse(format!("{scheme}://{host}"));
                let store = store.map_err(|error| invalid(error.to_string()))?;
                (store, path.to_owned())
            }
            None => (ObjectStoreUrl::local_filesystem(), absolute(location)?),
        };
        Ok(Self {
            written,
            store,
            is_folder: path.ends_with('/'),
            path: path.trim_matches('/').to_owned(),
            more: Vec::new(),
        })
    }

    /// Parses several locations as one.
    ///
    /// # Errors
    /// As [`Self::parse`]; [`ErrorKind::InvalidParameter`] if there is none, or if they are not in
    /// one store.
    pub(super) fn parse_all(locations: &[String]) -> Result<Self> {
        let invalid = |why: String| Err(Error::new(ErrorKind::InvalidParameter, why));
        let mut parsed = Vec::with_capacity(locations.len());
        for location in locations {
            parsed.push(Self::parse(location)?);
        }
        let mut parsed = parsed.into_iter();
        let Some(mut first) = parsed.next() else {
            return invalid("a list of locations is empty".to_owned());
        };
        first.more = parsed.collect();
        match first.more.iter().find(|other| other.store != first.store) {
            None => Ok(first),
            Some(other) => invalid(format!(
                "'{}' and '{}' are in different buckets, and can't be read as one table",
                first.written, other.written
            )),
        }
    }

    /// The path or URL by which a user reads one of the location's files.
    pub(super) fn name_of(&self, file: &Path) -> String {
        let store = written_location(self.store.as_str());
        match store.strip_prefix("file:") {
            Some(_) => format!("/{file}"),
            None => format!("{}/{file}", store.trim_end_matches('/')),
        }
    }

    /// The location as a URL of a folder, for DataFusion's writers.
    pub(super) fn folder_url(&self) -> String {
        let store = self.store.as_str().trim_end_matches('/');
        match self.path.as_str() {
            "" => format!("{store}/"),
            path => format!("{store}/{path}/"),
        }
    }

    /// The location as the target of a `COPY`, and the name of its connection. `None` if `COPY` does
    /// not know the store.
    pub(super) fn as_target(&self) -> Option<(String, Option<String>)> {
        if !self.more.is_empty() {
            return None;
        }
        let store = self.store.as_str();
        if store.starts_with("file:") {
            return Some((format!("/{}", self.path), None));
        }
        let connection = connection_of(store)?;
        let bucket = written_location(store);
        let bucket = bucket.trim_end_matches('/');
        Some((format!("{bucket}/{}", self.path), Some(connection)))
    }

    /// Whether the location can only be a folder, or a folder to come.
    pub(super) fn may_be_folder(&self) -> bool {
        self.more.is_empty() && (self.is_folder || !self.path.contains(SPECIAL))
    }

    /// The files; none if there is nothing at the location.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::InvalidParameter`] for a pattern that is none;
    /// [`ErrorKind::UndefinedObject`] if one of several locations has no files.
    pub(super) async fn list(&self, state: &SessionState) -> Result<Listing> {
        let store = state.runtime_env().object_store(&self.store)?;
        let store = store.as_ref();
        if self.more.is_empty() {
            return self.list_one(store).await;
        }
        let mut all = Listing::default();
        for location in std::iter::once(self).chain(&self.more) {
            let found = location.list_one(store).await?.files;
            if found.is_empty() {
                return Err(nothing_at(&location.written));
            }
            all.files.extend(found);
        }
        Ok(all)
    }

    /// The files of the first location.
    async fn list_one(&self, store: &dyn ObjectStore) -> Result<Listing> {
        if let Some(found) = self.list_literally(store).await? {
            return Ok(found);
        }
        if !self.path.contains(SPECIAL) {
            return Ok(Listing::default());
        }
        let mut found = BTreeMap::new();
        for pattern in expand_braces(&self.path) {
            let segments = pattern.split('/').map(Segment::parse);
            let segments = segments.collect::<std::result::Result<Vec<_>, _>>();
            let segments = segments.map_err(|error| {
                let why = format!("'{}' is no pattern: {}", self.written, error.msg);
                Error::new(ErrorKind::InvalidParameter, why)
            })?;
            let walk = Walk {
                location: self,
                store,
            };
            for file in walk.find(String::new(), &segments, None).await? {
                found.insert(file.object.location.clone(), file);
            }
        }
        Ok(Listing {
            files: found.into_values().collect(),
            is_folder: false,
        })
    }

    /// The file or the folder that has exactly this path.
    async fn list_literally(&self, store: &dyn ObjectStore) -> Result<Option<Listing>> {
        let Ok(path) = Path::parse(&self.path) else {
            return Ok(None);
        };
        let mut refused = None;
        if !self.is_folder && !self.path.is_empty() {
            match store.head(&path).await {
                Ok(object) => {
                    let folders = Vec::new();
                    let files = vec![FoundFile { object, folders }];
                    let is_folder = false;
                    return Ok(Some(Listing { files, is_folder }));
                }
                Err(object_store::Error::NotFound { .. }) => {}
                // A store may refuse to tell whether there is an object, and list the folder.
                Err(error) => refused = Some(error),
            }
        }
        let files = self.list_below(store, &path).await?;
        if let (None, Some(error), false) = (&files, refused, self.path.contains(SPECIAL)) {
            return Err(self.failed(error));
        }
        let is_folder = true;
        Ok(files.map(|files| Listing { files, is_folder }))
    }

    /// The visible files below a folder; `None` if there is nothing.
    async fn list_below(
        &self,
        store: &dyn ObjectStore,
        folder: &Path,
    ) -> Result<Option<Vec<FoundFile>>> {
        let listed = store.list(Some(folder)).try_collect::<Vec<ObjectMeta>>();
        let listed = listed.await.map_err(|error| self.failed(error))?;
        let is_there = !listed.is_empty();
        let mut files: Vec<FoundFile> = listed
            .into_iter()
            .filter_map(|object| {
                let mut folders = names_below(folder, &object.location)?;
                let name = folders.pop()?;
                let is_visible = !is_hidden(&name) && !folders.iter().any(|name| is_hidden(name));
                is_visible.then_some(FoundFile { object, folders })
            })
            .collect();
        files.sort_by(|a, b| a.object.location.cmp(&b.object.location));
        Ok(is_there.then_some(files))
    }

    fn failed(&self, error: object_store::Error) -> Error {
        let why = format!("'{}' can't be listed: {error}", self.written);
        Error::new(ErrorKind::Io, why).with_source(error)
    }
}

/// The error of a location without files, as the user wrote it.
pub(super) fn nothing_at(written: &str) -> Error {
    let why = format!("there are no files to read at '{written}'");
    Error::new(ErrorKind::UndefinedObject, why)
}

/// The characters of patterns.
const SPECIAL: [char; 4] = ['*', '?', '[', '{'];

/// Whether a name stands for no data. A partition column's name may begin with `_`.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

/// The names between a folder and a path below it, the path's own included.
fn names_below(folder: &Path, path: &Path) -> Option<Vec<String>> {
    let names = path.prefix_match(folder)?;
    Some(names.map(|name| name.as_ref().to_owned()).collect())
}

/// An absolute path without `.` and `..`, with a slash at its end if the path has one.
fn absolute(path: &str) -> Result<String> {
    let failed = |error: std::io::Error| {
        let why = format!("'{path}' is no path");
        Error::new(ErrorKind::InvalidParameter, why).with_source(error)
    };
    let whole = std::path::absolute(path).map_err(failed)?;
    let mut names: Vec<String> = Vec::new();
    for part in whole.components() {
        match part {
            std::path::Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    let end = if path.ends_with('/') { "/" } else { "" };
    Ok(format!("{}{end}", names.join("/")))
}

/// A part of a pattern between two slashes.
#[derive(Debug)]
enum Segment {
    /// `**`
    Any,
    Name(String),
    Pattern(Pattern),
}

impl Segment {
    fn parse(text: &str) -> std::result::Result<Self, glob::PatternError> {
        if text == "**" {
            return Ok(Self::Any);
        }
        match text.contains(SPECIAL) {
            true => Pattern::new(text).map(Self::Pattern),
            false => Ok(Self::Name(text.to_owned())),
        }
    }

    /// Whether a name matches. A pattern matches a hidden name only if it begins as the name does.
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => !is_hidden(name),
            Self::Name(wanted) => wanted == name,
            Self::Pattern(pattern) => {
                let is_meant = name.chars().next() == pattern.as_str().chars().next();
                pattern.matches(name) && (!is_hidden(name) || is_meant)
            }
        }
    }
}

/// Whether names match the segments.
fn match_all(segments: &[Segment], names: &[String]) -> bool {
    match (segments, names) {
        ([], []) => true,
        ([Segment::Any, rest @ ..], names) => {
            match_all(rest, names)
                || matches!(names, [first, names @ ..]
                    if Segment::Any.matches(first) && match_all(segments, names))
        }
        ([segment, segments @ ..], [name, names @ ..]) => {
            segment.matches(name) && match_all(segments, names)
        }
        _ => false,
    }
}

struct Walk<'a> {
    location: &'a Location,
    store: &'a dyn ObjectStore,
}

impl Walk<'_> {
    /// The files below `folder` that match the segments. `names` are the folders that patterns have
    /// matched so far; `None` before the first pattern.
    fn find<'a>(
        &'a self,
        folder: String,
        segments: &'a [Segment],
        names: Option<Vec<String>>,
    ) -> BoxFuture<'a, Result<Vec<FoundFile>>> {
        Box::pin(async move {
            let path = |folder: &str| {
                Path::parse(folder).map_err(|error| {
                    let why = format!("'{}' is no location of files", self.location.written);
                    Error::new(ErrorKind::InvalidParameter, why).with_source(error)
                })
            };
            let below = |name: &str| match folder.as_str() {
                "" => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            let failed = |error| self.location.failed(error);
            match segments {
                [] => Ok(Vec::new()),
                [Segment::Name(name)] => match self.store.head(&path(&below(name))?).await {
                    Ok(object) => Ok(vec![FoundFile {
                        object,
                        folders: names.unwrap_or_default(),
                    }]),
                    Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
                    Err(error) => Err(failed(error)),
                },
                [Segment::Name(name), rest @ ..] => {
                    let names = names.map(|mut names| {
                        names.push(name.clone());
                        names
                    });
                    self.find(below(name), rest, names).await
                }
                [Segment::Any, ..] => {
                    let folder = path(&folder)?;
                    let listed = self.store.list(Some(&folder)).try_collect::<Vec<_>>();
                    let listed = listed.await.map_err(failed)?;
                    let found = listed.into_iter().filter_map(|object| {
                        let mut below = names_below(&folder, &object.location)?;
                        if !match_all(segments, &below) {
                            return None;
                        }
                        below.pop();
                        let mut folders = names.clone().unwrap_or_default();
                        folders.extend(below);
                        Some(FoundFile { object, folders })
                    });
                    Ok(found.collect())
                }
                [pattern @ Segment::Pattern(_), rest @ ..] => {
                    let here = path(&folder)?;
                    let listed = self.store.list_with_delimiter(Some(&here)).await;
                    let listed = listed.map_err(failed)?;
                    let names = names.unwrap_or_default();
                    let name_of = |path: &Path| path.filename().unwrap_or_default().to_owned();
                    let mut found = Vec::new();
                    if rest.is_empty() {
                        let objects = listed.objects.into_iter();
                        found.extend(
                            objects
                                .filter(|object| pattern.matches(&name_of(&object.location)))
                                .map(|object| FoundFile {
                                    object,
                                    folders: names.clone(),
                                }),
                        );
                        return Ok(found);
                    }
                    for folder in listed.common_prefixes {
                        let name = name_of(&folder);
                        if pattern.matches(&name) {
                            let mut names = names.clone();
                            names.push(name.clone());
                            found.extend(self.find(below(&name), rest, Some(names)).await?);
                        }
                    }
                    Ok(found)
                }
            }
        })
    }
}

/// The patterns that a pattern with alternatives in braces stands for.
fn expand_braces(pattern: &str) -> Vec<String> {
    let Some(start) = pattern.find('{') else {
        return vec![pattern.to_owned()];
    };
    let mut depth = 0;
    let mut cuts = vec![start];
    for (at, c) in pattern.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => cuts.push(at),
            _ => {}
        }
        if depth == 0 {
            cuts.push(at);
            break;
        }
    }
    if depth != 0 || cuts.len() < 2 {
        // A brace without its partner is a character.
        let (before, after) = pattern.split_at(start + 1);
        let rests = expand_braces(after);
        return rests.iter().map(|rest| format!("{before}{rest}")).collect();
    }
    let (before, after) = (&pattern[..start], &pattern[cuts[cuts.len() - 1] + 1..]);
    let choices = cuts.windows(2).map(|cut| &pattern[cut[0] + 1..cut[1]]);
    let all = choices.flat_map(|choice| expand_braces(&format!("{before}{choice}{after}")));
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_alternatives() {
        let expand = |pattern| expand_braces(pattern);
        assert_eq!(expand("a/b"), ["a/b"]);
        assert_eq!(expand("{a,b}/{c,d}"), ["a/c", "a/d", "b/c", "b/d"]);
        assert_eq!(expand("x{1,2{3,4}}y"), ["x1y", "x23y", "x24y"]);
        assert_eq!(expand("x{a"), ["x{a"]);
        assert_eq!(expand("x}a"), ["x}a"]);
        assert_eq!(expand("{one}"), ["one"]);
    }

    #[test]
    fn segments_match_names() {
        let matches = |pattern: &str, path: &str| {
            let segments: Vec<Segment> = pattern
                .split('/')
                .map(|segment| Segment::parse(segment).unwrap())
                .collect();
            let names: Vec<String> = path.split('/').map(str::to_owned).collect();
            match_all(&segments, &names)
        };
        for (pattern, path) in [
            ("**", "a/b/c"),
            ("**/*.csv", "x.csv"),
            ("**/*.csv", "a/b/x.csv"),
            ("a/**/b/*", "a/b/x"),
            ("a/**/b/*", "a/1/2/b/x"),
            ("day=[12]/*", "day=1/x"),
            ("_x/*", "_x/y"),
            ("_*", "_x"),
            ("*", "_p=1"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.csv", "a/x.csv"),
            ("**/*.csv", "_tidegate/x.csv"),
            ("**", ".hidden/x"),
            ("*", "_SUCCESS"),
            ("?x", ".x"),
            ("day=[12]/*", "day=3/x"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn paths_are_absolute() {
        let parsed = |path: &str| Location::parse(path).unwrap();
        assert_eq!(parsed("/a/./b/../c/").path, "a/c");
        assert!(parsed("/a/").is_folder);
        assert_eq!(parsed("/a b/[1]/*.csv").path, "a b/[1]/*.csv");
        assert_eq!(parsed("file:///a%20b/x").path, "a b/x");
        let bucket = parsed("s3+c://bucket/a%20b//");
        assert_eq!(
            (bucket.store.as_str(), bucket.path.as_str()),
            ("s3+c://bucket/", "a%20b")
        );
    }
}
