//! The settings of an export.
//!
//! Invariant: every setting is checked while planning, and none changes afterwards.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::mode::Mode;
use super::target::Target;
use crate::format::FileFormat;
use crate::memory::ExportMemory;

/// The settings of one export: its target, mode, schemas, format and limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportSpec {
    /// The folder in which the objects appear, or the single object.
    pub target: Target,
    /// How existing objects under the target are treated.
    pub mode: Mode,
    /// Whether mode overwrite replaces objects that no export wrote, too.
    pub force: bool,
    /// The SQL text of the statement, without secrets, for the bookkeeping.
    pub statement: String,
    /// The statement that finishes or removes this export if its process dies.
    pub recover_statement: String,
    /// The schema of the query's rows, with unique names.
    pub input_schema: SchemaRef,
    /// The schema of the files.
    pub schema: SchemaRef,
    /// How rows are divided into folders.
    pub partition: Option<Partition>,
    /// How many writers the export has.
    pub writers: u32,
    /// The files' format.
    pub format: Arc<dyn FileFormat>,
    /// When a file is full, in encoded bytes.
    pub max_file_bytes: u64,
    /// The size of every part but a file's last, in bytes.
    pub part_bytes: usize,
    /// Whether to leave a manifest behind.
    pub manifest: bool,
    /// The memory budget of the export.
    pub memory: ExportMemory,
    /// The source files, if row groups of some of them are moved without decoding.
    pub moved: Option<MovedFiles>,
}

/// How many source files of an export are moved, and how many are encoded. A file of which a part is
/// moved counts as both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedFiles {
    /// Files with row groups that are moved without decoding.
    pub moved: usize,
    /// Files with row groups that are decoded and encoded.
    pub encoded: usize,
}

impl ExportSpec {
    /// The key of a writer's file in `folder`, which is empty or ends in `/`:
    /// `<prefix><folder>part-<writer>-<sequence>-<export id>.<ext>`, or the single file's.
    pub(super) fn file_key(&self, id: &str, folder: &str, writer: u32, sequence: u64) -> String {
        if self.target.file().is_some() {
            return self.target.prefix();
        }
        let (root, extension) = (self.target.folder(), self.format.extension());
        format!("{root}{folder}part-{writer:05}-{sequence:08}-{id}{extension}")
    }

    /// The key of each writer's first file, if it is known before the rows.
    pub(super) fn first_files(&self, id: &str) -> Vec<String> {
        if self.target.file().is_some() {
            return vec![self.target.prefix()];
        }
        if self.partition.is_some() {
            return Vec::new();
        }
        (0..self.writers)
            .map(|writer| self.file_key(id, "", writer, 0))
            .collect()
    }
}

/// How rows are divided into folders.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Partition {
    /// Indexes of the partition columns in the query's result.
    pub columns: Vec<usize>,
    /// Indexes of the files' columns in the query's result.
    pub file_columns: Vec<usize>,
    /// How many files may be open at once in the whole export.
    pub max_open_files: usize,
}
