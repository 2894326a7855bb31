//! What one export has sent to its store.
//!
//! Invariant: an entry is made before the request that it is about is sent, so that rolling back
//! undoes every request that the store may have executed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::bookkeeping::{ClaimState, Lock, Note};
use crate::sink::spec::ExportSpec;
use crate::sink::store::{PendingUpload, UploadStore};

/// The identity of an export, and its requests that changed the store.
#[derive(Debug)]
pub(crate) struct Ledger {
    id: String,
    /// When the export was planned (RFC 3339).
    started: String,
    spec: ExportSpec,
    store: Arc<dyn UploadStore>,
    entries: Mutex<Entries>,
}

/// Traces of the export that may be in the store.
#[derive(Debug, Default, Clone)]
pub(super) struct Entries {
    /// Uploads whose ids the store has returned.
    pub(super) uploads: BTreeSet<PendingUpload>,
    /// A request to create an upload was sent.
    pub(super) uploads_started: bool,
    /// The answer to a request that creates an upload was lost: the upload may exist.
    pub(super) upload_lost: bool,
    /// Objects that appeared, or may have.
    pub(super) objects: BTreeSet<String>,
    /// Bookkeeping was written, or may have been.
    pub(super) bookkeeping: bool,
    /// `COMMIT` was written, or may have been.
    pub(super) intent: bool,
    /// Whether `LOCK` was taken.
    pub(super) lock: Lock,
    /// Objects to delete once the export is committed (mode overwrite).
    pub(super) obsolete: Vec<String>,
}

impl Ledger {
    /// An empty ledger for an export with a new id.
    pub(crate) fn new(spec: ExportSpec, store: Arc<dyn UploadStore>) -> Self {
        Self {
            id: Uuid::now_v7().simple().to_string(),
            started: chrono::Utc::now().to_rfc3339(),
            spec,
            store,
            entries: Mutex::default(),
        }
    }

    /// The export's id: 32 hexadecimal digits that sort by time.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn started(&self) -> &str {
        &self.started
    }

    pub(crate) fn spec(&self) -> &ExportSpec {
        &self.spec
    }

    pub(crate) fn store(&self) -> &Arc<dyn UploadStore> {
        &self.store
    }

    /// The content of `INCOMPLETE` and `LOCK`.
    pub(super) fn note(&self, state: ClaimState) -> Note {
        Note {
            export_id: self.id.clone(),
            state,
            mode: self.spec.mode,
            file: self.spec.target.file().map(str::to_owned),
            started: self.started.clone(),
            written: chrono::Utc::now().to_rfc3339(),
            process: std::process::id(),
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            statement: self.spec.statement.clone(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all entries.
    pub(super) fn snapshot(&self) -> Entries {
        self.entries().clone()
    }

    /// Bookkeeping is about to be written.
    pub(super) fn expect_bookkeeping(&self) {
        self.entries().bookkeeping = true;
    }

    /// `COMMIT` is about to be written. Rolling back replaces it before it undoes anything that
    /// `COMMIT` names.
    pub(super) fn expect_intent(&self) {
        self.entries().intent = true;
    }

    pub(super) fn lock(&self) -> Lock {
        self.entries().lock
    }

    pub(super) fn set_lock(&self, lock: Lock) {
        self.entries().lock = lock;
    }

    /// The objects that the export replaces.
    pub(super) fn obsolete(&self) -> Vec<String> {
        self.entries().obsolete.clone()
    }

    pub(super) fn set_obsolete(&self, obsolete: Vec<String>) {
        self.entries().obsolete = obsolete;
    }

    /// An upload is about to be created; the answer may be lost.
    pub(crate) fn expect_upload(&self) {
        self.entries().uploads_started = true;
    }

    /// The answer to a request that creates an upload was lost.
    pub(crate) fn record_lost_upload(&self) {
        self.entries().upload_lost = true;
    }

    /// The store has created an upload.
    pub(crate) fn record_upload(&self, upload: PendingUpload) {
        self.entries().uploads.insert(upload);
    }

    /// An upload is gone: it became an object, or was aborted.
    pub(crate) fn forget_upload(&self, upload: &PendingUpload) {
        self.entries().uploads.remove(upload);
    }

    /// The uploads that exist, as far as the store has said.
    pub(crate) fn uploads(&self) -> Vec<PendingUpload> {
        self.entries().uploads.iter().cloned().collect()
    }

    /// An object is about to appear. Rolling back deletes it, unless it may have replaced another
    /// object, which deleting would not restore.
    pub(super) fn expect_object(&self, key: &str) {
        let mut entries = self.entries();
        let replaces = self.spec.target.file().is_some() && !entries.obsolete.is_empty();
        if !replaces {
            entries.objects.insert(key.to_owned());
        }
    }

    /// Whether an upload may be pending whose id is not known.
    pub(super) fn upload_lost(&self) -> bool {
        self.entries().upload_lost
    }
}
