//! What an export must do on every store.

use std::time::Duration;

use tidegate::{ErrorKind, Session};

use crate::servers::{self, TestStore, connection_sql, execute_all};

/// Runs every check against a store made by `$store`.
macro_rules! conformance {
    ($module:ident, $store:expr, [$($check:ident),* $(,)?]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let server = $store;
                    super::$check(&server.store).await;
                }
            )*
        }
    };
}

macro_rules! every_store {
    ($($check:ident),* $(,)?) => {
        conformance!(embedded, crate::servers::embedded().await, [$($check),*]);
        conformance!(garage, super::Shared { store: crate::servers::garage() }, [$($check),*]);
    };
}

struct Shared {
    store: TestStore,
}

every_store!(
    both_formats_read_back,
    a_result_without_rows_is_one_file,
    files_roll_on_their_encoded_size,
    order_is_kept_across_files,
    a_failing_query_leaves_nothing,
    a_dropped_export_leaves_nothing,
    a_target_must_be_empty,
    a_prefix_is_not_its_neighbour,
    validate_tells_what_is_wrong,
    a_missing_bucket_is_named,
    a_key_without_the_right_to_write_is_refused_before_anything,
    names_that_urls_escape,
    modes_keep_and_replace,
    one_target_has_one_export_at_a_time,
    appending_at_once_loses_nothing,
    overwriting_spares_an_export_below,
);

/// A table `numbers` with every sort of column that CSV can hold.
async fn make_numbers(session: &Session, rows: u64) {
    execute_all(
        session,
        &format!(
            "CREATE TABLE numbers AS SELECT value AS id, value % 7 = 0 AS flag,
                 CASE WHEN value % 5 = 0 THEN NULL ELSE concat('text, \"', value, '\"') END AS words,
                 CAST(value AS DOUBLE) / 3 AS ratio, CAST(value AS DECIMAL(20, 3)) AS amount,
                 to_timestamp(value * 1000) AS moment
             FROM generate_series(1, {rows})"
        ),
    )
    .await;
}

async fn copy(
    session: &Session,
    source: &str,
    target: &str,
    options: &str,
) -> tidegate::Result<String> {
    let sql = format!("COPY {source} TO '{target}' WITH (AWS CONNECTION = c, {options})");
    Ok(session.execute(&sql).await?.tag().to_owned())
}

async fn count(session: &Session, query: &str) -> String {
    let outcome = session.execute(query).await.unwrap();
    let table = arrow::util::pretty::pretty_format_batches(outcome.batches()).unwrap();
    table
        .to_string()
        .lines()
        .nth(3)
        .unwrap()
        .trim_matches(['|', ' '])
        .to_owned()
}

async fn both_formats_read_back(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 5000).await;
    for format in ["parquet", "csv"] {
        let target = store.new_target();
        let tag = copy(
            &session,
            "numbers",
            &target,
            &format!("FORMAT = '{format}'"),
        )
        .await
        .unwrap();
        assert_eq!(tag, "COPY 5000");
        let keys = store.keys(&target).await;
        assert!(
            keys.iter()
                .all(|key| key.ends_with(&format!(".{format}")) && key.contains("/part-0")),
            "{keys:?}"
        );
        assert_eq!(store.pending_uploads(&target).await, 0);
        let (columns, header) = match format {
            "csv" => (
                "(id BIGINT, flag VARCHAR, words VARCHAR, ratio DOUBLE, amount DECIMAL(20, 3), moment VARCHAR)",
                ", 'format.has_header' 'false'",
            ),
            _ => ("", ""),
        };
        execute_all(
            &session,
            &format!(
            "CREATE EXTERNAL TABLE back_{format} {columns} STORED AS {format} LOCATION '{target}/'
             OPTIONS ('aws.connection' 'c'{header})"
        ),
        )
        .await;
        let missing = count(
            &session,
            &format!(
                "SELECT count(*) FROM (SELECT id, words, ratio, amount FROM numbers
             EXCEPT SELECT id, words, ratio, amount FROM back_{format})"
            ),
        )
        .await;
        assert_eq!(missing, "0");
        assert_eq!(
            count(&session, &format!("SELECT count(*) FROM back_{format}")).await,
            "5000"
        );
    }
}

