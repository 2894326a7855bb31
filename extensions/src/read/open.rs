//! Opens text files.
//!
//! Invariant: at most one chunk of a file is held in memory.

use std::io::{ErrorKind as IoErrorKind, Read};

use bytes::{Buf, Bytes};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetResultPayload, ObjectStore, ObjectStoreExt};

use super::kinds::Kind;
use crate::media_type::{read_attribute, says_header};

/// The byte order mark that Windows programs write at the beginning of a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The compression that the ending of a file's name says.
fn compression_of(file: &Path) -> FileCompressionType {
    let kind = Kind::of(file.filename().unwrap_or_default());
    let compression = kind.compression.and_then(|name| name.parse().ok());
    compression.unwrap_or(FileCompressionType::UNCOMPRESSED)
}

/// The number of bytes of one read from a local file.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) type Chunks = BoxStream<'static, DataFusionResult<Bytes>>;

/// A file that is being read.
pub(super) struct OpenFile {
    /// Its bytes, decompressed and without a byte order mark.
    pub(super) chunks: Chunks,
    /// Whether it says that it has a header; `None` if it does not say.
    pub(super) says_header: Option<bool>,
}

/// Opens a file. The ending of its name says the compression unless `compression` does.
///
/// # Errors
/// The store's, and an error for a compression that this build does not support.
pub(super) async fn open_file(
    store: &dyn ObjectStore,
    location: &Path,
    compression: Option<FileCompressionType>,
) -> DataFusionResult<OpenFile> {
    let compression = compression.unwrap_or_else(|| compression_of(location));
    let found = store.get(location).await?;
    let (chunks, media_type) = match found.payload {
        GetResultPayload::File(file, _) => {
            let media_type = read_attribute(&file);
            let mut file = compression.convert_read(file)?;
            let chunks = std::iter::from_fn(move || read_chunk(&mut file).transpose());
            (futures::stream::iter(chunks).boxed(), media_type)
        }
        GetResultPayload::Stream(bytes) => {
            let media_type = found.attributes.get(&Attribute::ContentType);
            let media_type = media_type.map(|media_type| media_type.as_ref().to_owned());
            let bytes = bytes.map_err(DataFusionError::from).boxed();
            (compression.convert_stream(bytes)?, media_type)
        }
    };
    Ok(OpenFile {
        chunks: without_byte_order_mark(chunks),
        says_header: media_type.as_deref().and_then(says_header),
    })
}

/// The bytes of a file after its byte order mark, which may come in several chunks.
pub(super) fn without_byte_order_mark(mut chunks: Chunks) -> Chunks {
    let begin = async move {
        let mut first = Bytes::new();
        while first.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&first) {
            let Some(more) = chunks.next().await.transpose()? else {
                break;
            };
            first = match first.is_empty() {
                true => more,
                false => [first, more].concat().into(),
            };
        }
        if first.starts_with(BYTE_ORDER_MARK) {
            first.advance(BYTE_ORDER_MARK.len());
        }
        let first = futures::stream::iter([Ok(first)]);
        Ok::<_, DataFusionError>(first.chain(chunks))
    };
    futures::stream::once(begin).try_flatten().boxed()
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
