//! The operator that runs a [`Command`].
//!
//! Invariant: a command acts when its stream is polled, once per execution, and returns no rows.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};

use super::connect::{connect, find_connection};
use super::logical::Command;
use crate::error::{Error, Result};
use crate::s3::S3ErrorKind;
use crate::services::Services;

/// Runs one command.
#[derive(Debug)]
pub(super) struct CommandExec {
    command: Arc<Command>,
    services: Arc<Services>,
    properties: Arc<PlanProperties>,
}

impl CommandExec {
    pub(super) fn new(command: Arc<Command>, services: Arc<Services>) -> Self {
        let schema: SchemaRef = Arc::new(Schema::empty());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            command,
            services,
            properties: Arc::new(properties),
        }
    }
}

async fn run(command: &Command, services: &Services) -> Result<()> {
    let catalog = services.catalog.as_ref();
    match command {
        Command::CreateSecret {
            name,
            value,
            on_conflict,
        } => catalog.create_secret(name, value.clone(), *on_conflict),
        Command::CreateConnection {
            connection,
            on_conflict,
        } => catalog.create_connection(connection.clone(), *on_conflict),
        Command::ValidateConnection { name } => validate(name, services).await,
    }
}

/// Sends one authenticated request that needs no bucket.
async fn validate(name: &str, services: &Services) -> Result<()> {
    let connection = find_connection(services, name)?;
    let client = connect(services, connection, None, services.retry.impatient())?;
    match client.list_buckets().await {
        Ok(()) => Ok(()),
        // The store knows the key and its signature; that it may not list buckets is no fault.
        Err(error) if error.kind == S3ErrorKind::AccessDenied && error.status == Some(403) => {
            tracing::debug!(%error, "the key may not list buckets");
            Ok(())
        }
        Err(error) => Err(Error::from(error).context(format!("connection \"{name}\""))),
    }
}

impl DisplayAs for CommandExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandExec: {}", self.command)
    }
}

impl ExecutionPlan for CommandExec {
    fn name(&self) -> &str {
        "CommandExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let command = Arc::clone(&self.command);
        let services = Arc::clone(&self.services);
        let ran = futures::stream::once(async move { run(&command, &services).await });
        let no_rows = futures::StreamExt::filter_map(ran, |result| async move {
            result.err().map(|error| Err(error.into()))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            Box::pin(no_rows),
        )))
    }
}
