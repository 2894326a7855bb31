//! Runs the real export path in simulated time. The store is in memory and delays, loses, repeats
//! and reorders requests. The processes stall and crash.
//!
//! Invariant: the same seed always gives the same history. A failing seed prints its history;
//! `TIDEGATE_SIMULATION_SEED=7` (or `0..100000`) replays it.

mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, collect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::store::{Manners, ProcessStore, SimulatedStore};
use crate::error::{Error, ErrorKind};
use crate::format::{CsvFormat, CsvOptions};
use crate::memory::ExportMemory;
use crate::plan::{FileWriteExec, Writers};
use crate::sink::{
    ByteBudget, Export, ExportSink, ExportSpec, Mode, Partition, Reaper, Target, recover_exports,
};

/// The folder of all exports of a simulation.
const TARGET: &str = "s3://sim/target";

const PART_BYTES: usize = 1 << 20;

/// Upper bound for the duration of an export: longer than any stall and any late request.
const LONGEST: Duration = Duration::from_secs(3600);

/// One process that exports.
struct Exporter {
    name: String,
    id: String,
    mode: Mode,
    is_single: bool,
    partitions: usize,
    /// Rows of each partition of the query.
    rows: usize,
    /// Each row becomes a file.
    rolls: bool,
    partitioned: bool,
    starts: Duration,
    store: ProcessStore,
}

/// The outcome that an exporter has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Success,
    /// Nothing of it is or will be there.
    Failure,
    Unknown,
}

impl Exporter {
    fn spec(&self) -> ExportSpec {
        let target = Target::parse(TARGET).unwrap();
        let target = match self.is_single {
            true => Target::parse(&format!("{TARGET}/single.csv"))
                .unwrap()
                .into_single_file()
                .unwrap(),
            false => target,
        };
        let input_schema = schema();
        let value = Schema::new(vec![Field::new("value", DataType::Int64, false)]);
        let partition = self.partitioned.then(|| Partition {
            columns: vec![1],
            file_columns: vec![0],
            max_open_files: 10,
        });
        ExportSpec {
            target,
            mode: self.mode,
            force: false,
            statement: self.name.clone(),
            recover_statement: String::new(),
            schema: match self.partitioned {
                true => SchemaRef::new(value),
                false => SchemaRef::clone(&input_schema),
            },
            input_schema,
            partition,
            writers: self.partitions as u32,
            format: Arc::new(CsvFormat::new(CsvOptions::default())),
            max_file_bytes: if self.rolls { 1 } else { u64::MAX },
            part_bytes: PART_BYTES,
            manifest: false,
            memory: ExportMemory::default(),
            moved: None,
        }
    }

    /// Runs the export as DataFusion does, and returns what it said.
    async fn run(&self) -> Result<(), Error> {
        tokio::time::sleep(self.starts).await;
        let store = Arc::new(self.store.clone());
        let budget = ByteBudget::new(1 << 30);
        let export = Export::with_id(self.id.clone(), self.spec(), store, budget, Reaper::new());
        let export = Arc::new(export);
        let partitions: Vec<Vec<RecordBatch>> = (0..self.partitions)
            .map(|partition| rows(partition, self.rows))
            .collect();
        let input = MemorySourceConfig::try_new_exec(&partitions, schema(), None)?;
        let writers = match self.partitions {
            1 => Writers::Single,
            _ => Writers::PerPartition,
        };
        let most = self.partitions;
        let write = FileWriteExec::new(input, Arc::clone(&export), writers, most, 0);
        let sink = Arc::new(ExportSink::new(Arc::clone(&export)));
        let write: Arc<dyn ExecutionPlan> = match self.partitions {
            1 => Arc::new(write),
            _ => Arc::new(CoalescePartitionsExec::new(Arc::new(write))),
        };
        let plan: Arc<dyn ExecutionPlan> = Arc::new(DataSinkExec::new(write, sink, None));
        let result = collect(plan, Arc::new(TaskContext::default())).await;
        export.wait_until_over().await;
        result.map(drop).map_err(Error::from)
    }
}

fn schema() -> SchemaRef {
    SchemaRef::new(Schema::new(vec![
        Field::new("value", DataType::Int64, false),
        Field::new("p", DataType::Int64, false),
    ]))
}

