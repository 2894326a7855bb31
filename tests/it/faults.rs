//! Fault injection: each request of an export fails in turn, with different faults, or many
//! requests fail at random.
//!
//! Invariant: afterwards the export is complete or the target is as it was before, nothing is
//! pending, and a failed statement succeeds when it is repeated.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate::{Engine, Error, ErrorKind, Outcome, Session};

use crate::judged::JudgedServer;
use crate::manners::{self, Manners};
use crate::misbehaving::{Fault, MisbehavingServer};
use crate::servers::read_back;
use crate::texts::seeds;

const ROWS: u64 = 3_000;

/// The format, the mode and further options of an export.
#[derive(Debug, Clone, Copy)]
struct Shape {
    format: &'static str,
    mode: &'static str,
    options: &'static str,
}

impl Shape {
    const fn new(format: &'static str, mode: &'static str, options: &'static str) -> Self {
        Self {
            format,
            mode,
            options,
        }
    }

    fn is_single(self) -> bool {
        self.options.contains("SINGLE FILE")
    }

    /// The target of the export: `folder`, or a file in it for a single-file export.
    fn target(self, folder: &str) -> String {
        match self.is_single() {
            true => format!("{folder}/single.{}", self.format),
            false => folder.to_owned(),
        }
    }

    fn sql(self, folder: &str) -> String {
        format!(
            "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest, value % 3 AS p
                   FROM generate_series(1, {ROWS}))
             TO '{}' (AWS CONNECTION c, FORMAT {}, MAX FILE SIZE '1MB', MODE {} {})",
            self.target(folder),
            self.format,
            self.mode,
            self.options
        )
    }

    /// Exports one old row first, except for mode error. Returns the number of old rows.
    async fn prepare(self, session: &Session, folder: &str) -> u64 {
        if self.mode == "error" {
            return 0;
        }
        let old = format!(
            "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest, value % 3 AS p
                   FROM generate_series(0, 0))
             TO '{}' (AWS CONNECTION c, FORMAT {}{})",
            self.target(folder),
            self.format,
            self.options,
        );
        session.execute(&old).await.unwrap();
        1
    }

    fn rows_after(self, before: u64) -> u64 {
        match self.mode {
            "append" => before + ROWS,
            _ => ROWS,
        }
    }
}

/// A server that misbehaves and a session that exports to it.
struct Bench {
    server: MisbehavingServer,
    engine: Engine,
    session: Session,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(manners::EMBEDDED).await
    }

    async fn start_with(manners: Manners) -> Self {
        let server = MisbehavingServer::start_with(manners).await;
        let (engine, session) = server.store.session().await;
        Self {
            server,
            engine,
            session,
        }
    }

    /// Applies `misbehave` to the server, executes an export and waits for its clean-up.
    async fn export(
        &self,
        sql: &str,
        misbehave: impl FnOnce(&MisbehavingServer),
    ) -> Result<Outcome, Error> {
        misbehave(&self.server);
        let result = self.session.execute(sql).await;
        assert!(self.engine.shutdown(Duration::from_secs(60)).await);
        result
    }

    /// Counts the rows under a folder. The server must have no fault set.
    async fn rows(&self, shape: Shape, folder: &str) -> u64 {
        if self.server.store.keys(folder).await.is_empty() {
            return 0;
        }
        let table = format!("t{}", folder.rsplit('/').next().unwrap());
        // The partition column is in the folder names and not in the files.
        let columns = match shape.options.contains("PARTITION") {
            true => "(value BIGINT, digest VARCHAR)",
            false => "(value BIGINT, digest VARCHAR, p BIGINT)",
        };
        if shape.format == "csv" && shape.options.contains("PARTITION") {
            let contents = self.server.store.contents(folder).await.concat();
            let text = String::from_utf8(contents).unwrap();
            let values: std::collections::BTreeSet<&str> = text
                .lines()
                .map(|line| line.split(',').next().unwrap())
                .collect();
            assert_eq!(values.len(), text.lines().count());
            return values.len() as u64;
        }
        let _ = self.session.execute(&format!("DROP TABLE {table}")).await;
        read_back(&self.session, &table, folder, shape.format, columns).await;
        let counted = format!("SELECT count(*), count(DISTINCT value) FROM {table}");
        let counted = self.session.execute(&counted).await.unwrap();
        let number = |column: usize| {
            use datafusion::arrow::array::AsArray;
            use datafusion::arrow::datatypes::Int64Type;
            let column = counted.batches()[0].column(column);
            column.as_primitive::<Int64Type>().value(0) as u64
        };
        assert_eq!(number(0), number(1), "rows are doubled");
        number(0)
    }

    /// Asserts that the target is complete or as it was before, and that a failed export succeeds
    /// when it is repeated. If the error says so, the export is recovered first.
    async fn assert_all_or_nothing(
        &self,
        shape: Shape,
        folder: &str,
        before: u64,
        result: &Result<Outcome, Error>,
        what: &str,
    ) {
        let store = &self.server.store;
        let mut done = result.is_ok();
        if let Err(error) = result {
            // Nobody cancelled it.
            assert_ne!(error.kind(), ErrorKind::Cancelled, "{what}");
            done = error.message().starts_with("every object is there");
            let leftovers = store.keys(folder).await;
            if leftovers.iter().any(|key| key.contains("_tidegate")) {
                // The store did not confirm every request, and the error says so.
                let hint = error.hint().unwrap_or_default();
                let told = hint.contains("RECOVER EXPORT") || hint.contains("did not confirm");
                assert!(told, "{what}: {leftovers:?}");
                let recover = format!("RECOVER EXPORT '{folder}' (AWS CONNECTION c, FORCE)");
                self.session.execute(&recover).await.expect(what);
                done |= self.rows(shape, folder).await == shape.rows_after(before);
            }
        }
        let expected = if done {
            shape.rows_after(before)
        } else {
            before
        };
        assert_eq!(self.rows(shape, folder).await, expected, "{what}");
        assert_eq!(store.pending_uploads(folder).await, 0, "{what}");
        let keys = store.keys(folder).await;
        let bookkeeping = keys.iter().find(|key| key.contains("_tidegate"));
        assert_eq!(bookkeeping, None, "{what}");
        if !done {
            let again = self.session.execute(&shape.sql(folder)).await;
            assert!(again.is_ok(), "{what}; again: {again:?}");
            let rows = self.rows(shape, folder).await;
            assert_eq!(rows, shape.rows_after(before), "{what}; again");
        }
    }
}

