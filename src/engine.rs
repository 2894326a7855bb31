//! State that all sessions of a program share.
//!
//! Invariant: every session of an engine sees the same catalog, works within the same memory limit,
//! and hands its unfinished clean-up to the same reaper, which [`Engine::shutdown`] waits for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use tidegate_extensions::catalog::{Catalog, OverlayCatalog, with_catalog_tables};
use tidegate_extensions::memory::ProcessMemory;
use tidegate_extensions::plan::runs_merged;
use tidegate_extensions::read::with_file_tables;
use tidegate_extensions::s3::RetryPolicy;
use tidegate_extensions::sink::Unfinished;
use tidegate_extensions::{Access, Error, Prompt, Result, Services, install};
use url::Url;

use crate::closed_registry::ClosedRegistry;
use crate::overlay_registry::OverlayRegistry;
use crate::session::Session;

/// The catalog, the runtime and the clean-up that all sessions of a program share.
#[derive(Debug, Clone)]
pub struct Engine {
    services: Services,
    runtime: Arc<RuntimeEnv>,
    memory_limit: Option<usize>,
    threads: Option<NonZeroUsize>,
    config: SessionConfig,
    additions: Arc<Additions>,
}

/// Settings for an [`Engine`].
#[derive(Debug, Default)]
pub struct EngineBuilder {
    services: Services,
    memory_limit: Option<usize>,
    threads: Option<NonZeroUsize>,
    config: SessionConfig,
    object_stores: Option<Arc<dyn ObjectStoreRegistry>>,
    additions: Additions,
}

/// Tables, functions and object stores that a program adds.
#[derive(Debug, Default)]
struct Additions {
    tables: Vec<(String, Arc<dyn TableProvider>)>,
    table_functions: Vec<(String, Arc<dyn TableFunctionImpl>)>,
    scalar_functions: Vec<ScalarUDF>,
    aggregate_functions: Vec<AggregateUDF>,
    window_functions: Vec<WindowUDF>,
    object_stores: Vec<(Url, Arc<dyn ObjectStore>)>,
}

impl Additions {
    fn add_to(&self, context: &SessionContext) -> Result<()> {
        for (name, table) in &self.tables {
            context.register_table(name.as_str(), Arc::clone(table))?;
        }
        for (name, function) in &self.table_functions {
            context.register_udtf(name, Arc::clone(function));
        }
        for function in &self.scalar_functions {
            context.register_udf(function.clone());
        }
        for function in &self.aggregate_functions {
            context.register_udaf(function.clone());
        }
        for function in &self.window_functions {
            context.register_udwf(function.clone());
        }
        Ok(())
    }
}

impl EngineBuilder {
    /// Sets where secrets and connections are kept. Default: in memory.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn Catalog>) -> Self {
        self.services.catalog = catalog;
        self
    }

    /// Sets the memory limit of the process in bytes, at least 256 MB. Default: three quarters of
    /// the memory of the machine or its container.
    ///
    /// The program itself needs a part of it for code, stacks, buffers of readers, and memory that
    /// the allocator retains. Queries and exports share the rest.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets how many partitions of a query run at the same time. Default: the number of cores.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets DataFusion's configuration for every session. Tidegate overrides the settings that it
    /// depends on: the information schema, the parser's spans, line breaks in CSV values, nested
    /// folders, and, if [`Self::threads`] was called, the number of partitions.
    #[must_use]
    pub fn session_config(mut self, config: SessionConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets when failed requests to stores are retried.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.services.retry = retry;
        self
    }

    /// Sets how long before they expire the credentials of roles, profiles and the credential chain
    /// are renewed. Default: five minutes.
    #[must_use]
    pub fn credential_margin(mut self, margin: Duration) -> Self {
        self.services.credential_margin = margin;
        self
    }

    /// Sets how `CREATE SECRET … FROM PROMPT` asks the user for a secret.
    #[must_use]
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.services.prompt = Some(prompt);
        self
    }

    /// Adds a table to every session. The name may include a schema (`"schema"."table"`).
    #[must_use]
    pub fn table(mut self, name: impl Into<String>, table: Arc<dyn TableProvider>) -> Self {
        self.additions.tables.push((name.into(), table));
        self
    }

    /// Adds a table function to every session.
    #[must_use]
    pub fn table_function(
        mut self,
        name: impl Into<String>,
        function: Arc<dyn TableFunctionImpl>,
    ) -> Self {
        self.additions.table_functions.push((name.into(), function));
        self
    }

    /// Adds a scalar function to every session.
    #[must_use]
    pub fn scalar_function(mut self, function: ScalarUDF) -> Self {
        self.additions.scalar_functions.push(function);
        self
    }

    /// Adds an aggregate function to every session.
    #[must_use]
    pub fn aggregate_function(mut self, function: AggregateUDF) -> Self {
        self.additions.aggregate_functions.push(function);
        self
    }

    /// Adds a window function to every session.
    #[must_use]
    pub fn window_function(mut self, function: WindowUDF) -> Self {
        self.additions.window_functions.push(function);
        self
    }

    /// Registers an object store to read tables from, for URLs with this scheme and host.
    #[must_use]
    pub fn object_store(mut self, url: Url, store: Arc<dyn ObjectStore>) -> Self {
        self.additions.object_stores.push((url, store));
        self
    }

    /// Sets the registry of the object stores that tables are read from. Default: DataFusion's own
    /// registry. Connections register their stores in it.
    #[must_use]
    pub fn object_store_registry(mut self, registry: Arc<dyn ObjectStoreRegistry>) -> Self {
        self.object_stores = Some(registry);
        self
    }

    /// Builds the engine.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if the memory limit is below 256 MB. Other errors if
    /// DataFusion can't create its runtime (for example, if there is no directory for spilling), or
    /// if the name of an added table is not valid.
    pub fn build(self) -> Result<Engine> {
        let mut services = self.services;
        let memory = match self.memory_limit {
            Some(bytes) => Some(ProcessMemory::new(bytes)?),
            None => ProcessMemory::of_machine(),
        };
        // Folders are listed again for every read: exports, including those of other programs, add
        // files to them.
        let mut runtime = RuntimeEnvBuilder::new().with_object_list_cache_limit(0);
        if let Some(registry) = self.object_stores {
            runtime = runtime.with_object_store_registry(registry);
        }
        if let Some(memory) = memory {
            services.set_export_memory(memory.export());
            let threads = self.threads.or_else(|| available_parallelism().ok());
            let threads = threads.unwrap_or(NonZeroUsize::MIN);
            runtime = runtime
                .with_memory_pool(memory.pool())
                .with_max_spill_merge_fan_in(runs_merged(memory.shared_bytes(), threads))
                .with_metadata_cache_limit(memory.footer_cache_bytes());
        }
        let runtime = runtime.build_arc().map_err(Error::from)?;
        for (url, store) in &self.additions.object_stores {
            runtime.register_object_store(url, Arc::clone(store));
        }
        if !self.additions.tables.is_empty() {
            // Reports invalid names of tables now. Creating a session takes time, so this is done
            // only if there are tables.
            self.additions.add_to(&SessionContext::new())?;
        }
        Ok(Engine {
            services,
            runtime,
            memory_limit: memory.map(ProcessMemory::bytes),
            threads: self.threads,
            config: self.config,
            additions: Arc::new(self.additions),
        })
    }
}

