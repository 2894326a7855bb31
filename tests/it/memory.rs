//! `--memory-limit` is an upper bound for the memory of the whole process, for all kinds of export.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::program::program;
use crate::servers::{files_under, python};

const LIMIT_KILOBYTES: u64 = 256 << 10;

/// Runs the program with a memory limit of 256 MB, `options`, and its temporary files in `folder`.
/// Returns the peak resident memory in kilobytes.
fn peak_of(sql: &str, options: &[&str], folder: &Path) -> u64 {
    let mut process = program()
        .args(["--memory-limit", "256MB", "-q", "-c", sql])
        .args(options)
        .env("TMPDIR", folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (status, environment) = (
        format!("/proc/{}/status", process.id()),
        format!("/proc/{}/environ", process.id()),
    );
    let (mut peak, mut started_anew) = (0, false);
    loop {
        // VmHWM is the peak since the start, so only a peak after the last poll is missed.
        let seen = std::fs::read_to_string(&status).unwrap_or_default();
        let line = seen.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line {
            peak = kilobytes.trim().trim_end_matches(" kB").parse().unwrap();
        }
        let variables = std::fs::read(&environment).unwrap_or_default();
        let variables = String::from_utf8_lossy(&variables);
        started_anew |= ["MALLOC_MMAP_THRESHOLD_=", "MALLOC_ARENA_MAX="]
            .iter()
            .all(|setting| variables.contains(setting));
        if let Some(ended) = process.try_wait().unwrap() {
            assert!(ended.success(), "{sql}");
            assert!(started_anew, "the allocator was not set up");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_within_limit(sql: &str, folder: &Path, what: &str) {
    assert_within_limit_with(&[], sql, folder, what);
}

fn assert_within_limit_with(options: &[&str], sql: &str, folder: &Path, what: &str) {
    let peak = peak_of(sql, options, folder);
    assert!(
        peak <= LIMIT_KILOBYTES,
        "{what}: {peak} kB of {LIMIT_KILOBYTES}"
    );
}

#[test]
fn large_exports_stay_within_the_limit() {
    for options in [
        "FORMAT parquet",
        "FORMAT csv",
        "FORMAT parquet, SINGLE FILE",
        "FORMAT parquet, PARTITION BY (p)",
        "FORMAT csv, PARTITION BY (p)",
    ] {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("out").join("file");
        let sql = format!(
            "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest, value % 20 AS p,
                          concat('some text ', value) AS words
                   FROM generate_series(1, 4000000))
             TO '{}' ({options})",
            target.display()
        );
        assert_within_limit(&sql, folder.path(), options);
    }
}

/// In a first-come memory pool, the sort of one thread would leave the sorts of others no memory to
/// merge their spilled runs. With eight threads, the exchange that divides the rows of the one
/// source partition needs memory as well.
#[test]
fn queries_that_gather_rows_go_by_way_of_the_disk() {
    for threads in ["2", "8"] {
        gather_rows(&["--threads", threads]);
    }
}

fn gather_rows(threads: &[&str]) {
    let numbers: Vec<String> = (0..12).map(|i| format!("value * {i} AS n{i}")).collect();
    let rows = format!(
        "(SELECT value, md5(CAST(value AS VARCHAR)) AS digest, concat('some text ', value) AS words,
                 {} FROM generate_series(1, 2000000))",
        numbers.join(", ")
    );
    for query in [
        format!("SELECT * FROM {rows} ORDER BY digest, value"),
        format!("SELECT digest, count(*) AS n, max(words) AS words FROM {rows} GROUP BY digest"),
    ] {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("out");
        let sql = format!("COPY ({query}) TO '{}' (FORMAT csv)", target.display());
        assert_within_limit_with(threads, &sql, folder.path(), &query);
        let files = files_under(&target);
        let lines = |file: &String| std::fs::read_to_string(file).unwrap().lines().count();
        assert_eq!(files.iter().map(lines).sum::<usize>(), 2_000_000, "{query}");
        assert_within_limit_with(threads, &query, folder.path(), &query);
    }
}

/// In batches with the default number of rows, 400 text columns would take hundreds of megabytes.
#[test]
fn wide_rows_stay_within_the_limit() {
    let column = |i| format!("repeat(concat('c{i}-', v), 8) AS c{i}");
    let columns: Vec<String> = (0..400).map(column).collect();
    for format in ["parquet", "csv"] {
        let folder = TempDir::new().unwrap();
        let sql = format!(
            "COPY (SELECT {} FROM (SELECT CAST(value AS VARCHAR) AS v
                                   FROM generate_series(1, 20000)))
             TO '{}' (FORMAT {format})",
            columns.join(", "),
            folder.path().join("out").display()
        );
        assert_within_limit(&sql, folder.path(), format);
    }
}

