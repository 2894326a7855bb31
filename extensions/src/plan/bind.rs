//! Checks statements and turns them into logical plans.
//!
//! Invariant: options, types, the target and names in the catalog are checked here, without a
//! request to the target's store. Nothing is changed at the target or in the catalog. Planning a
//! query may list and read its source files.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    DdlStatement, ExplainOption, Extension, LogicalPlan, LogicalPlanBuilder,
};
use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::Statement as SqlStatement;

use super::bind_catalog::{bind_connection, bind_secret};
use super::change::plan_changes;
use super::constant::evaluate_target;
use super::copy_from::to_insert;
use super::copy_out::CopyOutNode;
use super::layout::{check_names, export_layout};
use super::logical::{Command, CommandNode, CopyToNode};
use super::nullable::{not_null_columns, take_null};
use super::options::{CopyOptions, FormatOptions, RecoverOptions, StreamOptions};
use super::parquet_types::cast_for_parquet;
use super::show_files::to_query;
use super::summarize::summarize;
use crate::connect::{find_connection, resolve_external_table};
use crate::error::{Error, ErrorKind, Result};
use crate::read::rewrite_functions;
use crate::services::Services;
use crate::sink::Target;
use crate::sql::ast::{
    CopyOut, CopySource, CopyTo, Explain, RecoverExport, SqlOption, Statement, describe_export,
};
use crate::sql::{SqlDialect, may_hold_secret, rewrite_statement, source_to_query};

/// Checks a statement and plans it.
///
/// # Errors
/// Any fault that can be found in the statement by itself, with its place in the text if known.
pub async fn bind_statement(
    state: &SessionState,
    services: &Services,
    sql: &SqlDialect,
    statement: Statement,
) -> Result<LogicalPlan> {
    match statement {
        Statement::DataFusion(statement) => bind_datafusion(state, services, *statement).await,
        Statement::Secret(statement) => bind_secret(state, services, *statement),
        Statement::Connection(statement) => bind_connection(state, services, *statement),
        Statement::RecoverExport(recover) => bind_recover(state, services, &recover),
        Statement::CopyTo(copy) => bind_copy(state, services, sql, *copy).await,
        Statement::CopyFrom(copy) => {
            let insert = to_insert(state, sql, &copy).await?;
            Box::pin(bind_statement(state, services, sql, insert)).await
        }
        Statement::ShowFiles(show) => {
            let query = to_query(state, sql, &show)?;
            Box::pin(bind_statement(state, services, sql, query)).await
        }
        Statement::Summarize(source) => {
            analyze(state, summarize(plan_source(state, sql, *source).await?)?)
        }
        Statement::CopyOut(copy) => bind_copy_out(state, sql, *copy).await,
        Statement::Explain(explain) => bind_explain(state, services, sql, explain).await,
    }
}

async fn bind_datafusion(
    state: &SessionState,
    services: &Services,
    statement: DataFusionStatement,
) -> Result<LogicalPlan> {
    let not_null = not_null_columns(&statement);
    let mut plan = plan_statement(state, statement).await?;
    match &mut plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) => {
            resolve_external_table(state, services, create).await?;
        }
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
            take_null(create, &not_null)?;
        }
        _ => {}
    }
    plan_changes(plan)
}

fn bind_recover(
    state: &SessionState,
    services: &Services,
    recover: &RecoverExport,
) -> Result<LogicalPlan> {
    let target = evaluate_target(
        state,
        "RECOVER EXPORT target",
        &recover.target,
        recover.target_location,
    )?;
    let target = Target::parse(&target).map_err(|error| error.at(recover.target_location))?;
    let options = RecoverOptions::from_sql(&recover.options, &target)?;
    if let Some(connection) = &options.connection {
        find_connection(services, connection)?;
    }
    CommandNode::plan(Command::RecoverExport { target, options })
}

async fn bind_copy(
    state: &SessionState,
    services: &Services,
    sql: &SqlDialect,
    copy: CopyTo,
) -> Result<LogicalPlan> {
    let statement = match copy.to_string() {
        // It is written into the bucket.
        text if may_hold_secret(&text) => "COPY … (not shown: it may hold a secret)".to_owned(),
        text => text,
    };
    let url = evaluate_target(state, "COPY TO target", &copy.target, copy.target_location)?;
    let destination = Destination::bind(services, &url, &copy.options)
        .map_err(|error| error.at(copy.target_location))?;
    let input = plan_source(state, sql, copy.source).await?;
    destination.plan(services, input, statement)
}

