//! A file that is written past the page cache.
//!
//! Invariant: the file's bytes are the same whether or not the file system supports direct writes.
//!
//! An export is written once and must be on disk before it appears. In the page cache, its pages
//! would only be filled, written and discarded, which costs more than encoding CSV. They would also
//! evict pages that other programs still read.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use crate::format::PART_ALIGN_BYTES;

/// Lower bound for a direct write, in bytes: each direct write waits for the disk.
const LEAST_DIRECT_BYTES: usize = 256 << 10;

/// Size of one write to the page cache, in bytes. Linux puts a larger write into folios of
/// megabytes, which need contiguous memory: this took several times as long.
const CACHED_BYTES: usize = 256 << 10;

/// A file open for writing.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    way: Way,
}

/// Where the next write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Disk,
    Cache,
    /// Only the page cache: the file system has refused a direct write, or the store does not sync.
    OnlyCache,
}

impl DirectFile {
    /// Takes over a file that is open for writing.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            way: Way::Cache,
        }
    }

    /// Takes over a file that is open for writing, and writes only to the page cache.
    pub(super) fn cached(file: File) -> Self {
        Self {
            file,
            way: Way::OnlyCache,
        }
    }

    /// Writes `bytes` at `offset`. If a large part is aligned in memory and in the file, its whole
    /// pages go directly to the disk. Other bytes stay in the page cache until the file is synced.
    ///
    /// # Errors
    /// An error of the write.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let is_aligned = bytes.as_ptr().align_offset(PART_ALIGN_BYTES) == 0
            && offset.is_multiple_of(PART_ALIGN_BYTES as u64);
        if bytes.len() < LEAST_DIRECT_BYTES || !is_aligned || self.way == Way::OnlyCache {
            return self.write_cached(bytes, offset);
        }
        let (pages, rest) = bytes.split_at(bytes.len() / PART_ALIGN_BYTES * PART_ALIGN_BYTES);
        let written = self
            .switch_to(Way::Disk)
            .and_then(|()| self.file.write_all_at(pages, offset));
        match written {
            Ok(()) if rest.is_empty() => Ok(()),
            Ok(()) => self.write_cached(rest, offset + pages.len() as u64),
            // Some file systems have no direct writes, some accept the flag but not the write, and
            // some need larger pages.
            Err(error) if is_refusal(&error) => {
                self.switch_to(Way::OnlyCache)?;
                self.write_cached(bytes, offset)
            }
            Err(error) => Err(error),
        }
    }

    fn write_cached(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.way == Way::Disk {
            self.switch_to(Way::Cache)?;
        }
        let pieces = (offset..)
            .step_by(CACHED_BYTES)
            .zip(bytes.chunks(CACHED_BYTES));
        for (offset, piece) in pieces {
            self.file.write_all_at(piece, offset)?;
        }
        Ok(())
    }

    /// Makes all written bytes durable.
    ///
    /// # Errors
    /// An error of the write.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The requirements for direct writes, which not every file system supports:
    /// <https://man7.org/linux/man-pages/man2/open.2.html>, `O_DIRECT`.
    #[cfg(target_os = "linux")]
    fn switch_to(&mut self, way: Way) -> io::Result<()> {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

        if self.way != way {
            let mut flags = fcntl_getfl(&self.file)?;
            flags.set(OFlags::DIRECT, way == Way::Disk);
            fcntl_setfl(&self.file, flags)?;
            self.way = way;
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn switch_to(&mut self, way: Way) -> io::Result<()> {
        self.way = way;
        match way {
            Way::Disk => Err(ErrorKind::Unsupported.into()),
            Way::Cache | Way::OnlyCache => Ok(()),
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tempfile::NamedTempFile;

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

    /// A file, and the same file open for writing.
    fn new_file() -> (NamedTempFile, DirectFile) {
        let file = NamedTempFile::new().unwrap();
        let direct = DirectFile::new(file.reopen().unwrap());
        (file, direct)
    }

    fn write_all(file: &mut DirectFile, parts: &[Bytes], first_offset: u64) {
        let offsets = (first_offset..).step_by(PART_BYTES);
        for (part, offset) in parts.iter().zip(offsets) {
            file.write_at(part, offset).unwrap();
        }
    }

    #[test]
    fn whole_pages_go_to_the_disk_and_nothing_is_lost() {
        let (file, mut direct) = new_file();
        let parts = parts();
        write_all(&mut direct, &parts[..2], 0);
        // Not every file system supports direct writes.
        assert!(direct.way != Way::Cache);
        write_all(&mut direct, &parts, 0);
        assert!(direct.way != Way::Disk, "the last part ends between pages");
        assert!(std::fs::read(&file).unwrap() == parts.concat());
    }

    #[test]
    fn what_is_not_aligned_is_written_all_the_same() {
        let (file, mut direct) = new_file();
        let parts = parts();
        write_all(&mut direct, &parts, 1);
        assert_eq!(direct.way, Way::Cache);
        assert!(std::fs::read(&file).unwrap()[1..] == parts.concat());
    }

    #[test]
    fn a_file_system_may_refuse_in_the_middle() {
        let (file, mut direct) = new_file();
        let parts = parts();
        write_all(&mut direct, &parts, 0);
        direct.switch_to(Way::OnlyCache).unwrap();
        direct.write_at(&parts[0], PART_BYTES as u64).unwrap();
        assert_eq!(direct.way, Way::OnlyCache);
        let expected = [&parts[0], &parts[0], &parts[2]].map(|part| &part[..]);
        assert!(std::fs::read(&file).unwrap() == expected.concat());
    }
}
