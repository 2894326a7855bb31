//! Row groups of Parquet files that are moved without decoding.
//!
//! Invariant: an export that moves row groups has the rows, the types and the indexes of one that
//! encodes them. `TIDEGATE_PASSTHROUGH_SEED` chooses the seeds of the random files, such as `7` or
//! `0..500`.

use std::path::Path;

use tempfile::TempDir;
use tidegate::{Engine, ErrorKind, Session};

use crate::manners::{self, ManneredServer};
use crate::servers::{TestStore, connection_option, execute_all, python};
use crate::texts::{seeds, texts};

fn session() -> Session {
    Engine::builder().build().unwrap().session().unwrap()
}

/// How many source files of an export were moved, and how many were encoded, if any were moved.
async fn export(session: &Session, sql: &str) -> Option<(usize, usize)> {
    let outcome = session.execute(sql).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let moved = outcome.export().unwrap().moved;
    moved.map(|files| (files.moved, files.encoded))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_files_are_moved_as_they_would_be_encoded() {
    let seeds = seeds("TIDEGATE_PASSTHROUGH_SEED", 0..10);
    let (sources, exports) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = |folder: &TempDir| folder.path().to_str().unwrap().to_owned();
    let (first, end) = (seeds.start.to_string(), seeds.end.to_string());
    python("passthrough.py", &["write", &path(&sources), &first, &end]);
    let session = session();
    let listed = std::fs::read_to_string(sources.path().join("exports.tsv")).unwrap();
    let (mut moved, mut in_part) = (0, 0);
    for line in listed.lines() {
        let [seed, query, options] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let query = query.replace('%', &format!("{}/{seed}/*.parquet", path(&sources)));
        let target = |name: &str| format!("{}/{seed}/{name}", path(&exports));
        let auto = format!(
            "COPY ({query}) TO '{}' (FORMAT = 'parquet'{options})",
            target("moved")
        );
        let off = format!(
            "COPY ({query}) TO '{}' (FORMAT = 'parquet', PASSTHROUGH = 'off'{options})",
            target("encoded")
        );
        let files = export(&session, &auto).await;
        assert_eq!(export(&session, &off).await, None);
        moved += usize::from(files.is_some());
        in_part += usize::from(files.is_some_and(|(_, encoded)| encoded > 0));
        // Statistics, page indexes and Bloom filters of the moved row groups exclude the same rows.
        for id in [0, 99_999, 100_000, 123_456, 300_000, 650_000] {
            let count = |name: &str| {
                let sql = format!("SELECT count(*) FROM '{}' WHERE id = {id}", target(name));
                let session = session.clone();
                async move { texts(&session.execute(&sql).await.unwrap()) }
            };
            let (found, expected) = (count("moved").await, count("encoded").await);
            assert_eq!(found, expected, "TIDEGATE_PASSTHROUGH_SEED={seed}: {id}");
        }
    }
    let wrong = python("passthrough.py", &["compare", &path(&exports)]);
    assert!(wrong.is_empty(), "TIDEGATE_PASSTHROUGH_SEED={wrong}");
    let all = seeds.end - seeds.start;
    assert!(
        moved * 3 > all as usize && in_part > 0 || all < 10,
        "{moved}, {in_part}"
    );
}

/// Writes a file with row groups of 100,000 rows and returns its path.
async fn write_source(session: &Session, folder: &Path, row_groups: u32) -> String {
    let file = folder.join("source.parquet").display().to_string();
    let sql = format!(
        "COPY (SELECT value AS id, value % 3 AS part, concat('text ', value) AS words,
                      TIMESTAMP '2024-01-01' + value * INTERVAL '1 minute' AS moment
               FROM generate_series(1, {row_groups} * 100000) ORDER BY value)
         TO '{file}' (FORMAT = 'parquet', SINGLE FILE, COMPRESSION = 'zstd', ROW GROUP ROWS = 100000)"
    );
    session.execute(&sql).await.unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_change_is_encoded() {
    let folder = TempDir::new().unwrap();
    let session = session();
    let file = write_source(&session, folder.path(), 3).await;
    let moved = [
        ("SELECT * FROM '%'", "", (1, 0)),
        ("SELECT words FROM '%'", "", (1, 0)),
        (
            "SELECT words, id FROM '%'",
            ", COMPRESSION = 'zstd'",
            (1, 0),
        ),
        ("SELECT * FROM '%'", ", SINGLE FILE", (1, 0)),
        ("SELECT * FROM '%'", ", MAX FILE SIZE = '1MB'", (1, 0)),
        ("SELECT words FROM '%' WHERE id <= 200000", "", (1, 0)),
        ("SELECT * FROM '%' WHERE id > 150000", "", (1, 1)),
        ("SELECT * FROM '%' WHERE id > 0 AND part < 3", "", (1, 0)),
        ("SELECT id FROM '%' WHERE NOT id IN (0, -1)", "", (1, 0)),
    ];
    let encoded = [
        ("SELECT * FROM '%'", ", PASSTHROUGH = 'off'"),
        ("SELECT * FROM '%'", ", COMPRESSION = 'snappy'"),
        ("SELECT * FROM '%'", ", COMPRESSION = 'zstd(9)'"),
        ("SELECT * FROM '%'", ", ROW GROUP ROWS = 1000000"),
        ("SELECT * FROM '%'", ", PARTITION BY = (part)"),
        ("SELECT * FROM '%' WHERE id > 150000", ", SINGLE FILE"),
        ("SELECT * FROM '%' WHERE part = 1", ""),
        ("SELECT * FROM '%' WHERE moment::time > '09:00'", ""),
        ("SELECT * FROM '%' WHERE moment::date > '2023-01-01'", ""),
        ("SELECT * FROM '%' WHERE id + 1 > 0", ""),
        ("SELECT * FROM '%' ORDER BY id", ""),
        ("SELECT * FROM '%' LIMIT 100000", ""),
        ("SELECT DISTINCT words FROM '%'", ""),
        ("SELECT id + 1 AS id FROM '%'", ""),
        ("SELECT id AS number FROM '%'", ""),
        ("SELECT id, id AS again FROM '%'", ""),
        ("SELECT id::int AS id FROM '%'", ""),
        ("SELECT id FROM '%' UNION ALL SELECT id FROM '%'", ""),
    ];
    let moved = moved.map(|(query, options, files)| (query, options, Some(files)));
    let encoded = encoded.map(|(query, options)| (query, options, None));
    for (number, (query, options, expected)) in moved.into_iter().chain(encoded).enumerate() {
        let query = query.replace('%', &file);
        let target = folder.path().join(number.to_string());
        let target = target.display();
        let sql = format!("COPY ({query}) TO '{target}' (FORMAT = 'parquet'{options})");
        assert_eq!(export(&session, &sql).await, expected, "{sql}");
        // A partition column is the last one of its folders.
        if !query.contains("LIMIT") && !options.contains("PARTITION BY") {
            let copy = format!("SELECT * FROM read_parquet('{target}')");
            let counts = format!(
                "SELECT (SELECT count(*) FROM (SELECT * FROM ({query}) EXCEPT {copy})),
                        (SELECT count(*) FROM ({copy} EXCEPT SELECT * FROM ({query}))),
                        (SELECT count(*) FROM ({query})) - (SELECT count(*) FROM ({copy}))"
            );
            let counts = session.execute(&counts).await.unwrap();
            assert_eq!(texts(&counts), [["0", "0", "0"]], "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_says_what_is_moved() {
    let folder = TempDir::new().unwrap();
    let session = session();
    let file = write_source(&session, folder.path(), 4).await;
    let explain = format!(
        "EXPLAIN COPY (SELECT words FROM '{file}' WHERE id BETWEEN 100001 AND 250000)
         TO '{}' (FORMAT = 'parquet')",
        folder.path().join("x").display()
    );
    let plan = texts(&session.execute(&explain).await.unwrap())
        .concat()
        .concat();
    let line = "RowGroupMoveExec: writers=1, files_moved=1, files_encoded=1, row_groups=1";
    assert!(plan.contains(line), "{plan}");
    assert!(plan.contains("FileWriteExec"), "{plan}");
    execute_all(&session, "SET datafusion.execution.parquet.pruning = false").await;
    let plan = texts(&session.execute(&explain).await.unwrap())
        .concat()
        .concat();
    assert!(!plan.contains("RowGroupMoveExec"), "{plan}");
}

/// Small row groups make files slow to read, and would stay small for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_row_groups_are_encoded() {
    let folder = TempDir::new().unwrap();
    let session = session();
    let path = folder.path().display();
    let write = format!(
        "COPY (SELECT value AS id FROM generate_series(1, 300000))
         TO '{path}/small' (FORMAT = 'parquet', ROW GROUP ROWS = 1000)"
    );
    session.execute(&write).await.unwrap();
    let copy = format!("COPY (SELECT * FROM '{path}/small') TO '{path}/copy' (FORMAT = 'parquet')");
    assert_eq!(export(&session, &copy).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_fails_the_export() {
    let folder = TempDir::new().unwrap();
    let session = session();
    let file = write_source(&session, folder.path(), 2).await;
    let target = folder.path().join("out");
    let sql = format!(
        "COPY (SELECT * FROM '{file}') TO '{}' (FORMAT = 'parquet')",
        target.display()
    );
    let planned = session.start(&sql).await.unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let error = planned.collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{error}");
    assert!(
        error.message().contains("source.parquet changed"),
        "{error}"
    );
    assert!(!target.exists() || crate::servers::files_under(&target).is_empty());
}

/// Statistics of others need not have bounds, and leave NaN out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_files_are_summarized_by_what_is_known() {
    let folder = TempDir::new().unwrap();
    let session = session();
    let path = folder.path().display();
    let write = format!(
        "COPY (SELECT value AS id, CASE WHEN value > 5 THEN value::double ELSE 'NaN'::double END AS real
               FROM generate_series(1, 150000) ORDER BY value)
         TO '{path}/source.parquet' (FORMAT = 'parquet')"
    );
    session.execute(&write).await.unwrap();
    let copy = format!(
        "COPY (SELECT * FROM '{path}/source.parquet')
         TO '{path}/copy' (FORMAT = 'parquet', RETURN = 'files')"
    );
    let report = session
        .execute(&copy)
        .await
        .unwrap()
        .export()
        .cloned()
        .unwrap();
    assert!(report.moved.is_some());
    let columns = &report.files[0].columns;
    let bounds = |column: usize| {
        (
            columns[column].min.as_deref(),
            columns[column].max.as_deref(),
        )
    };
    assert_eq!(bounds(0), (Some("1"), Some("150000")));
    assert_eq!((bounds(1), columns[1].nulls), ((None, None), Some(0)));
}

/// Exports a file of one row group to the store, and from there to another target.
pub(crate) async fn copy_between_targets(store: &TestStore) {
    let (_engine, session) = store.session().await;
    let (from, to) = (store.new_target(), store.new_target());
    let connection = connection_option(&from);
    let write = format!(
        "COPY (SELECT value AS id, md5(value::text) AS digest FROM generate_series(1, 250000)
               ORDER BY value)
         TO '{from}' ({connection}FORMAT = 'parquet')"
    );
    session.execute(&write).await.unwrap();
    let source = match connection {
        "" => format!("read_parquet('{from}')"),
        _ => format!("read_parquet('{from}', aws_connection => 'c')"),
    };
    let copy = format!("COPY (SELECT * FROM {source}) TO '{to}' ({connection}FORMAT = 'parquet')");
    let moved = export(&session, &copy).await;
    assert!(moved.is_some_and(|(files, encoded)| files > 0 && encoded == 0));
    let copied = source.replace(&from, &to);
    let compared = format!(
        "SELECT count(*), count(DISTINCT id), bool_and(digest = md5(id::text)) FROM {copied}"
    );
    let compared = session.execute(&compared).await.unwrap();
    assert_eq!(texts(&compared), [["250000", "250000", "true"]]);
    assert_eq!(store.pending_uploads(&to).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_copies_whole_files() {
    for manners in [manners::AWS, manners::R2, manners::GCS] {
        let server = ManneredServer::start(manners).await;
        copy_between_targets(&server.store).await;
        let copied = server.copied_parts() > 0;
        assert_eq!(copied, manners.copies_parts, "{}", manners.name);
    }
}
