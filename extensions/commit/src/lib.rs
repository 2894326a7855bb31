//! The commit protocol of all-or-nothing exports, as pure state machines.
//!
//! Invariant: every decision about an export follows from the answers of the store, never from a
//! clock. A machine sends no request: it takes the answers to its last requests and returns the
//! next ones. The program and the model in `tests/model` run the same machines, so the model
//! checks what the program does.
//!
//! | machine | who runs it |
//! |---|---|
//! | [`Exporter`] | the export itself, from its first look at the target to its end |
//! | [`Ending`] | another process that ends an export which seems dead |
//! | [`Recovery`] | `RECOVER EXPORT`: ends every export under a target |
//!
//! # The one primitive
//!
//! A pending multipart upload can be completed or aborted. If a process aborts an upload, receives
//! the answer and then finds no object, the upload can never become an object. Such uploads decide
//! every question between an export and other processes:
//!
//! - **Does the export commit?** Its *fence* is a pending upload of the key `COMMIT`, created
//!   before the export claims its target. Completing the fence is the decision to commit. A process
//!   that declares the export dead aborts the fence first. After that, the export can't commit.
//! - **Is a decided export finished or rolled back?** It is finished when every file is an object.
//!   It may be rolled back once the upload of one file was aborted and the file is not an object.
//!   `ROLLBACK` names this file before its upload is aborted.
//!
//! A store may confirm a completion and an abort that it executes at the same moment, and drop the
//! object (Garage does). Therefore another process deletes `INCOMPLETE` before it aborts an upload
//! of an export, and an export that has decided looks for `INCOMPLETE` before it relies on the
//! decision: if it is there, no abort was sent before the look, and later aborts have no effect.
//!
//! Marks (`INCOMPLETE`, `ALIVE`, `COMMIT`, `ROLLBACK`, `ENDING` and the journal) tell other processes
//! about an export. A mark never overrides the state of the uploads that it names.

mod ending;
mod exporter;
mod files;
mod recovery;

pub use self::ending::{Ending, EndingResult, OTHER_MARKS};
pub use self::exporter::{Exporter, Outcome, Reason};
pub use self::recovery::Recovery;

/// A request of a machine to the store, about the export with the id `export`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request<I> {
    /// The export that the request is about.
    pub export: I,
    /// What to do.
    pub action: Action,
}

impl<I: Clone> Request<I> {
    pub(crate) fn new(export: &I, action: Action) -> Self {
        Self {
            export: export.clone(),
            action,
        }
    }
}

/// What a request does. Requests that a machine returns together may run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// List the marks of all exports under the target, then its data. Answer: [`Answer::Seen`].
    Survey,
    /// Wait a moment, so that other exports can proceed.
    Wait,
    /// Put `INCOMPLETE`: from here on, another process can find the export's fence.
    Announce,
    /// Create the fence.
    CreateFence,
    /// Put `ALIVE`, which names the fence.
    Claim,
    /// Complete the fence with the list of all files: the decision to commit.
    Decide,
    /// Abort the fence that `ALIVE` names, and every other pending upload of its key.
    AbortFence,
    /// Read `COMMIT`, then look for `ROLLBACK`. Answer: [`Answer::Commit`].
    ReadCommit,
    /// Complete the upload of a file.
    Complete(usize),
    /// Abort the upload of a file.
    Abort(usize),
    /// Look whether a file is an object. Answer: [`Answer::Done`] or [`Answer::Gone`].
    Find(usize),
    /// Look whether `INCOMPLETE` is there. Answer: [`Answer::Done`] or [`Answer::Gone`].
    FindIncomplete,
    /// Abort the upload of a file, wait for the answer, then delete its object.
    Withdraw(usize),
    /// Abort every pending upload of the export's files.
    AbortUploads,
    /// Put the manifest and delete the objects that the export replaces.
    Publish,
    /// Put `ENDING`, which leads other processes to the export once its `INCOMPLETE` is gone.
    MarkEnding,
    /// Put `ROLLBACK`, which names a file. If the file is not an object after its upload was
    /// aborted, the export can't be finished.
    MarkRollback(usize),
    /// Delete a mark.
    Remove(Mark),
}

/// A small object that tells other processes about an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// The export exists, and no other process has begun to end it.
    Incomplete,
    /// The export claims or holds its target. Rewritten as a heartbeat.
    Alive,
    /// The keys of uploads that the export is about to create.
    Journal,
    /// The export is decided: it will be finished.
    Commit,
    /// Another process has begun to end the export, which had not claimed its target.
    Ending,
    /// The decided export is removed if the file that this mark names can't become an object.
    Rollback,
}

/// The store's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer<I> {
    /// The request was executed.
    Done,
    /// The upload is not pending, or there is no such object.
    Gone,
    /// The request was not executed, and will not be.
    Refused,
    /// It is not known whether the request was or will be executed.
    Lost,
    /// What a survey saw.
    Seen(Survey<I>),
    /// The content of `COMMIT`.
    Commit(Commit),
}

/// The content of `COMMIT`, as far as the protocol needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Commit {
    /// There is no `COMMIT`.
    Missing,
    /// The export is decided.
    Decided {
        /// The number of its files.
        files: usize,
        /// The file that `ROLLBACK` names, if there is one.
        rollback: Option<usize>,
    },
    /// This version can't read it.
    Unreadable,
}

/// What is under a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Survey<I> {
    /// The other exports that have marks there, by id.
    pub others: Vec<Sign<I>>,
    /// The export's own `INCOMPLETE` and `ALIVE` are there.
    pub claimed: bool,
    /// There is data.
    pub occupied: bool,
}

/// The marks of another export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sign<I> {
    /// Its id.
    pub id: I,
    /// It excludes all other exports: its mode is error or overwrite.
    pub exclusive: bool,
    /// It has written no mark for a long time, or has noted its own end. This decides only whether
    /// another process tries to end it.
    pub silent: bool,
    /// It has marks other than `INCOMPLETE` and `ENDING`: it has claimed its target.
    pub claimed: bool,
    /// It has a `COMMIT`.
    pub committed: bool,
}

/// How an export treats existing data, as far as the protocol needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The target must be empty.
    Error,
    /// Objects are added.
    Append,
    /// Existing objects are replaced.
    Overwrite,
}

impl Mode {
    /// Whether no other export may use the target at the same time.
    pub fn is_exclusive(self) -> bool {
        self != Self::Append
    }
}
