//! The small objects that describe an export while it runs.
//!
//! Invariant: every key of an export, for data and for bookkeeping, contains the export's id, so
//! cleaning up can't touch another export. Exceptions are `LOCK`, whose note contains the id, and
//! the key of a `SINGLE FILE`, whose object has the id in its tag. A note says enough about an
//! export for a person or another process to decide how to handle it.
//!
//! ```text
//! <prefix>/_tidegate/LOCK                    one export at a time (modes error and overwrite)
//! <prefix>/_tidegate/<export id>/INCOMPLETE  from the start to the end; rewritten by the heartbeat
//! <prefix>/_tidegate/<export id>/COMMIT      the export will be finished, or undone if it says so
//! <prefix>/_tidegate/<export id>/MANIFEST    stays, if the user asked for it
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::mode::Mode;
use crate::sink::staged::StagedFile;
use crate::sink::target::{FOLDER, Target};

/// The media type of bookkeeping.
pub(crate) const MEDIA_TYPE: &str = "application/json";

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

    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    pub(crate) fn lock(&self) -> String {
        format!("{}LOCK", self.folder)
    }

    pub(crate) fn incomplete(&self, id: &str) -> String {
        format!("{}{id}/INCOMPLETE", self.folder)
    }

    pub(crate) fn commit(&self, id: &str) -> String {
        format!("{}{id}/COMMIT", self.folder)
    }

    pub(crate) fn manifest(&self, id: &str) -> String {
        format!("{}{id}/MANIFEST", self.folder)
    }

    pub(crate) fn probe(&self, id: &str) -> String {
        format!("{}{id}/PROBE", self.folder)
    }

    /// The export id and the name in a bookkeeping key: `…/_tidegate/<id>/<name>`.
    pub(crate) fn split<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        key.strip_prefix(&self.folder)?.split_once('/')
    }
}

/// The state of an export's claim on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClaimState {
    /// It wants the target and gives way to others.
    Claiming,
    /// It has the target.
    Writing,
}

/// Whether an export has the target's `LOCK`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It does not have it.
    #[default]
    NotTaken,
    /// It may have it. Only reading `LOCK` shows.
    Unsure,
    /// It has it.
    Held,
}

/// The content of `LOCK` and `INCOMPLETE`: the identity, statement and start of an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) export_id: String,
    pub(crate) state: ClaimState,
    pub(crate) mode: Mode,
    /// The name of the object that a `SINGLE FILE` export writes in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    pub(crate) started: String,
    pub(crate) written: String,
    pub(crate) process: u32,
    pub(crate) tidegate: String,
    pub(crate) statement: String,
}

impl Note {
    pub(crate) fn to_json(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// The content of `COMMIT`: how another process ends the export if its own process dies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decision {
    /// It is finished.
    Commit(Box<Intent>),
    /// It is undone: its uploads and objects are removed.
    Undo,
}

impl Decision {
    /// # Errors
    /// The decision contains a value that JSON can't hold.
    pub(crate) fn to_json(&self) -> Result<Bytes> {
        let json = serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "the decision can't be written").with_source(error)
        })?;
        Ok(Bytes::from(json))
    }

    /// Reads a decision. An unreadable one counts as [`Self::Undo`].
    pub(crate) fn from_json(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or(Self::Undo)
    }
}

/// Everything that another process needs to finish an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) export_id: String,
    pub(crate) files: Vec<StagedFile>,
    /// Keys that the export replaces: deleted once all files are there.
    pub(crate) obsolete: Vec<String>,
    /// The export replaces objects. Some may be gone already, so it can't be undone.
    pub(crate) replaces: bool,
    /// An upload may be pending whose id is unknown, because the answer was lost.
    #[serde(default)]
    pub(crate) upload_lost: bool,
    /// The manifest to leave behind, without its entries.
    pub(crate) manifest: Option<Manifest>,
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
}
