//! Exports every type in every format, reads it back with Tidegate, DuckDB, Polars and pyarrow, and
//! compares the values.
//!
//! The result is the table in `docs/types.md`. `TIDEGATE_WRITE_DOCS=1` rewrites it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::{cast, concat};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use serde_json::json;
use tidegate::{Engine, ErrorKind, Session};

use crate::servers::python;

/// Types, mostly by the name that `arrow_cast` takes, each with values as SQL and as Python
/// expressions. An export has a NULL before these values.
const TYPES: &[(&str, &[(&str, &str)])] = &[
    ("Boolean", &[("true", "True"), ("false", "False")]),
    ("Int8", &[("-128", "-128"), ("127", "127")]),
    ("Int16", &[("-32768", "-32768"), ("32767", "32767")]),
    (
        "Int32",
        &[("-2147483648", "-2147483648"), ("2147483647", "2147483647")],
    ),
    (
        "Int64",
        &[
            ("-9223372036854775808", "-2**63"),
            ("9223372036854775807", "2**63-1"),
        ],
    ),
    ("UInt8", &[("0", "0"), ("255", "255")]),
    ("UInt16", &[("0", "0"), ("65535", "65535")]),
    ("UInt32", &[("0", "0"), ("4294967295", "4294967295")]),
    ("UInt64", &[("0", "0"), ("18446744073709551615", "2**64-1")]),
    (
        "Float16",
        &[
            ("CAST('0.5' AS REAL)", "0.5"),
            ("CAST('-2' AS REAL)", "-2.0"),
        ],
    ),
    (
        "Float32",
        &[
            ("CAST('0.5' AS REAL)", "0.5"),
            ("CAST('16777216' AS REAL)", "16777216.0"),
        ],
    ),
    (
        "Float64",
        &[
            ("CAST('0.1' AS DOUBLE)", "0.1"),
            (
                "CAST('1.7976931348623157e308' AS DOUBLE)",
                "1.7976931348623157e308",
            ),
        ],
    ),
    (
        "Decimal32(9, 2)",
        &[
            ("'-0.05'", "Decimal('-0.05')"),
            ("'1234567.89'", "Decimal('1234567.89')"),
        ],
    ),
    (
        "Decimal64(18, 4)",
        &[
            ("'-0.0500'", "Decimal('-0.0500')"),
            ("'12345678901234.5678'", "Decimal('12345678901234.5678')"),
        ],
    ),
    (
        "Decimal128(38, 10)",
        &[
            ("'-0.0000000001'", "Decimal('-0.0000000001')"),
            (
                "'1234567890123456789012345678.0123456789'",
                "Decimal('1234567890123456789012345678.0123456789')",
            ),
        ],
    ),
    (
        "Decimal256(60, 20)",
        &[
            ("'0.5'", "Decimal('0.5')"),
            (
                "'1234567890123456789012345678901234567890.5'",
                "Decimal('1234567890123456789012345678901234567890.5')",
            ),
        ],
    ),
    (
        "Utf8",
        &[
            ("''", "''"),
            ("'NULL'", "'NULL'"),
            ("'a,b;\"c\" ''d'''", "'a,b;\"c\" \\'d\\''"),
            ("'two' || chr(10) || 'lines'", "'two\\nlines'"),
            ("chr(92) || '.'", "'\\\\.'"),
            ("'naïve ☃ 𝄞'", "'naïve ☃ 𝄞'"),
            ("' '", "' '"),
        ],
    ),
    ("LargeUtf8", &[("''", "''"), ("'large'", "'large'")]),
    (
        "Utf8View",
        &[
            ("''", "''"),
            (
                "'a view that is longer than twelve bytes'",
                "'a view that is longer than twelve bytes'",
            ),
        ],
    ),
    (
        "Binary",
        &[
            ("decode('', 'hex')", "b''"),
            ("decode('00ff5c78', 'hex')", "b'\\x00\\xff\\x5cx'"),
        ],
    ),
    ("LargeBinary", &[("decode('00ff', 'hex')", "b'\\x00\\xff'")]),
    ("BinaryView", &[("decode('00ff', 'hex')", "b'\\x00\\xff'")]),
    (
        "FixedSizeBinary(2)",
        &[("decode('00ff', 'hex')", "b'\\x00\\xff'")],
    ),
    (
        "Date32",
        &[
            ("DATE '1969-12-31'", "date(1969, 12, 31)"),
            ("DATE '9999-12-31'", "date(9999, 12, 31)"),
        ],
    ),
    ("Date64", &[("DATE '2010-10-10'", "date(2010, 10, 10)")]),
    ("Time32(Second)", &[("TIME '23:59:59'", "time(23, 59, 59)")]),
    (
        "Time32(Millisecond)",
        &[("TIME '23:59:59.999'", "time(23, 59, 59, 999000)")],
    ),
    (
        "Time64(Microsecond)",
        &[
            ("TIME '00:00:00'", "time(0, 0)"),
            ("TIME '23:59:59.999999'", "time(23, 59, 59, 999999)"),
        ],
    ),
    (
        "Time64(Nanosecond)",
        &[("TIME '08:10:10.5'", "time(8, 10, 10, 500000)")],
    ),
    (
        "Timestamp(Second, None)",
        &[(
            "TIMESTAMP '2010-10-10 08:10:10'",
            "datetime(2010, 10, 10, 8, 10, 10)",
        )],
    ),
    (
        "Timestamp(Millisecond, None)",
        &[(
            "TIMESTAMP '1969-12-31 23:59:59.999'",
            "datetime(1969, 12, 31, 23, 59, 59, 999000)",
        )],
    ),
    (
        "Timestamp(Microsecond, None)",
        &[(
            "TIMESTAMP '2010-10-10 08:10:10.123456'",
            "datetime(2010, 10, 10, 8, 10, 10, 123456)",
        )],
    ),
    (
        "Timestamp(Nanosecond, None)",
        &[(
            "TIMESTAMP '2010-10-10 08:10:10.5'",
            "datetime(2010, 10, 10, 8, 10, 10, 500000)",
        )],
    ),
    (
        "Timestamp(Microsecond, Some(\"UTC\"))",
        &[(
            "TIMESTAMP '2010-10-10 08:10:10.5'",
            "datetime(2010, 10, 10, 8, 10, 10, 500000, timezone.utc)",
        )],
    ),
    (
        "Timestamp(Millisecond, Some(\"Asia/Kolkata\"))",
        &[(
            "arrow_cast(1286698210500, 'Timestamp(Millisecond, Some(\"UTC\"))')",
            "datetime(2010, 10, 10, 8, 10, 10, 500000, timezone.utc)",
        )],
    ),
    (
        "Duration(Microsecond)",
        &[(
            "arrow_cast(90061500000, 'Duration(Microsecond)')",
            "timedelta(hours=25, minutes=1, seconds=1, milliseconds=500)",
        )],
    ),
    (
        "Interval(MonthDayNano)",
        &[(
            "INTERVAL '1 year 2 months 3 days 4 hours'",
            "'1 year 2 mons 3 days 04:00:00'",
        )],
    ),
    (
        "Dictionary(Int32, Utf8)",
        &[("'one'", "'one'"), ("''", "''"), ("'one'", "'one'")],
    ),
    (
        "List(Int64)",
        &[
            ("make_array(1, 2, NULL)", "[1, 2, None]"),
            ("arrow_cast(make_array(), 'List(Int64)')", "[]"),
        ],
    ),
    (
        "LargeList(Utf8)",
        &[("make_array('a', '', NULL, 'b c')", "['a', '', None, 'b c']")],
    ),
    (
        "FixedSizeList(2 x Int32)",
        &[("make_array(1, 2)", "[1, 2]")],
    ),
    (
        "List(List(Int64))",
        &[(
            "make_array(make_array(1, NULL), NULL, make_array(3))",
            "[[1, None], None, [3]]",
        )],
    ),
    (
        "Struct(\"a\": Int64, \"b\": Utf8)",
        &[
            ("named_struct('a', 1, 'b', 'x y')", "{'a': 1, 'b': 'x y'}"),
            ("named_struct('a', NULL, 'b', '')", "{'a': None, 'b': ''}"),
        ],
    ),
    (
        "List(Struct(\"a\": Int64, \"b\": Timestamp(us)))",
        &[(
            "make_array(named_struct('a', 1, 'b', TIMESTAMP '2010-10-10 08:10:10'), NULL)",
            "[{'a': 1, 'b': datetime(2010, 10, 10, 8, 10, 10)}, None]",
        )],
    ),
    (
        "Map(\"entries\": Struct(\"key\": Utf8, \"value\": Int64))",
        &[(
            "map(make_array('k', 'l'), make_array(1, NULL))",
            "{'k': 1, 'l': None}",
        )],
    ),
];

