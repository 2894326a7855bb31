//! The same query over the same rows, in memory and in files of every format.
//!
//! Invariant: it returns the same rows everywhere, and the partitions of a predicate (p, NOT p,
//! p IS NULL) add up to all rows.
//!
//! Tables and queries are random. `TIDEGATE_ROWS_SEED` chooses the seeds, such as `7` or `0..5000`;
//! each has its own table and runs ten queries.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidegate::{Engine, Session};

use crate::texts::{seeds, texts};

const QUERIES: usize = 10;

/// Columns with their SQL types and literals of values that are easy to get wrong.
const COLUMNS: [(&str, &str, &[&str]); 11] = [
    (
        "i",
        "BIGINT",
        &[
            "-9223372036854775808",
            "-1",
            "0",
            "1",
            "7",
            "9223372036854775807",
        ],
    ),
    ("s", "SMALLINT", &["-32768", "-1", "0", "1", "32767"]),
    (
        "u",
        "BIGINT UNSIGNED",
        &["0", "1", "9223372036854775807", "18446744073709551615"],
    ),
    (
        "d",
        "DOUBLE",
        &[
            "'NaN'",
            "'-Infinity'",
            "'Infinity'",
            "'-0.0'",
            "'0.0'",
            "'1.5'",
            "'1e300'",
            "'5e-324'",
        ],
    ),
    (
        "r",
        "REAL",
        &[
            "'NaN'",
            "'-Infinity'",
            "'-0.0'",
            "'0.0'",
            "'1.5'",
            "'3.4e38'",
        ],
    ),
    (
        "t",
        "VARCHAR",
        &[
            "''",
            "'a'",
            "'A'",
            "'b '",
            "'NULL'",
            "'ä'",
            "'\u{10ffff}'",
            "'a\"b,c'",
        ],
    ),
    ("b", "BOOLEAN", &["true", "false"]),
    (
        "dt",
        "DATE",
        &[
            "'0001-01-01'",
            "'1969-12-31'",
            "'1970-01-01'",
            "'9999-12-31'",
        ],
    ),
    (
        "ts",
        "TIMESTAMP",
        &[
            "'1677-09-22 00:00:00'",
            "'1969-12-31 23:59:59.999999'",
            "'1970-01-01 00:00:00'",
            "'2262-04-11 00:00:00'",
        ],
    ),
    (
        "n",
        "DECIMAL(20, 3)",
        &[
            "-99999999999999999.999",
            "-0.001",
            "0",
            "0.001",
            "99999999999999999.999",
        ],
    ),
    ("z", "BIGINT", &["0"]),
];