/// Plans the export of `input`'s rows to `url`, for programs that have a plan instead of a
/// statement. The options are the same as for `COPY … TO`.
///
/// # Errors
/// As for `COPY … TO`, without places in a text.
pub fn plan_export(
    services: &Services,
    input: LogicalPlan,
    url: &str,
    options: Vec<SqlOption>,
) -> Result<LogicalPlan> {
    let planned = || {
        let destination = Destination::bind(services, url, &options)?;
        let statement = describe_export(url, &options);
        destination.plan(services, input, statement)
    };
    planned().map_err(Error::without_location)
}

/// The checked target and options of an export.
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) options: CopyOptions,
}

impl Destination {
    pub(super) fn bind(services: &Services, url: &str, written: &[SqlOption]) -> Result<Self> {
        let target = Target::parse(url)?;
        let options = CopyOptions::from_sql(written, &target, services.export_memory)?;
        if let Some(connection) = &options.connection {
            let named = written
                .iter()
                .find(|option| option.name == "AWS CONNECTION");
            find_connection(services, connection).map_err(|error| match named {
                Some(option) => error.at(option.location),
                None => error,
            })?;
        }
        let target = match options.single_file {
            true if url.ends_with('/') => {
                let why =
                    format!("SINGLE FILE needs the name of a file, and \"{url}\" names a folder");
                return Err(Error::new(ErrorKind::InvalidParameter, why));
            }
            true => target.into_single_file()?,
            false => target,
        };
        Ok(Self { target, options })
    }

    fn plan(
        self,
        services: &Services,
        mut input: LogicalPlan,
        statement: String,
    ) -> Result<LogicalPlan> {
        let Self { target, options } = self;
        if let FormatOptions::Parquet(parquet) = &options.format {
            input = cast_for_parquet(input, parquet.timestamp_unit)?;
        }
        // Refuses columns that the format can't hold and partition columns that do not exist.
        export_layout(&options, input.schema().as_arrow(), services.export_memory)?;
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(CopyToNode {
                input: Arc::new(input),
                target,
                options,
                statement,
            }),
        }))
    }
}

async fn bind_copy_out(
    state: &SessionState,
    sql: &SqlDialect,
    copy: CopyOut,
) -> Result<LogicalPlan> {
    let options = StreamOptions::from_sql(&copy.options)?;
    let input = plan_source(state, sql, copy.source).await?;
    if let Some((option, names)) = options.named_columns() {
        check_names(option, names, input.schema().as_arrow())?;
    }
    let node = CopyOutNode {
        input: Arc::new(input),
        options,
    };
    node.check_schema()?;
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    }))
}

/// Replaces operators and functions, and coerces types. DataFusion does so only before it runs the
/// plan, but an export and a new table take their columns from this plan.
fn analyze(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let config = state.config_options();
    let analyzer = state.analyzer();
    Ok(analyzer.execute_and_check(plan, config, |_, _| {})?)
}

/// Plans and [analyzes](analyze) a statement of DataFusion.
async fn plan_statement(
    state: &SessionState,
    mut statement: DataFusionStatement,
) -> Result<LogicalPlan> {
    rewrite_statement(&mut statement)?;
    rewrite_functions(&mut statement)?;
    match state.statement_to_plan(statement).await? {
        // The types of parameters are not known yet.
        plan @ LogicalPlan::Statement(_) => Ok(plan),
        plan => analyze(state, plan),
    }
}

async fn plan_source(
    state: &SessionState,
    sql: &SqlDialect,
    source: CopySource,
) -> Result<LogicalPlan> {
    let query = SqlStatement::Query(source_to_query(source, sql)?);
    plan_statement(state, DataFusionStatement::Statement(Box::new(query))).await
}

async fn bind_explain(
    state: &SessionState,
    services: &Services,
    sql: &SqlDialect,
    explain: Explain,
) -> Result<LogicalPlan> {
    let plan = Box::pin(bind_statement(state, services, sql, *explain.statement)).await?;
    let mut option = ExplainOption::default()
        .with_analyze(explain.analyze)
        .with_verbose(explain.verbose);
    option.format = match &explain.format {
        Some(format) => format.parse()?,
        None if explain.verbose || explain.analyze => option.format,
        None => state.config_options().explain.format.clone(),
    };
    Ok(LogicalPlanBuilder::from(plan)
        .explain_option_format(option)?
        .build()?)
}
