//! A statement on its way.
//!
//! Invariant: dropping an execution cancels its statement; an export then leaves nothing behind.
//! [`Execution::cancel`] also waits until that is so.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use tidegate_extensions::sink::ExportReport;
use tidegate_extensions::{Error, ErrorKind, Location, Result};
use tokio_util::sync::CancellationToken;

use crate::outcome::{Outcome, Tag};
use crate::progress::Progress;

/// How long a cancelled statement may take to clean up.
const CLEAN_UP: Duration = Duration::from_millis(4500);

/// Where `COPY … TO STDOUT` has the number of rows and their lines.
const LINES_ROWS_COLUMN: usize = 0;
const LINES_COLUMN: usize = 1;

/// Where `RETURN = 'files'` has the number of rows.
const FILES_ROWS_COLUMN: usize = 1;

/// A statement that has been planned and started; its rows are to be fetched.
///
/// ```
/// # use tidegate::{Engine, Error};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let session = Engine::builder().build()?.session();
/// let mut execution = session.start("SELECT * FROM generate_series(1, 100000)").await?;
/// let progress = execution.progress().clone();
/// let mut rows = 0;
/// while let Some(batch) = execution.next().await? {
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
    cancelled: CancellationToken,
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
            cancelled: CancellationToken::new(),
        }
    }

    /// The statement is cancelled when `token` is: [`Self::next`] then waits for clean-up, five
    /// seconds at most, and returns [`ErrorKind::Cancelled`].
    #[must_use]
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancelled = token;
        self
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether its rows are for the user: a query's are, the count of a `COPY` is not.
    pub fn returns_rows(&self) -> bool {
        let counts = matches!(self.tag, Tag::Count(_) | Tag::Lines(_));
        !counts && !self.schema.fields().is_empty()
    }

    /// Whether it is a `COPY … TO STDOUT`, for [`Self::copy_lines`].
    pub fn returns_lines(&self) -> bool {
        matches!(self.tag, Tag::Lines(_))
    }

    /// The next rows; none at the statement's end.
    ///
    /// # Errors
    /// What failed, on what, why, and what to do.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let token = self.cancelled.clone();
        let next = tokio::select! {
            biased;
            () = token.cancelled() => return Err(self.stop().await),
            next = self.rows.next() => next,
        };
        match next {
            None => {
                self.progress.end();
                Ok(None)
            }
            Some(Ok(batch)) => {
                self.returned += batch.num_rows() as u64;
                self.counted += match self.tag {
                    Tag::Count(_) => sum_of(&batch, 0),
                    Tag::Files(_) => sum_of(&batch, FILES_ROWS_COLUMN),
                    Tag::Lines(_) => sum_of(&batch, LINES_ROWS_COLUMN),
                    Tag::Plain(_) | Tag::Rows(_) => 0,
                };
                Ok(Some(batch))
            }
            Some(Err(error)) => {
                self.progress.end();
                Err(Error::from(error).at(self.location))
            }
        }
    }

    /// Runs it to its end and keeps its rows in memory.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn collect(mut self) -> Result<Outcome> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
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

    /// Writes the lines of a `COPY … TO STDOUT`, batch by batch.
    ///
    /// # Errors
    /// As [`Self::next`], or `out` can't be written.
    pub async fn copy_lines(&mut self, out: &mut (dyn Write + Send)) -> Result<()> {
        while let Some(batch) = self.next().await? {
            let lines = batch.column(LINES_COLUMN).as_binary_opt::<i32>();
            for text in lines.into_iter().flatten().flatten() {
                out.write_all(text).map_err(not_written)?;
            }
        }
        out.flush().map_err(not_written)
    }

    /// The command tag, as PostgreSQL has them; its numbers are final once [`Self::next`] has
    /// returned none.
    pub fn tag(&self) -> String {
        match &self.tag {
            Tag::Plain(words) => words.clone(),
            Tag::Rows(words) => format!("{words} {}", self.returned),
            Tag::Count(words) | Tag::Files(words) | Tag::Lines(words) => {
                format!("{words} {}", self.counted)
            }
        }
    }

    /// What an export wrote, once it is committed.
    pub fn export_report(&self) -> Option<ExportReport> {
        self.progress.export()?.report()
    }

    /// Cancels the statement and waits until everything is cleaned up, five seconds at most.
    /// Returns the error to show: [`ErrorKind::Cancelled`], which names what a store did not
    /// confirm to be gone.
    pub async fn cancel(mut self) -> Error {
        self.stop().await
    }

    async fn stop(&mut self) -> Error {
        let empty = datafusion::physical_plan::EmptyRecordBatchStream::new(self.schema.clone());
        self.rows = Box::pin(empty);
        self.progress.end();
        let cancelled = |why: &str| Error::new(ErrorKind::Cancelled, why).at(self.location);
        let Some(export) = self.progress.export() else {
            return cancelled("the statement was cancelled");
        };
        let _ = tokio::time::timeout(CLEAN_UP, export.wait_until_over()).await;
        if let Some(report) = export.report() {
            let rows = report.rows;
            return cancelled(&format!(
                "too late to cancel: the export had been written and was completed, with {rows} rows"
            ));
        }
        let cancelled = cancelled("the export was cancelled");
        match export.leftovers() {
            None => cancelled,
            Some(left) => cancelled.with_hint(format!(
                "the store did not confirm that everything was removed; to remove it later: {}",
                left.recover
            )),
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.progress.end();
    }
}

fn sum_of(batch: &RecordBatch, column: usize) -> u64 {
    let counts = batch.column(column).as_primitive_opt::<UInt64Type>();
    counts.map_or(0, |counts| counts.iter().flatten().sum())
}

fn not_written(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("can't write the result: {error}")).with_source(error)
}