/// The rows of a table: for each column a value or NULL. Some columns hold one value only, or NULLs.
fn make_rows(random: &mut StdRng) -> RecordBatch {
    let rows = random.random_range(1..120);
    let mut fields: Vec<(&str, ArrayRef, bool)> = Vec::new();
    for (name, _, literals) in COLUMNS {
        let some: Vec<&str> = match random.random_range(0..5) {
            0 => vec![literals.choose(random).unwrap()],
            1 => literals.choose_multiple(random, 2).copied().collect(),
            _ => literals.to_vec(),
        };
        let share_of_nulls = *[0.0, 0.1, 1.0].choose(random).unwrap();
        let mut values: Vec<Option<&str>> = (0..rows)
            .map(|_| {
                let is_null = random.random_bool(share_of_nulls);
                let value = some.choose(random).unwrap().trim_matches('\'');
                (!is_null).then_some(value)
            })
            .collect();
        if random.random_bool(0.3) {
            values.sort_unstable();
        }
        let values = values.iter();
        fn parsed<T: std::str::FromStr>(value: &Option<&str>) -> Option<T> {
            value.map(|text| text.parse::<T>().ok().unwrap())
        }
        let array: ArrayRef = match name {
            "i" | "z" => Arc::new(values.map(parsed::<i64>).collect::<Int64Array>()),
            "s" => Arc::new(values.map(parsed::<i16>).collect::<Int16Array>()),
            "u" => Arc::new(values.map(parsed::<u64>).collect::<UInt64Array>()),
            "d" => Arc::new(values.map(parsed::<f64>).collect::<Float64Array>()),
            "r" => Arc::new(values.map(parsed::<f32>).collect::<Float32Array>()),
            "t" => Arc::new(values.copied().collect::<StringArray>()),
            "b" => Arc::new(values.map(parsed::<bool>).collect::<BooleanArray>()),
            "dt" => {
                let days = |value: &Option<&str>| {
                    let date: chrono::NaiveDate = parsed(value)?;
                    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
                    Some((date - epoch).num_days() as i32)
                };
                Arc::new(values.map(days).collect::<Date32Array>())
            }
            "ts" => {
                let micros = |value: &Option<&str>| {
                    let format = "%Y-%m-%d %H:%M:%S%.f";
                    let time = value
                        .map(|text| chrono::NaiveDateTime::parse_from_str(text, format).unwrap())?;
                    Some(time.and_utc().timestamp_micros())
                };
                Arc::new(values.map(micros).collect::<TimestampMicrosecondArray>())
            }
            _ => {
                let thousandths = |value: &Option<&str>| {
                    value.map(|text| {
                        let (whole, fraction) = text.split_once('.').unwrap_or((text, "000"));
                        format!("{whole}{fraction}").parse::<i128>().unwrap()
                    })
                };
                let numbers = values.map(thousandths).collect::<Decimal128Array>();
                Arc::new(numbers.with_precision_and_scale(20, 3).unwrap())
            }
        };
        fields.push((name, array, true));
    }
    RecordBatch::try_from_iter_with_nullable(fields).unwrap()
}

fn literal(random: &mut StdRng, column: usize) -> String {
    let (_, data_type, literals) = COLUMNS[column];
    let value = literals.choose(random).unwrap();
    let quoted = match value.starts_with('\'') {
        true => (*value).to_owned(),
        false => format!("'{value}'"),
    };
    match data_type {
        "VARCHAR" => quoted,
        data_type => format!("CAST({quoted} AS {data_type})"),
    }
}

fn predicate(random: &mut StdRng, depth: u32) -> String {
    if depth > 0 && random.random_bool(0.4) {
        let (one, other) = (predicate(random, depth - 1), predicate(random, depth - 1));
        return match random.random_range(0..3) {
            0 => format!("({one} AND {other})"),
            1 => format!("({one} OR {other})"),
            _ => format!("NOT ({one})"),
        };
    }
    let column = random.random_range(0..COLUMNS.len());
    let name = COLUMNS[column].0;
    let one = literal(random, column);
    let other = literal(random, column);
    match random.random_range(0..7) {
        0 => format!("{name} IS NULL"),
        1 => format!("{name} IS NOT NULL"),
        2 => format!("{name} IN ({one}, {other})"),
        3 => format!("{name} BETWEEN {one} AND {other}"),
        4 => format!("({name} IS DISTINCT FROM {one})"),
        _ => {
            let operator = ["=", "<>", "<", "<=", ">", ">="].choose(random).unwrap();
            format!("{name} {operator} {one}")
        }
    }
}

/// A query with `@` for the table.
fn query(random: &mut StdRng) -> String {
    let name = |random: &mut StdRng| COLUMNS[random.random_range(0..COLUMNS.len())].0;
    let filter = match random.random_bool(0.7) {
        true => format!(" WHERE {}", predicate(random, 2)),
        false => String::new(),
    };
    let (one, mut other) = (name(random), name(random));
    let form = random.random_range(0..7);
    // DataFusion's min and max of groups depend on the order of the rows if there is NaN.
    while matches!(form, 2 | 3) && matches!(other, "d" | "r") {
        other = name(random);
    }
    match form {
        0 => format!("SELECT * FROM @{filter}"),
        1 => format!("SELECT count(*), count({one}), min({one}), max({one}) FROM @{filter}"),
        2 => format!("SELECT {one}, count(*), min({other}) FROM @{filter} GROUP BY {one}"),
        3 => format!("SELECT count(DISTINCT {one}), max({other}) FROM @{filter}"),
        4 => format!(
            "SELECT {one} FROM @{filter} ORDER BY {one} DESC NULLS LAST LIMIT {}",
            random.random_range(1..9)
        ),
        5 => format!(
            "SELECT {one}, rank() OVER (PARTITION BY {other} ORDER BY {one}) FROM @{filter}"
        ),
        _ => format!("SELECT DISTINCT {one}, {other} FROM @{filter}"),
    }
}