const COMPRESSIONS: &[(&str, &[&str])] = &[
    (
        "parquet",
        &["none", "snappy", "zstd", "gzip", "brotli", "lz4_raw"],
    ),
    ("csv", &["none", "gzip", "zstd"]),
    ("json", &["none", "gzip", "zstd"]),
];

const READERS: [&str; 4] = ["Tidegate", "DuckDB", "Polars", "pyarrow"];

/// The query for the rows of a type: an id and a value.
fn query(data_type: &str, values: &[(&str, &str)]) -> String {
    let cast = |value: &str| match data_type {
        // `arrow_cast` can't name these types, but the SQL of the values already has them.
        other
            if other.starts_with("Struct")
                || other.contains("(Struct")
                || other.starts_with("Map") =>
        {
            value.to_owned()
        }
        "Interval(MonthDayNano)" => value.to_owned(),
        _ => format!("arrow_cast({value}, '{data_type}')"),
    };
    let first = cast(values[0].0);
    let null = format!("SELECT 0 AS id, CASE WHEN false THEN {first} END AS v");
    let rows = values
        .iter()
        .enumerate()
        .map(|(i, (value, _))| format!("SELECT {} AS id, {} AS v", i + 1, cast(value)));
    let all: Vec<String> = std::iter::once(null).chain(rows).collect();
    all.join(" UNION ALL ")
}

