//! Random Parquet files of pyarrow, DuckDB and Polars are read and exported without a changed value.
//!
//! Invariant: every file is exported, its export has the same values, and every predicate finds as many
//! rows as the file was written with. `TIDEGATE_FILES_SEED` chooses the seeds, such as `7` or `0..5000`;
//! each is the name of its file in an error.

use tidegate::Engine;

use crate::servers::python;
use crate::texts::{seeds, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_files_keep_their_values() {
    let seeds = seeds("TIDEGATE_FILES_SEED", 0..60);
    let folder = tempfile::tempdir().unwrap();
    let exports = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let (first, end) = (seeds.start.to_string(), seeds.end.to_string());
    python("random_files.py", &["write", &path, &first, &end]);
    let session = Engine::builder().build().unwrap().session().unwrap();
    let queries = std::fs::read_to_string(folder.path().join("queries.tsv")).unwrap();
    let mut wrong = Vec::new();
    for query in queries.lines() {
        let [file, predicate, expected] = query.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{query}");
        };
        if predicate == "true" {
            let target = exports.path().join(file);
            let sql = format!(
                "COPY (SELECT * FROM '{path}/{file}') TO '{}' (FORMAT parquet)",
                target.display()
            );
            if let Err(error) = session.execute(&sql).await {
                wrong.push(format!("{file}: {error}"));
            }
        }
        // The sum reads the rows; a count of all rows would come from the footer.
        let sql = format!(
            "SELECT sum(CASE WHEN {predicate} THEN 1 ELSE 0 END), count(*) FILTER (WHERE {predicate}),
                    (SELECT count(*) FROM '{path}/{file}' WHERE {predicate})
             FROM '{path}/{file}'"
        );
        match session.execute(&sql).await {
            Ok(outcome) => {
                let mut found = texts(&outcome).remove(0);
                // The sum of no rows is NULL.
                if found[0] == "NULL" {
                    found[0] = "0".to_owned();
                }
                if found != [expected, expected, expected] {
                    wrong.push(format!("{file}: {predicate}: {expected}, not {found:?}"));
                }
            }
            Err(error) => wrong.push(format!("{file}: {predicate}: {error}")),
        }
    }
    let compared = python(
        "random_files.py",
        &["compare", &path, exports.path().to_str().unwrap()],
    );
    wrong.extend(compared.lines().map(str::to_owned));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
