//! The XML bodies of S3's answers.
//!
//! Invariant: the name of the root element decides how a body is read, so an error with status 200
//! is never taken for a result.

use quick_xml::de::from_reader;
use serde::Deserialize;

use super::part::PartReceipt;

/// `<Error>`: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ErrorBody {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) region: Option<String>,
}

impl ErrorBody {
    /// The error of an answer whose body is not `<Error>`, such as one from a server that is no S3
    /// store. Its message is the first line of the body, at most 100 characters, or empty if that
    /// line is markup or binary.
    pub(super) fn from_text(body: &[u8]) -> Self {
        const CHARS: usize = 100;
        let text = String::from_utf8_lossy(body);
        let line = text.lines().next().unwrap_or_default().trim();
        let is_words = !line.starts_with('<') && !line.chars().any(char::is_control);
        Self {
            message: match is_words {
                true => line.chars().take(CHARS).collect(),
                false => String::new(),
            },
            ..Self::default()
        }
    }
}

/// One page of ListObjectsV2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBucketResult {
    #[serde(default)]
    pub(super) contents: Vec<ListedObject>,
    #[serde(default)]
    pub(super) is_truncated: bool,
    #[serde(default)]
    pub(super) next_continuation_token: Option<String>,
    #[serde(default)]
    pub(super) encoding_type: Option<String>,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// The size in bytes.
    #[serde(default)]
    pub size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InitiateMultipartUploadResult {
    pub(super) upload_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct CompleteMultipartUploadResult {
    #[serde(default, rename = "ETag")]
    pub(super) etag: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CopyPartResult {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// One page of ListMultipartUploads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMultipartUploadsResult {
    #[serde(default, rename = "Upload")]
    pub(super) uploads: Vec<ListedUpload>,
    #[serde(default)]
    pub(super) is_truncated: bool,
    #[serde(default)]
    pub(super) next_key_marker: Option<String>,
    #[serde(default)]
    pub(super) next_upload_id_marker: Option<String>,
    #[serde(default)]
    pub(super) encoding_type: Option<String>,
}

/// A pending upload in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedUpload {
    /// The key the object would have.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
}

/// A key of a listing. With the encoding `url`, which a store names only if it knows it, `+` is a
/// space: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
///
/// XML can't hold control characters, which keys may have.
pub(super) fn decode_key(key: String, encoding: Option<&str>) -> String {
    match encoding {
        Some("url") => {
            let spaced = key.replace('+', " ");
            let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
            decoded.map(|decoded| decoded.into_owned()).unwrap_or(key)
        }
        _ => key,
    }
}

/// The name of a body's root element, without a namespace prefix.
fn root_name(body: &[u8]) -> Option<String> {
    let mut reader = quick_xml::Reader::from_reader(body);
    loop {
        match reader.read_event().ok()? {
            quick_xml::events::Event::Start(start) | quick_xml::events::Event::Empty(start) => {
                return String::from_utf8(start.local_name().as_ref().to_vec()).ok();
            }
            quick_xml::events::Event::Eof => return None,
            _ => {}
        }
    }
}

/// The error in a body, if its root is `<Error>`.
pub(super) fn parse_error(body: &[u8]) -> Option<ErrorBody> {
    if root_name(body)? != "Error" {
        return None;
    }
    from_reader(body).ok()
}

/// Reads a body whose root must be `root`.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8], root: &str) -> Result<T, String> {
    match root_name(body) {
        Some(name) if name == root => from_reader(body).map_err(|error| error.to_string()),
        Some(name) => Err(format!("expected <{root}>, the store sent <{name}>")),
        None => Err(format!("expected <{root}>, the store sent something else")),
    }
}

/// A body is read as the answer that its root names, and as no other.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_bodies(data: &[u8]) {
    fn is<T: for<'de> Deserialize<'de>>(data: &[u8], root: &str) -> bool {
        parse::<T>(data, root).is_ok()
    }
    let read = [
        is::<ListBucketResult>(data, "ListBucketResult"),
        is::<InitiateMultipartUploadResult>(data, "InitiateMultipartUploadResult"),
        is::<CompleteMultipartUploadResult>(data, "CompleteMultipartUploadResult"),
        is::<CopyPartResult>(data, "CopyPartResult"),
        is::<ListMultipartUploadsResult>(data, "ListMultipartUploadsResult"),
        parse_error(data).is_some(),
    ];
    assert!(read.iter().filter(|read| **read).count() <= 1);
    // An error is described whatever the store has sent.
    drop(ErrorBody::from_text(data));
    let key = String::from_utf8_lossy(data).into_owned();
    assert_eq!(decode_key(key.clone(), None), key);
    drop(decode_key(key, Some("url")));
}

/// The body of CompleteMultipartUpload.
pub(super) fn complete_body(parts: &[PartReceipt]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for (i, part) in parts.iter().enumerate() {
        let etag = quick_xml::escape::escape(part.etag.as_str());
        let number = i + 1;
        let checksum = match &part.checksum {
            Some(sha256) => format!("<ChecksumSHA256>{sha256}</ChecksumSHA256>"),
            None => String::new(),
        };
        body.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{checksum}</Part>"
        ));
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_its_root() {
        let error = parse_error(
            b"<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>x</Message></Error>",
        );
        assert_eq!(error.unwrap().code, "SlowDown");
        assert!(parse_error(b"<CompleteMultipartUploadResult/>").is_none());
        assert!(parse_error(b"").is_none());
    }

    #[test]
    fn lists_read_with_and_without_entries() {
        let empty: ListBucketResult =
            parse(b"<ListBucketResult></ListBucketResult>", "ListBucketResult").unwrap();
        assert!(empty.contents.is_empty());
        let two: ListMultipartUploadsResult = parse(
            b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
              <Upload><Key>a</Key><UploadId>1</UploadId></Upload>\
              <Upload><Key>b</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>",
            "ListMultipartUploadsResult",
        )
        .unwrap();
        assert_eq!(two.uploads[1].upload_id, "2");
    }
}
