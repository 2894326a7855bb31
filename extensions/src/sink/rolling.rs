//! A writer: encodes rows into files that roll on their encoded size.
//!
//! Invariant: a file is opened by its first row and closed when its *encoded* size is within 10 %
//! of the limit (the last may be smaller); every row goes into exactly one file, in order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;

use super::export::Export;
use super::manifest::{StagedFile, WriterReport};
use super::upload::FileUpload;
use crate::error::Result;
use crate::format::{EncodedFile, Encoder};

/// A batch is encoded in slices of about this share of a file, so that a file's size is measured
/// often enough to stay within its limit.
const SLICES_PER_FILE: u64 = 32;

/// A file whose encoded data turned out smaller than estimated is filled up to this share.
const FULL_ENOUGH: f64 = 0.95;

/// Writes the rows of one partition.
#[derive(Debug)]
pub struct RollingWriter {
    export: Arc<Export>,
    memory: MemoryReservation,
    open: Option<OpenFile>,
    /// Encoded bytes per row in what was written so far; the memory of a row until then.
    bytes_per_row: Option<f64>,
    next_sequence: u64,
    report: WriterReport,
}

struct OpenFile {
    encoder: Box<dyn Encoder>,
    upload: FileUpload,
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

impl RollingWriter {
    /// Writer number `writer` of `writers`. `memory` is what its encoders are charged to.
    pub fn new(export: Arc<Export>, writer: u32, writers: u32, memory: MemoryReservation) -> Self {
        Self {
            export,
            memory,
            open: None,
            bytes_per_row: None,
            next_sequence: 0,
            report: WriterReport {
                writer,
                writers,
                ..WriterReport::default()
            },
        }
    }

    /// Encodes a batch and sends the parts that are full.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.report.rows_in += batch.num_rows() as u64;
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = self.rows_of_next_slice(batch).min(batch.num_rows() - start);
            self.write_slice(&batch.slice(start, rows)).await?;
            start += rows;
        }
        Ok(())
    }

    /// Closes the open file.
    pub async fn finish(mut self) -> Result<WriterReport> {
        self.close_file().await?;
        Ok(self.report)
    }

    /// Stages a file without rows, which holds the schema: the result of an empty query.
    pub async fn stage_empty_file(mut self) -> Result<StagedFile> {
        let file = self.open_file().await?;
        let EncodedFile { rows, mut parts } = file.encoder.finish()?;
        let rest = std::iter::from_fn(move || parts.take_any());
        file.upload.finish(rest, rows, &self.memory).await
    }

    fn rows_of_next_slice(&self, batch: &RecordBatch) -> usize {
        let max_file_bytes = self.export.spec().max_file_bytes;
        let measured = max_file_bytes / SLICES_PER_FILE;
        let in_memory = || batch.get_array_memory_size() as f64 / batch.num_rows().max(1) as f64;
        let bytes_per_row = self.bytes_per_row.unwrap_or_else(in_memory).max(0.01);
        let room = match &self.open {
            Some(file) => max_file_bytes.saturating_sub(file.encoder.encoded_bytes()),
            None => max_file_bytes,
        };
        ((room.min(measured) as f64 / bytes_per_row) as usize).max(1)
    }

    async fn write_slice(&mut self, slice: &RecordBatch) -> Result<()> {
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.open_file().await?,
        };
        file.encoder.write(slice)?;
        file.rows += slice.num_rows() as u64;
        self.export.progress().add_rows(slice.num_rows() as u64);
        self.charge_memory(&mut file)?;
        send_full_parts(&mut file, &self.memory).await?;

        let max_file_bytes = self.export.spec().max_file_bytes;
        let mut full = file.encoder.encoded_bytes() >= max_file_bytes;
        if full {
            // The size was an estimate until now.
            file.encoder.flush()?;
            send_full_parts(&mut file, &self.memory).await?;
            let enough = (max_file_bytes as f64 * FULL_ENOUGH) as u64;
            full = file.encoder.encoded_bytes() >= enough;
        }
        self.bytes_per_row = Some(file.encoder.encoded_bytes() as f64 / file.rows as f64);
        self.open = Some(file);
        if full {
            self.close_file().await?;
        }
        Ok(())
    }

    /// Charges the encoder's memory to the pool; when the pool is full, gathered data is turned
    /// into parts early instead of failing.
    fn charge_memory(&self, file: &mut OpenFile) -> Result<()> {
        if self.memory.try_resize(file.encoder.memory_bytes()).is_ok() {
            return Ok(());
        }
        file.encoder.flush()?;
        self.memory.resize(file.encoder.memory_bytes());
        Ok(())
    }

    async fn open_file(&mut self) -> Result<OpenFile> {
        let spec = self.export.spec();
        let encoder = spec.format.start_file(&spec.schema, spec.part_bytes)?;
        let upload =
            FileUpload::create(&self.export, self.report.writer, self.next_sequence).await?;
        self.next_sequence += 1;
        Ok(OpenFile {
            encoder,
            upload,
            rows: 0,
        })
    }

    async fn close_file(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else {
            return Ok(());
        };
        let EncodedFile { rows, mut parts } = file.encoder.finish()?;
        let rest = std::iter::from_fn(move || parts.take_any());
        let staged = file.upload.finish(rest, rows, &self.memory).await?;
        self.memory.resize(0);
        self.report.files.push(staged);
        Ok(())
    }
}

async fn send_full_parts(file: &mut OpenFile, memory: &MemoryReservation) -> Result<()> {
    while let Some(part) = file.encoder.parts().take_full() {
        file.upload.send(part, memory).await?;
    }
    Ok(())
}