/// The rows of a partition of the query, one in each batch.
fn rows(partition: usize, count: usize) -> Vec<RecordBatch> {
    let first = (partition * count) as i64;
    let row = |row: i64| {
        let value = Int64Array::from(vec![first + row]);
        let folder = Int64Array::from(vec![row % 2]);
        RecordBatch::try_new(schema(), vec![Arc::new(value), Arc::new(folder)]).unwrap()
    };
    (0..count as i64).map(row).collect()
}

/// A simulation. The seed determines all its parameters.
struct Simulation {
    seed: u64,
    store: SimulatedStore,
    exporters: Vec<Exporter>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Another generator, so that seeds keep the rest of their history.
        let mut shape = StdRng::seed_from_u64(!seed);
        let manners = Manners {
            ignores_conditions: random.random_bool(0.3),
            refuses_conditions: random.random_bool(0.2),
            lists_exact_keys: random.random_bool(0.3),
            drops_completed: false,
        };
        let disorder = [0.0, 0.01, 0.05, 0.15][random.random_range(0..4)];
        let is_single = random.random_bool(0.2);
        let rolls = !is_single && shape.random_bool(0.3);
        let is_empty = is_single && shape.random_bool(0.3);
        let manners = Manners {
            drops_completed: shape.random_bool(0.4),
            ..manners
        };
        let store = SimulatedStore::new(seed, disorder, manners);
        let count = random.random_range(2..5);
        let exporters = (0..count).map(|number| {
            let modes = match is_single {
                true => &[Mode::Error, Mode::Overwrite][..],
                false => &[Mode::Error, Mode::Append, Mode::Overwrite],
            };
            let name = format!("process{number}");
            Exporter {
                id: format!("{seed:024x}{number:08x}"),
                mode: modes[random.random_range(0..modes.len())],
                is_single,
                partitions: if is_single {
                    1
                } else {
                    random.random_range(1..3)
                },
                rows: random.random_range(1..4) * usize::from(!is_empty),
                rolls,
                partitioned: !is_single && random.random_bool(0.3),
                starts: Duration::from_secs_f64(random.random_range(0.0..[0.2, 200.0][number % 2])),
                store: store.process(&name),
                name,
            }
        });
        Self {
            seed,
            exporters: exporters.collect(),
            store,
        }
    }

    /// Stalls and kills processes at random times.
    async fn disturb(&self, exporter: usize) {
        let mut random = StdRng::seed_from_u64(self.seed * 31 + exporter as u64);
        let process = &self.exporters[exporter];
        tokio::time::sleep(process.starts).await;
        let soon = Duration::from_secs_f64(random.random_range(0.0..1.0));
        match random.random_range(0..5) {
            0 => {
                tokio::time::sleep(soon).await;
                self.store.note(format!("{} dies", process.name));
                process.store.crash();
            }
            1 | 2 => {
                tokio::time::sleep(soon).await;
                let pause = Duration::from_secs_f64(random.random_range(1.0..300.0));
                self.store
                    .note(format!("{} stalls for {pause:?}", process.name));
                process.store.stall(pause);
            }
            _ => {}
        }
    }

    async fn run(&self) -> Vec<Said> {
        let exports = self
            .exporters
            .iter()
            .enumerate()
            .map(|(number, exporter)| async move {
                let run = tokio::time::timeout(LONGEST, exporter.run());
                let (result, ()) = tokio::join!(run, self.disturb(number));
                let said = match &result {
                    _ if exporter.store.has_crashed() => Said::Nothing,
                    Err(_) => panic!("{} hangs", exporter.name),
                    Ok(Ok(())) => Said::Success,
                    Ok(Err(error)) => match error.kind() {
                        ErrorKind::CleanupFailed => Said::Success,
                        ErrorKind::OutcomeUnknown => Said::Unknown,
                        _ if error.hint().is_some_and(|hint| hint.contains("object ")) => {
                            Said::Unknown
                        }
                        _ => Said::Failure,
                    },
                };
                let shown = match result {
                    Ok(Err(error)) => format!("{error} ({:?})", error.hint()),
                    _ => String::new(),
                };
                let (name, mode) = (&exporter.name, exporter.mode);
                self.store
                    .note(format!("{name} ({mode:?}) said {said:?} {shown}"));
                said
            });
        futures::future::join_all(exports).await
    }

    /// Ends unfinished exports with `RECOVER EXPORT`, as a user would.
    async fn recover(&self) {
        self.store.settle().await;
        self.store.calm();
        tokio::time::sleep(Duration::from_secs(120)).await;
        let target = Target::parse(TARGET).unwrap();
        let process = Arc::new(self.store.process("recovery"));
        match recover_exports(process, &target, true).await {
            Ok(recovered) => self.store.note(format!("recovered {recovered:?}")),
            Err(error) => self.store.note(format!("not recovered: {error}")),
        }
    }

    /// Compares the reported outcomes with the contents of the store.
    fn check(&self, said: &[Said]) -> Result<(), String> {
        let keys = self.store.keys();
        if let Some(key) = keys.iter().find(|key| key.contains("_tidegate")) {
            return Err(format!("{key} is left"));
        }
        if let Some(key) = self.store.pending().first() {
            return Err(format!("an upload of {key} is left"));
        }
        if let Some(key) = self.store.unannounced() {
            return Err(format!(
                "an upload of {key} was created before it was announced"
            ));
        }
        let mut values: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for key in &keys {
            let (body, tag) = self.store.object(key).unwrap_or_default();
            let is_of = |exporter: &&Exporter| {
                key.contains(&exporter.id)
                    || tag
                        .as_ref()
                        .is_some_and(|tag| tag.starts_with(&exporter.id))
            };
            let Some(owner) = self.exporters.iter().find(is_of) else {
                return Err(format!("{key} belongs to no export"));
            };
            let text = String::from_utf8_lossy(&body).into_owned();
            let lines = text
                .lines()
                .map(|line| line.split(',').next().unwrap_or_default());
            let numbers = lines.filter_map(|value| value.parse::<i64>().ok());
            values.entry(&owner.id).or_default().extend(numbers);
        }
        let is_complete = |exporter: &Exporter| {
            let mut found = values
                .get(exporter.id.as_str())
                .cloned()
                .unwrap_or_default();
            found.sort_unstable();
            let all = (exporter.partitions * exporter.rows) as i64;
            found == (0..all).collect::<Vec<_>>()
        };
        let is_absent = |exporter: &Exporter| !values.contains_key(exporter.id.as_str());
        // An overwrite that may have replaced the rows of other exports.
        let replaces = |number: usize| {
            self.exporters[number].mode == Mode::Overwrite && said[number] != Said::Failure
        };
        for (number, (exporter, said)) in self.exporters.iter().zip(said).enumerate() {
            let name = &exporter.name;
            if !is_complete(exporter) && !is_absent(exporter) {
                return Err(format!("{name} is incomplete: some of its rows are there"));
            }
            let replaced =
                (0..self.exporters.len()).any(|other| other != number && replaces(other));
            match said {
                Said::Success if is_absent(exporter) && !replaced => {
                    return Err(format!("{name} said success, and its rows are gone"));
                }
                Said::Failure if !is_absent(exporter) => {
                    return Err(format!("{name} said failure, and its rows are there"));
                }
                _ => {}
            }
        }
        let winners = self.exporters.iter().zip(said);
        let winners = winners
            .filter(|(exporter, said)| exporter.mode == Mode::Error && **said == Said::Success);
        let overwritten = self
            .exporters
            .iter()
            .any(|other| other.mode == Mode::Overwrite);
        match winners.count() {
            0 | 1 => Ok(()),
            _ if overwritten => Ok(()),
            count => Err(format!("{count} exports found the target empty")),
        }
    }
}

/// Seeds that once broke a promise.
const KNOWN: [u64; 5] = [11_212, 15_270, 21_443, 24_561, 28_972];

/// The seeds to run: [`KNOWN`] and `0..5000`, or the value of `TIDEGATE_SIMULATION_SEED`.
fn seeds() -> Vec<u64> {
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    match std::env::var("TIDEGATE_SIMULATION_SEED") {
        Err(_) => (0..5000).chain(KNOWN).collect(),
        Ok(chosen) => match chosen.split_once("..") {
            Some((first, end)) => (number(first)..number(end)).collect(),
            None => vec![number(&chosen)],
        },
    }
}

#[test]
fn every_history_keeps_the_promises() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let simulation = Simulation::new(seed);
            let said = simulation.run().await;
            simulation.recover().await;
            for said in &said {
                *counts.entry(format!("{said:?}")).or_default() += 1;
            }
            if let Err(why) = simulation.check(&said) {
                let history = simulation.store.history();
                println!("TIDEGATE_SIMULATION_SEED={seed}: {why}\n{history}\n");
                failed.push(seed);
            }
        });
    }
    println!("{counts:?}");
    assert!(failed.is_empty(), "seeds {failed:?}");
}
