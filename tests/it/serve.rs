//! `tidegate serve`, with real clients. What they get is compared with what PostgreSQL 15 sends them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::program;
use crate::servers::{TestStore, certificate, embedded, install, postgres};

const ADMIN: &str = "admin";
const USER: &str = "reader";
const PASSWORD: &str = "pass word";

/// The most time that a cancelled statement may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// A server with an administrator and a user.
struct Server {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

fn users_file(folder: &Path) -> String {
    folder.join("users").display().to_string()
}

fn add_user(folder: &Path, name: &str, role: &str) {
    let mut adding = program()
        .args(["user", "add", name, "--role", role, "--users"])
        .arg(users_file(folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = adding.stdin.take().unwrap();
    writeln!(input, "{PASSWORD}").unwrap();
    drop(input);
    assert!(adding.wait().unwrap().success());
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        add_user(folder.path(), ADMIN, "admin");
        add_user(folder.path(), USER, "user");
        let mut process = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--catalog", ":memory:"])
            .args(["--memory-limit", "512MB", "--users"])
            .arg(users_file(folder.path()))
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut printed = BufReader::new(process.stdout.take().unwrap());
        printed.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            address: address.parse().unwrap(),
            process,
            folder,
        }
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// psql as a user. It connects only when it is told what to do.
    fn psql(&self, user: &str) -> Command {
        let mut psql = Command::new(install("postgres").join("psql"));
        psql.args(["-X", "-h", "127.0.0.1", "-p", &self.port(), "-U", user])
            .args(["-d", "tidegate"])
            .env("PGPASSWORD", PASSWORD)
            .env_remove("PGSSLMODE");
        psql
    }

    fn execute(&self, user: &str, sql: &str) -> Output {
        self.psql(user).args(["-At", "-c", sql]).output().unwrap()
    }

    /// What a statement that succeeds prints.
    fn answer(&self, sql: &str) -> String {
        let output = self.execute(ADMIN, sql);
        assert!(output.status.success(), "{sql}: {}", complaint(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket
    }

    /// Sends bytes, and reads until the server closes the connection.
    fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = self.connect();
        socket.write_all(bytes).unwrap();
        let mut read = Vec::new();
        let _ = socket.read_to_end(&mut read);
        read
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The most memory that the process has used, in bytes.
    fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a script of `tests/clients` prints.
fn client(script: &str, arguments: &[&str]) -> String {
    static PYTHON: LazyLock<std::path::PathBuf> = LazyLock::new(|| install("clients"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new(PYTHON.as_path())
        .arg(folder.join(script))
        .args(arguments)
        .env("PGTZ", "UTC")
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines that differ, of texts that should be equal.
fn differences(expected: &str, found: &str) -> Vec<String> {
    let mut differing = Vec::new();
    let (mut expected, mut found) = (expected.lines(), found.lines());
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return differing,
            (expected, found) if expected == found => {}
            (expected, found) => differing.push(format!("expected {expected:?}, found {found:?}")),
        }
    }
}

/// Whole numbers are `bigint` in Tidegate and `integer` in PostgreSQL: the type and the size of a
/// column.
fn with_bigint(replies: &str) -> String {
    replies.replace("000000170004ffffffff", "000000140008ffffffff")
}

#[test]
fn python_clients_get_what_postgres_sends() {
    let (server, postgres) = (Server::start(&[]), postgres());
    let port = server.port();
    let ours =
        format!("host=127.0.0.1 port={port} user={ADMIN} password='{PASSWORD}' dbname=postgres");
    let theirs = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres",
        postgres.port
    );
    for script in ["psycopg3.py", "psycopg2_client.py"] {
        let expected = client(script, &[&theirs]);
        assert_eq!(
            differences(&expected, &client(script, &[&ours])),
            [""; 0],
            "{script}"
        );
    }
    let theirs = ["127.0.0.1", &postgres.port.to_string(), "postgres", ""].map(str::to_owned);
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let ours = ["127.0.0.1", &port, ADMIN, PASSWORD];
    let expected = client("asyncpg_client.py", &theirs);
    assert_eq!(
        differences(&expected, &client("asyncpg_client.py", &ours)),
        [""; 0]
    );
    let expected = with_bigint(&client("raw.py", &theirs));
    let found = with_bigint(&client("raw.py", &ours));
    assert_eq!(differences(&expected, &found), [""; 0]);
}

/// The folder of the scripts for clients.
fn clients() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// What psql prints for a file of `tests/clients`, errors included.
fn printed(psql: &mut Command, file: &str) -> String {
    let output = psql.arg("-f").arg(clients().join(file)).output().unwrap();
    let errors = complaint(&output).replace(&clients().display().to_string(), "");
    format!("{}\n{errors}", String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_catalog_is_that_of_postgres() {
    const DATABASE: &str = "catalogs";
    let postgres = postgres();
    let tables = clients().join("catalog_tables.sql");
    let made = std::fs::read_to_string(&tables).unwrap();
    postgres.execute(&format!(
        "CREATE DATABASE {DATABASE};\n\\c {DATABASE}\n{made}"
    ));
    let server = Server::start(&["--init", &tables.display().to_string()]);
    add_user(server.folder.path(), "postgres", "admin");

    let (port, their_port) = (server.port(), postgres.port.to_string());
    let ours =
        format!("host=127.0.0.1 port={port} user=postgres password='{PASSWORD}' dbname={DATABASE}");
    let theirs = format!("host=127.0.0.1 port={their_port} user=postgres dbname={DATABASE}");
    let expected = client("catalog.py", &[&theirs]);
    let found = client("catalog.py", &[&ours]);
    assert_eq!(differences(&expected, &found), [""; 0], "catalog.py");

    let psql = |connection: &str| {
        let mut psql = Command::new(install("postgres").join("psql"));
        psql.args(["-X", connection]).env("PGTZ", "UTC");
        printed(&mut psql, "catalog.psql")
    };
    assert_eq!(differences(&psql(&theirs), &psql(&ours)), [""; 0], "psql");

    let arguments = |port, password| ["127.0.0.1", port, "postgres", password, DATABASE];
    let expected = client("catalog_clients.py", &arguments(&their_port, "x"));
    let found = client("catalog_clients.py", &arguments(&port, PASSWORD));
    assert_eq!(
        differences(&expected, &found),
        [""; 0],
        "catalog_clients.py"
    );
}

/// The status and the body of a request over HTTP.
fn request(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_the_server_does() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = free.local_addr().unwrap().to_string();
    drop(free);
    let store = embedded().await;
    let store = &store.store;
    let server = Server::start(&["--allow-endpoints", "--http", &http]);
    assert_eq!(request(&http, "GET", "/healthz"), (200, "ok\n".to_owned()));

    let target = store.new_target();
    let copy = |query: &str| {
        format!("COPY ({query}) TO '{target}' WITH (AWS CONNECTION = c, FORMAT = 'csv')")
    };
    server.answer(&connection_statements(store));
    server.answer(&copy("SELECT * FROM generate_series(1, 100)"));
    let failing = copy("SELECT 1 / (value - 100) AS n FROM generate_series(1, 100)");
    assert!(!server.execute(ADMIN, &failing).status.success());
    assert!(!server.execute(USER, "SELCT hidden").status.success());

    let (status, metrics) = request(&http, "GET", "/metrics");
    assert_eq!(status, 200);
    for line in [
        "tidegate_exports_total{outcome=\"committed\"} 1",
        "tidegate_exports_total{outcome=\"failed\"} 1",
        "tidegate_export_rows_total 100",
        "tidegate_export_files_total 1",
        "tidegate_errors_total 2",
        "tidegate_connections_total 4",
        "tidegate_connections{state=\"active\"} 0",
        "tidegate_exports_running 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in\n{metrics}"
        );
    }
    assert!(!metrics.contains("hidden"), "{metrics}");
    assert_eq!(request(&http, "POST", "/metrics").0, 405);
    assert_eq!(request(&http, "GET", "/users").0, 404);

    let beyond = program()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--catalog",
            ":memory:",
            "--http",
            "0.0.0.0:0",
            "--users",
        ])
        .arg(users_file(server.folder.path()))
        .output()
        .unwrap();
    assert!(complaint(&beyond).contains("is not on this machine's loopback"));
}

/// Queries of the catalog that would take all memory, all stack or for ever.
#[test]
fn no_query_of_the_catalog_brings_the_server_down() {
    let server = Server::start(&[]);
    let many = |term: &str, word: &str| vec![term; 100_000].join(word);
    let mut nested = "relnatts::int".to_owned();
    for _ in 0..20 {
        nested = format!("CASE {nested} WHEN 1 THEN 2 WHEN 2 THEN 3 WHEN 3 THEN 4 END");
    }
    let growing =
        "WITH RECURSIVE t AS (SELECT 'xxxxxxxxxx'::text AS a UNION ALL SELECT a || a FROM t)
        SELECT length(a) FROM t, pg_am";
    let endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t)
        SELECT count(*) FROM t, pg_am";
    let windows = "SELECT count(*) FROM (SELECT count(*) OVER (ORDER BY g)
        FROM generate_series(1, 100000) g) x, pg_am";
    let queries = [
        (
            format!("SELECT 1 FROM pg_am WHERE {}", many("oid = 1", " OR ")),
            "54001",
        ),
        (format!("SELECT {} FROM pg_am", many("1", " + ")), "54001"),
        (format!("SELECT {nested} FROM pg_class"), "57014"),
        (growing.to_owned(), "54000"),
        (endless.to_owned(), "53200"),
        (windows.to_owned(), "57014"),
        ("SELECT a.oid FROM pg_proc a, pg_proc b".to_owned(), "53200"),
        (
            "SELECT count(*) FROM pg_proc a, pg_proc b, pg_proc c".to_owned(),
            "53200",
        ),
        (
            "SELECT repeat('x', 1000000) FROM pg_proc".to_owned(),
            "53200",
        ),
        (
            "SELECT generate_series(1, 10000000) FROM pg_proc".to_owned(),
            "54000",
        ),
    ];
    let running = queries.map(|(query, sqlstate)| {
        let mut psql = server.psql(USER);
        psql.args(["-v", "VERBOSITY=sqlstate"])
            .stdin(Stdio::piped());
        let mut psql = psql
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = psql.stdin.take().unwrap();
        writeln!(input, "SET statement_timeout = '5s';\n{query};").unwrap();
        (psql, query, sqlstate)
    });
    assert_eq!(
        server.answer("SELECT amname FROM pg_am WHERE oid = 2"),
        "heap"
    );
    for (psql, query, sqlstate) in running {
        let failed = complaint(&psql.wait_with_output().unwrap());
        let is_timeout = failed.contains("57014");
        assert!(
            failed.contains(sqlstate) || is_timeout,
            "{query:.200}: {failed}"
        );
    }
    assert_eq!(
        server.answer("SELECT amname FROM pg_am WHERE oid = 2"),
        "heap"
    );
    assert!(server.peak_memory() < 1 << 30);
}

#[test]
fn the_operator_makes_tables_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("tables.sql");
    let shared = "CREATE TABLE t AS VALUES (1); CREATE SCHEMA s; CREATE VIEW s.v AS SELECT 7 AS n;";
    std::fs::write(&script, shared).unwrap();
    let path = script.display().to_string();
    let server = Server::start(&["--init", &path]);
    for user in [ADMIN, USER] {
        let output = server.execute(
            user,
            "SELECT n, (SELECT count(*) FROM t) FROM s.v; DROP TABLE t",
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "7|1\nDROP TABLE\n");
    }

    std::fs::write(&script, "CREATE TABLE t AS VALUES (1);\nSELCT 1;").unwrap();
    let started = program()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--catalog",
            ":memory:",
            "--init",
            &path,
            "--users",
        ])
        .arg(users_file(folder.path()))
        .output()
        .unwrap();
    assert!(!started.status.success());
    assert!(
        complaint(&started).contains("tables.sql line 2: "),
        "{}",
        complaint(&started)
    );
}

