//! Compression of pages.
//!
//! Invariant: a page's compressed bytes depend only on its own bytes and the codec, not on the
//! pages that the same thread compressed before.
//!
//! The codecs: <https://parquet.apache.org/docs/file-format/data-pages/compression/>

use std::cell::RefCell;
use std::io::{self, Write};

use bytes::Bytes;

use super::super::ParquetCompression;
use crate::error::{Error, ErrorKind, Result};

/// A window of 4 MB, as in the parquet crate.
const BROTLI_WINDOW_BITS: u32 = 22;

/// Upper bound for the memory that each buffer of a thread keeps between pages, in bytes.
const MOST_KEPT: usize = 4 << 20;

/// Buffers and compressors that a thread reuses for all its pages. Compressors need much memory,
/// and there may be thousands of columns, so columns don't have their own.
#[derive(Default)]
struct Workshop {
    page: Vec<u8>,
    compressed: Vec<u8>,
    snappy: Option<snap::raw::Encoder>,
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

thread_local! {
    static WORKSHOP: RefCell<Workshop> = RefCell::default();
}

/// A compressed page.
pub(super) struct CompressedBytes {
    pub(super) bytes: Bytes,
    pub(super) uncompressed_size: usize,
}

/// Compresses the bytes that `write_page` appends to an empty buffer.
///
/// # Errors
/// The codec fails, or the page has more than 2 GB.
pub(super) fn compress(
    codec: ParquetCompression,
    write_page: impl FnOnce(&mut Vec<u8>),
) -> Result<CompressedBytes> {
    WORKSHOP.with_borrow_mut(|workshop| {
        workshop.page.clear();
        write_page(&mut workshop.page);
        let compressed = workshop.compress(codec);
        // The next pages are unlikely to need as much memory as a page with a huge value.
        for buffer in [&mut workshop.page, &mut workshop.compressed] {
            if buffer.capacity() > MOST_KEPT {
                *buffer = Vec::new();
            }
        }
        compressed.map_err(|error| {
            Error::new(ErrorKind::Query, format!("cannot compress a page: {error}"))
                .with_source(error)
        })
    })
}

impl Workshop {
    fn compress(&mut self, codec: ParquetCompression) -> io::Result<CompressedBytes> {
        let page = self.page.as_slice();
        // A page header stores the size as a signed 32-bit integer.
        if i32::try_from(page.len()).is_err() {
            return Err(io::Error::other("it has more than 2 GB"));
        }
        let bytes = match codec {
            ParquetCompression::None => Bytes::copy_from_slice(page),
            ParquetCompression::Snappy => {
                let most = snap::raw::max_compress_len(page.len());
                if self.compressed.len() < most {
                    self.compressed.resize(most, 0);
                }
                let snappy = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
                let length = snappy.compress(page, &mut self.compressed)?;
                Bytes::copy_from_slice(&self.compressed[..length])
            }
            ParquetCompression::Zstd(level) => {
                let (_, compressor) = match &mut self.zstd {
                    Some(zstd) if zstd.0 == level => zstd,
                    other => other.insert((level, zstd::bulk::Compressor::new(level)?)),
                };
                self.compressed.clear();
                let most = zstd::zstd_safe::compress_bound(page.len());
                self.compressed.reserve(most);
                compressor.compress_to_buffer(page, &mut self.compressed)?;
                Bytes::copy_from_slice(&self.compressed)
            }
            ParquetCompression::Lz4Raw => lz4_flex::block::compress(page).into(),
            ParquetCompression::Gzip(level) => {
                let level = flate2::Compression::new(level);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(page)?;
                encoder.finish()?.into()
            }
            ParquetCompression::Brotli(level) => {
                let mut compressed = Vec::new();
                let mut encoder = brotli::CompressorWriter::new(
                    &mut compressed,
                    page.len().max(1),
                    level,
                    BROTLI_WINDOW_BITS,
                );
                encoder.write_all(page)?;
                drop(encoder);
                compressed.into()
            }
        };
        Ok(CompressedBytes {
            bytes,
            uncompressed_size: page.len(),
        })
    }
}
