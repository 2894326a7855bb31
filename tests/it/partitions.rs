//! Conformance tests of partitioned exports, which every store must pass.

use crate::conformance::{copy, count, make_numbers};
use crate::servers::{TestStore, execute_all, read_back};

pub(crate) async fn rows_are_divided_by_partition_values(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 5000).await;
    for (format, options) in [
        ("csv", "PARTITION BY (flag)"),
        (
            "csv",
            "PARTITION BY flag, PARTITION COLUMNS keep, MAX OPEN FILES = 1",
        ),
        ("parquet", "PARTITION BY (flag, part), MAX OPEN FILES = 2"),
    ] {
        let target = store.new_target();
        let options = format!("FORMAT {format}, {options}");
        let source = "(SELECT id, flag, id % 3 AS part, words FROM numbers)";
        let tag = copy(&session, source, &target, &options).await.unwrap();
        assert_eq!(tag, "COPY 5000");
        let keys = store.keys(&target).await;
        if format == "parquet" {
            assert_eq!(keys.len(), 6, "{keys:?}");
            let folder = format!("{target}/flag=true/part=2");
            read_back(&session, "one_part", &folder, format, "").await;
            let wrong = "SELECT count(*) FROM one_part WHERE id % 7 <> 0 OR id % 3 <> 2";
            assert_eq!(count(&session, wrong).await, "0");
            let fields = session.execute("SELECT * FROM one_part").await.unwrap();
            assert_eq!(fields.schema().fields().len(), 2);
            continue;
        }
        let keep = options.contains("keep");
        assert_eq!(keys.len(), 2, "{keys:?}");
        for (value, expected) in [("true", 714), ("false", 4286)] {
            let folder = format!("{target}/flag={value}");
            let text = String::from_utf8(store.contents(&folder).await.concat()).unwrap();
            assert_eq!(text.lines().count(), expected);
            for line in text.lines() {
                let mut fields = line.split(',');
                let id: u32 = fields.next().unwrap().parse().unwrap();
                assert_eq!(id.is_multiple_of(7), value == "true", "{line}");
                if keep {
                    assert_eq!(fields.next(), Some(&value[..1]), "{line}");
                }
            }
        }
    }
    // A result without rows creates no folder.
    let target = store.new_target();
    let none = "(SELECT * FROM numbers WHERE id < 0)";
    copy(
        &session,
        none,
        &target,
        "FORMAT parquet, PARTITION BY (flag)",
    )
    .await
    .unwrap();
    assert_eq!(store.keys(&target).await, Vec::<String>::new());
}

pub(crate) async fn partition_values_name_folders_as_hive_does(store: &TestStore) {
    let (_engine, session) = store.session().await;
    for (value, folder) in [
        ("NULL::VARCHAR", "p=__HIVE_DEFAULT_PARTITION__"),
        ("''", "p="),
        ("'a/b=c%d'", "p=a%2Fb%3Dc%25d"),
        (
            "'__HIVE_DEFAULT_PARTITION__'",
            "p=%5F_HIVE_DEFAULT_PARTITION__",
        ),
        ("'naïve 東京'", "p=naïve 東京"),
        (
            "'a:b\"c''d#e?f*g[h]i{j'",
            "p=a%3Ab%22c%27d%23e%3Ff%2Ag%5Bh%5Di%7Bj",
        ),
        ("DATE '2024-02-29'", "p=2024-02-29"),
        (
            "TIMESTAMP '2024-02-29 01:02:03.5'",
            "p=2024-02-29 01%3A02%3A03.500",
        ),
        ("1.5::DOUBLE", "p=1.5"),
        ("'-Infinity'::DOUBLE", "p=-inf"),
        ("true", "p=true"),
        ("-7", "p=-7"),
        ("12.30::DECIMAL(10, 2)", "p=12.30"),
        ("arrow_cast('x', 'Dictionary(Int32, Utf8)')", "p=x"),
        ("arrow_cast('x', 'Utf8View')", "p=x"),
        ("decode('00ff', 'hex')", "p=00ff"),
    ] {
        let target = store.new_target();
        let source = format!("(SELECT 1 AS a, {value} AS p)");
        let copied = copy(&session, &source, &target, "FORMAT csv, PARTITION BY (p)").await;
        assert_eq!(copied.unwrap(), "COPY 1", "{value}");
        let keys = store.keys(&target).await;
        assert!(
            keys[0].contains(&format!("/{folder}/part-")),
            "{value}: {keys:?}"
        );
        assert_eq!(store.contents(&target).await, [b"1\n"]);
    }
    let long = "(SELECT 1 AS a, repeat('x', 300) AS p)";
    let target = store.new_target();
    let error = copy(&session, long, &target, "FORMAT csv, PARTITION BY (p)").await;
    let error = error.unwrap_err();
    assert!(
        error.message().contains("too long for a folder's name"),
        "{error}"
    );
    store.assert_untouched(&target).await;
}

pub(crate) async fn each_partition_keeps_the_order(store: &TestStore) {
    let (_engine, session) = store.session().await;
    make_numbers(&session, 20_000).await;
    for open_files in [64, 2] {
        for order in ["id DESC", "id % 5, id DESC"] {
            let target = store.new_target();
            let source = format!("(SELECT id, id % 5 AS p, words FROM numbers ORDER BY {order})");
            let options = format!("FORMAT csv, PARTITION BY (p), MAX OPEN FILES {open_files}");
            copy(&session, &source, &target, &options).await.unwrap();
            for p in 0..5 {
                let contents = store.contents(&format!("{target}/p={p}")).await.concat();
                let text = String::from_utf8(contents).unwrap();
                let first = |line: &str| line.split(',').next().unwrap().parse::<i64>().unwrap();
                let ids: Vec<i64> = text.lines().map(first).collect();
                let expected = (1..=20_000).rev().filter(|id| id % 5 == p);
                assert_eq!(ids, expected.collect::<Vec<_>>(), "{order}, {open_files}");
            }
        }
    }
}

/// Unsorted rows with far more partition values than open files: rows of values without an open
/// file are sorted, so the number of objects stays within `values × writers + size / MAX FILE
/// SIZE`.
pub(crate) async fn partitions_are_bounded_in_files(store: &TestStore) {
    let (_engine, session) = store.session().await;
    execute_all(&session, "SET datafusion.execution.target_partitions = 2").await;
    let target = store.new_target();
    let source = "(SELECT value, (value * 7919) % 300 AS p FROM generate_series(1, 60000))";
    let options = "FORMAT csv, PARTITION BY (p), MAX OPEN FILES 10";
    copy(&session, source, &target, options).await.unwrap();
    let keys = store.keys(&target).await;
    assert!((300..=600).contains(&keys.len()), "{}", keys.len());
    let contents = store.contents(&target).await.concat();
    let mut values: Vec<u32> = String::from_utf8(contents)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    values.sort_unstable();
    assert_eq!(values, (1..=60_000).collect::<Vec<_>>());
}
