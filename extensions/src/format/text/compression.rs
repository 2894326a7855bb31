//! Compresses lines before they are cut into parts.
//!
//! Invariant: a file is a single gzip member or a single zstd frame. Several in a row would also be
//! valid and could be compressed in parallel, but some readers stop after the first.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::error::{Error, ErrorKind, Result};
use crate::format::PartBuffer;

/// Compression of a line-based file as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TextCompression {
    /// No compression.
    #[default]
    None,
    /// gzip with a level from 1 to 9: <https://www.rfc-editor.org/rfc/rfc1952>
    Gzip(u32),
    /// Zstandard with a level from 1 to 9: <https://www.rfc-editor.org/rfc/rfc8878>
    Zstd(i32),
}

/// A window of 1 MB. It is small because every open file has a compressor, whose memory is a
/// multiple of the window.
const ZSTD_WINDOW_LOG: u32 = 20;

/// Memory of a zstd compressor with that window above level 4, in bytes: twice the window, and the
/// tables. The table sizes by level:
/// <https://github.com/facebook/zstd/blob/v1.5.7/lib/compress/clevels.h>
const ZSTD_BYTES: usize = 6 << 20;

/// Memory of a zstd compressor up to level 4, in bytes.
const ZSTD_FAST_BYTES: usize = 3 << 20;

/// Memory of a gzip compressor, in bytes:
/// <https://github.com/madler/zlib/blob/v1.3.1/zconf.h#L253>
const GZIP_BYTES: usize = 320 << 10;

impl TextCompression {
    /// The suffix that compression adds to a file's extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip(_) => ".gz",
            Self::Zstd(_) => ".zst",
        }
    }

    /// The HTTP content coding, which clients decode:
    /// <https://www.iana.org/assignments/http-parameters/http-parameters.xhtml#content-coding>
    pub fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip(_) => Some("gzip"),
            Self::Zstd(_) => Some("zstd"),
        }
    }

    /// Memory to compress one file, in bytes.
    pub fn memory_bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Gzip(_) => GZIP_BYTES,
            Self::Zstd(level) if level <= 4 => ZSTD_FAST_BYTES,
            Self::Zstd(_) => ZSTD_BYTES,
        }
    }
}

/// A compressor that writes into a part buffer.
pub(super) struct TextParts {
    sink: Sink,
    compression: TextCompression,
}

enum Sink {
    Plain(PartBuffer),
    Gzip(GzEncoder<PartBuffer>),
    Zstd(zstd::Encoder<'static, PartBuffer>),
}

impl TextParts {
    pub(super) fn new(buffer: PartBuffer, compression: TextCompression) -> Result<Self> {
        let sink = match compression {
            TextCompression::None => Sink::Plain(buffer),
            TextCompression::Gzip(level) => {
                Sink::Gzip(GzEncoder::new(buffer, flate2::Compression::new(level)))
            }
            TextCompression::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(buffer, level).map_err(compression_failed)?;
                encoder
                    .window_log(ZSTD_WINDOW_LOG)
                    .and_then(|()| encoder.include_checksum(true))
                    .map_err(compression_failed)?;
                Sink::Zstd(encoder)
            }
        };
        Ok(Self { sink, compression })
    }

    pub(super) fn push(&mut self, text: &[u8]) -> Result<()> {
        match &mut self.sink {
            Sink::Plain(buffer) => {
                buffer.push(text);
                Ok(())
            }
            Sink::Gzip(encoder) => encoder.write_all(text).map_err(compression_failed),
            Sink::Zstd(encoder) => encoder.write_all(text).map_err(compression_failed),
        }
    }

    pub(super) fn buffer(&self) -> &PartBuffer {
        match &self.sink {
            Sink::Plain(buffer) => buffer,
            Sink::Gzip(encoder) => encoder.get_ref(),
            Sink::Zstd(encoder) => encoder.get_ref(),
        }
    }

    pub(super) fn buffer_mut(&mut self) -> &mut PartBuffer {
        match &mut self.sink {
            Sink::Plain(buffer) => buffer,
            Sink::Gzip(encoder) => encoder.get_mut(),
            Sink::Zstd(encoder) => encoder.get_mut(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.buffer().buffered_bytes() + self.compression.memory_bytes()
    }

    /// Ends the compressed stream. Returns the parts that were not taken yet.
    pub(super) fn finish(self) -> Result<PartBuffer> {
        match self.sink {
            Sink::Plain(buffer) => Ok(buffer),
            Sink::Gzip(encoder) => encoder.finish().map_err(compression_failed),
            Sink::Zstd(encoder) => encoder.finish().map_err(compression_failed),
        }
    }
}

fn compression_failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot compress: {error}")).with_source(error)
}
