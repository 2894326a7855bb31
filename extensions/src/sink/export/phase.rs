//! The phases of an export.
//!
//! Invariant: a phase is followed by the next one or by `Stopping`; `Ended` is the last.

use crate::error::Error;
use crate::sink::staged::StagedFile;

/// Where an export stands. Each phase follows the one before it or is followed by `Stopping`.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// Planned: nothing was sent.
    #[default]
    New,
    /// The owner checks and claims the target.
    Claiming,
    /// The query may run. Another export may have claimed the target at the same moment.
    Claimed,
    /// The target is the export's own: uploads may be created.
    Writing,
    /// The owner completes the uploads: from here only it decides how the export ends.
    Committing(Vec<StagedFile>),
    /// The owner undoes everything.
    Stopping,
    /// No further request is sent.
    Ended(Ending),
}

/// How an export ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Every object is there. The error tells what could not be cleaned up.
    Committed(Option<Error>),
    /// No object is there. Lists the removals that the store did not confirm, in words for the
    /// user.
    RolledBack(Vec<String>),
    /// Whether an object was replaced is not known.
    Unknown(Error),
}

impl Phase {
    /// Whether writers may send requests.
    pub(super) fn accepts_requests(&self) -> bool {
        !matches!(self, Self::New | Self::Stopping | Self::Ended(_))
    }

    /// Whether the export is being undone, or is over.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopping | Self::Ended(_))
    }
}
