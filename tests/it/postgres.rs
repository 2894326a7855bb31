//! `COPY … TO STDOUT` writes the same bytes as PostgreSQL.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidegate::{Engine, Session};

use crate::servers::postgres;
use crate::texts::written;

/// Values as SQL expressions: Tidegate's, then PostgreSQL's. If PostgreSQL's is empty, Tidegate's
/// is used for both.
const VALUES: &[(&str, &str)] = &[
    ("true", ""),
    ("false", ""),
    ("CAST(NULL AS VARCHAR)", "NULL::text"),
    ("-7", ""),
    ("9223372036854775807", ""),
    ("arrow_cast(255, 'UInt8')", "255"),
    (
        "arrow_cast(18446744073709551615, 'UInt64')",
        "18446744073709551615",
    ),
    ("CAST('0.1' AS DOUBLE)", "0.1::float8"),
    ("CAST('-0.0' AS DOUBLE)", "'-0'::float8"),
    ("CAST('1e15' AS DOUBLE)", "1e15::float8"),
    (
        "CAST('123456789012345' AS DOUBLE)",
        "123456789012345::float8",
    ),
    ("CAST('0.00001' AS DOUBLE)", "0.00001::float8"),
    (
        "CAST('1.7976931348623157e308' AS DOUBLE)",
        "1.7976931348623157e308::float8",
    ),
    ("CAST('5e-324' AS DOUBLE)", "5e-324::float8"),
    ("CAST('NaN' AS DOUBLE)", "'NaN'::float8"),
    ("CAST('inf' AS DOUBLE)", "'Infinity'::float8"),
    ("CAST('-inf' AS DOUBLE)", "'-Infinity'::float8"),
    ("CAST('0.1' AS REAL)", "0.1::real"),
    ("CAST('1e6' AS REAL)", "1e6::real"),
    ("CAST('123456' AS REAL)", "123456::real"),
    ("CAST('-0.05' AS DECIMAL(10, 2))", "-0.05::numeric(10,2)"),
    ("CAST('7' AS DECIMAL(38, 0))", "7::numeric(38,0)"),
    (
        "CAST('99999999999999999999999999999999.123456' AS DECIMAL(38, 6))",
        "99999999999999999999999999999999.123456::numeric(38,6)",
    ),
    ("CAST('1.5' AS DECIMAL(60, 20))", "1.5::numeric(60,20)"),
    ("''", ""),
    ("' '", ""),
    ("'a,b'", ""),
    ("'a;b'", ""),
    ("'a\"b'", ""),
    ("'it''s'", ""),
    ("'a' || chr(10) || 'b'", ""),
    ("'a' || chr(13) || 'b'", ""),
    ("chr(9) || 'tab'", ""),
    ("chr(92) || '.'", ""),
    ("chr(92) || 'N'", ""),
    ("chr(8) || chr(11) || chr(12)", ""),
    ("'NULL'", ""),
    ("'t'", ""),
    ("'naïve ☃ 𝄞'", ""),
    ("decode('5c78ff00', 'hex')", ""),
    ("decode('', 'hex')", ""),
    ("DATE '2010-10-10'", ""),
    ("arrow_cast(-719529, 'Date32')", "DATE '0002-12-31 BC'"),
    ("arrow_cast(2932897, 'Date32')", "DATE '10000-01-01'"),
    ("TIME '08:10:10.5'", ""),
    ("TIME '23:59:59.999999'", ""),
    ("TIMESTAMP '2010-10-10 08:10:10.5'", ""),
    (
        "arrow_cast(-1, 'Timestamp(Microsecond, None)')",
        "TIMESTAMP '1969-12-31 23:59:59.999999'",
    ),
    (
        "arrow_cast(1286698210500, 'Timestamp(Millisecond, Some(\"UTC\"))')",
        "TIMESTAMPTZ '2010-10-10 08:10:10.5+00'",
    ),
    ("INTERVAL '0 days'", ""),
    (
        "INTERVAL '1 year 2 months 3 days 4 hours 5 minutes 6.5 seconds'",
        "",
    ),
    ("INTERVAL '-1 years -2 months'", ""),
    ("INTERVAL '-1 months 3 days'", ""),
    ("INTERVAL '1 month -3 days 4 hours'", ""),
    ("INTERVAL '-3 days -4 hours'", ""),
    ("INTERVAL '-1 seconds'", ""),
    ("INTERVAL '100 hours'", ""),
    (
        "arrow_cast(90061, 'Duration(Second)')",
        "INTERVAL '25:01:01'",
    ),
    ("make_array(1, 2, NULL)", "ARRAY[1,2,NULL]"),
    ("arrow_cast(make_array(), 'List(Int64)')", "'{}'::int[]"),
    (
        "make_array(make_array(1, 2), make_array(3, 4))",
        "ARRAY[[1,2],[3,4]]",
    ),
    (
        "make_array('a', '', 'NULL', 'null', NULL, 'a b', 'a,b', '{}', '\"', chr(92), chr(10))",
        "ARRAY['a', '', 'NULL', 'null', NULL, 'a b', 'a,b', '{}', '\"', chr(92), chr(10)]",
    ),
    ("make_array(true, false)", "ARRAY[true,false]"),
    (
        "make_array(decode('ff', 'hex'))",
        "ARRAY[decode('ff','hex')]",
    ),
    (
        "make_array(TIMESTAMP '2010-10-10 08:10:10')",
        "ARRAY[TIMESTAMP '2010-10-10 08:10:10']",
    ),
    (
        "make_array(arrow_cast('a b', 'Dictionary(Int8, Utf8)'))",
        "ARRAY['a b']",
    ),
    (
        "named_struct('a', 1, 'b', NULL, 'c', 'x')",
        "ROW(1, NULL, 'x')",
    ),
    (
        "named_struct('a', '', 'b', 'a b', 'c', '(x)', 'd', '\"', 'e', chr(92), 'f', 'a,b')",
        "ROW('', 'a b', '(x)', '\"', chr(92), 'a,b')",
    ),
    (
        "named_struct('a', named_struct('b', 'x y'), 'c', make_array('d e'))",
        "ROW(ROW('x y'), ARRAY['d e'])",
    ),
    (
        "make_array(named_struct('a', 1, 'b', 'x y'))",
        "ARRAY[ROW(1, 'x y')]",
    ),
    (
        "map(make_array('k'), make_array('x y'))",
        "ARRAY[ROW('k', 'x y')]",
    ),
    (
        "arrow_cast('dictionary, here', 'Dictionary(UInt16, Utf8)')",
        "'dictionary, here'",
    ),
    ("arrow_cast('a view, here', 'Utf8View')", "'a view, here'"),
    ("arrow_cast('large, here', 'LargeUtf8')", "'large, here'"),
    (
        "arrow_cast(make_array(1, 2), 'FixedSizeList(2, Int32)')",
        "ARRAY[1,2]",
    ),
    (
        "arrow_cast(make_array(1, 2), 'LargeList(Int32)')",
        "ARRAY[1,2]",
    ),
];

