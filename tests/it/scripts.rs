//! Scripts: variables, commands, formats, errors, dry runs.

use std::path::Path;
use std::process::{Output, Stdio};

use crate::program::{program, run_in};
use crate::servers::embedded;

fn run(arguments: &[&str], input: &str) -> Output {
    run_in(Path::new("."), arguments, input)
}

/// Standard output, standard error and the exit status, as a snapshot.
fn shown(output: &Output) -> String {
    format!(
        "{}---\n{}---\nexit status {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap()
    )
}

#[test]
fn variables_are_put_in_as_psql_does() {
    let arguments = [
        "-v",
        "table=odd names",
        "-v",
        "who=O'Hara",
        "-v",
        "n=2",
        "--format",
        "csv",
    ];
    let script = r#"
CREATE TABLE :"table" AS VALUES (1), (:n);
SELECT count(*) AS rows, :'who' AS who, :n * 2 AS twice, ':n' AS quoted, '1'::int AS cast_ FROM :"table";
\set n 40 2
\echo n is :n and :'who' :{?n} :{?nothing}
SELECT :n;
\unset n
SELECT :n;
"#;
    insta::assert_snapshot!("variables", shown(&run(&arguments, script)));
    let output = run(&["-v", "no-name=1", "-c", "SELECT 1"], "");
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["-v", "noequals", "-c", "SELECT 1"], "");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn conditions_and_results_steer_a_script() {
    let script = r#"
SELECT 2 AS n, 'O''Hara' AS who, NULL AS nothing, true AS yes \gset my_
\echo :my_n :my_who :{?my_nothing}
\if :my_yes
SELECT :my_n + 1 AS next;
\if false
SELECT nonsense;
\gset
\elif nonsense_that_is_evaluated
\else
\endif
\else
\i /nowhere.sql
\endif
SELECT 1 AS a, 'x' AS b \gdesc
\! echo from the system
SELECT 1 AS a UNION ALL SELECT 2 \gset
"#;
    let arguments = ["--format", "csv", "-v", "ON_ERROR_STOP=off"];
    insta::assert_snapshot!("conditions", shown(&run(&arguments, script)));
    let output = run(&["--quiet"], "\\if true\nSELECT 1;\n");
    assert_eq!(output.status.code(), Some(1));
    let output = run(&["--format", "csv"], "\\if maybe\nSELECT 1;\n\\endif\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn an_error_names_the_place_in_the_script_as_it_was_written() {
    let script = "\\set long 'a, b, c'\nSELECT 1 AS one;\nSELECT :long,\n       :long, nothing\nFROM \
                  (VALUES (1, 2, 3)) AS t (a, b, c);\nSELECT 2;\n";
    insta::assert_snapshot!("place", shown(&run(&["--quiet"], script)));
}

#[test]
fn scripts_include_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    write(
        "main.sql",
        "\\echo main\n\\i sub/first.sql\nSELECT * FROM t;\n",
    );
    write(
        "sub/first.sql",
        "\\ir second.sql\nCREATE TABLE t AS SELECT :'x' AS x;\n",
    );
    write("sub/second.sql", "\\set x 'from the second'\n");
    write("bad.sql", "\\i sub/broken.sql\n\\echo never\n");
    write("sub/broken.sql", "\n  SELECT 1 +;\n");
    write("endless.sql", "\\i endless.sql\n");
    let run = |file: &str| run_in(folder.path(), &["-f", file], "");
    insta::assert_snapshot!("include", shown(&run("main.sql")));
    insta::assert_snapshot!("include_broken", shown(&run("bad.sql")));
    insta::assert_snapshot!("include_endless", shown(&run("endless.sql")));
    insta::assert_snapshot!(
        "include_missing",
        shown(&run_in(folder.path(), &[], "\\i nowhere.sql\n"))
    );
}

#[test]
fn a_script_goes_on_after_errors_if_it_is_told_to() {
    let script = "\\set ON_ERROR_STOP off\nSELECT nothing;\n\\nonsense\nSELECT 'on' AS went;\n\
                  \\set ON_ERROR_STOP on\nSELECT nothing;\nSELECT 'never' AS went;\n";
    insta::assert_snapshot!("on_error_stop", shown(&run(&["--format", "csv"], script)));
}

#[test]
fn rows_are_printed_in_every_format() {
    let script = "SELECT * FROM (VALUES (1, 'a|b', 1.5, true, [1, 2]), (-20, NULL, 2.25, false, NULL)) \
                  AS t (id, \"some text\", price, ok, list) ORDER BY id DESC;\n\
                  SELECT 'two' || chr(10) || 'lines' AS t, chr(27) || '[31m' AS red WHERE true;\n\
                  SELECT 1 AS none WHERE false;\n\
                  CREATE TABLE t (a INT);\n";
    for format in [
        "table", "csv", "tsv", "json", "ndjson", "markdown", "vertical", "none",
    ] {
        let output = run(&["--format", format], script);
        insta::assert_snapshot!(format!("format_{format}"), shown(&output));
    }
    assert_eq!(run(&["--format", "xml"], "").status.code(), Some(2));
}

