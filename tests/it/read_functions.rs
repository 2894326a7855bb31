//! The arguments of `read_csv`, `read_json` and `read_parquet`.

use crate::wrong_rows::Bench;

#[tokio::test]
async fn read_functions_take_what_those_of_duckdb_take() {
    let bench = Bench::new();
    bench.write("one.csv", "a,b\n1,x\n2,y\n");
    bench.write("two.csv", "b,c\nz,2024-01-01\n");
    bench.write("late.csv", format!("v\n{}1.5\nlast\n", "1\n".repeat(5000)));
    bench.write("one.json", "{\"a\": 1, \"b\": \"x\"}\n");
    let all = "read_csv(['@/one.csv', '@/two.csv'], union_by_name => true)";
    bench
        .gives(
            &format!("SELECT a, b, c FROM {all} ORDER BY b"),
            "1 x NULL; 2 y NULL; NULL z 2024-01-01",
        )
        .await;
    bench
        .fails(
            "SELECT * FROM read_csv(['@/one.csv', '@/two.csv'])",
            &["two.csv", "union_by_name"],
        )
        .await;
    bench
        .gives(
            "SELECT b, right(filename, 8) FROM read_csv('@/on*.csv', filename => true) WHERE a = 1",
            "x /one.csv",
        )
        .await;
    bench.gives(
        "SELECT DISTINCT right(f, 8) FROM read_json(['@/one.json', '@/one.json'], filename => 'f')",
        "one.json",
    )
    .await;
    bench
        .fails(
            "SELECT * FROM read_csv('@/late.csv')",
            &["late.csv, line 5002"],
        )
        .await;
    bench
        .gives(
            "SELECT count(*), max(v) FROM read_csv('@/late.csv', sample_size => -1)",
            "5002 last",
        )
        .await;
    bench.gives(
        "SELECT b, a + 1 FROM read_csv('@/one.csv', columns => {'a': 'DECIMAL(5, 1)', 'b': 'TEXT'}) ORDER BY b",
        "x 2.0; y 3.0",
    )
    .await;
    bench.gives(
        "SELECT arrow_typeof(a) FROM read_json('@/one.json', columns => {'a': 'SMALLINT', 'b': 'TEXT'})",
        "Int16",
    )
    .await;
    for (call, parts) in [
        (
            "read_csv('@/one.csv', columns => 'a')",
            &["{'name': 'type', …}"][..],
        ),
        (
            "read_csv('@/one.csv', columns => {'a': 'NOTHING'})",
            &["NOTHING"],
        ),
        ("read_csv('@/one.csv', sample_size => 0)", &["sample_size"]),
        ("read_csv([])", &["empty"]),
        ("read_csv(['@/one.csv', '@/none.csv'])", &["none.csv"]),
        ("read_csv('@/one.csv', filename => 'a')", &["column a"]),
        (
            "read_parquet('@/one.csv', columns => {'a': 'INT'})",
            &["columns"],
        ),
    ] {
        bench.fails(&format!("SELECT * FROM {call}"), parts).await;
    }
}

