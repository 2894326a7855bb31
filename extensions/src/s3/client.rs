//! Requests, signed and retried.
//!
//! Invariant: [`S3Client::send`] sends all requests. It signs every attempt with current
//! credentials, reads the whole answer, and pauses all requests of the client when the store asks
//! to slow down.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH,
    RANGE,
};
use http::response::Parts;
use http::{HeaderValue, Method};
use object_store::ClientOptions;
use object_store::CredentialProvider;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::copy::COPY_PART;
use super::error::{S3Error, S3ErrorKind};
use super::part::PartReceipt;
use super::provider::{Provider, UrlStyle};
use super::retry::RetryPolicy;
use super::xml;
use crate::error::{Error, ErrorKind, Result as TidegateResult};

/// Signature version 4 escapes everything but letters, digits and these characters:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
const ESCAPED_IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
pub(super) const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED_IN_QUERY.remove(b'/');

/// This operation may take long, and the store may send status 200 before it knows the result.
const COMPLETE_UPLOAD: &str = "CompleteMultipartUpload";

/// The operation whose answer is an object.
const GET_OBJECT: &str = "GetObject";

/// The header in which AWS names the region of a bucket:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// The largest difference between clocks that AWS accepts:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>
const ALLOWED_SKEW: chrono::TimeDelta = chrono::TimeDelta::minutes(15);

/// How often one request follows a store to another region before it fails.
const MOST_MOVES: u32 = 2;

const CHECKSUM_SHA256: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// Where a store is and how to talk to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct S3Settings {
    /// Scheme, host and port; `None` means AWS.
    pub endpoint: Option<Url>,
    /// The region requests are signed for.
    pub region: String,
    /// Whether the user set the region. If not, a region named in the store's error reply is
    /// adopted.
    pub region_is_given: bool,
    /// Where the bucket's name goes. The default is path for a custom endpoint, virtual for AWS.
    pub url_style: Option<UrlStyle>,
    /// Asked before every attempt.
    pub credentials: Arc<dyn CredentialProvider<Credential = AwsCredential>>,
    /// Retries and timeouts.
    pub retry: RetryPolicy,
}

impl S3Settings {
    /// Settings for the store at `endpoint`, with the default retries. `region` is used as it is.
    pub fn new(
        endpoint: Url,
        region: impl Into<String>,
        credentials: Arc<dyn CredentialProvider<Credential = AwsCredential>>,
    ) -> Self {
        Self {
            endpoint: Some(endpoint),
            region: region.into(),
            region_is_given: true,
            url_style: None,
            credentials,
            retry: RetryPolicy::default(),
        }
    }
}

/// A client for one bucket, or for an endpoint without a bucket.
#[derive(Debug)]
pub struct S3Client {
    http: HttpClient,
    place: Mutex<Place>,
    bucket: Option<String>,
    settings: S3Settings,
    sign_payload: bool,
    /// The store has answered at least once. From then on, an unreachable store gets all retries.
    reached: AtomicBool,
    /// No request is sent before this time, because the store asked to slow down.
    paused_until: Mutex<Option<Instant>>,
}

/// The answer to CreateMultipartUpload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewUpload {
    /// The upload's id.
    pub upload_id: String,
    /// Whether several attempts were made. Each of them may have created an upload.
    pub retried: bool,
}

/// The answer to UploadPart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadedPart {
    /// The part's ETag.
    pub etag: String,
    /// How often the part was sent again.
    pub retries: u32,
}

/// The base URL and region of requests.
#[derive(Debug, Clone)]
struct Place {
    base: Url,
    region: String,
}

/// A request before it is signed.
pub(super) struct Request<'a> {
    operation: &'static str,
    method: Method,
    key: &'a str,
    query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

/// The HTTP status for a range that an object does not have.
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// An answer with its whole body.
pub(super) struct Answer {
    headers: HeaderMap,
    pub(super) body: Bytes,
    /// How often the request was retried.
    pub(super) retries: u32,
}

