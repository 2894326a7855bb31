//! The small objects that describe an export to other processes.
//!
//! Invariant: every object contains the version of its format. An object that this version can't
//! read leads to an error that names it, and to no other action.
//!
//! Every key of an export, for data and for bookkeeping, contains the export's id, so cleaning up
//! can't touch another export. Exceptions are `LOCK`, whose note contains the id, and the key of a
//! `SINGLE FILE`, whose object has the id in its tag.
//!
//! ```text
//! <prefix>/_tidegate/LOCK                     detects most races early (modes error and overwrite)
//! <prefix>/_tidegate/<export id>/INCOMPLETE   the export exists; written once
//! <prefix>/_tidegate/<export id>/ALIVE        the export claims its target; the heartbeat
//! <prefix>/_tidegate/<export id>/JOURNAL-<n>  keys of files whose uploads may be pending
//! <prefix>/_tidegate/<export id>/COMMIT       the export is decided; before that, a pending upload
//! <prefix>/_tidegate/<export id>/ROLLBACK     the file without which the export can't be finished
//! <prefix>/_tidegate/<export id>/MANIFEST     stays, if the user asked for it
//! ```

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::mode::Mode;
use crate::sink::staged::StagedFile;
use crate::sink::store::PendingUpload;
use crate::sink::target::{FOLDER, Target};

/// The media type of bookkeeping.
pub(crate) const MEDIA_TYPE: &str = "application/json";

/// The version of the format of all bookkeeping.
pub(super) const FORMAT: u32 = 1;

/// Keys of the bookkeeping under one target.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    folder: String,
}

impl Keys {
    pub(crate) fn new(target: &Target) -> Self {
        Self {
            folder: format!("{}{FOLDER}", target.folder()),
        }
    }

    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    pub(super) fn lock(&self) -> String {
        format!("{}LOCK", self.folder)
    }

    pub(super) fn incomplete(&self, id: &str) -> String {
        self.of(id, "INCOMPLETE")
    }

    pub(super) fn alive(&self, id: &str) -> String {
        self.of(id, "ALIVE")
    }

    pub(super) fn ending(&self, id: &str) -> String {
        self.of(id, "ENDING")
    }

    pub(super) fn journal(&self, id: &str, number: u32) -> String {
        format!("{}{id}/{JOURNAL}{number:05}", self.folder)
    }

    pub(super) fn commit(&self, id: &str) -> String {
        self.of(id, "COMMIT")
    }

    pub(super) fn rollback(&self, id: &str) -> String {
        self.of(id, "ROLLBACK")
    }

    pub(crate) fn manifest(&self, id: &str) -> String {
        self.of(id, "MANIFEST")
    }

    /// A key without an object: deleting it shows whether deleting is allowed.
    pub(super) fn probe(&self, id: &str) -> String {
        self.of(id, "PROBE")
    }

    fn of(&self, id: &str, name: &str) -> String {
        format!("{}{id}/{name}", self.folder)
    }

    /// The export id and the name in a bookkeeping key: `…/_tidegate/<id>/<name>`.
    pub(super) fn split<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        key.strip_prefix(&self.folder)?.split_once('/')
    }
}

/// How the name of a journal begins.
pub(super) const JOURNAL: &str = "JOURNAL-";

/// The content of `LOCK`, `INCOMPLETE`, `ALIVE` and `ENDING`: the identity, statement and start of an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) format: u32,
    pub(super) export_id: String,
    pub(super) mode: Mode,
    /// The name of the object that a `SINGLE FILE` export writes in the folder.
    pub(super) file: Option<String>,
    pub(super) started: String,
    pub(super) written: String,
    pub(super) process: u32,
    pub(super) tidegate: String,
    pub(super) statement: String,
    /// In `ALIVE`: the pending upload of `COMMIT`.
    pub(super) fence: Option<PendingUpload>,
    /// In `ALIVE`: keys of files whose uploads may be pending and that are in no journal.
    pub(super) files: Vec<String>,
    /// The process has given up the export and may have left something behind.
    pub(super) ended: bool,
}

/// The content of a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct JournalPage {
    pub(super) format: u32,
    /// Keys of files whose uploads may be pending.
    pub(super) files: Vec<String>,
}

