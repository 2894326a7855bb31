//! The multipart upload of one file.
//!
//! Invariant: a part is sent only when the byte budget has room for it, in a task that stops when
//! the export is cancelled. Of parts that the store copies, which take no memory here, the number is
//! limited. A file is staged only when every part is confirmed and durable. No upload is created before
//! the target is the export's own.
//!
//! Waits are as late as possible: the first part waits for the upload's id, and the next file
//! begins before the last parts of this file are confirmed.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::task::JoinHandle;

use super::metrics::WriterMetrics;
use crate::error::{Error, ErrorKind, Result};
use crate::format::EncodedFile;
use crate::sink::export::Export;
use crate::sink::staged::StagedFile;
use crate::sink::store::{ContentHeaders, CopySource, PendingUpload, StoreErrorKind};
use crate::tasks::finished;

/// How long a request that creates an upload may continue after the export was cancelled. Its
/// answer is the upload's id, which is needed to abort the upload at once.
const CREATE_GRACE: std::time::Duration = std::time::Duration::from_secs(3);

/// How many keys of a writer are announced at once.
const PAGE: u64 = 16;

/// The size of a part that the store copies, in bytes: large enough that requests are few, small
/// enough that several are copied at once. All but the last are of this size, as R2 wants.
const COPIED_PART_BYTES: u64 = 64 << 20;

/// The upload, once the store has answered. All parts of the file wait for this one future.
type Created = Shared<BoxFuture<'static, std::result::Result<PendingUpload, Arc<Error>>>>;

/// A multipart upload that is being filled.
pub(super) struct FileUpload {
    export: Arc<Export>,
    key: String,
    created: Created,
    sending: VecDeque<JoinHandle<Result<String>>>,
    metrics: WriterMetrics,
    receipts: Vec<String>,
    parts_started: usize,
    bytes: u64,
}

