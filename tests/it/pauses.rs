//! Pauses the program (`SIGSTOP`) at each request of an export until another export takes it for
//! dead, and lets it go on.
//!
//! Invariant: an export that said success has all its rows under the target, an export that said
//! failure has none, and nothing is pending.

use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::misbehaving::{Fault, MisbehavingServer};
use crate::program::program;
use crate::servers::TestStore;

const ROWS: usize = 2_000;

/// Exports `rows` numbers from `first`.
fn copy_sql(target: &str, mode: &str, options: &str, first: usize, rows: usize) -> String {
    let last = first + rows - 1;
    format!(
        "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest, value % 3 AS p
               FROM generate_series({first}, {last}))
         TO '{target}' (AWS CONNECTION c, FORMAT csv, MODE {mode}{options})"
    )
}

fn start(store: &TestStore, sql: &str) -> Child {
    let connection = store.connection_sql();
    program()
        .args(["-q", "-c", &format!("{connection} {sql}")])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(program: &Child, signal: Signal) {
    let pid = Pid::from_raw(program.id() as i32).unwrap();
    kill_process(pid, signal).unwrap();
}

/// How many rows of the export that begins with `first` are under the target.
async fn rows_from(store: &TestStore, target: &str, first: usize) -> usize {
    // Bookkeeping does not end with a line end.
    let contents = store.contents(target).await.join(&b'\n');
    let text = String::from_utf8(contents).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.split(',').next()?.parse().ok());
    values
        .filter(|value: &usize| (first..first + ROWS).contains(value))
        .count()
}

/// Pauses an export at its `n`-th request while another one runs.
async fn pause_at(
    server: &MisbehavingServer,
    n: usize,
    modes: [&str; 2],
    options: &str,
    rows: usize,
) -> bool {
    let store = &server.store;
    let (engine, session) = store.session().await;
    let target = store.new_target();
    let place = match options.contains("SINGLE FILE") {
        true => format!("{target}/single.csv"),
        false => target.clone(),
    };
    let held = server.hold_request(n);
    let mut paused = start(store, &copy_sql(&place, modes[0], options, 1, rows));
    let mut ended = false;
    while server.seen().len() < n && !ended {
        tokio::time::sleep(Duration::from_millis(2)).await;
        ended = paused.try_wait().unwrap().is_some();
    }
    if ended {
        return false;
    }
    signal(&paused, Signal::STOP);
    server.age_bookkeeping(&target);
    let other = copy_sql(&place, modes[1], options, 100_001, ROWS);
    let other = session.execute(&other).await;
    assert!(engine.shutdown(Duration::from_secs(60)).await);
    drop(held);
    tokio::time::sleep(Duration::from_millis(20)).await;
    signal(&paused, Signal::CONT);
    let output = paused.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    server.behave();

    let first_rows = rows_from(store, &target, 1).await;
    let other_rows = rows_from(store, &target, 100_001).await;
    let keys = store.keys(&target).await;
    let what = format!(
        "{modes:?}{options}, paused at request {n}: {}, {said}; the other: {other:?}; {keys:?}",
        output.status
    );
    // An overwrite that succeeded later replaces what was there.
    let replaces = |mode: &str, succeeded: bool| mode == "overwrite" && succeeded;
    match output.status.success() {
        true if replaces(modes[1], other.is_ok()) => {
            assert!(first_rows == rows || first_rows == 0, "{what}");
        }
        true => assert_eq!(first_rows, rows, "{what}"),
        // Another process ended it.
        false if said.contains("not known") => {
            assert!(first_rows == rows || first_rows == 0, "{what}");
        }
        false => assert_eq!(first_rows, 0, "{what}"),
    }
    // If the other export has finished the paused one, the paused one was the earlier.
    let was_finished = match &other {
        Ok(outcome) => {
            let mut notices = outcome
                .export()
                .into_iter()
                .flat_map(|report| &report.notices);
            notices.any(|notice| notice.contains("finished export"))
        }
        Err(_) => false,
    };
    match &other {
        Ok(_) if replaces(modes[0], output.status.success()) && !was_finished => {
            assert!(other_rows == ROWS || other_rows == 0, "{what}");
        }
        Ok(_) => assert_eq!(other_rows, ROWS, "{what}"),
        Err(_) => assert_eq!(other_rows, 0, "{what}"),
    }
    if rows > 0 {
        assert!(first_rows + other_rows > 0 || other.is_err(), "{what}");
    }
    // The next clean-up leaves nothing.
    let recover = format!("RECOVER EXPORT '{target}' (AWS CONNECTION c, FORCE)");
    let _ = session.execute(&recover).await;
    assert_eq!(store.pending_uploads(&target).await, 0, "{what}");
    let keys = store.keys(&target).await;
    assert!(!keys.iter().any(|key| key.contains("_tidegate")), "{what}");
    true
}

async fn pause_everywhere(modes: [&str; 2], options: &str) {
    pause_everywhere_with(modes, options, ROWS).await;
}

/// Pauses an export of `rows` rows at each of its requests.
async fn pause_everywhere_with(modes: [&str; 2], options: &str, rows: usize) {
    let server = MisbehavingServer::start().await;
    let mut n = 1;
    while pause_at(&server, n, modes, options, rows).await {
        n += 1;
    }
    assert!(n > 15, "{n} requests");
    server.fail_request(0, Fault::Hang);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_wakes_up_does_not_believe_that_it_succeeded() {
    pause_everywhere(["error", "error"], "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overwrite_that_wakes_up_deletes_nothing_of_another_export() {
    pause_everywhere(["overwrite", "overwrite"], "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_wakes_up_was_replaced_or_failed() {
    pause_everywhere(["append", "overwrite"], ", PARTITION BY (p)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_file_that_wakes_up_replaces_nothing() {
    pause_everywhere(["overwrite", "overwrite"], ", SINGLE FILE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_single_file_that_wakes_up_replaces_nothing() {
    pause_everywhere_with(["overwrite", "overwrite"], ", SINGLE FILE, HEADER false", 0).await;
}
