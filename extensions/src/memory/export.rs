//! The memory budget of an export.
//!
//! Invariant: the shares of one export for parts in flight, encoders and waiting rows add up to no
//! more than its budget, for any number of writers. Exception: if encoders buffer nothing, parts
//! may also use the memory of the encoders.

/// The memory budget of one export, in bytes. It covers encoders, rows that wait for a file, and
/// parts in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportMemory {
    bytes: usize,
    most_in_flight: usize,
}

/// The default budget of an export.
const DEFAULT_BYTES: usize = 256 << 20;

/// Parts in flight get one third of the budget.
const IN_FLIGHT_SHARE: usize = 3;

/// Waiting rows get a quarter of the memory that they share with encoders: they can spill to disk,
/// and most exports have no waiting rows.
const WAITING_SHARE: usize = 4;

/// Upper bound for parts in flight to the local disk. More parts would only queue for the disk, and
/// their memory is better used by encoders. [`ExportMemory::in_flight`] has an exception.
const LOCAL_IN_FLIGHT: usize = 8 << 20;

/// Lower bound for the budget: with less, no file could be written.
const LEAST_BYTES: usize = 32 << 20;

/// With less than this for its encoders, a writer's row groups would be too small.
const LEAST_WRITER_BYTES: usize = 10 << 20;

/// Lower bound for the encoder memory per column. With less, row groups would also be too small:
/// each of their columns adds to the footer.
const LEAST_COLUMN_BYTES: usize = 128 << 10;

impl Default for ExportMemory {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl ExportMemory {
    /// A budget of `bytes` bytes, raised to the minimum of 32 MB if it is lower.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: bytes.max(LEAST_BYTES),
            most_in_flight: usize::MAX,
        }
    }

    /// The same budget, if it is no larger than `bytes` bytes, else a budget of `bytes` bytes.
    pub(crate) fn within(self, bytes: usize) -> Self {
        Self {
            bytes: self.bytes.min(bytes.max(LEAST_BYTES)),
            ..self
        }
    }

    /// The budget, in bytes.
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    /// The same budget, with the upper bound for parts in flight to the local disk.
    pub fn for_local_disk(self) -> Self {
        Self {
            most_in_flight: LOCAL_IN_FLIGHT,
            ..self
        }
    }

    /// Upper bound for the bytes in flight of one export. If its encoders buffer nothing (`gather`
    /// is false), parts get as much as [`Self::most_in_flight`] allows, unless many partition files
    /// are open.
    pub fn parts_share(self, partitioned: bool, gather: bool) -> usize {
        match gather || partitioned {
            true => self.in_flight(partitioned),
            false => self.most_in_flight(),
        }
    }

    /// Budget for parts in flight when encoders also need memory. In a process of 256 MB it is
    /// enough for three parts of the smallest size, so that other parts are sent while one waits
    /// for its answer. The bound for the local disk does not apply to an unpartitioned export: its
    /// parts come one row group at a time, and the encoders continue while the disk takes a row
    /// group.
    fn in_flight(self, partitioned: bool) -> usize {
        let share = self.bytes / IN_FLIGHT_SHARE;
        match partitioned {
            true => share.min(self.most_in_flight),
            false => share,
        }
    }

    /// Upper bound for the size of a part, in bytes.
    pub fn largest_part(self) -> usize {
        self.bytes / 4
    }

    /// Upper bound for bytes in flight: for one export, and for all exports together.
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

    /// Whether each column's share is so small that a row group holds only a page or two per
    /// column.
    pub(crate) fn is_short_for(self, partitioned: bool, columns: usize) -> bool {
        LEAST_COLUMN_BYTES * columns > self.encoders_share(partitioned, 1)
    }

    /// Budget for the encoders of one writer, in bytes.
    pub(crate) fn encoders_share(self, partitioned: bool, writers: u32) -> usize {
        let share = if partitioned {
            // Many files are open: encoders and waiting rows divide the rest after parts in flight.
            let rest = self.bytes - self.in_flight(true);
            rest - rest / WAITING_SHARE
        } else {
            self.bytes - self.in_flight(false)
        };
        share / writers.max(1) as usize
    }

    /// Budget for the rows of one writer that wait for a file, in bytes.
    pub(crate) fn waiting_share(self, writers: u32) -> usize {
        let rest = self.bytes - self.in_flight(true);
        rest / WAITING_SHARE / writers.max(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_no_more_than_there_is() {
        for is_local in [false, true] {
            for megabytes in [1, 56, 256, 4096] {
                let memory = ExportMemory::new(megabytes << 20);
                let memory = if is_local {
                    memory.for_local_disk()
                } else {
                    memory
                };
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
