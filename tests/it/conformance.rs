//! Conformance tests: every store must pass the same checks of exports.

use std::time::Duration;

use tidegate::{ErrorKind, Session};

use crate::assumptions::{an_upload_is_completed_or_aborted, what_was_written_is_listed_at_once};
use crate::manners::{ManneredServer, Manners};
use crate::partitions::{
    each_partition_keeps_the_order, partition_values_name_folders_as_hive_does,
    partitions_are_bounded_in_files, rows_are_divided_by_partition_values,
};
use crate::passthrough::copy_between_targets;
use crate::servers::{self, TestStore, connection_option, connection_sql, execute_all, read_back};

/// Runs every check against a store made by `$store`.
macro_rules! conformance {
    ($module:ident, $store:expr, [$($check:ident),* $(,)?]) => {
        mod $module {
            #[allow(unused_imports)]
            use crate::manners;

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
    ([$($check:ident),* $(,)?], only_s3: [$($s3_check:ident),* $(,)?]) => {
        conformance!(embedded, crate::servers::embedded().await, [$($check,)* $($s3_check),*]);
        conformance!(
            garage,
            super::Shared { store: crate::servers::garage() },
            [$($check,)* $($s3_check),*]
        );
        conformance!(
            moto,
            super::Shared { store: crate::servers::moto_iam().store.clone() },
            [$($check,)* $($s3_check),*]
        );
        conformance!(
            versioned,
            super::Shared { store: crate::servers::moto_iam().versioned.clone() },
            [$($check,)* $($s3_check),*]
        );
        conformance!(aws, super::with(manners::AWS).await, [$($check,)* $($s3_check),*]);
        conformance!(minio, super::with(manners::MINIO).await, [$($check,)* $($s3_check),*]);
        conformance!(r2, super::with(manners::R2).await, [$($check,)* $($s3_check),*]);
        conformance!(gcs, super::with(manners::GCS).await, [$($check,)* $($s3_check),*]);
        conformance!(b2, super::with(manners::B2).await, [$($check,)* $($s3_check),*]);
        conformance!(ceph, super::with(manners::CEPH).await, [$($check,)* $($s3_check),*]);
        conformance!(local, crate::servers::local_folder(), [$($check),*]);
    };
}

async fn with(manners: Manners) -> ManneredServer {
    ManneredServer::start(manners).await
}

struct Shared {
    store: TestStore,
}

every_store!(
    [
        both_formats_read_back,
        a_result_without_rows_is_one_file,
        files_roll_on_their_encoded_size,
        order_is_kept_across_files,
        a_failing_query_leaves_nothing,
        a_dropped_export_leaves_nothing,
        a_target_must_be_empty,
        a_prefix_is_not_its_neighbour,
        names_that_urls_escape,
        modes_keep_and_replace,
        one_target_has_one_export_at_a_time,
        appending_at_once_loses_nothing,
        overwriting_spares_an_export_below,
        overwriting_spares_files_of_others,
        a_single_file_has_the_name_of_its_target,
        rows_are_divided_by_partition_values,
        partition_values_name_folders_as_hive_does,
        each_partition_keeps_the_order,
        partitions_are_bounded_in_files,
        returned_files_say_what_they_hold,
        a_manifest_lists_what_was_written,
        an_object_in_the_way_is_refused,
        a_killed_export_is_recovered,
        row_groups_are_moved_without_decoding,
    ],
    only_s3: [
        what_was_written_is_listed_at_once,
        an_upload_is_completed_or_aborted,
        validate_tells_what_is_wrong,
        a_missing_bucket_is_named,
        a_key_without_the_right_to_write_is_refused_before_anything,
    ]
);

async fn row_groups_are_moved_without_decoding(store: &TestStore) {
    copy_between_targets(store).await;
}

/// Creates the table `numbers` with integer, boolean, text, double, decimal and timestamp columns.
pub(crate) async fn make_numbers(session: &Session, rows: u64) {
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

pub(crate) async fn copy(
    session: &Session,
    source: &str,
    target: &str,
    options: &str,
) -> tidegate::Result<String> {
    let connection = connection_option(target);
    let sql = format!("COPY {source} TO '{target}' WITH ({connection}{options})");
    Ok(session.execute(&sql).await?.tag().to_owned())
}

pub(crate) async fn count(session: &Session, query: &str) -> String {
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
        let columns = "(id BIGINT, flag VARCHAR, words VARCHAR, ratio DOUBLE,
                        amount DECIMAL(20, 3), moment VARCHAR)";
        read_back(
            &session,
            &format!("back_{format}"),
            &target,
            format,
            columns,
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
    // The second query does not export its sort column.
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
        assert_eq!(error.kind(), ErrorKind::DivisionByZero, "{error}");
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
        assert!(engine.shutdown(Duration::from_secs(60)).await);
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
    let closed = servers::ClosedPort::new();
    nowhere.endpoint = closed.endpoint();
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
    // For a key without rights, Garage and AWS may report "access denied" for a missing bucket.
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
        // Only Garage has a read-only key here. `faults` and `credentials` test missing rights on
        // the embedded server and on moto.
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
        // All may give way to each other until they give up.
        assert!(won.len() <= 1, "{won:?}");
        for loser in lost {
            let error = loser.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TargetInUse, "{error}");
        }
        if won.is_empty() {
            copy(&session, query, &target, "FORMAT csv").await.unwrap();
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
    assert!(engine.shutdown(Duration::from_secs(60)).await);
    store.assert_untouched(&target).await;
}

async fn overwriting_spares_files_of_others(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 10).await;
    let target = store.new_target();
    let foreign = format!("{target}/sub/notes.csv");
    let options = "FORMAT csv, SINGLE FILE";
    copy(&session, "numbers", &foreign, options).await.unwrap();
    let overwrite = "FORMAT csv, MODE overwrite";
    let error = copy(&session, "numbers", &target, overwrite).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetInUse, "{error}");
    assert!(error.message().contains("/sub/notes.csv"), "{error}");
    assert_eq!(store.keys(&target).await.len(), 1);
    let forced = "FORMAT csv, MODE overwrite, FORCE";
    copy(&session, "numbers", &target, forced).await.unwrap();
    // Files of exports are replaced without FORCE, and a notice says so.
    let connection = connection_option(&target);
    let sql = format!("COPY numbers TO '{target}' WITH ({connection}{overwrite})");
    let outcome = session.execute(&sql).await.unwrap();
    let notices = &outcome.export().unwrap().notices;
    assert!(notices[0].starts_with("replaced 1 object ("), "{notices:?}");
    let keys = store.keys(&target).await;
    assert!(
        matches!(keys.as_slice(), [key] if key.contains("/part-")),
        "{keys:?}"
    );
}

async fn a_single_file_has_the_name_of_its_target(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let folder = store.new_target();
    let target = format!("{folder}/all of it.csv");
    let rows = |n: u32| format!("(SELECT value FROM generate_series(1, {n}))");
    let options = "FORMAT csv, SINGLE FILE, MAX FILE SIZE '1MB'";
    copy(&session, &rows(400_000), &target, options)
        .await
        .unwrap();
    let keys = store.keys(&folder).await;
    assert!(
        keys.len() == 1 && keys[0].ends_with("/all of it.csv"),
        "{keys:?}"
    );
    assert_eq!(lines_under(store, &folder).await, 400_000);

    let error = copy(&session, &rows(2), &target, options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetInUse);
    assert!(
        error.message().ends_with("/all of it.csv exists"),
        "{error}"
    );

    // Only a query that succeeds replaces the file.
    let failing = "(SELECT 1 / (9000 - value) FROM generate_series(1, 10000))";
    let overwrite = "FORMAT csv, SINGLE FILE, MODE overwrite";
    copy(&session, failing, &target, overwrite)
        .await
        .unwrap_err();
    assert_eq!(lines_under(store, &folder).await, 400_000);
    copy(&session, &rows(3), &target, overwrite).await.unwrap();
    assert_eq!(lines_under(store, &folder).await, 3);

    // A name that begins with the target's name is another file. An empty result is also a file.
    let neighbour = format!("{folder}/all of it.csv2");
    copy(&session, &rows(0), &neighbour, "FORMAT csv, SINGLE FILE")
        .await
        .unwrap();
    assert_eq!(store.keys(&folder).await.len(), 2);
    assert_eq!(store.pending_uploads(&folder).await, 0);
}

async fn returned_files_say_what_they_hold(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 1000).await;
    for format in ["parquet", "csv"] {
        let target = store.new_target();
        let connection = connection_option(&target);
        let sql = format!(
            "COPY (SELECT id, words FROM numbers) TO '{target}'
             ({connection}FORMAT {format}, RETURN = 'files')"
        );
        let outcome = session.execute(&sql).await.unwrap();
        assert_eq!(outcome.tag(), "COPY 1000");
        let rows = arrow::util::pretty::pretty_format_batches(outcome.batches()).unwrap();
        let rows = rows.to_string();
        let size = store.contents(&target).await[0].len();
        assert!(rows.contains(&format!("{target}/part-00000-")), "{rows}");
        assert!(rows.contains(&format!("| 1000 | {size} ")), "{rows}");
        let summaries = "[{name: id, min: 1, max: 1000, nulls: 0}, \
                         {name: words, min: text, \"1\", max: text, \"999\", nulls: 200}]";
        assert_eq!(rows.contains(summaries), format == "parquet", "{rows}");
    }
}

