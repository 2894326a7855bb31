//! Rows that wait for a file because too many are open. If they don't fit into memory, they are
//! divided by value into buckets on disk.
//!
//! Invariant: all rows come out again, grouped by value and in their original order within a value.
//! Memory stays within the given share, for any number of values and any width of rows.
//!
//! This is the partitioning phase of a hybrid hash join (DeWitt et al., "Implementation techniques
//! for main memory database systems", 1984). A bucket with one value is read back unchanged, a
//! bucket that fits into memory is sorted there by value, and any other bucket is divided again.
//! Sorting all rows would write and compare every row several times, and would not keep their
//! order.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::spill_pool::{SpillPoolSink, spsc_channel};
use futures::StreamExt;

use super::columns::PartitionColumns;
use crate::error::{Error, Result};

/// The number of buckets: enough to separate thousands of values in two rounds, and few enough that
/// each bucket gets dozens of rows whenever memory is full.
const BUCKETS: usize = 64;

/// Upper bound for the buckets of all writers together, except that each writer has at least 8. A
/// bucket takes two file descriptors, and a process is often limited to 1,024.
const BUCKETS_OF_ALL_WRITERS: usize = 128;

/// Approximate size of a bucket's files on disk. A file stays open until it has been read, and is
/// then deleted.
const DISK_FILE_BYTES: usize = 1 << 30;

/// Target size of the batches in which rows that were sorted in memory are returned.
const BATCH_BYTES: usize = 1 << 20;

/// Upper bound for the rows of such a batch.
const BATCH_ROWS: usize = 8192;

/// Rows that wait for a file.
pub(super) struct Overflow {
    disk: Arc<SpillManager>,
    /// The rows that were added since rows were last moved to disk.
    gathered: Gathered,
    /// The buckets on disk; empty until memory is full.
    buckets: Vec<Bucket>,
    /// How often rows have been divided. Each round needs another hash function: with the same one,
    /// all rows of a bucket would get into one bucket again.
    round: u32,
    /// The number of buckets, once there are any.
    bucket_count: usize,
    /// Complete buckets that wait to be read.
    waiting: Vec<FilledBucket>,
    reading: Option<Reading>,
    /// Memory budget, in bytes.
    share: usize,
}

