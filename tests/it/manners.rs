//! The embedded server with the documented manners of other stores.
//!
//! Invariant: every difference between stores is a field of [`Manners`], and every store names the
//! sources of its differences.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use tempfile::TempDir;
use tidegate::dev_s3::{self, DevServer};

use crate::judged::refusal;
use crate::servers::{TestStore, any_port, bucket_folder, embedded_key, embedded_store};

/// The differences of a store that an export can notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manners {
    pub(crate) name: &'static str,
    /// ListMultipartUploads takes its prefix for a whole key.
    pub(crate) lists_uploads_by_key: bool,
    /// PutObject with `If-None-Match`.
    pub(crate) condition: Condition,
    /// All parts of an upload but the last must have the same length.
    wants_equal_parts: bool,
    /// A second write of the same key follows too soon: status 429. The stores limit writes to one
    /// per second. The interval here is shorter, as are the pauses between the tests' retries.
    limits_writes_of_a_key: bool,
    /// DeleteObject answers 404 if there is no object.
    misses_deleted_objects: bool,
    /// CompleteMultipartUpload and AbortMultipartUpload of a completed upload succeed again.
    repeats_completion: bool,
    /// CompleteMultipartUpload of an upload that is not pending answers 500.
    fails_on_unknown_uploads: bool,
    /// UploadPart copies from the object that a header names. Other stores take the request for an
    /// empty part.
    pub(crate) copies_parts: bool,
}

/// How a store treats `If-None-Match` in a PutObject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Obeyed,
    Ignored,
    /// 501 NotImplemented.
    Refused,
}

/// The embedded server as it is.
pub(crate) const EMBEDDED: Manners = Manners {
    name: "embedded",
    lists_uploads_by_key: false,
    condition: Condition::Obeyed,
    wants_equal_parts: false,
    limits_writes_of_a_key: false,
    misses_deleted_objects: false,
    repeats_completion: false,
    fails_on_unknown_uploads: false,
    copies_parts: true,
};

/// - Repeated completions: <https://github.com/minio/minio/issues/13318> (a script that succeeds on
///   S3), <https://github.com/adobe/S3Mock/issues/2586>
/// - Repeated aborts: <https://github.com/minio/minio/issues/2250>
pub(crate) const AWS: Manners = Manners {
    name: "AWS",
    repeats_completion: true,
    ..EMBEDDED
};

/// - Uploads: <https://github.com/minio/minio/issues/20989>, closed as intended
/// - Repeated completions fail: <https://github.com/minio/minio/issues/13318>
pub(crate) const MINIO: Manners = Manners {
    name: "MinIO",
    lists_uploads_by_key: true,
    ..EMBEDDED
};

/// - Parts: <https://developers.cloudflare.com/r2/objects/multipart-objects/#limitations>
/// - Writes: <https://developers.cloudflare.com/r2/platform/limits/>, footnote 5
pub(crate) const R2: Manners = Manners {
    name: "Cloudflare R2",
    wants_equal_parts: true,
    limits_writes_of_a_key: true,
    ..EMBEDDED
};

/// - Deletes: <https://cloud.google.com/storage/docs/xml-api/delete-object>
/// - Conditions: <https://cloud.google.com/storage/docs/xml-api/put-object-upload> lists
///   `x-goog-if-generation-match` and no `If-None-Match`
/// - Writes: <https://cloud.google.com/storage/quotas#objects>
/// - Parts: <https://cloud.google.com/storage/docs/xml-api/put-object-multipart> lists no source
pub(crate) const GCS: Manners = Manners {
    name: "Google Cloud Storage",
    copies_parts: false,
    condition: Condition::Ignored,
    limits_writes_of_a_key: true,
    misses_deleted_objects: true,
    ..EMBEDDED
};

/// - Conditions: <https://github.com/sathinduga/obsidian-s3-sync-and-backup/pull/84>
pub(crate) const B2: Manners = Manners {
    name: "Backblaze B2",
    condition: Condition::Refused,
    ..EMBEDDED
};

/// - Unknown uploads: <https://tracker.ceph.com/issues/75534>,
///   <https://github.com/ceph/s3-tests/pull/728>
pub(crate) const CEPH: Manners = Manners {
    name: "Ceph",
    fails_on_unknown_uploads: true,
    ..EMBEDDED
};

pub(crate) const ALL: [Manners; 6] = [AWS, MINIO, R2, GCS, B2, CEPH];

/// The interval between two writes of the same key.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);

/// The shortest part that is not the last:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const SHORTEST_PART: u64 = 5 << 20;

/// The ETag of nothing.
const EMPTY_ETAG: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";

/// A server with manners. It is stopped on drop.
pub(crate) struct ManneredServer {
    pub(crate) store: TestStore,
    seen: Arc<Mutex<Seen>>,
    _servers: [DevServer; 2],
    _root: TempDir,
}