impl<'a> Request<'a> {
    pub(super) fn new(operation: &'static str, method: Method, key: &'a str) -> Self {
        Self {
            operation,
            method,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

impl S3Client {
    /// A client for `bucket`, or for requests without a bucket.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if the endpoint and the bucket do not form a URL.
    pub fn new(settings: S3Settings, bucket: Option<&str>) -> TidegateResult<Self> {
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_http1_only()
            .with_timeout_disabled()
            .with_connect_timeout(settings.retry.connect_timeout)
            .with_pool_max_idle_per_host(64);
        let http = ReqwestConnector::default()
            .connect(&options)
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "the HTTP client can't be built").with_source(error)
            })?;
        let base = base_url(&settings, &settings.region, bucket)?;
        let sign_payload = base.scheme() == "http" && !is_loopback(&base);
        let region = settings.region.clone();
        Ok(Self {
            http,
            place: Mutex::new(Place { base, region }),
            bucket: bucket.map(str::to_owned),
            settings,
            sign_payload,
            reached: AtomicBool::new(false),
            paused_until: Mutex::new(None),
        })
    }

    /// The client's bucket and `key` as `s3://bucket/key`; the endpoint if there is no bucket.
    pub fn resource(&self, key: &str) -> String {
        match &self.bucket {
            Some(bucket) => format!("s3://{bucket}/{key}"),
            None => self.place().base.as_str().trim_end_matches('/').to_owned(),
        }
    }

