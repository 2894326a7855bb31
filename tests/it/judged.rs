//! The embedded server behind a judge, a function that may answer requests itself. A judge
//! simulates checks of AWS that the embedded server does not make.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use tempfile::TempDir;
use tidegate::dev_s3::{self, DevServer};

use crate::servers::{TestStore, any_port, bucket_folder, embedded_key, embedded_store};

/// The parts of a request that a judge sees.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

type Judge = Arc<dyn Fn(&Asked) -> Option<Response<Body>> + Send + Sync>;

/// A server that is stopped on drop.
pub(crate) struct JudgedServer {
    pub(crate) store: TestStore,
    _server: DevServer,
    _root: TempDir,
}

impl JudgedServer {
    /// Starts a server. Each request is delayed by `pause` and shown to the judge. If the judge
    /// returns `None`, the embedded server answers.
    pub(crate) async fn start(
        pause: Duration,
        judge: impl Fn(&Asked) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        let root = bucket_folder();
        let service = JudgedService {
            inner: dev_s3::service(root.path(), &embedded_key()).unwrap(),
            judge: Arc::new(judge),
            pause,
        };
        let server = DevServer::start_with(service, any_port()).await.unwrap();
        Self {
            store: embedded_store(server.endpoint()),
            _server: server,
            _root: root,
        }
    }
}

#[derive(Clone)]
struct JudgedService {
    inner: S3Service,
    judge: Judge,
    pause: Duration,
}

impl hyper::service::Service<Request<Incoming>> for JudgedService {
    type Response = Response<Body>;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Response<Body>, HttpError>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
        };
        let service = self.clone();
        Box::pin(async move {
            tokio::time::sleep(service.pause).await;
            match (service.judge)(&asked) {
                Some(answer) => Ok(answer),
                None => service.inner.call(request.map(Body::from)).await,
            }
        })
    }
}

/// A response with a body and the current date.
pub(crate) fn answer(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let now = httpdate();
    response.headers_mut().insert("date", now.parse().unwrap());
    response
}

/// An error response of S3. `more` is XML for the inside of its `<Error>` element.
pub(crate) fn refusal(status: StatusCode, code: &str, more: &str) -> Response<Body> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>judged</Message>{more}</Error>"
    );
    answer(status, body)
}

fn httpdate() -> String {
    let now = chrono::Utc::now();
    now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
