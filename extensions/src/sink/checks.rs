//! What an export needs of a store, tried out at a target.
//!
//! Invariant: nothing is written before it is known that it can be deleted, no upload is created
//! before it is known that it can be aborted, and nothing is left behind. What can't be undone after
//! all is named.

use bytes::Bytes;
use uuid::Uuid;

use super::store::{ContentHeaders, StoreError, StoreErrorKind, UploadStore};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it went.
    pub status: CheckStatus,
    /// Why, and what to do; empty where all is well.
    pub detail: String,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckStatus {
    /// It works.
    Ok,
    /// An export would fail.
    Failed,
    /// The store does not offer it.
    Unsupported,
}

impl CheckStatus {
    /// The status as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

/// An upload id that no store has given out.
const NO_UPLOAD: &str = "tidegate-no-such-upload";

const CONTENT: &[u8] = b"tidegate\n";

/// Tries what an export does at a target.
///
/// # Errors
/// [`ErrorKind::ConnectionFailure`] and [`ErrorKind::InvalidCredentials`]: nothing can be tried.
pub async fn check_store(store: &dyn UploadStore, target: &Target) -> Result<Vec<Check>> {
    let key = format!("{}_tidegate/validate-{}", target.prefix(), Uuid::now_v7());
    let mut checks = Checks {
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
    checks.note("list", listed);
    checks.check_objects().await;
    checks.check_uploads().await;
    Ok(checks.done)
}

struct Checks<'a> {
    store: &'a dyn UploadStore,
    key: String,
    done: Vec<Check>,
}

impl Checks<'_> {
    fn add(&mut self, name: &'static str, status: CheckStatus, detail: impl Into<String>) {
        let detail = detail.into();
        self.done.push(Check {
            name,
            status,
            detail,
        });
    }

    /// Says whether it works.
    fn note(&mut self, name: &'static str, result: Result<(), StoreError>) -> bool {
        match result {
            Ok(()) => {
                self.add(name, CheckStatus::Ok, "");
                true
            }
            Err(error) => {
                let status = match error.kind {
                    StoreErrorKind::Unsupported => CheckStatus::Unsupported,
                    _ => CheckStatus::Failed,
                };
                self.add(name, status, error.error.message());
                false
            }
        }
    }

    fn skip(&mut self, names: &[&'static str], why: &str) {
        for name in names {
            self.add(name, CheckStatus::Failed, format!("not tried: {why}"));
        }
    }

    async fn check_objects(&mut self) {
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
            // It may have been written, and the answer lost.
            self.remove().await;
            return;
        }
        match again {
            Some(Err(error)) if error.kind != StoreErrorKind::AlreadyExists => {
                self.note("conditional put", Err(error));
            }
            Some(Err(_)) => self.add("conditional put", CheckStatus::Ok, ""),
            _ => self.add(
                "conditional put",
                CheckStatus::Unsupported,
                "the store ignores If-None-Match; exports take turns by claims that each of them lists",
            ),
        }
        match store.get(&self.key).await {
            Ok(Some(found)) if found == CONTENT => self.add("read", CheckStatus::Ok, ""),
            Ok(Some(_)) => self.add("read", CheckStatus::Failed, "other bytes than were written"),
            Ok(None) => self.add("read", CheckStatus::Failed, "what was written is not there"),
            Err(error) => {
                self.note("read", Err(error));
            }
        }
        self.remove().await;
    }

    async fn remove(&mut self) {
        if let Err(error) = self.store.delete(&self.key).await {
            let (url, why) = (self.store.url(&self.key), error.error.message());
            let left = format!("{url} is left behind: {why}");
            self.add("clean up", CheckStatus::Failed, left);
        }
    }

    async fn check_uploads(&mut self) {
        const ABORT: &str = "multipart abort";
        const CREATE: &str = "multipart create";
        const PART: &str = "multipart part";
        const LIST: &str = "multipart list";
        let store = self.store;
        let none = super::PendingUpload {
            key: self.key.clone(),
            upload_id: NO_UPLOAD.to_owned(),
        };
        // A store may take the id for malformed, which says as much.
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
        };
        let created = store.create_upload(&self.key, content, "validate").await;
        let (upload, may_be_more) = match created {
            Ok(created) => created,
            Err(error) => {
                self.note(CREATE, Err(error));
                self.skip(&[PART, LIST, ABORT], "no upload could be created");
                return;
            }
        };
        self.add(CREATE, CheckStatus::Ok, "");
        let part = store
            .put_part(&upload, 1, Bytes::from_static(CONTENT))
            .await;
        self.note(PART, part.map(drop));
        match store.list_uploads(&self.key).await {
            Ok(uploads) if uploads.contains(&upload) => {
                self.add(LIST, CheckStatus::Ok, "");
                // Those of attempts whose answers were lost.
                for other in uploads
                    .iter()
                    .filter(|other| may_be_more && **other != upload)
                {
                    let _ = store.abort_upload(other).await;
                }
            }
            Ok(_) => self.add(LIST, CheckStatus::Failed, "the upload is not listed"),
            Err(error) => {
                self.note(LIST, Err(error));
            }
        }
        let aborted = store.abort_upload(&upload).await;
        if aborted.is_err() {
            let url = store.url(&self.key);
            let left = format!("an upload of {url} is left pending: {}", upload.upload_id);
            self.add("clean up", CheckStatus::Failed, left);
        }
        self.note(ABORT, aborted);
    }
}