    fn place(&self) -> Place {
        let place = self.place.lock();
        place.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The region that requests are currently signed for.
    pub fn region(&self) -> String {
        self.place().region
    }

    /// Switches to the region that the store named. False if it does not form a URL.
    fn move_to(&self, region: &str) -> bool {
        let Ok(base) = base_url(&self.settings, region, self.bucket.as_deref()) else {
            return false;
        };
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Place {
            base,
            region: region.to_owned(),
        };
        true
    }

    /// ListBuckets. Needs no bucket, and shows whether the store accepts the access key.
    pub async fn list_buckets(&self) -> Result<(), S3Error> {
        let request = Request::new("ListBuckets", Method::GET, "");
        let answer = self.send(request).await?;
        xml::parse::<serde::de::IgnoredAny>(&answer.body, "ListAllMyBucketsResult")
            .map(drop)
            .map_err(|why| {
                let why = format!("the endpoint does not speak S3: {why}");
                self.malformed("ListBuckets", "", &why)
            })
    }

    /// ListObjectsV2: the objects whose keys begin with `prefix`, at most `limit` of them.
    pub async fn list_objects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<xml::ListedObject>, S3Error> {
        const OPERATION: &str = "ListObjectsV2";
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        while objects.len() < limit {
            let mut request = Request::new(OPERATION, Method::GET, "")
                .query("list-type", "2")
                .query("encoding-type", "url")
                .query("max-keys", (limit - objects.len()).min(1000).to_string())
                .query("prefix", prefix);
            if let Some(token) = token.take() {
                request = request.query("continuation-token", token);
            }
            let answer = self.send(request).await?;
            let page: xml::ListBucketResult = xml::parse(&answer.body, "ListBucketResult")
                .map_err(|why| self.malformed(OPERATION, prefix, &why))?;
            let encoding = page.encoding_type.as_deref();
            let contents = page.contents.into_iter();
            objects.extend(contents.map(|object| xml::ListedObject {
                key: xml::decode_key(object.key, encoding),
                ..object
            }));
            if !page.is_truncated {
                break;
            }
            let Some(next) = page.next_continuation_token else {
                let why = "a truncated page has no continuation token";
                return Err(self.malformed(OPERATION, prefix, why));
            };
            token = Some(next);
        }
        Ok(objects)
    }

    /// ListMultipartUploads: every pending upload whose key begins with `prefix`.
    pub async fn list_uploads(&self, prefix: &str) -> Result<Vec<xml::ListedUpload>, S3Error> {
        const OPERATION: &str = "ListMultipartUploads";
        let mut uploads = Vec::new();
        let mut marker: Option<(String, Option<String>)> = None;
        loop {
            let mut request = Request::new(OPERATION, Method::GET, "")
                .query("uploads", "")
                .query("encoding-type", "url")
                .query("prefix", prefix);
            if let Some((key, upload)) = marker.take() {
                request = request.query("key-marker", key);
                if let Some(upload) = upload {
                    request = request.query("upload-id-marker", upload);
                }
            }
            let answer = self.send(request).await?;
            let page: xml::ListMultipartUploadsResult =
                xml::parse(&answer.body, "ListMultipartUploadsResult")
                    .map_err(|why| self.malformed(OPERATION, prefix, &why))?;
            let encoding = page.encoding_type.as_deref();
            let listed = page.uploads.into_iter();
            uploads.extend(listed.map(|upload| xml::ListedUpload {
                key: xml::decode_key(upload.key, encoding),
                ..upload
            }));
            if !page.is_truncated {
                return Ok(uploads);
            }
            let Some(key) = page.next_key_marker else {
                let why = "a truncated page has no next key";
                return Err(self.malformed(OPERATION, prefix, why));
            };
            let key = xml::decode_key(key, encoding);
            marker = Some((key, page.next_upload_id_marker));
        }
    }

    /// PutObject. Returns the object's ETag, if the store sends one. With `only_new`, an existing
    /// object is the error [`S3ErrorKind::PreconditionFailed`].
    ///
    /// Stores that don't know `If-None-Match` ignore `only_new`.
    pub async fn put_object(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        headers: HeaderMap,
        only_new: bool,
    ) -> Result<Option<String>, S3Error> {
        let request = put_request(key, body, content_type, headers, only_new);
        let answer = self.send(request).await?;
        Ok(etag(&answer.headers))
    }

    /// PutObject in a single attempt that takes at most `deadline` and does not wait while other
    /// requests are slowed down.
    pub async fn put_urgently(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        headers: HeaderMap,
        deadline: Duration,
    ) -> Result<(), S3Error> {
        let request = put_request(key, body, content_type, headers, false);
        let attempt = tokio::time::timeout(deadline, self.attempt(&request));
        let answer = attempt.await.unwrap_or_else(|_| {
            let resource = self.resource(key);
            let why = "no answer in time";
            Err(S3Error::new(
                S3ErrorKind::Timeout,
                "PutObject",
                resource,
                why,
            ))
        });
        answer.map(drop)
    }

    /// GetObject: the whole body, or `None` if there is no such object.
    pub async fn get_object(&self, key: &str) -> Result<Option<Bytes>, S3Error> {
        let request = Request::new(GET_OBJECT, Method::GET, key);
        found(self.send(request).await.map(|answer| answer.body))
    }

    /// GetObject of at most `limit` bytes at the beginning of an object, or at its end: its headers and
    /// the bytes. `None` if there is no such object.
    pub async fn get_range(
        &self,
        key: &str,
        limit: usize,
        at_end: bool,
    ) -> Result<Option<(HeaderMap, Bytes)>, S3Error> {
        let limit = limit as u64;
        let first = self.get_bytes(key, 0..limit).await;
        let Some(first) = found(first)? else {
            return Ok(None);
        };
        // Not every store knows a range that counts from the end: the answer tells the size.
        let range = first.headers.get(CONTENT_RANGE);
        let range = range.and_then(|range| range.to_str().ok()?.rsplit('/').next());
        let size = range.and_then(|size| size.parse::<u64>().ok());
        let answer = match size {
            Some(size) if at_end && size > limit => {
                found(self.get_bytes(key, size - limit..size).await)?
            }
            _ => Some(first),
        };
        Ok(answer.map(|answer| (answer.headers, answer.body)))
    }

    async fn get_bytes(&self, key: &str, range: Range<u64>) -> Result<Answer, S3Error> {
        let mut request = Request::new(GET_OBJECT, Method::GET, key);
        let range = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let range = HeaderValue::from_str(&range)
            .map_err(|_| self.malformed(GET_OBJECT, key, "the range is no header"))?;
        request.headers.insert(RANGE, range);
        match self.send(request).await {
            // An empty object has no range.
            Err(error) if error.status == Some(RANGE_NOT_SATISFIABLE) => {
                self.send(Request::new(GET_OBJECT, Method::GET, key)).await
            }
            answer => answer,
        }
    }

    /// HeadObject: the headers, or `None` if there is no such object.
    pub async fn head_object(&self, key: &str) -> Result<Option<HeaderMap>, S3Error> {
        const OPERATION: &str = "HeadObject";
        let request = Request::new(OPERATION, Method::HEAD, key);
        let headers = found(self.send(request).await.map(|answer| answer.headers))?;
        // The answer has no body that could tell an error. Every object has an ETag.
        match headers {
            Some(headers) if etag(&headers).is_none() => {
                Err(self.malformed(OPERATION, key, "the answer has no ETag"))
            }
            headers => Ok(headers),
        }
    }

    /// DeleteObject. Succeeds if there is no such object.
    pub async fn delete_object(&self, key: &str) -> Result<(), S3Error> {
        let request = Request::new("DeleteObject", Method::DELETE, key);
        found(self.send(request).await).map(drop)
    }

    /// CreateMultipartUpload.
    pub async fn create_upload(&self, key: &str, headers: HeaderMap) -> Result<NewUpload, S3Error> {
        const OPERATION: &str = "CreateMultipartUpload";
        let mut request = Request::new(OPERATION, Method::POST, key).query("uploads", "");
        request.headers = headers;
        let answer = self.send(request).await?;
        let created: xml::InitiateMultipartUploadResult =
            xml::parse(&answer.body, "InitiateMultipartUploadResult")
                .map_err(|why| self.malformed(OPERATION, key, &why))?;
        Ok(NewUpload {
            upload_id: created.upload_id,
            retried: answer.retries > 0,
        })
    }

    /// UploadPart. `number` counts from 1. `sha256` is the body's digest in Base64, for the
    /// store to verify.
    pub async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: usize,
        body: Bytes,
        sha256: Option<&str>,
    ) -> Result<UploadedPart, S3Error> {
        const OPERATION: &str = "UploadPart";
        let mut request = Request::new(OPERATION, Method::PUT, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload_id);
        request.body = body;
        if let Some(checksum) = sha256.and_then(|text| HeaderValue::from_str(text).ok()) {
            request.headers.insert(CHECKSUM_SHA256, checksum);
        }
        let answer = self.send(request).await?;
        let etag = etag(&answer.headers)
            .ok_or_else(|| self.malformed(OPERATION, key, "the answer has no ETag"))?;
        Ok(UploadedPart {
            etag,
            retries: answer.retries,
        })
    }

