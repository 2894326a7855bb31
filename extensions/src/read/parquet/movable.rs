//! Row groups that are read as they are, without decoding.
//!
//! Invariant: all bytes come from one version of the file: the one that was planned. A file that
//! changed since then fails the statement. Lists of some stores have no ETags, so a file is looked at
//! once more before it is read. Statistics that [`trust`](super::trust) knows to be wrong
//! are left out, because the new file does not say who wrote it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataOptions, ParquetMetaDataReader};

use super::trust::publishable;
use crate::error::{Error, ErrorKind, Result};
use crate::format::SpliceSource;

/// The most bytes that one request reads.
pub(crate) const READ_BYTES: u64 = 4 << 20;

/// Requests are joined if no more than this is between their bytes. It is read for nothing.
const GAP_BYTES: u64 = 64 << 10;

/// Row groups of a file, and the columns of them that are read.
#[derive(Debug, Clone)]
pub(crate) struct MovableFile {
    /// The store of the file.
    pub(crate) store_url: ObjectStoreUrl,
    /// The file.
    pub(crate) object: ObjectMeta,
    /// The row groups.
    pub(crate) row_groups: Vec<MovableRowGroup>,
    /// The top-level columns, in the order of the result.
    pub(crate) columns: Vec<usize>,
}

/// A row group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MovableRowGroup {
    /// Its place in the file.
    pub(crate) number: usize,
    /// Its rows.
    pub(crate) rows: u64,
    /// The bytes of its columns that are read.
    pub(crate) bytes: u64,
}

/// One request, and the places in its answer that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    range: Range<u64>,
    wanted: Vec<Wanted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    range: Range<u64>,
    /// A column begins here.
    begins_column: bool,
}

impl MovableFile {
    /// The rows of the row groups.
    pub(crate) fn rows(&self) -> u64 {
        self.row_groups.iter().map(|group| group.rows).sum()
    }

    /// Looks at the file and reads its footer.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::DataCorrupted`] if the file has changed.
    pub(crate) async fn open(&self, store: &Arc<dyn ObjectStore>) -> Result<OpenMovableFile> {
        let object = store.head(&self.object.location).await;
        let object = object.map_err(|error| self.failed(error.into()))?;
        if !is_same_version(&self.object, &object) {
            return Err(self.changed());
        }
        let file = PinnedFile {
            store: Arc::clone(store),
            object,
        };
        let all = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        let footer = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_metadata_options(Some(all))
            .load_and_finish(file.clone(), self.object.size)
            .await
            .map_err(|error| self.failed(error))?;
        let footer = publishable(&footer).unwrap_or(footer);
        let is_planned = |planned: &MovableRowGroup| {
            let group = footer.row_groups().get(planned.number);
            let rows = group.and_then(|group| u64::try_from(group.num_rows()).ok());
            rows == Some(planned.rows)
        };
        if !self.row_groups.iter().all(is_planned) {
            return Err(self.changed());
        }
        let source = SpliceSource::new(Arc::new(footer), &self.columns)?;
        Ok(OpenMovableFile { file, source })
    }

    /// The bytes of all row groups, each in the order of [`SpliceSource::ranges`], read by up to
    /// `requests` requests at once. An item has bytes of one row group.
    pub(crate) fn read<'a>(
        &'a self,
        open: &'a OpenMovableFile,
        requests: usize,
    ) -> impl Stream<Item = Result<Vec<Bytes>>> + Send + use<'a> {
        let reads = self.row_groups.iter().flat_map(|group| {
            let ranges = open.source.ranges(group.number);
            join(ranges, open.source.columns())
        });
        let fetch = move |read: Read| async move {
            let bytes = open.file.get(read.range.clone()).await;
            let bytes = bytes.map_err(|error| self.failed(error.into()))?;
            if bytes.len() as u64 != read.range.end - read.range.start {
                return Err(self.changed());
            }
            let at = |place: u64| (place - read.range.start) as usize;
            let pieces = read.wanted.iter().map(|wanted| {
                let piece = bytes.slice(at(wanted.range.start)..at(wanted.range.end));
                match wanted.begins_column && !begins_with_page(&piece) {
                    true => Err(self.without_page()),
                    false => Ok(piece),
                }
            });
            pieces.collect()
        };
        futures::stream::iter(reads).map(fetch).buffered(requests)
    }

    fn without_page(&self) -> Error {
        let why = format!(
            "a column of {} does not begin with a page",
            self.object.location
        );
        Error::new(ErrorKind::DataCorrupted, why)
            .with_hint("the file is damaged or encrypted; PASSTHROUGH = 'off' decodes it")
    }

    fn failed(&self, error: ParquetError) -> Error {
        if let ParquetError::External(source) = &error
            && let Some(object_store::Error::Precondition { .. }) = source.downcast_ref()
        {
            return self.changed();
        }
        let why = format!("{} can't be read: {error}", self.object.location);
        Error::new(ErrorKind::Io, why).with_source(error)
    }

    fn changed(&self) -> Error {
        let why = format!("{} changed while it was read", self.object.location);
        Error::new(ErrorKind::DataCorrupted, why).with_hint("run the statement again")
    }
}

