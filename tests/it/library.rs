//! The library as another program uses it: the typed API, progress, cancellation, extra tables and
//! functions, other stores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::{StreamExt, TryStreamExt};
use tidegate::{
    CancellationToken, Csv, Engine, ErrorKind, Json, Mode, Parquet, Session, TimestampUnit,
};

use crate::servers::embedded;

const LONG: &str =
    "SELECT value, md5(CAST(value AS VARCHAR)) AS hash FROM generate_series(1, 100000000)";

fn assert_send<T: Send + 'static>(value: T) -> T {
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataframe_is_exported_without_sql() {
    let server = embedded().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    session
        .execute(
            "CREATE TABLE t AS SELECT value AS id, value % 3 AS \"Part\", \
             TIMESTAMP '2024-05-01' AS at FROM generate_series(1, 3000)",
        )
        .await
        .unwrap();
    let rows = async || session.context().table("t").await.unwrap();
    let target = store.new_target();
    let copy = session
        .copy(rows().await)
        .to(&target)
        .connection("c")
        .format(
            Parquet::default()
                .zstd(3)
                .timestamp_unit(TimestampUnit::Microseconds)
                .row_group_rows(500),
        )
        .partition_by(["Part"])
        .manifest()
        .summarize_columns();
    let report = assert_send(copy.run()).await.unwrap();
    assert_eq!(report.rows, 3000);
    assert_eq!(report.files.len(), 3);
    assert_eq!(
        report.bytes,
        report.files.iter().map(|file| file.bytes).sum::<u64>()
    );
    let manifest = report.manifest.unwrap();
    assert!(manifest.contains(&report.export_id), "{manifest}");
    for file in &report.files {
        assert!(
            file.url.starts_with(&target) && file.url.contains("/Part="),
            "{}",
            file.url
        );
        assert_eq!((file.rows, file.columns[0].nulls), (1000, Some(0)));
        assert!(file.etag.is_some());
    }

    let copy = || async { session.copy(rows().await).to(&target).connection("c") };
    let error = copy().await.format(Csv::default()).run().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::TargetInUse, "55006")
    );
    assert_eq!(error.location(), None);
    let csv = Csv::default()
        .header()
        .delimiter(b';')
        .null("-")
        .force_quote(["id"])
        .gzip();
    let report = copy()
        .await
        .format(csv)
        .mode(Mode::Overwrite)
        .run()
        .await
        .unwrap();
    assert_eq!(report.files.len(), 1);
    assert!(report.files[0].url.ends_with(".csv.gz"));
    let json = copy().await.format(Json::default()).mode(Mode::Append);
    let error = json.run().await.unwrap_err();
    assert!(error.message().contains("it is csv"), "{error}");
    let json = copy().await.format(Json::default()).mode(Mode::Append);
    assert_eq!(json.force().run().await.unwrap().rows, 3000);

    // The typed API fails in the same cases as SQL, with the same messages.
    for (copy, expected) in [
        (
            session.copy(rows().await).format(Csv::default()),
            "needs a target",
        ),
        (copy().await, "COPY TO requires a FORMAT option"),
        (
            copy().await.format(Csv::default().delimiter(b'\xe9')),
            "single one-byte character",
        ),
        (
            copy()
                .await
                .format(Parquet::default())
                .partition_by(["part"]),
            "part",
        ),
        (
            session
                .copy(rows().await)
                .to("s3://b/p")
                .format(Csv::default()),
            "AWS CONNECTION is required",
        ),
    ] {
        let error = copy.run().await.unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_cancels_and_waits_for_the_clean_up() {
    let server = embedded().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let rows = session.context().sql(LONG).await.unwrap();
    let token = CancellationToken::new();
    let copy = session.copy(rows).to(&target).connection("c");
    let copy = copy
        .format(Csv::default())
        .max_file_bytes(2 << 20)
        .cancelled_by(token.clone());
    let execution = copy.start().await.unwrap();
    let progress = execution.progress().clone();
    let running = tokio::spawn(assert_send(execution.collect()));
    // Progress is a stream.
    let mut snapshots = Box::pin(progress.stream(Duration::from_millis(5)));
    while let Some(snapshot) = snapshots.next().await {
        let export = snapshot.export.unwrap();
        if export.files > 3 {
            assert!(export.rows > 0 && export.bytes > 3 << 20);
            break;
        }
    }
    let cancelled = Instant::now();
    token.cancel();
    let error = running.await.unwrap().unwrap_err();
    assert!(cancelled.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    // The execution returned after its clean-up, so there is no further wait here.
    store.assert_untouched(&target).await;
    while snapshots.next().await.is_some() {}
    assert!(progress.has_ended());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_an_execution_cancels_it() {
    let server = embedded().await;
    let store = &server.store;
    let (engine, session) = store.session().await;
    let target = store.new_target();
    let sql = format!("COPY ({LONG}) TO '{target}' (AWS CONNECTION c, FORMAT csv)");
    let mut execution = session.start(&sql).await.unwrap();
    let progress = execution.progress().clone();
    let some_time = tokio::time::timeout(Duration::from_millis(400), execution.try_next()).await;
    assert!(some_time.is_err());
    drop(execution);
    assert!(progress.has_ended());
    assert!(engine.shutdown(Duration::from_secs(60)).await);
    store.assert_untouched(&target).await;
}

/// The writers of an export run ahead of its execution. All of them may have finished before the
/// first poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_an_execution_that_was_never_polled_cancels_it() {
    let server = embedded().await;
    let store = &server.store;
    let (engine, session) = store.session().await;
    let target = store.new_target();
    session
        .execute("CREATE TABLE t AS SELECT value FROM generate_series(1, 100000)")
        .await
        .unwrap();
    let sql = format!(
        "COPY (SELECT a.value FROM t a JOIN t b ON a.value = b.value)
         TO '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '1MB')"
    );
    let execution = session.start(&sql).await.unwrap();
    let started = Instant::now();
    while store.pending_uploads(&target).await == 0 && started.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(execution);
    assert!(engine.shutdown(Duration::from_secs(60)).await);
    store.assert_untouched(&target).await;
}

#[tokio::test]
async fn a_dry_run_changes_no_catalog_and_no_store() {
    let engine = Engine::builder().build().unwrap();
    let session = engine.session().unwrap();
    let create = "CREATE SECRET s AS 'v';
        CREATE CONNECTION c TO AWS (ENDPOINT = 'http://127.0.0.1:1', ACCESS KEY ID = 'k',
                                    SECRET ACCESS KEY = SECRET s)";
    for statement in session.split_script(create).unwrap().statements {
        session
            .start_statement(statement)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
    }
    let dry_run = engine.dry_run().unwrap();
    let check = async |sql: &str| {
        let script = dry_run.session().split_script(sql).unwrap();
        for statement in script.statements {
            dry_run.check(statement).await.unwrap();
        }
    };
    check("DROP CONNECTION c; DROP SECRET s; CREATE SECRET other AS 'w'").await;
    check("CREATE TABLE t AS VALUES (1); SELECT * FROM t").await;
    let names = |session: Session, what: &'static str| async move {
        let sql = format!("SHOW {what}");
        let rows = session.execute(&sql).await.unwrap();
        rows.batches()
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>()
    };
    assert_eq!(names(session.clone(), "SECRETS").await, 1);
    assert_eq!(names(session.clone(), "CONNECTIONS").await, 1);
    assert_eq!(names(dry_run.session().clone(), "CONNECTIONS").await, 0);
    session.execute("SELECT * FROM t").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_much_is_left_is_known_from_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.parquet");
    let engine = Engine::builder().build().unwrap();
    let session = engine.session().unwrap();
    let sql = format!(
        "COPY (SELECT value FROM generate_series(1, 500000)) TO '{}'",
        file.display()
    );
    session
        .execute(&format!("{sql} (FORMAT parquet)"))
        .await
        .unwrap();
    let query = format!("SELECT count(*), sum(value) FROM '{}'", file.display());
    let mut execution = session.start(&query).await.unwrap();
    let progress = execution.progress().clone();
    assert_eq!(progress.snapshot().rows_total, Some(500_000));
    while execution.try_next().await.unwrap().is_some() {}
    let snapshot = progress.snapshot();
    assert_eq!(
        (snapshot.rows_read, snapshot.fraction()),
        (500_000, Some(1.0))
    );
    assert!(snapshot.export.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_takes_tables_functions_and_stores() {
    let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(vec![
        datafusion::arrow::datatypes::Field::new("a", DataType::Int64, false),
    ]));
    let column = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    let table = MemTable::try_new(schema, vec![vec![batch]]).unwrap();
    let double = create_udf(
        "double_it",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let values = ColumnarValue::values_to_arrays(arguments)?;
            let values = datafusion::common::cast::as_int64_array(&values[0])?;
            let doubled: Int64Array = values.iter().map(|value| Some(value? * 2)).collect();
            Ok(ColumnarValue::Array(Arc::new(doubled)))
        }),
    );
    let store = object_store::memory::InMemory::new();
    let path = "x.csv".into();
    let put = object_store::ObjectStoreExt::put(&store, &path, "v\n7\n".into());
    put.await.unwrap();
    let url = url::Url::parse("memory://there").unwrap();
    let engine = Engine::builder()
        .table("numbers", Arc::new(table))
        .scalar_function(double)
        .object_store(url, Arc::new(store))
        .build()
        .unwrap();
    // Every session has the table, the function and the store.
    for _ in 0..2 {
        let session = engine.session().unwrap();
        let sum = session
            .execute("SELECT sum(double_it(a)) FROM numbers")
            .await
            .unwrap();
        let sum = sum.batches()[0]
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap()
            .value(0);
        assert_eq!(sum, 12);
        let sql = "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'memory://there/x.csv' \
                   OPTIONS ('format.has_header' 'true')";
        session.execute(sql).await.unwrap();
        assert_eq!(
            session.execute("SELECT v FROM x").await.unwrap().tag(),
            "SELECT 1"
        );
    }
}

