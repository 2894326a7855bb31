//! A running statement.
//!
//! Invariant: dropping an execution cancels its statement. An export that has not begun to commit
//! is then rolled back. [`Execution::cancel`] also waits for the rollback, five seconds at most.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{EmptyRecordBatchStream, ExecutionPlan};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tidegate_extensions::notices::Notices;
use tidegate_extensions::sink::{Export, ExportReport, Unfinished};
use tidegate_extensions::{Error, ErrorKind, Location, Result};
use tokio_util::sync::CancellationToken;

use crate::outcome::{Outcome, Tag};
use crate::panics::caught_now;
use crate::progress::Progress;

/// How long a cancelled statement, or a program that ends, waits for clean-up.
pub const CLEAN_UP: Duration = Duration::from_millis(4500);

/// The columns that `COPY … TO STDOUT` returns: the number of rows in a value, and the value.
const LINES_ROWS_COLUMN: usize = 0;
const LINES_COLUMN: usize = 1;

/// The column of `RETURN = 'files'` with the number of rows in a file.
const FILES_ROWS_COLUMN: usize = 1;

/// A statement that has been planned and started, as a stream of its rows.
///
/// ```
/// use futures::TryStreamExt;
/// # use tidegate::{Engine, Error};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let session = Engine::builder().build()?.session()?;
/// let mut execution = session.start("SELECT * FROM generate_series(1, 100000)").await?;
/// let progress = execution.progress().clone();
/// let mut rows = 0;
/// while let Some(batch) = execution.try_next().await? {
///     rows += batch.num_rows();
/// }
/// assert_eq!(rows, 100_000);
/// assert!(progress.has_ended());
/// # Ok(())
/// # }
/// ```
pub struct Execution {
    tag: Tag,
    schema: SchemaRef,
    rows: SendableRecordBatchStream,
    returned: u64,
    counted: u64,
    location: Location,
    progress: Progress,
    notices: Notices,
    cancelled: BoxFuture<'static, ()>,
    /// The clean-up after a cancellation.
    stopping: Option<BoxFuture<'static, Cancellation>>,
}

/// The result of cancelling a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It was stopped. It was no export.
    Stopped,
    /// Its export was rolled back, and nothing of it is left.
    RolledBack,
    /// The cancellation came too late: the export is still being completed.
    Completing(Unfinished),
    /// The cancellation came too late: the export was committed.
    Committed(ExportReport),
    /// The statement was stopped. The store did not confirm in time that everything of its export
    /// is gone.
    Unconfirmed(Unfinished),
}

impl Cancellation {
    /// The error that a cancelled statement ends with: [`ErrorKind::Cancelled`].
    pub fn to_error(&self) -> Error {
        let cancelled = |why: String| Error::new(ErrorKind::Cancelled, why);
        match self {
            Self::Stopped => cancelled("the statement was cancelled".to_owned()),
            Self::RolledBack => cancelled("the export was cancelled".to_owned()),
            Self::Committed(report) => cancelled(format!(
                "too late to cancel: the export had been written and was completed, with {} rows",
                report.rows
            )),
            Self::Completing(left) => {
                cancelled("too late to cancel: the export is being completed".to_owned()).with_hint(
                    format!("if it does not end, finish it later: {}", left.recover),
                )
            }
            Self::Unconfirmed(left) => {
                cancelled("the export was cancelled".to_owned()).with_hint(format!(
                    "the store did not confirm that everything was removed; to remove it later: {}",
                    left.recover
                ))
            }
        }
    }
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution")
            .field("tag", &self.tag)
            .field("returned", &self.returned)
            .finish_non_exhaustive()
    }
}

impl Execution {
    pub(crate) fn new(
        tag: Tag,
        plan: Arc<dyn ExecutionPlan>,
        rows: SendableRecordBatchStream,
        location: Location,
    ) -> Self {
        Self {
            tag,
            schema: rows.schema(),
            rows,
            returned: 0,
            counted: 0,
            location,
            progress: Progress::new(plan),
            notices: Notices::default(),
            cancelled: futures::future::pending().boxed(),
            stopping: None,
        }
    }

    pub(crate) fn with_notices(mut self, notices: Notices) -> Self {
        self.notices = notices;
        self
    }

    /// What the user should know although the statement succeeds. Complete once the stream has ended.
    pub fn notices(&self) -> Vec<String> {
        let report = self.export_report();
        let of_export = report.into_iter().flat_map(|report| report.notices);
        self.notices.texts().into_iter().chain(of_export).collect()
    }

