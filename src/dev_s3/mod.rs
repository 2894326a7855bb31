//! An S3 server for trying things out: s3s serves a folder on a loopback port.
//!
//! Invariant: the server is stricter than s3s-fs alone, so that programs that work here also work
//! with other stores: a bucket must exist, pending uploads can be listed, and an upload is either
//! completed or aborted. Pending uploads do not survive a restart.

#[doc(hidden)]
pub mod listing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tidegate_extensions::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The longest name of a file, in bytes.
const LONGEST_FILE_NAME: usize = 255;

/// The length of the fixed text in the name of an s3s-fs metadata file, in bytes. The name also
/// holds the bucket and the key, encoded in base64:
/// `.bucket-….object-….upload-<uuid>.metadata.json`.
const LONGEST_AFFIXES: usize = 74;

/// The one access key that a server accepts.
#[derive(Clone)]
pub struct AccessKey {
    /// `ACCESS KEY ID`
    pub id: String,
    /// `SECRET ACCESS KEY`
    pub secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct DevServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl DevServer {
    /// Serves the buckets (folders) under `root` at `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the folder or the port can't be used.
    pub async fn start(root: &Path, key: &AccessKey, address: SocketAddr) -> Result<Self> {
        Self::start_with(service(root, key)?, address).await
    }

    /// Serves any S3 service, for example one that wraps [`service`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the port can't be used.
    pub async fn start_with<S>(service: S, address: SocketAddr) -> Result<Self>
    where
        S: Service<
                hyper::Request<hyper::body::Incoming>,
                Response = hyper::Response<s3s::Body>,
                Error = s3s::HttpError,
                Future: Send,
            > + Clone
            + Send
            + 'static,
    {
        let unusable = |error: std::io::Error| {
            Error::new(ErrorKind::Io, format!("can't listen on {address}: {error}"))
                .with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let task = tokio::spawn(accept_connections(listener, service));
        Ok(Self { address, task })
    }

    /// The server's endpoint, for `CREATE CONNECTION`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves requests. Returns only if the server's task panics.
    pub async fn run(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_connections<S>(listener: TcpListener, service: S)
where
    S: Service<
            hyper::Request<hyper::body::Incoming>,
            Response = hyper::Response<s3s::Body>,
            Error = s3s::HttpError,
            Future: Send,
        > + Clone
        + Send
        + 'static,
{
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // A failed connection, or a lack of file descriptors, must not end the server.
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let service = service.clone();
        connections.spawn(async move {
            let io = TokioIo::new(stream);
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(io, service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

/// The S3 service over the folder `root`, which is created if it is not there.
///
/// # Errors
/// [`ErrorKind::Io`] if the folder can't be used.
pub fn service(root: &Path, key: &AccessKey) -> Result<S3Service> {
    let unusable = |error: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Io,
            format!("can't serve the folder {}: {error}", root.display()),
        )
    };
    std::fs::create_dir_all(root).map_err(|error| unusable(&error))?;
    forget_pending_uploads(root).map_err(|error| unusable(&error))?;
    let files = FileSystem::new(root).map_err(|error| unusable(&format!("{error:?}")))?;
    let store = DevStore {
        files: Arc::new(files),
        root: Arc::from(root),
        pending: Arc::default(),
    };
    let mut builder = S3ServiceBuilder::new(store);
    builder.set_auth(SimpleAuth::from_single(key.id.clone(), key.secret.as_str()));
    Ok(builder.build())
}

/// Removes the files that s3s-fs keeps for uploads that were pending when an earlier server ended.
fn forget_pending_uploads(root: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".upload-") || name.starts_with(".upload_id-") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Buckets in folders.
#[derive(Debug, Clone)]
struct DevStore {
    files: Arc<FileSystem>,
    root: Arc<Path>,
    /// The pending uploads. To complete or abort an upload, a request holds its lock.
    pending: Arc<Mutex<BTreeMap<Pending, UploadLock>>>,
}

type UploadLock = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    bucket: String,
    key: String,
    upload_id: String,
}

impl DevStore {
    /// s3s-fs would create a missing bucket.
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.root.join(bucket).is_dir() {
            return Ok(());
        }
        Err(s3_error!(NoSuchBucket))
    }

    /// s3s-fs keeps an object's metadata in a file whose name contains the whole key.
    fn check_new_key(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.check_bucket(bucket)?;
        let encoded = |text: &str| (text.len() * 4).div_ceil(3);
        if encoded(bucket) + encoded(key) + LONGEST_AFFIXES > LONGEST_FILE_NAME {
            return Err(s3_error!(
                KeyTooLongError,
                "this server takes keys of up to about 120 bytes"
            ));
        }
        Ok(())
    }

    /// s3s-fs keeps keys as paths. A key that names a folder is only a prefix of other keys, not an
    /// object.
    fn check_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.check_bucket(bucket)?;
        if self.root.join(bucket).join(key).is_dir() {
            return Err(s3_error!(NoSuchKey));
        }
        Ok(())
    }

    async fn list(&self, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        self.check_bucket(&input.bucket)?;
        let bucket = self.root.join(&input.bucket);
        match tokio::task::spawn_blocking(move || listing::list(&bucket, input)).await {
            Ok(Ok(listing)) => Ok(listing),
            Ok(Err(error)) => Err(s3_error!(error, InternalError)),
            Err(error) => Err(s3_error!(error, InternalError)),
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<Pending, UploadLock>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// S3 answers NoSuchUpload for an unknown upload; s3s-fs would answer AccessDenied.
    fn check_upload(&self, bucket: &str, key: &str, upload_id: &str) -> S3Result<Pending> {
        let upload = Pending {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload_id: upload_id.to_owned(),
        };
        if self.pending().contains_key(&upload) {
            return Ok(upload);
        }
        Err(s3_error!(NoSuchUpload))
    }

    /// Completes or aborts an upload with `change`, unless another request does so first.
    async fn end_upload<T>(
        &self,
        upload: &Pending,
        change: impl Future<Output = S3Result<S3Response<T>>>,
    ) -> S3Result<S3Response<T>> {
        let lock = self.pending().get(upload).cloned();
        let lock = lock.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let _held = lock.lock().await;
        if !self.pending().contains_key(upload) {
            return Err(s3_error!(NoSuchUpload));
        }
        let response = change.await?;
        self.pending().remove(upload);
        Ok(response)
    }
}

/// Completes a change even if the client disconnects, as a real store does.
async fn carry_out<T: Send + 'static>(
    change: impl Future<Output = S3Result<S3Response<T>>> + Send + 'static,
) -> S3Result<S3Response<T>> {
    tokio::spawn(change)
        .await
        .unwrap_or_else(|_| Err(s3_error!(InternalError)))
}

#[async_trait]
impl S3 for DevStore {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(req).await
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.files.delete_bucket(req).await
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&req.input.bucket)?;
        self.files.head_bucket(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(req).await
    }

    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let listing = self.list(ListObjectsV2Input::from(req.input)).await?;
        Ok(S3Response::new(listing::as_first_version(listing)))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.list(req.input).await.map(S3Response::new)
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.check_object(&req.input.bucket, &req.input.key)?;
        self.files.get_object(req).await
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.check_object(&req.input.bucket, &req.input.key)?;
        self.files.head_object(req).await
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.check_new_key(&req.input.bucket, &req.input.key)?;
        let files = Arc::clone(&self.files);
        carry_out(async move { files.put_object(req).await }).await
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        self.check_bucket(&req.input.bucket)?;
        self.files.copy_object(req).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.check_bucket(&req.input.bucket)?;
        let files = Arc::clone(&self.files);
        carry_out(async move { files.delete_object(req).await }).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.check_bucket(&req.input.bucket)?;
        self.files.delete_objects(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.check_new_key(&req.input.bucket, &req.input.key)?;
        let store = self.clone();
        carry_out(async move {
            let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
            let response = store.files.create_multipart_upload(req).await?;
            if let Some(upload_id) = response.output.upload_id.clone() {
                let upload = Pending {
                    bucket,
                    key,
                    upload_id,
                };
                store.pending().insert(upload, UploadLock::default());
            }
            Ok(response)
        })
        .await
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = &req.input;
        self.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        self.files.upload_part(req).await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = &req.input;
        self.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        self.files.upload_part_copy(req).await
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = &req.input;
        self.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        self.files.list_parts(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = &req.input;
        let upload = self.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        let store = self.clone();
        carry_out(async move {
            let change = store.files.complete_multipart_upload(req);
            store.end_upload(&upload, change).await
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = &req.input;
        let upload = self.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        let store = self.clone();
        carry_out(async move {
            let change = store.files.abort_multipart_upload(req);
            store.end_upload(&upload, change).await
        })
        .await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        self.check_bucket(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let uploads = self
            .pending()
            .keys()
            .filter(|upload| upload.bucket == input.bucket && upload.key.starts_with(&prefix))
            .map(|upload| MultipartUpload {
                key: Some(upload.key.clone()),
                upload_id: Some(upload.upload_id.clone()),
                ..MultipartUpload::default()
            })
            .collect();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(prefix),
            is_truncated: Some(false),
            uploads: Some(uploads),
            ..ListMultipartUploadsOutput::default()
        }))
    }
}
