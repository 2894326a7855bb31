//! Executing statements.
//!
//! Invariant: a statement has run to its end when [`Session::execute`] returns. Dropping the future
//! earlier cancels the statement; an export that has not begun to commit is then rolled back.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, Statement, TransactionConclusion};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use tidegate_extensions::notices::{Notices, add_notice};
use tidegate_extensions::plan::{bound_batches, find_export};
use tidegate_extensions::sql::{Script, ScriptStatement};
use tidegate_extensions::{Error, ErrorKind, Location, Result, TidegateSql};

use crate::execution::Execution;
use crate::outcome::{Outcome, Tag};
use crate::panics::caught;
use crate::planned::Planned;

/// Executes SQL, one statement after the other.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
}

impl Session {
    pub(crate) fn new(context: SessionContext) -> Self {
        Self { context }
    }

    /// DataFusion's own session, for registering tables and functions.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Executes one statement and keeps its rows in memory.
    ///
    /// # Errors
    /// Any error of the statement; [`Error::location`] is a place in `sql`.
    pub async fn execute(&self, sql: &str) -> Result<Outcome> {
        self.start(sql).await?.collect().await
    }

    /// Plans and starts one statement. Its rows can then be fetched batch by batch, and its
    /// progress can be read. DataFusion's own DDL has taken effect when this returns.
    ///
    /// # Errors
    /// Errors found while the statement is parsed, planned or started; [`Error::location`] is a
    /// place in `sql`.
    pub async fn start(&self, sql: &str) -> Result<Execution> {
        let script = self.split_script(sql)?;
        if let Some(error) = script.error {
            return Err(error);
        }
        let mut statements = script.statements;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => self.start_statement(statement).await,
            _ => Err(Error::new(
                ErrorKind::Syntax,
                "expected one statement; split a script with split_script",
            )),
        }
    }

    /// Splits a script into its statements.
    ///
    /// # Errors
    /// The session's SQL dialect is unknown. Lexical errors in the script are part of the result.
    pub fn split_script(&self, sql: &str) -> Result<Script> {
        TidegateSql::split_script(&self.context, sql)
    }

    /// Parses one statement of a script without planning it.
    ///
    /// # Errors
    /// The text is not a statement.
    pub fn check_syntax(&self, statement: &ScriptStatement) -> Result<()> {
        let checked = TidegateSql::check_syntax(&self.context, statement);
        checked.map_err(|error| error.at(statement.location()))
    }

    /// Plans and starts one statement of a script; locations in errors are places in the script.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_statement(&self, statement: ScriptStatement) -> Result<Execution> {
        self.start_planned(self.plan(statement).await?).await
    }

    /// Plans one statement of a script without any effect, so that it can be described before it is
    /// [started](Self::start_planned).
    ///
    /// # Errors
    /// Errors found while the statement is parsed or planned.
    pub async fn plan(&self, statement: ScriptStatement) -> Result<Planned> {
        let location = statement.location();
        let notices = Notices::default();
        let plan = notices.collect(self.plan_statement(statement)).await?;
        Ok(Planned::new(plan, location, notices))
    }

    /// Starts a planned statement.
    ///
    /// # Errors
    /// Errors found while the statement is started.
    pub async fn start_planned(&self, planned: Planned) -> Result<Execution> {
        let (plan, location, notices) = planned.into_parts();
        let started = notices.collect(self.start_plan(plan, location)).await;
        Ok(started?.with_notices(notices))
    }

    /// Starts a statement whose rows are already known: a query that the program answers itself.
    ///
    /// # Errors
    /// DataFusion can't read the rows.
    pub fn start_rows(&self, rows: RecordBatch) -> Result<Execution> {
        let schema = rows.schema();
        let plan: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?;
        let rows = execute_stream(Arc::clone(&plan), self.context.task_ctx())?;
        let start = Location { line: 1, column: 1 };
        Ok(Execution::new(Tag::Rows("SELECT"), plan, rows, start))
    }

    /// Plans one statement of a script without any effect.
    ///
    /// # Errors
    /// Errors found while the statement is parsed or planned.
    pub async fn plan_statement(&self, statement: ScriptStatement) -> Result<LogicalPlan> {
        let location = statement.location();
        let plan = caught(self.context.tidegate_plan(statement)).await;
        // An error of the planner has a more precise location.
        plan.map_err(|error| error.at(location))
    }

    /// Starts a planned statement. Errors without a location of their own get `location`.
    pub(crate) async fn start_plan(
        &self,
        plan: LogicalPlan,
        location: Location,
    ) -> Result<Execution> {
        let mut tag = Tag::of(&plan);
        let is_prepared = matches!(plan, LogicalPlan::Statement(Statement::Execute(_)));
        let plan = without_transactions(plan)?;
        let started = async {
            let frame = self.context.execute_logical_plan(plan).await?;
            if is_prepared {
                tag = Tag::of(frame.logical_plan());
            }
            let task = Arc::new(frame.task_ctx());
            let plan = frame.create_physical_plan().await?;
            let task = match find_export(&plan) {
                // An export's writers bound the batches by the rows that they write, not by the
                // report that the statement returns.
                Some(_) => task,
                None => bound_batches(task, &plan, &plan.schema()),
            };
            let rows = execute_stream(Arc::clone(&plan), task)?;
            Ok(Execution::new(tag, plan, rows, location))
        };
        caught(started)
            .await
            .map_err(|error: Error| error.at(location))
    }
}

/// Replaces `BEGIN` and `COMMIT`, which many programs send, by a plan without effect and a notice.
///
/// # Errors
/// `ROLLBACK` would have to undo statements.
fn without_transactions(plan: LogicalPlan) -> Result<LogicalPlan> {
    let words = match &plan {
        LogicalPlan::Statement(Statement::TransactionStart(_)) => "BEGIN",
        LogicalPlan::Statement(Statement::TransactionEnd(end)) => match end.conclusion {
            TransactionConclusion::Commit => "COMMIT",
            TransactionConclusion::Rollback => {
                let why = "there are no transactions of several statements to roll back";
                return Err(Error::new(ErrorKind::Unsupported, why)
                    .with_hint("a COPY is all or nothing by itself"));
            }
        },
        _ => return Ok(plan),
    };
    add_notice(format!(
        "{words} has no effect: each statement is a transaction of its own"
    ));
    Ok(LogicalPlanBuilder::empty(false).build()?)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}
