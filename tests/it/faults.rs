//! Every single request of an export fails in every way. Afterwards all rows are there or none,
//! nothing is pending, and the same statement succeeds.

use std::time::Duration;

use tidegate::{ErrorKind, Session};

use crate::misbehaving::{Fault, MisbehavingServer};

const ROWS: u64 = 30_000;

fn copy_sql(target: &str, format: &str) -> String {
    copy_sql_in_mode(target, format, "error")
}

fn copy_sql_in_mode(target: &str, format: &str, mode: &str) -> String {
    format!(
        "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest FROM generate_series(1, {ROWS}))
         TO '{target}' (AWS CONNECTION c, FORMAT {format}, MAX FILE SIZE '1MB', MODE {mode})"
    )
}

/// Counts the rows under a target through the embedded server, behaving.
async fn rows_under(
    server: &MisbehavingServer,
    session: &Session,
    target: &str,
    format: &str,
) -> u64 {
    if server.store.keys(target).await.is_empty() {
        return 0;
    }
    let (columns, header) = match format {
        "csv" => (
            "(value BIGINT, digest VARCHAR)",
            ", 'format.has_header' 'false'",
        ),
        _ => ("", ""),
    };
    let table = format!("t{}", target.rsplit('/').next().unwrap());
    let create = format!(
        "CREATE EXTERNAL TABLE {table} {columns} STORED AS {format} LOCATION '{target}/'
         OPTIONS ('aws.connection' 'c'{header})"
    );
    session.execute(&create).await.unwrap();
    let counted = session
        .execute(&format!("SELECT count(DISTINCT value) FROM {table}"))
        .await
        .unwrap();
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::Int64Type;
    let rows = counted.batches()[0]
        .column(0)
        .as_primitive::<Int64Type>()
        .value(0);
    u64::try_from(rows).unwrap()
}

async fn fail_every_request(format: &str) {
    let server = MisbehavingServer::start().await;
    let (engine, session) = server.store.session().await;
    let target = server.store.new_target();
    server.fail_request(0, Fault::Denied);
    session.execute(&copy_sql(&target, format)).await.unwrap();
    let requests = server.seen();
    assert!(requests.len() >= 12, "{requests:?}");

    let mut failed = 0;
    for fault in Fault::ALL {
        for n in 1..=requests.len() {
            let target = server.store.new_target();
            let sql = copy_sql(&target, format);
            server.fail_request(n, fault);
            let result = session.execute(&sql).await;
            let seen = server.seen();
            assert!(engine.shutdown(Duration::from_secs(5)).await);
            server.behave();

            let what = format!("{format}, {fault:?} of request {n}, {seen:?}: {result:?}");
            let keys = server.store.keys(&target).await;
            match &result {
                Ok(outcome) => {
                    assert_eq!(outcome.tag(), format!("COPY {ROWS}"), "{what}");
                    assert_eq!(
                        rows_under(&server, &session, &target, format).await,
                        ROWS,
                        "{what}"
                    );
                }
                Err(_) => {
                    failed += 1;
                    assert_eq!(keys, Vec::<String>::new(), "{what}");
                    let again = session.execute(&sql).await;
                    assert!(again.is_ok(), "{what}; again: {again:?}");
                }
            }
            let bookkeeping = |key: &&String| key.contains("_tidegate");
            assert_eq!(keys.iter().find(bookkeeping), None, "{what}");
            assert_eq!(server.store.pending_uploads(&target).await, 0, "{what}");
            if matches!(
                fault,
                Fault::SlowDown | Fault::CutBefore | Fault::CutAfter | Fault::Hang
            ) {
                assert!(result.is_ok(), "retrying cures it: {what}");
            }
        }
    }
    assert!(
        failed > requests.len() / 2,
        "{failed} of {} failed",
        requests.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_a_parquet_export_may_fail() {
    fail_every_request("parquet").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_a_csv_export_may_fail() {
    fail_every_request("csv").await;
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
async fn what_can_not_be_removed_is_named() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    let target = server.store.new_target();
    server.forbid(&["CompleteMultipartUpload", "AbortMultipartUpload"]);
    let error = session
        .execute(&copy_sql(&target, "csv"))
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

    // What is left is the bookkeeping, so that it can be recovered.
    let recover = format!("RECOVER EXPORT '{target}' WITH (AWS CONNECTION = c)");
    let living = session.execute(&recover).await.unwrap_err();
    assert_eq!(living.kind(), ErrorKind::TargetInUse);
    let forced = format!("RECOVER EXPORT '{target}' (AWS CONNECTION c, FORCE)");
    session.execute(&forced).await.unwrap();
    server.store.assert_untouched(&target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validate_does_not_guess() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;

    // The key may not list buckets, and a wrong secret is answered differently: the key is good.
    server.fail_request(1, Fault::Denied);
    session.execute("VALIDATE CONNECTION c").await.unwrap();
    assert_eq!(server.seen(), ["ListBuckets", "ListBuckets"]);

    // The store says the same to both: it may be anything.
    server.forbid(&["ListBuckets"]);
    let error = session.execute("VALIDATE CONNECTION c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InsufficientPrivilege);
    let hint = error.hint().unwrap_or_default();
    assert!(
        hint.contains("ACCESS KEY ID or SECRET ACCESS KEY is wrong"),
        "{error}"
    );
}

/// What an export replaces is there until everything new is, and is never lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_an_overwriting_export_may_fail() {
    let server = MisbehavingServer::start().await;
    let (engine, session) = server.store.session().await;
    let old = |target: &str| {
        format!(
            "COPY (SELECT 1 AS value, 'old' AS digest) TO '{target}' (AWS CONNECTION c, FORMAT csv)"
        )
    };
    let target = server.store.new_target();
    session.execute(&old(&target)).await.unwrap();
    server.fail_request(0, Fault::Denied);
    let sql = copy_sql_in_mode(&target, "csv", "overwrite");
    session.execute(&sql).await.unwrap();
    let requests = server.seen().len();

    for fault in [Fault::Denied, Fault::ErrorInBody, Fault::CutAfter] {
        for n in 1..=requests {
            server.behave();
            let target = server.store.new_target();
            session.execute(&old(&target)).await.unwrap();
            let before = server.store.keys(&target).await;
            let sql = copy_sql_in_mode(&target, "csv", "overwrite");
            server.fail_request(n, fault);
            let result = session.execute(&sql).await;
            let seen = server.seen();
            assert!(engine.shutdown(Duration::from_secs(5)).await);
            server.behave();

            let what = format!("{fault:?} of request {n}, {seen:?}: {result:?}");
            let mut expected = ROWS;
            if let Err(error) = &result {
                if error.message().contains("every object is there") {
                    let recover = error.hint().unwrap().strip_prefix("finish it: ").unwrap();
                    let forced = recover.replace("= c)", "= c, FORCE)");
                    session.execute(&forced).await.expect(&what);
                } else {
                    expected = 1;
                    assert_eq!(server.store.keys(&target).await, before, "{what}");
                }
            }
            let rows = rows_under(&server, &session, &target, "csv").await;
            assert_eq!(rows, expected, "{what}");
            assert_eq!(server.store.pending_uploads(&target).await, 0, "{what}");
        }
    }
}
