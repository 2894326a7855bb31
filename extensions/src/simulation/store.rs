//! A store in memory that delays, loses, repeats and reorders requests.
//!
//! Invariant: the store executes each request atomically, except aborts in [one manner](Manners),
//! and keeps everything that it has confirmed. Requests are disturbed only between a process and the
//! store, and one seed determines how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::sink::{
    ContentHeaders, CreatedUpload, ListedObject, ObjectIdentity, Peek, PendingUpload, SentPart,
    StoreError, StoreErrorKind, UploadStore,
};

/// How long a process waits for the answer to a request.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a process waits for the answer to a beat.
const BEAT_PATIENCE: Duration = Duration::from_secs(5);

/// If a request is executed later than this, other processes may have removed its export meanwhile.
const LATE: Duration = Duration::from_secs(30);

/// How long an abort takes in a store that drops completed uploads.
const ABORT_TIME: Duration = Duration::from_millis(30);

/// The longest delay of a request that its process has given up or repeated.
const LATEST: f64 = 400.0;

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    tag: Option<String>,
    /// The upload that it came from.
    upload_id: Option<String>,
    written: Instant,
}

impl Object {
    fn new(body: Bytes) -> Self {
        Self {
            body,
            tag: None,
            upload_id: None,
            written: Instant::now(),
        }
    }
}

#[derive(Debug, Clone)]
struct Upload {
    key: String,
    tag: String,
    parts: BTreeMap<usize, Bytes>,
}

/// What the store holds.
#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    /// Aborts that are being executed: when they end, and their uploads.
    aborts: Vec<(Instant, String)>,
    next_upload: u64,
    /// The request that is being executed is late.
    is_late: bool,
    /// Uploads that late requests have created. After their export has ended, it has no marks that
    /// lead to these uploads: a limit of the protocol.
    late_uploads: BTreeSet<String>,
    /// Keys of uploads that were created before any bookkeeping named the key.
    unannounced: Vec<String>,
}

impl Contents {
    /// Ends the aborts whose time has come. They drop uploads that were completed meanwhile, too.
    fn end_aborts(&mut self) {
        let now = Instant::now();
        let aborts = std::mem::take(&mut self.aborts);
        let (due, later) = aborts.into_iter().partition(|(end, _)| *end <= now);
        self.aborts = later;
        for (_, id) in due {
            self.uploads.remove(&id);
            self.objects
                .retain(|_, object| object.upload_id.as_ref() != Some(&id));
        }
    }

    /// Whether other processes can find an upload of `key` if its process dies.
    fn is_announced(&self, key: &str, tag: &str) -> bool {
        let id = tag.split('/').next().unwrap_or_default();
        let is_own = |(name, _): &(&String, &Object)| name.contains(&format!("_tidegate/{id}/"));
        let mut own = self.objects.iter().filter(is_own).peekable();
        // Without bookkeeping, the export has ended, or it creates its fence.
        own.peek().is_none()
            || key.contains("_tidegate/")
            || own.any(|(_, object)| String::from_utf8_lossy(&object.body).contains(key))
    }
}

/// How a store differs from AWS.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    /// It ignores `If-None-Match`, as Garage does.
    pub(super) ignores_conditions: bool,
    /// It answers 501 to `If-None-Match`, as Backblaze B2 does.
    pub(super) refuses_conditions: bool,
    /// It lists pending uploads only by their exact key, as MinIO does.
    pub(super) lists_exact_keys: bool,
    /// An abort first looks for the upload and then drops it, even if the upload was completed
    /// meanwhile, as Garage does.
    pub(super) drops_completed: bool,
}

struct Shared {
    contents: Contents,
    random: StdRng,
    /// The probability that a request is disturbed.
    disorder: f64,
    history: Vec<String>,
    started: Instant,
    late: u32,
}

/// A store that several processes use.
#[derive(Clone)]
pub(super) struct SimulatedStore {
    shared: Arc<Mutex<Shared>>,
    manners: Manners,
}

/// The state of one process.
#[derive(Debug)]
struct Process {
    name: String,
    state: Mutex<ProcessState>,
}

#[derive(Debug, Clone, Copy)]
struct ProcessState {
    stalled_until: Option<Instant>,
    crashed: bool,
}

/// The store as one process sees it.
#[derive(Clone)]
pub(super) struct ProcessStore {
    store: SimulatedStore,
    process: Arc<Process>,
}

impl fmt::Debug for ProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessStore({})", self.process.name)
    }
}