#[test]
fn results_go_where_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let script = "\\o rows.csv\n\\format csv\n\\echo not a result\nSELECT 1 AS a;\n\\o\n\\format table\n\\x\nSELECT 2 AS b;\n";
    let output = run_in(folder.path(), &[], script);
    insta::assert_snapshot!("redirected", shown(&output));
    let rows = std::fs::read_to_string(folder.path().join("rows.csv")).unwrap();
    assert_eq!(rows, "a\n1\n");
}

/// An error does not show the text around the failing statement, because it may contain a secret.
#[test]
fn an_error_shows_its_own_statement_only() {
    for script in [
        "CREATE SECRET s AS 'hunter2'; SELECT * FROM nosuch;",
        "CREATE SECRET s AS\n'hunter2'; SELECT nosuch;",
        "CREATE SECRET s AS 'hunter2' \\nonsense",
        "CREATE SECRET s AS 'hunter2' SELECT 1;",
        "\\set no-name 'hunter2'",
        "'hunter2'; SELECT 1;",
        "CREATE CONNECTION c TO AWS (ENDPOINT = 'https://k:hunter2@h', CREDENTIAL CHAIN = true);",
        "COPY (SELECT 1) TO 's3://b/x' STORED AS PARQUET OPTIONS ('aws.secret_access_key' 'hunter2')",
    ] {
        let output = run(&[], script);
        assert_eq!(output.status.code(), Some(1), "{script}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("hunter2"), "{script}: {said}");
    }
    let output = run(&[], "SELECT 1; SELECT * FROM nosuch; SELECT 2;");
    insta::assert_snapshot!("own_statement", shown(&output));
}

#[test]
fn leaving_ends_the_script_it_stands_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.sql"), "\\echo a\n\\q\n\\echo never\n").unwrap();
    std::fs::write(folder.path().join("b.sql"), "\\i a.sql\n\\echo b\n").unwrap();
    let output = run_in(folder.path(), &["-f", "a.sql", "-f", "b.sql"], "");
    assert_eq!(shown(&output), "a\na\nb\n---\n---\nexit status 0");
}

#[test]
fn what_a_command_can_not_do_it_says() {
    for (script, expected) in [
        (
            "\\o /no/such/folder/x\nSELECT 1;",
            "can't write /no/such/folder/x",
        ),
        ("\\o | cat", "writes to files only"),
        ("SELECT 1 \\g out.txt", "takes nothing"),
        ("\\timing on off", "takes no more"),
        ("\\timing perhaps", "on or off"),
        ("\\d nosuch", "nosuch"),
        ("\\i", "needs an argument"),
    ] {
        let output = run(&[], script);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{script}");
        assert!(
            said.starts_with("<stdin>:1:") && said.contains(expected),
            "{script}: {said}"
        );
    }
}