#[tokio::test]
async fn bad_records_are_passed_over_and_told() {
    let bench = Bench::new();
    let mut lines = vec!["a,b".to_owned()];
    lines.extend((0..3000).map(|row| format!("{row},x")));
    lines[1501] = "1500,x,y".to_owned();
    lines[2001] = "two thousand,x".to_owned();
    lines[2501] = "2500".to_owned();
    let mut csv = lines.join("\n").into_bytes();
    csv.extend_from_slice(b"\n3000,\xff\n3001,z\n");
    bench.write("bad.csv", csv);
    let all = "read_csv('@/bad.csv', ignore_errors => true)";
    let sums = format!("SELECT count(a), sum(a), max(b) FROM {all}");
    bench.gives(&sums, "2998 4495501 z").await;
    // The rows are the same, whichever columns a query reads.
    for columns in ["count(*)", "count(b)", "sum(CASE WHEN a >= 0 THEN 1 END)"] {
        bench
            .gives(&format!("SELECT {columns} FROM {all}"), "2998")
            .await;
    }
    let notices = bench.notices(&format!("SELECT * FROM {all}")).await;
    let [notice] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    for part in [
        "4 records were passed over: ",
        "bad.csv, line 1502: 2 values expected, but 3 found; ",
        "bad.csv, line 2502: 2 values expected, but 1 found; ",
        "; …",
    ] {
        assert!(notice.contains(part), "{part}: {notice}");
    }
    bench
        .fails("SELECT a FROM '@/bad.csv'", &["bad.csv, line 1502"])
        .await;
    // An export tells it, too.
    let export = format!("COPY (SELECT * FROM {all}) TO '@/out' (FORMAT csv)");
    let notices = bench.notices(&export).await;
    assert!(
        notices[0].starts_with("4 records were passed over"),
        "{notices:?}"
    );

    bench.write(
        "bad.json",
        "{\"a\": 1}\n{\"a\": 2\n{\"a\": 3}\nnonsense\n{\"a\": \"x\n{\"a\": [4]}\n{\"a\": 5}\n",
    );
    let all = "read_json('@/bad.json', ignore_errors => true)";
    let sums = format!("SELECT count(*), sum(a) FROM {all}");
    bench.gives(&sums, "3 9").await;
    let notices = bench.notices(&sums).await;
    assert!(
        notices[0].starts_with("4 records were passed over: "),
        "{notices:?}"
    );
    bench
        .fails("SELECT * FROM '@/bad.json'", &["bad.json"])
        .await;
    // Bad records are no sample.
    bench.write(
        "late.json",
        format!("{}{{\"a\": 1}}\n{{\"a\": 2}}\n", "bad\n".repeat(1200)),
    );
    bench
        .gives(
            "SELECT count(*), sum(a) FROM read_json('@/late.json', ignore_errors => true)",
            "2 3",
        )
        .await;
    // A value in quotes without an end takes the rest of the file.
    bench.write("quote.csv", "a,b\n1,x\n2,y\n\"3,z\n4,x\n");
    let quote = "SELECT count(*), sum(a) FROM read_csv('@/quote.csv', quote => '\"', ignore_errors => true)";
    bench.gives(quote, "2 3").await;
    let notices = bench.notices(quote).await;
    assert!(
        notices[0].contains("quote.csv, line 4: the file ends"),
        "{notices:?}"
    );
}

#[tokio::test]
async fn good_files_read_the_same_without_errors_to_ignore() {
    let bench = Bench::new();
    for json in [
        "{\"a\": 1}\n",
        "{\n\"type\": \"x\",\n\"features\": [\n{ \"id\": 1 },\n{ \"id\": 2 }\n]\n}\n",
        "[\n{\"a\": 1, \"c\": {\"x\": 1}},\n{\"a\": 2, \"c\":\n{\"x\": 2}},\n{\"a\": 3}\n]\n",
        "  {\"a\": 1}\n\n  {\"a\": 2} {\"a\": 3}\n",
    ] {
        bench.write("good.json", json);
        let rows = bench
            .run("SELECT * FROM read_json('@/good.json')")
            .await
            .unwrap();
        let ignoring = "SELECT * FROM read_json('@/good.json', ignore_errors => true)";
        bench.gives(ignoring, &rows).await;
        assert_eq!(bench.notices(ignoring).await, [""; 0]);
    }
}