async fn a_result_without_rows_is_one_file(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 10).await;
    for format in ["parquet", "csv"] {
        let target = store.new_target();
        let query = "(SELECT * FROM numbers WHERE id < 0)";
        let tag = copy(&session, query, &target, &format!("FORMAT {format}"))
            .await
            .unwrap();
        assert_eq!(tag, "COPY 0");
        let contents = store.contents(&target).await;
        assert_eq!(contents.len(), 1);
        match format {
            "csv" => assert!(contents[0].is_empty()),
            _ => assert!(contents[0].starts_with(b"PAR1") && contents[0].ends_with(b"PAR1")),
        }
    }
}

async fn files_roll_on_their_encoded_size(store: &TestStore) {
    let (_engine, session) = store.session().await;
    for format in ["parquet", "csv"] {
        let target = store.new_target();
        let query =
            "(SELECT value, md5(CAST(value AS VARCHAR)) AS digest FROM generate_series(1, 150000))";
        let options = format!("FORMAT {format}, MAX FILE SIZE '1MB'");
        copy(&session, query, &target, &options).await.unwrap();
        let mut sizes: Vec<(String, usize)> = store
            .keys(&target)
            .await
            .into_iter()
            .zip(store.contents(&target).await.iter().map(Vec::len))
            .collect();
        assert!(sizes.len() >= 4, "{sizes:?}");
        // Each writer's last file may be smaller.
        sizes.sort();
        let writer = |key: &str| key.rsplit('/').next().unwrap()[..10].to_owned();
        for pair in sizes.windows(2) {
            if writer(&pair[0].0) == writer(&pair[1].0) {
                let share = pair[0].1 as f64 / (1 << 20) as f64;
                assert!(
                    (0.9..=1.1).contains(&share),
                    "{format}: {share} of a file: {sizes:?}"
                );
            }
        }
    }
}

async fn order_is_kept_across_files(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 60_000).await;
    // The second does not export the column that it sorts by.
    for (query, check_column) in [
        (
            "(SELECT id, words, amount FROM numbers ORDER BY id DESC)",
            true,
        ),
        ("(SELECT words, ratio FROM numbers ORDER BY id DESC)", false),
    ] {
        let target = store.new_target();
        copy(
            &session,
            query,
            &target,
            "FORMAT csv, MAX FILE SIZE = 1048576",
        )
        .await
        .unwrap();
        let text = String::from_utf8(store.contents(&target).await.concat()).unwrap();
        let numbers: Vec<i64> =
            text.lines()
                .map(|line| match check_column {
                    true => line.split(',').next().unwrap().parse().unwrap(),
                    // The last field is id / 3.
                    false => (line.rsplit(',').next().unwrap().parse::<f64>().unwrap() * 3.0)
                        .round() as i64,
                })
                .collect();
        assert!(store.keys(&target).await.len() >= 2);
        assert_eq!(numbers, (1..=60_000).rev().collect::<Vec<_>>());
    }
}

async fn a_failing_query_leaves_nothing(store: &TestStore) {
    let (_engine, session) = store.session().await;
    for format in ["parquet", "csv"] {
        let target = store.new_target();
        let query =
            "(SELECT value, 10 / (190000 - value) AS ratio FROM generate_series(1, 200000))";
        let options = format!("FORMAT {format}, MAX FILE SIZE '1MB'");
        let error = copy(&session, query, &target, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Query, "{error}");
        assert!(
            error.message().to_lowercase().contains("divide by zero"),
            "{error}"
        );
        store.assert_untouched(&target).await;
        // The target stays usable.
        copy(&session, "(SELECT 1 AS one)", &target, &options)
            .await
            .unwrap();
    }
}

async fn a_dropped_export_leaves_nothing(store: &TestStore) {
    let (engine, session) = store.session().await;
    for (format, wait) in [("parquet", 0), ("csv", 20), ("parquet", 150), ("csv", 300)] {
        let target = store.new_target();
        let query = "(SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 20000000))";
        let options = format!("FORMAT {format}, MAX FILE SIZE '1MB'");
        let export = copy(&session, query, &target, &options);
        let dropped = tokio::time::timeout(Duration::from_millis(wait), export).await;
        assert!(
            dropped.is_err(),
            "the export ended before it could be dropped"
        );
        assert!(engine.shutdown(Duration::from_secs(5)).await);
        store.assert_untouched(&target).await;
    }
}

