//! The small objects that describe an export while it runs.
//!
//! Invariant: every key of an export has the export's id in it, data and bookkeeping alike, so that
//! whoever cleans up can't hit anybody else's; a note says enough for a person, or for another
//! process, to decide what to do with what it finds.
//!
//! ```text
//! <prefix>/_tidegate/LOCK                    one export at a time (modes error and overwrite)
//! <prefix>/_tidegate/<export id>/INCOMPLETE  from the first moment to the last; the heartbeat
//! <prefix>/_tidegate/<export id>/COMMIT      from here the export will happen, unless this says that it is undone
//! <prefix>/_tidegate/<export id>/MANIFEST    stays, where it was asked for
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::options::Mode;
use super::report::StagedFile;
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};

/// The folder of all bookkeeping, below a target.
pub(super) const FOLDER: &str = "_tidegate/";

/// The media type of bookkeeping.
pub(super) const MEDIA_TYPE: &str = "application/json";

/// How often a living export rewrites its `INCOMPLETE`.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// An export whose `INCOMPLETE` is older than this, by the store's own clock, is dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(60);

/// Keys of the bookkeeping under one target.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    folder: String,
}

impl Keys {
    pub(super) fn new(target: &Target) -> Self {
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
        format!("{}{id}/INCOMPLETE", self.folder)
    }

    pub(super) fn commit(&self, id: &str) -> String {
        format!("{}{id}/COMMIT", self.folder)
    }

    pub(super) fn manifest(&self, id: &str) -> String {
        format!("{}{id}/MANIFEST", self.folder)
    }

    pub(super) fn probe(&self, id: &str) -> String {
        format!("{}{id}/PROBE", self.folder)
    }

    /// The export id and the name in a bookkeeping key: `…/_tidegate/<id>/<name>`.
    pub(super) fn split<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        key.strip_prefix(&self.folder)?.split_once('/')
    }
}

/// How far an export has come with its claim on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClaimState {
    /// It wants the target and gives way to others.
    Claiming,
    /// It has the target.
    Writing,
}

/// Whether an export has the target's `LOCK`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// It has not asked for it.
    #[default]
    NotTaken,
    /// It may have it: only reading it tells.
    Unsure,
    /// It has it.
    Held,
}

/// The content of `LOCK` and `INCOMPLETE`: who is exporting what, since when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) export_id: String,
    pub(super) state: ClaimState,
    pub(super) mode: Mode,
    /// The name of the one object that a `SINGLE FILE` export writes in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    pub(super) started: String,
    pub(super) written: String,
    pub(super) process: u32,
    pub(super) tidegate: String,
    pub(super) statement: String,
}

impl Note {
    pub(super) fn to_json(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// The content of `COMMIT`: what is to become of the export if its process dies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Decision {
    /// It is finished.
    Commit(Box<Intent>),
    /// It is undone: whatever there is of it goes.
    Undo,
}

impl Decision {
    /// # Errors
    /// It has what JSON can't hold.
    pub(super) fn to_json(&self) -> Result<Bytes> {
        let json = serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "the decision can't be written").with_source(error)
        })?;
        Ok(Bytes::from(json))
    }

    /// What can't be read does not happen.
    pub(super) fn from_json(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or(Self::Undo)
    }
}

/// All that is needed to finish an export without the process that wrote it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) export_id: String,
    pub(super) files: Vec<StagedFile>,
    /// Keys that the export replaces: deleted once all files are there.
    pub(super) obsolete: Vec<String>,
    /// An object under a file's own key may be replaced, so there is no way back.
    pub(super) replaces: bool,
    /// An upload may be pending that no answer told of.
    #[serde(default)]
    pub(super) upload_lost: bool,
    /// The manifest to leave behind, without its entries.
    pub(super) manifest: Option<Manifest>,
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
