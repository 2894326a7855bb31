//! Encoded bytes, cut into parts of one size.
//!
//! Invariant: every part but the last has exactly the size asked for (R2 requires it:
//! <https://developers.cloudflare.com/r2/objects/multipart-objects/>), and no byte is moved again
//! once it is in its part.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

/// Collects bytes and hands them out in parts.
#[derive(Debug)]
pub struct PartBuffer {
    part_bytes: usize,
    full: VecDeque<Bytes>,
    current: Vec<u8>,
    written: u64,
}

impl PartBuffer {
    /// An empty buffer for parts of `part_bytes` bytes (at least 1).
    pub fn new(part_bytes: usize) -> Self {
        Self {
            part_bytes: part_bytes.max(1),
            full: VecDeque::new(),
            current: Vec::new(),
            written: 0,
        }
    }

    /// All bytes written so far, those already taken included.
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// The bytes that are here now.
    pub fn buffered_bytes(&self) -> usize {
        self.full.iter().map(Bytes::len).sum::<usize>() + self.current.len()
    }

    /// The next full part.
    pub fn take_full(&mut self) -> Option<Bytes> {
        self.full.pop_front()
    }

    /// The next part at the end of a file: full ones first, then the short one if there is one.
    pub fn take_any(&mut self) -> Option<Bytes> {
        self.full.pop_front().or_else(|| {
            let rest = std::mem::take(&mut self.current);
            (!rest.is_empty()).then(|| Bytes::from(rest))
        })
    }

    /// Appends bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.part_bytes - self.current.len();
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.reserve(fits.len());
            self.current.extend_from_slice(fits);
            bytes = rest;
            if self.current.len() == self.part_bytes {
                let part = std::mem::take(&mut self.current);
                self.full.push_back(Bytes::from(part));
            }
        }
    }

    /// Grows a part by doubling, but never past its size.
    fn reserve(&mut self, additional: usize) {
        let needed = self.current.len() + additional;
        if needed > self.current.capacity() {
            let doubled = needed.max(self.current.capacity() * 2).min(self.part_bytes);
            self.current.reserve_exact(doubled - self.current.len());
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
            let mut buffer = PartBuffer::new(part_bytes);
            let mut parts = Vec::new();
            for chunk in &chunks {
                buffer.push(chunk);
                parts.extend(std::iter::from_fn(|| buffer.take_full()));
            }
            prop_assert!(parts.iter().all(|part| part.len() == part_bytes));
            parts.extend(std::iter::from_fn(|| buffer.take_any()));
            let expected: Vec<u8> = chunks.concat();
            prop_assert_eq!(buffer.written_bytes(), expected.len() as u64);
            prop_assert_eq!(parts.concat(), expected);
        }
    }
}
