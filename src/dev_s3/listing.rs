//! Lists the keys of a bucket in order.
//!
//! Invariant: only folders that can hold a key with the prefix are read. s3s-fs reads the whole
//! bucket for every listing, one file at a time: with a thousand objects in other folders, that
//! takes a second on a busy machine.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Result};
use std::ops::Bound;
use std::path::Path;

use s3s::dto::{
    CommonPrefix, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, Timestamp,
};

/// The maximum number of keys in a response
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
const MOST_KEYS: i32 = 1000;

/// An entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Object,
    /// All keys that share the text up to the delimiter.
    CommonPrefix,
}

/// Answers a listing request from the bucket's folder. It blocks.
///
/// # Errors
/// I/O errors of reading folders. Files that disappear meanwhile are left out.
pub fn list(bucket: &Path, input: ListObjectsV2Input) -> Result<ListObjectsV2Output> {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = input.delimiter.as_deref().filter(|text| !text.is_empty());
    let entries = group(keys(bucket, prefix)?, prefix, delimiter);

    let after = input
        .continuation_token
        .as_ref()
        .max(input.start_after.as_ref());
    let after = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_str()));
    let mut left = entries
        .range::<str, _>((after, Bound::Unbounded))
        .peekable();
    let most = input.max_keys.unwrap_or(MOST_KEYS).clamp(0, MOST_KEYS);
    let mut objects = Vec::new();
    let mut common_prefixes = Vec::new();
    let mut last = None;
    for (key, entry) in left.by_ref().take(most as usize) {
        match entry {
            Entry::Object => objects.extend(describe(bucket, key)?),
            Entry::CommonPrefix => common_prefixes.push(CommonPrefix {
                prefix: Some(key.clone()),
            }),
        }
        last = Some(key.clone());
    }
    let next_continuation_token = last.filter(|_| left.peek().is_some());

    Ok(ListObjectsV2Output {
        key_count: i32::try_from(objects.len() + common_prefixes.len()).ok(),
        max_keys: Some(most),
        is_truncated: Some(next_continuation_token.is_some()),
        contents: Some(objects),
        common_prefixes: Some(common_prefixes),
        continuation_token: input.continuation_token,
        next_continuation_token,
        delimiter: input.delimiter,
        name: Some(input.bucket),
        prefix: input.prefix,
        start_after: input.start_after,
        ..ListObjectsV2Output::default()
    })
}

/// Converts to a response of the older `ListObjects`, which continues after a key instead of a
/// token.
pub(super) fn as_first_version(listing: ListObjectsV2Output) -> ListObjectsOutput {
    ListObjectsOutput {
        contents: listing.contents,
        common_prefixes: listing.common_prefixes,
        delimiter: listing.delimiter,
        name: listing.name,
        prefix: listing.prefix,
        max_keys: listing.max_keys,
        is_truncated: listing.is_truncated,
        marker: listing.start_after,
        next_marker: listing.next_continuation_token,
        ..ListObjectsOutput::default()
    }
}

/// All keys that begin with a prefix.
fn keys(bucket: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let Some(files) = unless_gone(std::fs::read_dir(bucket.join(&folder)))? else {
            continue;
        };
        for file in files {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else {
                continue;
            };
            let key = format!("{folder}{name}");
            let Some(kind) = unless_gone(file.file_type())? else {
                continue;
            };
            if !kind.is_dir() {
                found.extend(Some(key).filter(|key| key.starts_with(prefix)));
                continue;
            }
            let inside = key + "/";
            if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                folders.push(inside);
            }
        }
    }
    Ok(found)
}

/// Sorts the keys. Keys with a delimiter after the prefix are grouped by the text up to that
/// delimiter.
fn group(keys: Vec<String>, prefix: &str, delimiter: Option<&str>) -> BTreeMap<String, Entry> {
    let entry = |mut key: String| {
        let Some(delimiter) = delimiter else {
            return (key, Entry::Object);
        };
        let rest = key.get(prefix.len()..).unwrap_or_default();
        match rest.find(delimiter) {
            None => (key, Entry::Object),
            Some(position) => {
                key.truncate(prefix.len() + position + delimiter.len());
                (key, Entry::CommonPrefix)
            }
        }
    };
    keys.into_iter().map(entry).collect()
}

/// Describes an object for a listing. None if it is gone.
fn describe(bucket: &Path, key: &str) -> Result<Option<Object>> {
    let Some(file) = unless_gone(std::fs::symlink_metadata(bucket.join(key)))? else {
        return Ok(None);
    };
    Ok(Some(Object {
        key: Some(key.to_owned()),
        last_modified: Some(Timestamp::from(file.modified()?)),
        size: i64::try_from(file.len()).ok(),
        ..Object::default()
    }))
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn unless_gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        // An object may have replaced a folder.
        Err(error) if is_gone(error.kind()) => Ok(None),
        result => result.map(Some),
    }
}