/// Options that both support, in PostgreSQL's spelling.
const OPTIONS: &[&str] = &[
    "FORMAT csv",
    "FORMAT csv, HEADER",
    "FORMAT csv, DELIMITER ';'",
    "FORMAT csv, DELIMITER '1'",
    "FORMAT csv, DELIMITER '-'",
    "FORMAT csv, DELIMITER E'\\t'",
    "FORMAT csv, QUOTE ''''",
    "FORMAT csv, QUOTE 'x', DELIMITER ' '",
    "FORMAT csv, ESCAPE E'\\\\'",
    "FORMAT csv, ESCAPE '!', QUOTE '|', HEADER true",
    "FORMAT csv, NULL 'NULL'",
    "FORMAT csv, NULL 't'",
    "FORMAT csv, NULL E'\\\\N', HEADER",
    "FORMAT csv, NULL '7'",
    "FORMAT csv, FORCE_QUOTE *",
    "FORMAT csv, FORCE_QUOTE (c1, \"a,b\")",
    "FORMAT text",
    "FORMAT text, DELIMITER '|', NULL ''",
    "FORMAT text, HEADER, DELIMITER ','",
];

async fn tidegate(session: &Session, sql: &str) -> Vec<u8> {
    let written = written(session, sql).await;
    written.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn assert_same(ours: &[u8], theirs: &[u8], what: &str) {
    let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    if ours.len() == theirs.len() && same == ours.len() {
        return;
    }
    let excerpt = |text: &[u8]| {
        let (start, end) = (same.saturating_sub(80), text.len().min(same + 40));
        String::from_utf8_lossy(&text[start..end]).into_owned()
    };
    panic!(
        "{what}: ours {:?}, PostgreSQL's {:?}",
        excerpt(ours),
        excerpt(theirs)
    );
}

fn script(queries: &[String], options: &str) -> String {
    let copy = |query: &String| format!("COPY ({query}) TO STDOUT ({options});\n");
    queries.iter().map(copy).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_with_every_option() {
    let session = Engine::builder().build().unwrap().session().unwrap();
    // Each value next to another and, with `alone`, as the only column: a line with a single value
    // has its own quoting rules.
    let queries = |theirs: bool| -> Vec<String> {
        VALUES
            .iter()
            .flat_map(|(ours, postgres)| {
                let value = match theirs && !postgres.is_empty() {
                    true => postgres,
                    false => ours,
                };
                [
                    format!("SELECT {value} AS c1, 1 AS \"a,b\""),
                    format!("SELECT {value} AS \"c1\", {value} AS \"a,b\""),
                ]
            })
            .collect()
    };
    let alone = |theirs: bool| -> Vec<String> {
        let both = queries(theirs);
        let first = both.iter().step_by(2);
        first
            .map(|query| query.replace(", 1 AS \"a,b\"", ""))
            .collect()
    };
    for options in OPTIONS {
        let theirs = script(&queries(true), options);
        let theirs = postgres().execute(&format!("SET timezone = 'UTC';\n{theirs}"));
        let ours = tidegate(&session, &script(&queries(false), options)).await;
        assert_same(&ours, &theirs, options);
        if !options.contains("FORCE_QUOTE (") {
            let theirs = script(&alone(true), options);
            let theirs = postgres().execute(&format!("SET timezone = 'UTC';\n{theirs}"));
            let ours = tidegate(&session, &script(&alone(false), options)).await;
            assert_same(&ours, &theirs, &format!("{options}, one column"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_in_their_zones() {
    let session = Engine::builder().build().unwrap().session().unwrap();
    for zone in ["Europe/Paris", "Asia/Kolkata", "America/St_Johns", "UTC"] {
        let ours: Vec<String> = [1286698210, 1300000000, -3000000000i64]
            .iter()
            .map(|seconds| {
                format!("SELECT arrow_cast({seconds}, 'Timestamp(Second, Some(\"{zone}\"))') AS t")
            })
            .collect();
        let theirs: Vec<String> = [1286698210, 1300000000, -3000000000i64]
            .iter()
            .map(|seconds| format!("SELECT to_timestamp({seconds}) AS t"))
            .collect();
        let theirs = script(&theirs, "FORMAT csv");
        let theirs = postgres().execute(&format!("SET timezone = '{zone}';\n{theirs}"));
        let ours = tidegate(&session, &script(&ours, "FORMAT csv")).await;
        assert_same(&ours, &theirs, zone);
    }
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A row of nasty values.
#[derive(Debug, Clone)]
struct Row {
    text: Option<String>,
    number: Option<i64>,
    double: f64,
    real: f32,
    flag: bool,
    micros: i64,
    words: Option<Vec<Option<String>>>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[ab,;\"'\\\\{}() \t\n\r.N-]{0,6}",
        1 => "[^\0]{0,8}",
        1 => Just("NULL".to_owned()),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    (
        proptest::option::of(text()),
        proptest::option::of(any::<i64>()),
        any::<f64>(),
        any::<f32>(),
        any::<bool>(),
        // From 4713 BC, where PostgreSQL's calendar begins, to the year 9999.
        -210_866_803_200_000_000i64..253_402_300_800_000_000,
        proptest::option::of(proptest::collection::vec(
            proptest::option::of(text()),
            0..4,
        )),
    )
        .prop_map(|(text, number, double, real, flag, micros, words)| Row {
            text,
            number,
            double,
            real,
            flag,
            micros,
            words,
        })
}

fn as_batch(rows: &[Row]) -> RecordBatch {
    let mut words = ListBuilder::new(StringBuilder::new());
    for row in rows {
        words.append_option(row.words.clone());
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "t",
            Arc::new(StringArray::from_iter(
                rows.iter().map(|row| row.text.as_deref()),
            )),
        ),
        (
            "n",
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.number))),
        ),
        (
            "d",
            Arc::new(Float64Array::from_iter_values(
                rows.iter().map(|row| row.double),
            )),
        ),
        (
            "r",
            Arc::new(Float32Array::from_iter_values(
                rows.iter().map(|row| row.real),
            )),
        ),
        (
            "f",
            Arc::new(BooleanArray::from_iter(
                rows.iter().map(|row| Some(row.flag)),
            )),
        ),
        (
            "m",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                rows.iter().map(|row| row.micros),
            )),
        ),
        ("w", Arc::new(words.finish())),
    ];
    let nullable = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
}

fn as_postgres(row: &Row) -> String {
    let text = |text: &Option<String>| match text {
        Some(text) => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("convert_from(decode('{hex}', 'hex'), 'UTF8')")
        }
        None => "NULL::text".to_owned(),
    };
    let number = row.number.map_or("NULL".to_owned(), |n| format!("'{n}'"));
    let words = match &row.words {
        Some(words) => {
            let words: Vec<String> = words.iter().map(text).collect();
            format!("ARRAY[{}]::text[]", words.join(", "))
        }
        None => "NULL::text[]".to_owned(),
    };
    format!(
        "({}, {number}::bigint, '{:?}'::float8, '{:?}'::real, {}, \
         TIMESTAMP '1970-01-01' + '{} days'::interval + '{} microseconds'::interval, {words})",
        text(&row.text),
        row.double,
        row.real,
        row.flag,
        row.micros.div_euclid(MICROS_PER_DAY),
        row.micros.rem_euclid(MICROS_PER_DAY)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_rows() {
    let mut runner = TestRunner::default();
    for round in 0..8 {
        let rows = proptest::collection::vec(row(), 300);
        let rows = rows.new_tree(&mut runner).unwrap().current();
        let session = Engine::builder().build().unwrap().session().unwrap();
        session
            .context()
            .register_batch("rows", as_batch(&rows))
            .unwrap();
        let values: Vec<String> = rows.iter().map(as_postgres).collect();
        let table = format!("rows{round}");
        let mut create = format!(
            "CREATE TABLE {table} (t, n, d, r, f, m, w) AS VALUES\n{};\n",
            values.join(",\n")
        );
        for options in OPTIONS.iter().filter(|options| !options.contains("c1")) {
            let theirs = format!("{create}COPY {table} TO STDOUT ({options})");
            let theirs = postgres().execute(&theirs);
            create.clear();
            let ours = format!("COPY rows TO STDOUT ({options})");
            let ours = tidegate(&session, &ours).await;
            assert_same(&ours, &theirs, options);
        }
    }
}
