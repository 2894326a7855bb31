//! The catalog in a file: programs that share it, wrong or missing keys, swapped values, and
//! damaged files.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate::{Catalog, Engine, ErrorKind, FileCatalog, KeyFile, Session};

use crate::program::program;
use crate::servers::execute_all;

/// A folder with a catalog and its key.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn catalog(&self) -> PathBuf {
        self.folder.path().join("data/catalog.db")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("config/key")
    }

    fn open(&self) -> FileCatalog {
        FileCatalog::new(self.catalog(), KeyFile::new(self.key()))
    }

    fn session(&self) -> Session {
        let engine = Engine::builder().catalog(Arc::new(self.open()));
        engine.build().unwrap().session().unwrap()
    }

    /// Runs SQL in another process that shares the catalog, and returns its output.
    fn run(&self, sql: &str) -> Output {
        let mut command = program();
        command.args(["--key-file".as_ref(), self.key().as_os_str()]);
        command.args(["--catalog".as_ref(), self.catalog().as_os_str()]);
        command.args(["-c", sql]).output().unwrap()
    }

    fn complaint(&self, sql: &str) -> String {
        let output = self.run(sql);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Changes the database directly, without Tidegate.
    fn tamper(&self, sql: &str) {
        let database = rusqlite::Connection::open(self.catalog()).unwrap();
        database.execute_batch(sql).unwrap();
    }
}

const CONNECTION: &str = "CREATE SECRET s AS 'hunter2';
    CREATE CONNECTION c TO AWS (ACCESS KEY ID = 'AKIA', SECRET ACCESS KEY = SECRET s,
        SESSION TOKEN = 'tok-en', ENDPOINT = 'http://127.0.0.1:9', REGION = 'eu-west-1');";

async fn names(session: &Session, table: &str) -> Vec<String> {
    let sql = format!("SELECT name FROM tidegate.{table} ORDER BY name");
    let outcome = session.execute(&sql).await.unwrap();
    let mut names = Vec::new();
    for batch in outcome.batches() {
        let column = batch.column(0);
        let column = datafusion::arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8);
        let column = column.unwrap();
        let column = column
            .as_any()
            .downcast_ref::<arrow::array::StringArray>()
            .unwrap();
        names.extend(column.iter().flatten().map(str::to_owned));
    }
    names
}

fn value_of(catalog: &dyn Catalog, name: &str) -> tidegate::Result<Vec<u8>> {
    let objects = catalog.objects()?;
    let secret = &objects.secrets()[name].value;
    Ok(catalog.open_secret(secret)?.expose().to_vec())
}

