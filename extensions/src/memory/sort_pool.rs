//! The pool of the memory that queries and exports share.
//!
//! Invariant: with little memory, every merge of a sort can get its share of the merging memory,
//! whatever other consumers have got from the pool, and a sort that gathers rows can get a batch,
//! whatever other operators hold that can spill. Growth that can't fail (parts in flight) is not
//! bounded by a pool.
//!
//! DataFusion's [`FairSpillPool`] divides the memory among the operators that can spill and are
//! still registered. With two sorts, the second takes the share of the first as soon as the first
//! merges, and then neither has enough memory to merge.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};

/// In a pool smaller than this, in bytes, sorts get a planned share for merging.
const LITTLE_BYTES: usize = 256 << 20;

/// The share of merging in a small pool, in eighths. A smaller share was not enough to merge the
/// runs that sorts have in memory.
const MERGING_EIGHTHS: usize = 3;

/// The share of the rows that sorts gather in a small pool, in eighths. One more eighth is kept for
/// the next batch of a sort that has spilled all of its rows.
const GATHERING_EIGHTHS: usize = 4;

/// The same, where another operator can spill. It needs an eighth, too.
const GATHERING_EIGHTHS_OF_MANY: usize = 3;

/// How many of the largest consumers an out-of-memory error lists.
const LISTED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// The bytes that all sorts together reserve for merging in a pool of `pool` bytes. `None` if the
/// pool is large enough to leave this to DataFusion.
pub(crate) fn merging_bytes(pool: usize) -> Option<usize> {
    (pool < LITTLE_BYTES).then_some(pool / 8 * MERGING_EIGHTHS)
}

/// A pool of `bytes` bytes.
pub(super) fn shared_pool(bytes: usize) -> Arc<dyn MemoryPool> {
    match merging_bytes(bytes) {
        Some(merging) => {
            let pool = SortingPool::new(bytes, merging);
            Arc::new(TrackConsumersPool::new(pool, LISTED_CONSUMERS))
        }
        None => {
            let pool = FairSpillPool::new(bytes);
            Arc::new(TrackConsumersPool::new(pool, LISTED_CONSUMERS))
        }
    }
}

/// The use of memory by a consumer, known from its name and from whether it can spill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    /// A sort gathers rows. It can spill.
    Gather,
    /// A sort merges runs.
    Merge,
    /// Another operator that can spill.
    Spill,
    /// Anything else: joins, encoders, parts in flight.
    Hold,
}

impl Use {
    /// DataFusion's `ExternalSorter` gives its consumers these names.
    fn of(consumer: &MemoryConsumer) -> Self {
        match (consumer.can_spill(), consumer.name()) {
            (true, name) if name.starts_with("ExternalSorter[") => Self::Gather,
            (true, _) => Self::Spill,
            (false, name) if name.starts_with("ExternalSorterMerge[") => Self::Merge,
            (false, _) => Self::Hold,
        }
    }
}

/// A small pool that keeps memory for merging.
#[derive(Debug)]
struct SortingPool {
    bytes: usize,
    merging: usize,
    uses: Mutex<Uses>,
}

/// How many consumers of each use are registered, and the bytes that they hold.
#[derive(Debug, Default)]
struct Uses {
    consumers: HashMap<Use, usize>,
    bytes: HashMap<Use, usize>,
    /// The bytes of each merge, by its consumer's id.
    merges: HashMap<usize, usize>,
}

impl Uses {
    fn consumers(&self, of: Use) -> usize {
        self.consumers.get(&of).copied().unwrap_or_default()
    }

    fn bytes(&self, of: Use) -> usize {
        self.bytes.get(&of).copied().unwrap_or_default()
    }

    fn all_bytes(&self) -> usize {
        self.bytes.values().sum()
    }

    fn register(&mut self, consumer: &MemoryConsumer) {
        let of = Use::of(consumer);
        *self.consumers.entry(of).or_default() += 1;
        if of == Use::Merge {
            self.merges.insert(consumer.id(), 0);
        }
    }

    fn unregister(&mut self, consumer: &MemoryConsumer) {
        if let Some(count) = self.consumers.get_mut(&Use::of(consumer)) {
            *count = count.saturating_sub(1);
        }
        self.merges.remove(&consumer.id());
    }

    /// Changes the number of bytes that a consumer holds.
    fn change(&mut self, consumer: &MemoryConsumer, change: impl Fn(usize) -> usize) {
        let bytes = self.bytes.entry(Use::of(consumer)).or_default();
        *bytes = change(*bytes);
        if let Some(bytes) = self.merges.get_mut(&consumer.id()) {
            *bytes = change(*bytes);
        }
    }

    /// The bytes that each merge has not yet used of its share of `merging` bytes: of `consumer`, and
    /// of all others together.
    fn unused_by_merges(&self, consumer: &MemoryConsumer, merging: usize) -> (usize, usize) {
        let share = merging / self.merges.len().max(1);
        let (mut own, mut others) = (0, 0);
        for (id, held) in &self.merges {
            let unused = share.saturating_sub(*held);
            match *id == consumer.id() {
                true => own = unused,
                false => others += unused,
            }
        }
        (own, others)
    }
}