    /// CompleteMultipartUpload with the parts in order. Returns the object's ETag, if the store
    /// sends one.
    pub async fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[PartReceipt],
    ) -> Result<Option<String>, S3Error> {
        const OPERATION: &str = COMPLETE_UPLOAD;
        let mut request = Request::new(OPERATION, Method::POST, key).query("uploadId", upload_id);
        request.body = Bytes::from(xml::complete_body(parts));
        request
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let answer = self.send(request).await?;
        let completed: xml::CompleteMultipartUploadResult =
            xml::parse(&answer.body, "CompleteMultipartUploadResult")
                .map_err(|why| self.malformed(OPERATION, key, &why))?;
        Ok(completed.etag)
    }

    /// AbortMultipartUpload. Succeeds if the upload is not pending.
    pub async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), S3Error> {
        let request =
            Request::new("AbortMultipartUpload", Method::DELETE, key).query("uploadId", upload_id);
        match self.send(request).await {
            Err(error) if error.kind == S3ErrorKind::NoSuchUpload => Ok(()),
            other => found(other).map(drop),
        }
    }

    /// Sends a request and retries it until it succeeds, fails with an error that is not transient,
    /// or has no attempts or time left.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, S3Error> {
        let retry = &self.settings.retry;
        let started = Instant::now();
        let mut attempt = 1;
        let mut moves = 0;
        loop {
            self.wait_while_paused().await;
            let error = match self.attempt(&request).await {
                Ok(answer) => {
                    let retries = attempt - 1;
                    return Ok(Answer { retries, ..answer });
                }
                Err(error) => error,
            };
            let error = S3Error {
                retries: attempt - 1,
                ..error
            };
            if let (false, Some(region)) = (self.settings.region_is_given, &error.region)
                && error.kind == S3ErrorKind::WrongRegion
                && moves < MOST_MOVES
                && self.move_to(region)
            {
                tracing::debug!(operation = request.operation, %region, "the store is in another region");
                moves += 1;
                continue;
            }
            let pause = retry.pause(attempt);
            let out_of_time = started.elapsed() + pause >= retry.deadline;
            // If the store has never answered, a wrong endpoint is more likely than an outage.
            let never_reached =
                error.kind == S3ErrorKind::Unreachable && !self.reached.load(Ordering::Relaxed);
            let attempts = if never_reached { 2 } else { retry.attempts };
            if !error.kind.is_transient() || attempt >= attempts || out_of_time {
                return Err(error);
            }
            tracing::debug!(operation = request.operation, attempt, reason = %error.reason, "retrying");
            if error.kind == S3ErrorKind::Busy {
                self.pause_all(pause);
            } else {
                tokio::time::sleep(pause).await;
            }
            attempt += 1;
        }
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<Answer, S3Error> {
        // Copied, because another request may change the region while this request is in flight.
        let place = self.place();
        let signed = self.sign(request, &place).await?;
        let may_want_tls = place.base.scheme() == "http" && !self.reached.load(Ordering::Relaxed);
        let transport = |error| {
            let resource = self.resource(request.key);
            S3Error::from_transport(request.operation, resource, error, may_want_tls)
        };
        let timed_out = || {
            let resource = self.resource(request.key);
            let reason = "no answer in time";
            S3Error::new(S3ErrorKind::Timeout, request.operation, resource, reason)
        };
        let exchange = async {
            let response = self.http.execute(signed).await.map_err(transport)?;
            let (head, body) = response.into_parts();
            let body = body.bytes().await.map_err(transport)?;
            Ok::<_, S3Error>((head, body))
        };
        let copies = [COMPLETE_UPLOAD, COPY_PART].contains(&request.operation);
        let patience = self.settings.retry.timeout(request.body.len(), copies);
        let (head, body) = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| timed_out())??;
        self.reached.store(true, Ordering::Relaxed);

        // The protocol allows answers with status 200 and an error in the body:
        // https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
        // An object's content is never taken for an error.
        let is_content = request.operation == GET_OBJECT && head.status.is_success();
        let error = xml::parse_error(&body).filter(|_| !is_content);
        if head.status.is_success() && error.is_none() {
            return Ok(Answer {
                headers: head.headers,
                body,
                retries: 0,
            });
        }
        let error = error.unwrap_or_else(|| xml::ErrorBody::from_text(&body));
        Err(self.refused(request, &place.region, &head, error))
    }

    /// Builds the error for an answer. `region` is the region that the request was signed for.
    fn refused(
        &self,
        request: &Request<'_>,
        region: &str,
        head: &Parts,
        body: xml::ErrorBody,
    ) -> S3Error {
        let status = head.status.as_u16();
        let mut kind = S3ErrorKind::classify(status, &body.code, &body.message);
        let named = head.headers.get(BUCKET_REGION);
        let named = named.and_then(|region| region.to_str().ok().map(str::to_owned));
        let region = body.region.or(named).filter(|named| named != region);
        if status == 400 && request.method == Method::HEAD && region.is_some() {
            // The answer to a HEAD request has no body, so it has no error code.
            kind = S3ErrorKind::WrongRegion;
        }
        let code = (!body.code.is_empty()).then(|| Box::from(body.code.as_str()));
        let mut reason = match (body.code.as_str(), body.message.as_str()) {
            ("", "") => format!("HTTP status {status}"),
            ("", text) => format!("HTTP status {status}: {text}"),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        };
        if let Some(region) = region.as_ref().filter(|_| kind == S3ErrorKind::WrongRegion) {
            reason = format!("{reason}; the bucket is in {region}");
        }
        if let Some(ahead) = clock_ahead(&head.headers)
            && is_about_the_clock(kind, ahead)
        {
            kind = S3ErrorKind::ClockSkew;
            let which = if ahead.num_seconds() > 0 {
                "ahead of"
            } else {
                "behind"
            };
            let minutes = (ahead.num_seconds().abs() + 30) / 60;
            reason = format!("{reason}; it is {minutes} minutes {which} it");
        }
        let mut refused = S3Error::new(kind, request.operation, self.resource(request.key), reason);
        refused.status = Some(status);
        refused.code = code;
        refused.region = region.map(String::into_boxed_str);
        refused
    }

    async fn sign(&self, request: &Request<'_>, place: &Place) -> Result<HttpRequest, S3Error> {
        let failed = |kind, reason: String| {
            S3Error::new(kind, request.operation, self.resource(request.key), reason)
        };
        let unusable = |reason| failed(S3ErrorKind::Other, reason);
        let credential = self.settings.credentials.get_credential().await;
        let credential = credential.map_err(|error| {
            let mut failed = failed(S3ErrorKind::NoCredentials, error.to_string());
            if let object_store::Error::Unauthenticated { source, .. } = error {
                failed.source = Some(source);
            }
            failed
        })?;
        let mut built = http::Request::builder()
            .method(request.method.clone())
            .uri(url(&place.base, request))
            .body(HttpRequestBody::from(request.body.clone()))
            .map_err(|error| unusable(error.to_string()))?;
        *built.headers_mut() = request.headers.clone();
        if request.method == Method::PUT || request.method == Method::POST {
            built
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }
        AwsAuthorizer::new(&credential, "s3", &place.region)
            .with_sign_payload(self.sign_payload)
            .authorize(&mut built, None);
        Ok(built)
    }

    fn malformed(&self, operation: &'static str, key: &str, why: &str) -> S3Error {
        S3Error::new(S3ErrorKind::Other, operation, self.resource(key), why)
    }

    fn pause_all(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut paused = self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *paused = Some(paused.map_or(until, |earlier| earlier.max(until)));
    }

    async fn wait_while_paused(&self) {
        let until = *self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

fn put_request<'a>(
    key: &'a str,
    body: Bytes,
    content_type: &str,
    headers: HeaderMap,
    only_new: bool,
) -> Request<'a> {
    let mut request = Request::new("PutObject", Method::PUT, key);
    request.headers = headers;
    request.body = body;
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        request.headers.insert(CONTENT_TYPE, content_type);
    }
    if only_new {
        request
            .headers
            .insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    request
}

