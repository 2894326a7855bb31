//! No secret leaks into output, logs at any level, errors, plans, `Debug` prints, the catalog's
//! files, the objects of an export, or the output of a crash.

use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use rand::Rng;
use tempfile::TempDir;
use tidegate::{Engine, SecretValue};

use crate::misbehaving::MisbehavingServer;
use crate::program::program;
use crate::servers::{connection_sql, embedded, moto_iam};

/// A secret, in every form in which it might show up.
struct Hunted {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Hunted {
    fn new(name: &'static str, secret: &str) -> Self {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let list = format!("{:?}", secret.as_bytes());
        let mut forms = vec![
            secret.to_owned(),
            hex.to_uppercase(),
            hex,
            url,
            list.trim_matches(['[', ']']).to_owned(),
            BASE64_STANDARD.encode(secret),
            BASE64_STANDARD_NO_PAD.encode(secret),
            BASE64_URL_SAFE_NO_PAD.encode(secret),
        ];
        // Inside a longer text, the base64 of the secret depends on its offset.
        for shift in 1..3 {
            let shifted = BASE64_STANDARD_NO_PAD.encode(format!("{}{secret}", "x".repeat(shift)));
            let inner = &shifted[shift + 1..shifted.len() - 3];
            forms.push(inner.to_owned());
        }
        Self {
            name,
            forms: forms.into_iter().map(String::into_bytes).collect(),
        }
    }

    fn assert_absent(&self, place: &str, bytes: &[u8]) {
        for form in &self.forms {
            let found = bytes.windows(form.len()).position(|at| at == form);
            if let Some(at) = found {
                let start = at.saturating_sub(200);
                let around = String::from_utf8_lossy(&bytes[start..at]).into_owned();
                panic!("{} is in {place}, after: {around}", self.name);
            }
        }
    }
}

/// Letters and digits, with a `/` and a `+`, which URLs escape.
fn random_secret() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = rand::rng();
    let mut letters: Vec<u8> = (0..32)
        .map(|_| LETTERS[random.random_range(0..LETTERS.len())])
        .collect();
    letters[10] = b'/';
    letters[20] = b'+';
    String::from_utf8(letters).unwrap()
}

