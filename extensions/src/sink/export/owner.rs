//! The task that owns an export.
//!
//! Invariant: only this task claims the target, commits and rolls back, in sequence. Writers and
//! the sink request a phase and wait. Dropping them interrupts nothing that the owner has begun.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tidegate_commit::{Action, Answer, Mark, Outcome, Request};

use super::Export;
use super::phase::{Ending, Phase};
use crate::error::{Error, ErrorKind};
use crate::sink::protocol::execute::Executor;
use crate::sink::protocol::heartbeat::Heartbeat;
use crate::sink::protocol::refusal::{
    cleanup_failed, failure, machine, outcome_unknown, refusal, taken,
};
use crate::sink::staged::StagedFile;

/// Drives an export from its claim to its end.
pub(super) async fn own(export: Arc<Export>) {
    let mut unended = EndOnDrop(Some(Arc::clone(&export)));
    let ending = drive(&export).await;
    unended.0 = None;
    export.phase.send_replace(Phase::Ended(ending));
}

/// Ends an export whose owner was dropped, because its runtime was shut down or because the owner
/// panicked. Otherwise, callers would wait for the end of such an export without limit.
struct EndOnDrop(Option<Arc<Export>>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let Some(export) = self.0.take() else {
            return;
        };
        let is_committing = export.is_committing();
        let cause = match is_committing {
            true => died(&export, ErrorKind::OutcomeUnknown),
            false => died(&export, ErrorKind::Internal),
        };
        export.note_cause(&cause);
        export.stopped.cancel();
        let mut leftovers = export.name_uploads();
        leftovers.push(format!("bookkeeping of {}", export.spec().target));
        export.reaper.remember(export.left(leftovers.clone()));
        export.phase.send_replace(Phase::Ended(match is_committing {
            true => Ending::Unknown(cause),
            false => Ending::RolledBack(leftovers),
        }));
    }
}

fn died(export: &Export, kind: ErrorKind) -> Error {
    let recover = &export.spec().recover_statement;
    Error::new(kind, "the task of the export died")
        .with_hint(format!("finish or remove it: {recover}"))
}

/// Runs the commit protocol's machine until the export is over.
async fn drive(export: &Arc<Export>) -> Ending {
    let executor = Executor::of_export(Arc::clone(&export.ledger));
    let mut machine = machine(&export.ledger);
    let mut heartbeat = None;
    let mut requests = machine.start();
    loop {
        while !requests.is_empty() {
            make_way(export, &requests, &mut heartbeat).await;
            let answers = run(&executor, &requests).await;
            if requests[0].action == Action::Claim {
                heartbeat = Some(start_heartbeat(export));
            }
            if export.phase.borrow().is_stopped() {
                machine.cancel();
            }
            requests = machine.next(&answers);
            executor.note_finished(machine.finished());
            // The cause is recorded before the writers are stopped, because they fail as cancelled.
            let cause = match machine.undoing() {
                Some(reason) => refusal(&export.ledger, &executor, reason),
                None => machine.rolls_back().then(|| failure(&executor)),
            };
            if let Some(cause) = cause {
                export.note_cause(&cause);
            }
            if machine.may_query() {
                let _ = export.notices.set(executor.finished());
                export.advance(|phase| matches!(phase, Phase::Claiming), Phase::Claimed);
            }
        }
        if let Some(outcome) = machine.outcome() {
            if let Some(heartbeat) = heartbeat.take() {
                heartbeat.stop().await;
            }
            return end(export, &executor, outcome).await;
        }
        export.advance(|phase| matches!(phase, Phase::Claimed), Phase::Writing);
        requests = match wait_for_files(export).await {
            Some(files) => {
                let count = files.len();
                export.ledger.set_files(files);
                machine.commit(count)
            }
            None => machine.cancel(),
        };
    }
}

/// Executes requests. If the execution panics, the answers say that the store may have executed
/// each of them.
async fn run(executor: &Executor, requests: &[Request<String>]) -> Vec<Answer<String>> {
    let running = AssertUnwindSafe(executor.run(requests)).catch_unwind();
    running.await.unwrap_or_else(|panic| {
        executor.note_failure(Error::from_panic(panic.as_ref()));
        vec![Answer::Lost; requests.len()]
    })
}

/// Waits for work that must end before `requests` run: requests of writers before all uploads are
/// aborted, and heartbeats before `ALIVE` is removed.
async fn make_way(
    export: &Export,
    requests: &[Request<String>],
    heartbeat: &mut Option<Heartbeat>,
) {
    let is_own = |action: Action| {
        let mut own = requests
            .iter()
            .filter(|request| request.export == export.id());
        own.any(|request| request.action == action)
    };
    if is_own(Action::AbortUploads) {
        stop_writers(export).await;
    }
    if is_own(Action::Remove(Mark::Alive))
        && let Some(heartbeat) = heartbeat.take()
    {
        heartbeat.stop().await;
    }
}

