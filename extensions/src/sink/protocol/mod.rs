//! The commit protocol, which makes an export all or nothing.
//!
//! Invariant: only the machines of [`tidegate_commit`] decide what an export, or a process that
//! ends it, does next. This module executes their requests.
//!
//! | module | contents |
//! |---|---|
//! | `bookkeeping` | the small objects that describe an export to other processes |
//! | `journal` | the keys of files whose uploads may be pending |
//! | `ledger` | the requests that one export has sent |
//! | `lock` | detect most races between exports early |
//! | `heartbeat` | show other processes that the export is alive |
//! | `survey` | find the exports of other processes under a target |
//! | `look` | check the target before an export may write there |
//! | `uploads` | find and abort pending uploads |
//! | `files` | complete, find and withdraw the files of a decided export |
//! | `manifest` | the list of objects that a finished export may leave |
//! | `execute` | execute the requests of the machines |
//! | `refusal` | outcomes as errors for the user |
//! | `recover` | `RECOVER EXPORT` |
//!
//! `docs/commit-protocol.md` describes the protocol and its limits.

mod bookkeeping;
pub(super) mod execute;
mod files;
pub(super) mod heartbeat;
mod journal;
pub(super) mod ledger;
mod lock;
mod look;
mod manifest;
pub(super) mod recover;
pub(super) mod refusal;
mod survey;
mod uploads;

use super::target::Target;
#[cfg(any(test, fuzzing))]
pub(crate) use bookkeeping::check_bookkeeping;

/// The key of the manifest of the export `id` to `target`.
pub(super) fn manifest_key(target: &Target, id: &str) -> String {
    bookkeeping::Keys::new(target).manifest(id)
}
