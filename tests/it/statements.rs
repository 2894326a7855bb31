//! Runs `tests/slt/*.slt` against the embedded server. The files have valid and invalid forms of
//! every statement.

use std::path::Path;

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tidegate::{Error, Session};

use crate::servers::{BUCKET, ClosedPort, embedded};
use crate::texts::texts;

/// An error as the regular expressions of a file match it: SQLSTATE, location, message and hint.
#[derive(Debug, thiserror::Error)]
#[error("{} {}{error}", error.sqlstate(), place(error))]
struct StatementError {
    error: Error,
}

fn place(error: &Error) -> String {
    match error.location() {
        Some(place) => format!("at {}:{}: ", place.line, place.column),
        None => String::new(),
    }
}

struct Database(Session);

#[async_trait]
impl AsyncDB for Database {
    type Error = StatementError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, StatementError> {
        let failed = |error| StatementError { error };
        let mut execution = self.0.start(sql).await.map_err(failed)?;
        if execution.returns_lines() {
            let mut lines = Vec::new();
            while let Some(batch) = execution.next_lines().await.map_err(failed)? {
                lines.extend(batch.iter().flatten().flatten());
            }
            let lines = String::from_utf8(lines).unwrap();
            return Ok(DBOutput::Rows {
                types: vec![DefaultColumnType::Text],
                rows: lines.lines().map(|line| vec![line.to_owned()]).collect(),
            });
        }
        let outcome = execution.collect().await.map_err(failed)?;
        // A statement without rows returns its tag as a row, so that files can check it.
        if !outcome.has_rows() {
            return Ok(DBOutput::Rows {
                types: vec![DefaultColumnType::Text],
                rows: vec![vec![outcome.tag().to_owned()]],
            });
        }
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Text; outcome.schema().fields().len()],
            rows: texts(&outcome),
        })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements() {
    let server = embedded().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let closed = ClosedPort::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let engine = tidegate::Engine::builder()
            .retry(server.store.retry.clone())
            .build()
            .unwrap();
        let mut runner = Runner::new(|| async { Ok(Database(engine.session().unwrap())) });
        for (variable, value) in [
            ("ENDPOINT", server.store.endpoint.clone()),
            ("KEY", server.store.key.clone()),
            ("SECRET", server.store.secret.clone()),
            ("BUCKET", format!("{BUCKET}/{name}")),
            ("CLOSED", closed.endpoint()),
        ] {
            runner.set_var(variable.to_owned(), value);
        }
        runner.run_file_async(&file).await.unwrap();
    }
}