impl std::fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileUpload")
            .field("key", &self.key)
            .field("parts_started", &self.parts_started)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl FileUpload {
    /// Starts creating the upload of a writer's file in `folder`, which is empty or ends in `/`.
    ///
    /// # Errors
    /// The export was cancelled.
    pub(super) fn create(
        export: &Arc<Export>,
        folder: &str,
        writer: u32,
        sequence: u64,
        metrics: &WriterMetrics,
    ) -> Result<Self> {
        let key = export
            .spec()
            .file_key(export.id(), folder, writer, sequence);
        let creating = create(Arc::clone(export), key.clone(), writer, sequence);
        let creating = export.start_operation(creating)?;
        let created = async move { finished(creating.await).map_err(Arc::new) };
        Ok(Self {
            export: Arc::clone(export),
            key,
            created: created.boxed().shared(),
            sending: VecDeque::new(),
            metrics: metrics.clone(),
            receipts: Vec::new(),
            parts_started: 0,
            bytes: 0,
        })
    }

    /// Waits until the budget has room for a part, and starts sending it. The part is charged to
    /// the pool of `memory` until it is confirmed.
    ///
    /// # Errors
    /// An earlier part failed, the file has too many parts, or the export was cancelled.
    pub(super) async fn send(&mut self, part: Bytes, memory: &MemoryReservation) -> Result<()> {
        self.collect_finished()?;
        if self.parts_started == self.export.store().max_parts() {
            return Err(self.too_large());
        }
        let permit = tokio::select! {
            permit = self.export.reserve(part.len()) => permit?,
            () = self.export.stopped().cancelled() => return Err(self.export.failure()),
        };
        let charged = memory.new_empty();
        charged.grow(part.len());
        self.parts_started += 1;
        self.bytes += part.len() as u64;
        let number = self.parts_started;
        let created = self.created.clone();
        let export = Arc::clone(&self.export);
        let retries = self.metrics.retries.clone();
        let task = self.export.start_operation(async move {
            let mut in_flight = PartInFlight::new(&export);
            let bytes = part.len() as u64;
            let send = async {
                let upload = created.await.map_err(|error| error.copy())?;
                Ok::<_, Error>(export.store().put_part(&upload, number, part).await?)
            };
            let sent = tokio::select! {
                sent = send => sent?,
                () = export.stopped().cancelled() => return Err(export.failure()),
            };
            drop((permit, charged));
            in_flight.confirmed = bytes;
            retries.add(sent.retries as usize);
            Ok(sent.receipt)
        })?;
        self.sending.push_back(task);
        Ok(())
    }

    /// Has the store copy an object of `bytes` bytes as the whole file. Returns `false` if the store
    /// does not copy the first part; the file is then still empty.
    ///
    /// # Errors
    /// The object has changed, the store copies the first part only, or the export was cancelled.
    pub(super) async fn copy(&mut self, source: &CopySource, bytes: u64) -> Result<bool> {
        let most = self.export.store().max_parts() as u64;
        let part_bytes = bytes.div_ceil(most).max(COPIED_PART_BYTES);
        let mut start = 0;
        while start < bytes {
            let end = bytes.min(start + part_bytes);
            let number = self.parts_started + 1;
            let copy = copy_part(
                Arc::clone(&self.export),
                self.created.clone(),
                source.clone(),
                number,
                start..end,
                self.metrics.clone(),
            );
            if number == 1 {
                match finished(self.export.start_operation(copy)?.await)? {
                    Some(receipt) => self.receipts.push(receipt),
                    None => return Ok(false),
                }
            } else {
                let copy = async { copy.await?.ok_or_else(not_copied) };
                self.sending.push_back(self.export.start_operation(copy)?);
            }
            self.parts_started = number;
            self.bytes = end;
            start = end;
        }
        Ok(true)
    }

    async fn wait_for_oldest_part(&mut self) -> Result<()> {
        if let Some(task) = self.sending.pop_front() {
            self.receipts.push(finished(task.await)?);
        }
        Ok(())
    }

    /// Starts sending the last parts. Returns a task that ends when all parts are confirmed and
    /// durable.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn finish(
        mut self,
        encoded: EncodedFile,
        memory: &MemoryReservation,
    ) -> Result<JoinHandle<Result<StagedFile>>> {
        let EncodedFile {
            rows,
            mut parts,
            columns,
        } = encoded;
        while let Some(part) = parts.take_any() {
            self.send(part, memory).await?;
        }
        let export = Arc::clone(&self.export);
        export.start_operation(async move {
            let upload_id = self.seal().await?;
            self.export.progress().add_file();
            Ok(StagedFile {
                key: self.key,
                upload_id,
                receipts: self.receipts,
                rows,
                bytes: self.bytes,
                content_type: self.export.spec().format.content_type().to_owned(),
                columns,
                object_etag: None,
            })
        })
    }

    /// Waits until every part is confirmed and durable; returns the upload's id. `None` if the file
    /// is empty and the store refuses an empty part.
    async fn seal(&mut self) -> Result<Option<String>> {
        let upload = self.created.clone().await.map_err(|error| error.copy())?;
        let store = self.export.store();
        if self.parts_started == 0 {
            // An upload without parts can't be completed, so an empty file has one empty part.
            let sent = tokio::select! {
                sent = store.put_part(&upload, 1, Bytes::new()) => sent,
                () = self.export.stopped().cancelled() => return Err(self.export.failure()),
            };
            match sent {
                Ok(sent) => self.receipts.push(sent.receipt),
                // Garage answers "Empty body".
                Err(error) if !error.maybe_executed => {
                    store.abort_upload(&upload).await?;
                    self.export.ledger().forget_upload(&upload);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        while !self.sending.is_empty() {
            self.wait_for_oldest_part().await?;
        }
        let store = self.export.store();
        tokio::select! {
            sealed = store.seal_upload(&upload) => sealed?,
            () = self.export.stopped().cancelled() => return Err(self.export.failure()),
        }
        Ok(Some(upload.upload_id))
    }

    fn too_large(&self) -> Error {
        let part_bytes = self.export.spec().part_bytes;
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} needs more than {} parts of {} MB, which is all that the store takes",
                self.export.store().url(&self.key),
                self.export.store().max_parts(),
                part_bytes >> 20
            ),
        )
        .with_hint("leave SINGLE FILE out, or give the expected size as MAX FILE SIZE")
    }

    /// Takes the receipts of parts that are confirmed, in order, without waiting.
    fn collect_finished(&mut self) -> Result<()> {
        while self.sending.front().is_some_and(JoinHandle::is_finished) {
            let Some(mut task) = self.sending.pop_front() else {
                break;
            };
            // Even a finished task may return pending: tokio makes a task yield that polls a lot.
            match (&mut task).now_or_never() {
                Some(joined) => self.receipts.push(finished(joined)?),
                None => {
                    self.sending.push_front(task);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Has the store copy bytes of an object as a part, and returns the receipt. `None` if it does not: it
/// may not know the request, or the connection may not read the object so.
async fn copy_part(
    export: Arc<Export>,
    created: Created,
    source: CopySource,
    number: usize,
    range: Range<u64>,
    metrics: WriterMetrics,
) -> Result<Option<String>> {
    let mut in_flight = PartInFlight::new(&export);
    let bytes = range.end - range.start;
    let copy = async {
        let upload = created.await.map_err(|error| error.copy())?;
        let _permit = export.reserve_copy().await?;
        let copied = export.store().copy_part(&upload, number, &source, range);
        Ok::<_, Error>(copied.await)
    };
    let copied = tokio::select! {
        copied = copy => copied?,
        () = export.stopped().cancelled() => return Err(export.failure()),
    };
    let sent = match copied {
        Ok(sent) => sent,
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            let object = format!("s3://{}/{}", source.bucket, source.key);
            let why = format!("{object} changed while it was read");
            return Err(Error::new(ErrorKind::DataCorrupted, why)
                .with_source(error)
                .with_hint("run the statement again"));
        }
        Err(error) if error.kind == StoreErrorKind::NoSuchUpload => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the store does not copy a part");
            return Ok(None);
        }
    };
    in_flight.confirmed = bytes;
    metrics.retries.add(sent.retries as usize);
    Ok(Some(sent.receipt))
}

fn not_copied() -> Error {
    Error::new(
        ErrorKind::Io,
        "the store copied the first part of a file and refuses to copy another",
    )
    .with_hint("leave the copying to this machine with PASSTHROUGH = 'off'")
}

/// Counts a part as in flight until it is dropped.
struct PartInFlight<'a> {
    export: &'a Export,
    /// The bytes that the store has confirmed.
    confirmed: u64,
}

impl<'a> PartInFlight<'a> {
    fn new(export: &'a Export) -> Self {
        export.progress().part_sets_out();
        let confirmed = 0;
        Self { export, confirmed }
    }
}

impl Drop for PartInFlight<'_> {
    fn drop(&mut self) {
        self.export.progress().part_ended(self.confirmed);
    }
}

