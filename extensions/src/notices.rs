//! Notices: what the user of a statement should know although it succeeds.
//!
//! Invariant: a notice belongs to the statement whose future adds it, or whose plan holds its
//! [`Notices`].

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static NOTICES: Notices;
}

/// Gives the text of a notice when the notices are read; `None` if there is nothing to say.
type Source = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The notices of a statement, shared by everything that runs for it.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<Source>>>);

impl Notices {
    /// Those of the statement that is being planned or run. If there is none, nobody reads them.
    pub fn of_statement() -> Self {
        NOTICES.try_with(Self::clone).unwrap_or_default()
    }

    /// Runs `work`, whose notices these are.
    pub async fn collect<F: Future>(&self, work: F) -> F::Output {
        NOTICES.scope(self.clone(), work).await
    }

    /// Adds a notice whose text is known only after the statement has run.
    pub(crate) fn add_later(&self, source: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.push(Arc::new(source));
    }

    /// The texts, each once: sentences without a full stop.
    pub fn texts(&self) -> Vec<String> {
        let sources = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut texts: Vec<String> = Vec::new();
        for text in sources.iter().filter_map(|source| source()) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

/// Adds a notice, a sentence without a full stop, to those of the statement. Does nothing if no
/// statement collects notices.
pub fn add_notice(notice: String) {
    Notices::of_statement().add_later(move || Some(notice.clone()));
}
