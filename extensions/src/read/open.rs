//! Opens text files.
//!
//! Invariant: at most one chunk of a file is held in memory.

use std::io::{ErrorKind as IoErrorKind, Read};

use bytes::Bytes;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetResultPayload, ObjectStore, ObjectStoreExt};

use super::kinds::Kind;
use crate::media_type::{ATTRIBUTE, says_header};

/// The compression that the ending of a file's name says.
pub(super) fn compression_of(file: &Path) -> FileCompressionType {
    let kind = Kind::of(file.filename().unwrap_or_default());
    let compression = kind.compression.and_then(|name| name.parse().ok());
    compression.unwrap_or(FileCompressionType::UNCOMPRESSED)
}

/// The number of bytes of one read from a local file.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) type Chunks = BoxStream<'static, DataFusionResult<Bytes>>;

/// A file that is being read.
pub(super) struct OpenFile {
    /// Its bytes, decompressed.
    pub(super) chunks: Chunks,
    /// Whether it says that it has a header; `None` if it does not say.
    pub(super) says_header: Option<bool>,
}

/// Opens a file.
///
/// # Errors
/// The store's, and an error for a compression that this build does not support.
pub(super) async fn open_file(
    store: &dyn ObjectStore,
    location: &Path,
    compression: FileCompressionType,
) -> DataFusionResult<OpenFile> {
    let found = store.get(location).await?;
    let media_type = found.attributes.get(&Attribute::ContentType);
    let media_type = media_type.map(|media_type| media_type.as_ref().to_owned());
    match found.payload {
        GetResultPayload::File(file, _) => {
            let media_type = read_attribute(&file);
            let mut file = compression.convert_read(file)?;
            let chunks = std::iter::from_fn(move || read_chunk(&mut file).transpose());
            Ok(OpenFile {
                chunks: futures::stream::iter(chunks).boxed(),
                says_header: media_type.as_deref().and_then(says_header),
            })
        }
        GetResultPayload::Stream(bytes) => {
            let bytes = bytes.map_err(DataFusionError::from).boxed();
            Ok(OpenFile {
                chunks: compression.convert_stream(bytes)?,
                says_header: media_type.as_deref().and_then(says_header),
            })
        }
    }
}

/// The media type that an export has left with a file.
fn read_attribute(file: &std::fs::File) -> Option<String> {
    let mut value = [0_u8; 64];
    let length = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut value).ok()?;
    String::from_utf8(value.get(..length)?.to_vec()).ok()
}

fn read_chunk(file: &mut dyn Read) -> DataFusionResult<Option<Bytes>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                chunk.truncate(length);
                return Ok(Some(chunk.into()));
            }
            Err(error) if error.kind() == IoErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
