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
