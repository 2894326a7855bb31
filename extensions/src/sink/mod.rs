//! The export path: from encoded files to objects that appear all at once.
//!
//! Invariant: until an export commits, no data object exists under its target; however it ends
//! otherwise, nothing readable and nothing pending is left.
//!
//! An export goes through four steps, each in its own module:
//!
//! 1. `export`: *begin* checks the target, claims it with a `LOCK` and marks it `INCOMPLETE`.
//! 2. `writer`, `partition`, `series` and `upload`: every writer puts its rows into files,
//!    in folders by the values of the partition columns; files roll on encoded size, and a file's
//!    parts go into a multipart upload that is left pending.
//! 3. `report`: writers describe their staged files as rows of an Arrow batch, which the
//!    [`S3Sink`] gathers.
//! 4. `commit`: the sink checks that no row is missing, completes every upload, and removes the
//!    bookkeeping. Any failure rolls everything back (`rollback`).
//!
//! What a process leaves that dies in between is told apart by `survey` and ended by `recover`
//! or the next export's `claim`. S3 and the local disk are two `store`s.

mod bookkeeping;
mod budget;
mod checks;
mod claim;
mod cleanup;
mod commit;
mod data_sink;
mod direct_file;
mod export;
mod guard;
mod heartbeat;
mod local_store;
mod manifest;
mod memory;
mod options;
mod partition;
mod progress;
mod reaper;
mod recover;
mod report;
mod rollback;
mod s3_store;
mod series;
mod spec;
mod store;
mod survey;
mod target;
mod upload;
mod writer;

pub use budget::ByteBudget;
pub use checks::{Check, CheckStatus, check_store};
pub use data_sink::S3Sink;
pub use export::Export;
pub use guard::CancelOnDrop;
pub use local_store::LocalUploadStore;
pub use memory::ExportMemory;
pub use options::{
    CopyOptions, Encryption, FormatOptions, Mode, ObjectOptions, PartitionOptions, RecoverOptions,
    StreamOptions, parse_bytes,
};
pub(crate) use partition::NULL_PARTITION;
pub use partition::{Partition, can_partition_by};
pub use progress::{ExportProgress, WriterMetrics};
pub use reaper::{Reaper, Unfinished};
pub use recover::{Recovered, recover_exports};
pub use report::{
    ExportReport, ExportedFile, StagedFile, WriterReport, files_batch, files_schema, report_schema,
};
pub use s3_store::S3UploadStore;
pub use spec::ExportSpec;
pub use store::{
    ContentHeaders, ObjectIdentity, PendingUpload, SentPart, StoreError, StoreErrorKind,
    UploadStore,
};
pub use target::{Place, Target};
pub use writer::FileWriter;
