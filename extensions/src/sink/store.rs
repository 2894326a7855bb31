//! What an export needs of a store.
//!
//! Invariant: the export path knows a store only through [`UploadStore`]. Every method that changes
//! something can be repeated: a delete or abort of what is gone succeeds.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Error;

/// How a store failed, as far as the export path decides on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The object exists and was to be new.
    AlreadyExists,
    /// The upload is not pending any more.
    NoSuchUpload,
    /// The store does not offer this.
    Unsupported,
    /// Anything else.
    Other,
}

/// A store's failure: what it means here, and the error for the user.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct StoreError {
    /// What it means.
    pub kind: StoreErrorKind,
    /// The error for the user, naming the action and the resource.
    pub error: Error,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        error.error
    }
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PendingUpload {
    /// The key the object will have.
    pub key: String,
    /// The store's id for the upload.
    pub upload_id: String,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPart {
    /// Its receipt, usually its ETag.
    pub etag: String,
    /// How often it had to be sent again.
    pub retries: u32,
}

/// What a data object is, for whoever downloads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeaders {
    /// The media type.
    pub content_type: &'static str,
    /// How it is compressed as a whole.
    pub content_encoding: Option<&'static str>,
}

/// An existing object, as far as it tells whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectIdentity {
    /// The size in bytes.
    pub bytes: u64,
    /// What was given as `file_tag` when the upload was created.
    pub file_tag: Option<String>,
    /// Its ETag.
    pub etag: Option<String>,
}

impl ObjectIdentity {
    /// Whether the object was uploaded by the export `id`, with which its tag begins.
    pub(super) fn is_from_export(&self, id: &str) -> bool {
        self.file_tag
            .as_ref()
            .is_some_and(|tag| tag.starts_with(id))
    }
}

/// One bucket, or what stands for it.
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
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Writes a small object and returns its ETag, if the store has such. With `only_new`, one that
    /// exists is [`StoreErrorKind::AlreadyExists`], on stores that can tell.
    async fn put(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        only_new: bool,
    ) -> Result<Option<String>, StoreError>;

    /// Reads a small object; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Deletes an object, or does nothing if there is none.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// How long ago an object was written, by the store's own clock; `None` if there is none.
    async fn age(&self, key: &str) -> Result<Option<Duration>, StoreError>;

    /// Looks at an object without reading it; `None` if there is none.
    async fn identify(&self, key: &str) -> Result<Option<ObjectIdentity>, StoreError>;

    /// Starts an upload. `file_tag` is kept with the object, so that [`Self::identify`] can tell
    /// later that it came from this upload. Also says whether another upload may have been created
    /// whose answer was lost.
    async fn create_upload(
        &self,
        key: &str,
        content: ContentHeaders,
        file_tag: &str,
    ) -> Result<(PendingUpload, bool), StoreError>;

    /// Sends one part. Parts count from 1; all but the last are of one size.
    async fn put_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        body: Bytes,
    ) -> Result<SentPart, StoreError>;

    /// Makes sure that the parts sent so far, which are all, survive a crash of the store's machine.
    async fn seal_upload(&self, upload: &PendingUpload) -> Result<(), StoreError>;

    /// Makes the object appear, of the parts with these receipts in order, in the place of an object
    /// that is there. Returns the object's ETag, if the store has such.
    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        etags: &[String],
    ) -> Result<Option<String>, StoreError>;

    /// Throws an upload away, or does nothing if it is not pending.
    async fn abort_upload(&self, upload: &PendingUpload) -> Result<(), StoreError>;

    /// Every pending upload whose key begins with `prefix`.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError>;
}
