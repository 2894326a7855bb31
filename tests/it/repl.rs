//! The interactive shell, as a person at a terminal sees it.

use std::time::{Duration, Instant};

use crate::servers::embedded;
use crate::terminal::{CTRL_C, CTRL_D, ENTER, PROMPT, TAB, Terminal, UP};

/// The text on the screen, without trailing blanks and empty lines at the end. `…` replaces the
/// execution times.
fn shown(screen: &str) -> String {
    let lines = screen.lines().map(|line| match line.split_once(" · ") {
        Some((rows, time)) if time.contains(" ms") || time.contains(" s") => {
            format!("{rows} · …{}", if rows.starts_with('(') { ")" } else { "" })
        }
        _ => line.to_owned(),
    });
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}

#[test]
fn results_errors_and_help_are_for_people() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    insta::assert_snapshot!(
        "select",
        shown(
            &terminal.run(
                "CREATE TABLE t AS VALUES (1, 'one', true), (20, NULL, false); SELECT * FROM t;"
            )
        )
    );
    insta::assert_snapshot!(
        "caret",
        shown(&terminal.run("SELECT column1,\tcolum2 FROM t;"))
    );
    insta::assert_snapshot!(
        "did_you_mean_table",
        shown(&terminal.run("SELECT * FROM tt;"))
    );
    insta::assert_snapshot!("did_you_mean_statement", shown(&terminal.run("SELCT 1;")));
    insta::assert_snapshot!("unknown_command", shown(&terminal.run("\\timming")));
    insta::assert_snapshot!("expanded", shown(&terminal.run("SELECT * FROM t \\gx")));
    insta::assert_snapshot!("describe", shown(&terminal.run("\\d t")));
    insta::assert_snapshot!("tables", shown(&terminal.run("\\d")));
    insta::assert_snapshot!("help_recover", shown(&terminal.run("\\h recover")));
    insta::assert_snapshot!("commands", shown(&terminal.run("\\?")));
    insta::assert_snapshot!("explain", shown(&terminal.run("EXPLAIN SELECT 1 AS one;")));
    terminal.quit();
}

#[test]
fn a_statement_may_have_many_lines() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    terminal.clear();
    for (line, prompt) in [
        ("SELECT (1", "       (> "),
        (") AS a, 'b", "       '> "),
        ("c' AS b -- ;", "       -> "),
        ("/* ;", "       *> "),
        ("*/ , \"", "       \"> "),
    ] {
        terminal.send(&format!("{line}{ENTER}"));
        terminal.wait_until(prompt, |screen| {
            let last = screen.lines().rfind(|line| !line.trim().is_empty());
            last.is_some_and(|last| last.trim_end() == prompt.trim_end())
        });
    }
    // Discard the typed lines.
    terminal.give_up();
    let screen = terminal.run("SELECT 'still here' AS\nanswer;");
    assert!(screen.contains("still here"), "{screen}");
    terminal.send(CTRL_D);
    assert!(terminal.wait().success());
}

#[test]
fn an_error_ends_a_statement_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    let screen = terminal.run("SELECT nothing; SELECT 'went on' AS t;");
    assert!(
        screen.contains("No field named nothing") && screen.contains("| went on |"),
        "{screen}"
    );
    let screen = terminal.run("\\gx");
    assert!(
        screen.contains("t | went on"),
        "the last statement again: {screen}"
    );
    let screen = terminal.run("\\timing");
    assert!(screen.contains("timing is off"), "{screen}");
    terminal.send(&format!("exit{ENTER}"));
    assert!(terminal.wait().success());
}

#[test]
fn history_lasts_and_knows_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    terminal.run("SELECT 'remembered' AS a;");
    terminal.run("CREATE SECRET s AS 'hunter2';");
    terminal.run("CRAETE SECERT s2 AS 'hunter2';");
    terminal.run("\\set key 'hunter2'");
    terminal.run("SELECT 2;\nCREATE SECRET s3 AS\n$$hunter2$$;");
    terminal
        .run("CREATE CONNECTION c TO AWS (ACCESS KEY ID = 'a', SECRET ACCESS KEY = 'hunter2');");
    terminal.quit();
    let kept = std::fs::read_to_string(home.path().join("history")).unwrap();
    assert!(kept.contains("remembered"), "{kept}");
    assert!(!kept.contains("hunter2"), "{kept}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(home.path().join("history"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let terminal = Terminal::start(home.path(), &[]);
    terminal.clear();
    terminal.send(&format!("{UP}{UP}{UP}"));
    let screen = terminal.wait_for("SELECT 'remembered' AS a;");
    assert!(!screen.contains("hunter2"), "{screen}");
    terminal.send(ENTER);
    terminal.wait_for("(1 row");
    terminal.quit();
}