#[test]
fn running_statements_are_seen_and_cancelled() {
    let server = Server::start(&[]);
    let long = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 10000000) b";
    let mut running = server
        .psql(USER)
        .args(["-c", long])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%count(*)%'
        AND usename = 'reader'";
    let started = Instant::now();
    let pid = loop {
        let pid = server.answer(seen);
        if !pid.is_empty() {
            break pid;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    };
    let mine = server.execute(
        USER,
        "SELECT query FROM pg_stat_activity WHERE usename = 'admin'",
    );
    assert_eq!(String::from_utf8_lossy(&mine.stdout), "");
    assert_eq!(
        server.answer(&format!("SELECT pg_cancel_backend({pid})")),
        "t"
    );
    let mut complaint = String::new();
    running
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap();
    assert!(complaint.contains("on request of the user"), "{complaint}");
    running.wait().unwrap();

    // A user can't see or stop another user's statement. No view shows a secret.
    let mut admin = server.psql(ADMIN);
    let mut admin = admin
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = admin.stdin.take().unwrap();
    writeln!(input, "CREATE SECRET s AS 'hidden'; \\echo ready").unwrap();
    let mut printed = BufReader::new(admin.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        printed.read_line(&mut line).unwrap();
    }
    let texts = "SELECT pid, query FROM pg_stat_activity WHERE usename = 'admin'";
    let seen = server.answer(&format!("{texts} AND pid <> pg_backend_pid()"));
    assert!(seen.ends_with("|<a statement with a secret>"), "{seen}");
    let (pid, _) = seen.split_once('|').unwrap();
    let theirs = server.execute(USER, texts);
    let hidden = format!("{pid}|<insufficient privilege>\n");
    assert_eq!(String::from_utf8_lossy(&theirs.stdout), hidden);
    let refused = server.execute(USER, &format!("SELECT pg_terminate_backend({pid})"));
    assert!(self::complaint(&refused).contains("only administrators"));
    assert_eq!(
        server.answer(&format!("SELECT pg_terminate_backend({pid})")),
        "t"
    );
    writeln!(input, "SELECT 1;").ok();
    drop(input);
    let ended = admin.wait_with_output().unwrap();
    assert!(self::complaint(&ended).contains("terminating connection"));
}

