//! Prepared statements, and statements that return their rows piece by piece.
//!
//! Invariant: at most one batch of a statement's rows is kept, however slowly the client takes them.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow;
use futures::TryStreamExt;
use tidegate::{CancellationToken, CopyOut, Execution, Planned};
use tidegate_extensions::format::postgres::{PgRows, ValueFormat};
use tidegate_extensions::sink::ExportReport;
use tidegate_extensions::sql::{ScriptStatement, SessionCommand};
use tokio::io::AsyncWrite;

use super::fault::{Fault, Stop};
use super::pg_catalog::{CatalogPlan, CatalogQuery};
use super::reply::Replies;

/// What a statement is, before it is planned.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A text without a statement.
    Empty,
    /// A statement about the session.
    Command(SessionCommand),
    /// A query of the catalog.
    Catalog(CatalogQuery),
    /// A statement for the planner.
    Statement(ScriptStatement),
}

/// A planned statement.
pub(super) enum Plan {
    Statement(Planned),
    Catalog(CatalogPlan),
}

impl Plan {
    /// The columns of the rows that it returns; `None` if it returns none.
    pub(super) fn columns(&self) -> Option<&Schema> {
        match self {
            Self::Statement(planned) => planned.columns(),
            Self::Catalog(plan) => Some(&plan.schema),
        }
    }

    /// Whether it may change something.
    pub(super) fn has_effect(&self) -> bool {
        match self {
            Self::Statement(planned) => planned.has_effect(),
            Self::Catalog(_) => false,
        }
    }
}

/// A prepared statement.
pub(super) struct Prepared {
    /// The text that the client sent, for the positions of errors.
    pub(super) text: Arc<str>,
    pub(super) kind: Kind,
    /// The types of its parameters.
    pub(super) types: Vec<u32>,
    /// The columns that it returned when it was prepared, or why that is not known yet.
    pub(super) columns: Result<Option<Schema>, Fault>,
    /// The client was told the columns.
    pub(super) is_described: bool,
    /// The plan made while it was prepared. It is used once, and not after the next `Sync`: files may
    /// have been added since.
    pub(super) plan: Option<Plan>,
}

/// A statement with its parameters.
pub(super) struct Portal {
    pub(super) text: Arc<str>,
    pub(super) work: Work,
    pub(super) formats: Vec<ValueFormat>,
}

/// The work of a portal.
pub(super) enum Work {
    Empty,
    Command(SessionCommand),
    Planned(Plan),
    Running(Cursor),
    /// It has ended, with this tag.
    Done(String),
}

impl Portal {
    /// The form of each column's values: one form for all columns, or one for each.
    pub(super) fn column_formats(&self, columns: usize) -> Result<Vec<ValueFormat>, Fault> {
        let count = self.formats.len();
        if count > 1 && count != columns {
            let why =
                format!("bind message has {count} result formats but query has {columns} columns");
            return Err(Fault::new("08P01", why));
        }
        Ok(formats_of_columns(&self.formats, columns))
    }
}

/// The form of each column's values, from one form for all columns or one for each. A missing form is
/// text.
pub(super) fn formats_of_columns(formats: &[ValueFormat], columns: usize) -> Vec<ValueFormat> {
    match formats {
        [one] => vec![*one; columns],
        each => each.to_vec(),
    }
}

/// How far the rows were sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of them.
    All,
    /// As many as the client asked for.
    Limited,
}

/// The rows of a statement that runs.
pub(super) struct Cursor {
    /// `None` between two uses, while its token is exchanged.
    execution: Option<Execution>,
    schema: SchemaRef,
    batch: Option<(PgRows, usize)>,
    has_ended: bool,
    copy_out: Option<CopyOut>,
}

impl Cursor {
    pub(super) fn new(execution: Execution, copy_out: Option<CopyOut>) -> Self {
        Self {
            schema: SchemaRef::clone(execution.schema()),
            execution: Some(execution),
            batch: None,
            has_ended: false,
            copy_out,
        }
    }

    /// The columns of the rows; `None` if the statement returns none.
    pub(super) fn columns(&self) -> Option<&Schema> {
        let returns_rows = self.execution.as_ref().is_some_and(Execution::returns_rows);
        returns_rows.then_some(self.schema.as_ref())
    }

