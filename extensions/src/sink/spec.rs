//! What an export is to do.
//!
//! Invariant: everything in it was checked while planning; nothing changes once the export is planned.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::memory::ExportMemory;
use super::options::Mode;
use super::partition::Partition;
use super::target::Target;
use crate::format::FileFormat;

/// What is to be exported, and where to.
#[derive(Debug, Clone)]
pub struct ExportSpec {
    /// The folder that the objects appear in, or the one object.
    pub target: Target,
    /// What is done about objects that are there already.
    pub mode: Mode,
    /// The connection's name, for messages; none for a local target.
    pub connection: Option<String>,
    /// The statement, without secrets, for the bookkeeping.
    pub statement: String,
    /// The schema of the query's rows, with unique names.
    pub input_schema: SchemaRef,
    /// The schema of the files.
    pub schema: SchemaRef,
    /// How rows are divided into folders.
    pub partition: Option<Partition>,
    /// The files' format.
    pub format: Arc<dyn FileFormat>,
    /// When a file is full, in encoded bytes.
    pub max_file_bytes: u64,
    /// The size of every part but a file's last, in bytes.
    pub part_bytes: usize,
    /// Leave a manifest behind.
    pub manifest: bool,
    /// What the export may use of the machine's memory.
    pub memory: ExportMemory,
}
