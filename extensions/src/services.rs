//! State shared by all statements of a program.
//!
//! Invariant: all sessions that were given the same [`Services`] share one catalog, one budget for
//! parts in flight and one reaper.

use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionConfig;

use crate::access::Access;
use crate::catalog::{Catalog, MemoryCatalog};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::ExportMemory;
use crate::s3::RetryPolicy;
use crate::secret::SecretValue;
use crate::sink::{ByteBudget, Reaper};

/// Credentials are renewed this long before they expire: a request that was signed before the
/// renewal and is slow must still arrive in time.
const CREDENTIAL_MARGIN: Duration = Duration::from_secs(300);

/// Asks the user for a secret, which must not be echoed. The function is given the text of the
/// question.
#[derive(Clone)]
pub struct Prompt(Arc<Ask>);

type Ask = dyn Fn(&str) -> std::io::Result<SecretValue> + Send + Sync;

impl Prompt {
    /// Wraps a function that asks the user. The function may block.
    pub fn new(ask: impl Fn(&str) -> std::io::Result<SecretValue> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(crate) fn ask(&self, what: &str) -> std::io::Result<SecretValue> {
        (self.0)(what)
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prompt(…)")
    }
}

/// The catalog, and the resources that exports share.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Services {
    /// Secrets and connections.
    pub catalog: Arc<dyn Catalog>,
    /// The memory budget of one export.
    pub export_memory: ExportMemory,
    /// The budget for the bytes in flight of all exports together.
    pub budget: ByteBudget,
    /// Clean-up that outlives statements.
    pub reaper: Reaper,
    /// How requests are retried.
    pub retry: RetryPolicy,
    /// How long before their expiry credentials are renewed.
    pub credential_margin: Duration,
    /// Asks the user for a secret: `CREATE SECRET … FROM PROMPT`.
    pub prompt: Option<Prompt>,
    /// What the session may do with the rights of the program.
    pub access: Access,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            catalog: Arc::new(MemoryCatalog::new()),
            export_memory: ExportMemory::default(),
            budget: ByteBudget::new(ExportMemory::default().most_in_flight()),
            reaper: Reaper::new(),
            retry: RetryPolicy::default(),
            credential_margin: CREDENTIAL_MARGIN,
            prompt: None,
            access: Access::default(),
        }
    }
}

impl Services {
    /// Sets the memory budget of one export, and derives from it the budget for the bytes in flight
    /// of all exports together.
    pub fn set_export_memory(&mut self, memory: ExportMemory) {
        self.export_memory = memory;
        self.budget = ByteBudget::new(memory.most_in_flight());
    }

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
