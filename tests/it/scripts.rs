//! Scripts: variables, commands, formats, errors, dry runs.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::program::program;
use crate::servers::embedded;

fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut process = program()
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    process.wait_with_output().unwrap()
}

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
    let script =
        "\\o rows.csv\n\\format csv\nSELECT 1 AS a;\n\\o\n\\format table\n\\x\nSELECT 2 AS b;\n";
    let output = run_in(folder.path(), &[], script);
    insta::assert_snapshot!("redirected", shown(&output));
    let rows = std::fs::read_to_string(folder.path().join("rows.csv")).unwrap();
    assert_eq!(rows, "a\n1\n");
}

/// A result that does not fit into memory goes through: it is printed as it comes.
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

    // What a COPY would refuse, the dry run refuses.
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

    // A dry run sees the catalog, and a target that is not empty.
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
