//! The program itself: exit statuses, error locations, the demo, termination by signals.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::misbehaving::MisbehavingServer;
use crate::servers::{self, TestStore, embedded};

/// The program with a catalog in memory: secrets and connections last only as long as it runs.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.env("TIDEGATE_CATALOG", ":memory:");
    command
}

/// Runs the program in a folder, with `input` on its standard input.
pub(crate) fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Output {
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

fn tidegate(arguments: &[&str], input: Option<&str>) -> Output {
    run_in(Path::new("."), arguments, input.unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn commands_and_files_run_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.sql");
    std::fs::write(&script, "CREATE TABLE b AS SELECT * FROM a;\n").unwrap();
    let output = tidegate(
        &[
            "-c",
            "CREATE TABLE a AS VALUES (1), (NULL)",
            "-f",
            script.to_str().unwrap(),
            "-c",
            "SELECT column1 AS n FROM b ORDER BY n",
        ],
        None,
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout), @r"
    CREATE TABLE
    CREATE TABLE
    +------+
    |    n |
    +------+
    |    1 |
    | NULL |
    +------+
    SELECT 2
    ");
}

#[test]
fn an_error_ends_the_script_and_names_its_place() {
    let output = tidegate(
        &[],
        Some("SELECT 1 AS one;\n\nSELECT *\n  FROM nowhere;\nSELECT 2 AS two;"),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("one"));
    assert!(!text(&output.stdout).contains("two"));
    assert!(
        text(&output.stderr).starts_with("<stdin>:4:8: "),
        "{}",
        text(&output.stderr)
    );

    let output = tidegate(&["-c", "SELECT 1;\nSELECT 'open"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("SELECT 1"));
    assert!(
        text(&output.stderr).starts_with("-c:2:8: "),
        "{}",
        text(&output.stderr)
    );

    let output = tidegate(
        &[
            "-c",
            "COPY (SELECT 1) TO 's3://b/x'\n  (AWS CONNECTION c, FROMAT csv)",
        ],
        None,
    );
    assert_eq!(
        text(&output.stderr),
        "-c:2:22: unknown option FROMAT of COPY\n2 |   (AWS CONNECTION c, FROMAT csv)\n  |                      ^\nhint: did you mean FORMAT?\n"
    );
}

#[test]
fn a_byte_order_mark_is_no_sql() {
    let output = tidegate(
        &["-q"],
        Some("\u{feff}SELECT 1 AS one;\r\nSELECT 2 AS two;\r\n"),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// With a small memory limit the program restarts itself. The new process must keep the arguments,
/// the standard input and the exit status.
#[test]
fn little_memory_changes_nothing_but_the_memory() {
    let arguments = [
        "--memory-limit",
        "256MB",
        "--format",
        "csv",
        "-v",
        "words=two 'words'",
    ];
    let output = tidegate(
        &arguments,
        Some("SELECT :'words' AS said;\nSELECT nothing;"),
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "said\ntwo 'words'\n");
    assert!(
        text(&output.stderr).starts_with("<stdin>:2:8: "),
        "{output:?}"
    );
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for arguments in [
        &["--nonsense"][..],
        &["-f", "/no/such/file"],
        &["--memory-limit", "1kB"],
    ] {
        assert_eq!(
            tidegate(arguments, None).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn the_demo_walks_through() {
    let output = tidegate(&["demo", "--scale", "0.01"], None);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for expected in [
        "CREATE SECRET",
        "VALIDATE CONNECTION",
        "COPY 60175",
        "s3://demo/csv/part-",
        "All three agree",
    ] {
        assert!(shown.contains(expected), "{expected} is missing in {shown}");
    }
    assert_eq!(
        tidegate(&["demo", "--scale", "0"], None).status.code(),
        Some(1)
    );
}

/// Starts the program with an export that runs far longer than any test.
fn start_long_export(store: &TestStore, target: &str) -> Child {
    let script = format!(
        "{} COPY (SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 100000000))
         TO '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '2MB')",
        store.connection_sql()
    );
    program()
        .args(["-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends the program a signal and waits until it has ended.
async fn stop(process: Child, signal: &str) -> Output {
    let pid = process.id().to_string();
    let kill = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(kill.unwrap().success());
    tokio::task::spawn_blocking(|| process.wait_with_output())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn being_terminated_leaves_nothing() {
    let server = embedded().await;
    let store = &server.store;
    for (signal, uploads, status) in [("TERM", 0, 143), ("INT", 3, 130), ("HUP", 1, 129)] {
        let target = store.new_target();
        let process = start_long_export(store, &target);
        while store.keys(&target).await.is_empty() || store.pending_uploads(&target).await < uploads
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let output = stop(process, signal).await;
        assert_eq!(output.status.code(), Some(status));
        assert_eq!(text(&output.stderr), "tidegate: cancelled\n");
        store.assert_untouched(&target).await;
    }
}

/// The program ends in time although the store hangs, and names the uploads that may be left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hanging_store_did_not_confirm_is_named() {
    let mut server = MisbehavingServer::start().await;
    // For the session below. The program uses the default policy, with longer deadlines.
    server.store.retry = servers::quick_retry();
    let store = &server.store;
    let target = store.new_target();
    let process = start_long_export(store, &target);
    while store.pending_uploads(&target).await < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.hang_all();
    let interrupted = std::time::Instant::now();
    let output = stop(process, "INT").await;
    // Far less than the deadline of any request of the program.
    assert!(interrupted.elapsed() < Duration::from_secs(15));
    server.behave();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130));
    assert!(
        said.starts_with("tidegate: cancelled\nthe store did not confirm"),
        "{said}"
    );
    assert!(
        said.contains("left: upload ") && said.contains(&target),
        "{said}"
    );
    let recover = said
        .lines()
        .find_map(|line| line.strip_prefix("hint: "))
        .unwrap();
    let (_engine, session) = store.session().await;
    session
        .execute(&recover.replace(" = c)", " = c, FORCE)"))
        .await
        .unwrap();
    store.assert_untouched(&target).await;
}

#[test]
fn the_s3_server_serves_a_folder_on_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let output = tidegate(&["s3", "--root", root, "--listen", "0.0.0.0:0"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(Path::new(root).exists());
}
