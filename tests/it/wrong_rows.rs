//! Files that are easy to misread: of other programs, with odd values, odd names, in odd places.
//!
//! Invariant: a query over them returns what is in them, or says what it can't read.

use std::path::Path;

use futures::TryStreamExt;
use tempfile::TempDir;
use tidegate::{Engine, Session};

use crate::servers::python;
use crate::texts::texts;

fn session() -> Session {
    Engine::builder().build().unwrap().session().unwrap()
}

/// The rows of a query as text: values between spaces, rows between `; `.
async fn rows(session: &Session, sql: &str) -> Result<String, String> {
    let outcome = session
        .execute(sql)
        .await
        .map_err(|error| format!("{error}"))?;
    let rows = texts(&outcome);
    let rows: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
    Ok(rows.join("; "))
}

/// Runs queries in a folder, whose path stands for `@` in them.
pub(crate) struct Bench {
    folder: TempDir,
    session: Session,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            session: session(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<String, String> {
        let sql = sql.replace('@', self.path().to_str().unwrap());
        rows(&self.session, &sql).await
    }

    /// Runs a statement to its end and returns its notices.
    pub(crate) async fn notices(&self, sql: &str) -> Vec<String> {
        let sql = sql.replace('@', self.path().to_str().unwrap());
        let mut execution = self.session.start(&sql).await.unwrap();
        while execution.try_next().await.unwrap().is_some() {}
        execution.notices()
    }

    pub(crate) async fn gives(&self, sql: &str, expected: &str) {
        let found = self.run(sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }

    pub(crate) async fn fails(&self, sql: &str, parts: &[&str]) {
        let error = self.run(sql).await.unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{sql}: {part}: {error}");
        }
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_statistics_supply_no_values() {
    let bench = Bench::new();
    bench
        .gives(
            "COPY (SELECT * FROM (VALUES (1.0), (CAST('NaN' AS DOUBLE))) AS t(f)) TO '@/o.parquet'
             WITH (FORMAT parquet)",
            "",
        )
        .await;
    bench.gives("SELECT f FROM '@/o.parquet'", "1.0; NaN").await;
    python("odd_files.py", &[bench.path().to_str().unwrap()]);
    for (sql, expected) in [
        ("SELECT count(*) FROM '@/nan.parquet' WHERE f > 5", "1"),
        ("SELECT count(*) FROM '@/nan.parquet' WHERE f = 'NaN'", "1"),
        ("SELECT max(f) FROM '@/nan.parquet'", "NaN"),
        ("SELECT count(f), count(*) FROM '@/nan.parquet'", "4 5"),
        (
            "SELECT count(*) FROM '@/one_and_nan.parquet' WHERE f <> 1",
            "1",
        ),
        ("SELECT f FROM '@/one_and_nan.parquet'", "1.0; NaN"),
        (
            "SELECT count(*) FROM '@/float32_nan.parquet' WHERE f > 1",
            "1",
        ),
        (
            "SELECT count(*) FROM '@/nan_pages.parquet' WHERE f > 2",
            "1",
        ),
        (
            "SELECT count(*) FROM '@/nan_pages.parquet' WHERE f = 2",
            "20000",
        ),
        (
            "SELECT t FROM '@/int96.parquet'",
            "9999-12-31T02:00:00; 1500-01-01T00:00:00",
        ),
    ] {
        bench.gives(sql, expected).await;
    }
    bench
        .fails(
            "SELECT * FROM '@/twice.parquet'",
            &["two columns named \"v\""],
        )
        .await;
    bench
        .fails(
            "SELECT * FROM '@/empty.parquet'",
            &["empty.parquet is empty"],
        )
        .await;
    bench
        .fails(
            "SELECT * FROM '@/damaged.parquet'",
            &["damaged.parquet can't be read"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intervals_are_refused() {
    let bench = Bench::new();
    python("odd_files.py", &[bench.path().to_str().unwrap()]);
    let parts = ["the column \"i\"", "interval.parquet", "months"];
    bench
        .fails("SELECT * FROM '@/interval.parquet'", &parts)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uuids_stay_uuids() {
    let bench = Bench::new();
    python("odd_files.py", &[bench.path().to_str().unwrap()]);
    bench
        .gives(
            "COPY (SELECT u FROM '@/uuid.parquet') TO '@/u.csv' (FORMAT csv)",
            "",
        )
        .await;
    let text = std::fs::read_to_string(bench.path().join("u.csv")).unwrap();
    assert_eq!(text, "00000000-0000-0000-0000-000000000007\n");
    bench
        .gives(
            "COPY (SELECT u FROM '@/uuid.parquet') TO '@/u.parquet' (FORMAT parquet)",
            "",
        )
        .await;
    bench
        .gives(
            "COPY (SELECT u FROM '@/u.parquet') TO '@/again.csv' (FORMAT csv)",
            "",
        )
        .await;
    assert_eq!(
        std::fs::read_to_string(bench.path().join("again.csv")).unwrap(),
        text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guessed_type_binds() {
    let bench = Bench::new();
    let dates = "2024-01-01\n".repeat(1200);
    bench.write("d.csv", format!("d\n{dates}2024-01-01 10:11:12\n"));
    let parts = ["d.csv, line 1202", "column d", "no Date32", "all_varchar"];
    bench.fails("SELECT d FROM '@/d.csv'", &parts).await;
    bench
        .gives(
            "SELECT max(d) FROM read_csv('@/d.csv', all_varchar => true)",
            "2024-01-01 10:11:12",
        )
        .await;
    let numbers = "1\n".repeat(1200);
    for (late, what) in [("007", "Int64"), ("1.5", "Int64"), ("x", "Int64")] {
        bench.write("n.csv", format!("n\n{numbers}{late}\n"));
        let parts = ["n.csv, line 1202", "column n", late, what];
        bench.fails("SELECT n FROM '@/n.csv'", &parts).await;
    }
    // Texts that numbers do not give back.
    bench.write(
        "zip.csv",
        "zip,amount\n01234,99999999999999999.99\n90210,1\n",
    );
    bench
        .gives(
            "SELECT zip, amount FROM '@/zip.csv'",
            "01234 99999999999999999.99; 90210 1",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csv_dialects_are_found() {
    let bench = Bench::new();
    for (name, content) in [
        ("semicolon.csv", "a;b\n1,5;x\n2,5;y\n"),
        ("tab.csv", "a\tb\n1,5\tx\n2,5\ty\n"),
        ("pipe.csv", "a|b\n1,5|x\n2,5|y\n"),
        ("table.tsv", "a\tb\n1,5\tx\n2,5\ty\n"),
    ] {
        bench.write(name, content);
        bench
            .gives(&format!("SELECT a, b FROM '@/{name}'"), "1,5 x; 2,5 y")
            .await;
    }
    bench.write("bare.csv", "1|x\n2|y\n");
    bench
        .gives("SELECT * FROM read_csv('@/bare.csv')", "1 x; 2 y")
        .await;
    // What is said counts.
    bench.write("said.csv", "a;b\n1;2\n");
    bench
        .gives(
            "SELECT * FROM read_csv('@/said.csv', delim => ',', header => false)",
            "a;b; 1;2",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_csv_is_read_back_by_default() {
    let bench = Bench::new();
    for (name, options, expected) in [
        ("bare", "", "x y; z w"),
        ("named", ", HEADER", "x y; z w"),
        ("zipped", ", COMPRESSION gzip", "x y; z w"),
    ] {
        let copy = format!(
            "COPY (SELECT * FROM (VALUES ('x', 'y'), ('z', 'w')) AS t(a, b)) TO '@/{name}' \
             (FORMAT csv{options})"
        );
        bench.gives(&copy, "").await;
        for source in [format!("'@/{name}'"), format!("read_csv('@/{name}/')")] {
            bench
                .gives(&format!("SELECT * FROM {source}"), expected)
                .await;
        }
        let table = format!(
            "CREATE EXTERNAL TABLE {name} (a TEXT, b TEXT) STORED AS CSV LOCATION '@/{name}/'"
        );
        bench.gives(&table, "").await;
        bench
            .gives(&format!("SELECT * FROM {name}"), expected)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_go_by_their_names() {
    let bench = Bench::new();
    let rows = |a: &str, b: &str| format!("{a},{b}\n{}", "1,2\n".repeat(1500));
    bench.write("two/1.csv", rows("cost", "price"));
    bench.write("two/2.csv", rows("price", "cost"));
    bench
        .gives("SELECT sum(cost), sum(price) FROM '@/two'", "4500 4500")
        .await;
    bench.write("three/1.csv", rows("cost", "price"));
    bench.write("three/2.csv", rows("cost", "tax"));
    let parts = ["2.csv has the columns cost, tax"];
    bench.fails("SELECT sum(cost) FROM '@/three'", &parts).await;
    bench.write("sw/1.csv", "a,b\nAAA,BBB\n");
    bench
        .gives(
            "CREATE EXTERNAL TABLE sw (b TEXT, a TEXT) STORED AS CSV LOCATION '@/sw/'",
            "",
        )
        .await;
    bench.gives("SELECT a, b FROM sw", "AAA BBB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_have_all_their_files_and_no_others() {
    let bench = Bench::new();
    let one = "COPY (SELECT 1 AS n) TO '@/m' (FORMAT csv, HEADER";
    bench.gives(&format!("{one})"), "").await;
    bench
        .gives(&format!("{one}, MODE append, COMPRESSION gzip)"), "")
        .await;
    bench
        .gives("SELECT sum(n) FROM read_csv('@/m/')", "2")
        .await;
    bench.gives("SELECT sum(n) FROM '@/m'", "2").await;
    bench.write("caps/A.CSV", "n\n5\n");
    bench.gives("SELECT n FROM '@/caps'", "5").await;
    bench.write("kinds/a.csv", "n\n5\n");
    bench.write("kinds/b.json", "{\"n\":5}\n");
    bench
        .fails("SELECT n FROM '@/kinds'", &["files of several kinds"])
        .await;
    bench
        .fails("SELECT n FROM read_csv('@/kinds')", &["b.json is no csv"])
        .await;
    bench
        .gives("SELECT n FROM read_csv('@/kinds/*.csv')", "5")
        .await;

    bench.write("f/x.csv", "n\n1\n");
    bench.write("f/sub/x.csv", "n\n10\n");
    bench.write("f/sub/sub/x.csv", "n\n100\n");
    bench.write("f/_temporary/x.csv", "n\n1000\n");
    bench.write("f/.hidden/x.csv", "n\n1000\n");
    bench.write("f/_delta_log/x.csv", "n\n1000\n");
    for (glob, sum) in [
        ("f/*.csv", "1"),
        ("f/*/x.csv", "10"),
        ("f/**/*.csv", "111"),
        ("f/**", "111"),
        ("f", "111"),
        ("f/", "111"),
        ("f/{sub,none}/*.csv", "10"),
        ("f/s[tu]b/?.csv", "10"),
        ("f/_temporary/*.csv", "1000"),
        ("f/_temporary", "1000"),
    ] {
        bench
            .gives(&format!("SELECT sum(n) FROM '@/{glob}'"), sum)
            .await;
    }
    bench
        .gives(
            "SELECT replace(file, '@/', ''), size FROM glob('@/f/**') ORDER BY 1",
            "f/sub/sub/x.csv 6; f/sub/x.csv 5; f/x.csv 4",
        )
        .await;
    for name in ["a%3Ab", "a#b", "a?b", "v[1]", "a b", "x*y", "{a,b}"] {
        bench.write(&format!("odd/{name}/f.csv"), "n\n7\n");
        for path in [
            format!("odd/{name}/f.csv"),
            format!("odd/{name}"),
            format!("odd/{name}/"),
        ] {
            bench.gives(&format!("SELECT n FROM '@/{path}'"), "7").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_sees_the_files_that_are_there() {
    let bench = Bench::new();
    bench.write("v/1.csv", "n\n1\n");
    bench
        .gives("CREATE VIEW v AS SELECT sum(n) AS n FROM '@/v'", "")
        .await;
    bench.write("v/2.csv", "n\n10\n");
    bench.gives("SELECT n FROM v", "11").await;
    bench.write("v/3.csv", "n\n100\n");
    bench.gives("SELECT n FROM v", "111").await;
    std::fs::remove_file(bench.path().join("v/1.csv")).unwrap();
    bench.gives("SELECT n FROM v", "110").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition_columns_keep_their_types() {
    let bench = Bench::new();
    bench
        .gives(
            "COPY (SELECT value AS id, value % 12 AS n, DATE '2024-01-01' AS d, value % 2 = 0 AS b,
                          concat('0', value) AS t FROM generate_series(0, 11))
             TO '@/p' (FORMAT parquet, PARTITION BY (n, d, b, t))",
            "",
        )
        .await;
    bench
        .gives(
            "SELECT arrow_typeof(n), arrow_typeof(d), arrow_typeof(b), arrow_typeof(t) FROM '@/p'
             LIMIT 1",
            "Int64 Date32 Boolean Utf8",
        )
        .await;
    bench
        .gives("SELECT max(n), sum(n) FROM '@/p'", "11 66")
        .await;
    bench.gives("SELECT count(*) FROM '@/p' WHERE b", "6").await;
    bench
        .gives("SELECT id FROM '@/p' WHERE n > 9 ORDER BY n", "10; 11")
        .await;
    bench
        .gives("SELECT id FROM '@/p' WHERE n > 9 AND id < 11", "10")
        .await;
    bench
        .gives(
            "SELECT DISTINCT d + INTERVAL '1 day' FROM '@/p'",
            "2024-01-02T00:00:00",
        )
        .await;

    // NULL is apart from the text that Hive writes for it.
    bench
        .gives(
            "COPY (SELECT * FROM (VALUES (1, NULL), (2, '__HIVE_DEFAULT_PARTITION__'), (3, ''))
                   AS t(id, p)) TO '@/h' (FORMAT parquet, PARTITION BY (p))",
            "",
        )
        .await;
    bench
        .gives(
            "SELECT id, p FROM '@/h' ORDER BY id",
            "1 NULL; 2 __HIVE_DEFAULT_PARTITION__; 3 ",
        )
        .await;
    bench
        .gives(
            "COPY (SELECT 1 AS a, NULL AS b) TO '@/nul' (FORMAT csv, PARTITION BY (b))",
            "",
        )
        .await;
    bench.gives("SELECT b IS NULL FROM '@/nul'", "true").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declared_partition_columns_are_those_of_the_folders() {
    let bench = Bench::new();
    bench
        .gives("COPY (SELECT 1 AS a, 2 AS b, 3 AS c) TO '@/k' (FORMAT parquet, PARTITION BY (a, b), PARTITION COLUMNS = 'keep')", "")
        .await;
    bench
        .gives(
            "CREATE EXTERNAL TABLE k STORED AS PARQUET PARTITIONED BY (a, b) LOCATION '@/k/'",
            "",
        )
        .await;
    bench.gives("SELECT a, b, c FROM k", "1 2 3").await;
    bench
        .gives(
            "COPY (SELECT 1 AS a, 5 AS \"Day\") TO '@/q' (FORMAT parquet, PARTITION BY (\"Day\"))",
            "",
        )
        .await;
    bench
        .gives(
            "CREATE EXTERNAL TABLE q STORED AS PARQUET PARTITIONED BY (\"Day\") LOCATION '@/q'",
            "",
        )
        .await;
    bench.gives("SELECT a, \"Day\" FROM q", "1 5").await;
    for wrong in ["day", "\"Day\", x", "x"] {
        let sql = format!(
            "CREATE EXTERNAL TABLE w STORED AS PARQUET PARTITIONED BY ({wrong}) LOCATION '@/q'"
        );
        bench.fails(&sql, &["the folders of", "name Day"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_stays_above_a_window() {
    let bench = Bench::new();
    let rows = "(VALUES (1, 'a'), (1, 'b'), (2, 'c'), (3, 'd'), (3, 'e')) AS v(g, s)";
    bench
        .gives(&format!("CREATE TABLE t AS SELECT * FROM {rows}"), "")
        .await;
    bench
        .gives(
            "SELECT g, count(*) OVER () AS n FROM t GROUP BY g ORDER BY g LIMIT 1",
            "1 3",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_beyond_a_day_have_no_text() {
    let bench = Bench::new();
    for unit in ["Time32(Second)", "Time32(Millisecond)"] {
        for value in ["-1", "86400000"] {
            let sql = format!(
                "COPY (SELECT arrow_cast(CAST({value} AS INT), '{unit}') AS t) TO '@/t.csv' \
                 (FORMAT csv, MODE overwrite)"
            );
            bench.fails(&sql, &["not within a day"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_read_as_it_is_written() {
    let bench = Bench::new();
    let numbers = "{\"v\":1}\n".repeat(1200);
    for late in [
        "{\"v\":1.5}",
        "{\"v\":\"007\"}",
        "{\"v\":[1.5]}",
        "{\"v\":{}}",
        "{\"new\":1}",
    ] {
        bench.write("n.json", format!("{numbers}{late}\n"));
        bench
            .fails("SELECT v FROM '@/n.json'", &["n.json, line 1201"])
            .await;
    }
    bench
        .gives(
            "CREATE EXTERNAL TABLE n (v INT) STORED AS JSON LOCATION '@/n2.json'",
            "",
        )
        .await;
    for late in [
        "{\"v\":1.5}",
        "{\"v\":\"x\"}",
        "{\"v\":\"\"}",
        "{\"v\":[1]}",
    ] {
        bench.write("n2.json", format!("{numbers}{late}\n"));
        bench
            .fails("SELECT v FROM n", &["n2.json, line 1201"])
            .await;
    }
    bench.write(
        "wide.json",
        "{\"n\":18446744073709551615,\"d\":99999999999999999.99}\n",
    );
    bench
        .gives(
            "SELECT n, d FROM '@/wide.json'",
            "18446744073709551615 99999999999999999.99",
        )
        .await;
    bench.write("bom.json", "\u{feff}{\"z\":\"first\",\"a\":\"second\"}\n");
    bench
        .gives("SELECT * FROM '@/bom.json'", "first second")
        .await;
    bench.write(
        "array.json",
        "[\n {\"a\":1,\"b\":[1,null]},\n {\"a\":2,\"b\":null}\n]\n",
    );
    bench
        .gives("SELECT a, b FROM '@/array.json'", "1 [1, NULL]; 2 NULL")
        .await;
    bench
        .gives("SELECT count(*) FROM '@/array.json'", "2")
        .await;
    bench.write("lines.jsonl", "{\"a\":\n1}\n{\"a\":2}");
    bench.gives("SELECT sum(a) FROM '@/lines.jsonl'", "3").await;
    bench.write("bad.json", "{\"a\":1}\n{\"a\":1,}\n");
    bench
        .fails(
            "SELECT * FROM '@/bad.json'",
            &["bad.json, line 2: not valid JSON"],
        )
        .await;
    bench.write("half.json", format!("{numbers}{{\"v\":"));
    bench
        .fails("SELECT * FROM '@/half.json'", &["half.json, line 1201"])
        .await;
    bench
        .gives(
            "COPY (SELECT 'b' AS z, 1 AS a) TO '@/o' (FORMAT json, COMPRESSION gzip)",
            "",
        )
        .await;
    bench.gives("SELECT * FROM '@/o'", "b 1").await;
}
