//! The requests that one export has sent to its store.
//!
//! Invariant: an entry is recorded before its request is sent, so that a rollback undoes every
//! request that the store may have executed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bookkeeping::{FORMAT, Keys, Note};
use super::journal::Journal;
use crate::error::Result;
use crate::sink::mode::Mode;
use crate::sink::spec::ExportSpec;
use crate::sink::staged::StagedFile;
use crate::sink::store::{ListedObject, PendingUpload, UploadStore};

/// The identity of an export, and its requests that changed the store.
#[derive(Debug)]
pub(crate) struct Ledger {
    id: String,
    /// When the export was planned (RFC 3339).
    started: String,
    spec: ExportSpec,
    store: Arc<dyn UploadStore>,
    journal: Journal,
    entries: Mutex<Entries>,
}

/// The data objects that an export in mode overwrite replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// How many there are.
    pub objects: u64,
    /// Their total size in bytes.
    pub bytes: u64,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objects, bytes } = self;
        let plural = if *objects == 1 { "" } else { "s" };
        write!(f, "{objects} object{plural} ({bytes} bytes)")
    }
}

/// Traces of the export that may be in the store.
#[derive(Debug, Default)]
struct Entries {
    /// Uploads whose ids the store has returned.
    uploads: BTreeSet<PendingUpload>,
    /// Keys of uploads that may exist although their ids are not known.
    lost: BTreeSet<String>,
    /// A request to create an upload was given up without an answer: the store may execute it at
    /// any time.
    given_up: bool,
    /// The pending upload of `COMMIT`.
    fence: Option<PendingUpload>,
    /// `LOCK` was put.
    locked: bool,
    /// The data and manifests under the target before the export, in a mode that replaces objects.
    existing: Vec<ListedObject>,
    manifests: Vec<ListedObject>,
    /// The files to commit.
    files: Arc<[StagedFile]>,
}

impl Entries {
    /// The data that an export in this mode replaces. In mode overwrite partitions, the data in the
    /// folders of its files.
    fn replaced_data(&self, mode: Mode) -> impl Iterator<Item = &ListedObject> {
        let folders: BTreeSet<String> = match mode {
            Mode::OverwritePartitions => {
                let keys = self.files.iter().map(|file| &file.key);
                let folders = keys.filter_map(|key| Some(format!("{}/", key.rsplit_once('/')?.0)));
                folders.collect()
            }
            _ => BTreeSet::new(),
        };
        self.existing.iter().filter(move |object| match mode {
            // Also data in folders below them.
            Mode::OverwritePartitions => {
                let mut ends = object.key.match_indices('/');
                ends.any(|(end, _)| folders.contains(&object.key[..=end]))
            }
            _ => true,
        })
    }
}

impl Ledger {
    /// An empty ledger for the export `id`.
    pub(crate) fn new(id: String, spec: ExportSpec, store: Arc<dyn UploadStore>) -> Self {
        Self {
            id,
            started: chrono::Utc::now().to_rfc3339(),
            spec,
            store,
            journal: Journal::default(),
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

    /// The keys of the bookkeeping under the export's target.
    pub(super) fn keys(&self) -> Keys {
        Keys::new(&self.spec.target)
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The content of `INCOMPLETE`, `LOCK` and `ALIVE`.
    pub(super) fn note(&self, ended: bool) -> Note {
        Note {
            format: FORMAT,
            export_id: self.id.clone(),
            mode: self.spec.mode,
            file: self.spec.target.file().map(str::to_owned),
            started: self.started.clone(),
            written: chrono::Utc::now().to_rfc3339(),
            process: std::process::id(),
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            statement: self.spec.statement.clone(),
            fence: self.fence(),
            files: self.spec.first_files(&self.id),
            ended,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fence(&self) -> Option<PendingUpload> {
        self.entries().fence.clone()
    }

    pub(super) fn set_fence(&self, fence: PendingUpload) {
        self.entries().fence = Some(fence);
    }

    /// Whether `LOCK` may be this export's.
    pub(super) fn may_hold_lock(&self) -> bool {
        self.entries().locked
    }

    pub(super) fn set_lock(&self, locked: bool) {
        self.entries().locked = locked;
    }

    /// The keys of the objects that the export replaces, once its files are known.
    pub(super) fn obsolete(&self) -> Vec<String> {
        let mode = self.spec.mode;
        let entries = self.entries();
        // A manifest may list objects of other partitions.
        let manifests = entries.manifests.iter().filter(|_| mode == Mode::Overwrite);
        let obsolete = entries.replaced_data(mode).chain(manifests);
        obsolete.map(|object| object.key.clone()).collect()
    }

    /// Records the data and manifests that are under the target.
    pub(super) fn set_obsolete(&self, data: Vec<ListedObject>, manifests: Vec<ListedObject>) {
        let mut entries = self.entries();
        entries.existing = data;
        entries.manifests = manifests;
    }

    /// The data that is replaced; `None` before it is known, or if nothing is replaced.
    pub(crate) fn replaced(&self) -> Option<Replaced> {
        let entries = self.entries();
        let replaced = entries.replaced_data(self.spec.mode);
        let replaced = replaced.fold((0, 0), |(objects, bytes), object| {
            (objects + 1, bytes + object.bytes)
        });
        let (objects, bytes) = replaced;
        Some(Replaced { objects, bytes }).filter(|replaced| replaced.objects > 0)
    }

    /// The files to commit.
    pub(crate) fn files(&self) -> Arc<[StagedFile]> {
        Arc::clone(&self.entries().files)
    }

    pub(crate) fn set_files(&self, files: Vec<StagedFile>) {
        self.entries().files = files.into();
    }

    /// Announces the uploads of `files` to other processes, which must find the uploads if this
    /// process dies. Must be called before an upload is created.
    ///
    /// # Errors
    /// The store refuses to write the journal.
    pub(crate) async fn announce_files(&self, files: Vec<String>) -> Result<()> {
        self.journal.announce(self, files).await
    }

    /// Records that the answer to a request that creates an upload at `key` was lost, but a
    /// repeated request was answered.
    pub(crate) fn record_lost_upload(&self, key: &str) {
        self.entries().lost.insert(key.to_owned());
    }

    /// Records that a request that creates an upload at `key` was given up without an answer.
    pub(crate) fn record_given_up_upload(&self, key: &str) {
        let mut entries = self.entries();
        entries.lost.insert(key.to_owned());
        entries.given_up = true;
    }

    /// The store has created an upload.
    pub(crate) fn record_upload(&self, upload: PendingUpload) {
        self.entries().uploads.insert(upload);
    }

    /// Removes an upload that became an object or was aborted.
    pub(crate) fn forget_upload(&self, upload: &PendingUpload) {
        self.entries().uploads.remove(upload);
    }

    /// Removes the upload of a file that became an object or was withdrawn.
    pub(super) fn forget_upload_of(&self, file: &StagedFile) {
        if let Some(upload) = file.upload() {
            self.forget_upload(&upload);
        }
    }

    /// The uploads that exist according to the store's answers.
    pub(crate) fn uploads(&self) -> Vec<PendingUpload> {
        self.entries().uploads.iter().cloned().collect()
    }

    /// Keys of uploads that may exist although their ids are not known.
    pub(super) fn lost_uploads(&self) -> Vec<String> {
        self.entries().lost.iter().cloned().collect()
    }

    /// Whether the store may still create an upload.
    pub(super) fn may_get_uploads(&self) -> bool {
        self.entries().given_up
    }
}
