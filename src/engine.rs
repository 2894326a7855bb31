//! What all sessions of a program share.
//!
//! Invariant: every session of an engine sees the same catalog, works within the same memory limit,
//! and hands its unfinished clean-up to the same reaper, which [`Engine::shutdown`] waits for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::execution::cache::cache_manager::DEFAULT_METADATA_CACHE_LIMIT;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use tidegate_extensions::catalog::{Catalog, with_catalog_tables};
use tidegate_extensions::plan::runs_merged;
use tidegate_extensions::read::with_file_tables;
use tidegate_extensions::s3::RetryPolicy;
use tidegate_extensions::sink::{ExportMemory, Unfinished};
use tidegate_extensions::{Error, ErrorKind, Prompt, Result, Services, install};
use url::Url;

use crate::session::Session;

/// What the program needs for itself: code, stacks, buffers that are not charged to any query.
const PROGRAM_BYTES: usize = 144 << 20;

/// The least that a process can be limited to.
const LEAST_BYTES: usize = 256 << 20;

/// One export may use this share of what queries and exports have; what it reads needs the rest.
const EXPORT_SHARE: usize = 2;

/// Footers of files that were read may be kept in so much of it, where that is less than DataFusion keeps
/// of them anyway: nothing else counts them.
const FOOTERS_SHARE: usize = 4;

fn too_little(bytes: usize) -> Error {
    let (given, least) = (bytes >> 20, LEAST_BYTES >> 20);
    Error::new(
        ErrorKind::InvalidParameter,
        format!("a memory limit of {given}MB is too little: it must be at least {least}MB"),
    )
}

/// So many consumers are named when there is not enough memory.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// A pool of `bytes` bytes in which every operator that can go to disk has the same share. First come,
/// first served, one sort would leave the next nothing to merge with what it has on disk.
fn shared_pool(bytes: usize) -> Arc<dyn MemoryPool> {
    let pool = FairSpillPool::new(bytes);
    Arc::new(TrackConsumersPool::new(pool, NAMED_CONSUMERS))
}

/// The machine's memory in bytes, or what its container has of it, where Linux tells.
fn machine_memory() -> Option<usize> {
    let total = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = total
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: usize = total.trim().trim_end_matches(" kB").parse().ok()?;
    let machine = kilobytes << 10;
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|bytes| bytes.trim().parse().ok());
    Some(container.map_or(machine, |bytes: usize| bytes.min(machine)))
}

/// A catalog, a runtime and the exports in it.
#[derive(Debug, Clone)]
pub struct Engine {
    services: Services,
    runtime: Arc<RuntimeEnv>,
    memory_limit: Option<usize>,
    threads: Option<NonZeroUsize>,
    additions: Arc<Additions>,
}

/// Settings for an [`Engine`].
#[derive(Debug, Default)]
pub struct EngineBuilder {
    services: Services,
    memory_limit: Option<usize>,
    threads: Option<NonZeroUsize>,
    object_stores: Option<Arc<dyn ObjectStoreRegistry>>,
    additions: Additions,
}

