//! Files that roll: the rows of one folder, in order.
//!
//! Invariant: a file is opened by its first row and closed when its *encoded* size is within 10 %
//! of the limit (the last file may be smaller). Every row goes into exactly one file, in order.

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;

use super::files::WriterFiles;
use super::metrics::WriterMetrics;
use super::upload::FileUpload;
use crate::error::Result;
use crate::format::Encoder;

/// A batch is encoded in slices of about this share of a file, so that a file's size is measured
/// often enough to stay within its limit.
const SLICES_PER_FILE: u64 = 32;

/// The size of a file is an estimate until a flush. A file is closed only if its size after the
/// flush is at least this share of the limit.
const FULL_ENOUGH: f64 = 0.95;

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
            let max_file_bytes = files.export().spec().max_file_bytes;
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
            None => self.open.insert(OpenFile::create(files, &self.folder)?),
        };
        let encoding = file.metrics.encode_time.timer();
        file.encoder.write(slice).await?;
        encoding.done();
        file.rows += slice.num_rows() as u64;
        files.export().progress().add_rows(slice.num_rows() as u64);
        if !file.charge() {
            file.flush().await?;
        }
        file.send_full_parts().await?;

        let max_file_bytes = files.export().spec().max_file_bytes;
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
            Some(file) => file.close(files).await,
            None => Ok(()),
        }
    }

    /// Closes the open file. If no file is open, stages one without rows, which holds the schema.
    pub(super) async fn close_even_if_empty(&mut self, files: &mut WriterFiles) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(OpenFile::create(files, &self.folder)?);
        }
        self.close(files).await
    }
}

impl OpenFile {
    fn create(files: &mut WriterFiles, folder: &str) -> Result<Self> {
        let spec = files.export().spec();
        let parts = files.part_buffer();
        let encoder = spec
            .format
            .start_file(&spec.schema, parts, files.threads())?;
        Ok(Self {
            encoder,
            upload: files.create_upload(folder)?,
            memory: files.new_reservation(),
            metrics: files.metrics().clone(),
            rows: 0,
        })
    }

    async fn close(self, files: &mut WriterFiles) -> Result<()> {
        let encoding = self.metrics.encode_time.timer();
        let encoded = self.encoder.finish().await?;
        encoding.done();
        files.stage(self.upload, encoded, &self.memory).await
    }

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