fn url(base: &Url, request: &Request<'_>) -> String {
    let base = base.as_str().trim_end_matches('/');
    let key = utf8_percent_encode(request.key, ESCAPED_IN_PATH);
    let mut url = format!("{base}/{key}");
    for (i, (name, value)) in request.query.iter().enumerate() {
        url.push(if i == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, ESCAPED_IN_QUERY));
    }
    url
}

/// How far this machine's clock is ahead of the store's.
fn clock_ahead(headers: &HeaderMap) -> Option<chrono::TimeDelta> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = chrono::DateTime::parse_from_rfc2822(date).ok()?;
    Some(chrono::Utc::now().signed_duration_since(theirs))
}

/// Whether the difference between the clocks is the probable reason for the refusal.
fn is_about_the_clock(kind: S3ErrorKind, ahead: chrono::TimeDelta) -> bool {
    match kind {
        S3ErrorKind::ClockSkew => true,
        // Some stores do not name the clock as the reason.
        S3ErrorKind::WrongSecret | S3ErrorKind::AccessDenied => ahead.abs() > ALLOWED_SKEW,
        _ => false,
    }
}

fn etag(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(ETAG)?.to_str().ok()?;
    Some(etag.to_owned())
}

/// Turns "no such object" into `None`.
fn found<T>(result: Result<T, S3Error>) -> Result<Option<T>, S3Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == S3ErrorKind::NoSuchKey => Ok(None),
        Err(error) => Err(error),
    }
}

