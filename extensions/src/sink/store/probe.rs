//! Tests the store operations of an export at a target.
//!
//! Invariant: an object is written only after the store has accepted a delete. An upload is created
//! only after a test abort was not refused for lack of permission. Nothing is left behind; if
//! removing fails, the result `clean up` names the leftover.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    ContentHeaders, CreatedUpload, PendingUpload, StoreError, StoreErrorKind, UploadStore,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::target::Target;

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The name of the test.
    pub name: &'static str,
    /// The outcome of the test.
    pub status: ProbeStatus,
    /// The reason for a failure; empty if the test passed.
    pub detail: String,
}

/// The outcome of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProbeStatus {
    /// It works.
    Ok,
    /// An export would fail.
    Failed,
    /// The store does not offer it.
    Unsupported,
}

impl ProbeStatus {
    /// The status as text for the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

/// An upload id that does not exist in any store.
const NO_UPLOAD: &str = "tidegate-no-such-upload";

const CONTENT: &[u8] = b"tidegate\n";

/// The name of the test that lists pending uploads.
const LIST: &str = "multipart list";

/// Tests the operations of an export at a target.
///
/// # Errors
/// [`ErrorKind::ConnectionFailure`], [`ErrorKind::InvalidCredentials`],
/// [`ErrorKind::UndefinedObject`] and [`ErrorKind::InvalidParameter`]: the first request failed,
/// and nothing can be tested.
pub async fn probe_store(store: &dyn UploadStore, target: &Target) -> Result<Vec<Probe>> {
    let key = format!("{}_tidegate/validate-{}", target.prefix(), Uuid::now_v7());
    let mut probes = Probes {
        store,
        key,
        done: Vec::new(),
    };
    let listed = store.list(&target.prefix(), 1).await.map(drop);
    if let Err(error) = &listed
        && matches!(
            error.error.kind(),
            ErrorKind::ConnectionFailure
                | ErrorKind::InvalidCredentials
                | ErrorKind::UndefinedObject
                | ErrorKind::InvalidParameter
        )
    {
        return listed.map_err(Error::from).map(|()| Vec::new());
    }
    probes.note("list", listed);
    probes.probe_objects().await;
    probes.probe_uploads().await;
    Ok(probes.done)
}

struct Probes<'a> {
    store: &'a dyn UploadStore,
    key: String,
    done: Vec<Probe>,
}