impl SortingPool {
    fn new(bytes: usize, merging: usize) -> Self {
        Self {
            bytes,
            merging,
            uses: Mutex::default(),
        }
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes by which a consumer that holds `held` bytes may grow now.
    fn room(&self, uses: &Uses, consumer: &MemoryConsumer, held: usize) -> usize {
        let (own_merging, kept) = uses.unused_by_merges(consumer, self.merging);
        let free = self.bytes.saturating_sub(uses.all_bytes() + kept);
        let (sorts, spillers) = (uses.consumers(Use::Gather), uses.consumers(Use::Spill));
        let eighth = self.bytes / 8;
        // The next batch of a sort, and what another operator needs that has spilled.
        let for_sorts = if sorts == 0 { 0 } else { eighth };
        let for_spillers = if spillers == 0 { 0 } else { eighth };
        let share = match Use::of(consumer) {
            Use::Hold => return free,
            Use::Merge => return free.min(own_merging.max(free.saturating_sub(for_spillers))),
            Use::Gather => {
                let eighths = match spillers {
                    0 => GATHERING_EIGHTHS,
                    _ => GATHERING_EIGHTHS_OF_MANY,
                };
                let share = eighth * eighths / sorts.max(1);
                // A batch may take twice its memory while it is sorted: a sort may also use half of
                // the free memory that nothing else is promised.
                let others = uses.bytes(Use::Gather).saturating_sub(held);
                let promised = (share * sorts.saturating_sub(1)).saturating_sub(others);
                let spare = free.saturating_sub(promised + for_sorts + for_spillers) / 2;
                share.max(held + spare)
            }
            Use::Spill => {
                let spillable = free + uses.bytes(Use::Spill);
                spillable.saturating_sub(for_sorts) / spillers.max(1)
            }
        };
        free.min(share.saturating_sub(held))
    }
}

impl fmt::Display for SortingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} MB)", self.name(), self.bytes >> 20)
    }
}

impl MemoryPool for SortingPool {
    fn name(&self) -> &str {
        "sorting"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.uses().register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.uses().unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let grown = |bytes: usize| bytes.saturating_add(additional);
        self.uses().change(reservation.consumer(), grown);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let shrunk = |bytes: usize| bytes.saturating_sub(shrink);
        self.uses().change(reservation.consumer(), shrunk);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        let mut uses = self.uses();
        let room = self.room(&uses, consumer, reservation.size());
        if additional > room {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "Failed to allocate additional {:.1} MB for {} with {:.1} MB already allocated for \
                 this reservation - {:.1} MB remain available for it",
                megabytes(additional),
                consumer.name(),
                megabytes(reservation.size()),
                megabytes(room),
            )));
        }
        uses.change(consumer, |bytes| bytes + additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.uses().all_bytes()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: usize = 128 << 20;
    const MERGING: usize = POOL / 8 * MERGING_EIGHTHS;

    fn consumer(pool: &Arc<dyn MemoryPool>, name: &str, can_spill: bool) -> MemoryReservation {
        let consumer = MemoryConsumer::new(name).with_can_spill(can_spill);
        consumer.register(pool)
    }

    #[test]
    fn the_last_sort_leaves_the_others_their_merging_memory() {
        let pool = shared_pool(POOL);
        let merges = [0, 1].map(|i| consumer(&pool, &format!("ExternalSorterMerge[{i}]"), false));
        for merge in &merges {
            merge.try_grow(MERGING / 2).unwrap();
        }
        let first = consumer(&pool, "ExternalSorter[0]", true);
        let last = consumer(&pool, "ExternalSorter[1]", true);
        first.try_grow(POOL / 4).unwrap();
        drop(first);
        last.try_grow(POOL / 2).unwrap();
        last.try_grow(1).unwrap_err();
        // A sort that spills gives its merging memory back for a moment.
        merges[1].free();
        let export = consumer(&pool, "tidegate writer 0", false);
        export.try_grow(POOL / 8).unwrap();
        export.try_grow(1).unwrap_err();
        merges[1].try_grow(MERGING / 2).unwrap();
    }

    #[test]
    fn a_merge_that_needs_more_leaves_the_other_its_share() {
        let pool = shared_pool(POOL);
        let [one, other] =
            [0, 1].map(|i| consumer(&pool, &format!("ExternalSorterMerge[{i}]"), false));
        one.try_grow(POOL - MERGING / 2).unwrap();
        one.try_grow(1).unwrap_err();
        other.try_grow(MERGING / 2).unwrap();
    }

    #[test]
    fn many_sorts_and_exchanges_leave_each_sort_a_batch() {
        let pool = shared_pool(POOL);
        let consumers = |name: &str, can_spill, count| -> Vec<MemoryReservation> {
            let register = |i| consumer(&pool, &format!("{name}[{i}]"), can_spill);
            (0..count).map(register).collect()
        };
        let merges = consumers("ExternalSorterMerge", false, 8);
        let sorts = consumers("ExternalSorter", true, 8);
        let exchanges = consumers("RepartitionExec", true, 16);
        for merge in &merges {
            merge.try_grow(MERGING / 8).unwrap();
        }
        for exchange in &exchanges {
            while exchange.try_grow(64 << 10).is_ok() {}
        }
        for sort in &sorts {
            sort.try_grow(1 << 20).unwrap();
        }
        for exchange in &exchanges {
            exchange.free();
        }
        for sort in &sorts {
            while sort.try_grow(64 << 10).is_ok() {}
        }
        exchanges[0].try_grow(64 << 10).unwrap();
    }

    #[test]
    fn without_sorts_the_memory_is_divided_fairly() {
        let pool = shared_pool(POOL);
        let [one, other] = ["a", "b"].map(|name| consumer(&pool, name, true));
        one.try_grow(POOL / 2).unwrap();
        one.try_grow(1).unwrap_err();
        other.try_grow(POOL / 2).unwrap();
        drop(other);
        one.try_grow(POOL / 2).unwrap();
        assert_eq!(pool.reserved(), POOL);
    }
}
