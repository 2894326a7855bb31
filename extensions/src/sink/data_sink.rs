//! The coordinator's end of an export, as DataFusion knows it.
//!
//! Invariant: [`S3Sink::write_all`] returns only when the export has ended: with every object
//! there, or with none and nothing pending. Dropped before, it cancels.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::datasource::sink::DataSink;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use futures::StreamExt;

use super::commit::commit;
use super::export::Export;
use super::guard::CancelOnDrop;
use super::report::{Reports, report_schema};
use super::writer::FileWriter;
use crate::error::{Error, Result};

/// How long a failed statement waits for its own clean-up; what then goes on is the reaper's.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gathers the writers' reports and commits the export they describe.
#[derive(Debug)]
pub struct S3Sink {
    export: Arc<Export>,
    schema: SchemaRef,
}

impl S3Sink {
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
        // Every writer has begun the export; a plan without writers has nothing to begin.
        self.export.confirmed().await?;
        let mut files = gathered.into_files(self.export.progress().rows())?;
        if files.is_empty() && self.export.spec().partition.is_none() {
            files = FileWriter::stage_empty_file(Arc::clone(&self.export), context).await?;
        }
        commit(&self.export, files).await
    }
}

#[async_trait]
impl DataSink for S3Sink {
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
        self.export.fail();
        let leftovers = tokio::time::timeout(PATIENCE, self.export.roll_back()).await;
        guard.disarm();
        let recover = self.export.recover_statement();
        Err(with_leftovers(failure, leftovers.ok(), &recover).into())
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

impl DisplayAs for S3Sink {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.export.spec();
        write!(
            f,
            "S3Sink: store={}, target={}, format={}",
            self.export.store().name(),
            spec.target,
            spec.format.name()
        )
    }
}
