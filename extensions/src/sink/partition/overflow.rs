//! Rows whose files can't be open now: divided into buckets by their values, on disk where they
//! don't fit.
//!
//! Invariant: what went in comes out, each value's rows together and in the order they came. What
//! is held in memory stays within the share it was given, whatever the number of values and however
//! wide the rows.
//!
//! This is the partitioning phase of a hybrid hash join (DeWitt et al., "Implementation techniques
//! for main memory database systems", 1984): a bucket that holds one value is read back as it is, one
//! that fits into memory is put in the order of its values there, and any other is divided again.
//! Sorting everything would write and compare every row several times, and keep no order.

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

/// Into how many buckets rows are divided: enough that two rounds divide the rows of thousands of
/// values, and few enough that each gets rows by the dozen whenever memory is full.
const BUCKETS: usize = 64;

/// How many buckets all writers fill together, but for the least that each needs: a bucket takes two
/// file descriptors, of which a process may often have 1,024.
const BUCKETS_OF_ALL_WRITERS: usize = 128;

/// A bucket is on disk in files of about this size, each of which is deleted once it is read and
/// open until then.
const DISK_FILE_BYTES: usize = 1 << 30;

/// Rows that are put in order in memory are handed on in batches of about so many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// … and at most so many rows.
const BATCH_ROWS: usize = 8192;

/// Rows waiting for their files.
pub(super) struct Overflow {
    disk: Arc<SpillManager>,
    /// The rows that have come since the last were moved to disk.
    gathered: Gathered,
    /// Where rows go from there; empty until memory is full.
    buckets: Vec<Bucket>,
    /// How often rows have been divided: every round hashes in another way, or it would divide
    /// nothing.
    round: u32,
    /// How many there are then.
    bucket_count: usize,
    /// Buckets whose rows are all there, to be read.
    waiting: Vec<FilledBucket>,
    reading: Option<Reading>,
    /// What may be held in memory, in bytes.
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

    /// The next rows, each value's together. No rows may be added after the first call.
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

    /// Reads a bucket back; one that holds several values is divided again if it doesn't fit.
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
    /// Adds rows; `false` if the session's memory is full.
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

/// Copies the texts of view arrays that came out of larger batches: a few rows would keep all of
/// their buffers in memory.
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

/// What the rows take in memory, in bytes. The buffers of a batch that was read from disk are parts
/// of one, whose whole size each would count.
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

    /// Ends the bucket's file, which is opened again to be read.
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

/// Rows in memory, in the order of their values.
struct InOrder {
    batches: Vec<RecordBatch>,
    /// The number of the batch and of the row in it.
    places: VecDeque<(usize, usize)>,
    /// How many are handed on at once.
    rows: usize,
}

impl InOrder {
    /// Puts batches in order that take `bytes` bytes together.
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
