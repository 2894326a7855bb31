//! S3 as an [`UploadStore`].
//!
//! Invariant: this file only translates; what a request does is in [`crate::s3`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use http::HeaderValue;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED,
};

use super::store::{ObjectIdentity, PendingUpload, StoreError, StoreErrorKind, UploadStore};
use crate::error::Error;
use crate::s3::{S3Client, S3Error, S3ErrorKind, metadata_header};

/// The metadata under which a file's tag is kept: `x-amz-meta-tidegate-file`.
const FILE_TAG: &str = "tidegate-file";

/// S3 accepts at most so many parts: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub(super) const MAX_PARTS: usize = 10_000;

/// A bucket behind an [`S3Client`].
#[derive(Debug)]
pub struct S3UploadStore {
    client: S3Client,
    connection: String,
}

impl S3UploadStore {
    /// A store that reaches its bucket through `client`; `connection` is named in errors.
    pub fn new(client: S3Client, connection: String) -> Self {
        Self { client, connection }
    }

    fn translate(&self, error: S3Error) -> StoreError {
        let kind = match error.kind {
            S3ErrorKind::PreconditionFailed => StoreErrorKind::AlreadyExists,
            S3ErrorKind::NoSuchUpload => StoreErrorKind::NoSuchUpload,
            S3ErrorKind::Unsupported => StoreErrorKind::Unsupported,
            _ => StoreErrorKind::Other,
        };
        let error = Error::from(error).context(format!("connection \"{}\"", self.connection));
        StoreError { kind, error }
    }
}

#[async_trait]
impl UploadStore for S3UploadStore {
    fn name(&self) -> &'static str {
        "S3"
    }

    fn max_parts(&self) -> usize {
        MAX_PARTS
    }

    fn url(&self, key: &str) -> String {
        self.client.resource(key)
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let objects = self
            .client
            .list_objects(prefix, limit)
            .await
            .map_err(|error| self.translate(error))?;
        Ok(objects.into_iter().map(|object| object.key).collect())
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        only_new: bool,
    ) -> Result<Option<String>, StoreError> {
        self.client
            .put_object(key, body, content_type, only_new)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.client
            .get_object(key)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.client
            .delete_object(key)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn age(&self, key: &str) -> Result<Option<Duration>, StoreError> {
        let headers = self
            .client
            .head_object(key)
            .await
            .map_err(|error| self.translate(error))?;
        let Some(headers) = headers else {
            return Ok(None);
        };
        let time = |name: HeaderName| {
            let text = header_text(&headers, name.as_str())?;
            DateTime::parse_from_rfc2822(&text).ok()
        };
        // Without both dates nothing is known, and what is not known to be dead lives.
        let age = time(DATE)
            .zip(time(LAST_MODIFIED))
            .and_then(|(now, then)| (now - then).to_std().ok());
        Ok(Some(age.unwrap_or_default()))
    }

    async fn identify(&self, key: &str) -> Result<Option<ObjectIdentity>, StoreError> {
        let headers = self
            .client
            .head_object(key)
            .await
            .map_err(|error| self.translate(error))?;
        Ok(headers.map(|headers| ObjectIdentity {
            bytes: header_text(&headers, CONTENT_LENGTH.as_str())
                .and_then(|length| length.parse().ok())
                .unwrap_or_default(),
            file_tag: header_text(&headers, &format!("x-amz-meta-{FILE_TAG}")),
            etag: header_text(&headers, ETAG.as_str()),
        }))
    }

    async fn create_upload(
        &self,
        key: &str,
        content_type: &'static str,
        file_tag: &str,
    ) -> Result<(PendingUpload, bool), StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.extend(metadata_header(FILE_TAG, file_tag));
        let (upload_id, maybe_another) = self
            .client
            .create_upload(key, headers)
            .await
            .map_err(|error| self.translate(error))?;
        let upload = PendingUpload {
            key: key.to_owned(),
            upload_id,
        };
        Ok((upload, maybe_another))
    }

    async fn put_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        body: Bytes,
    ) -> Result<String, StoreError> {
        self.client
            .upload_part(&upload.key, &upload.upload_id, number, body)
            .await
            .map_err(|error| self.translate(error))
    }

    /// S3 confirms a part when it is durable.
    async fn seal_upload(&self, _upload: &PendingUpload) -> Result<(), StoreError> {
        Ok(())
    }

    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        etags: &[String],
    ) -> Result<Option<String>, StoreError> {
        self.client
            .complete_upload(&upload.key, &upload.upload_id, etags)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn abort_upload(&self, upload: &PendingUpload) -> Result<(), StoreError> {
        self.client
            .abort_upload(&upload.key, &upload.upload_id)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        let uploads = self
            .client
            .list_uploads(prefix)
            .await
            .map_err(|error| self.translate(error))?;
        Ok(uploads
            .into_iter()
            .map(|upload| PendingUpload {
                key: upload.key,
                upload_id: upload.upload_id,
            })
            .collect())
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}