async fn a_target_must_be_empty(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    copy(&session, "(SELECT 1 AS one)", &target, "FORMAT csv")
        .await
        .unwrap();
    let before = store.contents(&target).await;
    let error = copy(&session, "(SELECT 2 AS two)", &target, "FORMAT csv")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetInUse);
    assert!(
        error.message().contains(&format!("{target}/ is not empty")),
        "{error}"
    );
    assert_eq!(store.contents(&target).await, before);
}

async fn a_prefix_is_not_its_neighbour(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    copy(
        &session,
        "(SELECT 1 AS one)",
        &format!("{target}2"),
        "FORMAT csv",
    )
    .await
    .unwrap();
    copy(&session, "(SELECT 1 AS one)", &target, "FORMAT csv")
        .await
        .unwrap();
}

async fn validate_tells_what_is_wrong(store: &TestStore) {
    let (_engine, session) = store.session().await;
    assert_eq!(
        session
            .execute("VALIDATE CONNECTION c")
            .await
            .unwrap()
            .tag(),
        "VALIDATE CONNECTION"
    );

    let wrong_secret = "0".repeat(store.secret.len());
    execute_all(
        &session,
        &connection_sql("bad_secret", store, &store.key, &wrong_secret),
    )
    .await;
    let error = session
        .execute("VALIDATE CONNECTION bad_secret")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCredentials, "{error}");
    assert!(error.message().contains("SECRET ACCESS KEY"), "{error}");
    assert!(!error.to_string().contains(&wrong_secret));

    let wrong_key = format!("GK{}", "99".repeat(12));
    execute_all(
        &session,
        &connection_sql("bad_key", store, &wrong_key, &store.secret),
    )
    .await;
    let error = session
        .execute("VALIDATE CONNECTION bad_key")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCredentials, "{error}");
    assert!(error.message().contains("ACCESS KEY ID"), "{error}");

    let mut nowhere = store.clone();
    nowhere.endpoint = format!("http://127.0.0.1:{}", servers::free_port());
    execute_all(
        &session,
        &connection_sql("nowhere", &nowhere, &store.key, &store.secret),
    )
    .await;
    let error = session
        .execute("VALIDATE CONNECTION nowhere")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionFailure, "{error}");
    assert!(error.message().contains("connection refused"), "{error}");

    // The same connections are refused by COPY before the query starts.
    let target = store.new_target();
    for (connection, kind) in [
        ("bad_secret", ErrorKind::InvalidCredentials),
        ("bad_key", ErrorKind::InvalidCredentials),
        ("nowhere", ErrorKind::ConnectionFailure),
    ] {
        let sql =
            format!("COPY (SELECT 1 / 0) TO '{target}' (AWS CONNECTION {connection}, FORMAT csv)");
        let error = session.execute(&sql).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    store.assert_untouched(&target).await;
}

async fn a_missing_bucket_is_named(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let error = copy(
        &session,
        "(SELECT 1 AS one)",
        "s3://no-such-bucket/x",
        "FORMAT csv",
    )
    .await
    .unwrap_err();
    // Garage and AWS may not tell a key without rights whether a bucket exists.
    assert!(
        matches!(
            error.kind(),
            ErrorKind::UndefinedObject | ErrorKind::InsufficientPrivilege
        ),
        "{error:?}"
    );
    assert!(error.message().contains("s3://no-such-bucket/"), "{error}");
}

async fn a_key_without_the_right_to_write_is_refused_before_anything(store: &TestStore) {
    let Some((key, secret)) = &store.read_only else {
        // The embedded server has one key only; `faults` takes rights away from it.
        return;
    };
    let (_engine, session) = store.session().await;
    execute_all(&session, &connection_sql("reader", store, key, secret)).await;
    let target = store.new_target();
    let sql = format!("COPY (SELECT 1 / 0) TO '{target}' (AWS CONNECTION reader, FORMAT csv)");
    let error = session.execute(&sql).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InsufficientPrivilege, "{error}");
    assert!(
        error.message().contains("s3:DeleteObject") || error.message().contains("s3:PutObject"),
        "{error}"
    );
    store.assert_untouched(&target).await;
}