/// What happens to a request.
enum Fate {
    Normal,
    /// It is never executed, and never answered.
    Lost,
    /// It is executed, and the answer is lost.
    Unanswered,
    /// It is executed after its process has given up.
    Late(Duration),
    /// It is executed and answered, and executed once more later.
    Repeated(Duration),
}

impl SimulatedStore {
    pub(super) fn new(seed: u64, disorder: f64, manners: Manners) -> Self {
        let shared = Shared {
            contents: Contents::default(),
            random: StdRng::seed_from_u64(seed),
            disorder,
            history: Vec::new(),
            started: Instant::now(),
            late: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            manners,
        }
    }

    /// The store as seen by a process with this name.
    pub(super) fn process(&self, name: impl Into<String>) -> ProcessStore {
        ProcessStore {
            store: self.clone(),
            process: Arc::new(Process {
                name: name.into(),
                state: Mutex::new(ProcessState {
                    stalled_until: None,
                    crashed: false,
                }),
            }),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, event: impl fmt::Display) {
        let mut shared = self.shared();
        let time = shared.started.elapsed().as_secs_f64();
        shared.history.push(format!("{time:9.3} {event}"));
    }

    pub(super) fn history(&self) -> String {
        self.shared().history.join("\n")
    }

    /// From here on every request is executed and answered.
    pub(super) fn calm(&self) {
        self.shared().disorder = 0.0;
    }

    /// Waits until every late request was executed.
    pub(super) async fn settle(&self) {
        while self.shared().late > 0 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        tokio::time::sleep(ABORT_TIME).await;
        self.shared().contents.end_aborts();
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.shared().contents.objects.keys().cloned().collect()
    }

    /// The content of an object and the tag of the upload that it came from.
    pub(super) fn object(&self, key: &str) -> Option<(Bytes, Option<String>)> {
        let shared = self.shared();
        let object = shared.contents.objects.get(key)?;
        Some((object.body.clone(), object.tag.clone()))
    }

    /// A key whose upload was created before any bookkeeping named the key.
    pub(super) fn unannounced(&self) -> Option<String> {
        self.shared().contents.unannounced.first().cloned()
    }

    /// The keys of pending uploads, without those that late requests have created.
    pub(super) fn pending(&self) -> Vec<String> {
        let shared = self.shared();
        let pending = shared.contents.uploads.iter();
        pending
            .filter(|(id, _)| !shared.contents.late_uploads.contains(*id))
            .map(|(_, upload)| upload.key.clone())
            .collect()
    }
}

impl ProcessStore {
    /// Stalls the whole process for `pause`.
    pub(super) fn stall(&self, pause: Duration) {
        self.state().stalled_until = Some(Instant::now() + pause);
    }

    /// The process dies. Requests that are under way may still be executed.
    pub(super) fn crash(&self) {
        self.state().crashed = true;
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    fn state(&self) -> MutexGuard<'_, ProcessState> {
        self.process
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the process is not stalled. Never returns if the process has crashed.
    async fn run(&self) {
        loop {
            let state = *self.state();
            if state.crashed {
                return std::future::pending().await;
            }
            match state.stalled_until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    fn fate(&self) -> (Fate, Duration, Duration) {
        let mut shared = self.store.shared();
        let disorder = shared.disorder;
        let random = &mut shared.random;
        let mut delay = |most: f64| Duration::from_secs_f64(random.random_range(0.001..most));
        let (there, back, later) = (delay(0.05), delay(0.05), delay(LATEST));
        if !random.random_bool(disorder) {
            return (Fate::Normal, there, back);
        }
        match random.random_range(0..6) {
            0 => (Fate::Lost, there, back),
            1 => (Fate::Unanswered, there, back),
            2 => (Fate::Late(later), there, back),
            3 => (Fate::Repeated(later), there, back),
            // A slow request.
            4 => (Fate::Normal, later.min(PATIENCE / 2), back),
            _ => (Fate::Normal, there, later.min(PATIENCE / 2)),
        }
    }

    async fn request<T: Send + 'static>(
        &self,
        what: String,
        patience: Duration,
        execute: impl Fn(&mut Contents) -> Result<T, StoreError> + Clone + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        self.run().await;
        let (fate, there, back) = self.fate();
        let name = self.process.name.clone();
        let store = self.store.clone();
        let run = move |how: &str| {
            let result = {
                let contents = &mut store.shared().contents;
                contents.end_aborts();
                execute(contents)
            };
            let shown = match &result {
                Ok(_) => "ok".to_owned(),
                Err(error) => format!("{:?}", error.kind),
            };
            store.note(format!("{name} {what}{how}: {shown}"));
            result
        };
        let later = {
            let (run, store) = (run.clone(), self.store.clone());
            move |delay: Duration| {
                store.shared().late += 1;
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    store.shared().contents.is_late = true;
                    let _ = run(" (late)");
                    let mut shared = store.shared();
                    shared.contents.is_late = false;
                    shared.late -= 1;
                });
            }
        };
        // Once a request is sent, its execution does not depend on the state of the process.
        let result = match fate {
            Fate::Normal => {
                tokio::time::sleep(there).await;
                let is_late = there > LATE;
                self.store.shared().contents.is_late = is_late;
                let result = run("");
                self.store.shared().contents.is_late = false;
                tokio::time::sleep(back).await;
                Some(result)
            }
            Fate::Repeated(delay) => {
                tokio::time::sleep(there).await;
                let result = run("");
                later(delay);
                tokio::time::sleep(back).await;
                Some(result)
            }
            Fate::Lost => None,
            Fate::Unanswered => {
                tokio::time::sleep(there).await;
                let _ = run(" (unanswered)");
                None
            }
            Fate::Late(delay) => {
                later(patience + delay);
                None
            }
        };
        if result.is_none() {
            tokio::time::sleep(patience).await;
        }
        self.run().await;
        result.unwrap_or_else(|| Err(failure(StoreErrorKind::Other, true)))
    }
}

fn failure(kind: StoreErrorKind, maybe_executed: bool) -> StoreError {
    let why = match kind {
        StoreErrorKind::Other => "no answer in time",
        StoreErrorKind::AlreadyExists => "the object exists",
        StoreErrorKind::NoSuchUpload => "no such upload",
        StoreErrorKind::Unsupported => "not implemented",
    };
    StoreError {
        kind,
        error: Error::new(ErrorKind::ConnectionFailure, why),
        maybe_executed,
    }
}

#[async_trait]
impl UploadStore for ProcessStore {
    fn name(&self) -> &'static str {
        "simulation"
    }

