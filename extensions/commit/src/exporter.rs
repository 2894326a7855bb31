//! An export, from its first look at the target to its end.
//!
//! Invariant: an export reports success only if it was decided and every file is an object. An
//! undecided export has no object. A decided export is rolled back only if one of its files can't
//! become an object.

use std::collections::BTreeMap;

use crate::ending::{Ending, EndingResult, OTHER_MARKS};
use crate::files::{Files, each};
use crate::{Action, Answer, Commit, Mark, Mode, Request, Sign, Survey};

/// The state of an export.
///
/// Several exports may claim a target at the same moment. An export holds its target if a survey
/// after its claim shows no rival. Surveys are consistent, so at least one of two rivals sees the
/// other. If rivals see each other, the export with the smallest id waits until the others are
/// gone, and the others give up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exporter<I> {
    id: I,
    mode: Mode,
    /// It must stop. This has no effect once the export is decided.
    cancelled: bool,
    /// How often it may still wait for others that claimed the target at the same moment.
    waits: u8,
    /// Exports that it has ended and that can't continue. Their marks that appear late are not
    /// claims.
    ended: BTreeMap<I, EndingResult>,
    fence: Fence,
    stage: Stage<I>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage<I> {
    Looking,
    EndingOther(Ending<I>),
    Announcing,
    CreatingFence,
    Claiming,
    Confirming,
    Waiting,
    Writing,
    Deciding(usize),
    AbortingFence(usize),
    ReadingCommit(usize),
    /// Looks whether another process may be aborting the completed fence. `aborted`: this export
    /// has aborted it, too, and has found `COMMIT` after that.
    CheckingDecision {
        files: usize,
        aborted: bool,
    },
    AbortingAny,
    FindingAny,
    Completing(Files),
    /// Looks for files that another process may have completed.
    Searching(Files),
    /// One file could not be completed.
    MarkingRollback(Files, usize),
    Aborting(Files, usize),
    Finding(Files, usize),
    /// The file is an object after all.
    UnmarkingRollback(Files),
    /// Looks whether another process may be aborting the upload of that file.
    CheckingUnmarked(Files),
    CheckingCommit(Files),
    Publishing,
    RemovingMarks,
    /// Another process has finished the export.
    RemovingFinished,
    Withdrawing,
    WithdrawingUploads {
        clean: bool,
    },
    RemovingWithdrawnCommit,
    RemovingWithdrawnMarks,
    Undoing(Reason<I>),
    RemovingUndone(Reason<I>),
    RemovingTaken,
    Over(Outcome<I>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Fence {
    /// It does not exist.
    None,
    Created,
    /// The answer to its creation is lost: it may appear at any time.
    Lost,
}

/// How an export ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome<I> {
    /// Every file is an object.
    Committed {
        /// Nothing else is left.
        clean: bool,
    },
    /// It was not decided, so none of its files ever becomes an object.
    Undone {
        /// Why.
        reason: Reason<I>,
        /// No upload and no mark is left.
        clean: bool,
    },
    /// It was decided, could not be finished, and was removed.
    RolledBack {
        /// No object, no upload and no mark is left.
        clean: bool,
    },
    /// It was decided, and another process has ended it. It is not known whether its files are
    /// still there.
    Taken {
        /// No mark is left.
        clean: bool,
    },
    /// It is not known whether its files are or will be objects.
    Unknown,
}

/// Why an export was not decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason<I> {
    /// It was cancelled, or its query failed.
    Cancelled,
    /// A request failed.
    Request,
    /// There is data under the target.
    Occupied,
    /// Another export holds the target.
    InUse(I),
    /// An earlier export could not be ended.
    Unended(I, EndingResult),
    /// Another process declared it dead.
    Fenced,
}

impl<I: Clone + Ord> Exporter<I> {
    /// An export with the id `id`. It waits at most `waits` times for others that claimed the target
    /// at the same moment.
    pub fn new(id: I, mode: Mode, waits: u8) -> Self {
        Self {
            id,
            mode,
            cancelled: false,
            waits,
            ended: BTreeMap::new(),
            fence: Fence::None,
            stage: Stage::Looking,
        }
    }

