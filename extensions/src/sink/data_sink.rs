//! The last operator of an export, as a DataFusion [`DataSink`].
//!
//! Invariant: [`ExportSink::write_all`] returns `Ok` only when every object is there. After a
//! failure it cancels the export and waits until the export has ended, for at most 60 seconds.
//! Dropping its future cancels an export that has not begun to commit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::datasource::sink::DataSink;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use futures::StreamExt;

use super::export::{CancelOnDrop, Export};
use super::write::{FileWriter, Reports, report_schema};
use crate::error::{Error, Result};

/// How long a failed statement waits for its rollback. A slower rollback continues in the
/// background.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gathers the writers' reports and commits the export they describe.
#[derive(Debug)]
pub struct ExportSink {
    export: Arc<Export>,
    schema: SchemaRef,
}

impl ExportSink {
    /// The sink of `export`.
    pub fn new(export: Arc<Export>) -> Self {
        Self {
            export,
            schema: report_schema(),
        }
    }

    async fn gather_and_commit(
        &self,
        mut reports: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let mut gathered = Reports::default();
        while let Some(batch) = reports.next().await {
            gathered.add(&batch?)?;
        }
        // An export without rows creates no upload, so nothing has waited for its claim yet.
        self.export.confirmed().await?;
        let mut files = gathered.into_files(self.export.progress().rows())?;
        if files.is_empty() && self.export.spec().partition.is_none() {
            files = FileWriter::stage_empty_file(Arc::clone(&self.export), context).await?;
        }
        self.export.commit(files).await
    }
}

/// Writers may have finished before the sink is first asked for a row.
impl Drop for ExportSink {
    fn drop(&mut self) {
        self.export.cancel();
    }
}

#[async_trait]
impl DataSink for ExportSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        data: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> datafusion::error::Result<u64> {
        let guard = CancelOnDrop::new(Arc::clone(&self.export));
        let failure = match self.gather_and_commit(data, context).await {
            Ok(rows) => {
                guard.disarm();
                return Ok(rows);
            }
            Err(error) => self.export.explain(error),
        };
        self.export.cancel();
        let leftovers = tokio::time::timeout(PATIENCE, self.export.rolled_back()).await;
        guard.disarm();
        let recover = &self.export.spec().recover_statement;
        Err(with_leftovers(failure, leftovers.ok(), recover).into())
    }
}

fn with_leftovers(failure: Error, leftovers: Option<Vec<String>>, recover: &str) -> Error {
    match leftovers.as_deref() {
        Some([]) => failure,
        Some(left) => failure.with_hint(format!(
            "the store did not confirm the removal of: {}; remove it later: {recover}",
            left.join("; ")
        )),
        None => failure.with_hint(format!(
            "the store did not confirm in time that everything was removed; remove it later: \
             {recover}"
        )),
    }
}

impl DisplayAs for ExportSink {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.export.spec();
        write!(
            f,
            "ExportSink: store={}, target={}, format={}",
            self.export.store().name(),
            spec.target,
            spec.format.name()
        )
    }
}
