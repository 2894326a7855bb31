//! Parts that the store copies from another object.
//!
//! Invariant: a part was copied only if the store says so in the body of its answer. A store that
//! does not know the request takes it for an empty part, and answers with success.

use std::ops::Range;

use http::{HeaderName, HeaderValue, Method};
use percent_encoding::utf8_percent_encode;

use super::client::{ESCAPED_IN_PATH, Request, S3Client, UploadedPart};
use super::error::{S3Error, S3ErrorKind};
use super::xml;

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
pub(super) const COPY_PART: &str = "UploadPartCopy";

const SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const SOURCE_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
const SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");

/// An object that the store copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// The ETag that it must have.
    pub etag: String,
}

impl S3Client {
    /// UploadPartCopy: a part from the bytes `range` of another object. `number` counts from 1.
    ///
    /// # Errors
    /// [`S3ErrorKind::Unsupported`] if the store does not copy parts,
    /// [`S3ErrorKind::PreconditionFailed`] if the object has another ETag.
    pub async fn upload_part_copy(
        &self,
        key: &str,
        upload_id: &str,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
    ) -> Result<UploadedPart, S3Error> {
        let mut request = Request::new(COPY_PART, Method::PUT, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload_id);
        let escaped = utf8_percent_encode(&source.key, ESCAPED_IN_PATH);
        let headers = [
            (SOURCE, format!("{}/{escaped}", source.bucket)),
            (
                SOURCE_RANGE,
                format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
            ),
            (SOURCE_IF_MATCH, source.etag.clone()),
        ];
        for (name, value) in headers {
            let value = HeaderValue::from_str(&value).map_err(|_| {
                let why = "the source can't be named in a header";
                S3Error::new(S3ErrorKind::Unsupported, COPY_PART, self.resource(key), why)
            })?;
            request.headers.insert(name, value);
        }
        let answer = self.send(request).await?;
        let copied: xml::CopyPartResult =
            xml::parse(&answer.body, "CopyPartResult").map_err(|why| {
                S3Error::new(S3ErrorKind::Unsupported, COPY_PART, self.resource(key), why)
            })?;
        Ok(UploadedPart {
            etag: copied.etag,
            retries: answer.retries,
        })
    }
}
