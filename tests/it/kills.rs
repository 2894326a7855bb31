//! `kill -9` of the program at random moments of an export, then `RECOVER EXPORT`: all rows are
//! there or none, nothing is pending, and the same statement succeeds.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidegate::ErrorKind;

use crate::servers::embedded;

const KILLS: u32 = 200;
const ROWS: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn being_killed_is_recovered_from() {
    let server = embedded().await;
    let store = &server.store;
    let (_engine, session) = store.session().await;
    let copy = |target: &str| {
        format!(
            "COPY (SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, {ROWS}))
             TO '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '1MB')"
        )
    };
    let program = |target: &str| {
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args([
                "-q",
                "-c",
                &format!("{} {}", store.connection_sql(), copy(target)),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let started = Instant::now();
    assert!(program(&store.new_target()).wait().unwrap().success());
    let whole = started.elapsed();

    let [mut untouched, mut removed, mut completed, mut finished] = [0; 4];
    for kill in 0..KILLS {
        let target = store.new_target();
        let mut process = program(&target);
        // Spread over the whole export, and a little beyond.
        tokio::time::sleep(whole.mul_f64(f64::from(kill) * 1.1 / f64::from(KILLS))).await;
        process.kill().unwrap();
        process.wait().unwrap();
        // The server carries out what it was sent.
        tokio::time::sleep(Duration::from_millis(20)).await;

        let recover = format!("RECOVER EXPORT '{target}' WITH (AWS CONNECTION = c, FORCE = true)");
        let recovered = session.execute(&recover).await;
        let keys = store.keys(&target).await;
        let what = format!("kill {kill}: {recovered:?}, {keys:?}");
        assert_eq!(store.pending_uploads(&target).await, 0, "{what}");
        assert!(keys.iter().all(|key| !key.contains("_tidegate")), "{what}");
        let contents = store.contents(&target).await.concat();
        let rows = contents.iter().filter(|byte| **byte == b'\n').count();
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
            session.execute(&copy(&target)).await.unwrap();
        }
    }
    // The moments were well spread.
    assert!(removed > 10, "{untouched} {removed} {completed} {finished}");
    assert!(untouched + removed + completed + finished == KILLS);
}