/// Values of every type that both have, as expressions with a column name each.
const VALUES: &[&str] = &[
    "true",
    "null::text",
    "1::smallint",
    "(-2147483648)::int",
    "9223372036854775807::bigint",
    "1.5::real",
    "(-0.1)::double precision",
    "'NaN'::double precision",
    "1e300::double precision",
    "0.00::numeric(4,2)",
    "(-12345678901234567890.123456789)::numeric(38,9)",
    "'text with \"quotes\", \\ and ü€'",
    "''",
    "date '0001-01-01'",
    "date '2020-02-29'",
    "time '23:59:59.999999'",
    "timestamp '1969-12-31 23:59:59.5'",
    "timestamp with time zone '2020-01-02 03:04:05.000006+02'",
    "interval '1 year -2 days 03:04:05.5'",
    "array[1,null,3]::bigint[]",
    "array['a','b,c']",
    "array[]::int[]",
];

#[test]
fn copy_to_stdout_writes_what_postgres_writes() {
    let (server, postgres) = (Server::start(&[]), postgres());
    for value in VALUES {
        let query = format!("select {value} as v from generate_series(1, 2)");
        for format in ["text", "csv", "binary"] {
            let sql = format!("COPY ({query}) TO STDOUT (FORMAT {format})");
            let expected = postgres.execute(&format!("SET timezone = 'UTC'; {sql};"));
            let output = server.execute(ADMIN, &sql);
            assert!(output.status.success(), "{sql}: {}", complaint(&output));
            assert_eq!(output.stdout, expected, "{sql}");
        }
    }
}