    fn max_parts(&self) -> usize {
        10_000
    }

    fn url(&self, key: &str) -> String {
        format!("sim://{key}")
    }

    async fn list_objects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        let wanted = prefix.to_owned();
        self.request(format!("list {prefix}"), PATIENCE, move |contents| {
            let from = contents.objects.range(wanted.clone()..);
            let found = from.take_while(|(key, _)| key.starts_with(&wanted));
            let found = found.map(|(key, object)| ListedObject {
                key: key.clone(),
                bytes: object.body.len() as u64,
            });
            Ok(found.take(limit).collect())
        })
        .await
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        _content_type: &str,
        only_new: bool,
    ) -> Result<Option<String>, StoreError> {
        let manners = self.store.manners;
        if only_new && manners.refuses_conditions {
            return Err(failure(StoreErrorKind::Unsupported, false));
        }
        let only_new = only_new && !manners.ignores_conditions;
        let wanted = key.to_owned();
        self.request(format!("put {key}"), PATIENCE, move |contents| {
            if only_new && contents.objects.contains_key(&wanted) {
                return Err(failure(StoreErrorKind::AlreadyExists, false));
            }
            let object = Object::new(body.clone());
            contents.objects.insert(wanted.clone(), object);
            Ok(None)
        })
        .await
    }

    async fn beat(&self, key: &str, body: Bytes, _content_type: &str) -> Result<(), StoreError> {
        let wanted = key.to_owned();
        self.request(format!("beat {key}"), BEAT_PATIENCE, move |contents| {
            let object = Object::new(body.clone());
            contents.objects.insert(wanted.clone(), object);
            Ok(())
        })
        .await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let wanted = key.to_owned();
        self.request(format!("get {key}"), PATIENCE, move |contents| {
            let object = contents.objects.get(&wanted);
            Ok(object.map(|object| object.body.clone()))
        })
        .await
    }

    async fn peek(
        &self,
        key: &str,
        limit: usize,
        at_end: bool,
    ) -> Result<Option<Peek>, StoreError> {
        let body = self.get(key).await?;
        Ok(body.map(|body| {
            let length = body.len().min(limit);
            let start = if at_end { body.len() - length } else { 0 };
            Peek {
                bytes: body.slice(start..start + length),
                content_type: None,
            }
        }))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let wanted = key.to_owned();
        self.request(format!("delete {key}"), PATIENCE, move |contents| {
            contents.objects.remove(&wanted);
            Ok(())
        })
        .await
    }

    async fn age(&self, key: &str) -> Result<Option<Duration>, StoreError> {
        let wanted = key.to_owned();
        self.request(format!("age of {key}"), PATIENCE, move |contents| {
            let object = contents.objects.get(&wanted);
            Ok(object.map(|object| object.written.elapsed()))
        })
        .await
    }

    async fn identify(&self, key: &str) -> Result<Option<ObjectIdentity>, StoreError> {
        let wanted = key.to_owned();
        self.request(format!("identify {key}"), PATIENCE, move |contents| {
            let object = contents.objects.get(&wanted);
            Ok(object.map(|object| ObjectIdentity {
                bytes: Some(object.body.len() as u64),
                file_tag: object.tag.clone(),
                etag: None,
            }))
        })
        .await
    }

    async fn create_upload(
        &self,
        key: &str,
        _content: ContentHeaders,
        file_tag: &str,
    ) -> Result<CreatedUpload, StoreError> {
        let (wanted, tag) = (key.to_owned(), file_tag.to_owned());
        let upload = self
            .request(format!("create {key}"), PATIENCE, move |contents| {
                if !contents.is_late && !contents.is_announced(&wanted, &tag) {
                    contents.unannounced.push(wanted.clone());
                }
                contents.next_upload += 1;
                let upload_id = format!("upload-{}", contents.next_upload);
                let upload = Upload {
                    key: wanted.clone(),
                    tag: tag.clone(),
                    parts: BTreeMap::new(),
                };
                contents.uploads.insert(upload_id.clone(), upload);
                if contents.is_late {
                    contents.late_uploads.insert(upload_id.clone());
                }
                Ok(PendingUpload {
                    key: wanted.clone(),
                    upload_id,
                })
            })
            .await?;
        Ok(CreatedUpload {
            upload,
            maybe_another: false,
        })
    }

    async fn put_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        body: Bytes,
    ) -> Result<SentPart, StoreError> {
        let id = upload.upload_id.clone();
        let what = format!("part {number} of {}", upload.key);
        self.request(what, PATIENCE, move |contents| {
            let upload = contents.uploads.get_mut(&id);
            let upload = upload.ok_or_else(|| failure(StoreErrorKind::NoSuchUpload, false))?;
            upload.parts.insert(number, body.clone());
            Ok(SentPart {
                receipt: number.to_string(),
                retries: 0,
            })
        })
        .await
    }

    async fn seal_upload(&self, _upload: &PendingUpload) -> Result<(), StoreError> {
        Ok(())
    }

    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        receipts: &[String],
    ) -> Result<Option<String>, StoreError> {
        let (id, receipts) = (upload.upload_id.clone(), receipts.to_vec());
        let what = format!("complete {}", upload.key);
        self.request(what, PATIENCE, move |contents| {
            let upload = contents.uploads.remove(&id);
            let upload = upload.ok_or_else(|| failure(StoreErrorKind::NoSuchUpload, false))?;
            let mut body = Vec::new();
            for receipt in &receipts {
                let part = receipt
                    .parse()
                    .ok()
                    .and_then(|n: usize| upload.parts.get(&n));
                body.extend_from_slice(part.map(Bytes::as_ref).unwrap_or_default());
            }
            let object = Object {
                tag: Some(upload.tag),
                upload_id: Some(id.clone()),
                ..Object::new(Bytes::from(body))
            };
            contents.objects.insert(upload.key, object);
            Ok(None)
        })
        .await
    }

    async fn abort_upload(&self, upload: &PendingUpload) -> Result<(), StoreError> {
        let id = upload.upload_id.clone();
        let what = format!("abort {} of {}", upload.upload_id, upload.key);
        let takes = match self.store.manners.drops_completed {
            true => ABORT_TIME,
            false => Duration::ZERO,
        };
        let answer = self.request(what, PATIENCE, move |contents| {
            if contents.uploads.contains_key(&id) {
                contents.aborts.push((Instant::now() + takes, id.clone()));
            }
            if takes.is_zero() {
                contents.end_aborts();
            }
            Ok(())
        });
        answer.await?;
        tokio::time::sleep(takes).await;
        Ok(())
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        let (wanted, exact) = (prefix.to_owned(), self.store.manners.lists_exact_keys);
        let what = format!("list uploads of {prefix}");
        self.request(what, PATIENCE, move |contents| {
            let matches = |key: &str| match exact {
                true => key == wanted,
                false => key.starts_with(&wanted),
            };
            let uploads = contents.uploads.iter();
            let found = uploads.filter(|(_, upload)| matches(&upload.key));
            Ok(found
                .map(|(id, upload)| PendingUpload {
                    key: upload.key.clone(),
                    upload_id: id.clone(),
                })
                .collect())
        })
        .await
    }
}