async fn create(
    export: Arc<Export>,
    key: String,
    writer: u32,
    sequence: u64,
) -> Result<PendingUpload> {
    let tag = format!("{}/{writer}/{sequence}", export.id());
    let format = &export.spec().format;
    let content = ContentHeaders {
        content_type: format.content_type(),
        content_encoding: format.content_encoding(),
        is_data: true,
    };
    let patience = async {
        export.stopped().cancelled().await;
        tokio::time::sleep(CREATE_GRACE).await;
    };
    tokio::pin!(patience);
    tokio::select! {
        confirmed = export.confirmed() => confirmed?,
        () = export.stopped().cancelled() => return Err(export.failure()),
    }
    let ledger = export.ledger();
    let announced = ledger.announce_files(keys_to_announce(&export, &key, writer, sequence));
    // A journal that the store writes after the export has ended would be left behind.
    tokio::select! {
        announced = announced => announced?,
        () = &mut patience => return Err(export.failure()),
    }
    if export.stopped().is_cancelled() {
        return Err(export.failure());
    }
    let created = tokio::select! {
        created = export.store().create_upload(&key, content, &tag) => created,
        () = &mut patience => {
            ledger.record_given_up_upload(&key);
            return Err(export.failure());
        }
    };
    let created = created.inspect_err(|error| {
        if error.maybe_executed {
            ledger.record_given_up_upload(&key);
        }
    })?;
    if created.maybe_another {
        ledger.record_lost_upload(&key);
    }
    ledger.record_upload(created.upload.clone());
    Ok(created.upload)
}

/// The keys to announce before the upload of `key` is created. Where the next keys of the writer are
/// known, all keys of a page are announced together.
fn keys_to_announce(export: &Export, key: &str, writer: u32, sequence: u64) -> Vec<String> {
    let spec = export.spec();
    if spec.partition.is_some() || sequence == 0 {
        return vec![key.to_owned()];
    }
    let first = sequence - (sequence - 1) % PAGE;
    (first..first + PAGE)
        .map(|sequence| spec.file_key(export.id(), "", writer, sequence))
        .collect()
}
