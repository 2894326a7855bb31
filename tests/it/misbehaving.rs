//! The embedded S3 server with injected faults. HTTP and storage are real.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use rand::Rng;
use rand::rngs::StdRng;
use s3s::{Body, HttpError};
use tempfile::TempDir;
use tidegate::dev_s3::DevServer;

use crate::manners::{EMBEDDED, Manners, MannersService};
use crate::servers::{TestStore, any_port, bucket_folder, embedded_store, files_under};

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 403 AccessDenied, which clients do not retry.
    Denied,
    /// 503 SlowDown. [`MisbehavingServer::fail_request`] also fails the first two retries.
    SlowDown,
    /// Status 200 with an error in the body, as S3 does for long requests.
    ErrorInBody,
    /// The connection is closed before the request is processed.
    CutBefore,
    /// The request is processed, but the connection is closed instead of a response.
    CutAfter,
    /// The request is not processed, and no response is sent.
    Hang,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::Denied,
        Self::SlowDown,
        Self::ErrorInBody,
        Self::CutBefore,
        Self::CutAfter,
        Self::Hang,
    ];

    /// Fewer faults for a faster test: without `Hang`, which waits for a timeout, and `CutBefore`.
    pub(crate) const QUICK: [Self; 4] = [
        Self::Denied,
        Self::SlowDown,
        Self::ErrorInBody,
        Self::CutAfter,
    ];

    /// Whether retries cure the fault.
    pub(crate) fn is_transient(self) -> bool {
        !matches!(self, Self::Denied | Self::ErrorInBody)
    }
}

