//! How Parquet is written.
//!
//! Invariant: levels are in the range of their codec; sizes are greater than 0.

use arrow::datatypes::TimeUnit;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use super::encode_error;
use crate::error::Result;

/// A codec for pages:
/// <https://parquet.apache.org/docs/file-format/data-pages/compression/>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParquetCompression {
    /// Not compressed.
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

/// How Parquet is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParquetOptions {
    /// How pages are compressed.
    pub compression: ParquetCompression,
    /// A row group ends at so many rows …
    pub row_group_rows: usize,
    /// … or so many encoded bytes, whichever comes first.
    pub row_group_bytes: usize,
    /// What timestamps are cast to; none where they stay as the query returns them.
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
