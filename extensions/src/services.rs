//! What all statements of a program share.
//!
//! Invariant: there is one catalog, one budget for parts in flight and one reaper for every session
//! that was given the same [`Services`].

use std::sync::Arc;

use datafusion::prelude::SessionConfig;

use crate::catalog::{Catalog, MemoryCatalog};
use crate::error::{Error, ErrorKind, Result};
use crate::s3::RetryPolicy;
use crate::sink::{ByteBudget, Reaper};

/// A quarter of an export's memory: the parts that may be on their way at once.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// The catalog, and what exports share.
#[derive(Debug, Clone)]
pub struct Services {
    /// Secrets and connections.
    pub catalog: Arc<dyn Catalog>,
    /// The bytes that may be on their way to stores at once.
    pub budget: ByteBudget,
    /// Clean-up that outlives statements.
    pub reaper: Reaper,
    /// When requests are tried again.
    pub retry: RetryPolicy,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            catalog: Arc::new(MemoryCatalog::new()),
            budget: ByteBudget::new(IN_FLIGHT_BYTES),
            reaper: Reaper::new(),
            retry: RetryPolicy::default(),
        }
    }
}

impl Services {
    /// The services that [`install`](crate::install) put into a session.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if they were not installed.
    pub fn of(config: &SessionConfig) -> Result<Arc<Self>> {
        config.get_extension::<Self>().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "this session does not have Tidegate's statements",
            )
            .with_hint("build it with tidegate_extensions::install")
        })
    }
}
