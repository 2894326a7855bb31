//! Plans as `EXPLAIN` shows them. The snapshots keep their shape stable for users.

use tidegate::Session;

use crate::misbehaving::{Fault, MisbehavingServer};
use crate::servers::{embedded, execute_all};

async fn explain(session: &Session, sql: &str) -> String {
    let outcome = session
        .execute(&format!("EXPLAIN FORMAT INDENT {sql}"))
        .await
        .unwrap();
    let mut text = String::new();
    for batch in outcome.batches() {
        use datafusion::arrow::array::AsArray;
        let plans = batch.column(1).as_string::<i32>();
        for plan in plans.iter().flatten() {
            text.push_str(plan);
            text.push('\n');
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_plans() {
    let server = embedded().await;
    let engine = tidegate::Engine::builder()
        .threads(std::num::NonZeroUsize::new(3).unwrap())
        .build()
        .unwrap();
    let session = engine.session().unwrap();
    execute_all(&session, &server.store.connection_sql()).await;
    execute_all(&session, "CREATE TABLE small AS VALUES (1), (2)").await;
    let lineitem = tidegate::tpch::lineitem(0.01, 3).unwrap();
    session
        .context()
        .register_table("lineitem", std::sync::Arc::new(lineitem))
        .unwrap();
    let options = "WITH (AWS CONNECTION = c, FORMAT = 'parquet')";

    insta::assert_snapshot!(
        "parallel",
        explain(
            &session,
            &format!("COPY (SELECT l_orderkey FROM lineitem) TO 's3://bucket/x' {options}")
        )
        .await
    );
    insta::assert_snapshot!(
        "small",
        explain(
            &session,
            &format!("COPY small TO 's3://bucket/x' {options}")
        )
        .await
    );
    insta::assert_snapshot!(
        "ordered",
        explain(
            &session,
            &format!(
                "COPY (SELECT l_tax FROM lineitem ORDER BY l_orderkey) TO 's3://bucket/x' {options}"
            )
        )
        .await
    );
    insta::assert_snapshot!(
        "commands",
        [
            explain(&session, "CREATE SECRET other AS 'hunter2'").await,
            explain(&session, "VALIDATE CONNECTION c").await,
        ]
        .concat()
    );
    // Planning and EXPLAIN do no I/O and change nothing.
    assert!(session.execute("CREATE SECRET other AS 'x'").await.is_ok());
    server.store.assert_untouched("s3://bucket/x").await;
}

/// `EXPLAIN ANALYZE` runs the export and shows the work and the wait times of each writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analyzing_shows_what_writers_did() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    let target = server.store.new_target();
    server.fail_operations(&[("UploadPart", 2, Fault::SlowDown)]);
    let sql = format!(
        "EXPLAIN ANALYZE VERBOSE COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest
         FROM generate_series(1, 500000)) TO '{target}' WITH (AWS CONNECTION = c, FORMAT = 'csv')"
    );
    let outcome = session.execute(&sql).await.unwrap();
    use datafusion::arrow::array::AsArray;
    let plans: Vec<&str> = outcome.batches()[0]
        .column(1)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    // The first plan aggregates the metrics of all writers, the second shows them for each writer.
    for plan in &plans[..2] {
        let line = plan
            .lines()
            .find(|line| line.contains("FileWriteExec"))
            .unwrap();
        for metric in ["encode_time", "upload_wait", "peak_memory", "files_written"] {
            assert!(line.contains(metric), "{metric}: {line}");
        }
    }
    let line = plans[0]
        .lines()
        .find(|line| line.contains("FileWriteExec"))
        .unwrap();
    assert!(line.contains("retries=1"), "{line}");
    assert!(line.contains("output_rows=500"), "{line}");
    let contents = server.store.contents(&target).await;
    let lines = contents.iter().flatten().filter(|byte| **byte == b'\n');
    assert_eq!(lines.count(), 500_000);
}