#[tokio::test]
async fn external_tables_take_the_same_options() {
    let bench = Bench::new();
    bench.write("in/one.csv", "a;b\n1;x\n2;y\n");
    bench.write("in/two.csv", "b;c\nz;2024-01-01\n");
    let create = |options: &str| {
        format!(
            "CREATE OR REPLACE EXTERNAL TABLE t STORED AS CSV LOCATION '@/in/' OPTIONS ({options})"
        )
    };
    let options = "union_by_name true, filename true, delim ';'";
    bench.run(&create(options)).await.unwrap();
    bench
        .gives(
            "SELECT a, b, c, right(filename, 8) FROM t ORDER BY b",
            "1 x NULL /one.csv; 2 y NULL /one.csv; NULL z 2024-01-01 /two.csv",
        )
        .await;
    bench
        .fails(
            "INSERT INTO t VALUES (1, 'x', NULL, 'f')",
            &["files' names"],
        )
        .await;
    let texts = "'format.union_by_name' 'true', all_varchar true";
    bench.run(&create(texts)).await.unwrap();
    bench
        .gives("SELECT arrow_typeof(a), max(a) FROM t GROUP BY 1", "Utf8 2")
        .await;
    for (options, part) in [
        ("union_by_name maybe", "union_by_name is true or false"),
        ("sample_size 0", "sample_size"),
        (
            "header true, 'format.has_header' 'false'",
            "another argument",
        ),
        ("columns x", "declare the columns"),
        ("unoin_by_name true", "unoin_by_name"),
    ] {
        bench.fails(&create(options), &[part]).await;
    }
    bench.write("bad/x.json", "{\"a\": 1}\n{]\n");
    bench
        .run(
            "CREATE EXTERNAL TABLE j STORED AS JSON LOCATION '@/bad/' OPTIONS (ignore_errors true)",
        )
        .await
        .unwrap();
    let notices = bench.notices("SELECT * FROM j").await;
    assert!(
        notices[0].contains("1 record was passed over"),
        "{notices:?}"
    );
}

#[tokio::test]
async fn files_without_a_header_are_united_by_place() {
    let bench = Bench::new();
    bench.write("one.csv", "1,2\n3,4\n");
    bench.write("two.csv", "5,6,7\n");
    bench.write("none.csv", "");
    let all = "read_csv('@/*.csv', union_by_name => true, header => false)";
    bench
        .gives(
            &format!("SELECT * FROM {all} ORDER BY 1"),
            "1 2 NULL; 3 4 NULL; 5 6 7",
        )
        .await;
    bench
        .gives(&format!("SELECT sum(column_3), count(*) FROM {all}"), "7 3")
        .await;
    bench
        .gives(
            "SELECT * FROM read_csv('@/*.csv', union_by_name => true, header => false,
                                    columns => {'x': 'INT', 'y': 'INT', 'z': 'INT'})
             ORDER BY x",
            "1 2 NULL; 3 4 NULL; 5 6 7",
        )
        .await;
    bench
        .gives(
            "SELECT max(column_1) FROM read_csv('@/*.csv', union_by_name => true, header => false,
                                                all_varchar => true, sample_size => -1)",
            "5",
        )
        .await;
    bench
        .fails(
            "SELECT * FROM read_csv('@/*.csv', header => false)",
            &["two.csv"],
        )
        .await;
}

#[tokio::test]
async fn all_of_a_json_file_is_a_sample() {
    let bench = Bench::new();
    let mut json = "{\"a\": 1, \"b\": [1]}\n".repeat(9000);
    json.push_str("{\"a\": 1.5, \"b\": [18446744073709551615], \"c\": {\"d\": true}}\n");
    bench.write("late.json", json);
    bench
        .fails("SELECT * FROM '@/late.json'", &["late.json, line 9001"])
        .await;
    bench
        .gives(
            "SELECT count(*), max(a), max(b[1]), max(c['d'] IS NULL)
             FROM read_json('@/late.json', sample_size => -1)",
            "9001 1.5 18446744073709551615 true",
        )
        .await;
}

#[tokio::test]
async fn files_are_shown() {
    let bench = Bench::new();
    bench.write("in/a.csv", "1\n");
    bench.write("in/b/c d.parquet", "");
    bench.write("in/_hidden", "");
    for from in ["FROM '@/in/**'", "IN '@' || '/in/**'"] {
        let shown = bench.run(&format!("SHOW FILES {from}")).await.unwrap();
        let rows: Vec<&str> = shown.split("; ").collect();
        assert_eq!(rows.len(), 2, "{shown}");
        assert!(rows[0].contains("/in/a.csv 2 "), "{shown}");
        assert!(rows[1].contains("/in/b/c d.parquet 0 "), "{shown}");
    }
    bench
        .fails("SHOW FILES FROM 's3://b/x'", &["connection"])
        .await;
    bench
        .fails(
            "SHOW FILES FROM 's3://b/x' WITH (AWS CONNECTION = none)",
            &["none"],
        )
        .await;
    bench
        .fails(
            "SHOW FILES FROM '@/in' (FORMAT csv)",
            &["FORMAT", "SHOW FILES"],
        )
        .await;
}
