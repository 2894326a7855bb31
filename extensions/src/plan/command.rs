//! The operator that runs a [`Command`].
//!
//! Invariant: a command takes effect only when its stream is polled, and only once per execution.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};

use super::catalog_command::run_catalog_command;
use super::logical::Command;
use super::properties::one_partition;
use super::validate::{validate_connection, validate_target};
use crate::connect::{find_connection, open_store};
use crate::error::Result;
use crate::services::Services;
use crate::sink::{ObjectOptions, Probe, Recovered, recover_exports};

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
        Self {
            command,
            services,
            properties: one_partition(schema, EmissionType::Final),
        }
    }
}

async fn run(command: &Command, services: &Services) -> Result<Option<RecordBatch>> {
    match command {
        Command::ValidateConnection { name, target } => {
            let connection = find_connection(services, name)?;
            match target {
                None => validate_connection(&connection, services)
                    .await
                    .map(|()| None),
                Some(target) => {
                    let checks = validate_target(&connection, target, services).await?;
                    probe_rows(command, &checks).map(Some)
                }
            }
        }
        Command::RecoverExport { target, options } => {
            let store = open_store(
                services,
                target,
                options.connection.as_deref(),
                1,
                &ObjectOptions::default(),
            )?;
            let recovered = recover_exports(store, target, options.force).await?;
            services.reaper.forget(&target.to_string());
            recovered_rows(command, &recovered).map(Some)
        }
        other => run_catalog_command(other, services).await,
    }
}

fn probe_rows(command: &Command, probes: &[Probe]) -> Result<RecordBatch> {
    let text = |value: fn(&Probe) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(probes.iter().map(value)))
    };
    let columns = vec![
        text(|probe| probe.name),
        text(|probe| probe.status.as_str()),
        text(|probe| &probe.detail),
    ];
    command.rows(columns)
}

fn recovered_rows(command: &Command, recovered: &[Recovered]) -> Result<RecordBatch> {
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
    command.rows(columns)
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
