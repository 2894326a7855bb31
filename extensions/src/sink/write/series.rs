//! Files that roll: the rows of one folder, in order.
//!
//! Invariant: a file is opened by its first row and closed when its *encoded* size is within 10 %
//! of the limit (the last file may be smaller). Every row goes into exactly one file, in order. The
//! last parts of a closed file may still be in flight; [`WriterFiles::finish`] waits for them.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use tokio::task::JoinHandle;

use super::metrics::WriterMetrics;
use super::upload::FileUpload;
use crate::error::Result;
use crate::format::{Encoder, PartBuffer};
use crate::sink::export::Export;
use crate::sink::staged::StagedFile;
use crate::tasks::finished;

/// A batch is encoded in slices of about this share of a file, so that a file's size is measured
/// often enough to stay within its limit.
const SLICES_PER_FILE: u64 = 32;

/// The size of a file is an estimate until a flush. A file is closed only if its size after the
/// flush is at least this share of the limit.
const FULL_ENOUGH: f64 = 0.95;

/// How many closed files of a writer may wait for their last parts before the writer waits too.
const FILES_CLOSING: usize = 32;

/// State shared by all series of one writer.
#[derive(Debug)]
pub(super) struct WriterFiles {
    export: Arc<Export>,
    writer: u32,
    /// Upper bound for the threads that encode a file.
    threads: usize,
    /// The memory pool to which encoders are charged.
    memory: MemoryReservation,
    next_sequence: u64,
    metrics: WriterMetrics,
    closing: VecDeque<JoinHandle<Result<StagedFile>>>,
    staged: Vec<StagedFile>,
}

impl WriterFiles {
    /// The files of writer number `writer`. Each file is encoded on at most `threads` threads.
    /// Encoders are charged to the pool of `memory`; the work is counted in `metrics`.
    pub(super) fn new(
        export: Arc<Export>,
        writer: u32,
        threads: usize,
        memory: MemoryReservation,
        metrics: WriterMetrics,
    ) -> Self {
        Self {
            export,
            writer,
            threads,
            memory,
            next_sequence: 0,
            metrics,
            closing: VecDeque::new(),
            staged: Vec::new(),
        }
    }

    async fn open(&mut self, folder: &str) -> Result<OpenFile> {
        let spec = self.export.spec();
        let parts = PartBuffer::new(self.export.parts().clone());
        let encoder = spec.format.start_file(&spec.schema, parts, self.threads)?;
        let (sequence, metrics) = (self.next_sequence, &self.metrics);
        let upload = FileUpload::create(&self.export, folder, self.writer, sequence, metrics)?;
        self.next_sequence += 1;
        Ok(OpenFile {
            encoder,
            upload,
            memory: self.memory.new_empty(),
            metrics: self.metrics.clone(),
            rows: 0,
        })
    }

    async fn close(&mut self, file: OpenFile) -> Result<()> {
        let encoding = self.metrics.encode_time.timer();
        let encoded = file.encoder.finish().await?;
        encoding.done();
        let waiting = self.metrics.upload_wait.timer();
        let closing = file.upload.finish(encoded, &file.memory).await?;
        waiting.done();
        self.closing.push_back(closing);
        if self.closing.len() > FILES_CLOSING {
            self.wait_for_oldest().await?;
        }
        Ok(())
    }

    async fn wait_for_oldest(&mut self) -> Result<()> {
        if let Some(closing) = self.closing.pop_front() {
            let _waiting = self.metrics.upload_wait.timer();
            self.staged.push(finished(closing.await)?);
        }
        Ok(())
    }

    pub(super) fn metrics(&self) -> &WriterMetrics {
        &self.metrics
    }

    /// The staged files, once all their bytes have arrived.
    pub(super) async fn finish(mut self) -> Result<Vec<StagedFile>> {
        while !self.closing.is_empty() {
            self.wait_for_oldest().await?;
        }
        Ok(self.staged)
    }
}

/// The files of one folder.
#[derive(Debug)]
pub(super) struct FileSeries {
    /// Below the target: empty, or ending in `/`.
    folder: String,
    open: Option<OpenFile>,
    /// Encoded bytes per row so far. Before the first row, the size of a row in memory is used.
    bytes_per_row: Option<f64>,
}