impl ManneredServer {
    pub(crate) async fn start(manners: Manners) -> Self {
        let root = bucket_folder();
        let service = MannersService::new(root.path(), manners);
        let plain = service.plain();
        let seen = Arc::clone(&service.seen);
        let server = DevServer::start_with(service, any_port()).await.unwrap();
        let plain = DevServer::start_with(plain, any_port()).await.unwrap();
        let mut store = embedded_store(server.endpoint());
        store.plain_endpoint = Some(plain.endpoint());
        Self {
            store,
            seen,
            _servers: [server, plain],
            _root: root,
        }
    }

    /// How many parts the store has copied from other objects.
    pub(crate) fn copied_parts(&self) -> usize {
        self.seen.lock().unwrap().copied_parts
    }
}

/// The service of a [`ManneredServer`].
#[derive(Clone)]
pub(crate) struct MannersService {
    inner: S3Service,
    root: PathBuf,
    manners: Manners,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The lengths of parts, by upload and number.
    parts: BTreeMap<String, BTreeMap<u32, u64>>,
    /// When a key was last written.
    written: BTreeMap<String, Instant>,
    /// The answers to completions, by upload.
    completed: BTreeMap<String, Bytes>,
    /// How many parts were copied from other objects.
    copied_parts: usize,
}

/// What a request does, as far as manners concern it.
enum Operation {
    Put,
    PutPart { upload: String, number: u32 },
    Complete { upload: String },
    Abort { upload: String },
    Delete,
    ListUploads { prefix: String },
    Other,
}

impl Operation {
    fn of(request: &Request<Body>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let query: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let in_bucket = request.uri().path().trim_matches('/').contains('/');
        let upload = query.get("uploadId").cloned();
        match (request.method(), upload) {
            (&Method::PUT, Some(upload)) => Self::PutPart {
                upload,
                number: query["partNumber"].parse().unwrap(),
            },
            (&Method::POST, Some(upload)) => Self::Complete { upload },
            (&Method::DELETE, Some(upload)) => Self::Abort { upload },
            (&Method::PUT, None) if in_bucket => Self::Put,
            (&Method::DELETE, None) if in_bucket => Self::Delete,
            (&Method::GET, None) if !in_bucket && query.contains_key("uploads") => {
                Self::ListUploads {
                    prefix: query.get("prefix").cloned().unwrap_or_default(),
                }
            }
            _ => Self::Other,
        }
    }
}

impl MannersService {
    /// Serves the folder `root`.
    pub(crate) fn new(root: &Path, manners: Manners) -> Self {
        Self {
            inner: dev_s3::service(root, &embedded_key()).unwrap(),
            root: root.to_owned(),
            manners,
            seen: Arc::default(),
        }
    }

    /// The service without manners, for looking at what is there.
    pub(crate) fn plain(&self) -> S3Service {
        self.inner.clone()
    }