fn statements(secret: &str, token: &str, store: &str, endpoint: &str) -> Vec<String> {
    let text = |sql: &str| sql.replace("HUNTED", secret).replace("TOKEN", token);
    let mut statements: Vec<String> = [
        // Good.
        "CREATE SECRET a AS 'HUNTED'",
        "CREATE OR REPLACE SECRET a AS concat('HUNTED', '')",
        "EXPLAIN VERBOSE CREATE SECRET b AS 'HUNTED'",
        "ALTER SECRET a AS 'HUNTED'",
        "CREATE SECRET e FROM ENV 'VARIABLE'",
        "CREATE CONNECTION t TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY = SECRET a, SESSION TOKEN = 'TOKEN', ENDPOINT = 'http://127.0.0.1:9')",
        "EXPLAIN CREATE CONNECTION u TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY = SECRET a, SESSION TOKEN = 'TOKEN')",
        "ALTER CONNECTION t SET (SESSION TOKEN = 'TOKEN', REGION = 'x')",
        "SHOW SECRETS",
        "SHOW CONNECTIONS",
        "SHOW CREATE CONNECTION t",
        "SELECT * FROM tidegate.secrets",
        "SELECT * FROM tidegate.connections",
        "VALIDATE CONNECTION t",
        // Bad.
        "CREATE SECRET a AS 'HUNTED'",
        "CREATE SECRET n AS 'HUNTED' || 1",
        "CREATE SECRET n AS HUNTED",
        "CREATE SECRET n AS \"HUNTED\"",
        "CREATE SECRET n AS decode('HUNTED', 'base64')",
        "CREATE SECRET n AS decode('HUNTED', 'hex')",
        "CREATE SECRET n AS CAST('HUNTED' AS INT)",
        "CREATE SECRET n AS nofunction('HUNTED')",
        "CREATE SECRET n AS (SELECT 'HUNTED')",
        "CREATE SECRET n AS arrow_cast('HUNTED', 'Int64')",
        "CREATE SECRET n AS 'HUNTED' 'HUNTED'",
        "CREATE SECRET n 'HUNTED'",
        "CREATE SECRET n FROM 'HUNTED'",
        "CREATE SECRET AS 'HUNTED'",
        "CREATE SECRET n AS E'HUNTED\\x'",
        "CREATE SECRET n AS $$HUNTED$$, 1",
        "ALTER SECRET none AS 'HUNTED'",
        "ALTER SECRET a SET 'HUNTED'",
        "CREATE CONNECTION n TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY = 'HUNTED')",
        "CREATE CONNECTION n TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY = HUNTED)",
        "CREATE CONNECTION n TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY 'HUNTED')",
        "CREATE CONNECTION n TO AWS (ACCESS KEY ID = 'x', 'HUNTED')",
        "CREATE CONNECTION n TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY = SECRET 'HUNTED')",
        "CREATE CONNECTION n TO AWS (SESSION TOKEN = 'TOKEN')",
        "ALTER CONNECTION t SET (SECRET ACCESS KEY = 'HUNTED')",
        "ALTER CONNECTION t SET (SESSION TOKEN = 'TOKEN', NO SUCH OPTION = 'TOKEN')",
    ]
    .map(text)
    .into();
    // Statements that use a connection: `c` works, and `w` has the hunted secret, which is wrong.
    for connection in ["c", "w"] {
        let copy = format!(
            "COPY (SELECT value FROM generate_series(1, 1000)) TO '{store}/{connection}'
             (AWS CONNECTION {connection}, FORMAT csv, MANIFEST, MODE overwrite)"
        );
        statements.extend([
            format!("VALIDATE CONNECTION {connection}"),
            format!("VALIDATE CONNECTION {connection} FOR '{store}/{connection}'"),
            copy.clone(),
            format!("EXPLAIN VERBOSE {copy}"),
            format!("EXPLAIN ANALYZE {copy}"),
            format!(
                "SELECT * FROM read_csv('{store}/{connection}/', aws_connection => '{connection}')"
            ),
        ]);
    }
    statements.push(format!(
        "CREATE CONNECTION z TO AWS (ACCESS KEY ID = 'x', SECRET ACCESS KEY = SECRET a, ENDPOINT = '{endpoint}') WITH (VALIDATE)"
    ));
    statements
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_lets_a_secret_out() {
    let (secret, token) = (random_secret(), random_secret());
    let hunted = [
        Hunted::new("the secret", &secret),
        Hunted::new("the token", &token),
    ];
    let server = embedded().await;
    let home = TempDir::new().unwrap();
    let store = server.store.new_target();
    // One connection that works, one whose secret is hunted.
    let setup = format!(
        "{} {}",
        server.store.connection_sql(),
        connection_sql("w", &server.store, &server.store.key, &secret)
    );
    let mut scripts = vec![setup];
    scripts.extend(statements(&secret, &token, &store, &server.store.endpoint));
    for script in scripts {
        let mut command = program();
        command
            .args([
                "--catalog",
                home.path().join("catalog.db").to_str().unwrap(),
            ])
            .args(["--key-file", home.path().join("key").to_str().unwrap()])
            .args(["-c", &script])
            .env("VARIABLE", &secret)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "1");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        assert!(output.status.code().is_some(), "{output:?}");
        for hunted in &hunted {
            // A failure message shows the statement, but not the secret.
            let place = format!("the output of {}", script.replace(&secret, "…"));
            hunted.assert_absent(&place, &output.stdout);
            hunted.assert_absent(&place, &output.stderr);
        }
    }
    for file in ["catalog.db", "key"] {
        let bytes = std::fs::read(home.path().join(file)).unwrap();
        for hunted in &hunted {
            hunted.assert_absent(file, &bytes);
        }
    }
    for content in server.store.contents(&store).await {
        for hunted in &hunted {
            hunted.assert_absent("the bucket", &content);
        }
    }
}

