//! A finished export is a plain folder to every reader.

use tidegate::Engine;

use crate::servers::python;

const ROWS: u64 = 60_000;
const PARTITIONS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_folders_are_read_as_plain_directories() {
    let session = Engine::builder().build().unwrap().session().unwrap();
    // DuckDB skips hidden folders, and the default name of a temporary folder begins with a dot.
    let folder = tempfile::Builder::new()
        .prefix("exports")
        .tempdir()
        .unwrap();
    let mut folders = Vec::new();
    let mut expected = Vec::new();
    for format in ["parquet", "csv"] {
        for (shape, options) in [
            ("plain", ", MAX FILE SIZE '1MB'"),
            ("listed", ", MAX FILE SIZE '1MB', MANIFEST"),
            ("partitioned", ", PARTITION BY (p)"),
            ("single", ", SINGLE FILE"),
        ] {
            let target = folder.path().join(format!("{shape}-{format}"));
            folders.push(target.to_str().unwrap().to_owned());
            let file = match shape {
                "single" => target.join(format!("all.{format}")),
                _ => target,
            };
            let sql = format!(
                "COPY (SELECT value AS id,
                         CASE value % 4 WHEN 0 THEN NULL WHEN 1 THEN ''
                              ELSE md5(CAST(value AS VARCHAR)) END AS words,
                         concat('p/', value % {PARTITIONS}) AS p
                       FROM generate_series(1, {ROWS}))
                 TO '{}' (FORMAT {format}{options})",
                file.display()
            );
            session.execute(&sql).await.unwrap();
            for reader in ["with_duckdb", "with_polars", "with_pyarrow"] {
                // Polars finds hive partitions in Parquet only.
                let partitions = match (shape, format, reader) {
                    ("partitioned", "csv", "with_polars") => "None".to_owned(),
                    _ => PARTITIONS.to_string(),
                };
                let (ids, nulls) = (ROWS * (ROWS + 1) / 2, ROWS / 4);
                expected.push(format!(
                    "{shape} {format} {reader} {ROWS} {ids} {nulls} {partitions}"
                ));
            }
        }
    }
    let arguments: Vec<&str> = folders.iter().map(String::as_str).collect();
    let printed = python("read_folders.py", &arguments);
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}