#[tokio::test]
async fn what_was_created_is_there_for_the_next_program() {
    let home = Home::new();
    let nothing = home.run("SHOW SECRETS");
    assert!(nothing.status.success());
    assert!(!home.catalog().exists(), "looking makes no file");

    execute_all(&home.session(), CONNECTION).await;
    let shown = home.run("SHOW CREATE CONNECTION c; SHOW SECRETS");
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in [
        "ENDPOINT = 'http://127.0.0.1:9',",
        "REGION = 'eu-west-1',",
        "ACCESS KEY ID = 'AKIA',",
        "SECRET ACCESS KEY = SECRET s,",
        "SESSION TOKEN = '…'",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let changed = home.run("ALTER SECRET s AS 'other'; ALTER SECRET s RENAME TO t");
    assert!(changed.status.success());

    let catalog = home.open();
    assert_eq!(value_of(&catalog, "t").unwrap(), b"other");
    // Only their owner may access the two files.
    for path in [home.catalog(), home.key()] {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    let bytes = std::fs::read(home.catalog()).unwrap();
    for secret in ["hunter2", "other", "tok-en"] {
        let found = bytes
            .windows(secret.len())
            .any(|at| at == secret.as_bytes());
        assert!(!found, "{secret} is in the file");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_at_once_lose_nothing() {
    const PROGRAMS: usize = 8;
    const EACH: usize = 5;
    let home = Arc::new(Home::new());
    let running = (0..PROGRAMS).map(|program| {
        let home = Arc::clone(&home);
        tokio::task::spawn_blocking(move || {
            let statements = (0..EACH).map(|n| format!("CREATE SECRET s{program}_{n} AS 'v';"));
            let all = format!(
                "{} CREATE SECRET IF NOT EXISTS shared AS '{program}'; ALTER SECRET shared AS '{program}'",
                statements.collect::<String>()
            );
            let output = home.run(&all);
            assert!(output.status.success(), "{output:?}");
        })
    });
    for program in running.collect::<Vec<_>>() {
        program.await.unwrap();
    }
    let session = home.session();
    assert_eq!(names(&session, "secrets").await.len(), PROGRAMS * EACH + 1);
    // All programs used the same key, so every value can be opened.
    let catalog = home.open();
    for program in 0..PROGRAMS {
        assert_eq!(value_of(&catalog, &format!("s{program}_0")).unwrap(), b"v");
    }
    let shared = value_of(&catalog, "shared").unwrap();
    assert_eq!(shared.len(), 1);
}

#[tokio::test]
async fn a_wrong_or_missing_key_says_so_and_loses_nothing() {
    let home = Home::new();
    execute_all(&home.session(), CONNECTION).await;
    let kept = home.folder.path().join("kept");
    std::fs::rename(home.key(), &kept).unwrap();

    let missing = home.complaint("VALIDATE CONNECTION c");
    assert!(
        missing.contains("is missing, so secrets can't be read"),
        "{missing}"
    );
    assert!(missing.contains("nothing is lost"), "{missing}");
    let missing = home.complaint("CREATE SECRET more AS 'x'");
    assert!(
        missing.contains("is missing, so secrets can't be read"),
        "{missing}"
    );
    assert!(!home.key().exists(), "no other key is made");
    // Statements that need no key still work.
    assert_eq!(names(&home.session(), "secrets").await, ["s"]);
    assert!(home.run("SHOW CREATE CONNECTION c").status.success());
    let changed = home.run("ALTER CONNECTION c SET (REGION = 'eu-north-1')");
    assert!(changed.status.success(), "{changed:?}");

    // Another catalog's key.
    let other = Home::new();
    execute_all(&other.session(), "CREATE SECRET x AS 'y'").await;
    std::fs::copy(other.key(), home.key()).unwrap();
    let wrong = home.complaint("VALIDATE CONNECTION c");
    assert!(wrong.contains("is not the key of the catalog"), "{wrong}");
    std::fs::write(home.key(), "garbage").unwrap();
    let wrong = home.complaint("VALIDATE CONNECTION c");
    assert!(wrong.contains("holds no key"), "{wrong}");

    // A catalog without secrets may start with a new key.
    assert!(other.run("DROP SECRET x").status.success());
    std::fs::remove_file(other.key()).unwrap();
    assert!(other.run("CREATE SECRET x AS 'z'").status.success());

    std::fs::rename(&kept, home.key()).unwrap();
    let refused = home.complaint("VALIDATE CONNECTION c");
    assert!(refused.contains("connection refused"), "{refused}");
    let catalog = home.open();
    assert_eq!(value_of(&catalog, "s").unwrap(), b"hunter2");
}

/// A home with the secrets `a` and `b`.
async fn home_of_two() -> Home {
    let home = Home::new();
    execute_all(
        &home.session(),
        "CREATE SECRET a AS 'one'; CREATE SECRET b AS 'two';",
    )
    .await;
    home
}

#[tokio::test]
async fn values_do_not_open_in_each_others_place() {
    let home = home_of_two().await;
    home.tamper(
        "CREATE TEMP TABLE t AS SELECT name, sealed FROM secrets;
         UPDATE secrets SET sealed = (SELECT sealed FROM t WHERE t.name <> secrets.name);",
    );
    let catalog = home.open();
    let error = value_of(&catalog, "a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{error}");
    assert!(
        error.message().contains("put in another's place"),
        "{error}"
    );

    // A secret renamed to the name of another secret.
    let home = home_of_two().await;
    home.tamper(
        "UPDATE secrets SET name = 'c' WHERE name = 'a';
         UPDATE secrets SET name = 'a' WHERE name = 'b';",
    );
    let catalog = home.open();
    assert!(value_of(&catalog, "a").is_err());

    // An old value put back.
    let home = Home::new();
    execute_all(&home.session(), "CREATE SECRET a AS 'one'").await;
    let copy = home.folder.path().join("copy.db");
    std::fs::copy(home.catalog(), &copy).unwrap();
    execute_all(&home.session(), "ALTER SECRET a AS 'two'").await;
    home.tamper(&format!(
        "ATTACH '{}' AS old; UPDATE secrets SET sealed = (SELECT sealed FROM old.secrets)",
        copy.display()
    ));
    let catalog = home.open();
    assert!(value_of(&catalog, "a").is_err());
}

#[tokio::test]
async fn a_file_that_is_no_catalog_is_not_touched() {
    let damaged = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[100..4096].fill(0xa5);
        std::fs::write(path, bytes).unwrap();
    };
    let no_database = |path: &Path| std::fs::write(path, "dear diary\n".repeat(900)).unwrap();
    let another_program = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        let database = rusqlite::Connection::open(path).unwrap();
        database.execute_batch("CREATE TABLE t (a)").unwrap();
    };
    let newer = |path: &Path| {
        let database = rusqlite::Connection::open(path).unwrap();
        database.pragma_update(None, "user_version", 7).unwrap();
    };
    let bad_row = |path: &Path| {
        let database = rusqlite::Connection::open(path).unwrap();
        let sql = "UPDATE connections SET options = '[{\"name\":'";
        database.execute_batch(sql).unwrap();
    };
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Spoil); 5] = [
        ("is damaged", &damaged),
        ("is damaged, or no catalog at all", &no_database),
        ("is a database of another program", &another_program),
        (
            "was written by a newer version of Tidegate (its schema is 7",
            &newer,
        ),
        ("is damaged at \"c\"", &bad_row),
    ];
    for (complaint, spoil) in cases {
        let home = Home::new();
        execute_all(&home.session(), CONNECTION).await;
        spoil(&home.catalog());
        let before = std::fs::read(home.catalog()).unwrap();
        for sql in [
            "SHOW CONNECTIONS",
            "CREATE SECRET more AS 'x'",
            "DROP CONNECTION c",
        ] {
            let error = home.complaint(sql);
            assert!(error.contains(complaint), "{complaint}: {sql}: {error}");
            assert!(error.contains("it was not touched"), "{error}");
        }
        assert_eq!(
            std::fs::read(home.catalog()).unwrap(),
            before,
            "{complaint}"
        );
    }
}

#[tokio::test]
async fn the_statement_that_makes_a_connection_is_shown() {
    let session = Engine::builder().build().unwrap().session().unwrap();
    let written = "CREATE CONNECTION \"My c\" TO AWS (
    REGION = 'eu-west-1',
    ASSUME ROLE ARN = 'arn:aws:iam::123456789012:role/r',
    ASSUME ROLE SESSION NAME = 'night',
    EXTERNAL ID = 'it''s',
    PROFILE = 'prod',
    URL STYLE = 'virtual'
)";
    execute_all(&session, written).await;
    let outcome = session
        .execute("SHOW CREATE CONNECTION \"My c\"")
        .await
        .unwrap();
    let sql = outcome.batches()[0].column(1);
    let sql = sql
        .as_any()
        .downcast_ref::<arrow::array::StringArray>()
        .unwrap();
    assert_eq!(sql.value(0), written);

    let long = format!("CREATE SECRET long AS '{}'", "x".repeat(65_537));
    let error = session.execute(&long).await.unwrap_err();
    let expected = "the value of secret \"long\" is 65537 bytes long: at most 65536 are allowed";
    assert_eq!(error.message(), expected);
}
