//! `RECOVER EXPORT`: ends every export under a target.
//!
//! Invariant: if an export under the target is alive, nothing is ended, unless the user has set
//! `force`, which says that the export's process is gone.

use crate::ending::{Ending, EndingResult};
use crate::{Action, Answer, Request, Sign};

/// Ends all exports under a target, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recovery<I> {
    /// The id in requests that concern no export.
    id: I,
    /// Ends living exports, too.
    force: bool,
    stage: Stage<I>,
    results: Vec<(I, EndingResult)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage<I> {
    Looking,
    Ending(Ending<I>, Vec<Sign<I>>),
    Over(Option<I>),
}

impl<I: Clone> Recovery<I> {
    /// A recovery. With `force`, exports that seem alive are ended, too.
    pub fn new(id: I, force: bool) -> Self {
        Self {
            id,
            force,
            stage: Stage::Looking,
            results: Vec::new(),
        }
    }

    /// The first requests.
    pub fn start(&self) -> Vec<Request<I>> {
        vec![Request::new(&self.id, Action::Survey)]
    }

    /// What became of each export, so far.
    pub fn results(&self) -> &[(I, EndingResult)] {
        &self.results
    }

    /// The export that is alive and prevents the recovery.
    pub fn living(&self) -> Option<&I> {
        match &self.stage {
            Stage::Over(living) => living.as_ref(),
            _ => None,
        }
    }

    /// Takes the answers to the last requests, in their order, and returns the next requests; none
    /// if the recovery is over.
    pub fn next(&mut self, answers: &[Answer<I>]) -> Vec<Request<I>> {
        match std::mem::replace(&mut self.stage, Stage::Over(None)) {
            Stage::Looking => {
                let [Answer::Seen(survey)] = answers else {
                    return Vec::new();
                };
                let mut signs = survey.others.clone();
                if let Some(living) = signs.iter().find(|sign| !sign.silent && !self.force) {
                    self.stage = Stage::Over(Some(living.id.clone()));
                    return Vec::new();
                }
                // Decided exports first: their uploads are the only copy of their rows.
                signs.sort_by_key(|sign| sign.committed);
                self.end_next(signs)
            }
            Stage::Ending(mut ending, signs) => {
                let requests = ending.next(answers);
                match ending.result() {
                    None => {
                        self.stage = Stage::Ending(ending, signs);
                        requests
                    }
                    Some(result) => {
                        self.results.push((ending.id().clone(), result));
                        self.end_next(signs)
                    }
                }
            }
            over @ Stage::Over(_) => {
                self.stage = over;
                Vec::new()
            }
        }
    }

    /// `signs` holds the exports left to end, the next one last.
    fn end_next(&mut self, mut signs: Vec<Sign<I>>) -> Vec<Request<I>> {
        let Some(sign) = signs.pop() else {
            return Vec::new();
        };
        let mut ending = Ending::new(&sign);
        let requests = ending.next(&[]);
        self.stage = Stage::Ending(ending, signs);
        requests
    }
}
