//! A file that is written past the page cache.
//!
//! Invariant: the file's bytes are the same whether or not the file system takes direct writes.
//!
//! An export is written once and has to be on the disk before it appears: pages of the cache would only
//! be filled, written and thrown away again, which costs more than encoding CSV, and they push out
//! what somebody still reads.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::format::PART_ALIGN_BYTES;

/// The least that is written directly, in bytes: the disk is waited for each time.
const LEAST_DIRECT_BYTES: usize = 256 << 10;

/// How many bytes go to the page cache at once. Linux puts a larger write into folios of megabytes, for
/// which it has to find contiguous memory: that took several times as long.
const CACHED_BYTES: usize = 256 << 10;

/// A file open for writing.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    direct: Direct,
}

/// The same file, open for direct writes.
#[derive(Debug)]
enum Direct {
    Untried(PathBuf),
    Open(File),
    Refused,
}

impl DirectFile {
    /// Creates a file, or opens one that is there if `options` say so.
    ///
    /// # Errors
    /// Those of opening it.
    pub(super) fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        Ok(Self {
            file: options.open(path)?,
            direct: Direct::Untried(path.to_owned()),
        })
    }

    /// The file as any other.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes `bytes` at `offset`. What is a large part, aligned in memory and in the file, goes to the disk
    /// at once; the rest is in the page cache until the file is synced.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = self.write_direct(bytes, offset)?;
        let rest = bytes
            .get(written..)
            .unwrap_or_default()
            .chunks(CACHED_BYTES);
        for (offset, piece) in (offset + written as u64..).step_by(CACHED_BYTES).zip(rest) {
            self.file.write_all_at(piece, offset)?;
        }
        Ok(())
    }

    /// Writes as many whole pages as it can; returns how many bytes they have.
    fn write_direct(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let is_aligned = bytes.as_ptr().align_offset(PART_ALIGN_BYTES) == 0
            && offset.is_multiple_of(PART_ALIGN_BYTES as u64);
        if bytes.len() < LEAST_DIRECT_BYTES || !is_aligned {
            return Ok(0);
        }
        if let Direct::Untried(path) = &self.direct {
            self.direct = open_direct(path).map_or(Direct::Refused, Direct::Open);
        }
        let Direct::Open(file) = &self.direct else {
            return Ok(0);
        };
        let (pages, _) = bytes.split_at(bytes.len() / PART_ALIGN_BYTES * PART_ALIGN_BYTES);
        match file.write_all_at(pages, offset) {
            Ok(()) => Ok(pages.len()),
            // Some take the flag and not the write, or need larger pages.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.direct = Direct::Refused;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

/// `open` says in its notes what a direct write has to be like, and that not all file systems know it
/// (<https://man7.org/linux/man-pages/man2/open.2.html>).
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new()
        .write(true)
        .custom_flags(direct)
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> io::Result<File> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::format::{PartBuffer, PartPool};

    const PART_BYTES: usize = 1 << 20;

    /// Parts of a file: two whole ones and a short one that ends between pages.
    fn parts() -> Vec<Bytes> {
        let mut buffer = PartBuffer::new(PartPool::new(PART_BYTES));
        let bytes: Vec<u8> = (0..PART_BYTES * 2 + 700_001)
            .map(|n| (n / 7) as u8)
            .collect();
        buffer.push(&bytes);
        std::iter::from_fn(|| buffer.take_any()).collect()
    }

    fn write_all(path: &Path, first_offset: u64) -> DirectFile {
        let mut file =
            DirectFile::open(path, OpenOptions::new().write(true).create_new(true)).unwrap();
        let offsets = (first_offset..).step_by(PART_BYTES);
        for (part, offset) in parts().iter().zip(offsets) {
            file.write_at(part, offset).unwrap();
        }
        file
    }

    #[test]
    fn whole_parts_go_to_the_disk_and_nothing_is_lost() {
        let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = root.path().join("file");
        let file = write_all(&path, 0);
        assert!(matches!(file.direct, Direct::Open(_)), "{file:?}");
        assert!(std::fs::read(&path).unwrap() == parts().concat());
    }

    #[test]
    fn what_is_not_aligned_is_written_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        let file = write_all(&path, 1);
        assert!(matches!(file.direct, Direct::Untried(_)), "{file:?}");
        assert!(std::fs::read(&path).unwrap()[1..] == parts().concat());
    }

    #[test]
    fn a_file_system_may_refuse_in_the_middle() {
        let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = root.path().join("file");
        let mut file = write_all(&path, 0);
        file.direct = Direct::Refused;
        let parts = parts();
        file.write_at(&parts[0], PART_BYTES as u64).unwrap();
        let expected = [&parts[0], &parts[0], &parts[2]]
            .map(|part| &part[..])
            .concat();
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}
