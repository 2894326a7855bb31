//! The files of a decided export.
//!
//! Invariant: a file is [`File::Object`] only after the store said so, and [`File::Gone`] only if it
//! never becomes an object.

use crate::{Action, Answer, Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum File {
    /// Its upload may be pending.
    Open,
    /// It is an object.
    Object,
    /// Its upload is not pending, and it is no object.
    Gone,
}

/// What is known about each file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Files(Vec<File>);

impl Files {
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![File::Open; count])
    }

    pub(crate) fn open(&self) -> Vec<usize> {
        self.in_state(|file| file == File::Open)
    }

    /// Files that are objects or may become objects.
    pub(crate) fn possible(&self) -> Vec<usize> {
        self.in_state(|file| file != File::Gone)
    }

    fn in_state(&self, wanted: impl Fn(File) -> bool) -> Vec<usize> {
        let files = self.0.iter().enumerate();
        files
            .filter(|(_, file)| wanted(**file))
            .map(|(index, _)| index)
            .collect()
    }

    pub(crate) fn any_gone(&self) -> bool {
        self.0.contains(&File::Gone)
    }

    /// Marks each file of `asked` as an object if its request was answered with "done".
    pub(crate) fn completed<I>(&mut self, asked: &[usize], answers: &[Answer<I>]) {
        for (index, answer) in asked.iter().zip(answers) {
            if matches!(answer, Answer::Done) {
                self.0[*index] = File::Object;
            }
        }
    }

    /// Takes the answers to [`Action::Find`] about files whose upload is not pending.
    pub(crate) fn found<I>(&mut self, asked: &[usize], answers: &[Answer<I>]) {
        for (index, answer) in asked.iter().zip(answers) {
            match answer {
                Answer::Done => self.0[*index] = File::Object,
                Answer::Gone => self.0[*index] = File::Gone,
                _ => {}
            }
        }
    }
}

/// A request for each of an export's files or marks.
pub(crate) fn each<I: Clone, T: Copy>(
    export: &I,
    items: &[T],
    action: impl Fn(T) -> Action,
) -> Vec<Request<I>> {
    let requests = items.iter();
    requests
        .map(|item| Request::new(export, action(*item)))
        .collect()
}
