//! Trying statements out.
//!
//! Invariant: nothing outside the session is changed: no object, no catalog, no file. What later
//! statements need, tables and settings, is there for them, without rows.

use std::fmt;
use std::sync::Arc;

use datafusion::logical_expr::{DdlStatement, LogicalPlan, LogicalPlanBuilder, Statement};
use tidegate_extensions::plan::{Command, CommandNode, find_export};
use tidegate_extensions::sql::ScriptStatement;
use tidegate_extensions::{Error, Location, Result};

use crate::outcome::Tag;
use crate::session::Session;

/// What a statement would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The command tag's words: `COPY`.
    pub statement: String,
    /// What is known of it.
    pub detail: Option<String>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checked {}", self.statement)?;
        match &self.detail {
            Some(detail) => write!(f, " {detail}"),
            None => Ok(()),
        }
    }
}

impl Session {
    /// Plans a statement and makes every check that it would make before it does anything, for a dry
    /// run. A `COPY`'s target is listed, and a delete of what does not exist is tried there; whether
    /// objects may be put is what `VALIDATE CONNECTION … FOR` finds out.
    ///
    /// Statements that change the session alone do so, that later ones can be checked: tables are
    /// created without rows, and changes of secrets and connections go to the engine's catalog, which
    /// is to be an [`OverlayCatalog`](tidegate_extensions::catalog::OverlayCatalog).
    ///
    /// # Errors
    /// As for [`Session::execute`], but for what only happens while a statement runs.
    pub async fn check(&self, statement: ScriptStatement) -> Result<Checked> {
        let location = statement.location();
        let plan = self.plan_statement(statement).await?;
        let checked = self.check_plan(plan, location).await;
        checked.map_err(|error| error.at(location))
    }

    async fn check_plan(&self, plan: LogicalPlan, location: Location) -> Result<Checked> {
        // PostgreSQL's tag of INSERT has a number that is always 0.
        let statement = Tag::of(&plan).words().trim_end_matches(" 0").to_owned();
        let mut detail = None;
        match without_rows(plan)? {
            plan if changes_session(&plan) => {
                self.start_plan(plan, location).await?.collect().await?;
            }
            LogicalPlan::Statement(Statement::Execute(_)) => {
                detail = Some("without its prepared statement, which is not run".to_owned());
            }
            // Analyzing would run it.
            LogicalPlan::Analyze(analyze) => {
                let input = Arc::unwrap_or_clone(analyze.input);
                detail = self.check_query(input).await?;
            }
            plan => detail = self.check_query(plan).await?,
        }
        Ok(Checked { statement, detail })
    }

    async fn check_query(&self, plan: LogicalPlan) -> Result<Option<String>> {
        let state = self.context().state();
        let physical = state
            .create_physical_plan(&plan)
            .await
            .map_err(Error::from)?;
        let Some(export) = find_export(&physical) else {
            return Ok(None);
        };
        export.inspect_target().await?;
        let spec = export.spec();
        let (format, columns) = (spec.format.name(), spec.schema.fields().len());
        let target = &spec.target;
        let plural = if columns == 1 { "" } else { "s" };
        Ok(Some(format!(
            "to {target}: {columns} column{plural}, {format}"
        )))
    }
}

/// `CREATE TABLE … AS` without its rows.
fn without_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(mut create)) => {
            let input = Arc::unwrap_or_clone(create.input);
            let empty = LogicalPlanBuilder::from(input).limit(0, Some(0))?.build()?;
            create.input = Arc::new(empty);
            Ok(LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)))
        }
        plan => Ok(plan),
    }
}

/// Whether a statement changes nothing but what lives as long as the session, or looks without
/// changing anything.
fn changes_session(plan: &LogicalPlan) -> bool {
    match plan {
        // What was prepared may change anything.
        LogicalPlan::Statement(Statement::Execute(_)) => false,
        LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => true,
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any().downcast_ref::<CommandNode>();
            node.is_some_and(|node| match node.command().as_ref() {
                // These act on a store.
                Command::RecoverExport { .. } => false,
                Command::ValidateConnection { target, .. } => target.is_none(),
                _ => true,
            })
        }
        _ => false,
    }
}
