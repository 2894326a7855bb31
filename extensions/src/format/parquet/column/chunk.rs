//! The pages of one column chunk, in the form that is written to the file.
//!
//! Invariant: a chunk consists of its dictionary page, if any, and its data pages in row order.
//! Every offset, size and count in its metadata is taken from the pages themselves.
//!
//! The layout: <https://parquet.apache.org/docs/file-format/data-pages/>, pages of version 1.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use parquet::basic::{Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::super::{ParquetCompression, encode_error};
use super::codec::CompressedBytes;
use crate::error::Result;

/// Space reserved for a page's header, in bytes.
const HEADER_BYTES: usize = 64;

/// The pages of a chunk that is being written.
pub(super) struct ChunkWriter {
    column: ColumnDescPtr,
    data_pages: Vec<WrittenPage>,
}

struct WrittenPage {
    /// The page with its header.
    bytes: Bytes,
    uncompressed_size: usize,
    /// 0 for a dictionary page.
    rows: usize,
    /// Values, NULLs and empty lists; 0 for a dictionary page.
    entries: usize,
    encoding: Encoding,
}

/// A finished chunk, to be appended to its row group.
pub(in super::super) struct EncodedChunk {
    pages: Pages,
    close: ColumnCloseResult,
}

impl ChunkWriter {
    pub(super) fn new(column: ColumnDescPtr) -> Self {
        Self {
            column,
            data_pages: Vec::new(),
        }
    }

    /// Adds a page of `rows` rows and `entries` entries: values, NULLs and empty lists.
    ///
    /// # Errors
    /// The page has more values or bytes than Parquet can count.
    pub(super) fn add_data_page(
        &mut self,
        page: CompressedBytes,
        rows: usize,
        entries: usize,
        encoding: Encoding,
    ) -> Result<()> {
        let num_values = u32::try_from(entries).map_err(|error| encode_error(error.into()))?;
        let data_page = Page::DataPage {
            buf: page.bytes,
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page = write_page(data_page, page.uncompressed_size)?;
        self.data_pages.push(WrittenPage {
            rows,
            entries,
            ..page
        });
        Ok(())
    }

    /// Size of the finished data pages, in bytes.
    pub(super) fn encoded_bytes(&self) -> usize {
        self.data_pages.iter().map(|page| page.bytes.len()).sum()
    }

    /// Ends the chunk. `dictionary` is the dictionary page and its number of values.
    ///
    /// # Errors
    /// As [`Self::add_data_page`].
    pub(super) fn close(
        self,
        codec: ParquetCompression,
        dictionary: Option<(CompressedBytes, usize)>,
        statistics: Statistics,
        column_index: Option<ColumnIndexMetaData>,
        offset_index: bool,
    ) -> Result<EncodedChunk> {
        let dictionary = dictionary.map(|(page, values)| {
            let num_values = u32::try_from(values).map_err(|error| encode_error(error.into()))?;
            let dictionary_page = Page::DictionaryPage {
                buf: page.bytes,
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            write_page(dictionary_page, page.uncompressed_size)
        });
        let dictionary = dictionary.transpose()?;
        let dictionary_bytes = dictionary.as_ref().map_or(0, |page| page.bytes.len());

        let mut offsets = OffsetIndexBuilder::new();
        let mut offset = dictionary_bytes;
        let (mut rows, mut entries) = (0, 0);
        let mut encodings = vec![Encoding::RLE];
        let mut page_encodings = Vec::new();
        if dictionary.is_some() {
            count_page(
                &mut page_encodings,
                PageType::DICTIONARY_PAGE,
                Encoding::PLAIN,
            );
            encodings.push(Encoding::PLAIN);
        }
        for page in &self.data_pages {
            offsets.append_row_count(page.rows as i64);
            let size =
                i32::try_from(page.bytes.len()).map_err(|error| encode_error(error.into()))?;
            offsets.append_offset_and_size(offset as i64, size);
            count_page(&mut page_encodings, PageType::DATA_PAGE, page.encoding);
            if !encodings.contains(&page.encoding) {
                encodings.push(page.encoding);
            }
            offset += page.bytes.len();
            rows += page.rows;
            entries += page.entries;
        }
        let all = || dictionary.iter().chain(&self.data_pages);
        let uncompressed: usize = all().map(|page| page.uncompressed_size).sum();
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(codec.codec()?)
            .set_encodings(encodings)
            .set_page_encoding_stats(page_encodings)
            .set_total_compressed_size(offset as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_num_values(entries as i64)
            .set_data_page_offset(dictionary_bytes as i64)
            .set_dictionary_page_offset(dictionary.as_ref().map(|_| 0))
            .set_statistics(statistics)
            .build()
            .map_err(encode_error)?;
        let pages = dictionary.into_iter().chain(self.data_pages);
        Ok(EncodedChunk {
            pages: Pages(pages.map(|page| page.bytes).collect()),
            close: ColumnCloseResult {
                bytes_written: offset as u64,
                rows_written: rows as u64,
                metadata,
                bloom_filter: None,
                column_index,
                offset_index: offset_index.then(|| offsets.build()),
            },
        })
    }
}

/// Counts a page. Consecutive pages of the same kind share one count.
fn count_page(counts: &mut Vec<PageEncodingStats>, page_type: PageType, encoding: Encoding) {
    match counts.last_mut() {
        Some(last) if last.page_type == page_type && last.encoding == encoding => last.count += 1,
        _ => counts.push(PageEncodingStats {
            page_type,
            encoding,
            count: 1,
        }),
    }
}

/// Serializes a page with its header.
fn write_page(page: Page, uncompressed_size: usize) -> Result<WrittenPage> {
    let encoding = page.encoding();
    let page = CompressedPage::new(page, uncompressed_size);
    let bytes = Vec::with_capacity(page.compressed_size() + HEADER_BYTES);
    let mut sink = TrackedWrite::new(bytes);
    let written = SerializedPageWriter::new(&mut sink).write_page(page);
    let PageWriteSpec {
        uncompressed_size, ..
    } = written.map_err(encode_error)?;
    let bytes = sink.into_inner().map_err(encode_error)?.into();
    Ok(WrittenPage {
        bytes,
        uncompressed_size,
        rows: 0,
        entries: 0,
        encoding,
    })
}

/// The bytes of a chunk, page by page. They are read once from the start, when the chunk is copied
/// into a row group.
#[derive(Clone)]
struct Pages(VecDeque<Bytes>);

impl EncodedChunk {
    /// Appends the chunk to its row group.
    ///
    /// # Errors
    /// The chunk does not belong to the next column of the row group.
    pub(in super::super) fn append_to<W: Write + Send>(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        row_group
            .append_column(&self.pages, self.close)
            .map_err(encode_error)
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl ChunkReader for Pages {
    type T = Self;

    fn get_read(&self, start: u64) -> ParquetResult<Self> {
        let mut pages = self.clone();
        let mut skipped = start;
        while let Some(page) = pages.0.front_mut() {
            let step = skipped.min(page.len() as u64);
            page.advance(step as usize);
            skipped -= step;
            if skipped == 0 {
                break;
            }
            pages.0.pop_front();
        }
        Ok(pages)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Read for Pages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.0.front().is_some_and(Bytes::is_empty) {
            self.0.pop_front();
        }
        let Some(page) = self.0.front_mut() else {
            return Ok(0);
        };
        let length = buffer.len().min(page.len());
        page.split_to(length).copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