#[test]
fn psql_shows_errors_at_their_places() {
    let server = Server::start(&[]);
    let output = server.execute(ADMIN, "SELECT 1,\n  nothing FROM generate_series(1, 2)");
    let expected = "LINE 2:   nothing FROM generate_series(1, 2)\n          ^";
    assert!(
        complaint(&output).contains(expected),
        "{}",
        complaint(&output)
    );
    let output = server.execute(
        ADMIN,
        "SELECT * FROM generate_series(1, 3); SELCT 1; SELECT 2",
    );
    assert_eq!(output.stdout, b"");
    assert!(complaint(&output).contains("HINT:  did you mean SELECT?"));
    let stopped = server
        .psql(ADMIN)
        .args([
            "-v",
            "ON_ERROR_STOP=1",
            "-1",
            "-c",
            "SELECT nope",
            "-c",
            "SELECT 1",
        ])
        .output()
        .unwrap();
    assert_eq!(
        (stopped.status.code(), stopped.stdout),
        (Some(1), Vec::new())
    );
}

#[test]
fn passwords_are_asked_for() {
    let server = Server::start(&[]);
    let refused = |user: &str, password: &str| {
        let mut psql = server.psql(user);
        let output = psql
            .env("PGPASSWORD", password)
            .args(["-c", "SELECT 1"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        complaint(&output)
    };
    let wrong = refused(ADMIN, "wrong");
    assert!(
        wrong.contains("password authentication failed for user \"admin\""),
        "{wrong}"
    );
    // An unknown user is told the same.
    let unknown = refused("nobody", PASSWORD);
    assert_eq!(unknown, wrong.replace("\"admin\"", "\"nobody\""));
    add_user(server.folder.path(), "late", "user");
    let late = server.execute("late", "SELECT current_user");
    assert_eq!(late.stdout, b"late\n");
    let removed = program()
        .args(["user", "remove", "late", "--users"])
        .arg(users_file(server.folder.path()))
        .output()
        .unwrap();
    assert!(removed.status.success());
    refused("late", PASSWORD);
}

/// Statements that reach beyond a client's rights, without and with `--allow-…`.
#[test]
fn clients_have_the_rights_that_they_are_given() {
    let server = Server::start(&[]);
    let folder = server.folder.path().display().to_string();
    std::fs::write(server.folder.path().join("f.csv"), "a\n1\n").unwrap();
    let local = [
        format!("SELECT * FROM '{folder}/f.csv'"),
        format!("SELECT * FROM read_csv('{folder}/*.csv')"),
        format!("CREATE EXTERNAL TABLE f STORED AS CSV LOCATION '{folder}/f.csv'"),
        format!("COPY (SELECT 1) TO '{folder}/out' (FORMAT csv)"),
        format!("COPY (SELECT 1) TO '{folder}/out' STORED AS CSV"),
        format!("SHOW FILES FROM '{folder}'"),
        format!("RECOVER EXPORT '{folder}/out'"),
        format!("SELECT * FROM read_json('file://{folder}/users')"),
    ];
    let own = [
        "CREATE SECRET s FROM ENV 'HOME'".to_owned(),
        format!("CREATE SECRET f FROM FILE '{folder}/users'"),
        "CREATE CONNECTION c TO AWS (CREDENTIAL CHAIN = true)".to_owned(),
        "CREATE CONNECTION c TO AWS (PROFILE = 'p')".to_owned(),
        "CREATE CONNECTION c TO AWS (ASSUME ROLE ARN = 'arn:aws:iam::1:role/r')".to_owned(),
    ];
    let endpoint =
        "CREATE SECRET k AS 'v'; CREATE CONNECTION e TO AWS (ENDPOINT = 'http://127.0.0.1:1',
         ACCESS KEY ID = 'i', SECRET ACCESS KEY = SECRET k)";
    let runtime = [
        "SET datafusion.runtime.memory_limit = '1G'",
        "SET datafusion.runtime.temp_directory = '/'",
        "RESET datafusion.runtime.memory_limit",
    ];
    let refused = local.iter().chain(&own).map(String::as_str);
    for sql in refused.chain(runtime).chain([endpoint]) {
        let output = server
            .psql(ADMIN)
            .args(["-v", "VERBOSITY=verbose", "-c", sql])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{sql}");
        assert!(
            complaint(&output).contains("42501"),
            "{sql}: {}",
            complaint(&output)
        );
    }
    assert!(!server.folder.path().join("out").exists());
    for sql in [
        "CREATE SECRET s AS 'v'",
        "DROP SECRET k",
        "DROP CONNECTION c",
    ] {
        let output = server.execute(USER, sql);
        let complaint = complaint(&output);
        assert!(
            complaint.contains("only administrators"),
            "{sql}: {complaint}"
        );
    }
    let allowed = Server::start(&[
        "--allow-local-files",
        "--allow-own-credentials",
        "--allow-endpoints",
    ]);
    for sql in local[..4]
        .iter()
        .chain(&own[..3])
        .map(String::as_str)
        .chain([endpoint])
    {
        allowed.answer(sql);
    }
}

#[test]
fn beyond_loopback_a_server_needs_a_certificate_and_users() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |options: &[&str]| {
        let output = program()
            .args([
                "serve",
                "--listen",
                "0.0.0.0:0",
                "--catalog",
                ":memory:",
                "--users",
            ])
            .arg(users_file(folder.path()))
            .args(options)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        complaint(&output)
    };
    assert!(refused(&[]).contains("a certificate is required"));
    let (certificate, key) = certificate(folder.path());
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
    assert!(refused(&tls).contains("users are required"));
    let wrong = ["--tls-certificate", &key, "--tls-key", &key];
    assert!(refused(&wrong).contains("can't be used for TLS"));
}

