//! The export path: from encoded files to objects that appear all at once.
//!
//! Invariant: until an export commits, no data object exists under its target; however it ends
//! otherwise, nothing readable and nothing pending is left.
//!
//! An export goes through four steps, each in its own module:
//!
//! 1. [`export`]: *begin* checks the target, claims it with a `LOCK` and marks it `INCOMPLETE`.
//! 2. [`rolling`] and [`upload`]: every writer encodes its rows into files that roll on encoded
//!    size; a file's parts go into a multipart upload that is left pending.
//! 3. [`manifest`]: writers describe their staged files as rows of an Arrow batch, which the
//!    [`S3Sink`] gathers.
//! 4. [`commit`]: the sink checks that no row is missing, completes every upload, and removes the
//!    bookkeeping. Any failure rolls everything back.

mod bookkeeping;
mod budget;
mod claim;
mod commit;
mod data_sink;
mod export;
mod manifest;
mod options;
mod reaper;
mod recover;
mod rolling;
mod s3_store;
mod store;
mod survey;
mod target;
mod upload;

pub use budget::ByteBudget;
pub use data_sink::S3Sink;
pub use export::{CancelOnDrop, Export, ExportProgress, ExportSpec};
pub use manifest::{StagedFile, WriterReport, report_schema};
pub use options::{CopyOptions, FormatName, Mode, RecoverOptions, parse_bytes};
pub use reaper::Reaper;
pub use recover::{Recovered, recover_exports};
pub use rolling::RollingWriter;
pub use s3_store::S3UploadStore;
pub use store::{ObjectIdentity, PendingUpload, StoreError, StoreErrorKind, UploadStore};
pub use target::Target;