struct OpenFile {
    encoder: Box<dyn Encoder>,
    upload: FileUpload,
    /// The memory charged for the encoder.
    memory: MemoryReservation,
    metrics: WriterMetrics,
    rows: u64,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile")
            .field("upload", &self.upload)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl FileSeries {
    /// A series without files, in `folder`.
    pub(super) fn new(folder: String) -> Self {
        Self {
            folder,
            open: None,
            bytes_per_row: None,
        }
    }

    /// Encodes a batch and sends the parts that are full.
    pub(super) async fn write(
        &mut self,
        files: &mut WriterFiles,
        batch: &RecordBatch,
    ) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let max_file_bytes = files.export.spec().max_file_bytes;
            let rows = self.rows_of_next_slice(batch, max_file_bytes);
            let rows = rows.min(batch.num_rows() - start);
            self.write_slice(files, &batch.slice(start, rows)).await?;
            start += rows;
        }
        Ok(())
    }

    fn rows_of_next_slice(&self, batch: &RecordBatch, max_file_bytes: u64) -> usize {
        let measured = max_file_bytes / SLICES_PER_FILE;
        let in_memory = || batch.get_array_memory_size() as f64 / batch.num_rows().max(1) as f64;
        let bytes_per_row = self.bytes_per_row.unwrap_or_else(in_memory).max(0.01);
        let room = match &self.open {
            Some(file) => max_file_bytes.saturating_sub(file.encoder.encoded_bytes()),
            None => max_file_bytes,
        };
        ((room.min(measured) as f64 / bytes_per_row) as usize).max(1)
    }

    async fn write_slice(&mut self, files: &mut WriterFiles, slice: &RecordBatch) -> Result<()> {
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(files.open(&self.folder).await?),
        };
        let encoding = file.metrics.encode_time.timer();
        file.encoder.write(slice).await?;
        encoding.done();
        file.rows += slice.num_rows() as u64;
        files.export.progress().add_rows(slice.num_rows() as u64);
        if !file.charge() {
            file.flush().await?;
        }
        file.send_full_parts().await?;

        let max_file_bytes = files.export.spec().max_file_bytes;
        let mut full = file.encoder.encoded_bytes() >= max_file_bytes;
        if full {
            // The size was an estimate until now.
            file.flush().await?;
            let enough = (max_file_bytes as f64 * FULL_ENOUGH) as u64;
            full = file.encoder.encoded_bytes() >= enough;
        }
        self.bytes_per_row = Some(file.encoder.encoded_bytes() as f64 / file.rows as f64);
        if full {
            self.close(files).await?;
        }
        Ok(())
    }

    /// The memory of the open file, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.open
            .as_ref()
            .map_or(0, |file| file.encoder.memory_bytes())
    }

    /// The memory that [`Self::flush`] can free, in bytes.
    pub(super) fn gathered_bytes(&self) -> usize {
        self.open
            .as_ref()
            .map_or(0, |file| file.encoder.gathered_bytes())
    }

    /// Turns gathered data into parts early, which frees memory.
    pub(super) async fn flush(&mut self) -> Result<()> {
        match &mut self.open {
            Some(file) => file.flush().await,
            None => Ok(()),
        }
    }

    /// Flushes if the open file holds more than `share` bytes in memory.
    pub(super) async fn keep_within(&mut self, share: usize, files: &WriterFiles) -> Result<()> {
        files.metrics().holds(self.memory_bytes());
        match self.memory_bytes() > share {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Closes the open file.
    pub(super) async fn close(&mut self, files: &mut WriterFiles) -> Result<()> {
        match self.open.take() {
            Some(file) => files.close(file).await,
            None => Ok(()),
        }
    }

    /// Closes the open file. If no file is open, stages one without rows, which holds the schema.
    pub(super) async fn close_even_if_empty(&mut self, files: &mut WriterFiles) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(files.open(&self.folder).await?);
        }
        self.close(files).await
    }
}

impl OpenFile {
    /// Charges the encoder's memory to the pool; returns `false` if the pool is full.
    fn charge(&self) -> bool {
        self.memory.try_resize(self.encoder.memory_bytes()).is_ok()
    }

    async fn flush(&mut self) -> Result<()> {
        let encoding = self.metrics.encode_time.timer();
        self.encoder.flush().await?;
        encoding.done();
        self.send_full_parts().await?;
        // A flush can't free the rest, so it is charged even if the pool is full.
        self.memory.resize(self.encoder.memory_bytes());
        Ok(())
    }

    async fn send_full_parts(&mut self) -> Result<()> {
        let _waiting = self.metrics.upload_wait.timer();
        while let Some(part) = self.encoder.parts().take_full() {
            self.upload.send(part, &self.memory).await?;
        }
        Ok(())
    }
}
