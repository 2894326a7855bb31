//! Files made of row groups of other Parquet files, which are not decoded.
//!
//! Invariant: every row group given to a writer is in exactly one of the files that it reports, and a
//! file that the store copies has the bytes of its source. The rows of a file are counted by its
//! footer.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::{Stream, StreamExt};

use super::files::WriterFiles;
use super::metrics::WriterMetrics;
use super::report::WriterReport;
use super::upload::FileUpload;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{EncodedFile, MOST_ROW_GROUPS, ParquetFormat, SpliceSource, SplicedFile};
use crate::sink::export::Export;
use crate::sink::store::CopySource;

/// Writes row groups of other files into files and stages them in the store.
pub(crate) struct MoveWriter {
    files: WriterFiles,
    format: Arc<ParquetFormat>,
    open: Option<OpenFile>,
    /// An empty upload for the next file.
    unused: Option<FileUpload>,
    report: WriterReport,
}

struct OpenFile {
    file: SplicedFile,
    upload: FileUpload,
    /// The memory charged for the parts.
    memory: MemoryReservation,
}

impl MoveWriter {
    /// Creates writer number `writer` of `writers`. Parts are charged to the memory pool of
    /// `context`. `metrics` counts the writer's work.
    pub(crate) fn new(
        export: Arc<Export>,
        format: Arc<ParquetFormat>,
        writer: u32,
        writers: u32,
        context: &Arc<TaskContext>,
        metrics: &WriterMetrics,
    ) -> Self {
        let memory = MemoryConsumer::new(format!("tidegate writer {writer}"))
            .register(context.memory_pool());
        Self {
            files: WriterFiles::new(export, writer, 1, memory, metrics.clone()),
            format,
            open: None,
            unused: None,
            report: WriterReport {
                writer,
                writers,
                ..WriterReport::default()
            },
        }
    }

    /// Adds a row group, whose bytes come next in `bytes`, in the order of [`SpliceSource::ranges`]. No
    /// item may have bytes of two row groups.
    ///
    /// # Errors
    /// The source can't be read, or the store refuses a part.
    pub(crate) async fn add_row_group(
        &mut self,
        source: &SpliceSource,
        row_group: usize,
        bytes: &mut (impl Stream<Item = Result<Vec<Bytes>>> + Unpin),
    ) -> Result<()> {
        let limit = self.files.export().spec().max_file_bytes;
        let more = source.bytes(row_group);
        let has_room = self.open.as_ref().is_some_and(|open| {
            open.file.takes(source)
                && open.file.row_groups() < MOST_ROW_GROUPS
                && open.file.bytes_written() + more <= limit
        });
        if !has_room {
            self.close().await?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(OpenFile {
                file: self.format.start_spliced_file(
                    &self.files.export().spec().schema,
                    source,
                    self.files.part_buffer(),
                )?,
                upload: match self.unused.take() {
                    Some(upload) => upload,
                    None => self.files.create_upload("")?,
                },
                memory: self.files.new_reservation(),
            }),
        };
        let mut missing = more;
        while missing > 0 {
            let Some(read) = bytes.next().await.transpose()? else {
                break;
            };
            for piece in read {
                missing = missing.saturating_sub(piece.len() as u64);
                open.file.push(&piece)?;
            }
            open.send_full_parts(self.files.metrics()).await?;
            self.files.metrics().holds(open.file.memory_bytes());
        }
        if missing > 0 {
            let why = format!("{missing} bytes of a moved row group are missing");
            return Err(Error::new(ErrorKind::Internal, why));
        }
        open.file.end_row_group(source, row_group)?;
        self.add_rows(source.rows(row_group));
        Ok(())
    }

    /// Has the store copy the whole file of `source`, the object `object` of `bytes` bytes. Returns
    /// `false` if the store refuses; the row groups must then be added.
    ///
    /// # Errors
    /// The object has changed, or the store fails to copy it.
    pub(crate) async fn copy_file(
        &mut self,
        source: &SpliceSource,
        object: &CopySource,
        bytes: u64,
    ) -> Result<bool> {
        self.close().await?;
        let mut upload = self.files.create_upload("")?;
        if !upload.copy(object, bytes).await? {
            self.unused = Some(upload);
            return Ok(false);
        }
        let export = self.files.export();
        let rows = source.all_rows();
        let copied = EncodedFile {
            rows,
            parts: self.files.part_buffer(),
            columns: self.format.summarize(source, &export.spec().schema)?,
        };
        let memory = self.files.new_reservation();
        self.files.stage(upload, copied, &memory).await?;
        self.add_rows(rows);
        Ok(true)
    }

    fn add_rows(&mut self, rows: u64) {
        self.report.rows_in += rows;
        self.files.metrics().add_rows(rows);
        self.files.export().progress().add_rows(rows);
    }

    async fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let encoded = open.file.finish()?;
        self.files.stage(open.upload, encoded, &open.memory).await
    }

    /// Closes all files and waits until the store has confirmed all their bytes.
    ///
    /// # Errors
    /// A part failed, or the export was cancelled.
    pub(crate) async fn finish(mut self) -> Result<WriterReport> {
        self.close().await?;
        let metrics = self.files.metrics().clone();
        self.report.files = self.files.finish().await?;
        metrics.record(&self.report);
        Ok(self.report)
    }
}

impl OpenFile {
    async fn send_full_parts(&mut self, metrics: &WriterMetrics) -> Result<()> {
        let _waiting = metrics.upload_wait.timer();
        // A file can't hold fewer bytes, so they are charged even if the pool is full.
        self.memory.resize(self.file.memory_bytes());
        while let Some(part) = self.file.parts().take_full() {
            self.upload.send(part, &self.memory).await?;
        }
        Ok(())
    }
}
