//! Executing statements.
//!
//! Invariant: a statement has run to its end when [`Session::execute`] returns; dropping the future
//! before cancels it, and an export then leaves nothing behind.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement, WriteOp};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use tidegate_extensions::plan::{CommandNode, CopyOutNode, CopyToNode};
use tidegate_extensions::sql::{Script, ScriptStatement};
use tidegate_extensions::{Error, ErrorKind, Result, TidegateSql};

/// Executes SQL, one statement after the other.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
}

/// What a statement returned.
#[derive(Debug, Clone)]
pub struct Outcome {
    tag: String,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    wrote_lines: bool,
}

impl Outcome {
    /// The command tag, as PostgreSQL has them: `CREATE SECRET`, `COPY 6001215`, `SELECT 3`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The rows' schema; without columns where a statement returns no rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Whether the statement wrote lines instead of returning rows.
    pub fn wrote_lines(&self) -> bool {
        self.wrote_lines
    }

    /// Whether the statement returns rows at all.
    pub fn has_rows(&self) -> bool {
        !self.schema.fields().is_empty()
    }
}

/// How a statement's tag is made.
enum Tag {
    /// The words alone.
    Plain(String),
    /// The words and the number of rows returned; the rows are the result.
    Rows(&'static str),
    /// The words and the count that the statement returns as its one row.
    Count(&'static str),
    /// The rows that files hold, then the files.
    Files(&'static str),
    /// The rows that are lines, then the lines.
    Lines(&'static str),
}

impl Session {
    pub(crate) fn new(context: SessionContext) -> Self {
        Self { context }
    }

    /// DataFusion's own session, for registering tables and functions.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Executes one statement.
    ///
    /// # Errors
    /// What failed, on what, why, and what to do; [`Error::location`] is a place in `sql`.
    pub async fn execute(&self, sql: &str) -> Result<Outcome> {
        let script = self.split_script(sql)?;
        if let Some(error) = script.error {
            return Err(error);
        }
        let mut statements = script.statements;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => self.execute_statement(statement).await,
            _ => Err(Error::new(
                ErrorKind::Syntax,
                "expected one statement; split a script with split_script",
            )),
        }
    }

    /// Splits a script into its statements.
    ///
    /// # Errors
    /// The session's SQL dialect is unknown; what is wrong in the script is in the result.
    pub fn split_script(&self, sql: &str) -> Result<Script> {
        TidegateSql::split_script(&self.context, sql)
    }

    /// Executes one statement of a script; locations in errors are places in the script.
    ///
    /// # Errors
    /// What failed, on what, why, and what to do.
    pub async fn execute_statement(&self, statement: ScriptStatement) -> Result<Outcome> {
        let location = statement.location();
        let plan = self.context.tidegate_plan(statement).await?;
        self.run(plan).await.map_err(|error| error.at(location))
    }

    /// Executes one statement of a script; what `COPY … TO STDOUT` writes goes to `lines`, batch by
    /// batch, instead of into the outcome.
    ///
    /// # Errors
    /// What failed, on what, why, and what to do; or `lines` can't be written.
    pub async fn execute_statement_to(
        &self,
        statement: ScriptStatement,
        lines: &mut (dyn Write + Send),
    ) -> Result<Outcome> {
        let location = statement.location();
        let plan = self.context.tidegate_plan(statement).await?;
        let done = match tag_of(&plan) {
            Tag::Lines(words) => self.copy_out(plan, words, lines).await,
            _ => self.run(plan).await,
        };
        done.map_err(|error| error.at(location))
    }

    async fn copy_out(
        &self,
        plan: LogicalPlan,
        words: &str,
        out: &mut (dyn Write + Send),
    ) -> Result<Outcome> {
        let frame = self.context.execute_logical_plan(plan).await?;
        let mut stream = frame.execute_stream().await?;
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            rows += sum_of(std::slice::from_ref(&batch), LINES_ROWS_COLUMN);
            let lines = batch.column(LINES_COLUMN).as_binary_opt::<i32>();
            for text in lines.into_iter().flatten().flatten() {
                out.write_all(text).map_err(not_written)?;
            }
        }
        out.flush().map_err(not_written)?;
        Ok(Outcome {
            wrote_lines: true,
            ..without_rows(format!("{words} {rows}"))
        })
    }

    async fn run(&self, plan: LogicalPlan) -> Result<Outcome> {
        let tag = tag_of(&plan);
        let frame = self.context.execute_logical_plan(plan).await?;
        let schema = SchemaRef::clone(frame.schema().inner());
        let batches = frame.collect().await?;
        let returned: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let tag = match tag {
            Tag::Plain(words) if schema.fields().is_empty() || returned == 0 => {
                return Ok(without_rows(words));
            }
            Tag::Count(words) => {
                return Ok(without_rows(format!("{words} {}", sum_of(&batches, 0))));
            }
            Tag::Plain(words) => words,
            Tag::Rows(words) => format!("{words} {returned}"),
            Tag::Files(words) => format!("{words} {}", sum_of(&batches, FILES_ROWS_COLUMN)),
            Tag::Lines(words) => format!("{words} {}", sum_of(&batches, LINES_ROWS_COLUMN)),
        };
        Ok(Outcome {
            tag,
            schema,
            batches,
            wrote_lines: false,
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}

fn without_rows(tag: String) -> Outcome {
    Outcome {
        tag,
        schema: SchemaRef::new(arrow::datatypes::Schema::empty()),
        batches: Vec::new(),
        wrote_lines: false,
    }
}

/// Where `COPY … TO STDOUT` has the number of rows and their lines.
const LINES_ROWS_COLUMN: usize = 0;
const LINES_COLUMN: usize = 1;

fn not_written(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("can't write the result: {error}")).with_source(error)
}

/// Where `RETURN = 'files'` has the number of rows.
const FILES_ROWS_COLUMN: usize = 1;

fn sum_of(batches: &[RecordBatch], column: usize) -> u64 {
    batches
        .iter()
        .filter_map(|batch| batch.column(column).as_primitive_opt::<UInt64Type>())
        .flat_map(|counts| counts.iter().flatten())
        .sum()
}

fn tag_of(plan: &LogicalPlan) -> Tag {
    let plain = |words: &str| Tag::Plain(words.to_owned());
    match plan {
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            if let Some(copy) = node.downcast_ref::<CopyToNode>() {
                return match copy.options.return_files {
                    true => Tag::Files("COPY"),
                    false => Tag::Count("COPY"),
                };
            }
            if node.is::<CopyOutNode>() {
                return Tag::Lines("COPY");
            }
            match node.downcast_ref::<CommandNode>() {
                Some(node) => plain(node.command().tag()),
                None => Tag::Rows("SELECT"),
            }
        }
        LogicalPlan::Ddl(ddl) => plain(ddl_words(ddl)),
        LogicalPlan::Dml(dml) => match dml.op {
            WriteOp::Insert(_) => Tag::Count("INSERT 0"),
            WriteOp::Delete => Tag::Count("DELETE"),
            WriteOp::Update => Tag::Count("UPDATE"),
            _ => Tag::Count("OK"),
        },
        LogicalPlan::Copy(_) => Tag::Count("COPY"),
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => plain("EXPLAIN"),
        LogicalPlan::Statement(Statement::SetVariable(_)) => plain("SET"),
        LogicalPlan::Statement(Statement::ResetVariable(_)) => plain("RESET"),
        LogicalPlan::Statement(Statement::Prepare(_)) => plain("PREPARE"),
        LogicalPlan::Statement(Statement::Deallocate(_)) => plain("DEALLOCATE"),
        LogicalPlan::Statement(Statement::TransactionStart(_)) => plain("BEGIN"),
        LogicalPlan::Statement(Statement::TransactionEnd(_)) => plain("COMMIT"),
        _ => Tag::Rows("SELECT"),
    }
}

fn ddl_words(ddl: &DdlStatement) -> &'static str {
    match ddl {
        DdlStatement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE",
        DdlStatement::CreateMemoryTable(_) => "CREATE TABLE",
        DdlStatement::CreateView(_) => "CREATE VIEW",
        DdlStatement::CreateCatalogSchema(_) => "CREATE SCHEMA",
        DdlStatement::CreateCatalog(_) => "CREATE DATABASE",
        DdlStatement::CreateIndex(_) => "CREATE INDEX",
        DdlStatement::DropTable(_) => "DROP TABLE",
        DdlStatement::DropView(_) => "DROP VIEW",
        DdlStatement::DropCatalogSchema(_) => "DROP SCHEMA",
        DdlStatement::CreateFunction(_) => "CREATE FUNCTION",
        DdlStatement::DropFunction(_) => "DROP FUNCTION",
    }
}