    /// Answers a request as the store would.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        let operation = Operation::of(&request);
        let path = request.uri().path().to_owned();
        if let Some(refused) = self.refuse(&operation, &path, &request) {
            return Ok(refused);
        }
        if self.manners.condition == Condition::Ignored
            && request.headers().contains_key("if-none-match")
        {
            // The header is signed and can't be removed, so the object is.
            let _ = std::fs::remove_file(self.file_of(&path));
        }
        let is_gone = match (&operation, self.manners.misses_deleted_objects) {
            (Operation::Delete, true) => !self.file_of(&path).is_file(),
            _ => false,
        };
        let mut response = self.inner.call(request).await?;
        let succeeded = response.status().is_success();
        match operation {
            Operation::Delete if is_gone => {
                response = refusal(StatusCode::NOT_FOUND, "NoSuchKey", "");
            }
            Operation::Put if succeeded => self.note_write(path),
            Operation::Complete { .. }
                if self.manners.fails_on_unknown_uploads
                    && response.status() == StatusCode::NOT_FOUND =>
            {
                response = refusal(StatusCode::INTERNAL_SERVER_ERROR, "UnknownError", "");
            }
            Operation::Complete { upload } if succeeded => {
                self.note_write(path);
                let body = response.body_mut().store_all_limited(1 << 20).await;
                let body = body.unwrap();
                if !contains(&body, b"<Error>") {
                    self.seen.lock().unwrap().completed.insert(upload, body);
                }
            }
            Operation::ListUploads { prefix } if succeeded && self.manners.lists_uploads_by_key => {
                let body = response.body_mut().store_all_limited(1 << 20).await;
                let listed = String::from_utf8(body.unwrap().to_vec()).unwrap();
                *response.body_mut() = Body::from(only_of_key(&listed, &prefix));
                response.headers_mut().remove("content-length");
            }
            _ => {}
        }
        Ok(response)
    }

    /// The store's own answer to a request, if it does not let the request through.
    fn refuse(
        &self,
        operation: &Operation,
        path: &str,
        request: &Request<Body>,
    ) -> Option<Response<Body>> {
        let manners = &self.manners;
        let mut seen = self.seen.lock().unwrap();
        if request.headers().contains_key("if-none-match")
            && manners.condition == Condition::Refused
            && matches!(operation, Operation::Put)
        {
            let code = "NotImplemented";
            return Some(refusal(StatusCode::NOT_IMPLEMENTED, code, ""));
        }
        if let Operation::Put | Operation::Complete { .. } = operation
            && manners.limits_writes_of_a_key
            && let Some(written) = seen.written.get(path)
            && written.elapsed() < WRITE_INTERVAL
        {
            let code = "TooManyRequests";
            return Some(refusal(StatusCode::TOO_MANY_REQUESTS, code, ""));
        }
        match operation {
            Operation::PutPart { upload, number } => {
                let header = |name: &str| {
                    let value = request.headers().get(name)?;
                    Some(value.to_str().unwrap().to_owned())
                };
                let copied = header("x-amz-copy-source-range");
                if copied.is_some() && !manners.copies_parts {
                    let mut empty = Response::new(Body::empty());
                    let etag = EMPTY_ETAG.parse().unwrap();
                    empty.headers_mut().insert("etag", etag);
                    return Some(empty);
                }
                let length = match copied
                    .as_deref()
                    .map(|range| range.trim_start_matches("bytes="))
                {
                    Some(range) => {
                        let (first, last) = range.split_once('-').unwrap();
                        last.parse::<u64>().unwrap() - first.parse::<u64>().unwrap() + 1
                    }
                    None => header("content-length").unwrap().parse().unwrap(),
                };
                seen.copied_parts += usize::from(copied.is_some());
                let parts = seen.parts.entry(upload.clone()).or_default();
                parts.insert(*number, length);
                None
            }
            Operation::Complete { upload } => {
                if let Some(answer) = seen.completed.get(upload)
                    && manners.repeats_completion
                {
                    return Some(Response::new(Body::from(answer.clone())));
                }
                let lengths = seen.parts.get(upload)?;
                let lengths: Vec<u64> = lengths.values().copied().collect();
                let (last, others) = lengths.split_last()?;
                if others.iter().any(|length| *length < SHORTEST_PART) {
                    return Some(refusal(StatusCode::BAD_REQUEST, "EntityTooSmall", ""));
                }
                let unequal = others.iter().any(|length| *length != others[0])
                    || others.first().is_some_and(|first| last > first);
                (manners.wants_equal_parts && unequal)
                    .then(|| refusal(StatusCode::BAD_REQUEST, "InvalidPart", ""))
            }
            Operation::Abort { upload } => {
                let again = manners.repeats_completion && seen.completed.contains_key(upload);
                again.then(|| {
                    let mut done = Response::new(Body::empty());
                    *done.status_mut() = StatusCode::NO_CONTENT;
                    done
                })
            }
            _ => None,
        }
    }

    fn note_write(&self, path: String) {
        let mut seen = self.seen.lock().unwrap();
        seen.written.insert(path, Instant::now());
    }

    /// The file of the object at the path of a URL, `/bucket/key`.
    fn file_of(&self, path: &str) -> PathBuf {
        self.root
            .join(percent_decoded(path).trim_start_matches('/'))
    }
}

impl hyper::service::Service<Request<Incoming>> for MannersService {
    type Response = Response<Body>;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Response<Body>, HttpError>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.answer(request.map(Body::from)).await })
    }
}

fn percent_decoded(path: &str) -> String {
    let query = format!("path={}", path.replace('+', "%2B"));
    let mut decoded = url::form_urlencoded::parse(query.as_bytes());
    decoded.next().unwrap().1.into_owned()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A list of uploads without those of other keys.
fn only_of_key(listed: &str, key: &str) -> String {
    const START: &str = "<Upload>";
    const END: &str = "</Upload>";
    let mut rest = listed;
    let mut kept = String::new();
    while let Some(start) = rest.find(START) {
        let end = rest.find(END).unwrap() + END.len();
        kept.push_str(&rest[..start]);
        let upload = &rest[start..end];
        let its_key = upload.split("<Key>").nth(1).unwrap();
        let its_key = its_key.split("</Key>").next().unwrap();
        if unescaped(its_key) == key {
            kept.push_str(upload);
        }
        rest = &rest[end..];
    }
    kept + rest
}

/// A text of XML without escapes.
fn unescaped(text: &str) -> String {
    let escapes = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    let replace = |text: String, (escape, with): &(&str, &str)| text.replace(escape, with);
    escapes.iter().fold(text.to_owned(), replace)
}
