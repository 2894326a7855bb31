//! Encoded bytes, cut into parts of equal size.
//!
//! Invariant: every part except the last has exactly the requested size, as R2 requires:
//! <https://developers.cloudflare.com/r2/objects/multipart-objects/>. Parts of that size start at a
//! multiple of [`PART_ALIGN_BYTES`] in memory and are handed out without a copy.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Upper bound for idle parts whose memory one export keeps for reuse.
const IDLE_PARTS: usize = 4;

/// Alignment of the memory of full parts, in bytes. Direct I/O needs memory that is aligned to a
/// page.
pub const PART_ALIGN_BYTES: usize = 4096;

/// Reuses the memory of sent parts for new parts. Allocating it from the system for every part
/// would cost as much as filling it.
#[derive(Debug, Clone)]
pub struct PartPool {
    part_bytes: usize,
    idle: Arc<Mutex<Vec<PartMemory>>>,
}

/// The memory of a part. Its content begins at the aligned index `start`.
#[derive(Debug, Default)]
struct PartMemory {
    bytes: Vec<u8>,
    start: usize,
}

impl PartMemory {
    /// Aligned memory for `part_bytes` bytes.
    fn whole(part_bytes: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(part_bytes + PART_ALIGN_BYTES);
        let start = bytes.as_ptr().align_offset(PART_ALIGN_BYTES);
        let start = start.min(PART_ALIGN_BYTES);
        bytes.resize(start, 0);
        Self { bytes, start }
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity() - self.start
    }
}

impl PartPool {
    /// A pool for parts of `part_bytes` bytes (at least 1).
    pub fn new(part_bytes: usize) -> Self {
        Self {
            part_bytes: part_bytes.max(1),
            idle: Arc::default(),
        }
    }

    fn give_back(&self, mut memory: PartMemory) {
        let mut idle = self.idle();
        if idle.len() < IDLE_PARTS && memory.capacity() >= self.part_bytes {
            memory.bytes.truncate(memory.start);
            idle.push(memory);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PartMemory>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that returns its memory to its pool when it is dropped.
struct PooledPart {
    memory: PartMemory,
    pool: PartPool,
}

impl AsRef<[u8]> for PooledPart {
    fn as_ref(&self) -> &[u8] {
        &self.memory.bytes[self.memory.start..]
    }
}

impl Drop for PooledPart {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

/// Collects bytes and hands them out in parts.
#[derive(Debug)]
pub struct PartBuffer {
    pool: PartPool,
    full: VecDeque<Bytes>,
    current: PartMemory,
    written: u64,
}

impl PartBuffer {
    /// An empty buffer. `pool` defines the size of its parts and provides their memory.
    pub fn new(pool: PartPool) -> Self {
        Self {
            pool,
            full: VecDeque::new(),
            current: PartMemory::default(),
            written: 0,
        }
    }

    /// Number of bytes written so far, including the parts already taken.
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// The memory in use, in bytes.
    pub fn buffered_bytes(&self) -> usize {
        self.full.iter().map(Bytes::len).sum::<usize>() + self.current.capacity()
    }

    /// The next full part.
    pub fn take_full(&mut self) -> Option<Bytes> {
        self.full.pop_front()
    }

    /// Takes the next part after the end of a file: first the full parts, then the short last part,
    /// if any.
    pub fn take_any(&mut self) -> Option<Bytes> {
        self.full.pop_front().or_else(|| {
            let rest = std::mem::take(&mut self.current);
            if rest.len() > rest.capacity() / 2 {
                return Some(Bytes::from(rest.bytes).slice(rest.start..));
            }
            // Copied, because a short part would hold much more memory than it has bytes.
            let short = Bytes::copy_from_slice(&rest.bytes[rest.start..]);
            self.pool.give_back(rest);
            (!short.is_empty()).then_some(short)
        })
    }

    /// Appends bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.pool.part_bytes - self.current.len();
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.reserve(fits.len());
            self.current.bytes.extend_from_slice(fits);
            bytes = rest;
            if self.current.len() == self.pool.part_bytes {
                self.full.push_back(Bytes::from_owner(PooledPart {
                    memory: std::mem::take(&mut self.current),
                    pool: self.pool.clone(),
                }));
            }
        }
    }

    /// Doubles the part's memory, up to the part size. A part that needs more than half of its full
    /// size gets the memory of a whole part at once. After the first part, smaller parts also take
    /// whole memory if the pool has any.
    fn reserve(&mut self, additional: usize) {
        let (needed, part_bytes) = (self.current.len() + additional, self.pool.part_bytes);
        if needed <= self.current.capacity() {
            return;
        }
        let doubled = needed.max(self.current.capacity() * 2).min(part_bytes);
        let is_large = doubled > part_bytes / 2;
        let idle = match is_large || self.written > part_bytes as u64 {
            true => self.pool.idle().pop(),
            false => None,
        };
        let whole = idle.or_else(|| is_large.then(|| PartMemory::whole(part_bytes)));
        match whole {
            Some(mut whole) => {
                whole.bytes.extend_from_slice(&self.current.bytes);
                self.current = whole;
            }
            None => {
                let additional = doubled - self.current.len();
                self.current.bytes.reserve_exact(additional);
            }
        }
    }
}

impl io::Write for PartBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_equal_and_nothing_is_lost(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..40),
            part_bytes in 1usize..32,
        ) {
            let mut buffer = PartBuffer::new(PartPool::new(part_bytes));
            let mut parts = Vec::new();
            for chunk in &chunks {
                buffer.push(chunk);
                parts.extend(std::iter::from_fn(|| buffer.take_full()));
            }
            prop_assert!(parts.iter().all(|part| part.len() == part_bytes));
            let is_aligned = |part: &Bytes| part.as_ptr().align_offset(PART_ALIGN_BYTES) == 0;
            prop_assert!(parts.iter().all(is_aligned));
            parts.extend(std::iter::from_fn(|| buffer.take_any()));
            let expected: Vec<u8> = chunks.concat();
            prop_assert_eq!(buffer.written_bytes(), expected.len() as u64);
            prop_assert_eq!(parts.concat(), expected);
        }
    }
}
