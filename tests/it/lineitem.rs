//! TPC-H lineitem at scale 1 on a real store, read back by DuckDB.

use std::sync::Arc;

use crate::servers::{garage, python};

/// DuckDB reads the original (written by DataFusion, not by us) and both exports, and compares
/// checksums of every column.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb_reads_back_what_was_exported() {
    let store = garage();
    let (_engine, session) = store.session().await;
    let lineitem = tidegate::tpch::lineitem(1.0, 2).unwrap();
    session
        .context()
        .register_table("lineitem", Arc::new(lineitem))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let sql = format!(
        "COPY lineitem TO '{}/' STORED AS PARQUET",
        original.display()
    );
    session.execute(&sql).await.unwrap();

    let target = store.new_target();
    for format in ["parquet", "csv"] {
        let sql =
            format!("COPY lineitem TO '{target}/{format}' (AWS CONNECTION c, FORMAT {format})");
        let outcome = session.execute(&sql).await.unwrap();
        assert_eq!(outcome.tag(), "COPY 6001215");
    }
    let printed = python(
        "compare_lineitem.py",
        &[
            original.to_str().unwrap(),
            &target,
            store.endpoint.strip_prefix("http://").unwrap(),
            store.region.as_deref().unwrap(),
            &store.key,
            &store.secret,
        ],
    );
    assert!(printed.contains("parquet: 16 columns agree"), "{printed}");
    assert!(printed.contains("csv: 16 columns agree"), "{printed}");
}