/// A local single-file target may be a link or a device, which an export must not replace.
#[tokio::test]
async fn only_a_regular_file_is_replaced() {
    let folder = servers::local_folder();
    let (_engine, session) = folder.store.session().await;
    let root = folder.store.new_target();
    std::fs::create_dir(&root).unwrap();
    std::fs::write(format!("{root}/real"), "mine").unwrap();
    std::fs::write(format!("{root}/link.csv.new"), "mine, too").unwrap();
    std::os::unix::fs::symlink(format!("{root}/real"), format!("{root}/link.csv")).unwrap();
    let target = format!("{root}/link.csv");
    let error = copy(
        &session,
        "(SELECT 1)",
        &target,
        "FORMAT csv, MODE overwrite",
    );
    let error = error.await.unwrap_err();
    assert!(error.message().contains("not a regular file"), "{error}");

    // Other files beside the target belong to the user and must stay untouched.
    std::fs::remove_file(&target).unwrap();
    let none = "(SELECT 1 WHERE false)";
    copy(&session, none, &target, "FORMAT csv").await.unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"");
    for (name, content) in [("real", "mine"), ("link.csv.new", "mine, too")] {
        let there = std::fs::read_to_string(format!("{root}/{name}")).unwrap();
        assert_eq!(there, content);
    }
    assert_eq!(folder.store.keys(&root).await.len(), 3);
}

