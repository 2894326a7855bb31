//! The operator that runs a [`Command`].
//!
//! Invariant: a command acts when its stream is polled, once per execution.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
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

use super::logical::Command;
use crate::connect::{connect, connect_with_wrong_secret, find_connection, open_store};
use crate::error::{Error, ErrorKind, Result};
use crate::s3::S3ErrorKind;
use crate::services::Services;
use crate::sink::{ObjectOptions, Recovered, recover_exports};

/// Runs one command.
#[derive(Debug)]
pub(super) struct CommandExec {
    command: Arc<Command>,
    services: Arc<Services>,
    properties: Arc<PlanProperties>,
}

impl CommandExec {
    pub(super) fn new(command: Arc<Command>, services: Arc<Services>) -> Self {
        let schema: SchemaRef = Arc::new(command.schema());
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

async fn run(command: &Command, services: &Services) -> Result<Option<RecordBatch>> {
    let catalog = services.catalog.as_ref();
    match command {
        Command::CreateSecret {
            name,
            value,
            on_conflict,
        } => catalog.create_secret(name, value.clone(), *on_conflict)?,
        Command::CreateConnection {
            connection,
            on_conflict,
        } => catalog.create_connection(connection.clone(), *on_conflict)?,
        Command::ValidateConnection { name } => validate(name, services).await?,
        Command::RecoverExport { target, options } => {
            let store = open_store(
                services,
                target,
                options.connection.as_deref(),
                1,
                &ObjectOptions::default(),
            )?;
            let recovered = recover_exports(store.as_ref(), target, options.force).await?;
            return Ok(Some(recovered_rows(command.schema(), &recovered)?));
        }
    }
    Ok(None)
}

fn recovered_rows(schema: Schema, recovered: &[Recovered]) -> Result<RecordBatch> {
    let text = |value: fn(&Recovered) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(recovered.iter().map(value)))
    };
    let number = |value: fn(&Recovered) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(recovered.iter().map(value)))
    };
    let columns = vec![
        text(|export| &export.export_id),
        text(|export| export.action),
        number(|export| export.objects),
        number(|export| export.bytes),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).map_err(|error| {
        Error::new(ErrorKind::Internal, "the result can't be built").with_source(error)
    })
}

/// Sends one authenticated request that needs no bucket.
async fn validate(name: &str, services: &Services) -> Result<()> {
    let connection = find_connection(services, name)?;
    let retry = services.retry.impatient();
    let client = connect(services, connection.clone(), None, retry.clone())?;
    let Err(error) = client.list_buckets().await else {
        return Ok(());
    };
    if error.code.as_deref() == Some("AccessDenied") && error.kind == S3ErrorKind::AccessDenied {
        // The key may be good without the right to list buckets. A store that has another answer
        // for a wrong secret has thereby accepted this one.
        let wrong = connect_with_wrong_secret(services, connection, retry)?;
        let refused = wrong.list_buckets().await.err();
        if refused.is_some_and(|refused| {
            matches!(
                refused.kind,
                S3ErrorKind::WrongSecret | S3ErrorKind::UnknownKey
            )
        }) {
            tracing::debug!(%error, "the key may not list buckets");
            return Ok(());
        }
    }
    Err(Error::from(error).context(format!("connection \"{name}\"")))
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
        let rows = futures::StreamExt::filter_map(ran, |result| async move {
            result.map_err(Into::into).transpose()
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            Box::pin(rows),
        )))
    }
}
