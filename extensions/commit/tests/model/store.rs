//! The store of the model: what it holds, and how it executes requests.

use std::collections::BTreeSet;

use tidegate_commit::{Action, Answer, Commit, Mark, Request, Sign, Survey};

use super::{Id, Protocol};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Upload {
    Absent,
    Pending,
    Completed,
    Aborted,
}

/// The state of one export in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) incomplete: bool,
    pub(super) alive: bool,
    pub(super) journal: bool,
    pub(super) commit: bool,
    pub(super) rollback: Option<usize>,
    pub(super) ending: bool,
    pub(super) fence: Upload,
    pub(super) uploads: Vec<Upload>,
    pub(super) objects: Vec<bool>,
    /// The exports whose objects it replaces, as its `COMMIT` says.
    pub(super) obsolete: BTreeSet<Id>,
    /// Another process removed its marks because it seemed dead.
    pub(super) cleaned: bool,
}

impl Stored {
    pub(super) fn new(files: usize) -> Self {
        Self {
            incomplete: false,
            alive: false,
            journal: false,
            commit: false,
            rollback: None,
            ending: false,
            fence: Upload::Absent,
            uploads: vec![Upload::Absent; files],
            objects: vec![false; files],
            obsolete: BTreeSet::new(),
            cleaned: false,
        }
    }

    /// Whether it has marks of its own process.
    pub(super) fn has_own_marks(&self) -> bool {
        self.incomplete || self.alive || self.journal || self.commit || self.rollback.is_some()
    }

    fn has_marks(&self) -> bool {
        self.has_own_marks() || self.ending
    }

    pub(super) fn has_objects(&self) -> bool {
        self.objects.contains(&true)
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.objects.contains(&false)
    }

    pub(super) fn has_pending(&self) -> bool {
        self.fence == Upload::Pending || self.uploads.contains(&Upload::Pending)
    }

    pub(super) fn abort_uploads(&mut self) {
        self.uploads.iter_mut().for_each(abort);
    }
}

fn abort(upload: &mut Upload) {
    if *upload == Upload::Pending {
        *upload = Upload::Aborted;
    }
}

/// Executes one step of an abort by another process. The first step looks for a pending upload. The
/// second step drops the upload. If the upload was completed between the steps, it drops the object.
fn abort_in_steps(upload: &mut Upload, object: &mut bool, sent: &Sent) -> Sent {
    if *sent == Sent::Waiting && *upload == Upload::Pending {
        return Sent::Half(None);
    }
    if *sent == Sent::Half(None) && (*object || *upload == Upload::Pending) {
        *upload = Upload::Aborted;
        *object = false;
    }
    Sent::Answered(Answer::Done)
}

/// The progress of a request. Some requests take two steps in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Sent {
    Waiting,
    /// The first of two steps is done: a survey has listed the marks but not the data, `COMMIT` was
    /// read but not `ROLLBACK`, an upload was found but not aborted, or an upload was aborted but its
    /// object was not deleted.
    Half(Option<Answer<Id>>),
    Answered(Answer<Id>),
}

impl Protocol {
    pub(super) fn is_exclusive(&self, id: Id) -> bool {
        self.modes[usize::from(id)].is_exclusive()
    }

    pub(super) fn survey(&self, exports: &[Stored], own: Id, silent: bool) -> Survey<Id> {
        let mut others = Vec::new();
        for (id, stored) in (0..).zip(exports) {
            if id != own && stored.has_marks() {
                others.push(Sign {
                    id,
                    exclusive: self.is_exclusive(id),
                    silent,
                    claimed: stored.alive
                        || stored.journal
                        || stored.commit
                        || stored.rollback.is_some(),
                    committed: stored.commit,
                });
            }
        }
        let claimed = exports
            .get(usize::from(own))
            .is_some_and(|own| own.alive && own.incomplete);
        Survey {
            others,
            claimed,
            occupied: false,
        }
    }