fn one_column(batches: &[RecordBatch]) -> ArrayRef {
    let columns: Vec<&dyn Array> = batches
        .iter()
        .map(|batch| batch.column(0).as_ref())
        .collect();
    concat(&columns).unwrap()
}

async fn values_of(session: &Session, sql: &str) -> ArrayRef {
    let outcome = session.execute(sql).await;
    one_column(
        outcome
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .batches(),
    )
}

/// Reads an export back with Tidegate and compares it with what was exported.
async fn read_with_tidegate(session: &Session, table: &str, folder: &Path, format: &str) -> String {
    let _ = session.execute("DROP TABLE read_back").await;
    let expected = values_of(session, &format!("SELECT v FROM {table} ORDER BY id")).await;
    if format != "parquet" {
        declare(session, folder, format, expected.data_type());
    } else {
        let create = format!(
            "CREATE EXTERNAL TABLE read_back STORED AS {format} LOCATION '{}/'",
            folder.display()
        );
        if let Err(error) = session.execute(&create).await {
            return format!("unreadable: {error}");
        }
    }
    let found = session.execute("SELECT v FROM read_back ORDER BY id").await;
    let found = match found {
        Ok(outcome) => one_column(outcome.batches()),
        Err(error) => return format!("unreadable: {error}"),
    };
    let shown = found.data_type().to_string();
    match cast(&found, expected.data_type()) {
        Ok(found) if *found == *expected => format!("ok: {shown}"),
        _ => format!("differs: {shown}"),
    }
}

