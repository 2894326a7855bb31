//! The progress of a statement.
//!
//! Invariant: taking a snapshot blocks no operator. It only reads the plan's statistics and
//! counters that the operators keep anyway. A statement may end while it is watched.

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
    /// Computed on first use.
    rows_total: Arc<OnceLock<Option<u64>>>,
    started: Instant,
    ended: Arc<AtomicBool>,
}

/// The progress of a statement at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The time since the statement was started.
    pub elapsed: Duration,
    /// Rows read from tables and files.
    pub rows_read: u64,
    /// Rows in those tables and files. None if their statistics are missing.
    pub rows_total: Option<u64>,
    /// The progress of an export. None for other statements.
    pub export: Option<ExportSnapshot>,
}

/// The progress of an export at one moment. Nothing can be seen under the target before the export
/// commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSnapshot {
    /// Rows given to the encoders.
    pub rows: u64,
    /// Encoded bytes that the store has confirmed.
    pub bytes: u64,
    /// Files that are staged completely.
    pub files: u64,
    /// Parts in flight to the store.
    pub parts_in_flight: usize,
}

impl Snapshot {
    /// The share of the rows that have been read, between 0 and 1. None if it is unknown: before
    /// the first row, without statistics, and for tables in memory, which do not count the rows
    /// that they return.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.rows_total.filter(|total| *total > 0)?;
        if self.rows_read == 0 {
            return None;
        }
        Some((self.rows_read as f64 / total as f64).min(1.0))
    }

    /// The time that the rest will take at the pace so far. None if it can't be estimated.
    pub fn time_left(&self) -> Option<Duration> {
        // Once all rows have been read, the remaining time can't be estimated.
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

    /// The progress of the statement at this moment.
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

    /// Whether the statement has ended, successfully or not.
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

/// The number of rows that the plan's sources have returned.
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

/// The number of rows in the plan's sources. None if any of them does not know it.
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
