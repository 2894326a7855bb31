//! Options for writing Parquet.
//!
//! Invariant: levels are within the range of their codec; sizes are greater than 0.

use arrow::datatypes::TimeUnit;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use super::encode_error;
use crate::error::Result;

/// A codec for pages:
/// <https://parquet.apache.org/docs/file-format/data-pages/compression/>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ParquetCompression {
    /// No compression.
    None,
    /// Snappy.
    #[default]
    Snappy,
    /// gzip with a level from 0 to 9.
    Gzip(u32),
    /// Brotli with a level from 0 to 11.
    Brotli(u32),
    /// Zstandard with a level from 1 to 22.
    Zstd(i32),
    /// LZ4 without Hadoop's framing.
    Lz4Raw,
}

impl ParquetCompression {
    pub(super) fn codec(self) -> Result<Compression> {
        Ok(match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Snappy => Compression::SNAPPY,
            Self::Gzip(level) => {
                Compression::GZIP(GzipLevel::try_new(level).map_err(encode_error)?)
            }
            Self::Brotli(level) => {
                Compression::BROTLI(BrotliLevel::try_new(level).map_err(encode_error)?)
            }
            Self::Zstd(level) => {
                Compression::ZSTD(ZstdLevel::try_new(level).map_err(encode_error)?)
            }
            Self::Lz4Raw => Compression::LZ4_RAW,
        })
    }
}

/// Options for writing Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ParquetOptions {
    /// Compression of pages.
    pub compression: ParquetCompression,
    /// A row group ends at this many rows or at `row_group_bytes`, whichever comes first.
    pub row_group_rows: usize,
    /// Limit of a row group in encoded bytes.
    pub row_group_bytes: usize,
    /// The unit that timestamps are cast to; `None` keeps the unit of the query.
    pub timestamp_unit: Option<TimeUnit>,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            compression: ParquetCompression::Snappy,
            row_group_rows: 1 << 20,
            row_group_bytes: 64 << 20,
            timestamp_unit: None,
        }
    }
}