impl Engine {
    /// Settings to build an engine from.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The default memory limit in bytes: three quarters of the memory of the machine or its
    /// container, at least 256 MB. None if that memory is unknown.
    pub fn default_memory_limit() -> Option<usize> {
        ProcessMemory::of_machine().map(ProcessMemory::bytes)
    }

    /// The memory limit of the process in bytes. None if no limit was set and the memory of the
    /// machine is unknown.
    pub fn memory_limit(&self) -> Option<usize> {
        self.memory_limit
    }

    /// Creates a session with its own tables and settings.
    ///
    /// # Errors
    /// A table or function that the program added can't be registered.
    pub fn session(&self) -> Result<Session> {
        let mut config = self.config.clone().with_information_schema(true);
        // Planner errors then have a location in the SQL text.
        config.options_mut().sql_parser.collect_spans = true;
        // Values in CSV files may contain line breaks.
        config.options_mut().catalog.newlines_in_values = true;
        // For tables that DataFusion lists itself: a glob may match folders, too.
        let execution = &mut config.options_mut().execution;
        execution.listing_table_ignore_subdirectory = false;
        // It pushes limits below window functions: https://github.com/apache/datafusion/pull/25066.
        // `a_limit_stays_above_a_window` in tests/it/wrong_rows.rs tells when this may go.
        config.options_mut().optimizer.enable_topk_aggregation = false;
        if let Some(threads) = self.threads {
            config = config.with_target_partitions(threads.get());
        }
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime));
        let state = install(builder, self.services.clone()).build();
        let context = with_file_tables(SessionContext::new_with_state(state));
        let context = with_catalog_tables(context)?;
        self.additions.add_to(&context)?;
        Ok(Session::new(context))
    }

    /// Creates a session with rights of its own, for a user who is not the program's.
    ///
    /// # Errors
    /// As for [`Self::session`].
    pub fn session_with(&self, access: Access) -> Result<Session> {
        let mut engine = self.clone();
        if !access.local_files {
            let mut runtime = RuntimeEnv::clone(&self.runtime);
            let registry = Arc::clone(&runtime.object_store_registry);
            runtime.object_store_registry = Arc::new(ClosedRegistry::new(registry));
            engine.runtime = Arc::new(runtime);
        }
        engine.services.access = access;
        engine.session()
    }

    /// The same engine with an overlay of its catalog and stores. Changes of the overlay do not
    /// reach this engine.
    pub(crate) fn with_overlay_catalog(&self) -> Self {
        let mut engine = self.clone();
        let below = Arc::clone(&self.services.catalog);
        engine.services.catalog = Arc::new(OverlayCatalog::new(below));
        // Connections register the stores that tables are read from.
        let mut runtime = RuntimeEnv::clone(&self.runtime);
        runtime.object_store_registry = Arc::new(OverlayRegistry::new(Arc::clone(
            &runtime.object_store_registry,
        )));
        engine.runtime = Arc::new(runtime);
        engine
    }

    /// Exports that have not ended, and exports whose leftovers the store did not confirm to be
    /// removed.
    pub fn unfinished_exports(&self) -> Vec<Unfinished> {
        self.services.reaper.unfinished()
    }

    /// Waits, at most `patience`, until every export has ended and been cleaned up. Returns whether
    /// that is done. Call it before the program exits.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        self.services.reaper.drain(patience).await
    }
}
