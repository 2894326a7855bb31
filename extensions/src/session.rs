//! Tidegate's statements in a DataFusion session.
//!
//! Invariant: Tidegate's statements are parsed only through [`TidegateSql`], because
//! `SessionContext::sql` always uses DataFusion's parser. Everything after parsing is DataFusion's
//! own machinery.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::error::{Error, ErrorKind, Result};
use crate::functions::with_functions;
use crate::plan::{TidegateQueryPlanner, bind_statement, plan_insert};
use crate::read::{CountScans, Inserter, with_csv, with_exported_folders, with_json, with_parquet};
use crate::services::Services;
use crate::sql::{SqlDialect, parse_statement, split_script};
use crate::suggest::with_suggestion;

/// Adds Tidegate's statements to a session.
///
/// Sets the query planner and adds an extension to the configuration. A program with its own query
/// planner adds [`StatementPlanner`](crate::plan::StatementPlanner) to that planner instead, and
/// [`Services`] to its configuration as an extension.
pub fn install(mut builder: SessionStateBuilder, services: Services) -> SessionStateBuilder {
    let mut config = builder.config().take().unwrap_or_default();
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options
        .execution
        .time_zone
        .get_or_insert_with(|| "UTC".to_owned());
    with_csv(&mut builder);
    with_json(&mut builder);
    with_parquet(&mut builder);
    with_exported_folders(&mut builder);
    with_functions(&mut builder);
    builder
        .with_config(
            config
                .with_extension(Arc::new(services))
                .with_extension(Arc::new(Inserter(plan_insert))),
        )
        .with_query_planner(Arc::new(TidegateQueryPlanner::default()))
        .with_physical_optimizer_rule(Arc::new(CountScans))
}

/// The SQL dialect of the session.
fn sql_dialect(state: &SessionState) -> Result<SqlDialect> {
    let options = &state.config_options().sql_parser;
    SqlDialect::new(options.dialect.to_string(), options.recursion_limit.get())
}

/// Executes SQL that may contain Tidegate's statements.
#[async_trait]
pub trait TidegateSql {
    /// Plans one statement. A query or `COPY` runs when the result is collected. DataFusion's own
    /// DDL takes effect at once, as in `SessionContext::sql`.
    ///
    /// # Errors
    /// Every error in the statement that planning finds.
    async fn tidegate_sql(&self, sql: &str) -> Result<DataFrame>;

    /// Plans one statement without any effect, DDL included.
    ///
    /// # Errors
    /// Every error in the statement that planning finds.
    async fn tidegate_plan(&self, statement: crate::sql::ScriptStatement) -> Result<LogicalPlan>;

    /// Parses one statement and drops it.
    ///
    /// # Errors
    /// The text is not a statement.
    fn check_syntax(&self, statement: &crate::sql::ScriptStatement) -> Result<()>;

    /// Splits a script into its statements, as the session's dialect reads it.
    ///
    /// # Errors
    /// The session's dialect is unknown. Errors in the script are part of the result instead.
    fn split_script(&self, sql: &str) -> Result<crate::sql::Script>;
}

#[async_trait]
impl TidegateSql for SessionContext {
    async fn tidegate_sql(&self, sql: &str) -> Result<DataFrame> {
        let script = TidegateSql::split_script(self, sql)?;
        if let Some(error) = script.error {
            return Err(error);
        }
        let mut statements = script.statements;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(Error::new(ErrorKind::Syntax, "expected one statement"));
        };
        let plan = self.tidegate_plan(statement).await?;
        Ok(self.execute_logical_plan(plan).await?)
    }

    async fn tidegate_plan(&self, statement: crate::sql::ScriptStatement) -> Result<LogicalPlan> {
        let location = statement.location();
        let state = self.state();
        let dialect = sql_dialect(&state)?;
        let services = Services::of(state.config())?;
        let planned = async {
            let parsed = parse_statement(statement, &dialect)?;
            bind_statement(&state, &services, &dialect, parsed).await
        };
        planned
            .await
            .map_err(|error| with_suggestion(&state, error).at(location))
    }

    fn check_syntax(&self, statement: &crate::sql::ScriptStatement) -> Result<()> {
        let state = self.state();
        let dialect = sql_dialect(&state)?;
        let parsed = parse_statement(statement.clone(), &dialect);
        parsed
            .map(drop)
            .map_err(|error| with_suggestion(&state, error))
    }

    fn split_script(&self, sql: &str) -> Result<crate::sql::Script> {
        let dialect = sql_dialect(&self.state())?;
        Ok(split_script(sql, dialect.dialect().as_ref()))
    }
}
