//! The export path: from encoded files to objects that appear all at once.
//!
//! Invariant: until an export commits, none of its data objects exists. An export that ends in any
//! other way leaves no object and no pending upload.
//!
//! An export takes four steps:
//!
//! 1. `export`: *begin* starts the task that owns the export. The owner checks the target, claims it
//!    with a `LOCK` and marks it `INCOMPLETE` (`protocol`).
//! 2. `write`: every writer encodes its rows into files, which roll on their encoded size and lie in
//!    folders by the values of the partition columns. The parts of a file go into a multipart upload
//!    that is left pending.
//! 3. `write::report`: writers describe their staged files as rows of an Arrow batch, which the
//!    [`ExportSink`] gathers.
//! 4. The sink checks that no row is missing. The owner then completes every upload and removes the
//!    bookkeeping (`protocol`). Any failure rolls everything back.
//!
//! Each module uses only modules above it in this list, except that `staged` uses the types of
//! `store`:
//!
//! | module | contents |
//! |---|---|
//! | `target`, `mode`, `spec`, `staged` | the target of an export, its settings, its staged files |
//! | `budget` | the budget of bytes in flight |
//! | `store` | the interface to a store, for S3 and the local disk |
//! | `protocol` | the commit protocol, and recovery of exports whose process died |
//! | `export` | the life of one export |
//! | `write` | from rows to staged files |
//! | `data_sink` | the end of the physical plan |

mod budget;
mod data_sink;
mod export;
mod mode;
mod protocol;
mod spec;
mod staged;
mod store;
mod target;
mod write;

pub use budget::ByteBudget;
pub use data_sink::ExportSink;
pub use export::{
    CancelOnDrop, Export, ExportProgress, ExportReport, ExportedFile, Reaper, Unfinished,
    files_batch, files_schema,
};
pub use mode::Mode;
#[cfg(any(test, fuzzing))]
pub(crate) use protocol::check_bookkeeping;
pub use protocol::ledger::Replaced;
pub use protocol::recover::{Recovered, recover_exports};
pub use spec::{ExportSpec, MovedFiles, Partition};
pub use staged::StagedFile;
pub use store::{
    ContentHeaders, CopySource, CreatedUpload, Encryption, ListedObject, LocalUploadStore,
    MAX_PARTS, ObjectIdentity, ObjectOptions, Peek, PendingUpload, Probe, ProbeStatus,
    S3UploadStore, SentPart, StoreError, StoreErrorKind, UploadStore, probe_store,
};
pub use target::{Place, Target};
pub use write::{FileWriter, WriterMetrics, WriterReport, can_partition_by, report_schema};
pub(crate) use write::{MoveWriter, NULL_PARTITION};
