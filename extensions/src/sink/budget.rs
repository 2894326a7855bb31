//! A budget of bytes for parts in flight.
//!
//! Invariant: the bytes in flight, over all writers of all exports that share the budget, do not
//! exceed its limit. Exception: a part larger than the limit is sent alone. A writer waits until
//! its part fits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// Semaphore permits count kilobytes, so that a limit fits into 32 bits.
const BYTES_PER_PERMIT: usize = 1024;

/// A limit on the bytes in flight.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    permits: Arc<Semaphore>,
    total: u32,
}

impl ByteBudget {
    /// A budget of `bytes` bytes (rounded down to kilobytes, at least one).
    pub fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / BYTES_PER_PERMIT)
            .unwrap_or(u32::MAX >> 4)
            .clamp(1, u32::MAX >> 4);
        Self {
            permits: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits until `bytes` bytes fit. A request for more than the whole budget gets all of it.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.div_ceil(BYTES_PER_PERMIT))
            .unwrap_or(self.total)
            .clamp(1, self.total);
        Arc::clone(&self.permits)
            .acquire_many_owned(wanted)
            .await
            .map_err(|_| Error::new(ErrorKind::Internal, "the upload budget was closed"))
    }
}
