//! The memory that reading a row group takes.
//!
//! Invariant: it is an estimate from the footer alone: a row group's columns are fetched as a whole, and
//! each of them is decoded page by page.

use std::collections::BTreeSet;

use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryLimit;
use object_store::ObjectMeta;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;

use crate::error::{Error, ErrorKind};
use crate::memory::largest_row_group;

/// The largest data page and the largest dictionary of most writers, together, in bytes.
const PAGES_BYTES: usize = 2 << 20;

/// This writer makes a single page of a column of a row group.
const WRITER_OF_LARGE_PAGES: &str = "DuckDB";

/// The file with the largest row group.
#[derive(Debug, Clone, Default)]
pub(in crate::read) struct Weight {
    bytes: usize,
    file: String,
}

impl Weight {
    /// The weight of the wanted columns of a file.
    pub(super) fn of(
        footer: &ParquetMetaData,
        object: &ObjectMeta,
        wanted: &BTreeSet<String>,
    ) -> Self {
        let file = footer.file_metadata();
        let columns = file.schema_descr();
        let has_large_pages = file
            .created_by()
            .is_some_and(|writer| writer.contains(WRITER_OF_LARGE_PAGES));
        let most = if has_large_pages {
            usize::MAX
        } else {
            PAGES_BYTES
        };
        let size = |bytes: i64| usize::try_from(bytes).unwrap_or_default();
        let groups = footer.row_groups().iter().map(|group| {
            let chunks = group.columns().iter().enumerate();
            let chunks = chunks.filter(|(leaf, _)| {
                *leaf < columns.num_columns()
                    && wanted.contains(columns.get_column_root(*leaf).name())
            });
            let bytes = chunks.map(|(_, chunk)| {
                // A page that is not compressed is not copied.
                let pages = match chunk.compression() {
                    Compression::UNCOMPRESSED => 0,
                    _ => size(chunk.uncompressed_size()).min(most),
                };
                size(chunk.compressed_size()) + pages
            });
            bytes.fold(0, usize::saturating_add)
        });
        Self {
            bytes: groups.max().unwrap_or_default(),
            file: object.location.to_string(),
        }
    }

    pub(in crate::read) fn max(self, other: Self) -> Self {
        match other.bytes > self.bytes {
            true => other,
            false => self,
        }
    }

    /// Refuses to read a row group that the session's memory has no room for.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`].
    pub(in crate::read) fn refuse_without_room(&self, state: &SessionState) -> Result<()> {
        let MemoryLimit::Finite(pool) = state.runtime_env().memory_pool.memory_limit() else {
            return Ok(());
        };
        let most = largest_row_group(pool);
        if self.bytes > most {
            let megabytes = |bytes: usize| bytes.div_ceil(1 << 20);
            let why = format!(
                "a row group of {} takes {} MB of memory to read, and the memory limit has room for {} \
                 MB",
                self.file,
                megabytes(self.bytes),
                megabytes(most)
            );
            let more = megabytes(self.bytes - most).next_multiple_of(64);
            let hint = format!(
                "raise the memory limit by {more} MB, select fewer columns, or write the file with \
                 smaller row groups"
            );
            return Err(Error::new(ErrorKind::OutOfMemory, why)
                .with_hint(hint)
                .into());
        }
        Ok(())
    }
}