impl Probes<'_> {
    fn add(&mut self, name: &'static str, status: ProbeStatus, detail: impl Into<String>) {
        let detail = detail.into();
        self.done.push(Probe {
            name,
            status,
            detail,
        });
    }

    /// Adds the result of a test; returns whether it passed.
    fn note(&mut self, name: &'static str, result: Result<(), StoreError>) -> bool {
        match result {
            Ok(()) => {
                self.add(name, ProbeStatus::Ok, "");
                true
            }
            Err(error) => {
                let status = match error.kind {
                    StoreErrorKind::Unsupported => ProbeStatus::Unsupported,
                    _ => ProbeStatus::Failed,
                };
                self.add(name, status, error.error.message());
                false
            }
        }
    }

    fn skip(&mut self, names: &[&'static str], why: &str) {
        for name in names {
            self.add(name, ProbeStatus::Failed, format!("not tried: {why}"));
        }
    }

    async fn probe_objects(&mut self) {
        let store = self.store;
        if !self.note("delete", store.delete(&self.key).await) {
            let why = "what is written could not be deleted";
            self.skip(&["put", "conditional put", "read"], why);
            return;
        }
        let body = Bytes::from_static(CONTENT);
        let put = |only_new| store.put(&self.key, body.clone(), "text/plain", only_new);
        let written = put(false).await.map(drop);
        let again = match &written {
            Ok(()) => Some(put(true).await),
            Err(_) => None,
        };
        if !self.note("put", written) {
            self.skip(&["conditional put", "read"], "nothing could be written");
            // The object may have been written although the answer was lost.
            self.remove().await;
            return;
        }
        match again {
            Some(Err(error)) => match error.kind {
                StoreErrorKind::AlreadyExists => {
                    self.add("conditional put", ProbeStatus::Ok, "");
                }
                StoreErrorKind::Unsupported => self.add_unconditional("refuses"),
                _ => {
                    self.note("conditional put", Err(error));
                }
            },
            _ => self.add_unconditional("ignores"),
        }
        match store.get(&self.key).await {
            Ok(Some(found)) if found == CONTENT => {
                let listed = store.list(&self.key, 1).await;
                // An error to list is the result of another test.
                match listed.is_ok_and(|keys| keys.is_empty()) {
                    true => {
                        let why = "what was written is not listed";
                        self.add("read", ProbeStatus::Failed, why);
                    }
                    false => self.add("read", ProbeStatus::Ok, ""),
                }
            }
            Ok(Some(_)) => self.add("read", ProbeStatus::Failed, "other bytes than were written"),
            Ok(None) => self.add("read", ProbeStatus::Failed, "what was written is not there"),
            Err(error) => {
                self.note("read", Err(error));
            }
        }
        self.remove().await;
    }

    fn add_unconditional(&mut self, does: &str) {
        let detail = format!(
            "the store {does} If-None-Match; exports take turns by claims that each of them lists"
        );
        self.add("conditional put", ProbeStatus::Unsupported, detail);
    }

    async fn remove(&mut self) {
        if let Err(error) = self.store.delete(&self.key).await {
            let (url, why) = (self.store.url(&self.key), error.error.message());
            let left = format!("{url} is left behind: {why}");
            self.add("clean up", ProbeStatus::Failed, left);
        }
    }

    async fn probe_uploads(&mut self) {
        const ABORT: &str = "multipart abort";
        const CREATE: &str = "multipart create";
        const PART: &str = "multipart part";
        let store = self.store;
        let none = PendingUpload {
            key: self.key.clone(),
            upload_id: NO_UPLOAD.to_owned(),
        };
        // Other errors are fine: a store may reject the id as malformed, or say that there is no
        // such upload.
        if let Err(error) = store.abort_upload(&none).await
            && error.error.kind() == ErrorKind::InsufficientPrivilege
        {
            self.note(ABORT, Err(error));
            self.skip(&[CREATE, PART, LIST], "an upload could not be aborted");
            return;
        }
        let content = ContentHeaders {
            content_type: "text/plain",
            content_encoding: None,
            is_data: true,
        };
        let created = store.create_upload(&self.key, content, "validate").await;
        let CreatedUpload {
            upload,
            maybe_another,
        } = match created {
            Ok(created) => created,
            Err(error) => {
                self.note(CREATE, Err(error));
                self.skip(&[PART, LIST, ABORT], "no upload could be created");
                return;
            }
        };
        self.add(CREATE, ProbeStatus::Ok, "");
        let part = store
            .put_part(&upload, 1, Bytes::from_static(CONTENT))
            .await;
        let receipt = part.as_ref().map(|part| part.receipt.clone()).ok();
        self.note(PART, part.map(drop));
        self.probe_upload_list(&upload, maybe_another).await;
        if let Err(error) = store.abort_upload(&upload).await {
            let url = store.url(&self.key);
            let left = format!("an upload of {url} is left pending: {}", upload.upload_id);
            self.add("clean up", ProbeStatus::Failed, left);
            self.note(ABORT, Err(error));
            return;
        }
        let Some(receipt) = receipt else {
            self.add(ABORT, ProbeStatus::Ok, "");
            return;
        };
        // Exports rely on it: docs/commit-protocol.md.
        match store.complete_upload(&upload, &[receipt]).await {
            Ok(_) => {
                let why = "an aborted upload was completed: exports are not all-or-nothing";
                self.add(ABORT, ProbeStatus::Failed, why);
                self.remove().await;
            }
            Err(_) => self.add(ABORT, ProbeStatus::Ok, ""),
        }
    }

    /// Lists the uploads of a folder as well as those of a key: some stores list only the latter.
    async fn probe_upload_list(&mut self, upload: &PendingUpload, maybe_another: bool) {
        let store = self.store;
        let of_key = match store.list_uploads(&self.key).await {
            Ok(uploads) => uploads,
            Err(error) => {
                self.note(LIST, Err(error));
                return;
            }
        };
        if !of_key.contains(upload) {
            self.add(LIST, ProbeStatus::Failed, "the upload is not listed");
            return;
        }
        // Earlier attempts whose answers were lost have created these.
        for other in of_key
            .iter()
            .filter(|other| maybe_another && *other != upload)
        {
            let _ = store.abort_upload(other).await;
        }
        let folder = &self.key[..=self.key.rfind('/').unwrap_or_default()];
        match store.list_uploads(folder).await {
            Ok(uploads) if uploads.contains(upload) => self.add(LIST, ProbeStatus::Ok, ""),
            Ok(_) => self.add(
                LIST,
                ProbeStatus::Unsupported,
                "the store lists pending uploads by key, not by folder; RECOVER EXPORT and the \
                 next COPY look for every key that an export has announced",
            ),
            Err(error) => {
                self.note(LIST, Err(error));
            }
        }
    }
}
