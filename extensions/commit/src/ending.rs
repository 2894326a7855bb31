//! Ends an export of another process that seems dead.
//!
//! Invariant: `INCOMPLETE` is removed before an upload is aborted. An undecided export is fenced
//! before its pending uploads and other marks are removed, and no object is removed. A decided export
//! is finished. Its objects are deleted only if the file that its `ROLLBACK` names can't become an
//! object, because then no process can finish the export.

use crate::files::{Files, each};
use crate::{Action, Answer, Commit, Mark, Request, Sign};

/// Ends one export of another process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ending<I> {
    id: I,
    /// Its fence is known, or completed.
    has_fence: bool,
    stage: Stage,
}

/// The result of ending another export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndingResult {
    /// It will never commit, and nothing of it is left.
    Removed,
    /// All its objects are there. It is as if it had succeeded.
    Finished,
    /// Another process ended it meanwhile.
    Vanished,
    /// It is decided, but a file is neither pending nor an object. Its objects stay.
    Stuck,
    /// Its `COMMIT` can't be read by this version. Nothing was changed.
    Unreadable,
    /// The store did not answer, or refused. The marks are still there.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    New {
        committed: bool,
    },
    /// An export that has not claimed its target has no other mark that leads to its fence.
    MarkingEnding,
    /// Tells the export's process, if it lives, that its decision is no longer final.
    RemovingIncomplete,
    Fencing,
    ReadingCommit,
    AbortingUploads,
    Completing(Files),
    /// Looks for files that could not be completed. `unanswered`: the store may still complete one.
    Finding {
        files: Files,
        unanswered: bool,
    },
    CheckingCommit,
    /// Tells the export's process that the upload of the file that `ROLLBACK` names may be aborted.
    WarningMarked(Files, usize),
    /// Aborts the upload of the file that `ROLLBACK` names.
    AbortingMarked(Files, usize),
    FindingMarked(Files, usize),
    CheckingMarked(usize),
    Publishing,
    Sweeping,
    Withdrawing,
    WithdrawingUploads,
    RemovingCommit(EndingResult),
    RemovingMarks(EndingResult),
    Over(EndingResult),
}

impl<I: Clone> Ending<I> {
    /// Ends the export that left `sign`.
    pub fn new(sign: &Sign<I>) -> Self {
        Self {
            id: sign.id.clone(),
            has_fence: sign.claimed || sign.committed,
            stage: Stage::New {
                committed: sign.committed,
            },
        }
    }

    /// The export that is ended.
    pub fn id(&self) -> &I {
        &self.id
    }

    /// Whether the export can't continue once this has succeeded. An export that had not claimed
    /// its target yet may still create its fence and claim the target.
    pub fn is_final(&self) -> bool {
        self.has_fence
    }

    /// The result, once [`Self::next`] has returned no request.
    pub fn result(&self) -> Option<EndingResult> {
        match self.stage {
            Stage::Over(result) => Some(result),
            _ => None,
        }
    }

