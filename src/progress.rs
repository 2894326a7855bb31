//! How far a statement has come.
//!
//! Invariant: watching delays nobody: every number is read from counters that the operators keep
//! anyway, and a watched statement may end at any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use datafusion::common::stats::Precision;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use futures::Stream;
use tidegate_extensions::plan::find_export;
use tidegate_extensions::sink::Export;

/// Watches a statement. Clones watch the same one.
#[derive(Debug, Clone)]
pub struct Progress {
    plan: Arc<dyn ExecutionPlan>,
    export: Option<Arc<Export>>,
    /// Looked up when it is first asked for.
    rows_total: Arc<OnceLock<Option<u64>>>,
    started: Instant,
    ended: Arc<AtomicBool>,
}

/// How far a statement had come at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Since the statement was started.
    pub elapsed: Duration,
    /// Rows read from tables and files.
    pub rows_read: u64,
    /// Rows in those tables and files, where their statistics tell.
    pub rows_total: Option<u64>,
    /// What an export has written so far.
    pub export: Option<ExportSnapshot>,
}

/// What an export had written at one moment. None of it can be seen under the target before the
/// export commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSnapshot {
    /// Rows given to the encoders.
    pub rows: u64,
    /// Encoded bytes that the store has confirmed.
    pub bytes: u64,
    /// Files that are staged whole.
    pub files: u64,
    /// Parts on their way to the store.
    pub parts_in_flight: usize,
}

impl Snapshot {
    /// The share of the rows that has been read, between 0 and 1, where it is known: not of tables in
    /// memory, which don't count what they hand out.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.rows_total.filter(|total| *total > 0)?;
        if self.rows_read == 0 {
            return None;
        }
        Some((self.rows_read as f64 / total as f64).min(1.0))
    }

    /// The time that the rest will take at the pace so far, where that can be told.
    pub fn time_left(&self) -> Option<Duration> {
        // Once everything has been read, nothing tells how long the rest takes.
        let done = self.fraction().filter(|done| (0.01..1.0).contains(done))?;
        Some(self.elapsed.mul_f64((1.0 - done) / done))
    }
}

impl Progress {
    pub(crate) fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            export: find_export(&plan).cloned(),
            rows_total: Arc::default(),
            plan,
            started: Instant::now(),
            ended: Arc::default(),
        }
    }

    /// How far the statement has come.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            elapsed: self.started.elapsed(),
            rows_read: rows_read(&self.plan),
            rows_total: *self.rows_total.get_or_init(|| rows_in_leaves(&self.plan)),
            export: self.export.as_ref().map(|export| {
                let progress = export.progress();
                ExportSnapshot {
                    rows: progress.rows(),
                    bytes: progress.bytes(),
                    files: progress.files(),
                    parts_in_flight: progress.parts_in_flight(),
                }
            }),
        }
    }

    /// A snapshot every `interval`, until the statement has ended. It needs a tokio runtime.
    pub fn stream(&self, interval: Duration) -> impl Stream<Item = Snapshot> + Send + 'static {
        let ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
        futures::stream::unfold((self.clone(), ticks), |(progress, mut ticks)| async move {
            ticks.tick().await;
            if progress.has_ended() {
                return None;
            }
            Some((progress.snapshot(), (progress, ticks)))
        })
    }

    /// Whether the statement has come to its end, one way or the other.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn export(&self) -> Option<&Arc<Export>> {
        self.export.as_ref()
    }
}

/// The rows that the plan's sources have handed out.
fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let children = plan.children();
    if children.is_empty() {
        let metrics = plan.metrics();
        return metrics
            .and_then(|metrics| metrics.output_rows())
            .unwrap_or(0) as u64;
    }
    children.into_iter().map(rows_read).sum()
}

/// The rows that the plan's sources have, if all of them know.
fn rows_in_leaves(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let children = plan.children();
    if children.is_empty() {
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
        return match statistics.ok()?.num_rows {
            Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows as u64),
            Precision::Absent => None,
        };
    }
    children.into_iter().map(rows_in_leaves).sum()
}