/// The rows as text, sorted; an error as text.
async fn rows(session: &Session, sql: &str) -> Vec<String> {
    let outcome = match session.execute(sql).await {
        Ok(outcome) => outcome,
        // The same error everywhere is no difference.
        Err(error) => return vec![format!("{:?}", error.kind())],
    };
    let rows = texts(&outcome);
    let mut rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    rows.sort();
    rows
}

/// Makes the tables `memory`, `parquet`, `csv` and `json` with the same rows.
async fn make_tables(folder: &TempDir, batch: RecordBatch, random: &mut StdRng) -> Session {
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    let engine = Engine::builder()
        .table("memory", Arc::new(table))
        .build()
        .unwrap();
    let session = engine.session().unwrap();
    let folder = folder.path().display();
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, data_type, _)| format!("{name} {data_type}"))
        .collect();
    let columns = columns.join(", ");
    let group = [1, 7, 50, 1000].choose(random).unwrap();
    let header = ["", ", HEADER"].choose(random).unwrap();
    for sql in [
        format!("COPY memory TO '{folder}/p' (FORMAT parquet, ROW GROUP ROWS {group})"),
        format!("COPY memory TO '{folder}/c' (FORMAT csv{header})"),
        format!("COPY memory TO '{folder}/j' (FORMAT json)"),
        format!("CREATE EXTERNAL TABLE parquet STORED AS PARQUET LOCATION '{folder}/p'"),
        format!("CREATE EXTERNAL TABLE csv ({columns}) STORED AS CSV LOCATION '{folder}/c'"),
        format!("CREATE EXTERNAL TABLE json ({columns}) STORED AS JSON LOCATION '{folder}/j'"),
    ] {
        session
            .execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_give_the_same_rows_everywhere() {
    for seed in seeds("TIDEGATE_ROWS_SEED", 0..40) {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = TempDir::new().unwrap();
        let batch = make_rows(&mut random);
        let all = batch.num_rows();
        let session = make_tables(&folder, batch, &mut random).await;
        for number in 0..QUERIES {
            let query = query(&mut random);
            let expected = rows(&session, &query.replace('@', "memory")).await;
            for source in ["parquet", "csv", "json"] {
                let sql = query.replace('@', source);
                let found = rows(&session, &sql).await;
                let what = format!("TIDEGATE_ROWS_SEED={seed}, query {number}: {sql}");
                assert_eq!(found, expected, "{what}");
            }
            let predicate = predicate(&mut random, 2);
            for source in ["memory", "parquet", "csv", "json"] {
                let mut found = 0;
                for part in ["({p})", "NOT ({p})", "({p}) IS NULL"] {
                    let part = part.replace("{p}", &predicate);
                    let counted = format!("SELECT count(*) FROM {source} WHERE {part}");
                    let counted = session.execute(&counted).await;
                    let counted = counted.unwrap_or_else(|error| {
                        panic!("TIDEGATE_ROWS_SEED={seed}: {source}: {part}: {error}")
                    });
                    let count = counted.batches()[0]
                        .column(0)
                        .as_primitive::<Int64Type>()
                        .value(0);
                    found += usize::try_from(count).unwrap();
                }
                assert_eq!(
                    found, all,
                    "TIDEGATE_ROWS_SEED={seed}: {source}: {predicate}"
                );
            }
        }
    }
}