/// Registers the files as the table `read_back`, with an Arrow type for `v`. CSV and JSON don't
/// store Arrow types, and SQL has no names for many of them, so the schema is declared through the
/// library.
fn declare(session: &Session, folder: &Path, format: &str, data_type: &DataType) {
    let state = session.context().state();
    let factory = state.get_file_format_factory(format).unwrap();
    let extension = format!(".{format}");
    let format = factory.create(&state, &HashMap::new()).unwrap();
    let options = ListingOptions::new(format).with_file_extension(extension);
    let columns = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", data_type.clone(), true),
    ];
    let location = ListingTableUrl::parse(format!("{}/", folder.display())).unwrap();
    let config = ListingTableConfig::new(location)
        .with_listing_options(options)
        .with_schema(Arc::new(Schema::new(columns)));
    let table = ListingTable::try_new(config).unwrap();
    let context = session.context();
    context
        .register_table("read_back", Arc::new(table))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_in_every_format() {
    let session = Engine::builder().build().unwrap().session().unwrap();
    let folder = tempfile::Builder::new().prefix("types").tempdir().unwrap();
    // The verdict of each reader for each type and format. All compressions have the same verdict.
    let mut verdicts: BTreeMap<(usize, &str, &str), String> = BTreeMap::new();
    let mut cases = Vec::new();
    for (number, (data_type, values)) in TYPES.iter().enumerate() {
        let table = format!("t{number}");
        let create = format!("CREATE TABLE {table} AS {}", query(data_type, values));
        let created = session.execute(&create).await;
        created.unwrap_or_else(|error| panic!("{create}: {error}"));
        for (format, compressions) in COMPRESSIONS {
            for compression in *compressions {
                let target = folder
                    .path()
                    .join(format!("{number}-{format}-{compression}"));
                let header = if *format == "csv" { ", HEADER" } else { "" };
                let copy = format!(
                    "COPY (SELECT * FROM {table} ORDER BY id) TO '{}'
                     (FORMAT {format}, COMPRESSION {compression}{header})",
                    target.display()
                );
                if let Err(error) = session.execute(&copy).await {
                    assert_eq!(
                        error.kind(),
                        ErrorKind::DatatypeMismatch,
                        "{data_type}: {error}"
                    );
                    assert!(
                        error.message().contains("cast them in the query"),
                        "{error}"
                    );
                    for reader in READERS {
                        verdicts.insert((number, format, reader), "refused".to_owned());
                    }
                    continue;
                }
                if *compression == "none" {
                    let verdict = read_with_tidegate(&session, &table, &target, format).await;
                    verdicts.insert((number, format, "Tidegate"), verdict);
                }
                let python: Vec<&str> = values.iter().map(|(_, python)| *python).collect();
                cases.push(json!({
                    "number": number, "format": format, "folder": target, "values": python,
                }));
            }
        }
        // The expected texts of the CSV export. `postgres` compares such texts with PostgreSQL's.
        let texts = folder.path().join(format!("{number}.csv"));
        let copy = format!(
            "COPY (SELECT v FROM {table} ORDER BY id) TO '{}' (FORMAT csv)",
            texts.display()
        );
        session.execute(&copy).await.unwrap();
    }
    let list = folder.path().join("cases.json");
    std::fs::write(&list, serde_json::to_string(&cases).unwrap()).unwrap();
    for line in python("round_trip.py", &[list.to_str().unwrap()]).lines() {
        let [number, format, reader, verdict] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let format = COMPRESSIONS
            .iter()
            .find(|(name, _)| *name == format)
            .unwrap()
            .0;
        let reader = READERS.iter().find(|name| **name == reader).unwrap();
        note(
            &mut verdicts,
            (number.parse().unwrap(), format, reader),
            verdict.to_owned(),
        );
    }
    compare_with_docs(&verdicts);
}

/// Records a verdict, and asserts that it is the same for all compressions of a format.
fn note(
    verdicts: &mut BTreeMap<(usize, &'static str, &'static str), String>,
    key: (usize, &'static str, &'static str),
    verdict: String,
) {
    let earlier = verdicts.entry(key).or_insert_with(|| verdict.clone());
    assert_eq!(*earlier, verdict, "{}: {key:?}", TYPES[key.0].0);
}

fn compare_with_docs(verdicts: &BTreeMap<(usize, &str, &str), String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/types.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    const START: &str = "<!-- the table: written by the round-trip test -->\n";
    let introduction = written.split(START).next().unwrap_or_default();
    let mut table = String::from("| Arrow type | format |");
    for reader in READERS {
        write!(table, " {reader} |").unwrap();
    }
    table.push_str("\n|---|---|---|---|---|---|\n");
    for (number, (data_type, _)) in TYPES.iter().enumerate() {
        for (format, _) in COMPRESSIONS {
            write!(table, "| `{data_type}` | {format} |").unwrap();
            for reader in READERS {
                let verdict = verdicts.get(&(number, *format, reader));
                write!(table, " {} |", verdict.map_or("", String::as_str)).unwrap();
            }
            table.push('\n');
        }
    }
    let generated = format!("{introduction}{START}{table}");
    if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    assert!(
        generated == written,
        "docs/types.md is not what the readers say:\n{table}"
    );
}
