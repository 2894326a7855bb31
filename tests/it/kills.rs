//! Kills the program (`kill -9`) at each request of an export, and at moments spread over an
//! export, then recovers.
//!
//! Invariant: after recovery, all rows or no rows are there and nothing is pending. If no rows are
//! there, the same statement succeeds.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tidegate::ErrorKind;

use crate::misbehaving::{Fault, MisbehavingServer};
use crate::program::program;
use crate::servers::{TestStore, embedded};

const KILLS: u32 = 200;
const ROWS: usize = 60_000;

/// Kinds of export, by their options.
const SHAPES: [&str; 3] = ["", ", PARTITION BY (p)", ", SINGLE FILE"];

fn copy_sql(folder: &str, mode: &str, shape: &str) -> String {
    let target = match shape {
        ", SINGLE FILE" => format!("{folder}/single.csv"),
        _ => folder.to_owned(),
    };
    format!(
        "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest, value % 3 AS p
               FROM generate_series(1, {ROWS}))
         TO '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '1MB', MODE {mode}{shape})"
    )
}

pub(crate) fn start_program(store: &TestStore, sql: &str) -> Child {
    let connection = match store.folder {
        Some(_) => String::new(),
        None => store.connection_sql(),
    };
    program()
        .args(["-q", "-c", &format!("{connection} {sql}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn rows_under(store: &TestStore, target: &str) -> usize {
    let contents = store.contents(target).await.concat();
    contents.iter().filter(|byte| **byte == b'\n').count()
}

/// Kills the program while its `n`-th request (from 1) is in flight.
async fn kill_at_request(server: &MisbehavingServer, n: usize, sql: &str, target: &str) {
    server.fail_request(n, Fault::Hang);
    let mut program = start_program(&server.store, sql);
    // It may need fewer requests than the time before: its writers divide the rows by chance.
    while server.seen().len() < n && program.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    program.kill().unwrap();
    program.wait().unwrap();
    wait_for_late_requests(&server.store, target).await;
    server.behave();
}

/// Kills the program while its `nth` completion of an upload (from 1) is in flight. The first one is
/// the decision to commit.
async fn kill_at_completion(server: &MisbehavingServer, nth: usize, sql: &str, target: &str) {
    const COMPLETION: &str = "CompleteMultipartUpload";
    server.fail_operations(&[(COMPLETION, nth, Fault::Hang)]);
    let mut program = start_program(&server.store, sql);
    let completions = || {
        let seen = server.seen();
        seen.iter().filter(|seen| **seen == COMPLETION).count()
    };
    while completions() < nth && program.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    program.kill().unwrap();
    program.wait().unwrap();
    wait_for_late_requests(&server.store, target).await;
    server.behave();
}

/// Waits until the server has finished the requests that it received: nothing under the target
/// changes any more.
async fn wait_for_late_requests(store: &TestStore, target: &str) {
    let look = || async {
        (
            store.keys(target).await,
            store.pending_uploads(target).await,
        )
    };
    let (mut before, mut quiet) = (look().await, 0);
    while quiet < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = look().await;
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

/// The program is killed while each of its requests is in flight. Once the bookkeeping is so old
/// that the export counts as dead, the same statement cleans up and succeeds; or it finishes the
/// killed export, and then finds the target not empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn being_killed_at_every_request_is_recovered_from() {
    let server = MisbehavingServer::start().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    for mode in ["error", "overwrite"] {
        server.fail_request(0, Fault::Hang);
        let mut whole = start_program(store, &copy_sql(&store.new_target(), mode, ""));
        assert!(whole.wait().unwrap().success());
        let requests = server.seen().len();

        let [mut again, mut recovered] = [0; 2];
        for n in 1..=requests {
            let target = store.new_target();
            let sql = copy_sql(&target, mode, "");
            kill_at_request(&server, n, &sql, &target).await;
            server.age_bookkeeping(&target);

            let what = format!("{mode}, killed at request {n} of {requests}");
            let keys = store.keys(&target).await;
            let committing = keys.iter().any(|key| key.ends_with("/COMMIT"));
            let data = keys.iter().filter(|key| !key.contains("_tidegate")).count();
            if !committing && data > 0 {
                // If there is data but no COMMIT, the export had finished, so all rows are there.
                assert_eq!(rows_under(store, &target).await, ROWS, "{what}: {keys:?}");
            }
            match session.execute(&sql).await {
                Ok(_) => again += 1,
                Err(error) => {
                    recovered += 1;
                    assert!(committing || data > 0, "{what}: {error}");
                    assert!(error.message().contains("is not empty"), "{what}: {error}");
                    let was_finished = error.hint().unwrap().contains("died while it committed");
                    assert_eq!(was_finished, committing, "{what}: {error}");
                }
            }
            assert_eq!(rows_under(store, &target).await, ROWS, "{what}");
            assert_eq!(store.pending_uploads(&target).await, 0, "{what}");
            let keys = store.keys(&target).await;
            assert!(
                keys.iter().all(|key| !key.contains("_tidegate")),
                "{what}: {keys:?}"
            );
        }
        assert!(again >= 8, "{mode}: {again} {recovered}");
        assert_eq!(recovered >= 3, mode == "error", "{mode}: {recovered}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_can_not_be_finished_is_removed_by_force() {
    let server = MisbehavingServer::start().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let sql = copy_sql(&target, "error", "");
    kill_at_completion(&server, 2, &sql, &target).await;
    server.age_bookkeeping(&target);
    // Abort the uploads that COMMIT names, as a lifecycle rule might.
    store.abort_uploads(&target).await;

    let recover = format!("RECOVER EXPORT '{target}' (AWS CONNECTION c");
    let error = session.execute(&format!("{recover})")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{error}");
    assert!(error.hint().unwrap().contains("FORCE = true"), "{error}");
    let forced = session.execute(&format!("{recover}, FORCE)")).await;
    forced.unwrap();
    store.assert_untouched(&target).await;
}

/// A decided export whose `COMMIT` is of another version is neither finished nor removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookkeeping_of_another_version_is_named_and_nothing_is_concluded() {
    let server = MisbehavingServer::start().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    let sql = |target: &str| copy_sql(target, "overwrite", "");
    for (name, change) in [
        ("COMMIT", r#"{"format":2,"#),
        ("ALIVE", r#"{"format":2,"#),
        ("INCOMPLETE", "{"),
    ] {
        let target = store.new_target();
        kill_at_completion(&server, 3, &sql(&target), &target).await;
        let keys = store.keys(&target).await;
        let key = keys.iter().find(|key| key.ends_with(name)).unwrap();
        let path = server.path_of(key);
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, written.replacen(r#"{"format":1,"#, change, 1)).unwrap();
        server.age_bookkeeping(&target);

        let recover = format!("RECOVER EXPORT '{target}' (AWS CONNECTION c)");
        for statement in [sql(&target), recover] {
            let error = session.execute(&statement).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{name}: {error}");
            let message = error.message();
            assert!(
                message.contains(&format!("/{name} was written by")),
                "{message}"
            );
        }
        let mut after = store.keys(&target).await;
        after.retain(|key| !key.ends_with("/PROBE"));
        assert_eq!(after, keys, "{name}");

        std::fs::write(&path, written).unwrap();
        server.age_bookkeeping(&target);
        let outcome = session.execute(&sql(&target)).await.unwrap();
        let notices = &outcome.export().unwrap().notices;
        assert!(
            notices[0].contains("died while it committed"),
            "{notices:?}"
        );
        assert_eq!(rows_under(store, &target).await, ROWS, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn being_killed_is_recovered_from() {
    let server = embedded().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    let program = |target: &str, shape| start_program(store, &copy_sql(target, "error", shape));
    let started = Instant::now();
    let mut undisturbed = program(&store.new_target(), "");
    assert!(undisturbed.wait().unwrap().success());
    let mut whole = started.elapsed();

    let [mut untouched, mut removed, mut completed, mut finished] = [0; 4];
    for kill in 0..KILLS {
        let target = store.new_target();
        let shape = SHAPES[kill as usize % SHAPES.len()];
        let mut process = program(&target, shape);
        // The kills are spread over the whole export, and a little beyond its end.
        tokio::time::sleep(whole.mul_f64(f64::from(kill) * 1.1 / f64::from(KILLS))).await;
        if process.try_wait().unwrap().is_some() {
            // The machine has become faster than it was when the whole export was timed.
            whole = whole.mul_f64(0.95);
        }
        process.kill().unwrap();
        process.wait().unwrap();
        wait_for_late_requests(store, &target).await;

        let recover = format!("RECOVER EXPORT '{target}' WITH (AWS CONNECTION = c, FORCE = true)");
        let recovered = session.execute(&recover).await;
        let keys = store.keys(&target).await;
        let what = format!("kill {kill}{shape}: {recovered:?}, {keys:?}");
        assert_eq!(store.pending_uploads(&target).await, 0, "{what}");
        assert!(keys.iter().all(|key| !key.contains("_tidegate")), "{what}");
        let rows = rows_under(store, &target).await;
        assert!(rows == 0 || rows == ROWS, "{rows} rows, {what}");
        match recovered {
            Ok(_) if rows == 0 => removed += 1,
            Ok(_) => completed += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UndefinedObject, "{what}");
                if rows == 0 {
                    untouched += 1;
                } else {
                    finished += 1;
                }
            }
        }
        if rows == 0 && kill % 10 == 0 {
            let again = copy_sql(&target, "error", shape);
            session.execute(&again).await.expect(&what);
        }
    }
    // Enough kills hit an unfinished export.
    assert!(removed > 10, "{untouched} {removed} {completed} {finished}");
    assert!(untouched + removed + completed + finished == KILLS);
}
