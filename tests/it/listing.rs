//! The listings of the embedded server.

use s3s::dto::ListObjectsV2Input;
use tidegate::dev_s3::listing::list;

const KEYS: [&str; 7] = [
    "a",
    "day/1/x",
    "day/1/y",
    "day/10/x",
    "day/2",
    "day.csv",
    "z/\u{e9}/\u{e9}.csv",
];

fn bucket() -> tempfile::TempDir {
    let bucket = tempfile::tempdir().unwrap();
    for key in KEYS {
        let path = bucket.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, key).unwrap();
    }
    std::fs::create_dir(bucket.path().join("day/empty")).unwrap();
    bucket
}

/// All pages of a listing: keys, and common prefixes with a `*` behind them.
fn pages(prefix: &str, delimiter: Option<&str>, max_keys: i32) -> Vec<String> {
    let bucket = bucket();
    let mut input = ListObjectsV2Input {
        prefix: Some(prefix.to_owned()),
        delimiter: delimiter.map(str::to_owned),
        max_keys: Some(max_keys),
        ..ListObjectsV2Input::default()
    };
    let mut pages = Vec::new();
    loop {
        let listing = list(bucket.path(), input.clone()).unwrap();
        let objects = listing.contents.unwrap_or_default();
        for object in &objects {
            let size = object.key.as_ref().map(|key| key.len() as i64);
            assert_eq!(object.size, size);
        }
        let prefixes = listing.common_prefixes.unwrap_or_default();
        let mut page: Vec<String> = objects.into_iter().filter_map(|o| o.key).collect();
        page.extend(prefixes.into_iter().filter_map(|p| Some(p.prefix? + "*")));
        assert_eq!(listing.key_count, Some(page.len() as i32));
        assert!(page.len() <= max_keys as usize);
        page.sort();
        pages.extend(page);
        assert_eq!(
            listing.is_truncated,
            Some(listing.next_continuation_token.is_some())
        );
        input.continuation_token = listing.next_continuation_token;
        if input.continuation_token.is_none() {
            return pages;
        }
    }
}

#[test]
fn a_prefix_is_any_beginning_of_a_key() {
    let mut all = KEYS.map(str::to_owned);
    all.sort();
    for max_keys in [1, 2, 1000] {
        assert_eq!(pages("", None, max_keys), all);
        assert_eq!(
            pages("day/1", None, max_keys),
            ["day/1/x", "day/1/y", "day/10/x"]
        );
        assert_eq!(pages("day/1/", None, max_keys), ["day/1/x", "day/1/y"]);
        assert_eq!(pages("z/\u{e9}", None, max_keys), ["z/\u{e9}/\u{e9}.csv"]);
        assert!(pages("../", None, max_keys).is_empty());
        assert!(pages("none/", None, max_keys).is_empty());
    }
}

#[test]
fn keys_are_grouped_by_a_delimiter() {
    for max_keys in [1, 2, 1000] {
        assert_eq!(
            pages("", Some("/"), max_keys),
            ["a", "day.csv", "day/*", "z/*"]
        );
        assert_eq!(
            pages("day/", Some("/"), max_keys),
            ["day/1/*", "day/10/*", "day/2"]
        );
        assert_eq!(
            pages("day", Some("/1"), max_keys),
            ["day.csv", "day/1*", "day/2"]
        );
    }
}
