//! Results as text, and the seeds of random tests.

use std::ops::Range;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use tidegate::{Error, Outcome, Session};

/// The rows of a result, value by value; NULL is `NULL`.
pub(crate) fn texts(outcome: &Outcome) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in outcome.batches() {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.value(row).to_string());
            rows.push(values.collect());
        }
    }
    rows
}

/// What the statements of a script write to standard output.
pub(crate) async fn written(session: &Session, sql: &str) -> Result<Vec<u8>, Error> {
    let mut lines = Vec::new();
    for statement in session.split_script(sql)?.statements {
        let mut execution = session.start_statement(statement).await?;
        if execution.returns_lines() {
            while let Some(batch) = execution.next_lines().await? {
                lines.extend(batch.iter().flatten().flatten());
            }
        } else {
            execution.collect().await?;
        }
    }
    Ok(lines)
}

/// The seeds in an environment variable, such as `7` or `0..100`; `usual` if it is not set.
pub(crate) fn seeds(variable: &str, usual: Range<u64>) -> Range<u64> {
    let Ok(chosen) = std::env::var(variable) else {
        return usual;
    };
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    match chosen.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&chosen)..number(&chosen) + 1,
    }
}
