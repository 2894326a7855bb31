//! S3 as an [`UploadStore`].
//!
//! Invariant: this file only translates between types. The requests are implemented in
//! [`crate::s3`].

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use chrono::DateTime;
use http::HeaderValue;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName,
    LAST_MODIFIED,
};

use sha2::{Digest, Sha256};

use super::object::ObjectOptions;
use super::{
    BEAT_TIMEOUT, ContentHeaders, CopySource, CreatedUpload, ListedObject, ObjectIdentity, Peek,
    PendingUpload, SentPart, StoreError, StoreErrorKind, UploadStore,
};
use crate::error::Error;
use crate::s3::{PartReceipt, S3Client, S3Error, S3ErrorKind, UploadedPart, metadata_header};

/// The metadata name for a file's tag, without its prefix: `x-amz-meta-tidegate-file`.
const FILE_TAG: &str = "tidegate-file";

/// The maximum number of parts of an upload to S3:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PARTS: usize = 10_000;

const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY_ID: HeaderName =
    HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");
const CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-checksum-algorithm");

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    let value = value.and_then(|value| HeaderValue::from_str(value).ok());
    headers.extend(value.map(|value| (name, value)));
}

fn sha256(body: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(body))
}

/// A bucket behind an [`S3Client`].
#[derive(Debug)]
pub struct S3UploadStore {
    client: S3Client,
    connection: String,
    options: ObjectOptions,
}

impl S3UploadStore {
    /// A store that reaches its bucket through `client`. Errors name `connection`; new objects are
    /// stored with `options`.
    pub fn new(client: S3Client, connection: String, options: ObjectOptions) -> Self {
        Self {
            client,
            connection,
            options,
        }
    }

    /// The encryption headers of every new object: a bucket's policy may require them.
    fn encryption_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(encryption) = &self.options.encryption {
            let algorithm = HeaderValue::from_static(encryption.algorithm);
            headers.insert(ENCRYPTION, algorithm);
            let key = encryption.kms_key_id.as_deref();
            insert(&mut headers, KMS_KEY_ID, key);
        }
        headers
    }

    fn translate(&self, error: S3Error) -> StoreError {
        let kind = match error.kind {
            S3ErrorKind::PreconditionFailed => StoreErrorKind::AlreadyExists,
            S3ErrorKind::NoSuchUpload => StoreErrorKind::NoSuchUpload,
            S3ErrorKind::Unsupported => StoreErrorKind::Unsupported,
            _ => StoreErrorKind::Other,
        };
        let maybe_executed = error.maybe_executed();
        let error = Error::from(error).in_connection(&self.connection);
        StoreError {
            kind,
            error,
            maybe_executed,
        }
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

    async fn list_objects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        let objects = self
            .client
            .list_objects(prefix, limit)
            .await
            .map_err(|error| self.translate(error))?;
        let objects = objects.into_iter().map(|object| ListedObject {
            key: object.key,
            bytes: object.size,
        });
        Ok(objects.collect())
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        only_new: bool,
    ) -> Result<Option<String>, StoreError> {
        self.client
            .put_object(key, body, content_type, self.encryption_headers(), only_new)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn beat(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError> {
        let headers = self.encryption_headers();
        self.client
            .put_urgently(key, body, content_type, headers, BEAT_TIMEOUT)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.client
            .get_object(key)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn peek(
        &self,
        key: &str,
        limit: usize,
        at_end: bool,
    ) -> Result<Option<Peek>, StoreError> {
        let found = match self.client.get_range(key, limit, at_end).await {
            // Exports need no right to read.
            Err(error) if error.kind == S3ErrorKind::AccessDenied => None,
            // It is archived: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
            Err(error) if error.code.as_deref() == Some("InvalidObjectState") => None,
            found => found.map_err(|error| self.translate(error))?,
        };
        Ok(found.map(|(headers, bytes)| Peek {
            bytes,
            content_type: header_text(&headers, CONTENT_TYPE.as_str()),
        }))
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
        // Without both dates the age is unknown. It counts as zero, so that the export is not
        // declared dead.
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
                .and_then(|length| length.parse().ok()),
            file_tag: header_text(&headers, &format!("x-amz-meta-{FILE_TAG}")),
            etag: header_text(&headers, ETAG.as_str()),
        }))
    }

    async fn create_upload(
        &self,
        key: &str,
        content: ContentHeaders,
        file_tag: &str,
    ) -> Result<CreatedUpload, StoreError> {
        let mut headers = self.encryption_headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content.content_type));
        insert(&mut headers, CONTENT_ENCODING, content.content_encoding);
        let class = self.options.storage_class.as_deref();
        insert(
            &mut headers,
            STORAGE_CLASS,
            class.filter(|_| content.is_data),
        );
        let algorithm = self.options.sha256.then_some("SHA256");
        insert(&mut headers, CHECKSUM_ALGORITHM, algorithm);
        headers.extend(metadata_header(FILE_TAG, file_tag));
        let created = self
            .client
            .create_upload(key, headers)
            .await
            .map_err(|error| self.translate(error))?;
        let upload = PendingUpload {
            key: key.to_owned(),
            upload_id: created.upload_id,
        };
        Ok(CreatedUpload {
            upload,
            maybe_another: created.retried,
        })
    }

    async fn put_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        body: Bytes,
    ) -> Result<SentPart, StoreError> {
        let checksum = self.options.sha256.then(|| sha256(&body));
        let sent = self.client.upload_part(
            &upload.key,
            &upload.upload_id,
            number,
            body,
            checksum.as_deref(),
        );
        let UploadedPart { etag, retries } = sent.await.map_err(|error| self.translate(error))?;
        let receipt = PartReceipt { etag, checksum }.to_string();
        Ok(SentPart { receipt, retries })
    }

    async fn copy_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
    ) -> Result<SentPart, StoreError> {
        let PendingUpload { key, upload_id } = upload;
        let copied = self
            .client
            .upload_part_copy(key, upload_id, number, source, range);
        let UploadedPart { etag, retries } = copied.await.map_err(|error| self.translate(error))?;
        let checksum = None;
        let receipt = PartReceipt { etag, checksum }.to_string();
        Ok(SentPart { receipt, retries })
    }

    /// Does nothing: S3 confirms a part only when it is durable.
    async fn seal_upload(&self, _upload: &PendingUpload) -> Result<(), StoreError> {
        Ok(())
    }

    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        receipts: &[String],
    ) -> Result<Option<String>, StoreError> {
        let parts: Vec<PartReceipt> = receipts.iter().map(|receipt| receipt.into()).collect();
        self.client
            .complete_upload(&upload.key, &upload.upload_id, &parts)
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
