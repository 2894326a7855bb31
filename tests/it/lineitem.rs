//! TPC-H lineitem on real stores, read back by DuckDB.

use std::sync::Arc;

use crate::servers::{TestStore, garage, moto, python};

/// DuckDB reads the original (written by DataFusion, not by us) and all exports, and compares
/// checksums of every column.
async fn compare_exports(store: &TestStore, scale: f64, rows: u64, formats: &[(&str, &str)]) {
    let (_engine, session) = store.session().await;
    let lineitem = tidegate::tpch::lineitem(scale, 2).unwrap();
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
    let mut patterns = Vec::new();
    for (format, compression) in formats {
        let sql = format!(
            "COPY lineitem TO '{target}/{format}-{compression}'
             (AWS CONNECTION c, FORMAT {format}, COMPRESSION {compression}, MAX FILE SIZE '40MB')"
        );
        let outcome = session.execute(&sql).await.unwrap();
        assert_eq!(outcome.tag(), format!("COPY {rows}"));
        patterns.push(format!("{target}/{format}-{compression}/*"));
    }
    let rows = rows.to_string();
    let mut arguments = vec![
        original.to_str().unwrap(),
        &rows,
        store.endpoint.strip_prefix("http://").unwrap(),
        store.region.as_deref().unwrap_or("us-east-1"),
        &store.key,
        &store.secret,
    ];
    arguments.extend(patterns.iter().map(String::as_str));
    let printed = python("compare_lineitem.py", &arguments);
    for pattern in patterns {
        let expected = format!("{pattern}: 16 columns agree");
        assert!(printed.contains(&expected), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_scale_1_on_garage() {
    let formats = [("parquet", "snappy"), ("csv", "none")];
    compare_exports(&garage(), 1.0, 6_001_215, &formats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_on_moto() {
    let formats = [
        ("parquet", "snappy"),
        ("parquet", "zstd"),
        ("csv", "none"),
        ("csv", "gzip"),
        ("csv", "zstd"),
        ("json", "none"),
        ("json", "gzip"),
        ("json", "zstd"),
    ];
    compare_exports(&moto(), 0.1, 600_572, &formats).await;
}
