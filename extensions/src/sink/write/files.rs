//! The files of one writer, from their upload to their staging.
//!
//! Invariant: files get numbers in the order in which they are opened. The last parts of a closed
//! file may still be in flight; [`WriterFiles::finish`] waits for them.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;
use tokio::task::JoinHandle;

use super::metrics::WriterMetrics;
use super::upload::FileUpload;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{EncodedFile, PartBuffer};
use crate::sink::export::Export;
use crate::sink::staged::StagedFile;
use crate::tasks::finished;

/// How many closed files of a writer may wait for their last parts before the writer waits too.
const FILES_CLOSING: usize = 32;

/// State shared by all files of one writer.
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

    pub(super) fn export(&self) -> &Export {
        &self.export
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn metrics(&self) -> &WriterMetrics {
        &self.metrics
    }

    /// An empty buffer for the parts of a file.
    pub(super) fn part_buffer(&self) -> PartBuffer {
        PartBuffer::new(self.export.parts().clone())
    }

    /// A reservation of the pool to which encoders are charged.
    pub(super) fn new_reservation(&self) -> MemoryReservation {
        self.memory.new_empty()
    }

    /// Starts the upload of the next file, in `folder`, which is empty or ends in `/`.
    ///
    /// # Errors
    /// The export was cancelled. [`ErrorKind::Internal`] for a second file of a single object.
    pub(super) fn create_upload(&mut self, folder: &str) -> Result<FileUpload> {
        if self.next_sequence > 0 && self.export.spec().target.file().is_some() {
            let why = "an export to a single object has a second file";
            return Err(Error::new(ErrorKind::Internal, why));
        }
        let (sequence, metrics) = (self.next_sequence, &self.metrics);
        let upload = FileUpload::create(&self.export, folder, self.writer, sequence, metrics)?;
        self.next_sequence += 1;
        Ok(upload)
    }

    /// Sends the last parts of a file, which are charged to the pool of `memory`.
    ///
    /// # Errors
    /// A part failed, or the export was cancelled.
    pub(super) async fn stage(
        &mut self,
        upload: FileUpload,
        encoded: EncodedFile,
        memory: &MemoryReservation,
    ) -> Result<()> {
        let waiting = self.metrics.upload_wait.timer();
        let closing = upload.finish(encoded, memory).await?;
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

    /// The staged files, once all their bytes have arrived.
    pub(super) async fn finish(mut self) -> Result<Vec<StagedFile>> {
        while !self.closing.is_empty() {
            self.wait_for_oldest().await?;
        }
        Ok(self.staged)
    }
}