#[test]
fn with_a_certificate_connections_are_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let server = Server::start(&["--tls-certificate", &certificate, "--tls-key", &key]);
    let connect = |mode: &str| {
        let mut psql = server.psql(ADMIN);
        psql.env("PGSSLMODE", mode)
            .env("PGSSLROOTCERT", &certificate)
            .args(["-At", "-c", "SELECT 42"]);
        psql.output().unwrap()
    };
    let verified = connect("verify-full");
    assert_eq!(verified.stdout, b"42\n", "{}", complaint(&verified));
    let plain = complaint(&connect("disable"));
    assert!(plain.contains("only encrypted connections"), "{plain}");
    // What was sent in front of the handshake is not taken for a part of it.
    let request = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
    let injected = [&request[..], b"\0\0\0\x08\0\x03\0\0"].concat();
    let answer = server.exchange(&injected);
    assert_eq!(answer[0], b'S');
    assert_eq!(connect("require").stdout, b"42\n");
}

#[test]
fn the_first_start_makes_an_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = program()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--catalog",
            ":memory:",
            "--users",
        ])
        .arg(users_file(folder.path()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(process.stdout.take().unwrap());
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        printed.read_line(line).unwrap();
    }
    let path = lines[1].trim().rsplit(' ').next().unwrap();
    let url = std::fs::read_to_string(path).unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let answered = Command::new(install("postgres").join("psql"))
        .args(["-XAt", url.trim(), "-c", "SELECT 1"])
        .output()
        .unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(answered.stdout, b"1\n", "{}", complaint(&answered));
}