impl fmt::Debug for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overflow")
            .field("gathered", &self.gathered)
            .field("round", &self.round)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Overflow {
    /// Holds rows of `schema` in at most `share` bytes of memory, and the rest on the disk of
    /// `context`, for one of `writers` writers.
    pub(super) fn new(
        schema: &SchemaRef,
        share: usize,
        writers: u32,
        context: &Arc<TaskContext>,
    ) -> Self {
        let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        let disk = SpillManager::new(context.runtime_env(), metrics, SchemaRef::clone(schema));
        let memory = MemoryConsumer::new("tidegate rows waiting for their files");
        Self {
            disk: Arc::new(
                disk.with_compression_type(context.session_config().spill_compression()),
            ),
            gathered: Gathered {
                batches: Vec::new(),
                bytes: 0,
                memory: memory.register(context.memory_pool()),
            },
            buckets: Vec::new(),
            bucket_count: (BUCKETS_OF_ALL_WRITERS / writers.max(1) as usize).clamp(8, BUCKETS),
            round: 0,
            waiting: Vec::new(),
            reading: None,
            share,
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The disk is full, or may not be used.
    pub(super) fn push(&mut self, columns: &PartitionColumns, rows: RecordBatch) -> Result<()> {
        let fits = self.gathered.push(rows)?;
        if !fits || self.gathered.bytes > self.share / 2 {
            self.move_to_disk(columns)?;
        }
        Ok(())
    }

    fn move_to_disk(&mut self, columns: &PartitionColumns) -> Result<()> {
        if self.buckets.is_empty() {
            self.round += 1;
            self.buckets.resize_with(self.bucket_count, Bucket::default);
        }
        let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.bucket_count];
        for (number, batch) in self.gathered.batches.iter().enumerate() {
            let values = columns.values(batch)?;
            for (row, value) in values.iter().enumerate() {
                let bucket = self.bucket_of(value.as_ref());
                places[bucket].push((number, row));
                self.buckets[bucket].note_value(value.as_ref());
            }
        }
        let batches: Vec<&RecordBatch> = self.gathered.batches.iter().collect();
        for (bucket, places) in self.buckets.iter_mut().zip(&places) {
            if !places.is_empty() {
                let rows = interleave_record_batch(&batches, places).map_err(broken)?;
                bucket.write(&self.disk, &rows)?;
            }
        }
        self.gathered.clear();
        Ok(())
    }

    fn bucket_of(&self, value: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u32(self.round);
        hasher.write(value);
        (hasher.finish() % self.bucket_count as u64) as usize
    }

    /// The next rows, grouped by value. No rows may be added after the first call.
    ///
    /// # Errors
    /// As [`Self::push`], and the disk can't be read.
    pub(super) async fn next(&mut self, columns: &PartitionColumns) -> Result<Option<RecordBatch>> {
        loop {
            let rows = match &mut self.reading {
                Some(Reading::OneValue(rows)) => rows.next().await.transpose()?,
                Some(Reading::InOrder(rows)) => rows.next()?,
                None => None,
            };
            if rows.is_some() {
                return Ok(rows);
            }
            if self.reading.take().is_some() {
                self.gathered.clear();
            }
            if !self.buckets.is_empty() {
                self.move_to_disk(columns)?;
                let filled = self.buckets.drain(..).filter_map(Bucket::close);
                self.waiting.extend(filled);
            } else if !self.gathered.batches.is_empty() {
                let batches = std::mem::take(&mut self.gathered.batches);
                let rows = InOrder::new(batches, self.gathered.bytes, columns)?;
                self.reading = Some(Reading::InOrder(rows));
                continue;
            }
            match self.waiting.pop() {
                Some(bucket) => self.read(bucket, columns).await?,
                None => return Ok(None),
            }
        }
    }

    /// Reads a bucket back. A bucket with several values is divided again if it doesn't fit into
    /// memory.
    async fn read(&mut self, mut bucket: FilledBucket, columns: &PartitionColumns) -> Result<()> {
        if !bucket.is_mixed {
            self.reading = Some(Reading::OneValue(bucket.rows));
            return Ok(());
        }
        while let Some(batch) = bucket.rows.next().await.transpose()? {
            self.push(columns, batch)?;
        }
        Ok(())
    }
}

/// Rows in memory, charged to the session's pool.
#[derive(Debug)]
struct Gathered {
    batches: Vec<RecordBatch>,
    bytes: usize,
    memory: MemoryReservation,
}

impl Gathered {
    /// Adds rows; returns `false` if the session's memory pool is full.
    fn push(&mut self, rows: RecordBatch) -> Result<bool> {
        let rows = compact(rows)?;
        self.bytes += memory_bytes(&rows)?;
        self.batches.push(rows);
        Ok(self.memory.try_resize(self.bytes).is_ok())
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
        self.memory.free();
    }
}

/// Copies the values of view arrays. Without the copy, a few rows of a larger batch would keep all
/// of its buffers in memory.
fn compact(rows: RecordBatch) -> Result<RecordBatch> {
    let (schema, mut columns, _) = rows.into_parts();
    for column in &mut columns {
        match column.data_type() {
            DataType::Utf8View => *column = Arc::new(column.as_string_view().gc()) as ArrayRef,
            DataType::BinaryView => *column = Arc::new(column.as_binary_view().gc()) as ArrayRef,
            _ => {}
        }
    }
    RecordBatch::try_new(schema, columns).map_err(broken)
}

/// The memory of the rows, in bytes. Counts slices instead of buffers: the columns of a batch that
/// was read from disk share one buffer, whose whole size would be counted for each column.
fn memory_bytes(rows: &RecordBatch) -> Result<usize> {
    let mut bytes = 0;
    for column in rows.columns() {
        let data = column.to_data();
        bytes += data.get_slice_memory_size().map_err(broken)?;
        if matches!(
            column.data_type(),
            DataType::Utf8View | DataType::BinaryView
        ) {
            let texts = data.buffers().iter().skip(1);
            bytes += texts.map(Buffer::len).sum::<usize>();
        }
    }
    Ok(bytes)
}

/// The rows of some values, on disk in the order they came.
#[derive(Default)]
struct Bucket {
    on_disk: Option<(SpillPoolSink, SendableRecordBatchStream)>,
    /// The value of all its rows, unless it is mixed.
    value: Option<Box<[u8]>>,
    is_mixed: bool,
}

impl Bucket {
    fn note_value(&mut self, value: &[u8]) {
        match &self.value {
            _ if self.is_mixed => {}
            None => self.value = Some(value.into()),
            Some(only) => self.is_mixed = **only != *value,
        }
    }

    /// Ends writing, so that the rows can be read back. `None` if nothing was written.
    fn close(self) -> Option<FilledBucket> {
        let (_, rows) = self.on_disk?;
        Some(FilledBucket {
            rows,
            is_mixed: self.is_mixed,
        })
    }

    fn write(&mut self, disk: &Arc<SpillManager>, rows: &RecordBatch) -> Result<()> {
        let open = || spsc_channel(DISK_FILE_BYTES, Arc::clone(disk));
        let (writer, _) = self.on_disk.get_or_insert_with(open);
        writer.push_batch(rows)?;
        Ok(())
    }
}

/// The rows of some values, to be read back.
struct FilledBucket {
    rows: SendableRecordBatchStream,
    is_mixed: bool,
}

/// Where the next rows come from.
enum Reading {
    /// A bucket with one value.
    OneValue(SendableRecordBatchStream),
    InOrder(InOrder),
}

/// Rows in memory, sorted by value.
struct InOrder {
    batches: Vec<RecordBatch>,
    /// The index of the batch and of the row in it, in sorted order.
    places: VecDeque<(usize, usize)>,
    /// The number of rows in a returned batch.
    rows: usize,
}

impl InOrder {
    /// Sorts the rows of batches that take `bytes` bytes together.
    fn new(batches: Vec<RecordBatch>, bytes: usize, columns: &PartitionColumns) -> Result<Self> {
        let values = batches
            .iter()
            .map(|batch| columns.values(batch))
            .collect::<Result<Vec<_>>>()?;
        let rows = |(number, batch): (usize, &RecordBatch)| {
            (0..batch.num_rows()).map(move |row| (number, row))
        };
        let mut places: Vec<(usize, usize)> = batches.iter().enumerate().flat_map(rows).collect();
        let value = |(number, row): (usize, usize)| values[number].row(row);
        places.sort_by(|left, right| value(*left).cmp(&value(*right)));
        let row_bytes = bytes / places.len().max(1);
        Ok(Self {
            batches,
            places: places.into(),
            rows: (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS),
        })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let rows = self.rows.min(self.places.len());
        let places: Vec<_> = self.places.drain(..rows).collect();
        if places.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = interleave_record_batch(&batches, &places).map_err(broken)?;
        Ok(Some(rows))
    }
}

fn broken(error: ArrowError) -> Error {
    Error::from(DataFusionError::from(error))
}
