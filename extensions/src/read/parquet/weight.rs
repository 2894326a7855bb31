//! The memory that reading a row group takes.
//!
//! Invariant: it is an estimate from the footer alone. A row group's columns are fetched as a whole,
//! and each of them is decoded page by page.

use std::collections::BTreeSet;

use datafusion::execution::SessionState;
use object_store::ObjectMeta;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;

use crate::error::{Error, ErrorKind};
use crate::memory::ScanLoad;

/// The largest data page and the largest dictionary of most writers, together, in bytes.
const PAGES_BYTES: usize = 2 << 20;

/// This writer makes a single page of a column of a row group.
const WRITER_OF_LARGE_PAGES: &str = "DuckDB";

/// The row groups of a scan: their number, and the largest of them.
#[derive(Debug, Clone, Default)]
pub(in crate::read) struct Weight {
    row_groups: usize,
    /// The memory of the largest, in bytes.
    bytes: usize,
    /// The file of the largest.
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
        let groups = footer
            .row_groups()
            .iter()
            .enumerate()
            .map(|(group, chunks)| {
                let index = footer.offset_index().and_then(|index| index.get(group));
                let chunks = chunks.columns().iter().enumerate();
                let chunks = chunks.filter(|(leaf, _)| {
                    *leaf < columns.num_columns()
                        && wanted.contains(columns.get_column_root(*leaf).name())
                });
                let bytes = chunks.map(|(leaf, chunk)| {
                    let index = index.and_then(|index| index.get(leaf));
                    chunk_bytes(chunk, index, most)
                });
                bytes.fold(0, usize::saturating_add)
            });
        Self {
            row_groups: footer.num_row_groups(),
            bytes: groups.max().unwrap_or_default(),
            file: object.location.to_string(),
        }
    }

    /// The weight of a scan that also reads the files of another.
    pub(in crate::read) fn and(self, other: Self) -> Self {
        let row_groups = self.row_groups + other.row_groups;
        let heavier = match other.bytes > self.bytes {
            true => other,
            false => self,
        };
        Self {
            row_groups,
            ..heavier
        }
    }

    /// Tells the planner of the statement about the scan.
    pub(in crate::read) fn add_to_load(&self, state: &SessionState) {
        if let Some(load) = state.config().get_extension::<ScanLoad>() {
            load.add(self.row_groups, self.bytes);
        }
    }

    /// Refuses to decode a row group that the session's memory has no room for.
    pub(in crate::read) fn refuse_without_room(&self, state: &SessionState) {
        let Some(load) = state.config().get_extension::<ScanLoad>() else {
            return;
        };
        let most = load.largest_row_group();
        if self.bytes <= most {
            return;
        }
        let megabytes = |bytes: usize| bytes.div_ceil(1 << 20);
        let why = format!(
            "a row group of {} takes {} MB of memory to read, and the memory limit has room for {} MB",
            self.file,
            megabytes(self.bytes),
            megabytes(most)
        );
        let more = megabytes(self.bytes - most).next_multiple_of(64);
        let hint = format!(
            "raise the memory limit by {more} MB, select fewer columns, or write the file with \
             smaller row groups"
        );
        load.refuse(Error::new(ErrorKind::OutOfMemory, why).with_hint(hint));
    }
}

/// The memory of a column of a row group, in bytes: its compressed bytes, its dictionary, and its
/// largest page. If the pages are not known, the dictionary and a page have at most `most` bytes.
/// Rows on their way to a writer keep a page of texts in memory while the next one is decoded, so it
/// counts twice.
fn chunk_bytes(
    chunk: &ColumnChunkMetaData,
    index: Option<&OffsetIndexMetaData>,
    most: usize,
) -> usize {
    let size = |bytes: i64| usize::try_from(bytes).unwrap_or_default();
    let (compressed, plain) = (
        size(chunk.compressed_size()),
        size(chunk.uncompressed_size()),
    );
    // A page that is not compressed is not copied.
    if chunk.compression() == Compression::UNCOMPRESSED {
        return compressed;
    }
    let pages = index.map_or(&[][..], |index| index.page_locations());
    let largest = pages
        .iter()
        .map(|page| size(page.compressed_page_size.into()));
    let decoded = match (largest.max(), chunk.dictionary_page_offset(), pages.first()) {
        (None, _, _) | (_, _, None) => plain.min(most),
        (Some(largest), dictionary, Some(first)) => {
            let dictionary = dictionary.map_or(0, |start| size(first.offset.saturating_sub(start)));
            let share = (largest + dictionary) as f64 / compressed.max(1) as f64;
            (plain as f64 * share.min(1.0)) as usize
        }
    };
    let pages = match chunk.column_type() {
        Type::BYTE_ARRAY => 2,
        _ => 1,
    };
    compressed.saturating_add(decoded.saturating_mul(pages))
}
