//! One file on its way into the store.
//!
//! Invariant: a part is sent only when the byte budget has room for it, in a task that stops when
//! the export is cancelled; a file is staged only when every part was confirmed.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::FutureExt;
use tokio::task::JoinHandle;

use super::export::{Export, finished};
use super::manifest::StagedFile;
use super::store::PendingUpload;
use crate::error::{Error, ErrorKind, Result};

/// How long a request that creates an upload may go on after the export was cancelled: its answer
/// is the upload's id, without which it can't be aborted at once.
const CREATE_GRACE: std::time::Duration = std::time::Duration::from_secs(3);

/// A multipart upload that is being filled.
#[derive(Debug)]
pub(super) struct FileUpload {
    export: Arc<Export>,
    upload: PendingUpload,
    sending: VecDeque<JoinHandle<Result<String>>>,
    etags: Vec<String>,
    parts_started: usize,
    bytes: u64,
}

impl FileUpload {
    /// Creates the upload of a writer's file.
    pub(super) async fn create(export: &Arc<Export>, writer: u32, sequence: u64) -> Result<Self> {
        let creator = Arc::clone(export);
        creator.register_attempt();
        let upload = export
            .run_operation(async move {
                let key = creator.file_key(writer, sequence);
                let tag = format!("{}/{writer}/{sequence}", creator.id());
                let content_type = creator.spec().format.content_type();
                let create = creator.store().create_upload(&key, content_type, &tag);
                let patience = async {
                    creator.cancelled().cancelled().await;
                    tokio::time::sleep(CREATE_GRACE).await;
                };
                let created = tokio::select! {
                    created = create => created.map_err(Error::from),
                    () = patience => Err(cancelled(&creator)),
                };
                let upload = created.inspect_err(|error| {
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionFailure | ErrorKind::Cancelled | ErrorKind::Io
                    ) {
                        creator.register_lost_upload();
                    }
                })?;
                creator.register_upload(upload.clone());
                Ok(upload)
            })
            .await?;
        Ok(Self {
            export: Arc::clone(export),
            upload,
            sending: VecDeque::new(),
            etags: Vec::new(),
            parts_started: 0,
            bytes: 0,
        })
    }

    /// Starts sending a part, as soon as the budget has room for it; `memory` is charged until the
    /// part is confirmed.
    ///
    /// # Errors
    /// An earlier part failed, or the export was cancelled.
    pub(super) async fn send(&mut self, part: Bytes, memory: &MemoryReservation) -> Result<()> {
        self.collect_finished()?;
        let permit = tokio::select! {
            permit = self.export.budget().reserve(part.len()) => permit?,
            () = self.export.cancelled().cancelled() => return Err(cancelled(&self.export)),
        };
        let charged = memory.new_empty();
        charged.grow(part.len());
        self.parts_started += 1;
        self.bytes += part.len() as u64;
        let number = self.parts_started;
        let upload = self.upload.clone();
        let export = Arc::clone(&self.export);
        let task = self.export.start_operation(async move {
            let bytes = part.len() as u64;
            let sent = tokio::select! {
                sent = export.store().put_part(&upload, number, part) => sent?,
                () = export.cancelled().cancelled() => return Err(cancelled(&export)),
            };
            drop((permit, charged));
            export.progress().add_bytes(bytes);
            Ok(sent)
        })?;
        self.sending.push_back(task);
        Ok(())
    }

    /// Sends the last parts and waits until all are confirmed.
    pub(super) async fn finish(
        mut self,
        last: impl Iterator<Item = Bytes>,
        rows: u64,
        memory: &MemoryReservation,
    ) -> Result<StagedFile> {
        for part in last {
            self.send(part, memory).await?;
        }
        let upload_id = if self.parts_started > 0 {
            Some(self.upload.upload_id.clone())
        } else {
            self.abandon().await?;
            None
        };
        while let Some(task) = self.sending.pop_front() {
            self.etags.push(finished(task.await)?);
        }
        self.export.progress().add_file();
        Ok(StagedFile {
            key: self.upload.key,
            upload_id,
            etags: self.etags,
            rows,
            bytes: self.bytes,
            content_type: self.export.spec().format.content_type().to_owned(),
        })
    }

    /// Aborts an upload that turned out to have no bytes: it could not be completed.
    async fn abandon(&self) -> Result<()> {
        let export = Arc::clone(&self.export);
        let upload = self.upload.clone();
        self.export
            .run_operation(async move {
                export.store().abort_upload(&upload).await?;
                export.forget_upload(&upload);
                Ok(())
            })
            .await
    }

    /// Takes the ETags of parts that are confirmed, in order, without waiting.
    fn collect_finished(&mut self) -> Result<()> {
        while self.sending.front().is_some_and(JoinHandle::is_finished) {
            let Some(mut task) = self.sending.pop_front() else {
                break;
            };
            // Even a finished task may be pending: tokio makes whoever polls a lot give way.
            match (&mut task).now_or_never() {
                Some(joined) => self.etags.push(finished(joined)?),
                None => {
                    self.sending.push_front(task);
                    break;
                }
            }
        }
        Ok(())
    }
}

fn cancelled(export: &Export) -> Error {
    Error::new(
        ErrorKind::Cancelled,
        format!("the export to {} was cancelled", export.spec().target),
    )
}