/// What a program adds to every session.
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
    /// Where secrets and connections are kept; in memory where not set.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn Catalog>) -> Self {
        self.services.catalog = catalog;
        self
    }

    /// The memory in bytes that the process may use; three quarters of the machine's where not set.
    ///
    /// A part of it is the program's own: its code, stacks, buffers of readers, and what the
    /// allocator keeps. Queries and exports share the rest.
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

    /// How long before their end credentials are renewed: those of roles, profiles and the
    /// credential chain. Five minutes where not set.
    #[must_use]
    pub fn credential_margin(mut self, margin: Duration) -> Self {
        self.services.credential_margin = margin;
        self
    }

    /// Asks the user for a secret, for `CREATE SECRET … FROM PROMPT`.
    #[must_use]
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.services.prompt = Some(prompt);
        self
    }

    /// Gives every session a table; a name may have a schema (`"schema"."table"`).
    #[must_use]
    pub fn table(mut self, name: impl Into<String>, table: Arc<dyn TableProvider>) -> Self {
        self.additions.tables.push((name.into(), table));
        self
    }

    /// Gives every session a function that returns a table.
    #[must_use]
    pub fn table_function(
        mut self,
        name: impl Into<String>,
        function: Arc<dyn TableFunctionImpl>,
    ) -> Self {
        self.additions.table_functions.push((name.into(), function));
        self
    }

    /// Gives every session a function of values.
    #[must_use]
    pub fn scalar_function(mut self, function: ScalarUDF) -> Self {
        self.additions.scalar_functions.push(function);
        self
    }

    /// Gives every session an aggregate function.
    #[must_use]
    pub fn aggregate_function(mut self, function: AggregateUDF) -> Self {
        self.additions.aggregate_functions.push(function);
        self
    }

    /// Gives every session a window function.
    #[must_use]
    pub fn window_function(mut self, function: WindowUDF) -> Self {
        self.additions.window_functions.push(function);
        self
    }

    /// A store that tables are read from, for URLs of this scheme and host.
    #[must_use]
    pub fn object_store(mut self, url: Url, store: Arc<dyn ObjectStore>) -> Self {
        self.additions.object_stores.push((url, store));
        self
    }

    /// Where the stores are found that tables are read from; DataFusion's own registry where not set.
    /// Connections add theirs to it.
    #[must_use]
    pub fn object_store_registry(mut self, registry: Arc<dyn ObjectStoreRegistry>) -> Self {
        self.object_stores = Some(registry);
        self
    }

    /// Builds the engine.
    ///
    /// # Errors
    /// DataFusion can't make its runtime (no directory for spilling, for example), or a table that was
    /// added has a name it can't have.
    pub fn build(self) -> Result<Engine> {
        let mut services = self.services;
        let limit = match self.memory_limit {
            Some(bytes) if bytes < LEAST_BYTES => return Err(too_little(bytes)),
            Some(bytes) => Some(bytes),
            None => Engine::default_memory_limit(),
        };
        // A folder is listed whenever it is read: exports, of other programs too, add to it.
        let mut runtime = RuntimeEnvBuilder::new().with_object_list_cache_limit(0);
        if let Some(registry) = self.object_stores {
            runtime = runtime.with_object_store_registry(registry);
        }
        if let Some(bytes) = limit {
            let shared = bytes - PROGRAM_BYTES;
            let mut export = ExportMemory::new(shared / EXPORT_SHARE);
            if self.memory_limit.is_none() {
                // Nobody said that exports may take more than they need.
                export = export.min(ExportMemory::default());
            }
            services.set_export_memory(export);
            let threads = self.threads.or_else(|| available_parallelism().ok());
            let threads = threads.unwrap_or(NonZeroUsize::MIN);
            runtime = runtime
                .with_memory_pool(shared_pool(shared))
                .with_max_spill_merge_fan_in(runs_merged(shared, threads))
                .with_metadata_cache_limit(
                    DEFAULT_METADATA_CACHE_LIMIT.min(shared / FOOTERS_SHARE),
                );
        }
        let runtime = runtime.build_arc().map_err(Error::from)?;
        for (url, store) in &self.additions.object_stores {
            runtime.register_object_store(url, Arc::clone(store));
        }
        if !self.additions.tables.is_empty() {
            // A name that can't be is known now. A session costs some time, so only then.
            self.additions.add_to(&SessionContext::new())?;
        }
        Ok(Engine {
            services,
            runtime,
            memory_limit: limit,
            threads: self.threads,
            additions: Arc::new(self.additions),
        })
    }
}

impl Engine {
    /// Settings to build an engine from.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The memory in bytes that the process may use where nobody says so: three quarters of the
    /// machine's or its container's; none if that can't be told.
    pub fn default_memory_limit() -> Option<usize> {
        machine_memory().map(|bytes| (bytes / 4 * 3).max(LEAST_BYTES))
    }

    /// The memory in bytes that the process may use; none if it is not limited because nobody asked for
    /// it and the machine doesn't tell how much it has.
    pub fn memory_limit(&self) -> Option<usize> {
        self.memory_limit
    }

    /// A session of its own tables and settings.
    pub fn session(&self) -> Session {
        let mut config = SessionConfig::new().with_information_schema(true);
        // Errors of the planner then know their place in the text.
        config.options_mut().sql_parser.collect_spans = true;
        // A text in a CSV file may have line ends in it.
        config.options_mut().catalog.newlines_in_values = true;
        // So that a glob may name folders, too.
        let execution = &mut config.options_mut().execution;
        execution.listing_table_ignore_subdirectory = false;
        if let Some(threads) = self.threads {
            config = config.with_target_partitions(threads.get());
        }
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime));
        let state = install(builder, self.services.clone()).build();
        let context = with_file_tables(SessionContext::new_with_state(state));
        // It fails only for sessions that were not installed to.
        let context = match with_catalog_tables(context.clone()) {
            Ok(context) => context,
            Err(error) => {
                tracing::error!(%error, "the catalog's tables are missing");
                context
            }
        };
        if let Err(error) = self.additions.add_to(&context) {
            tracing::error!(%error, "the program's own tables and functions are missing");
        }
        Session::new(context)
    }

    /// Exports that have not ended, or of which the store did not confirm that everything is gone.
    pub fn unfinished_exports(&self) -> Vec<Unfinished> {
        self.services.reaper.unfinished()
    }

    /// Waits, at most `patience`, until cancelled and failed exports have been cleaned up. Says
    /// whether they have. Call it before the program exits.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        self.services.reaper.drain(patience).await
    }
}