#[derive(Debug, Default)]
struct Script {
    /// The request that fails, counted from 1, and its fault.
    fault: Option<(usize, Fault)>,
    /// A request whose retries fail, too: method and URI, number of retries, fault.
    repeated: Option<(String, u32, Fault)>,
    /// No request is answered.
    hangs: bool,
    /// The request that is processed only once the lock is free, counted from 1.
    held: Option<(usize, Arc<tokio::sync::Mutex<()>>)>,
    /// Each request fails with this probability, with a random fault.
    random: Option<(StdRng, f64)>,
    /// Requests that fail: S3 operation, number among its requests (from 1), fault.
    chosen: Vec<(&'static str, usize, Fault)>,
    /// S3 operations that are always refused.
    forbidden: Vec<&'static str>,
    /// The operations seen, in order, and the headers of their requests.
    seen: Vec<&'static str>,
    headers: Vec<HeaderMap>,
}

/// A server whose faults are set by its script.
pub(crate) struct MisbehavingServer {
    pub(crate) store: TestStore,
    script: Arc<Mutex<Script>>,
    _servers: [DevServer; 2],
    root: TempDir,
}

impl MisbehavingServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(EMBEDDED).await
    }

    /// A server that has manners and misbehaves, too.
    pub(crate) async fn start_with(manners: Manners) -> Self {
        let root = bucket_folder();
        let script = Arc::new(Mutex::new(Script::default()));
        let inner = MannersService::new(root.path(), manners);
        let plain = DevServer::start_with(inner.plain(), any_port());
        let plain = plain.await.unwrap();
        let service = FaultService {
            inner,
            script: Arc::clone(&script),
        };
        let server = DevServer::start_with(service, any_port()).await.unwrap();
        let mut store = embedded_store(server.endpoint());
        store.plain_endpoint = Some(plain.endpoint());
        // Short timeouts keep tests with hanging requests fast. Ten attempts let a request succeed
        // even on a busy machine.
        store.retry.request_timeout = Duration::from_millis(400);
        store.retry.completion_timeout = Duration::from_millis(400);
        store.retry.attempts = 10;
        Self {
            store,
            script,
            _servers: [server, plain],
            root,
        }
    }

    /// From here on the `n`-th request (from 1) fails; 0 lets all succeed.
    pub(crate) fn fail_request(&self, n: usize, fault: Fault) {
        let mut script = self.script.lock().unwrap();
        *script = Script::default();
        script.fault = (n > 0).then_some((n, fault));
    }

    /// From here on the `n`-th request (from 1) is processed once the returned guard is dropped.
    pub(crate) fn hold_request(&self, n: usize) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        let guard = Arc::clone(&lock).try_lock_owned().unwrap();
        let mut script = self.script.lock().unwrap();
        *script = Script::default();
        script.held = Some((n, lock));
        guard
    }

    /// From here on these requests fail: S3 operation, number among its requests (from 1), fault.
    pub(crate) fn fail_operations(&self, chosen: &[(&'static str, usize, Fault)]) {
        let mut script = self.script.lock().unwrap();
        *script = Script::default();
        script.chosen = chosen.to_vec();
    }

    /// From here on each request fails with the probability `share`.
    pub(crate) fn fail_at_random(&self, random: StdRng, share: f64) {
        let mut script = self.script.lock().unwrap();
        *script = Script::default();
        script.random = Some((random, share));
    }

    /// From here on no request is answered.
    pub(crate) fn hang_all(&self) {
        let mut script = self.script.lock().unwrap();
        *script = Script::default();
        script.hangs = true;
    }

    pub(crate) fn behave(&self) {
        *self.script.lock().unwrap() = Script::default();
    }

    /// Refuses these operations, as for a key that lacks the right.
    pub(crate) fn forbid(&self, operations: &[&'static str]) {
        let mut script = self.script.lock().unwrap();
        *script = Script::default();
        script.forbidden = operations.to_vec();
    }

    /// Sets the modification time of all bookkeeping under a target to two minutes ago.
    pub(crate) fn age_bookkeeping(&self, target: &str) {
        let path = target.strip_prefix("s3://").unwrap();
        let bookkeeping = self.root.path().join(path).join("_tidegate");
        for path in files_under(&bookkeeping) {
            // A request that was under way may just have deleted it.
            let Ok(file) = std::fs::File::options().write(true).open(&path) else {
                continue;
            };
            let then = SystemTime::now() - Duration::from_secs(120);
            file.set_modified(then).unwrap();
        }
    }

    /// The file in which the server keeps an object.
    pub(crate) fn path_of(&self, key: &str) -> std::path::PathBuf {
        self.root.path().join(&self.store.bucket).join(key)
    }

    /// The headers of the requests of one operation since the script was last changed.
    pub(crate) fn headers_of(&self, operation: &str) -> Vec<HeaderMap> {
        let script = self.script.lock().unwrap();
        let seen = script.seen.iter().zip(&script.headers);
        let wanted = seen.filter(|(name, _)| **name == operation);
        wanted.map(|(_, headers)| headers.clone()).collect()
    }

    /// The operations seen since the script was last changed.
    pub(crate) fn seen(&self) -> Vec<&'static str> {
        self.script.lock().unwrap().seen.clone()
    }
}

#[derive(Clone)]
struct FaultService {
    inner: MannersService,
    script: Arc<Mutex<Script>>,
}

impl FaultService {
    fn next_fault(&self, operation: &'static str, request: &Request<Incoming>) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        script.seen.push(operation);
        script.headers.push(request.headers().clone());
        let request = format!("{} {}", request.method(), request.uri());
        if let Some((repeated, times, fault)) = &mut script.repeated
            && *repeated == request
            && *times > 0
        {
            *times -= 1;
            return Some(*fault);
        }
        if script.hangs {
            return Some(Fault::Hang);
        }
        if let Some((random, share)) = &mut script.random {
            let fails = random.random_bool(*share);
            return fails.then(|| Fault::ALL[random.random_range(0..Fault::ALL.len())]);
        }
        if script.forbidden.contains(&operation) {
            return Some(Fault::Denied);
        }
        let seen = script.seen.iter();
        let nth = seen.filter(|earlier| **earlier == operation).count();
        let is_next = |(name, n, _): &&(_, _, _)| *name == operation && *n == nth;
        if let Some((_, _, fault)) = script.chosen.iter().find(is_next) {
            return Some(*fault);
        }
        let number = script.seen.len();
        let (_, fault) = script.fault.filter(|(n, _)| *n == number)?;
        if fault == Fault::SlowDown {
            script.repeated = Some((request, 2, fault));
        }
        Some(fault)
    }
}

impl hyper::service::Service<Request<Incoming>> for FaultService {
    type Response = Response<Body>;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Response<Body>, HttpError>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let fault = self.next_fault(operation(&request), &request);
        let held = {
            let script = self.script.lock().unwrap();
            let seen = script.seen.len();
            let held = script.held.as_ref().filter(|(n, _)| *n == seen);
            held.map(|(_, lock)| Arc::clone(lock))
        };
        let inner = self.inner.clone();
        let cut = || Err(HttpError::new("cut".into()));
        Box::pin(async move {
            if let Some(lock) = held {
                drop(lock.lock().await);
            }
            match fault {
                None => inner.answer(request.map(Body::from)).await,
                Some(Fault::Denied) => Ok(error(StatusCode::FORBIDDEN, "AccessDenied")),
                Some(Fault::SlowDown) => Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
                Some(Fault::ErrorInBody) => Ok(error(StatusCode::OK, "InternalError")),
                Some(Fault::CutBefore) => cut(),
                Some(Fault::CutAfter) => {
                    let _ = inner.answer(request.map(Body::from)).await;
                    cut()
                }
                Some(Fault::Hang) => std::future::pending().await,
            }
        })
    }
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>told to</Message></Error>"
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

/// Derives the S3 operation of a request from its method, path and query.
fn operation(request: &Request<Incoming>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| {
        query
            .split('&')
            .any(|part| part.split('=').next() == Some(name))
    };
    let in_bucket = request.uri().path().trim_matches('/').contains('/');
    match (request.method().as_str(), in_bucket) {
        ("GET", false) if has("uploads") => "ListMultipartUploads",
        ("GET", false) if has("list-type") => "ListObjectsV2",
        ("GET", false) => "ListBuckets",
        ("GET", true) => "GetObject",
        ("HEAD", _) => "HeadObject",
        ("PUT", _) if has("partNumber") => "UploadPart",
        ("PUT", _) => "PutObject",
        ("POST", _) if has("uploads") => "CreateMultipartUpload",
        ("POST", _) => "CompleteMultipartUpload",
        ("DELETE", _) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", _) => "DeleteObject",
        _ => "other",
    }
}