async fn fail_every_request(shape: Shape, faults: &[Fault]) {
    let bench = Bench::start().await;
    let folder = bench.server.store.new_target();
    shape.prepare(&bench.session, &folder).await;
    let sql = shape.sql(&folder);
    let behave = |server: &MisbehavingServer| server.behave();
    bench.export(&sql, behave).await.unwrap();
    let requests = bench.server.seen().len();
    assert!(requests >= 11, "{:?}", bench.server.seen());

    let mut failed = 0;
    for fault in faults {
        for n in 1..=requests {
            bench.server.behave();
            let folder = bench.server.store.new_target();
            let before = shape.prepare(&bench.session, &folder).await;
            let misbehave = |server: &MisbehavingServer| server.fail_request(n, *fault);
            let result = bench.export(&shape.sql(&folder), misbehave).await;
            let seen = bench.server.seen();
            bench.server.behave();
            let what = format!("{shape:?}, {fault:?} of request {n}, {seen:?}: {result:?}");
            bench
                .assert_all_or_nothing(shape, &folder, before, &result, &what)
                .await;
            failed += usize::from(result.is_err());
            if fault.is_transient() {
                assert!(result.is_ok(), "retrying cures it: {what}");
            }
        }
    }
    assert!(failed > requests / 3, "{failed} of {requests} failed");
}

macro_rules! every_request_may_fail {
    ($($name:ident: $shape:expr, $faults:expr;)*) => {
        mod every_request_may_fail {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    fail_every_request($shape, &$faults).await;
                }
            )*
        }
    };
}

const PARTITIONED: &str = ", PARTITION BY (p)";
const SINGLE: &str = ", SINGLE FILE";

every_request_may_fail!(
    parquet: Shape::new("parquet", "error", ""), Fault::ALL;
    csv: Shape::new("csv", "error", ""), Fault::ALL;
    parquet_append: Shape::new("parquet", "append", ""), Fault::QUICK;
    csv_append: Shape::new("csv", "append", ""), Fault::ALL;
    parquet_overwrite: Shape::new("parquet", "overwrite", ""), Fault::ALL;
    csv_overwrite: Shape::new("csv", "overwrite", ""), Fault::QUICK;
    parquet_partitioned: Shape::new("parquet", "error", PARTITIONED), Fault::ALL;
    csv_partitioned: Shape::new("csv", "error", PARTITIONED), Fault::QUICK;
    csv_partitioned_append: Shape::new("csv", "append", PARTITIONED), Fault::QUICK;
    csv_partitioned_overwrite: Shape::new("csv", "overwrite", PARTITIONED), Fault::ALL;
    parquet_single: Shape::new("parquet", "error", SINGLE), Fault::ALL;
    csv_single: Shape::new("csv", "error", SINGLE), Fault::QUICK;
    csv_single_overwrite: Shape::new("csv", "overwrite", SINGLE), Fault::ALL;
);

