//! Streams a file's bytes into records and batches.
//!
//! Invariant: at most one chunk of the file and one batch are held in memory.

use arrow::array::RecordBatch;
use bytes::{Buf, Bytes};
use futures::StreamExt;

use super::columns::BatchBuilder;
use super::records::{Dialect, Record, RecordReader};
use crate::error::{Error, ErrorKind, Result};
use crate::read::open::Chunks;

/// The records of a file, one after the other.
pub(super) struct RecordStream {
    reader: RecordReader,
    /// For errors.
    file: String,
    chunks: Chunks,
    chunk: Bytes,
    has_begun: bool,
    has_ended: bool,
}

impl RecordStream {
    pub(super) fn new(dialect: Dialect, file: String, chunks: Chunks) -> Self {
        Self {
            reader: RecordReader::new(dialect),
            file,
            chunks,
            chunk: Bytes::new(),
            has_begun: false,
            has_ended: false,
        }
    }

    /// Skips a byte order mark at the file's beginning. Its bytes may come in several chunks.
    async fn skip_byte_order_mark(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        while self.chunk.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.chunk) {
            let Some(more) = self.chunks.next().await else {
                break;
            };
            self.chunk = [self.chunk.as_ref(), &more?].concat().into();
        }
        if self.chunk.starts_with(BYTE_ORDER_MARK) {
            self.chunk.advance(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    /// The next record, empty lines included.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::Query`] if the file ends within quotes.
    pub(super) async fn next(&mut self) -> Result<Option<&Record>> {
        self.skip_byte_order_mark().await?;
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
                break self.reader.finish().map_err(|line| {
                    let why = format!(
                        "{}, line {line}: the file ends within a value in quotes",
                        self.file
                    );
                    Error::new(ErrorKind::Query, why)
                })?;
            }
        };
        Ok(is_whole.then(|| self.reader.record()))
    }
}

/// Reads the header: the first record that is no empty line. `None` for an empty file.
///
/// # Errors
/// As [`RecordStream::next`].
pub(super) async fn read_header(records: &mut RecordStream) -> Result<Option<Vec<String>>> {
    while let Some(record) = records.next().await? {
        if !record.is_empty_line() {
            let names = record.values();
            let names = names.map(|(name, _)| String::from_utf8_lossy(name).into_owned());
            return Ok(Some(names.collect()));
        }
    }
    Ok(None)
}

/// The byte order mark that Windows programs write at the beginning of a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