/// Waits until a process has used half a second of processor time, far more than its start takes.
fn wait_until_busy(process: u32) {
    const TICKS: u64 = 50;
    loop {
        // The fields after the name, which stands in parentheses: utime is the 14th of all.
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        if fields[11].parse::<u64>().unwrap() >= TICKS {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Some joins occupy every thread without ever yielding, so they can't be cancelled.
#[test]
fn a_signal_ends_the_program_whatever_it_does() {
    let process = program()
        .args([
            "-c",
            "SELECT count(*) FROM generate_series(1, 10000000) AS a (x), \
               generate_series(1, 100000) AS b (y) WHERE a.x > b.y",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_busy(process.id());
    let kill = std::process::Command::new("kill")
        .arg(process.id().to_string())
        .status();
    assert!(kill.unwrap().success());
    let killed = std::time::Instant::now();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert!(killed.elapsed() < std::time::Duration::from_secs(10));
}

/// The first rows determine the column widths of a table. Longer values in later rows are not cut.
#[test]
fn a_long_table_loses_nothing() {
    let script = "SELECT value, CASE WHEN value < 90000 THEN 'short' ELSE 'much longer' END AS t \
                  FROM generate_series(1, 1100000)";
    let output = run(&["-c", script], "");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("| 1100000 | much longer |"),
        "{}",
        &printed[printed.len() - 300..]
    );
}

/// Results are streamed, so a result that does not fit into memory can be printed. If the reader
/// closes the pipe, the program ends with the exit status for SIGPIPE.
#[test]
fn whoever_reads_the_results_may_stop() {
    let mut process = program()
        .args([
            "--format",
            "csv",
            "-c",
            "SELECT value FROM generate_series(1, 1000000000)",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 12];
    std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"value\n1\n2\n3\n");
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_not_among_the_results() {
    let server = embedded().await;
    let store = &server.store;
    let target = store.new_target();
    let script = format!(
        "{} COPY (SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 3000000))
         TO '{target}' (AWS CONNECTION c, FORMAT csv)",
        store.connection_sql()
    );
    let output = run(&["--progress", "always", "-c", &script], "");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.ends_with("COPY 3000000\n"), "{printed}");
    assert!(!printed.contains('·'), "{printed}");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_checks_everything_and_changes_nothing() {
    let server = embedded().await;
    let store = &server.store;
    let home = tempfile::tempdir().unwrap();
    let catalog = home.path().join("catalog.db");
    let catalog = ["--catalog", catalog.to_str().unwrap()];
    let key = home.path().join("key");
    let key = ["--key-file", key.to_str().unwrap()];
    let run = |arguments: &[&str], script: &str| {
        let all = [&catalog, &key, arguments].concat();
        run_in(home.path(), &all, script)
    };
    let target = store.new_target();
    let script = |query: &str, format: &str| {
        format!(
            "{}
             CREATE TABLE t AS SELECT value AS a, value % 3 AS b FROM generate_series(1, 10);
             INSERT INTO t VALUES (1, 2);
             VALIDATE CONNECTION c;
             VALIDATE CONNECTION c FOR '{target}';
             COPY ({query}) TO '{target}' WITH (AWS CONNECTION = c, FORMAT = {format});
             EXPLAIN ANALYZE COPY t TO '{target}' WITH (AWS CONNECTION = c, FORMAT = csv);
             COPY t TO 'local.parquet' WITH (FORMAT = parquet);
             SELECT a FROM t;",
            store.connection_sql()
        )
    };
    let output = run(
        &["--dry-run"],
        &script("SELECT a, b FROM t ORDER BY a", "parquet"),
    );
    let printed = shown(&output).replace(&target, "TARGET");
    insta::assert_snapshot!(
        "dry_run",
        printed.replace(home.path().to_str().unwrap(), "HOME")
    );
    store.assert_untouched(&target).await;
    assert!(!home.path().join("catalog.db").exists());
    assert!(!home.path().join("local.parquet").exists());

    // A dry run fails where the COPY would fail.
    for (query, format, expected) in [
        ("SELECT nothing FROM t", "parquet", "nothing"),
        (
            "SELECT INTERVAL '1 month' AS d",
            "parquet",
            "cannot encode the following columns",
        ),
        ("SELECT 1", "xml", "unknown FORMAT: xml"),
    ] {
        let output = run(&["--dry-run"], &script(query, format));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(expected), "{said}");
    }

    // Commands and prepared statements do not write in a dry run.
    std::fs::write(home.path().join("kept.txt"), "kept").unwrap();
    std::fs::create_dir(home.path().join("e")).unwrap();
    let output = run(
        &["--dry-run"],
        "\\o kept.txt\nCREATE EXTERNAL TABLE e (a BIGINT) STORED AS CSV LOCATION 'e/';
         PREPARE p AS INSERT INTO e VALUES (7); EXECUTE p;",
    );
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(
        std::fs::read_to_string(home.path().join("kept.txt")).unwrap(),
        "kept"
    );
    assert_eq!(std::fs::read_dir(home.path().join("e")).unwrap().count(), 0);

    // A dry run reads the catalog, and detects a target that is not empty.
    let setup = format!(
        "{} COPY (SELECT 1 AS a) TO '{target}' WITH (AWS CONNECTION = c, FORMAT = csv);",
        store.connection_sql()
    );
    assert!(run(&[], &setup).status.success());
    let before = std::fs::read(home.path().join("catalog.db")).unwrap();
    let copy = format!("COPY (SELECT 1 AS a) TO '{target}' WITH (AWS CONNECTION = c, FORMAT = csv");
    let output = run(&["--dry-run"], &format!("{copy});"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is not empty"), "{said}");
    let output = run(
        &["--dry-run"],
        &format!("{copy}, MODE = append); DROP CONNECTION c;"),
    );
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(
        std::fs::read(home.path().join("catalog.db")).unwrap(),
        before
    );
}

#[test]
fn the_program_documents_itself() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell], "");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("tidegate") && text.contains("dry-run"),
            "{text}"
        );
    }
    let output = run(&["man"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(".ie") || text.contains(".TH tidegate"),
        "{text}"
    );
}