/// Each request fails with some probability, with a random fault. The stores take turns.
/// `TIDEGATE_FAULT_SEED` chooses the seeds, such as `7` or `0..10000`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_may_fail() {
    let stores = manners::ALL;
    let benches = stores.map(Bench::start_with);
    let benches = futures::future::join_all(benches).await;
    let [mut succeeded, mut failed] = [0; 2];
    let seeds = seeds("TIDEGATE_FAULT_SEED", 0..200);
    for seed in seeds.clone() {
        let turn = seed as usize % stores.len();
        let (bench, store) = (&benches[turn], stores[turn].name);
        let mut random = StdRng::seed_from_u64(seed);
        let options = ["", PARTITIONED, SINGLE][random.random_range(0..3)];
        let modes = match options {
            SINGLE => &["error", "overwrite"][..],
            _ => &["error", "append", "overwrite"],
        };
        let mode = modes[random.random_range(0..modes.len())];
        let format = ["csv", "parquet"][random.random_range(0..2)];
        let shape = Shape::new(format, mode, options);
        let share = [0.02, 0.05, 0.15][random.random_range(0..3)];

        let folder = bench.server.store.new_target();
        let before = shape.prepare(&bench.session, &folder).await;
        let misbehave = |server: &MisbehavingServer| server.fail_at_random(random, share);
        let result = bench.export(&shape.sql(&folder), misbehave).await;
        let seen = bench.server.seen();
        bench.server.behave();
        let what = format!("TIDEGATE_FAULT_SEED={seed}, {store}, {shape:?}, {seen:?}: {result:?}");
        bench
            .assert_all_or_nothing(shape, &folder, before, &result, &what)
            .await;
        match result {
            Ok(_) => succeeded += 1,
            Err(_) => failed += 1,
        }
    }
    println!("{succeeded} exports succeeded and {failed} failed");
    let seeds = seeds.count();
    assert!(seeds < 200 || failed.min(succeeded) > seeds / 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_before_the_query_starts() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    for (operation, right) in [
        ("ListObjectsV2", "s3:ListBucket"),
        ("DeleteObject", "s3:DeleteObject"),
        ("PutObject", "s3:PutObject"),
    ] {
        let target = server.store.new_target();
        server.forbid(&[operation]);
        let sql = format!("COPY (SELECT 1 / 0) TO '{target}' (AWS CONNECTION c, FORMAT csv)");
        let error = session.execute(&sql).await.unwrap_err();
        server.behave();
        assert_eq!(error.kind(), ErrorKind::InsufficientPrivilege, "{error}");
        assert!(error.message().contains(right), "{error}");
        assert!(error.message().contains("connection \"c\""), "{error}");
        server.store.assert_untouched(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_needs_no_right_to_read() {
    let bench = Bench::start().await;
    for (mode, options) in [
        ("error", ""),
        ("append", PARTITIONED),
        ("overwrite", ""),
        ("overwrite", SINGLE),
    ] {
        let shape = Shape::new("csv", mode, options);
        let folder = bench.server.store.new_target();
        let before = shape.prepare(&bench.session, &folder).await;
        let forbid = |server: &MisbehavingServer| server.forbid(&["GetObject", "HeadObject"]);
        let result = bench.export(&shape.sql(&folder), forbid).await;
        bench.server.behave();
        assert!(result.is_ok(), "{shape:?}: {result:?}");
        let rows = bench.rows(shape, &folder).await;
        assert_eq!(rows, shape.rows_after(before), "{shape:?}");
    }
}

/// The response to writing the lock is lost, and then reading the lock fails once or twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_can_not_be_read_is_not_left_behind() {
    let bench = Bench::start().await;
    for unreadable in [Fault::Denied, Fault::ErrorInBody, Fault::CutAfter] {
        let shape = Shape::new("csv", "error", "");
        let folder = bench.server.store.new_target();
        let faults = [
            // `LOCK` and `INCOMPLETE`, which are written concurrently.
            ("PutObject", 1, Fault::CutAfter),
            ("PutObject", 2, Fault::CutAfter),
            ("GetObject", 1, unreadable),
            ("GetObject", 2, Fault::Denied),
        ];
        let misbehave = |server: &MisbehavingServer| server.fail_operations(&faults);
        let result = bench.export(&shape.sql(&folder), misbehave).await;
        let seen = bench.server.seen();
        bench.server.behave();
        let what = format!("{faults:?}, {seen:?}: {result:?}");
        bench
            .assert_all_or_nothing(shape, &folder, 0, &result, &what)
            .await;
    }
}

/// Each request costs the latency of the store, so that their number is a promise of a kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_export_needs_few_requests() {
    let bench = Bench::start().await;
    // An append reads one of the files that are there, to compare its columns.
    for (mode, most) in [("error", 17), ("append", 16), ("overwrite", 20)] {
        let shape = Shape::new("csv", mode, "");
        let folder = bench.server.store.new_target();
        shape.prepare(&bench.session, &folder).await;
        let sql = format!(
            "COPY (SELECT 1 AS a, 2 AS b, 3 AS c) TO '{folder}'
             (AWS CONNECTION c, FORMAT csv, MODE {mode})"
        );
        let behave = |server: &MisbehavingServer| server.behave();
        bench.export(&sql, behave).await.unwrap();
        let seen = bench.server.seen();
        assert!(
            seen.len() <= most,
            "{mode}: {} of {most}: {seen:?}",
            seen.len()
        );
    }
}

/// Journals and uploads are under way when the query fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_leave_nothing_when_the_query_fails() {
    let server = JudgedServer::start(Duration::from_millis(25), |_| None).await;
    let (engine, session) = server.store.session().await;
    for rows in (20_000..200_000).step_by(20_000) {
        let target = server.store.new_target();
        let sql = format!(
            "COPY (SELECT md5(CAST(value AS VARCHAR)), 10 / ({rows} - value) AS ratio
                   FROM generate_series(1, 250000))
             TO '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '1MB')"
        );
        let error = session.execute(&sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DivisionByZero, "{error}");
        assert!(engine.shutdown(Duration::from_secs(60)).await);
        server.store.assert_untouched(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_removed_is_named() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    let target = server.store.new_target();
    server.forbid(&["CompleteMultipartUpload", "AbortMultipartUpload"]);
    let error = session
        .execute(&Shape::new("csv", "error", "").sql(&target))
        .await
        .unwrap_err();
    server.behave();
    let hint = error.hint().unwrap_or_default();
    assert!(
        hint.contains("upload ") && hint.contains(&target),
        "{error}"
    );
    assert!(server.store.pending_uploads(&target).await > 0);
    let keys = server.store.keys(&target).await;
    assert!(
        keys.iter().all(|key| key.contains("_tidegate/")),
        "{keys:?}"
    );

    // The bookkeeping is left, so that the export can be recovered, and says that it has ended.
    let recover = format!("RECOVER EXPORT '{target}' WITH (AWS CONNECTION = c)");
    session.execute(&recover).await.unwrap();
    server.store.assert_untouched(&target).await;
}

/// An export that could not be rolled back does not block the next export.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_rolled_back_is_removed_by_the_next_export() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    let target = server.store.new_target();
    let sql = Shape::new("csv", "error", "").sql(&target);
    server.forbid(&["CompleteMultipartUpload", "AbortMultipartUpload"]);
    session.execute(&sql).await.unwrap_err();
    server.behave();
    let keys = server.store.keys(&target).await;
    assert!(
        keys.iter().any(|key| key.ends_with("/INCOMPLETE")),
        "{keys:?}"
    );

    session.execute(&sql).await.unwrap();
    assert_eq!(server.store.pending_uploads(&target).await, 0);
    let keys = server.store.keys(&target).await;
    let is_bookkeeping = |key: &String| key.contains("_tidegate");
    assert!(!keys.iter().any(is_bookkeeping), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validate_does_not_guess() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;

    // The key may not list buckets, but a wrong secret gets another answer: the key is valid.
    server.fail_request(1, Fault::Denied);
    session.execute("VALIDATE CONNECTION c").await.unwrap();
    assert_eq!(server.seen(), ["ListBuckets", "ListBuckets"]);

    // The store gives the same answer to a wrong secret, so the cause is unknown.
    server.forbid(&["ListBuckets"]);
    let error = session.execute("VALIDATE CONNECTION c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InsufficientPrivilege);
    let hint = error.hint().unwrap_or_default();
    assert!(
        hint.contains("ACCESS KEY ID or SECRET ACCESS KEY is wrong"),
        "{error}"
    );
}
