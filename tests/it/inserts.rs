//! `INSERT INTO` tables of files.

use crate::wrong_rows::Bench;

/// What `INSERT` writes is what `COPY` writes, for every format and dialect.
#[tokio::test]
async fn inserted_rows_are_those_of_copy() {
    let bench = Bench::new();
    let declared = "(x TEXT, y TEXT, b BOOLEAN, z BYTEA)";
    let values = "(NULL, '', true, 'x'::bytea), ('', NULL, NULL, NULL), ('a;b', 'n/a', false, '')";
    let expected = "NULL [] true 78; [] NULL NULL NULL; [a;b] [n/a] false ";
    for (folder, stored) in [
        ("plain", "CSV"),
        ("packed", "CSV"),
        ("parquet", "PARQUET"),
        ("json", "JSON"),
    ] {
        let options = match folder {
            "packed" => {
                "OPTIONS ('format.delimiter' ';', 'format.null_value' 'n/a', 'format.has_header' 'false', 'format.compression' 'gzip')"
            }
            _ => "",
        };
        bench.run(&format!(
            "CREATE EXTERNAL TABLE {folder} {declared} STORED AS {stored} LOCATION '@/{folder}/' {options}"
        ))
        .await
        .unwrap();
        bench
            .run(&format!("INSERT INTO {folder} VALUES {values}"))
            .await
            .unwrap();
        let query = format!(
            "SELECT '[' || x || ']', '[' || y || ']', b, encode(z, 'hex') FROM {folder}
             ORDER BY x NULLS FIRST"
        );
        bench.gives(&query, expected).await;
        // Rows of COPY and of INSERT are read as one table.
        let copied = match folder {
            "packed" => ", DELIMITER ';', NULL 'n/a', COMPRESSION gzip",
            "plain" => ", HEADER",
            _ => "",
        };
        bench
            .run(&format!(
                "COPY (SELECT 'c' AS x, 'd' AS y, true AS b, 'x'::bytea AS z)
             TO '@/{folder}' (FORMAT {stored}, MODE append{copied})"
            ))
            .await
            .unwrap();
        bench
            .gives(&format!("SELECT count(*) FROM {folder} WHERE b"), "2")
            .await;
    }
}

#[tokio::test]
async fn inserted_rows_go_to_their_folders() {
    let bench = Bench::new();
    bench
        .run(
            "CREATE EXTERNAL TABLE parts (a INT, p TEXT) STORED AS PARQUET PARTITIONED BY (p)
         LOCATION '@/parts/'",
        )
        .await
        .unwrap();
    bench
        .run("INSERT INTO parts VALUES (1, 'x'), (2, NULL), (3, 'y')")
        .await
        .unwrap();
    bench
        .gives("SELECT a, p FROM parts ORDER BY a", "1 x; 2 NULL; 3 y")
        .await;
    bench
        .gives("SELECT count(*) FROM glob('@/parts/p=*/*')", "3")
        .await;
    // A file or a pattern can't hold more files.
    bench.write("one.csv", "a\n1\n");
    bench
        .run("CREATE EXTERNAL TABLE one STORED AS CSV LOCATION '@/one.csv'")
        .await
        .unwrap();
    bench
        .fails("INSERT INTO one VALUES (2)", &["one.csv", "a file"])
        .await;
    bench
        .run("CREATE EXTERNAL TABLE many STORED AS CSV LOCATION '@/*.csv'")
        .await
        .unwrap();
    bench
        .fails("INSERT INTO many VALUES (2)", &["*.csv", "a pattern"])
        .await;
}
