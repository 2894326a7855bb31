//! The outcomes of an export as errors for the user.
//!
//! Invariant: an error says whether the export's objects are there, and if anything is left, how to
//! remove it.

use tidegate_commit::{Answer, EndingResult, Exporter, Outcome, Reason};

use super::execute::{Executor, describe, in_use};
use super::heartbeat::taken_for_dead;
use super::ledger::Ledger;
use super::look::list_obsolete;
use super::recover::stuck;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::mode::Mode;

impl Mode {
    /// The mode, as far as the protocol needs it.
    fn of_protocol(self) -> tidegate_commit::Mode {
        match self {
            Self::Error => tidegate_commit::Mode::Error,
            Self::Append => tidegate_commit::Mode::Append,
            Self::Overwrite | Self::OverwritePartitions => tidegate_commit::Mode::Overwrite,
        }
    }
}

/// How often an export waits for others that claimed the target at the same moment.
const MOST_WAITS: u8 = 12;

/// The machine of the export that `ledger` is about.
pub(crate) fn machine(ledger: &Ledger) -> Exporter<String> {
    let mode = ledger.spec().mode.of_protocol();
    Exporter::new(ledger.id().to_owned(), mode, MOST_WAITS)
}

/// Why an export was not decided. `None` if it was cancelled.
pub(crate) fn refusal(
    ledger: &Ledger,
    executor: &Executor,
    reason: &Reason<String>,
) -> Option<Error> {
    let target = &ledger.spec().target;
    let folder = target.with_file(None);
    Some(match reason {
        Reason::Cancelled => return None,
        Reason::Request => failure(executor),
        Reason::Fenced => taken_for_dead(ledger),
        Reason::Occupied => occupied(ledger, executor),
        Reason::InUse(id) => {
            let note = executor.found(id).and_then(|found| found.note);
            let holder = match note {
                Some(note) => describe(id, &note.started),
                None => format!("export {id}"),
            };
            in_use(&folder, &holder)
        }
        Reason::Unended(id, EndingResult::Stuck) => {
            let replaces = executor.intent(id).is_none_or(|intent| intent.replaces);
            stuck(executor, &folder, id, replaces)
        }
        Reason::Unended(_, _) => failure(executor),
    })
}

/// The error of a request that failed.
pub(crate) fn failure(executor: &Executor) -> Error {
    executor.take_failure().unwrap_or_else(|| {
        Error::new(
            ErrorKind::DataCorrupted,
            "the upload of a file is gone and did not become an object",
        )
        .with_hint("a lifecycle rule or another program aborted it")
    })
}

fn occupied(ledger: &Ledger, executor: &Executor) -> Error {
    let target = &ledger.spec().target;
    let url = executor.store().url(&executor.data().unwrap_or_default());
    let error = match target.file() {
        Some(_) => Error::new(ErrorKind::TargetInUse, format!("the target {url} exists"))
            .with_hint("choose another target, or MODE = 'overwrite'"),
        None => Error::new(
            ErrorKind::TargetInUse,
            format!("the target {target} is not empty: it has {url}"),
        )
        .with_hint("choose another target, or MODE = 'append' or 'overwrite'"),
    };
    // The user must know that this statement has finished an earlier export.
    match executor.finished().as_slice() {
        [] => error,
        finished => {
            let hint = error.hint().unwrap_or_default().to_owned();
            error.with_hint(format!("this statement {}; {hint}", finished.join(" and ")))
        }
    }
}

/// The error of a decided export that another process has ended.
pub(crate) fn taken(ledger: &Ledger) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!(
            "another process declared the export to {} dead and ended it; it is not known whether \
             its rows are there",
            ledger.spec().target
        ),
    )
    .with_hint("check the target: the other process finished or removed the export")
}

/// The error of an export whose outcome is not known.
pub(crate) fn outcome_unknown(ledger: &Ledger, executor: &Executor) -> Error {
    let cause = failure(executor);
    let message = format!(
        "{}; it is not known whether the objects of {} are or will be there",
        cause.message(),
        ledger.spec().target,
    );
    let recover = &ledger.spec().recover_statement;
    Error::new(ErrorKind::OutcomeUnknown, message)
        .with_hint(format!("finish or remove it: {recover}"))
        .with_source(cause)
}

/// The error of an export that is complete, but not cleaned up.
pub(crate) fn cleanup_failed(ledger: &Ledger, executor: &Executor) -> Error {
    let cause = failure(executor);
    let message = format!(
        "every object is there, but cleaning up after the export to {} failed: {}",
        ledger.spec().target,
        cause.message()
    );
    let recover = &ledger.spec().recover_statement;
    Error::new(ErrorKind::CleanupFailed, message)
        .with_hint(format!("finish it: {recover}"))
        .with_source(cause)
}

/// Checks the target as an export does, but changes nothing: leftovers of dead exports stay. It
/// can't check the permission to write, because only a write shows it.
///
/// # Errors
/// The target is not empty, another export holds it, or the store refuses to list or delete there.
pub(crate) async fn inspect_target(ledger: &Ledger, executor: &Executor) -> Result<()> {
    let mut machine = machine(ledger);
    let mut answers = executor.run(&machine.start()).await;
    // Dead exports would be ended first.
    if let [Answer::Seen(survey)] = answers.as_mut_slice() {
        survey.others.retain(|other| !other.silent);
    }
    machine.next(&answers);
    if let Some(Outcome::Undone { reason, .. }) = machine.outcome()
        && let Some(error) = refusal(ledger, executor, reason)
    {
        return Err(error);
    }
    match ledger.spec().mode.replaces() {
        true => list_obsolete(ledger).await,
        false => Ok(()),
    }
}
