//! What all sessions of a program share.
//!
//! Invariant: every session of an engine sees the same catalog, works within the same memory limit,
//! and hands its unfinished clean-up to the same reaper, which [`Engine::shutdown`] waits for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidegate_extensions::catalog::Catalog;
use tidegate_extensions::s3::RetryPolicy;
use tidegate_extensions::{Error, Result, Services, install};

use crate::session::Session;

/// A catalog, a runtime and the exports in it.
#[derive(Debug, Clone)]
pub struct Engine {
    services: Services,
    runtime: Arc<RuntimeEnv>,
    threads: Option<NonZeroUsize>,
}

/// Settings for an [`Engine`].
#[derive(Debug, Default)]
pub struct EngineBuilder {
    services: Services,
    memory_limit: Option<usize>,
    threads: Option<NonZeroUsize>,
}

impl EngineBuilder {
    /// Where secrets and connections are kept; in memory where not set.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn Catalog>) -> Self {
        self.services.catalog = catalog;
        self
    }

    /// The memory in bytes that queries and exports may use together; unlimited where not set.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// How many partitions a query is worked on at once; the number of cores where not set.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// When requests to stores are tried again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.services.retry = retry;
        self
    }

    /// Builds the engine.
    ///
    /// # Errors
    /// DataFusion can't make its runtime (no directory for spilling, for example).
    pub fn build(self) -> Result<Engine> {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = self.memory_limit {
            runtime = runtime.with_memory_limit(bytes, 1.0);
        }
        Ok(Engine {
            services: self.services,
            runtime: runtime.build_arc().map_err(Error::from)?,
            threads: self.threads,
        })
    }
}

impl Engine {
    /// Settings to build an engine from.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// A session of its own tables and settings.
    pub fn session(&self) -> Session {
        let mut config = SessionConfig::new().with_information_schema(true);
        // Errors of the planner then know their place in the text.
        config.options_mut().sql_parser.collect_spans = true;
        if let Some(threads) = self.threads {
            config = config.with_target_partitions(threads.get());
        }
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime));
        let state = install(builder, self.services.clone()).build();
        Session::new(SessionContext::new_with_state(state))
    }

    /// Waits, at most `patience`, until cancelled and failed exports have been cleaned up. Says
    /// whether they have. Call it before the program exits.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        self.services.reaper.drain(patience).await
    }
}
