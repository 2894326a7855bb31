//! Executing statements.
//!
//! Invariant: a statement has run to its end when [`Session::execute`] returns; dropping the future
//! before cancels it, and an export then leaves nothing behind.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use tidegate_extensions::plan::{bound_batches, find_export};
use tidegate_extensions::sql::{Script, ScriptStatement};
use tidegate_extensions::{Error, ErrorKind, Location, Result, TidegateSql};

use crate::execution::Execution;
use crate::outcome::{Outcome, Tag};

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
    /// What failed, on what, why, and what to do; [`Error::location`] is a place in `sql`.
    pub async fn execute(&self, sql: &str) -> Result<Outcome> {
        self.start(sql).await?.collect().await
    }

    /// Plans and starts one statement, whose rows can then be fetched batch by batch and whose
    /// progress can be watched. DataFusion's own DDL has taken effect when this returns.
    ///
    /// # Errors
    /// Whatever is wrong with the statement by itself; [`Error::location`] is a place in `sql`.
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
    /// The session's SQL dialect is unknown; what is wrong in the script is in the result.
    pub fn split_script(&self, sql: &str) -> Result<Script> {
        TidegateSql::split_script(&self.context, sql)
    }

    /// Plans and starts one statement of a script; locations in errors are places in the script.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_statement(&self, statement: ScriptStatement) -> Result<Execution> {
        let location = statement.location();
        let plan = self.plan_statement(statement).await?;
        self.start_plan(plan, location).await
    }

    /// Plans one statement of a script without any effect.
    ///
    /// # Errors
    /// Whatever is wrong with the statement by itself.
    pub async fn plan_statement(&self, statement: ScriptStatement) -> Result<LogicalPlan> {
        self.context.tidegate_plan(statement).await
    }

    /// Starts what was planned; `location` is where errors point that know no better place.
    pub(crate) async fn start_plan(
        &self,
        plan: LogicalPlan,
        location: Location,
    ) -> Result<Execution> {
        let tag = Tag::of(&plan);
        let started = async {
            let frame = self.context.execute_logical_plan(plan).await?;
            let task = Arc::new(frame.task_ctx());
            let plan = frame.create_physical_plan().await?;
            let task = match find_export(&plan) {
                // What it is to write bounds its batches, not what it returns.
                Some(_) => task,
                None => bound_batches(task, &plan, &plan.schema()),
            };
            let rows = execute_stream(Arc::clone(&plan), task)?;
            Ok(Execution::new(tag, plan, rows, location))
        };
        started.await.map_err(|error: Error| error.at(location))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}
