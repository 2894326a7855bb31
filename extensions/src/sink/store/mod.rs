//! The interface between an export and a store.
//!
//! Invariant: the export path uses a store only through [`UploadStore`]. Deletes and aborts can be
//! repeated: they succeed if the object or upload is already gone.

mod direct_file;
mod durability;
mod local;
mod object;
mod probe;
mod s3;

pub use self::local::LocalUploadStore;
pub use self::object::{Encryption, ObjectOptions};
pub use self::probe::{Probe, ProbeStatus, probe_store};
pub use self::s3::{MAX_PARTS, S3UploadStore};

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
pub use crate::s3::CopySource;

/// The deadline of [`UploadStore::beat`].
pub(super) const BEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// The kinds of store failures that the export path distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The object exists, but the request required a new one.
    AlreadyExists,
    /// The upload is not pending any more.
    NoSuchUpload,
    /// The store does not offer this.
    Unsupported,
    /// Anything else.
    Other,
}

/// A failure of a store: its kind, and the error for the user.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct StoreError {
    /// The kind of failure.
    pub kind: StoreErrorKind,
    /// The error for the user, naming the action and the resource.
    pub error: Error,
    /// Whether the store may have executed the request, or may still execute it.
    pub maybe_executed: bool,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        error.error
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// The size in bytes.
    pub bytes: u64,
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PendingUpload {
    /// The key the object will have.
    pub key: String,
    /// The store's id for the upload.
    pub upload_id: String,
}

/// An upload that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedUpload {
    /// The upload.
    pub upload: PendingUpload,
    /// An earlier attempt whose answer was lost may have created another upload.
    pub maybe_another: bool,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPart {
    /// The store's receipt for it: on S3 its ETag and checksum.
    pub receipt: String,
    /// How often it had to be sent again.
    pub retries: u32,
}

/// HTTP headers of an object, for downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeaders {
    /// The media type.
    pub content_type: &'static str,
    /// How it is compressed as a whole.
    pub content_encoding: Option<&'static str>,
    /// Whether it is data, which goes into the storage class that the user chose. Bookkeeping must
    /// be readable at once.
    pub is_data: bool,
}

impl ContentHeaders {
    /// The headers of bookkeeping.
    pub(super) const BOOKKEEPING: Self = Self {
        content_type: "application/json",
        content_encoding: None,
        is_data: false,
    };
}

/// Bytes at the beginning or at the end of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// The bytes.
    pub bytes: Bytes,
    /// The object's media type, if the store knows it.
    pub content_type: Option<String>,
}

/// Properties of an existing object that show which export wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectIdentity {
    /// The size in bytes; `None` if the store does not tell it, as for some compressed objects.
    pub bytes: Option<u64>,
    /// The `file_tag` with which the upload was created.
    pub file_tag: Option<String>,
    /// Its ETag.
    pub etag: Option<String>,
}

impl ObjectIdentity {
    /// Whether the export `id` uploaded the object. The tag begins with the export's id.
    pub(super) fn is_from_export(&self, id: &str) -> bool {
        self.file_tag
            .as_ref()
            .is_some_and(|tag| tag.starts_with(id))
    }
}

/// One bucket, or the local file system in its place.
#[async_trait]
pub trait UploadStore: std::fmt::Debug + Send + Sync {
    /// The store's name for people and plans: `S3`.
    fn name(&self) -> &'static str;

    /// How many parts a file may have.
    fn max_parts(&self) -> usize;

    /// `key` as a URL, for messages.
    fn url(&self, key: &str) -> String;

    /// The keys that begin with `prefix`, at most `limit` of them; an object whose key is `prefix`
    /// itself comes first.
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let objects = self.list_objects(prefix, limit).await?;
        Ok(objects.into_iter().map(|object| object.key).collect())
    }

    /// As [`Self::list`], with the sizes of the objects.
    async fn list_objects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError>;

    /// Writes a small object and returns its ETag, if the store has ETags. With `only_new`, fails
    /// with [`StoreErrorKind::AlreadyExists`] if the object exists, on stores that support this
    /// condition.
    async fn put(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        only_new: bool,
    ) -> Result<Option<String>, StoreError>;

    /// Writes a small object as a heartbeat: in one attempt that takes at most [`BEAT_TIMEOUT`],
    /// not delayed by other requests.
    async fn beat(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError>;

    /// Reads a small object; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Reads at most `limit` bytes at the beginning of an object, or at its end; `None` if there is
    /// none, or if it may not or can't be read.
    async fn peek(&self, key: &str, limit: usize, at_end: bool)
    -> Result<Option<Peek>, StoreError>;

    /// Deletes an object, or does nothing if there is none.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// How long ago an object was written, by the store's own clock; `None` if there is none.
    async fn age(&self, key: &str) -> Result<Option<Duration>, StoreError>;

    /// Looks at an object without reading it; `None` if there is none.
    async fn identify(&self, key: &str) -> Result<Option<ObjectIdentity>, StoreError>;

    /// Starts an upload. `file_tag` is stored with the object, so that [`Self::identify`] can later
    /// show that the object came from this upload.
    async fn create_upload(
        &self,
        key: &str,
        content: ContentHeaders,
        file_tag: &str,
    ) -> Result<CreatedUpload, StoreError>;

    /// Sends one part. Parts count from 1; all but the last are of one size.
    async fn put_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        body: Bytes,
    ) -> Result<SentPart, StoreError>;

    /// Has the store copy bytes of another object as a part.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] if the store does not copy parts.
    async fn copy_part(
        &self,
        upload: &PendingUpload,
        _number: usize,
        _source: &CopySource,
        _range: Range<u64>,
    ) -> Result<SentPart, StoreError> {
        let why = format!("{} can't be copied by the store", self.url(&upload.key));
        Err(StoreError {
            kind: StoreErrorKind::Unsupported,
            error: Error::new(ErrorKind::Unsupported, why),
            maybe_executed: false,
        })
    }

    /// Makes the upload durable, so that it survives a crash of the store's machine. All parts must
    /// have been sent.
    async fn seal_upload(&self, upload: &PendingUpload) -> Result<(), StoreError>;

    /// Makes the object appear from the parts with these receipts, in order. Replaces an existing
    /// object. Returns the ETag of the new object, if the store has ETags.
    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        receipts: &[String],
    ) -> Result<Option<String>, StoreError>;

    /// Aborts an upload, or does nothing if it is not pending.
    async fn abort_upload(&self, upload: &PendingUpload) -> Result<(), StoreError>;

    /// Every pending upload whose key begins with `prefix`.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError>;
}