/// Collects the messages that libraries send to the `log` crate. The program itself ignores them.
struct Listener {
    said: Mutex<String>,
}

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}: {}\n", record.target(), record.args());
        self.said.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn no_parser_hears_of_a_secret() {
    static LISTENER: Listener = Listener {
        said: Mutex::new(String::new()),
    };
    log::set_logger(&LISTENER).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    // Without `/` and `+`, a parser may also take the unquoted secret for a name.
    let (secret, token) = (random_secret().replace(['/', '+'], "x"), random_secret());
    let session = Engine::builder().build().unwrap().session().unwrap();
    for sql in statements(&secret, &token, "/no/such", "http://127.0.0.1:9") {
        let _ = session.execute(&sql).await;
    }
    log::set_max_level(log::LevelFilter::Off);
    let said = LISTENER.said.lock().unwrap().clone();
    assert!(said.contains("sqlparser"), "sqlparser logged nothing");
    for hunted in [
        Hunted::new("the secret", &secret),
        Hunted::new("the token", &token),
    ] {
        hunted.assert_absent("a log", said.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_print_of_the_library_lets_a_secret_out() {
    let secret = random_secret();
    let hunted = Hunted::new("the secret", &secret);
    let server = MisbehavingServer::start().await;
    let engine = Engine::builder().retry(server.store.retry.clone());
    let engine = engine.build().unwrap();
    let session = engine.session().unwrap();
    let setup = connection_sql("c", &server.store, &server.store.key, &secret);
    let mut prints = Vec::new();
    for statement in session.split_script(&setup).unwrap().statements {
        prints.push(format!("{statement:?}"));
        let started = session.start_statement(statement).await;
        prints.push(format!("{started:?}"));
        prints.push(format!("{:?}", started.unwrap().collect().await));
    }
    let target = server.store.new_target();
    for sql in [
        "VALIDATE CONNECTION c".to_owned(),
        format!("COPY (SELECT 1 AS a) TO '{target}' (AWS CONNECTION c, FORMAT csv)"),
    ] {
        let error = session.execute(&sql).await.unwrap_err();
        prints.push(format!("{error} {error:?} {error:#?}"));
    }
    prints.push(format!("{engine:?} {:?}", SecretValue::new(secret.clone())));
    prints.push(format!("{:#?}", session.context().state().config()));
    for print in prints {
        hunted.assert_absent("a print", print.as_bytes());
    }
    // The headers of a signed request do not contain the secret.
    for headers in server.headers_of("ListBuckets") {
        hunted.assert_absent("a header", format!("{headers:?}").as_bytes());
    }
}

/// The temporary credentials of a role come from the store and not from a statement. They must not
/// leak either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roles_session_is_as_secret() {
    let moto = moto_iam();
    let (key, secret) = &moto.users["assumer"];
    let hunted = Hunted::new("the caller's secret", secret);
    let script = format!(
        "CREATE CONNECTION c TO AWS (ENDPOINT = '{}', REGION = 'us-east-1',
             ASSUME ROLE ARN = '{}');
         COPY (SELECT 1 AS a) TO '{}' (AWS CONNECTION c, FORMAT csv)",
        moto.store.endpoint,
        moto.role,
        moto.store.new_target()
    );
    let mut command = program();
    command
        .args(["-c", &script])
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("RUST_LOG", "trace");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    hunted.assert_absent("the log", &output.stderr);
    for shown in [
        "<SecretAccessKey>",
        "<SessionToken>",
        "Signature=",
        "x-amz-security-token: ",
    ] {
        assert!(!log.contains(shown), "{shown} is in the log");
    }
}
