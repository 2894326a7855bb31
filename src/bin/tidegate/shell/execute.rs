//! Commands that execute or describe the statement before them: `\gset`, `\gdesc` and `\watch`.
//!
//! Invariant: they treat the statement as `\g` does: variables are replaced, and errors have the
//! place of the statement.

use std::time::Duration;

use arrow::array::Array;
use tidegate::{Error, ErrorKind, Location, Result, ScriptStatement};

use super::report::Source;
use super::scanner::Fragment;
use super::{Flow, Shell, cancelled};
use crate::print::cells;

impl Shell {
    /// Stores the only row of a query in variables, named after its columns.
    pub(super) async fn store_row(
        &mut self,
        source: &Source,
        fragment: &Fragment,
        prefix: &str,
    ) -> Result<Flow> {
        let statement = self.variables.interpolate(fragment);
        let stored = self.fetch_row(&statement.text).await;
        let done = stored.and_then(|row| {
            for (name, value) in row {
                let name = format!("{prefix}{name}");
                match value {
                    Some(value) => self.variables.set(&name, value).map_err(invalid)?,
                    None => self.variables.unset(&name),
                }
            }
            Ok(())
        });
        let done = done.map_err(|error: Error| error.at(Location { line: 1, column: 1 }));
        self.conclude(source, done, |place| statement.locate(place), fragment)
    }

    /// The names and values of the only row of a query.
    async fn fetch_row(&mut self, sql: &str) -> Result<Vec<(String, Option<String>)>> {
        let token = self.interrupt.renew();
        let statement = self.single_statement(sql)?;
        let execution = tokio::select! {
            started = self.session.start_statement(statement) => started?,
            () = token.cancelled() => return Err(cancelled()),
        };
        let outcome = execution.cancelled_by(token).collect().await?;
        let rows: usize = outcome.batches().iter().map(|batch| batch.num_rows()).sum();
        if rows != 1 {
            return Err(invalid(format!("\\gset needs one row, not {rows}")));
        }
        let mut row = Vec::new();
        for batch in outcome
            .batches()
            .iter()
            .filter(|batch| batch.num_rows() > 0)
        {
            let values = cells(batch)?.into_iter().flatten();
            let columns = batch.columns().iter().zip(batch.schema_ref().fields());
            for (value, (column, field)) in values.zip(columns) {
                let nulls = column.logical_nulls();
                let is_value = nulls.is_none_or(|nulls| nulls.is_valid(0));
                row.push((field.name().clone(), is_value.then_some(value)));
            }
        }
        Ok(row)
    }

    /// Prints the columns of a query without executing it.
    pub(super) async fn describe(&mut self, source: &Source, fragment: &Fragment) -> Result<Flow> {
        let statement = self.variables.interpolate(fragment);
        let done = self.describe_text(&statement.text).await;
        self.conclude(source, done, |place| statement.locate(place), fragment)
    }

    async fn describe_text(&mut self, sql: &str) -> Result<()> {
        let statement = self.single_statement(sql)?;
        let plan = self.session.plan_statement(statement).await?;
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let fields = plan.schema().as_arrow().fields().iter();
        let columns = fields.map(|field| {
            let data_type = field.data_type().to_string();
            format!("({}, {})", quoted(field.name()), quoted(&data_type))
        });
        let columns: Vec<String> = columns.collect();
        if columns.is_empty() {
            return Err(invalid("the statement returns no columns".to_owned()));
        }
        let columns = columns.join(", ");
        self.execute_text(&format!(
            "SELECT name AS \"column\", data_type AS \"type\" FROM (VALUES {columns}) AS t (name, data_type)"
        ))
        .await
    }

    fn single_statement(&self, sql: &str) -> Result<ScriptStatement> {
        let script = self.session.split_script(sql)?;
        if let Some(error) = script.error {
            return Err(error);
        }
        let mut statements = script.statements;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => Ok(statement),
            _ => Err(Error::new(ErrorKind::Syntax, "expected one statement")),
        }
    }

    /// Executes a statement again and again, with a pause, until it fails or is cancelled.
    pub(super) async fn watch(
        &mut self,
        source: &Source,
        fragment: &Fragment,
        pause: Duration,
    ) -> Result<Flow> {
        loop {
            let had_failed = std::mem::take(&mut self.failed);
            let flow = self.run_statement(source, fragment).await?;
            let has_failed = std::mem::replace(&mut self.failed, had_failed);
            self.failed |= has_failed;
            if flow != Flow::Continue || has_failed {
                return Ok(flow);
            }
            let token = self.interrupt.renew();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = token.cancelled() => return Ok(Flow::Continue),
            }
        }
    }
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}
