//! Parquet files whose columns have different types, read together.
//!
//! Invariant: a query over them returns what the files return one by one, cast to the common type; or it
//! names the file and the column that do not fit. `TIDEGATE_WIDEN_SEED` chooses the seeds, such as `7`
//! or `0..5000`; each has its own two types.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidegate::{Engine, Session};

use crate::texts::{seeds, texts};

/// SQL types with values that are easy to get wrong.
const TYPES: [(&str, &[&str]); 17] = [
    ("TINYINT", &["-128", "0", "7", "127"]),
    ("SMALLINT", &["-32768", "7", "32767"]),
    ("INT", &["-2147483648", "7", "16777217", "2147483647"]),
    (
        "BIGINT",
        &["-9223372036854775808", "7", "9223372036854775807"],
    ),
    ("TINYINT UNSIGNED", &["0", "7", "255"]),
    ("SMALLINT UNSIGNED", &["7", "65535"]),
    ("INT UNSIGNED", &["7", "4294967295"]),
    ("BIGINT UNSIGNED", &["7", "18446744073709551615"]),
    ("REAL", &["'NaN'", "'-0.0'", "7", "1.5", "'3.4e38'"]),
    ("DOUBLE", &["'NaN'", "'Infinity'", "7", "0.1", "'1e300'"]),
    ("DECIMAL(5, 2)", &["-999.99", "7", "0.01"]),
    (
        "DECIMAL(38, 0)",
        &["7", "99999999999999999999999999999999999999"],
    ),
    ("DATE", &["'0001-01-01'", "'2024-02-29'", "'9999-12-31'"]),
    (
        "TIMESTAMP",
        &[
            "'1969-12-31 23:59:59.999999'",
            "'2024-02-29'",
            "'9999-12-31'",
        ],
    ),
    ("VARCHAR", &["''", "'7'", "'a'"]),
    ("BYTEA", &["''", "'a'"]),
    ("BOOLEAN", &["true", "false"]),
];

/// How a value is wrapped; `$` stands for it.
const SHAPES: [&str; 3] = ["$", "[$, $]", "named_struct('y', $, 'z', 1)"];

struct File {
    name: String,
    values: Vec<String>,
}

fn pick_file(chance: &mut StdRng, name: &str, shape: &str) -> File {
    let (data_type, values) = TYPES.choose(chance).unwrap();
    let rows = chance.random_range(1..6);
    let values = (0..rows).map(|_| match chance.random_bool(0.2) {
        true => shape.replace('$', &format!("NULL::{data_type}")),
        false => {
            let value = values.choose(chance).unwrap();
            let value = format!("'{}'::{data_type}", value.trim_matches('\''));
            shape.replace('$', &value)
        }
    });
    File {
        name: name.to_owned(),
        values: values.collect(),
    }
}

async fn rows(session: &Session, sql: &str) -> Result<Vec<String>, String> {
    let outcome = session.execute(sql).await;
    let outcome = outcome.map_err(|error| format!("{error} {:?}", error.hint()))?;
    let rows = texts(&outcome).into_iter();
    let mut rows: Vec<String> = rows.map(|row| row.join("|")).collect();
    rows.sort();
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_of_several_types_keep_their_values() {
    let mut read = 0;
    for seed in seeds("TIDEGATE_WIDEN_SEED", 0..200) {
        read += usize::from(check(seed).await);
    }
    assert!(read > 0);
}

/// Whether the files of a seed can be read together.
async fn check(seed: u64) -> bool {
    let chance = &mut StdRng::seed_from_u64(seed);
    let what = format!("TIDEGATE_WIDEN_SEED={seed}");
    let session = Engine::builder().build().unwrap().session().unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let shape = SHAPES.choose(chance).unwrap();
    let files = [
        pick_file(chance, "a.parquet", shape),
        pick_file(chance, "b.parquet", shape),
    ];
    for file in &files {
        // `other` is in the second file only.
        let rows = file
            .values
            .iter()
            .enumerate()
            .map(|(row, value)| match row {
                0 if file.name == "b.parquet" => format!("SELECT {value} AS x, 1 AS other"),
                _ if file.name == "b.parquet" => format!("SELECT {value}, 1"),
                0 => format!("SELECT {value} AS x"),
                _ => format!("SELECT {value}"),
            });
        let rows: Vec<String> = rows.collect();
        let sql = format!(
            "COPY ({}) TO '{path}/{}' WITH (FORMAT = parquet, SINGLE FILE)",
            rows.join(" UNION ALL "),
            file.name
        );
        session
            .execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{what}: {sql}: {error}"));
    }
    let all = format!("'{path}/'");
    let merged = match rows(
        &session,
        &format!("SELECT DISTINCT arrow_typeof(x) FROM {all}"),
    )
    .await
    {
        Ok(types) => types.join(""),
        Err(error) => {
            let is_named = error.contains("b.parquet is") && error.contains("the column x");
            assert!(is_named, "{what}: {error}");
            return false;
        }
    };
    let in_folder = rows(&session, &format!("SELECT x, other FROM {all}"))
        .await
        .unwrap();
    let mut in_files = Vec::new();
    for file in &files {
        let other = match file.name.as_str() {
            "b.parquet" => "other",
            _ => "NULL",
        };
        let sql = format!(
            "SELECT arrow_cast(x, '{merged}'), {other} FROM '{path}/{}'",
            file.name
        );
        in_files.extend(
            rows(&session, &sql)
                .await
                .unwrap_or_else(|e| panic!("{what}: {e}")),
        );
    }
    in_files.sort();
    assert_eq!(in_folder, in_files, "{what}: {merged}");
    // Statistics of one type do not exclude values of another.
    if *shape == "$" {
        for file in &files {
            for value in &file.values {
                let count = |source: String| {
                    let value = format!("arrow_cast({value}, '{merged}')");
                    format!("SELECT count(*) FROM {source} WHERE x = {value} OR x > {value}")
                };
                let found = rows(&session, &count(all.clone())).await.unwrap();
                // A filter above a limit is not pushed into the scan.
                let rows_alone = format!("(SELECT x FROM {all} LIMIT 1000)");
                let by_rows = rows(&session, &count(rows_alone)).await.unwrap();
                assert_eq!(found, by_rows, "{what}: {merged}: {value}");
            }
        }
    }
    true
}