/// Without sync, an export has the same files and leaves nothing else.
#[tokio::test]
async fn files_need_not_wait_for_the_disk() {
    let folder = servers::local_folder();
    let (_engine, session) = folder.store.session().await;
    let rows =
        "(SELECT value, md5(CAST(value AS VARCHAR)) AS digest FROM generate_series(1, 99999))";
    let [synced, unsynced] = [(); 2].map(|()| folder.store.new_target());
    for (target, sync) in [(&synced, true), (&unsynced, false)] {
        for mode in ["error", "overwrite", "append"] {
            let options = format!("FORMAT csv, MAX FILE SIZE '1MB', MODE {mode}, SYNC {sync}");
            copy(&session, rows, target, &options).await.unwrap();
        }
    }
    let lines = |files: &[Vec<u8>]| {
        let text = files.concat();
        let mut lines: Vec<Vec<u8>> = text
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    let [synced, unsynced] = [&synced, &unsynced].map(|target| folder.store.contents(target));
    assert!(lines(&synced.await) == lines(&unsynced.await));
}

async fn a_manifest_lists_what_was_written(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let source =
        "(SELECT value, md5(CAST(value AS VARCHAR)) AS digest, 1.50::DECIMAL(9, 2) AS price
                   FROM generate_series(1, 60000))";
    let options = "FORMAT csv, MAX FILE SIZE '1MB', MANIFEST";
    copy(&session, source, &target, options).await.unwrap();
    let keys = store.keys(&target).await;
    let [manifests, data]: [Vec<&String>; 2] = {
        let (manifests, data) = keys.iter().partition(|key| key.contains("/_tidegate/"));
        [manifests, data]
    };
    assert!(manifests.len() == 1 && data.len() >= 2, "{keys:?}");
    let contents = store.contents(&target).await;
    let place = keys.iter().position(|key| key == manifests[0]).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&contents[place]).unwrap();

    // The keys are the same as in the manifests that Redshift's COPY reads and its UNLOAD writes.
    let entries = manifest["entries"].as_array().unwrap();
    assert_eq!(entries.len(), data.len());
    let mut rows = 0;
    for (entry, key) in entries.iter().zip(&data) {
        let url = entry["url"].as_str().unwrap();
        assert!(url.starts_with(&target) && url.ends_with(key.rsplit('/').next().unwrap()));
        let place = keys.iter().position(|found| found == *key).unwrap();
        assert_eq!(entry["meta"]["content_length"], contents[place].len());
        let lines = contents[place]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        assert_eq!(entry["meta"]["record_count"], lines);
        assert_eq!(entry["mandatory"], true);
        assert_eq!(
            entry["meta"]["etag"].is_string(),
            target.starts_with("s3://")
        );
        rows += lines;
    }
    assert_eq!(rows, 60_000);
    assert_eq!(manifest["meta"]["record_count"], 60_000);
    let elements = &manifest["schema"]["elements"];
    assert_eq!(elements[0]["name"], "value");
    assert_eq!(elements[0]["type"]["base"], "bigint");
    assert_eq!(elements[1]["type"]["base"], "character varying");
    let price = serde_json::json!({"base": "numeric", "precision": 9, "scale": 2});
    assert_eq!(elements[2]["type"], price);
    assert_eq!(manifest["author"]["name"], "Tidegate");
    assert!(manifests[0].contains(manifest["export"]["id"].as_str().unwrap()));
    let statement = manifest["export"]["statement"].as_str().unwrap();
    assert!(statement.starts_with("COPY (SELECT value"), "{statement}");
    for time in ["started", "ended"] {
        let time = manifest["export"][time].as_str().unwrap();
        assert!(time.starts_with("20") && time.contains('T'), "{time}");
    }

    // Overwriting the data also removes the old manifest.
    copy(
        &session,
        "(SELECT 1)",
        &target,
        "FORMAT csv, MODE overwrite",
    )
    .await
    .unwrap();
    assert_eq!(store.keys(&target).await.len(), 1);
}

