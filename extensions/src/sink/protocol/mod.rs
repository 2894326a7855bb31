//! The commit protocol, which makes an export all or nothing.
//!
//! Invariant: before an export has written its `COMMIT`, none of its objects exists. If its process
//! dies, the bookkeeping tells any other process whether to finish or to remove the export.
//!
//! | module | step |
//! |---|---|
//! | `bookkeeping` | the small objects that describe an export to other processes |
//! | `ledger` | the requests that an export has sent, for rolling back |
//! | `claim` | check the target and claim it for one export |
//! | `heartbeat` | show other processes that the export is alive |
//! | `commit` | decide, complete every upload, remove the bookkeeping |
//! | `manifest` | the list of objects that a finished export may leave |
//! | `rollback` | undo an export of this process |
//! | `survey` | find the exports of other processes under a target |
//! | `uploads` | choose and abort pending uploads |
//! | `cleanup` | delete objects, remove bookkeeping, remove a dead export |
//! | `recover` | finish or remove an export whose process died |
//!
//! `docs/commit-protocol.md` describes the protocol and its limits.

pub(super) mod bookkeeping;
pub(super) mod claim;
mod cleanup;
pub(super) mod commit;
pub(super) mod heartbeat;
pub(super) mod ledger;
mod manifest;
pub(super) mod recover;
pub(super) mod rollback;
mod survey;
mod uploads;
