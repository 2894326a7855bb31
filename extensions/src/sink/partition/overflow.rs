//! Rows whose files can't be open now: sorted by their values, on disk where they don't fit.
//!
//! Invariant: what went in comes out, each value's rows together, and in the order they came where
//! the export keeps one. Sorting uses at most the memory it was given, whatever the session allows.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{BatchCoalescer, SortOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::Partition;
use crate::error::{Error, ErrorKind, Result};

/// Batches on their way into the sort.
const BATCHES_WAITING: usize = 2;

/// Of the memory for sorting, what merging may use.
const MERGING_SHARE: usize = 4;

/// Rows waiting for their files.
#[derive(Debug)]
pub(super) struct Overflow {
    schema: SchemaRef,
    columns: Vec<usize>,
    /// Number the rows, so that the order of equal values survives.
    numbered: bool,
    memory_bytes: usize,
    context: Arc<TaskContext>,
    sorting: Option<Sorting>,
    rows: u64,
    /// Gathers rows into whole batches: few rows of a batch would keep all its text in memory.
    gathered: BatchCoalescer,
}

struct Sorting {
    /// Where rows go in; none once all are in.
    input: Option<mpsc::Sender<RecordBatch>>,
    output: SendableRecordBatchStream,
}

impl std::fmt::Debug for Sorting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sorting").finish_non_exhaustive()
    }
}

impl Overflow {
    /// Sorts rows of `schema` in `memory_bytes` bytes, once there are any.
    pub(super) fn new(
        partition: &Partition,
        schema: &SchemaRef,
        memory_bytes: usize,
        context: &Arc<TaskContext>,
    ) -> Self {
        let batch_size = context.session_config().batch_size();
        Self {
            schema: SchemaRef::clone(schema),
            columns: partition.columns.clone(),
            numbered: partition.ordered,
            memory_bytes,
            context: Arc::clone(context),
            sorting: None,
            rows: 0,
            gathered: BatchCoalescer::new(SchemaRef::clone(schema), batch_size),
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Sorting failed: no room on the disk, for example.
    pub(super) async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.gathered.push_batch(batch).map_err(broken)?;
        self.sort_gathered().await
    }

    async fn sort_gathered(&mut self) -> Result<()> {
        while let Some(batch) = self.gathered.next_completed_batch() {
            self.sort(batch).await?;
        }
        Ok(())
    }

    async fn sort(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = if self.numbered {
            self.number(batch)?
        } else {
            batch
        };
        if self.sorting.is_none() {
            self.sorting = Some(self.start(batch.schema())?);
        }
        let Some(sorting) = &mut self.sorting else {
            return Ok(());
        };
        let Some(input) = &sorting.input else {
            return Err(Error::new(
                ErrorKind::Internal,
                "rows came after sorting had begun to give them back",
            ));
        };
        if input.send(batch).await.is_ok() {
            return Ok(());
        }
        // The sort has ended early: its output says why.
        let why = sorting.output.next().await.and_then(|result| result.err());
        Err(why.map_or_else(
            || Error::new(ErrorKind::Internal, "sorting for PARTITION BY ended early"),
            Error::from,
        ))
    }

    /// The next rows in the order of their values; the first call ends the input.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) async fn next_sorted(&mut self) -> Result<Option<RecordBatch>> {
        self.gathered.finish_buffered_batch().map_err(broken)?;
        self.sort_gathered().await?;
        let Some(sorting) = &mut self.sorting else {
            return Ok(None);
        };
        sorting.input = None;
        match sorting.output.next().await {
            Some(batch) => Ok(Some(batch?)),
            None => Ok(None),
        }
    }

    /// Adds the number of each row as a last column.
    fn number(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        let numbers = UInt64Array::from_iter_values(first..self.rows);
        let number = Field::new("row number", DataType::UInt64, false);
        let mut fields = self.schema.fields().to_vec();
        fields.push(Arc::new(number));
        let (_, mut columns, _) = batch.into_parts();
        columns.push(Arc::new(numbers));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)
    }

    fn start(&self, schema: SchemaRef) -> Result<Sorting> {
        let (input, rows) = mpsc::channel(BATCHES_WAITING);
        let source = Arc::new(ReceivedRows {
            schema: SchemaRef::clone(&schema),
            rows: Mutex::new(Some(rows)),
        });
        let source = StreamingTableExec::try_new(
            SchemaRef::clone(&schema),
            vec![source],
            None,
            Vec::new(),
            false,
            None,
        )?;
        let number = self.numbered.then_some(self.schema.fields().len());
        let order = self.columns.iter().copied().chain(number).map(|column| {
            let name = schema.field(column).name();
            PhysicalSortExpr::new(Arc::new(Column::new(name, column)), SortOptions::default())
        });
        let order = LexOrdering::new(order).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "PARTITION BY has no column to sort by")
        })?;
        let sort = SortExec::new(order, Arc::new(source));
        let mut sorted = sort.execute(0, self.sort_context()?)?;
        // Sorting goes on in a task of its own: it takes rows only while it is polled.
        let mut output = RecordBatchReceiverStream::builder(schema, 1);
        let sender = output.tx();
        output.spawn(async move {
            while let Some(batch) = sorted.next().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(Sorting {
            input: Some(input),
            output: output.build(),
        })
    }

    fn sort_context(&self) -> Result<Arc<TaskContext>> {
        let pool = CappedPool {
            session: Arc::clone(self.context.memory_pool()),
            limit: self.memory_bytes,
            used: Mutex::new(0),
        };
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.context.runtime_env())
            .with_memory_pool(Arc::new(pool))
            .build_arc()?;
        let config = self
            .context
            .session_config()
            .clone()
            .with_sort_spill_reservation_bytes(self.memory_bytes / MERGING_SHARE);
        let context = TaskContext::default();
        Ok(Arc::new(
            context.with_session_config(config).with_runtime(runtime),
        ))
    }
}

fn broken(error: ArrowError) -> Error {
    Error::from(datafusion::error::DataFusionError::from(error))
}

/// The rows that are sent to it, as a table to sort.
#[derive(Debug)]
struct ReceivedRows {
    schema: SchemaRef,
    rows: Mutex<Option<mpsc::Receiver<RecordBatch>>>,
}

impl PartitionStream for ReceivedRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self
            .rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let stream = futures::stream::unfold(rows, |rows| async {
            let mut rows = rows?;
            let batch = rows.recv().await?;
            Some((Ok(batch), Some(rows)))
        });
        Box::pin(RecordBatchStreamAdapter::new(
            SchemaRef::clone(&self.schema),
            stream,
        ))
    }
}

/// The session's memory pool, of which only so much may be used.
#[derive(Debug)]
struct CappedPool {
    session: Arc<dyn MemoryPool>,
    limit: usize,
    used: Mutex<usize>,
}

impl CappedPool {
    fn used(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for CappedPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of {}", self.limit, self.session)
    }
}

impl MemoryPool for CappedPool {
    fn name(&self) -> &str {
        "capped"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.session.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.session.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.used() += additional;
        self.session.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut used = self.used();
        *used = used.saturating_sub(shrink);
        self.session.shrink(reservation, shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> datafusion::error::Result<()> {
        let mut used = self.used();
        if *used + additional > self.limit {
            return Err(datafusion::error::DataFusionError::ResourcesExhausted(
                format!("sorting for PARTITION BY may use {} bytes", self.limit),
            ));
        }
        self.session.try_grow(reservation, additional)?;
        *used += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        *self.used()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}