/// The content of `COMMIT`: everything that another process needs to finish an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) format: u32,
    pub(super) export_id: String,
    pub(super) files: Vec<StagedFile>,
    /// Keys that the export replaces: deleted once all files are there.
    pub(super) obsolete: Vec<String>,
    /// The export replaces objects. Some may be gone already, so it can't be undone.
    pub(super) replaces: bool,
    /// The manifest to leave behind, without its entries.
    pub(super) manifest: Option<Manifest>,
}

/// The content of `ROLLBACK`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rollback {
    pub(super) format: u32,
    pub(super) export_id: String,
    /// The number of the file that could not be completed.
    pub(super) file: usize,
}

/// The JSON of a bookkeeping object.
///
/// # Errors
/// [`ErrorKind::Internal`] if it contains a value that JSON can't hold.
pub(super) fn to_json(content: &impl Serialize) -> Result<Bytes> {
    let json = serde_json::to_vec(content).map_err(|error| {
        Error::new(ErrorKind::Internal, "bookkeeping can't be written as JSON").with_source(error)
    })?;
    Ok(Bytes::from(json))
}

/// Reads the bookkeeping object at `url`.
///
/// # Errors
/// [`ErrorKind::DataCorrupted`] if another version wrote it or it does not have this format.
pub(super) fn from_json<T: DeserializeOwned>(json: &[u8], url: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let unreadable = |why: String| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!("bookkeeping can't be read: {url} {why}"),
        )
    };
    let cure = |error: Error, which: &str| {
        error.with_hint(format!(
            "run RECOVER EXPORT with {which}; or, if nothing of this export is needed, delete the \
             folder of this object and all files whose names contain the name of this folder"
        ))
    };
    let version = serde_json::from_slice(json).map(|Version { format }| format);
    match version {
        Ok(FORMAT) => serde_json::from_slice(json).map_err(|error| {
            let error = unreadable(format!("is damaged: {error}")).with_source(error);
            cure(error, "the Tidegate that wrote it")
        }),
        Ok(newer) if newer > FORMAT => {
            let why = format!("was written by a newer Tidegate (format {newer})");
            Err(cure(unreadable(why), "that version"))
        }
        _ => Err(cure(
            unreadable("was written by an older Tidegate, or by another program".to_owned()),
            "the Tidegate that wrote it",
        )),
    }
}

/// Bookkeeping that can be read is written and read again as the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_bookkeeping(data: &[u8]) {
    fn check<T: Serialize + DeserializeOwned>(data: &[u8]) {
        let Ok(content) = from_json::<T>(data, "s3://b/x") else {
            return;
        };
        let written = to_json(&content);
        let again =
            written.and_then(|json| Ok((to_json(&from_json::<T>(&json, "s3://b/x")?)?, json)));
        assert!(again.is_ok_and(|(again, first)| again == first));
    }
    check::<Note>(data);
    check::<JournalPage>(data);
    check::<Intent>(data);
    check::<Rollback>(data);
    if let Ok(key) = std::str::from_utf8(data) {
        let keys = Keys {
            folder: "x/_tidegate/".to_owned(),
        };
        if let Some((id, name)) = keys.split(key) {
            assert_eq!(format!("{}{id}/{name}", keys.folder()), key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_whose_they_are() {
        let keys = Keys::new(&Target::parse("s3://b/x").unwrap());
        assert_eq!(keys.commit("id"), "x/_tidegate/id/COMMIT");
        assert_eq!(keys.split("x/_tidegate/id/COMMIT"), Some(("id", "COMMIT")));
        assert_eq!(keys.split(&keys.lock()), None);
        assert_eq!(keys.split("x/part-0"), None);
    }

    #[test]
    fn other_versions_are_named() {
        let read = |json: &str| from_json::<JournalPage>(json.as_bytes(), "s3://b/x").unwrap_err();
        let newer = read(r#"{"format":2,"files":{}}"#);
        assert!(newer.message().contains("a newer Tidegate"), "{newer}");
        let older = read(r#"{"export_id":"x"}"#);
        assert!(older.message().contains("an older Tidegate"), "{older}");
        let damaged = read(r#"{"format":1}"#);
        assert!(damaged.message().contains("is damaged"), "{damaged}");
        assert!(read("not JSON").message().contains("another program"));
    }
}