async fn names_that_urls_escape(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let target = format!("{}/day=2024-01-01/a b+c%20ü~(x)'&?#", store.new_target());
    let quoted = target.replace('\'', "''");
    copy(&session, "(SELECT 1 AS one)", &quoted, "FORMAT csv")
        .await
        .unwrap();
    assert_eq!(store.contents(&target).await, [b"1\n"]);
}

async fn lines_under(store: &TestStore, target: &str) -> usize {
    let contents = store.contents(target).await;
    let text = String::from_utf8(contents.concat()).unwrap();
    text.lines().count()
}

async fn modes_keep_and_replace(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let rows = |n: u32| format!("(SELECT value FROM generate_series(1, {n}))");
    copy(&session, &rows(10), &target, "FORMAT csv")
        .await
        .unwrap();
    copy(&session, &rows(5), &target, "FORMAT csv, MODE append")
        .await
        .unwrap();
    assert_eq!(lines_under(store, &target).await, 15);
    copy(&session, &rows(1), &format!("{target}2"), "FORMAT csv")
        .await
        .unwrap();

    // A query that fails replaces nothing.
    let failing = "(SELECT 1 / (9000 - value) FROM generate_series(1, 10000))";
    let failed = copy(&session, failing, &target, "FORMAT csv, MODE = 'overwrite'").await;
    assert!(failed.is_err());
    assert_eq!(lines_under(store, &target).await, 15);

    copy(
        &session,
        &rows(3),
        &target,
        "FORMAT csv, MODE = 'overwrite'",
    )
    .await
    .unwrap();
    assert_eq!(lines_under(store, &target).await, 3);
    assert_eq!(lines_under(store, &format!("{target}2")).await, 1);
}

async fn one_target_has_one_export_at_a_time(store: &TestStore) {
    let (_engine, session) = store.session().await;
    for exporters in [2, 8] {
        let target = store.new_target();
        let query = "(SELECT value FROM generate_series(1, 20000))";
        let exports = (0..exporters).map(|_| copy(&session, query, &target, "FORMAT csv"));
        let results = futures::future::join_all(exports).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{lost:?}");
        for loser in lost {
            assert_eq!(loser.unwrap_err().kind(), ErrorKind::TargetInUse);
        }
        assert_eq!(lines_under(store, &target).await, 20_000);
        assert_eq!(store.pending_uploads(&target).await, 0);
    }
}

async fn appending_at_once_loses_nothing(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let query = "(SELECT value FROM generate_series(1, 1000))";
    let exports = (0..8).map(|_| copy(&session, query, &target, "FORMAT csv, MODE append"));
    for result in futures::future::join_all(exports).await {
        assert_eq!(result.unwrap(), "COPY 1000");
    }
    assert_eq!(lines_under(store, &target).await, 8000);
    assert!(
        store
            .keys(&target)
            .await
            .iter()
            .all(|key| !key.contains("_tidegate"))
    );
}

async fn overwriting_spares_an_export_below(store: &TestStore) {
    let (engine, session) = store.session().await;
    let target = store.new_target();
    let below = format!("{target}/below");
    let long = "(SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 50000000))";
    let export = copy(&session, long, &below, "FORMAT csv");
    let overwrite = async {
        while store.keys(&below).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        copy(
            &session,
            "(SELECT 1 AS one)",
            &target,
            "FORMAT csv, MODE overwrite",
        )
        .await
    };
    let overwritten = tokio::select! {
        _ = export => panic!("the export ended too soon"),
        overwritten = overwrite => overwritten,
    };
    let error = overwritten.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetInUse, "{error}");
    assert!(error.message().contains("has not ended"), "{error}");
    assert!(engine.shutdown(Duration::from_secs(5)).await);
    store.assert_untouched(&target).await;
}
