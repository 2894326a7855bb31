//! Runs every SQL block of the documentation, and checks its links.

use std::path::{Path, PathBuf};

use tidegate::Session;

use crate::servers::{Embedded, embedded, execute_all};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README, and every page of `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in ["docs", "docs/statements"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The code blocks in a language, each with the number of its first line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut current {
            Some(_) if line == "```" => found.extend(current.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line == format!("```{language}") => current = Some((number + 2, String::new())),
            None => {}
        }
    }
    assert!(current.is_none(), "a block has no end");
    found
}

/// Replaces the endpoint, the credentials and the bucket in a block with this test's.
fn on_this_store(sql: &str, server: &Embedded, bucket: &str) -> String {
    let store = &server.store;
    sql.replace("http://127.0.0.1:9000", &store.endpoint)
        .replace("'tidegate-secret'", &format!("'{}'", store.secret))
        .replace(
            "ACCESS KEY ID = 'tidegate'",
            &format!("ACCESS KEY ID = '{}'", store.key),
        )
        .replace("'<SECRET_ACCESS_KEY>'", &format!("'{}'", store.secret))
        .replace(
            "ACCESS KEY ID = '<ACCESS_KEY_ID>'",
            &format!(
                "ENDPOINT = '{}', ACCESS KEY ID = '{}'",
                store.endpoint, store.key
            ),
        )
        .replace("s3://lake", bucket)
}

async fn run(session: &Session, sql: &str, place: &str) {
    for statement in session.split_script(sql).unwrap().statements {
        let line = statement.location().line;
        let started = session.start_statement(statement).await;
        let done = match started {
            Ok(execution) => execution.collect().await.map(drop),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {}
            // There is nothing to recover here.
            Err(error) if error.message().starts_with("there is no unfinished export") => {}
            Err(error) => panic!("{place}, line {line} of the block: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_sql_runs() {
    let server = embedded().await;
    let prelude = std::fs::read_to_string(root().join("docs/statements/README.md")).unwrap();
    let prelude: String = blocks(&prelude, "sql")
        .into_iter()
        .map(|(_, block)| block)
        .collect();
    let mut count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let bucket = server.store.new_target();
        let engine = tidegate::Engine::builder()
            .retry(server.store.retry.clone())
            .build()
            .unwrap();
        let session = engine.session().unwrap();
        execute_all(&session, &on_this_store(&prelude, &server, &bucket)).await;
        // The README exports `some_object`.
        execute_all(&session, "CREATE VIEW some_object AS SELECT * FROM orders").await;
        if page.ends_with("statements/README.md") {
            continue;
        }
        for (line, block) in blocks(&text, "sql") {
            let place = format!("{}:{line}", page.display());
            let mut sql = on_this_store(&block, &server, &bucket);
            while let Some((before, after)) = sql.split_once("<S3_BUCKET_URI>") {
                sql = format!("{before}{}{after}", server.store.new_target());
            }
            run(&session, &sql, &place).await;
            count += 1;
        }
    }
    assert!(count > 30, "{count} blocks");
}

/// The targets of all links to pages, files and headings exist.
#[test]
fn its_links_lead_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap();
            rest = after;
            if target.contains("://") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            assert!(path.exists(), "{}: {target}", page.display());
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&path).unwrap();
                let anchors = text.lines().filter(|line| line.starts_with('#'));
                let anchor = |line: &str| {
                    let words = line.trim_start_matches(['#', ' ']).to_lowercase();
                    words
                        .replace(|c: char| !c.is_alphanumeric() && c != ' ', "")
                        .replace(' ', "-")
                };
                assert!(
                    anchors.map(anchor).any(|found| found == heading),
                    "{}: {target}",
                    page.display()
                );
            }
        }
    }
}
