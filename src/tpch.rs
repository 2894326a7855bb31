//! TPC-H data for trying things out, generated while it is read.
//!
//! Invariant: a scale gives the same rows every time, in any number of streams, without holding
//! them in memory. The generator: <https://docs.rs/tpchgen>

use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use tidegate_extensions::Result;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

/// Table lineitem at a scale factor (1 is 6,001,215 rows), read in `streams` streams.
///
/// # Errors
/// None that a user can cause: the streams agree on their schema.
pub fn lineitem(scale: f64, streams: usize) -> Result<StreamingTable> {
    let parts = i32::try_from(streams).unwrap_or(1).max(1);
    let schema = LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)).schema();
    let streams = (1..=parts)
        .map(|part| {
            Arc::new(LineItemPart {
                schema: SchemaRef::clone(&schema),
                scale,
                part,
                parts,
            }) as Arc<dyn PartitionStream>
        })
        .collect();
    Ok(StreamingTable::try_new(schema, streams)?)
}

#[derive(Debug)]
struct LineItemPart {
    schema: SchemaRef,
    scale: f64,
    part: i32,
    parts: i32,
}

impl PartitionStream for LineItemPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let generator = LineItemGenerator::new(self.scale, self.part, self.parts);
        let batches = LineItemArrow::new(generator)
            .with_batch_size(8192)
            .map(|batch| batch.map_err(Into::into));
        Box::pin(RecordBatchStreamAdapter::new(
            SchemaRef::clone(&self.schema),
            futures::stream::iter(batches),
        ))
    }
}