#[test]
fn tab_knows_the_statements_and_what_there_is() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("exports")).unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    terminal.run("CREATE TABLE lineitem AS SELECT 1 AS l_orderkey, 2 AS l_partkey;");
    terminal.run("CREATE SECRET only_secret AS 'x';");
    terminal.run(
        "CREATE CONNECTION only_connection TO AWS \
         (ACCESS KEY ID 'a', SECRET ACCESS KEY SECRET only_secret);",
    );
    for (typed, completed) in [
        ("COPY line", "COPY lineitem"),
        (
            "copy lineitem to 's3://b/x' with (aws con",
            "with (aws connection ",
        ),
        (
            "COPY lineitem TO 's3://b/x' (AWS CONNECTION = ",
            "= only_connection",
        ),
        ("COPY lineitem TO 's3://b/x' (FORMAT = pa", "= 'parquet'"),
        (
            "COPY lineitem TO 's3://b/x' (FORMAT 'pa",
            "FORMAT 'parquet'",
        ),
        ("COPY lineitem TO 'exp", "'exports/"),
        (
            "CREATE CONNECTION x TO AWS (SECRET ACCESS KEY = SECRET ",
            "SECRET only_secret",
        ),
        ("DROP SECRET only", "DROP SECRET only_secret"),
        ("SELECT l_order", "SELECT l_orderkey"),
        ("SELECT * FROM lineitem WHERE l_part", "WHERE l_partkey"),
        ("SELECT date_tru", "date_trunc("),
        ("SELECT * FROM read_p", "read_parquet("),
        (
            "SELECT * FROM read_parquet('s3://b/x', aws_connection => '",
            "=> 'only_connection'",
        ),
        ("CREATE CONNECTION x TO ", "x TO AWS ("),
        ("SHOW CREATE C", "SHOW CREATE CONNECTION"),
        ("\\d line", "\\d lineitem"),
        ("VALID", "VALIDATE CONNECTION"),
        ("\\h CREATE S", "\\h CREATE SECRET"),
        ("\\timi", "\\timing"),
    ] {
        terminal.clear();
        terminal.send(&format!("{typed}{TAB}"));
        terminal.wait_for(completed);
        terminal.give_up();
    }
    // Completion takes the earlier lines of a statement into account.
    terminal.clear();
    terminal.send(&format!("CREATE CONNECTION x TO AWS ({ENTER}"));
    terminal.wait_for("(>");
    terminal.send(&format!("REG{TAB}"));
    terminal.wait_for("REGION");
    terminal.give_up();
    // Several candidates are listed.
    terminal.clear();
    terminal.send(&format!("COPY lineitem TO 's3://b/x' (MO{TAB}"));
    terminal.wait_for("MODE ");
    terminal.send(&format!("= {TAB}{TAB}"));
    let screen = terminal.wait_for("'overwrite'");
    assert!(
        screen.contains("'append'") && screen.contains("'error'"),
        "{screen}"
    );
    terminal.give_up();
    terminal.quit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_cancels_the_export_and_nothing_else() {
    let server = embedded().await;
    let store = &server.store;
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    terminal.run(&store.connection_sql());
    let target = store.new_target();
    terminal.clear();
    terminal.send(&format!(
        "COPY (SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 100000000)) TO \
         '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '2MB');{ENTER}"
    ));
    // The progress line.
    let screen = terminal.wait_until("progress", |screen| {
        screen.contains(" rows · ") && screen.contains("/s · ")
    });
    assert!(screen.contains("in flight"), "{screen}");
    let interrupted = Instant::now();
    terminal.send(CTRL_C);
    let screen = terminal.wait_for("error: the export was cancelled");
    assert!(interrupted.elapsed() < Duration::from_secs(5));
    assert!(!screen.contains("/s · "), "the line is gone: {screen}");
    store.assert_untouched(&target).await;
    let target = store.new_target();
    let screen = terminal.run(&format!(
        "COPY (SELECT value FROM generate_series(1, 1000)) TO '{target}' \
         (AWS CONNECTION c, FORMAT parquet);"
    ));
    assert!(screen.contains("COPY 1,000 rows · 1 object · "), "{screen}");
    terminal.quit();
}