/// Prevents new requests of writers, and waits until none is under way.
async fn stop_writers(export: &Export) {
    export.stop(Phase::accepts_requests);
    export.operations.close();
    export.operations.wait().await;
}

fn start_heartbeat(export: &Arc<Export>) -> Heartbeat {
    let weak = Arc::downgrade(export);
    Heartbeat::start(Arc::clone(&export.ledger), move |error| {
        if let Some(export) = weak.upgrade() {
            export.note_cause(&error);
            export.cancel();
        }
    })
}

/// Waits for the files to commit. `None` if the export was stopped.
async fn wait_for_files(export: &Export) -> Option<Vec<StagedFile>> {
    let mut phases = export.phase.subscribe();
    let over = |phase: &Phase| matches!(phase, Phase::Committing(_)) || phase.is_stopped();
    match phases.wait_for(over).await.as_deref() {
        Ok(Phase::Committing(files)) => Some(files.clone()),
        _ => None,
    }
}

async fn end(export: &Export, executor: &Executor, outcome: &Outcome<String>) -> Ending {
    let ledger = &export.ledger;
    let clean = match outcome {
        Outcome::Committed { clean }
        | Outcome::Undone { clean, .. }
        | Outcome::RolledBack { clean }
        | Outcome::Taken { clean } => *clean,
        Outcome::Unknown => false,
    };
    if !clean {
        executor.note_end().await;
    }
    let cause = match outcome {
        Outcome::Committed { .. } => {
            let files = executor.committed(export.id(), &ledger.files());
            let _ = export.committed.set(files);
            if !clean {
                export.reaper.remember(export.left(Vec::new()));
            }
            return Ending::Committed((!clean).then(|| cleanup_failed(ledger, executor)));
        }
        Outcome::Unknown => {
            export.reaper.remember(export.left(Vec::new()));
            return Ending::Unknown(outcome_unknown(ledger, executor));
        }
        Outcome::Taken { .. } => return Ending::Unknown(taken(ledger)),
        Outcome::Undone { reason, .. } => refusal(ledger, executor, reason),
        Outcome::RolledBack { .. } => Some(failure(executor)),
    };
    if let Some(cause) = cause {
        export.note_cause(&cause);
    }
    stop_writers(export).await;
    let mut leftovers = executor.leftovers();
    if !clean {
        if leftovers.is_empty() {
            leftovers.push(format!("bookkeeping of {}", export.spec().target));
        }
        tracing::warn!(export = %export.id(), ?leftovers, "left behind");
        export.reaper.remember(export.left(leftovers.clone()));
        return Ending::RolledBack(leftovers);
    }
    Ending::RolledBack(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::execution::TaskContext;
    use futures::future::BoxFuture;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::error::Result;
    use crate::format::{ParquetFormat, ParquetOptions};
    use crate::memory::ExportMemory;
    use crate::sink::budget::ByteBudget;
    use crate::sink::export::{CancelOnDrop, Reaper};
    use crate::sink::mode::Mode;
    use crate::sink::protocol::recover::recover_exports;
    use crate::sink::spec::ExportSpec;
    use crate::sink::store::LocalUploadStore;
    use crate::sink::target::Target;
    use crate::sink::write::FileWriter;

    const PART_BYTES: usize = 1 << 20;

    /// Requests of a process that was killed may still be executed for this long, on a busy machine.
    const LATE_REQUESTS: Duration = Duration::from_millis(100);

    fn plan_export(folder: &std::path::Path) -> (Arc<Export>, Reaper) {
        let target = Target::parse(&folder.display().to_string()).unwrap();
        let schema = SchemaRef::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let store = LocalUploadStore::new(&target, PART_BYTES);
        let spec = ExportSpec {
            target,
            mode: Mode::Error,
            force: false,
            statement: String::new(),
            recover_statement: "RECOVER EXPORT 'x'".to_owned(),
            input_schema: SchemaRef::clone(&schema),
            schema,
            partition: None,
            writers: 1,
            format: Arc::new(ParquetFormat::new(ParquetOptions::default(), u64::MAX)),
            max_file_bytes: u64::MAX,
            part_bytes: PART_BYTES,
            manifest: false,
            memory: ExportMemory::default(),
            moved: None,
        };
        let (budget, reaper) = (ByteBudget::new(PART_BYTES), Reaper::new());
        let export = Export::new(spec, Arc::new(store), budget, reaper.clone());
        (Arc::new(export), reaper)
    }

    /// The owner's task, under the control of a test.
    struct Controlled {
        owner: Option<BoxFuture<'static, ()>>,
        /// How often it is polled before it is stopped: once more than it has waited.
        polls: usize,
        /// Cancelled when it is stopped.
        stopped: CancellationToken,
        /// When this ends, the owner continues. `None` drops the owner, as a killed process does.
        resumed: Option<BoxFuture<'static, ()>>,
    }

    impl Future for Controlled {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if self.polls == 0 {
                self.stopped.cancel();
                match &mut self.resumed {
                    Some(resumed) => futures::ready!(resumed.poll_unpin(cx)),
                    None => drop(self.owner.take()),
                }
                self.polls = usize::MAX;
            }
            self.polls -= 1;
            match &mut self.owner {
                Some(owner) => owner.poll_unpin(cx),
                None => Poll::Pending,
            }
        }
    }

    /// Exports an empty result.
    async fn run(export: Arc<Export>) -> Result<u64> {
        export.confirmed().await?;
        let context = Arc::new(TaskContext::default());
        let files = FileWriter::stage_empty_file(Arc::clone(&export), &context).await?;
        export.commit(files).await
    }

    /// The data files in a folder. Bookkeeping must be gone.
    fn files_in(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(!names.iter().any(|name| name == "_tidegate"), "{names:?}");
        names
    }

    /// A statement may be dropped while one of its writers, on another thread, is about to begin.
    #[tokio::test]
    async fn what_was_cancelled_does_not_begin() {
        let root = tempfile::tempdir().unwrap();
        let (export, reaper) = plan_export(&root.path().join("target"));
        drop(CancelOnDrop::new(Arc::clone(&export)));
        assert!(reaper.drain(Duration::from_secs(60)).await);
        let error = export.begin().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    /// The process dies at each await of the owner. `RECOVER EXPORT` finishes or removes the
    /// export.
    #[tokio::test]
    async fn an_owner_that_dies_anywhere_is_recovered_from() {
        let mut seen = BTreeSet::new();
        for polls in 0.. {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("target");
            let (export, _reaper) = plan_export(&folder);
            let stopped = CancellationToken::new();
            export.start(|owner| {
                tokio::spawn(Controlled {
                    owner: Some(owner),
                    polls,
                    stopped: stopped.clone(),
                    resumed: None,
                });
            });
            let finished = tokio::select! {
                biased;
                () = stopped.cancelled() => None,
                result = run(Arc::clone(&export)) => Some(result.unwrap()),
            };
            if finished.is_some() {
                assert_eq!(files_in(&folder).len(), 1);
                assert_eq!(seen, BTreeSet::from(["completed", "removed"]), "{polls}");
                return;
            }
            tokio::time::sleep(LATE_REQUESTS).await;
            let store = Arc::clone(export.store());
            let recovered = recover_exports(store, &export.spec().target, true).await;
            let actions = match &recovered {
                Ok(recovered) => recovered.iter().map(|one| one.action).collect(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::UndefinedObject, "{polls}: {error}");
                    Vec::new()
                }
            };
            let files = files_in(&folder).len();
            match actions.as_slice() {
                ["completed"] => assert_eq!(files, 1, "{polls}"),
                ["removed"] => assert_eq!(files, 0, "{polls}"),
                // It died before it wrote anything, or after it removed its bookkeeping.
                [] => assert!(files <= 1, "{polls}"),
                other => panic!("{polls}: {other:?}"),
            }
            seen.extend(actions);
        }
    }

    /// The export is cancelled while the owner is stopped at each of its awaits. It is either
    /// complete or gone.
    #[tokio::test]
    async fn an_owner_that_is_cancelled_anywhere_leaves_all_or_nothing() {
        for polls in 0.. {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("target");
            let (export, reaper) = plan_export(&folder);
            let (stopped, resumed) = (CancellationToken::new(), CancellationToken::new());
            let controlled = |owner| Controlled {
                owner: Some(owner),
                polls,
                stopped: stopped.clone(),
                resumed: Some(resumed.clone().cancelled_owned().boxed()),
            };
            export.start(|owner| drop(tokio::spawn(controlled(owner))));
            let running = tokio::spawn(run(Arc::clone(&export)));
            tokio::select! {
                () = export.wait_until_over() => {}
                () = stopped.cancelled() => {}
            }
            let is_stopped = stopped.is_cancelled();
            export.cancel();
            resumed.cancel();
            let result = running.await.unwrap();
            assert!(reaper.drain(Duration::from_secs(60)).await);
            export.wait_until_over().await;
            let files = files_in(&folder);
            assert_eq!(
                files.len(),
                usize::from(result.is_ok()),
                "{polls}: {files:?}"
            );
            assert_eq!(export.report().is_some(), result.is_ok());
            assert_eq!(export.leftovers(), None);
            if !is_stopped {
                assert!(polls > 5, "the owner waited only {polls} times");
                return;
            }
        }
    }
}
