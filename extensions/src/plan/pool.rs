//! The memory that queries share.
//!
//! Invariant: where there is little of it, operators that can go to disk leave sorts the part that they
//! merge with, and each keeps to its share even when its fellows have ended: they still merge.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};

use super::batches::{LITTLE_MEMORY, merging_share};

/// So many consumers are named when there is not enough memory.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// A pool of `bytes` bytes in which every operator that can go to disk has the same share. First come,
/// first served, one sort would leave the next nothing to merge with what it has on disk.
pub fn shared_pool(bytes: usize) -> Arc<dyn MemoryPool> {
    let fair = FairSpillPool::new(bytes);
    match bytes < LITTLE_MEMORY {
        true => Arc::new(TrackConsumersPool::new(
            RoomToMerge::new(fair, bytes),
            NAMED_CONSUMERS,
        )),
        false => Arc::new(TrackConsumersPool::new(fair, NAMED_CONSUMERS)),
    }
}

/// Keeps what sorts merge with from those that gather rows. The pool below divides among those that are
/// left: the last of a query's sorts would take what the others still need.
#[derive(Debug)]
struct RoomToMerge {
    pool: FairSpillPool,
    /// What all that can go to disk may have together, in bytes.
    gathered: usize,
    /// How many of them there are.
    now: AtomicUsize,
    /// How many there were at most since there was none.
    most: AtomicUsize,
}

impl RoomToMerge {
    fn new(pool: FairSpillPool, bytes: usize) -> Self {
        Self {
            pool,
            gathered: bytes - merging_share(bytes),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }
}

impl std::fmt::Display for RoomToMerge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pool.fmt(f)
    }
}

impl MemoryPool for RoomToMerge {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
        if consumer.can_spill() {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
        if consumer.can_spill() && self.now.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.most.store(0, Ordering::Relaxed);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let fellows = self.most.load(Ordering::Relaxed).max(1);
        let share = self.gathered / fellows;
        if reservation.consumer().can_spill() && reservation.size() + additional > share {
            let name = reservation.consumer().name();
            let why = format!("{name} has no more than {share} bytes until it goes to disk");
            return Err(DataFusionError::ResourcesExhausted(why));
        }
        self.pool.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: usize = 128 << 20;

    #[test]
    fn the_last_of_several_keeps_to_its_share() {
        let pool = shared_pool(LITTLE);
        let sort = || {
            let consumer = MemoryConsumer::new("sort").with_can_spill(true);
            consumer.register(&pool)
        };
        let (first, last) = (sort(), sort());
        let share = (LITTLE - merging_share(LITTLE)) / 2;
        first.try_grow(share).unwrap();
        first.try_grow(1).unwrap_err();
        drop(first);
        last.try_grow(share).unwrap();
        last.try_grow(1).unwrap_err();
        let merging = MemoryConsumer::new("merging").register(&pool);
        merging.try_grow(merging_share(LITTLE)).unwrap();
        drop(last);
        // A query of its own has what there is.
        sort().try_grow(2 * share).unwrap();
    }
}
