//! What all statements of a program share.
//!
//! Invariant: there is one catalog, one budget for parts in flight and one reaper for every session
//! that was given the same [`Services`].

use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionConfig;

use crate::catalog::{Catalog, MemoryCatalog};
use crate::error::{Error, ErrorKind, Result};
use crate::s3::RetryPolicy;
use crate::secret::SecretValue;
use crate::sink::{ByteBudget, ExportMemory, Reaper};

/// What AWS's own libraries have, and a little more: a slow request that was signed before must still
/// arrive in time.
const CREDENTIAL_MARGIN: Duration = Duration::from_secs(300);

/// Asks for a value that nobody sees; what it is for is given.
#[derive(Clone)]
pub struct Prompt(Arc<Ask>);

type Ask = dyn Fn(&str) -> std::io::Result<SecretValue> + Send + Sync;

impl Prompt {
    /// A way to ask. It may block.
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

/// The catalog, and what exports share.
#[derive(Debug, Clone)]
pub struct Services {
    /// Secrets and connections.
    pub catalog: Arc<dyn Catalog>,
    /// What one export may use of the machine's memory.
    pub export_memory: ExportMemory,
    /// The bytes that may be on their way to stores at once, over all exports.
    pub budget: ByteBudget,
    /// Clean-up that outlives statements.
    pub reaper: Reaper,
    /// When requests are tried again.
    pub retry: RetryPolicy,
    /// Credentials that expire are renewed so long before.
    pub credential_margin: Duration,
    /// Asks the user for a secret: `CREATE SECRET … FROM PROMPT`.
    pub prompt: Option<Prompt>,
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
        }
    }
}

impl Services {
    /// Sets what one export may use, and what the parts of all exports on their way may be.
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