fn base_url(settings: &S3Settings, region: &str, bucket: Option<&str>) -> TidegateResult<Url> {
    let unusable = |why: String| Error::new(ErrorKind::InvalidParameter, why);
    let mut url = match &settings.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => {
            // https://docs.aws.amazon.com/general/latest/gr/s3.html
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            Url::parse(&format!("https://s3.{region}.amazonaws.com{china}"))
                .map_err(|_| unusable(format!("'{region}' is not the name of a region")))?
        }
    };
    let default_style = Provider::of(settings.endpoint.as_ref()).url_style;
    let Some(bucket) = bucket else {
        return Ok(url);
    };
    match settings.url_style.unwrap_or(default_style) {
        UrlStyle::Path => url.set_path(bucket),
        UrlStyle::Virtual => {
            let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|error| {
                unusable(format!("'{host}' is not a host name: {error}"))
                    .with_hint("set URL STYLE = 'path' in the connection")
            })?;
        }
    }
    Ok(url)
}

/// Whether traffic to `url` stays on this machine, so that a payload needs no signature of its own.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A header for an object's own metadata: `x-amz-meta-<name>`.
pub(crate) fn metadata_header(
    name: &'static str,
    value: &str,
) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(format!("x-amz-meta-{name}").as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(value).ok()?))
}