#[test]
fn tables_fit_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    let wide = "SELECT 1 AS a, repeat('x', 90) AS b, 'short' AS c;";
    let fits = |screen: &str, columns: usize| {
        let table: Vec<&str> = screen
            .lines()
            .filter(|line| line.starts_with(['+', '|']))
            .collect();
        assert_eq!(table.len(), 5, "{screen}");
        assert!(
            table.iter().all(|line| line.chars().count() <= columns),
            "{screen}"
        );
    };
    let screen = terminal.run(wide);
    fits(&screen, 100);
    assert!(screen.contains('…'), "{screen}");
    terminal.resize(40, 60);
    fits(&terminal.run(wide), 60);
    let screen = terminal.run(
        "SELECT 1 AS a1, 2 AS a2, 3 AS a3, 4 AS a4, 5 AS a5, 6 AS a6, 7 AS a7, \
         8 AS a8, 9 AS a9, 10 AS a10, 11 AS a11, 12 AS a12, 13 AS a13, 14 AS a14;",
    );
    fits(&screen, 60);
    assert!(screen.contains("of 14 columns fit here"), "{screen}");
    terminal.run("\\x auto");
    let screen = terminal.run(wide);
    assert!(screen.contains("-[ row 1 ]"), "{screen}");
    terminal.quit();
}

#[test]
fn long_results_are_cut_with_a_note() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    let screen = terminal.run("SELECT value FROM generate_series(1, 100000000);");
    assert!(
        screen.contains("(the first 100 rows; there are more"),
        "{screen}"
    );
    terminal.run("\\maxrows all");
    let screen = terminal.run("SELECT value FROM generate_series(1, 20000);");
    assert!(screen.contains("| 20000 |"), "{screen}");
    assert!(screen.contains("(20,000 rows"), "{screen}");
    terminal.quit();
}

#[test]
fn a_script_of_ten_thousand_lines_can_be_pasted() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &["--quiet"]);
    terminal.run("CREATE TABLE t (a BIGINT);");
    let mut script = String::new();
    for line in 0..10_000 / 4 {
        script.push_str(&format!("INSERT INTO t\nSELECT {line}\n-- ';\n;\n"));
    }
    terminal.clear();
    terminal.send("\x1b[200~");
    terminal.send(&script);
    terminal.send(&format!("\x1b[201~{ENTER}"));
    terminal.send(&format!("\\echo done{ENTER}"));
    terminal.wait_until("its end", |screen| {
        screen.lines().any(|line| line.trim() == "done")
    });
    let screen = terminal.run("SELECT count(*) AS n, sum(a) AS s FROM t;");
    assert!(screen.contains("| 2500 | 3123750 |"), "{screen}");
    terminal.quit();
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let home = tempfile::tempdir().unwrap();
    let colour = b"\x1b[1;34mSELECT\x1b[0m";
    let is_coloured = |terminal: &Terminal| {
        terminal.run("SELECT 1;");
        let bytes = terminal.bytes();
        bytes.windows(colour.len()).any(|at| at == colour)
    };
    let terminal = Terminal::start_with(home.path(), &[], &[]);
    assert!(is_coloured(&terminal));
    terminal.quit();
    let terminal = Terminal::start_with(home.path(), &[], &[("NO_COLOR", "1")]);
    assert!(!is_coloured(&terminal));
    terminal.quit();
    let terminal = Terminal::start_with(home.path(), &["--color", "never"], &[]);
    assert!(!is_coloured(&terminal));
    terminal.quit();
}

#[test]
fn a_secret_is_asked_for_without_an_echo() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    terminal.clear();
    terminal.send(&format!("CREATE SECRET s FROM PROMPT;{ENTER}"));
    terminal.wait_for("secret");
    terminal.wait_until("the question", |screen| screen.contains(": "));
    terminal.send(&format!("hunter2{ENTER}"));
    terminal.wait_until("a prompt", |screen| {
        screen.matches(PROMPT.trim_end()).count() >= 2
    });
    let screen = terminal.run("SHOW SECRETS;");
    assert!(screen.contains("| s "), "{screen}");
    let bytes = terminal.bytes();
    assert!(!bytes.windows(7).any(|at| at == b"hunter2"));
    terminal.quit();
}

#[test]
fn being_terminated_gives_the_terminal_back() {
    let home = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(home.path(), &[]);
    let process = terminal.process_id().to_string();
    let kill = std::process::Command::new("kill").arg(process).status();
    assert!(kill.unwrap().success());
    assert_eq!(terminal.wait().code(), Some(143));
}