    pub(super) fn tag(&self) -> String {
        self.execution
            .as_ref()
            .map(Execution::tag)
            .unwrap_or_default()
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let notices = self.execution.as_ref().map(Execution::notices);
        notices.unwrap_or_default()
    }

    /// Whether the statement is an export.
    pub(super) fn is_export(&self) -> bool {
        let execution = self.execution.as_ref();
        execution.is_some_and(|execution| execution.progress().snapshot().export.is_some())
    }

    /// The report of an export that has committed.
    pub(super) fn export_report(&self) -> Option<ExportReport> {
        self.execution.as_ref()?.export_report()
    }

    /// From now on, `token` cancels the statement.
    pub(super) fn cancelled_by(&mut self, token: &CancellationToken) {
        if let Some(execution) = self.execution.take() {
            self.execution = Some(execution.cancelled_by(token.clone()));
        }
    }

    fn execution(&mut self) -> Result<&mut Execution, Fault> {
        let ended = || Fault::new("XX000", "the statement has ended");
        self.execution.as_mut().ok_or_else(ended)
    }

    /// Sends rows, at most `most` of them. Without `replies`, it skips them. Returns also the number of
    /// rows.
    ///
    /// # Errors
    /// The statement's errors; 57014 if `token` is cancelled while the client takes no rows.
    pub(super) async fn send<W: AsyncWrite + Unpin>(
        &mut self,
        replies: Option<&mut Replies<W>>,
        formats: &[ValueFormat],
        most: Option<u64>,
        token: &CancellationToken,
    ) -> Result<(Sent, u64), Stop> {
        if let Some(copy_out) = self.copy_out {
            return match replies {
                Some(replies) => self.send_copy(replies, copy_out, token).await,
                None => Ok((Sent::All, 0)),
            };
        }
        let returns_rows = self.columns().is_some();
        let mut replies = replies;
        let mut sent = 0;
        loop {
            if most == Some(sent) {
                return Ok((Sent::Limited, sent));
            }
            let Some((batch, first)) = &mut self.batch else {
                if self.has_ended {
                    return Ok((Sent::All, sent));
                }
                match self.execution()?.try_next().await? {
                    Some(batch) if returns_rows => {
                        self.batch = Some((PgRows::new(&batch)?, 0));
                    }
                    Some(_) => {}
                    None => self.has_ended = true,
                }
                continue;
            };
            let passed = batch.each(*first, formats, |row| {
                sent += 1;
                let is_enough = most == Some(sent);
                match &mut replies {
                    Some(replies) => {
                        replies.message(b'D', |body| body.extend_from_slice(row));
                        !is_enough && !replies.is_full()
                    }
                    None => !is_enough,
                }
            })?;
            *first += passed;
            if *first >= batch.len() {
                self.batch = None;
            }
            if let Some(replies) = &mut replies
                && replies.is_full()
            {
                flush_unless_cancelled(replies, token).await?;
            }
        }
    }

    /// Sends the rows of a `COPY … TO STDOUT`, each in a message of its own, as PostgreSQL does.
    async fn send_copy<W: AsyncWrite + Unpin>(
        &mut self,
        replies: &mut Replies<W>,
        copy_out: CopyOut,
        token: &CancellationToken,
    ) -> Result<(Sent, u64), Stop> {
        replies.copy_response(b'H', copy_out.columns, copy_out.is_binary);
        while let Some(rows) = self.execution()?.next_lines().await? {
            for row in rows.iter().flatten() {
                replies.message(b'd', |body| body.extend_from_slice(row));
                if replies.is_full() {
                    flush_unless_cancelled(replies, token).await?;
                }
            }
        }
        replies.message(b'c', |_| {});
        self.has_ended = true;
        Ok((Sent::All, 0))
    }
}

/// Writes the replies.
///
/// # Errors
/// 57014 if `token` is cancelled first. The rest of the replies is then written later.
async fn flush_unless_cancelled<W: AsyncWrite + Unpin>(
    replies: &mut Replies<W>,
    token: &CancellationToken,
) -> Result<(), Stop> {
    tokio::select! {
        flushed = replies.flush() => Ok(flushed?),
        () = token.cancelled() => {
            Err(Fault::new("57014", "the statement was cancelled").into())
        }
    }
}