    /// Executes one step of a request of `sender`. Returns the new progress of the request.
    pub(super) fn execute(
        &self,
        exports: &mut [Stored],
        sender: Id,
        request: &Request<Id>,
        sent: &Sent,
        silent: bool,
    ) -> Sent {
        let done = Sent::Answered(Answer::Done);
        let index = usize::from(request.export);
        let is_stranger = sender != request.export;
        match (&request.action, sent) {
            (Action::Survey, Sent::Waiting) => {
                let seen = self.survey(exports, request.export, silent);
                return Sent::Half(Some(Answer::Seen(seen)));
            }
            (Action::Survey, Sent::Half(Some(Answer::Seen(survey)))) => {
                let mut survey = survey.clone();
                survey.occupied = exports.iter().any(Stored::has_objects);
                return Sent::Answered(Answer::Seen(survey));
            }
            (Action::Wait, _) => return done,
            _ => {}
        }
        let obsolete = exports[index].obsolete.clone();
        let stored = &mut exports[index];
        match &request.action {
            Action::Announce => stored.incomplete = true,
            Action::CreateFence => {
                if stored.fence == Upload::Absent {
                    stored.fence = Upload::Pending;
                }
            }
            Action::Claim => stored.alive = true,
            Action::Decide => {
                if stored.fence != Upload::Pending {
                    return Sent::Answered(Answer::Gone);
                }
                stored.fence = Upload::Completed;
                stored.commit = true;
            }
            Action::AbortFence if is_stranger && self.drops => {
                return abort_in_steps(&mut stored.fence, &mut stored.commit, sent);
            }
            Action::AbortFence => abort(&mut stored.fence),
            Action::ReadCommit => match sent {
                Sent::Half(_) => {
                    return Sent::Answered(Answer::Commit(Commit::Decided {
                        files: self.files,
                        rollback: stored.rollback,
                    }));
                }
                _ if stored.commit => return Sent::Half(None),
                _ => return Sent::Answered(Answer::Commit(Commit::Missing)),
            },
            Action::Complete(file) => {
                if stored.uploads[*file] != Upload::Pending {
                    return Sent::Answered(Answer::Gone);
                }
                stored.uploads[*file] = Upload::Completed;
                stored.objects[*file] = true;
            }
            Action::Abort(file) if is_stranger && self.drops => {
                let upload = &mut stored.uploads[*file];
                return abort_in_steps(upload, &mut stored.objects[*file], sent);
            }
            Action::Abort(file) => abort(&mut stored.uploads[*file]),
            Action::FindIncomplete => {
                if !stored.incomplete {
                    return Sent::Answered(Answer::Gone);
                }
            }
            Action::Find(file) => {
                if !stored.objects[*file] {
                    return Sent::Answered(Answer::Gone);
                }
            }
            Action::Withdraw(file) => {
                if *sent == Sent::Waiting {
                    abort(&mut stored.uploads[*file]);
                    return Sent::Half(None);
                }
                stored.objects[*file] = false;
            }
            // Another process finds uploads by the keys in marks.
            Action::AbortUploads => {
                if !is_stranger || stored.journal {
                    stored.abort_uploads();
                }
            }
            Action::Publish => {
                for id in obsolete {
                    exports[usize::from(id)].objects.fill(false);
                }
            }
            Action::MarkEnding => stored.ending = true,
            Action::MarkRollback(file) => stored.rollback = Some(*file),
            Action::Remove(mark) => {
                stored.cleaned |= is_stranger;
                match mark {
                    Mark::Incomplete => stored.incomplete = false,
                    Mark::Alive => stored.alive = false,
                    Mark::Journal => stored.journal = false,
                    Mark::Commit => stored.commit = false,
                    Mark::Rollback => stored.rollback = None,
                    Mark::Ending => stored.ending = false,
                }
            }
            Action::Survey | Action::Wait => {}
        }
        done
    }
}