/// Whether bytes begin as the header of a page, in Thrift's compact protocol: the type of the page and
/// its size.
/// <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>
fn begins_with_page(bytes: &[u8]) -> bool {
    const INTEGER_OF_NEXT_FIELD: u8 = 0x15;
    const MOST_TYPES: u8 = 4;
    match bytes {
        [first, page_type, second, ..] => {
            // Integers have their sign in the lowest bit.
            let is_type = page_type % 2 == 0 && page_type / 2 < MOST_TYPES;
            [*first, *second] == [INTEGER_OF_NEXT_FIELD; 2] && is_type
        }
        _ => false,
    }
}

/// Joins and divides ranges into requests of at most [`READ_BYTES`]. The first `columns` ranges are
/// columns.
fn join(ranges: Vec<Range<u64>>, columns: usize) -> Vec<Read> {
    let mut reads: Vec<Read> = Vec::new();
    for (number, range) in ranges.into_iter().enumerate() {
        let mut start = range.start;
        while start < range.end {
            let joined = reads.last_mut().filter(|read| {
                start >= read.range.end
                    && start - read.range.end <= GAP_BYTES
                    && start < read.range.start + READ_BYTES
            });
            let read = match joined {
                Some(read) => read,
                None => {
                    reads.push(Read {
                        range: start..start,
                        wanted: Vec::new(),
                    });
                    continue;
                }
            };
            let end = range.end.min(read.range.start + READ_BYTES);
            read.range.end = end;
            read.wanted.push(Wanted {
                range: start..end,
                begins_column: number < columns && start == range.start,
            });
            start = end;
        }
    }
    reads
}

/// A file whose footer was read.
pub(crate) struct OpenMovableFile {
    file: PinnedFile,
    source: SpliceSource,
}

impl OpenMovableFile {
    /// The columns that are moved.
    pub(crate) fn source(&self) -> &SpliceSource {
        &self.source
    }

    /// The ETag by which a store compares versions, if it has one.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.file.strong_etag()
    }
}

/// Whether an object is still the version that was seen. Only seconds of the time are compared: headers
/// have no more.
fn is_same_version(seen: &ObjectMeta, now: &ObjectMeta) -> bool {
    seen.size == now.size
        && match (&seen.e_tag, &now.e_tag) {
            (Some(seen), Some(now)) => seen == now,
            _ => seen.last_modified.timestamp() == now.last_modified.timestamp(),
        }
}

/// A version of a file.
#[derive(Clone)]
struct PinnedFile {
    store: Arc<dyn ObjectStore>,
    object: ObjectMeta,
}

impl PinnedFile {
    /// A weak ETag never matches: <https://www.rfc-editor.org/rfc/rfc9110#name-if-match>
    fn strong_etag(&self) -> Option<&str> {
        let etag = self.object.e_tag.as_deref();
        etag.filter(|etag| !etag.starts_with("W/"))
    }

    async fn get(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        let options = GetOptions {
            if_match: self.strong_etag().map(str::to_owned),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.object.location, options).await?;
        // Not every store compares ETags.
        if !is_same_version(&self.object, &found.meta) {
            return Err(object_store::Error::Precondition {
                path: self.object.location.to_string(),
                source: "it is another version".into(),
            });
        }
        found.bytes().await
    }
}

impl MetadataFetch for PinnedFile {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { Ok(self.get(range).await?) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_cover_every_wanted_byte_once(
            lengths in proptest::collection::vec((0..3 * READ_BYTES, 0..2 * GAP_BYTES), 0..12),
            backwards: bool,
        ) {
            let mut at = 4;
            let mut ranges: Vec<Range<u64>> = Vec::new();
            for (length, gap) in lengths {
                ranges.push(at..at + length);
                at += length + gap;
            }
            if backwards {
                ranges.reverse();
            }
            let reads = join(ranges.clone(), ranges.len());
            let mut wanted = reads.iter().flat_map(|read| read.wanted.clone());
            for range in ranges {
                let mut start = range.start;
                while start < range.end {
                    let next = wanted.next().unwrap();
                    prop_assert_eq!(next.range.start, start);
                    prop_assert_eq!(next.begins_column, start == range.start);
                    start = next.range.end;
                }
                prop_assert_eq!(start, range.end);
            }
            prop_assert!(wanted.next().is_none());
            for read in &reads {
                prop_assert!(read.range.end - read.range.start <= READ_BYTES);
                let inside = |Wanted { range, .. }: &Wanted| {
                    read.range.start <= range.start && range.end <= read.range.end
                };
                prop_assert!(!read.wanted.is_empty() && read.wanted.iter().all(inside));
            }
        }
    }
}