    /// Takes the answers to the last requests, in their order, and returns the next requests.
    pub fn next(&mut self, answers: &[Answer<I>]) -> Vec<Request<I>> {
        let failed = answers
            .iter()
            .any(|answer| matches!(answer, Answer::Lost | Answer::Refused));
        let stage = std::mem::replace(&mut self.stage, Stage::Over(EndingResult::Failed));
        match stage {
            Stage::New { committed: true } => self.ask(Stage::ReadingCommit, &[Action::ReadCommit]),
            Stage::New { committed: false } => match self.has_fence {
                true => self.remove_incomplete(),
                false => self.ask(Stage::MarkingEnding, &[Action::MarkEnding]),
            },
            Stage::Over(result) => self.end(result),
            // For an upload that is not pending, some stores return an unspecific error.
            Stage::Completing(mut files) => {
                let asked = files.open();
                files.completed(&asked, answers);
                let open = files.open();
                if open.is_empty() {
                    return self.ask(Stage::Publishing, &[Action::Publish]);
                }
                let requests = each(&self.id, &open, Action::Find);
                self.stage = Stage::Finding {
                    files,
                    unanswered: failed,
                };
                requests
            }
            // Whether or not the store executed the requests, the export can be ended again.
            _ if failed => self.end(EndingResult::Failed),
            Stage::MarkingEnding => self.remove_incomplete(),
            Stage::RemovingIncomplete => self.ask(Stage::Fencing, &[Action::AbortFence]),
            Stage::Fencing => self.ask(Stage::ReadingCommit, &[Action::ReadCommit]),
            Stage::ReadingCommit => match answers {
                // It was fenced and will never commit, or another process has ended it.
                [Answer::Commit(Commit::Missing)] => {
                    self.ask(Stage::AbortingUploads, &[Action::AbortUploads])
                }
                [Answer::Commit(Commit::Decided { files, rollback })] => {
                    let files = Files::new(*files);
                    match *rollback {
                        Some(marked) => self.settle(files, marked),
                        None => self.complete(files),
                    }
                }
                _ => self.end(EndingResult::Unreadable),
            },
            Stage::AbortingUploads => self.remove_marks(EndingResult::Removed),
            Stage::Finding {
                mut files,
                unanswered,
            } => {
                let asked = files.open();
                files.found(&asked, answers);
                match files.any_gone() || !files.open().is_empty() {
                    false => self.ask(Stage::Publishing, &[Action::Publish]),
                    true if unanswered => self.end(EndingResult::Failed),
                    true => self.ask(Stage::CheckingCommit, &[Action::ReadCommit]),
                }
            }
            Stage::CheckingCommit => match answers {
                [Answer::Commit(Commit::Missing)] => self.end(EndingResult::Vanished),
                [
                    Answer::Commit(Commit::Decided {
                        files,
                        rollback: Some(marked),
                    }),
                ] => self.settle(Files::new(*files), *marked),
                _ => self.end(EndingResult::Stuck),
            },
            Stage::WarningMarked(files, marked) => self.ask(
                Stage::AbortingMarked(files, marked),
                &[Action::Abort(marked)],
            ),
            Stage::AbortingMarked(files, marked) => {
                self.ask(Stage::FindingMarked(files, marked), &[Action::Find(marked)])
            }
            Stage::FindingMarked(files, marked) => match answers {
                [Answer::Done] => self.complete(files),
                _ => self.ask(Stage::CheckingMarked(marked), &[Action::ReadCommit]),
            },
            // If `COMMIT` is gone, another process has finished or removed the export, and this
            // process must not touch its objects.
            Stage::CheckingMarked(marked) => match answers {
                [
                    Answer::Commit(Commit::Decided {
                        files,
                        rollback: Some(again),
                    }),
                ] if *again == marked => self.withdraw(*files),
                [Answer::Commit(Commit::Missing)] => self.end(EndingResult::Vanished),
                _ => self.end(EndingResult::Stuck),
            },
            // If an answer was lost, the export's process may have created an upload twice.
            Stage::Publishing => self.ask(Stage::Sweeping, &[Action::AbortUploads]),
            Stage::Sweeping => self.remove_commit(EndingResult::Finished),
            Stage::Withdrawing => self.ask(Stage::WithdrawingUploads, &[Action::AbortUploads]),
            Stage::WithdrawingUploads => self.remove_commit(EndingResult::Removed),
            Stage::RemovingCommit(result) => self.remove_marks(result),
            Stage::RemovingMarks(result) => self.end(result),
        }
    }

    fn ask(&mut self, stage: Stage, actions: &[Action]) -> Vec<Request<I>> {
        self.stage = stage;
        let requests = actions.iter();
        requests
            .map(|action| Request::new(&self.id, action.clone()))
            .collect()
    }

    fn end(&mut self, result: EndingResult) -> Vec<Request<I>> {
        self.stage = Stage::Over(result);
        Vec::new()
    }

    fn complete(&mut self, files: Files) -> Vec<Request<I>> {
        let requests = each(&self.id, &files.open(), Action::Complete);
        if requests.is_empty() {
            return self.ask(Stage::Publishing, &[Action::Publish]);
        }
        self.stage = Stage::Completing(files);
        requests
    }

    fn settle(&mut self, files: Files, marked: usize) -> Vec<Request<I>> {
        self.ask(
            Stage::WarningMarked(files, marked),
            &[Action::Remove(Mark::Incomplete)],
        )
    }

    fn withdraw(&mut self, files: usize) -> Vec<Request<I>> {
        self.stage = Stage::Withdrawing;
        let all: Vec<usize> = (0..files).collect();
        each(&self.id, &all, Action::Withdraw)
    }

    fn remove_incomplete(&mut self) -> Vec<Request<I>> {
        self.ask(
            Stage::RemovingIncomplete,
            &[Action::Remove(Mark::Incomplete)],
        )
    }

    fn remove_commit(&mut self, result: EndingResult) -> Vec<Request<I>> {
        self.ask(
            Stage::RemovingCommit(result),
            &[Action::Remove(Mark::Commit)],
        )
    }

    fn remove_marks(&mut self, result: EndingResult) -> Vec<Request<I>> {
        let marks = match self.has_fence {
            true => &OTHER_MARKS[..],
            // An export that has no fence yet may resume and claim its target.
            false => &[Mark::Incomplete, Mark::Ending],
        };
        self.stage = Stage::RemovingMarks(result);
        each(&self.id, marks, Action::Remove)
    }
}

/// All marks except `COMMIT`. `COMMIT` is removed before `ROLLBACK`, because a `COMMIT` without
/// `ROLLBACK` says that the export must be finished.
pub const OTHER_MARKS: [Mark; 5] = [
    Mark::Alive,
    Mark::Journal,
    Mark::Rollback,
    Mark::Incomplete,
    Mark::Ending,
];