/// A decoder may panic on damaged input. The statement fails, its export is rolled back, and the
/// session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_an_error_of_its_statement() {
    let server = embedded().await;
    let store = &server.store;
    let (engine, session) = store.session().await;
    let boom = create_udf(
        "boom",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Volatile,
        Arc::new(|values: &[ColumnarValue]| match &values[0] {
            ColumnarValue::Array(values) if values.len() < 2 => {
                Ok(ColumnarValue::Array(Arc::clone(values)))
            }
            _ => panic!("boom on purpose"),
        }),
    );
    session.context().register_udf(boom);
    let target = store.new_target();
    let rows = "SELECT boom(value) AS v, value % 3 AS p FROM generate_series(1, 100000)";
    let copy = |options: &str| {
        format!("COPY ({rows}) TO '{target}' (AWS CONNECTION c, FORMAT parquet{options})")
    };
    for statement in [
        rows.to_owned(),
        copy(""),
        copy(", PARTITION BY (p)"),
        format!("{rows} ORDER BY v"),
        format!("SELECT p, sum(v) FROM ({rows}) GROUP BY p"),
    ] {
        let error = session.execute(&statement).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{statement}: {error}");
        assert_eq!(error.kind().sqlstate(), "XX000");
        assert!(error.location().is_some(), "{statement}: {error}");
        assert!(
            error.message().contains("boom on purpose"),
            "{statement}: {error}"
        );
        assert!(engine.shutdown(Duration::from_secs(60)).await);
        store.assert_untouched(&target).await;
        session.execute("SELECT 1").await.unwrap();
    }
}