    /// The first requests.
    pub fn start(&self) -> Vec<Request<I>> {
        vec![Request::new(&self.id, Action::Survey)]
    }

    /// Whether the query may run: the first look found no export and no data that prevent this
    /// export, and the export may write under the target.
    pub fn may_query(&self) -> bool {
        matches!(
            self.stage,
            Stage::CreatingFence
                | Stage::Claiming
                | Stage::Confirming
                | Stage::Waiting
                | Stage::Writing
        )
    }

    /// Whether the export has its target and waits for [`Self::commit`] or [`Self::cancel`].
    pub fn is_writing(&self) -> bool {
        matches!(self.stage, Stage::Writing)
    }

    /// The outcome, once the export is over.
    pub fn outcome(&self) -> Option<&Outcome<I>> {
        match &self.stage {
            Stage::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Why the export is being undone, if it is.
    pub fn undoing(&self) -> Option<&Reason<I>> {
        match &self.stage {
            Stage::Undoing(reason) | Stage::RemovingUndone(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the decided export is being rolled back.
    pub fn rolls_back(&self) -> bool {
        matches!(
            self.stage,
            Stage::Withdrawing
                | Stage::WithdrawingUploads { .. }
                | Stage::RemovingWithdrawnCommit
                | Stage::RemovingWithdrawnMarks
        )
    }

    /// The decided exports of dead processes that this export has finished.
    pub fn finished(&self) -> impl Iterator<Item = &I> {
        let ended = self.ended.iter();
        let finished = ended.filter(|(_, result)| **result == EndingResult::Finished);
        finished.map(|(id, _)| id)
    }

    /// Commits an export that [is writing](Self::is_writing), with this number of files.
    pub fn commit(&mut self, files: usize) -> Vec<Request<I>> {
        match self.stage {
            Stage::Writing => self.ask(Stage::Deciding(files), Action::Decide),
            _ => Vec::new(),
        }
    }

    /// Stops the export. Returns requests if it was waiting for [`Self::commit`]. Otherwise it
    /// stops when the answers to its last requests arrive. Has no effect once the decision is under
    /// way.
    pub fn cancel(&mut self) -> Vec<Request<I>> {
        self.cancelled = true;
        match self.stage {
            Stage::Writing => self.undo(Reason::Cancelled),
            _ => Vec::new(),
        }
    }

    /// Takes the answers to the last requests, in their order, and returns the next requests.
    /// Returns none if the export [is writing](Self::is_writing) or has an
    /// [outcome](Self::outcome).
    pub fn next(&mut self, answers: &[Answer<I>]) -> Vec<Request<I>> {
        let done = answers.iter().all(|answer| matches!(answer, Answer::Done));
        let stage = std::mem::replace(&mut self.stage, Stage::Over(Outcome::Unknown));
        match stage {
            Stage::Looking => self.look(answers),
            Stage::EndingOther(ending) => self.end_other(ending, answers),
            Stage::Announcing => match done {
                _ if self.cancelled => self.undo(Reason::Cancelled),
                true => self.ask(Stage::CreatingFence, Action::CreateFence),
                false => self.undo(Reason::Request),
            },
            Stage::CreatingFence => {
                self.fence = match answers {
                    [Answer::Done] => Fence::Created,
                    [Answer::Refused] => Fence::None,
                    _ => Fence::Lost,
                };
                match done {
                    _ if self.cancelled => self.undo(Reason::Cancelled),
                    true => self.ask(Stage::Claiming, Action::Claim),
                    false => self.undo(Reason::Request),
                }
            }
            Stage::Claiming => match done {
                _ if self.cancelled => self.undo(Reason::Cancelled),
                true => self.ask(Stage::Confirming, Action::Survey),
                false => self.undo(Reason::Request),
            },
            Stage::Waiting => self.ask(Stage::Confirming, Action::Survey),
            Stage::Confirming => self.confirm(answers),
            Stage::Writing => {
                self.stage = Stage::Writing;
                Vec::new()
            }
            Stage::Deciding(files) => match done {
                true => self.check_decision(files, false),
                // The store will never execute the decision, so the export is undecided.
                false if matches!(answers, [Answer::Refused]) => self.undo(Reason::Request),
                false => self.ask(Stage::AbortingFence(files), Action::AbortFence),
            },
            Stage::AbortingFence(files) => match done {
                true => self.ask(Stage::ReadingCommit(files), Action::ReadCommit),
                false => self.end(Outcome::Unknown),
            },
            Stage::ReadingCommit(files) => match answers {
                [Answer::Commit(Commit::Decided { .. })] => self.check_decision(files, true),
                // Another process may have fenced the export, or finished it and removed `COMMIT`.
                // If it was finished, every file is an object.
                [Answer::Commit(Commit::Missing)] if files > 0 => {
                    self.ask(Stage::AbortingAny, Action::Abort(0))
                }
                [Answer::Commit(Commit::Missing)] => self.remove_taken(),
                _ => self.end(Outcome::Unknown),
            },
            Stage::CheckingDecision { files, aborted } => match answers {
                [Answer::Done] => self.complete(Files::new(files)),
                [Answer::Gone] if !aborted => {
                    self.ask(Stage::AbortingFence(files), Action::AbortFence)
                }
                // The other process has found `COMMIT`, too, or its abort removes `COMMIT`.
                [Answer::Gone] => self.end(Outcome::Taken { clean: false }),
                _ => self.end(Outcome::Unknown),
            },
            Stage::AbortingAny => match done {
                true => self.ask(Stage::FindingAny, Action::Find(0)),
                false => self.end(Outcome::Unknown),
            },
            Stage::FindingAny => match answers {
                [Answer::Done] => self.remove(Stage::RemovingFinished, &OTHER_MARKS),
                [Answer::Gone] => self.undo(Reason::Fenced),
                _ => self.end(Outcome::Unknown),
            },
            Stage::Completing(mut files) => {
                let asked = files.open();
                files.completed(&asked, answers);
                if !answers.contains(&Answer::Gone) {
                    return self.settle(files);
                }
                let requests = each(&self.id, &files.open(), Action::Find);
                self.stage = Stage::Searching(files);
                requests
            }
            Stage::Searching(mut files) => {
                let asked = files.open();
                // A file that is not an object yet may still have a pending upload.
                files.completed(&asked, answers);
                self.settle(files)
            }
            Stage::MarkingRollback(files, first) => match done {
                true => self.ask(Stage::Aborting(files, first), Action::Abort(first)),
                false => self.end(Outcome::Unknown),
            },
            Stage::Aborting(files, first) => match done {
                true => self.ask(Stage::Finding(files, first), Action::Find(first)),
                false => self.end(Outcome::Unknown),
            },
            Stage::Finding(mut files, first) => {
                files.found(&[first], answers);
                if files.any_gone() {
                    return self.ask(Stage::CheckingCommit(files), Action::ReadCommit);
                }
                match files.open().contains(&first) {
                    true => self.end(Outcome::Unknown),
                    false => self.ask(
                        Stage::UnmarkingRollback(files),
                        Action::Remove(Mark::Rollback),
                    ),
                }
            }
            // If `ROLLBACK` stayed and the object were deleted later, another process would remove
            // the other files.
            Stage::UnmarkingRollback(files) => match done {
                true => self.ask(Stage::CheckingUnmarked(files), Action::FindIncomplete),
                false => self.end(Outcome::Unknown),
            },
            Stage::CheckingUnmarked(files) => match answers {
                [Answer::Done] => self.complete(files),
                [Answer::Gone] => self.end(Outcome::Taken { clean: false }),
                _ => self.end(Outcome::Unknown),
            },
            // If `COMMIT` is gone, another process has finished or removed the export, and this
            // export must not touch the objects any more.
            Stage::CheckingCommit(files) => match answers {
                [Answer::Commit(Commit::Decided { .. })] => {
                    let requests = each(&self.id, &files.possible(), Action::Withdraw);
                    match requests.is_empty() {
                        true => self.withdraw_uploads(true),
                        false => {
                            self.stage = Stage::Withdrawing;
                            requests
                        }
                    }
                }
                [Answer::Commit(Commit::Missing)] => self.remove_taken(),
                _ => self.end(Outcome::Unknown),
            },
            Stage::RemovingTaken => self.end(Outcome::Taken { clean: done }),
            Stage::Publishing => match done {
                true => self.remove(
                    Stage::RemovingMarks,
                    &[Mark::Commit, Mark::Alive, Mark::Journal, Mark::Incomplete],
                ),
                false => self.end(Outcome::Committed { clean: false }),
            },
            Stage::RemovingMarks | Stage::RemovingFinished => {
                self.end(Outcome::Committed { clean: done })
            }
            Stage::Withdrawing => self.withdraw_uploads(done),
            Stage::WithdrawingUploads { clean } => match clean && done {
                true => self.ask(Stage::RemovingWithdrawnCommit, Action::Remove(Mark::Commit)),
                false => self.end(Outcome::RolledBack { clean: false }),
            },
            Stage::RemovingWithdrawnCommit => match done {
                true => self.remove(Stage::RemovingWithdrawnMarks, &OTHER_MARKS),
                false => self.end(Outcome::RolledBack { clean: false }),
            },
            Stage::RemovingWithdrawnMarks => self.end(Outcome::RolledBack { clean: done }),
            Stage::Undoing(reason) => match done && self.fence != Fence::Lost {
                true => self.remove_undone(reason),
                false => {
                    let clean = false;
                    self.end(Outcome::Undone { reason, clean })
                }
            },
            Stage::RemovingUndone(reason) => {
                let clean = done;
                self.end(Outcome::Undone { reason, clean })
            }
            Stage::Over(outcome) => self.end(outcome),
        }
    }

    /// The first look at the target, and the look after another export was ended.
    fn look(&mut self, answers: &[Answer<I>]) -> Vec<Request<I>> {
        let [Answer::Seen(survey)] = answers else {
            return self.refuse(Reason::Request);
        };
        if self.cancelled {
            return self.refuse(Reason::Cancelled);
        }
        let living = self.rivals(survey).find(|rival| !rival.silent);
        if let Some(rival) = living.map(|rival| rival.id.clone()) {
            return self.refuse(Reason::InUse(rival));
        }
        let dead = survey.others.iter();
        let dead = dead.filter(|sign| sign.silent && !self.ended.contains_key(&sign.id));
        // Decided exports first: their uploads are the only copy of their rows.
        if let Some(dead) = dead.max_by_key(|sign| sign.committed) {
            let mut ending = Ending::new(dead);
            let requests = ending.next(&[]);
            self.stage = Stage::EndingOther(ending);
            return requests;
        }
        if self.mode == Mode::Error && survey.occupied {
            return self.refuse(Reason::Occupied);
        }
        self.ask(Stage::Announcing, Action::Announce)
    }

    fn end_other(&mut self, mut ending: Ending<I>, answers: &[Answer<I>]) -> Vec<Request<I>> {
        let requests = ending.next(answers);
        let id = ending.id().clone();
        match ending.result() {
            None => {
                self.stage = Stage::EndingOther(ending);
                requests
            }
            Some(
                result @ (EndingResult::Removed | EndingResult::Finished | EndingResult::Vanished),
            ) => {
                if ending.is_final() {
                    self.ended.insert(id, result);
                }
                self.ask(Stage::Looking, Action::Survey)
            }
            Some(result) => self.refuse(Reason::Unended(id, result)),
        }
    }

    /// The look after the claim.
    fn confirm(&mut self, answers: &[Answer<I>]) -> Vec<Request<I>> {
        let [Answer::Seen(survey)] = answers else {
            return self.undo(Reason::Request);
        };
        if self.cancelled {
            return self.undo(Reason::Cancelled);
        }
        if !survey.claimed {
            return self.undo(Reason::Fenced);
        }
        let smallest = self.rivals(survey).min_by(|a, b| a.id.cmp(&b.id));
        match smallest.map(|rival| rival.id.clone()) {
            Some(rival) if rival < self.id || self.waits == 0 => self.undo(Reason::InUse(rival)),
            Some(_) => {
                self.waits -= 1;
                self.ask(Stage::Waiting, Action::Wait)
            }
            // Another export may have written data and ended since the first look.
            None if self.mode == Mode::Error && survey.occupied => self.undo(Reason::Occupied),
            None => {
                self.stage = Stage::Writing;
                Vec::new()
            }
        }
    }

    /// The exports that exclude this one.
    fn rivals<'a>(&'a self, survey: &'a Survey<I>) -> impl Iterator<Item = &'a Sign<I>> {
        let excludes = |sign: &&Sign<I>| {
            (sign.claimed || sign.committed)
                && (sign.exclusive || self.mode.is_exclusive())
                && !self.ended.contains_key(&sign.id)
        };
        survey.others.iter().filter(excludes)
    }

    fn ask(&mut self, stage: Stage<I>, action: Action) -> Vec<Request<I>> {
        self.stage = stage;
        vec![Request::new(&self.id, action)]
    }

    fn end(&mut self, outcome: Outcome<I>) -> Vec<Request<I>> {
        self.stage = Stage::Over(outcome);
        Vec::new()
    }

    /// Ends an export that has left nothing in the store.
    fn refuse(&mut self, reason: Reason<I>) -> Vec<Request<I>> {
        let clean = true;
        self.end(Outcome::Undone { reason, clean })
    }

    /// Removes everything of an export that was not decided.
    fn undo(&mut self, reason: Reason<I>) -> Vec<Request<I>> {
        if self.fence == Fence::None {
            return self.remove_undone(reason);
        }
        self.stage = Stage::Undoing(reason);
        let actions = [Action::AbortFence, Action::AbortUploads];
        actions
            .map(|action| Request::new(&self.id, action))
            .to_vec()
    }

    /// Removes marks that this process may have written after another one had removed them.
    fn remove_taken(&mut self) -> Vec<Request<I>> {
        self.remove(Stage::RemovingTaken, &OTHER_MARKS)
    }

    fn remove_undone(&mut self, reason: Reason<I>) -> Vec<Request<I>> {
        let marks = [Mark::Alive, Mark::Journal, Mark::Incomplete];
        self.remove(Stage::RemovingUndone(reason), &marks)
    }

    fn check_decision(&mut self, files: usize, aborted: bool) -> Vec<Request<I>> {
        self.ask(
            Stage::CheckingDecision { files, aborted },
            Action::FindIncomplete,
        )
    }

    fn complete(&mut self, files: Files) -> Vec<Request<I>> {
        let requests = each(&self.id, &files.open(), Action::Complete);
        if requests.is_empty() {
            return self.ask(Stage::Publishing, Action::Publish);
        }
        self.stage = Stage::Completing(files);
        requests
    }

    /// Publishes the export, or begins its rollback if a file is not an object yet.
    fn settle(&mut self, files: Files) -> Vec<Request<I>> {
        match files.open().first() {
            None => self.ask(Stage::Publishing, Action::Publish),
            Some(&first) => self.ask(
                Stage::MarkingRollback(files, first),
                Action::MarkRollback(first),
            ),
        }
    }

    fn withdraw_uploads(&mut self, clean: bool) -> Vec<Request<I>> {
        self.ask(Stage::WithdrawingUploads { clean }, Action::AbortUploads)
    }

    fn remove(&mut self, stage: Stage<I>, marks: &[Mark]) -> Vec<Request<I>> {
        self.stage = stage;
        each(&self.id, marks, Action::Remove)
    }
}
