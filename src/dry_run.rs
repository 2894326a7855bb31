//! Dry runs: checking statements without running them.
//!
//! Invariant: nothing outside the session changes: no object, no catalog, no file. Tables and
//! settings that later statements need exist in the session; created tables have no rows.

use std::fmt;
use std::sync::Arc;

use datafusion::logical_expr::{DdlStatement, LogicalPlan, LogicalPlanBuilder, Statement};
use tidegate_extensions::plan::{Command, CommandNode, find_export};
use tidegate_extensions::sql::ScriptStatement;
use tidegate_extensions::{Error, Location, Result};

use crate::engine::Engine;
use crate::outcome::Tag;
use crate::session::Session;

/// The result of checking a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The words of the command tag, such as `COPY`.
    pub statement: String,
    /// Details, such as an export's target, number of columns and format.
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

/// Checks statements without executing them. Created by [`Engine::dry_run`].
#[derive(Debug, Clone)]
pub struct DryRun {
    session: Session,
}

impl Engine {
    /// Creates a session that checks statements. Changes of secrets and connections stay in this
    /// session: the engine's catalog is only read.
    ///
    /// # Errors
    /// As for [`Engine::session`].
    pub fn dry_run(&self) -> Result<DryRun> {
        let session = self.with_overlay_catalog().session()?;
        Ok(DryRun { session })
    }
}

impl DryRun {
    /// The session that the statements are planned in.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Plans a statement and makes every check that precedes its first effect. The target of a
    /// `COPY` is listed, and deleting a key that does not exist is tried there. Whether objects may
    /// be put is not checked: `VALIDATE CONNECTION … FOR` does that.
    ///
    /// Statements that change only the session are executed, so that later statements can be
    /// checked. Tables are created without rows.
    ///
    /// # Errors
    /// The errors of [`Session::execute`] that do not depend on running the statement.
    pub async fn check(&self, statement: ScriptStatement) -> Result<Checked> {
        let location = statement.location();
        let plan = self.session.plan_statement(statement).await?;
        let checked = self.check_plan(plan, location).await;
        checked.map_err(|error| error.at(location))
    }

    async fn check_plan(&self, plan: LogicalPlan, location: Location) -> Result<Checked> {
        // PostgreSQL's tag of INSERT has a number that is always 0.
        let statement = Tag::of(&plan).words().trim_end_matches(" 0").to_owned();
        let mut detail = None;
        match without_rows(plan)? {
            plan if changes_session(&plan) => {
                self.session
                    .start_plan(plan, location)
                    .await?
                    .collect()
                    .await?;
            }
            LogicalPlan::Statement(Statement::Execute(_)) => {
                detail = Some("without its prepared statement, which is not run".to_owned());
            }
            // `EXPLAIN ANALYZE` would run the statement.
            LogicalPlan::Analyze(analyze) => {
                let input = Arc::unwrap_or_clone(analyze.input);
                detail = self.check_query(input).await?;
            }
            plan => detail = self.check_query(plan).await?,
        }
        Ok(Checked { statement, detail })
    }

    async fn check_query(&self, plan: LogicalPlan) -> Result<Option<String>> {
        let state = self.session.context().state();
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
        let mut detail = format!("to {target}: {columns} column{plural}, {format}");
        if let Some(replaced) = export.replaced() {
            detail.push_str(&format!("; would replace {replaced}"));
        }
        Ok(Some(detail))
    }
}

/// Makes a `CREATE TABLE … AS` create its table without rows.
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

/// Whether a dry run executes the statement: it changes only the session and its overlay catalog,
/// or only reads.
fn changes_session(plan: &LogicalPlan) -> bool {
    match plan {
        // The prepared statement may change anything.
        LogicalPlan::Statement(Statement::Execute(_)) => false,
        LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => true,
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any().downcast_ref::<CommandNode>();
            node.is_some_and(|node| match node.command().as_ref() {
                // These write to a store.
                Command::RecoverExport { .. } => false,
                Command::ValidateConnection { target, .. } => target.is_none(),
                _ => true,
            })
        }
        _ => false,
    }
}
