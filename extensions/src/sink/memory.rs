//! What an export may use of the machine's memory.
//!
//! Invariant: the shares of one export add up to no more than its memory, whatever it writes and with
//! however many writers.

use super::target::Place;

/// The memory of one export, in bytes: encoders, rows that wait for their files, and parts on their
/// way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportMemory {
    bytes: usize,
    most_in_flight: usize,
}

/// What an export uses unless it is told otherwise.
const DEFAULT_BYTES: usize = 256 << 20;

/// Parts on their way have one in so many.
const IN_FLIGHT_SHARE: usize = 3;

/// Of what encoders and waiting rows have together, the rows have one in so many: they may go to
/// disk, and for most exports there are none.
const WAITING_SHARE: usize = 4;

/// What may be on its way to the local disk, which is near, from files that fill evenly: more would only
/// wait for it, and not be there for encoders.
const LOCAL_IN_FLIGHT: usize = 8 << 20;

/// No file could be written with less.
const LEAST_BYTES: usize = 32 << 20;

/// With less than this for its encoders, a writer's row groups would be too small.
const LEAST_WRITER_BYTES: usize = 10 << 20;

/// … and so would be every column's share of them: each costs its part of the footer.
const LEAST_COLUMN_BYTES: usize = 128 << 10;

impl Default for ExportMemory {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl ExportMemory {
    /// `bytes` bytes, or the least that an export can work with.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: bytes.max(LEAST_BYTES),
            most_in_flight: usize::MAX,
        }
    }

    /// The same memory, divided as an export to `place` needs it.
    pub fn for_place(self, place: &Place) -> Self {
        let most_in_flight = match place {
            Place::LocalDisk => LOCAL_IN_FLIGHT,
            Place::Bucket(_) => usize::MAX,
        };
        Self {
            most_in_flight,
            ..self
        }
    }

    /// What the parts of one export on their way may be together: all that parts may have where its
    /// encoders `gather` nothing and hand everything on at once, but not where many files are open.
    pub fn parts_share(self, partitioned: bool, gather: bool) -> usize {
        match gather || partitioned {
            true => self.in_flight(partitioned),
            false => self.most_in_flight(),
        }
    }

    /// What the parts of an export whose encoders need memory, too, may be: three of the smallest in a
    /// process of 256 MB, so that others are sent while one waits for its answer. An unpartitioned
    /// export's come a row group at a time: the encoders go on while the disk takes one.
    fn in_flight(self, partitioned: bool) -> usize {
        let share = self.bytes / IN_FLIGHT_SHARE;
        match partitioned {
            true => share.min(self.most_in_flight),
            false => share,
        }
    }

    /// The largest part that an export may have.
    pub fn largest_part(self) -> usize {
        self.bytes / 4
    }

    /// What the parts of all exports on their way may be together.
    pub fn most_in_flight(self) -> usize {
        (self.bytes / 4 * 3).min(self.most_in_flight)
    }

    /// How many writers have enough memory for files of `columns` columns, if a part takes
    /// `part_bytes` bytes.
    pub(crate) fn most_writers(
        self,
        partitioned: bool,
        part_bytes: usize,
        columns: usize,
    ) -> usize {
        let each = LEAST_WRITER_BYTES
            .max(part_bytes * 2)
            .max(LEAST_COLUMN_BYTES * columns);
        let writers = self.encoders_share(partitioned, 1) / each;
        writers.max(1)
    }

    /// Whether the columns' shares are so small that a row group has a page or two of each.
    pub(crate) fn is_short_for(self, partitioned: bool, columns: usize) -> bool {
        LEAST_COLUMN_BYTES * columns > self.encoders_share(partitioned, 1)
    }

    /// What one writer's encoders may hold.
    pub(super) fn encoders_share(self, partitioned: bool, writers: u32) -> usize {
        let share = if partitioned {
            // Many files are open: they get what parts don't need.
            let rest = self.bytes - self.in_flight(true);
            rest - rest / WAITING_SHARE
        } else {
            self.bytes - self.in_flight(false)
        };
        share / writers.max(1) as usize
    }

    /// What one writer may hold of rows whose files can't be open at once.
    pub(super) fn waiting_share(self, writers: u32) -> usize {
        let rest = self.bytes - self.in_flight(true);
        rest / WAITING_SHARE / writers.max(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_no_more_than_there_is() {
        let bucket = Place::Bucket("b".to_owned());
        for place in [bucket, Place::LocalDisk] {
            for megabytes in [1, 56, 256, 4096] {
                let memory = ExportMemory::new(megabytes << 20).for_place(&place);
                for writers in [1, 2, 7] {
                    let each = memory.encoders_share(true, writers) + memory.waiting_share(writers);
                    let all = memory.in_flight(true) + each * writers as usize;
                    assert!(all <= memory.bytes, "{memory:?}, {writers} writers: {all}");
                    let each = memory.encoders_share(false, writers);
                    let all = memory.in_flight(false) + each * writers as usize;
                    assert!(all <= memory.bytes, "{memory:?}, {writers} writers: {all}");
                }
            }
        }
    }
}
