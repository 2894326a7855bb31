//! The phases of an export.
//!
//! Invariant: a phase is followed by the next one or by `Stopping`; `Ended` is the last.

use crate::error::Error;
use crate::sink::staged::StagedFile;

/// The phase of an export. Each phase is followed by the next one or by `Stopping`.
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
    /// The owner completes the uploads. From here on, only the owner decides how the export ends.
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
    /// It is not known whether the export's objects are or will be there.
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
