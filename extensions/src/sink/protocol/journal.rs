//! The journal of an export: the keys of its files, for stores that list pending uploads only by
//! their exact keys.
//!
//! Invariant: before an upload is created, an acknowledged bookkeeping object names its key. `ALIVE`
//! names the first file of each writer; journals name the others. Keys that arrive while a journal
//! is being written go into the next one together.
//!
//! MinIO is such a store: <https://github.com/minio/minio/issues/20989>

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bookkeeping::{FORMAT, JournalPage, MEDIA_TYPE, to_json};
use super::ledger::Ledger;
use crate::error::Result;

/// Keys that were announced, and keys that wait to be announced.
#[derive(Debug, Default)]
pub(super) struct Journal {
    waiting: Mutex<Waiting>,
    written: tokio::sync::Mutex<Written>,
}

#[derive(Debug, Default)]
struct Waiting {
    files: Vec<String>,
    /// How many keys have ever been added.
    added: u64,
    /// Pages that were added, by their first key, and how many keys had been added with each.
    pages: HashMap<String, u64>,
}

#[derive(Debug, Default)]
struct Written {
    /// How many keys are in journals.
    files: u64,
    /// How many journals may exist.
    pages: u32,
}

impl Journal {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once an acknowledged object names `files`. Several files are a page: each file of the
    /// page announces all of it.
    ///
    /// # Errors
    /// The store refuses to write the journal.
    pub(super) async fn announce(&self, ledger: &Ledger, mut files: Vec<String>) -> Result<()> {
        let page = files.first().filter(|_| files.len() > 1).cloned();
        let known = ledger.spec().first_files(ledger.id());
        files.retain(|file| !known.contains(file));
        if files.is_empty() {
            return Ok(());
        }
        let last = {
            let mut waiting = self.waiting();
            let announced = page.as_ref().and_then(|page| waiting.pages.get(page));
            match announced {
                Some(last) => *last,
                None => {
                    waiting.added += files.len() as u64;
                    waiting.files.extend(files);
                    let last = waiting.added;
                    waiting.pages.extend(page.map(|page| (page, last)));
                    last
                }
            }
        };
        let mut written = self.written.lock().await;
        if written.files >= last {
            return Ok(());
        }
        let (files, added) = {
            let mut waiting = self.waiting();
            (std::mem::take(&mut waiting.files), waiting.added)
        };
        let number = written.pages;
        written.pages += 1;
        let page = JournalPage {
            format: FORMAT,
            files,
        };
        let key = ledger.keys().journal(ledger.id(), number);
        let put = ledger.store().put(&key, to_json(&page)?, MEDIA_TYPE, false);
        match put.await {
            Ok(_) => {
                written.files = added;
                Ok(())
            }
            Err(error) => {
                // Another caller that waits for these keys tries again.
                self.waiting().files.extend(page.files);
                Err(error.into())
            }
        }
    }

    /// How many journals may exist.
    pub(super) async fn pages(&self) -> u32 {
        self.written.lock().await.pages
    }
}
