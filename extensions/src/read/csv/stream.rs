//! Streams a file's bytes into records and batches.
//!
//! Invariant: at most one chunk of the file and one batch are held in memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;

use super::columns::BatchBuilder;
use super::records::{Dialect, Record, RecordReader};
use crate::error::{Error, ErrorKind, Result};
use crate::read::open::Chunks;
use crate::read::passed_over::PassedOver;

/// The records of a file, one after the other.
pub(super) struct RecordStream {
    reader: RecordReader,
    /// For errors.
    file: String,
    chunks: Chunks,
    chunk: Bytes,
    has_ended: bool,
    /// Takes a record without an end; without it that is an error.
    passed_over: Option<Arc<PassedOver>>,
}

impl RecordStream {
    pub(super) fn new(dialect: Dialect, file: String, chunks: Chunks) -> Self {
        Self {
            reader: RecordReader::new(dialect),
            file,
            chunks,
            chunk: Bytes::new(),
            has_ended: false,
            passed_over: None,
        }
    }

    /// Passes over a record without an end, instead of failing.
    pub(super) fn pass_over(&mut self, passed_over: Option<Arc<PassedOver>>) {
        self.passed_over = passed_over;
    }

    /// The next record, empty lines included.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::Query`] if the file ends within quotes.
    pub(super) async fn next(&mut self) -> Result<Option<&Record>> {
        let is_whole = loop {
            if !self.chunk.is_empty() {
                let (read, is_whole) = self.reader.read(&self.chunk);
                let _ = self.chunk.split_to(read);
                if is_whole {
                    break true;
                }
            } else if self.has_ended {
                return Ok(None);
            } else if let Some(chunk) = self.chunks.next().await {
                self.chunk = chunk?;
            } else {
                self.has_ended = true;
                let ended = self.reader.finish().map_err(|line| {
                    let why = format!(
                        "{}, line {line}: the file ends within a value in quotes",
                        self.file
                    );
                    Error::new(ErrorKind::Query, why)
                });
                break match (ended, &self.passed_over) {
                    (Err(error), Some(passed_over)) => {
                        passed_over.add(&error);
                        false
                    }
                    (ended, _) => ended?,
                };
            }
        };
        Ok(is_whole.then(|| self.reader.record()))
    }
}

/// The first record that is no empty line; `None` for an empty file.
///
/// # Errors
/// As [`RecordStream::next`].
pub(super) async fn read_first(records: &mut RecordStream) -> Result<Option<Record>> {
    while let Some(record) = records.next().await? {
        if !record.is_empty_line() {
            return Ok(Some(record.clone()));
        }
    }
    Ok(None)
}

/// The batches of a file.
pub(super) struct BatchReader {
    pub(super) records: RecordStream,
    pub(super) builder: BatchBuilder,
    pub(super) batch_rows: usize,
}

impl BatchReader {
    /// The next batch; `None` after the last.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::Query`] for a record that does not fit the columns.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(record) = self.records.next().await? {
            if self.builder.skips(record) {
                continue;
            }
            self.builder.push(record)?;
            if self.builder.is_full(self.batch_rows) {
                return self.builder.finish().map(Some);
            }
        }
        match self.builder.is_empty() {
            true => Ok(None),
            false => self.builder.finish().map(Some),
        }
    }
}