async fn an_object_in_the_way_is_refused(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let folder = store.new_target();
    let object = format!("{folder}/x");
    let one = "(SELECT 1 AS one)";
    copy(&session, one, &object, "FORMAT csv, SINGLE FILE")
        .await
        .unwrap();
    for options in [
        "FORMAT csv",
        "FORMAT csv, MODE append",
        "FORMAT csv, MODE overwrite",
    ] {
        let error = copy(&session, one, &object, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetInUse, "{error}");
        assert!(
            error
                .message()
                .contains("is a folder, but there is an object"),
            "{error}"
        );
    }
    let error = copy(
        &session,
        one,
        &folder,
        "FORMAT csv, SINGLE FILE, MODE overwrite",
    );
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetInUse, "{error}");
    assert!(error.message().contains("is a folder: it has"), "{error}");
    assert_eq!(store.contents(&folder).await, [b"1\n"]);
}

async fn a_killed_export_is_recovered(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let connection = connection_option("s3://").trim_end_matches(", ");
    let connection = if store.folder.is_none() {
        connection
    } else {
        ""
    };
    let comma = if connection.is_empty() { "" } else { ", " };
    for shape in ["", ", PARTITION BY (p)", ", SINGLE FILE"] {
        let folder = store.new_target();
        let target = match shape {
            ", SINGLE FILE" => format!("{folder}/single.csv"),
            _ => folder.clone(),
        };
        // The export does not end by itself, and stages files continuously.
        let sql = format!(
            "COPY (SELECT value, value % 3 AS p, md5(CAST(value AS VARCHAR)) AS d
                   FROM generate_series(1, 100000000000))
             TO '{target}' ({connection}{comma}FORMAT csv, MAX FILE SIZE '6MB'{shape})"
        );
        let mut program = crate::kills::start_program(store, &sql);
        while store.pending_uploads(&folder).await == 0 {
            assert_eq!(program.try_wait().unwrap(), None, "it ended by itself");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        program.kill().unwrap();
        program.wait().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;

        let recover = format!("RECOVER EXPORT '{target}' ({connection}");
        let living = session.execute(&format!("{recover})")).await.unwrap_err();
        assert_eq!(living.kind(), ErrorKind::TargetInUse, "{living}");
        let forced = format!("{recover}{comma}FORCE)");
        let outcome = session.execute(&forced).await.unwrap();
        let rows = arrow::util::pretty::pretty_format_batches(outcome.batches()).unwrap();
        assert!(rows.to_string().contains("| removed |"), "{rows}");
        store.assert_untouched(&folder).await;
        let none = session.execute(&forced).await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::UndefinedObject, "{none}");
    }
}