#[test]
fn bad_input_ends_a_connection_and_nothing_else() {
    let server = Server::start(&["--max-connections", "5", "--login-timeout", "2"]);
    let start = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&length.to_be_bytes()[..], body].concat()
    };
    let startup = start(b"\0\x03\0\0user\0admin\0\0");
    // Not of the protocol, half a message, a message of 1 GiB, another message than a log-in.
    server.exchange(b"GET / HTTP/1.1\r\n\r\n");
    server.exchange(&start(&[0xff; 400]));
    server.exchange(&0x3fff_ffff_u32.to_be_bytes());
    let answer = server.exchange(&startup[..10]);
    assert_eq!(answer, b"");
    let huge = [&startup[..], b"p\x3f\xff\xff\xff"].concat();
    let answer = server.exchange(&huge);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("54000") && answer.contains("longer than"),
        "{answer}"
    );
    let query = [&startup[..], b"Q\0\0\0\x0dSELECT 1\0"].concat();
    assert!(String::from_utf8_lossy(&server.exchange(&query)).contains("08P01"));
    // A wrong key cancels nothing, and says nothing.
    let cancel = start(b"\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x01");
    assert_eq!(server.exchange(&cancel), b"");
    for _ in 0..3000 {
        drop(TcpStream::connect(server.address));
    }
    let silent: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    assert_eq!(server.answer("SELECT 1"), "1");
    drop(silent);

    let sleeping = "SELECT count(*) FROM generate_series(1, 100000000000)";
    let mut held: Vec<Child> = (0..5)
        .map(|_| {
            server
                .psql(ADMIN)
                .args(["-c", sleeping])
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let full = Instant::now();
    loop {
        let output = server.execute(ADMIN, "SELECT 1");
        if complaint(&output).contains("the server already has 5 connections") {
            break;
        }
        assert!(full.elapsed() < Duration::from_secs(60));
    }
    for psql in &mut held {
        psql.kill().unwrap();
        psql.wait().unwrap();
    }
    let free = Instant::now();
    while !server.execute(ADMIN, "SELECT 1").status.success() {
        assert!(free.elapsed() < Duration::from_secs(30));
    }
    assert!(
        server.peak_memory() < 300 << 20,
        "{} bytes",
        server.peak_memory()
    );
}

#[test]
fn a_client_that_reads_nothing_keeps_nothing_in_memory() {
    let server = Server::start(&[]);
    let before = server.peak_memory();
    let port = server.port();
    let arguments = ["127.0.0.1", &port, ADMIN, PASSWORD];
    client("stalled.py", &arguments);
    let grown = server.peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert_eq!(server.answer("SELECT 1"), "1");
}

fn connection_statements(store: &TestStore) -> String {
    store.connection_sql()
}

/// A COPY that takes long, to a store.
fn long_copy(target: &str) -> String {
    format!(
        "COPY (SELECT value, md5(value::text) AS digest FROM generate_series(1, 2000000000))
         TO '{target}' WITH (AWS CONNECTION = c, FORMAT = csv, MAX FILE SIZE = '16MB')"
    )
}

async fn wait_until_uploading(store: &TestStore, target: &str) {
    let started = Instant::now();
    while store.pending_uploads(target).await == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no upload began"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_clean(store: &TestStore, target: &str, since: Instant) {
    while store.pending_uploads(target).await > 0 || !store.keys(target).await.is_empty() {
        assert!(since.elapsed() < CLEAN_UP, "the export is not cleaned up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// However a client ends its COPY, nothing of it is left.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_with_its_client() {
    let store = embedded().await;
    let store = &store.store;
    let server = Server::start(&["--allow-endpoints"]);
    server.answer(&connection_statements(store));
    let target = store.new_target();
    server.answer(&format!(
        "COPY (SELECT 1 AS a) TO '{target}' WITH (AWS CONNECTION = c, FORMAT = parquet)"
    ));
    let rows = format!("SELECT a FROM read_parquet('{target}/', aws_connection => 'c')");
    assert_eq!(server.answer(&rows), "1");

    for signal in ["-KILL", "-INT"] {
        let target = store.new_target();
        let mut psql = server.psql(USER);
        let mut copying = psql
            .args(["-c", &long_copy(&target)])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_uploading(store, &target).await;
        let pid = copying.id().to_string();
        let since = Instant::now();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_clean(store, &target, since).await;
        let mut complaint = String::new();
        copying
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut complaint)
            .unwrap();
        copying.wait().unwrap();
        if signal == "-INT" {
            let expected = "ERROR:  the export was cancelled: on request of the user";
            assert!(complaint.contains(expected), "{complaint}");
        }
    }

    let target = store.new_target();
    let timed = format!("SET statement_timeout = '2s'; {}", long_copy(&target));
    let output = server.execute(USER, &timed);
    assert!(
        complaint(&output).contains("statement_timeout has passed"),
        "{}",
        complaint(&output)
    );
    assert_clean(store, &target, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_cancels_exports() {
    let store = embedded().await;
    let store = &store.store;
    let mut server = Server::start(&["--allow-endpoints", "--grace", "1"]);
    server.answer(&connection_statements(store));
    let target = store.new_target();
    let copying = server
        .psql(ADMIN)
        .args(["-c", &long_copy(&target)])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_uploading(store, &target).await;
    let since = Instant::now();
    server.signal("-TERM");
    let output = copying.wait_with_output().unwrap();
    assert!(
        complaint(&output).contains("the server stops"),
        "{}",
        complaint(&output)
    );
    let status = server.process.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    assert!(since.elapsed() < Duration::from_secs(1) + CLEAN_UP);
    assert_clean(store, &target, Instant::now()).await;
}