    /// Cancels the statement when `token` is cancelled. The stream then waits for clean-up, five
    /// seconds at most, and ends with [`ErrorKind::Cancelled`].
    #[must_use]
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancelled = token.cancelled_owned().boxed();
        self
    }

    /// The progress of the statement.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The schema of the statement's rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether the rows are a result to show: true for a query, false for the row count of a
    /// `COPY`.
    pub fn returns_rows(&self) -> bool {
        self.tag.returns_rows() && !self.schema.fields().is_empty()
    }

    /// Whether the statement is a `COPY … TO STDOUT`, whose lines [`Self::next_lines`] returns.
    pub fn returns_lines(&self) -> bool {
        matches!(self.tag, Tag::Lines(_))
    }

    /// Runs the statement to its end and keeps its rows in memory.
    ///
    /// # Errors
    /// Any error of the statement. [`ErrorKind::Cancelled`] if its token was cancelled.
    pub async fn collect(mut self) -> Result<Outcome> {
        let mut batches = Vec::new();
        while let Some(batch) = self.try_next().await? {
            batches.push(batch);
        }
        if !self.returns_rows() && !self.returns_lines() {
            batches.clear();
        }
        let schema = match self.returns_rows() || self.returns_lines() {
            true => SchemaRef::clone(&self.schema),
            false => SchemaRef::new(arrow::datatypes::Schema::empty()),
        };
        Ok(Outcome::new(
            self.tag(),
            schema,
            batches,
            self.export_report(),
        ))
    }

    /// The next rows of a `COPY … TO STDOUT`, one in each value, in the format that the statement
    /// asks for. The header, if there is one, and the end of a binary result are values of their own;
    /// but a binary header stands in front of the first row. None at the end.
    ///
    /// # Errors
    /// Any error of the statement. [`ErrorKind::Cancelled`] if its token was cancelled.
    pub async fn next_lines(&mut self) -> Result<Option<BinaryArray>> {
        let batch = self.try_next().await?;
        Ok(batch.and_then(|batch| batch.column(LINES_COLUMN).as_binary_opt::<i32>().cloned()))
    }

    /// The command tag, as in PostgreSQL. Its row count is final once the stream has ended.
    pub fn tag(&self) -> String {
        match &self.tag {
            Tag::Plain(words) => words.clone(),
            Tag::Rows(words) => format!("{words} {}", self.returned),
            Tag::Count(words) | Tag::Files(words) | Tag::Lines(words) => {
                format!("{words} {}", self.counted)
            }
        }
    }

    /// The report of an export. None until the export is committed.
    pub fn export_report(&self) -> Option<ExportReport> {
        self.progress.export()?.report()
    }

    /// Cancels the statement and waits until everything is cleaned up, five seconds at most.
    pub async fn cancel(mut self) -> Cancellation {
        match self.stopping.take() {
            Some(stopping) => stopping.await,
            None => self.stop().await,
        }
    }

    fn stop(&mut self) -> BoxFuture<'static, Cancellation> {
        self.end();
        match self.progress.export().cloned() {
            Some(export) => clean_up(export).boxed(),
            None => futures::future::ready(Cancellation::Stopped).boxed(),
        }
    }

    /// Ends the statement: drops its rows, and cancels an export that has not begun to commit.
    fn end(&mut self) {
        self.rows = Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.schema)));
        self.cancelled = futures::future::pending().boxed();
        self.progress.end();
        if let Some(export) = self.progress.export() {
            export.cancel();
        }
    }

    fn count(&mut self, batch: &RecordBatch) {
        self.returned += batch.num_rows() as u64;
        self.counted += match self.tag {
            Tag::Count(_) => sum_of(batch, 0),
            Tag::Files(_) => sum_of(batch, FILES_ROWS_COLUMN),
            Tag::Lines(_) => sum_of(batch, LINES_ROWS_COLUMN),
            Tag::Plain(_) | Tag::Rows(_) => 0,
        };
    }
}

/// Waits until a cancelled export has ended, and returns how it ended.
async fn clean_up(export: Arc<Export>) -> Cancellation {
    let _ = tokio::time::timeout(CLEAN_UP, export.wait_until_over()).await;
    match (export.report(), export.leftovers()) {
        (Some(report), _) => Cancellation::Committed(report),
        (None, Some(left)) if export.is_committing() => Cancellation::Completing(left),
        (None, Some(left)) => Cancellation::Unconfirmed(left),
        (None, None) => Cancellation::RolledBack,
    }
}

/// The batches of the statement's rows. The last item of a statement that failed is its error.
impl Stream for Execution {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.stopping.is_none() && this.cancelled.poll_unpin(cx).is_ready() {
            this.stopping = Some(this.stop());
        }
        if let Some(stopping) = &mut this.stopping {
            let cancellation = ready!(stopping.poll_unpin(cx));
            this.stopping = None;
            return Poll::Ready(Some(Err(cancellation.to_error().at(this.location))));
        }
        let polled = caught_now(|| this.rows.poll_next_unpin(cx));
        let next = match polled {
            Ok(polled) => ready!(polled).map(|batch| batch.map_err(Error::from)),
            Err(panicked) => Some(Err(panicked)),
        };
        Poll::Ready(match next {
            None => {
                this.end();
                None
            }
            Some(Ok(batch)) => {
                this.count(&batch);
                Some(Ok(batch))
            }
            Some(Err(error)) => {
                this.end();
                Some(Err(error.at(this.location)))
            }
        })
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.end();
    }
}

fn sum_of(batch: &RecordBatch, column: usize) -> u64 {
    let counts = batch.column(column).as_primitive_opt::<UInt64Type>();
    counts.map_or(0, |counts| counts.iter().flatten().sum())
}