/// Row groups are read side by side only if the limit has room for all of them.
#[test]
fn row_groups_of_many_columns_stay_within_the_limit() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wide.parquet").display().to_string();
    python("wide.py", &[&file, "250000", "40960"]);
    for (name, options) in [
        ("parquet", "FORMAT parquet, PASSTHROUGH 'off'"),
        ("csv", "FORMAT csv"),
    ] {
        for threads in ["2", "8"] {
            let target = folder.path().join(format!("{name}-{threads}"));
            let sql = format!(
                "COPY (SELECT * FROM '{file}') TO '{}' ({options}, SYNC false)",
                target.display()
            );
            let what = format!("{name}, {threads} threads");
            assert_within_limit_with(&["--threads", threads], &sql, folder.path(), &what);
        }
    }
}

/// A row group that the limit has no room for is refused before it is decoded. It can be moved.
#[test]
fn row_groups_without_room_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wide.parquet").display().to_string();
    python("wide.py", &[&file, "250000", "122880"]);
    let run = |sql: &str| {
        let mut run = program();
        let output = run.args(["--memory-limit", "256MB", "-c", sql]).output();
        let output = output.unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (_, error) = run(&format!("SELECT * FROM '{file}'"));
    for part in [
        "a row group of",
        "MB of memory to read",
        "raise the memory limit by",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    for few in ["count(*), max(c0), max(c2)", "max(c1), max(c4)"] {
        let (has_succeeded, error) = run(&format!("SELECT {few} FROM '{file}'"));
        assert!(has_succeeded, "{few}: {error}");
    }
    let target = folder.path().join("moved");
    let sql = format!(
        "COPY (SELECT * FROM '{file}') TO '{}' (FORMAT parquet)",
        target.display()
    );
    assert_within_limit(&sql, folder.path(), "moved");
}

/// Far more partition values than open files: most rows spill to disk.
#[test]
fn thousands_of_partitions_stay_within_the_limit() {
    const VALUES: usize = 20_000;
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("out");
    let sql = format!(
        "COPY (SELECT value, value % {VALUES} AS p, md5(CAST(value AS VARCHAR)) AS digest
               FROM generate_series(1, 2000000))
         TO '{}' (FORMAT csv, PARTITION BY (p))",
        target.display()
    );
    assert_within_limit(&sql, folder.path(), "thousands of partitions");

    let files = files_under(&target);
    let name = |file: &str| file.rsplit('/').next().unwrap().to_owned();
    let writer = |file: &String| name(file).split('-').nth(1).unwrap().to_owned();
    let writers: BTreeSet<String> = files.iter().map(writer).collect();
    assert!(
        files.len() <= VALUES * writers.len(),
        "{} files",
        files.len()
    );
    let mut rows = 0;
    for file in &files {
        let folder = Path::new(file).parent().unwrap().file_name().unwrap();
        let value: usize = folder
            .to_str()
            .unwrap()
            .strip_prefix("p=")
            .unwrap()
            .parse()
            .unwrap();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let number: usize = line.split(',').next().unwrap().parse().unwrap();
            assert_eq!(number % VALUES, value, "{file}");
            rows += 1;
        }
    }
    assert_eq!(rows, 2_000_000);
}
