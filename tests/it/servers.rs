//! The stores and other servers that tests run against. A test takes its store as a parameter, so
//! no test is copied for another store.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use tempfile::TempDir;
use tidegate::dev_s3::{AccessKey, DevServer};
use tidegate::{Engine, Session};
use tidegate_extensions::s3::{RetryPolicy, S3Client, S3Settings};
use url::Url;
use uuid::Uuid;

/// A bucket on a server with a key that has all rights to it, or a folder on the local disk.
#[derive(Debug, Clone)]
pub(crate) struct TestStore {
    /// The local folder. If it is set, the fields for the server and its keys are not used.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) endpoint: String,
    /// An endpoint of the same server without its manners, for looking at what is there.
    pub(crate) plain_endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    /// A key that may read but not write, if the store has such a key.
    pub(crate) read_only: Option<(String, String)>,
    /// A retry policy for tests: short pauses, deadlines that a test can wait for.
    pub(crate) retry: RetryPolicy,
}

pub(crate) fn quick_retry() -> RetryPolicy {
    let mut retry = RetryPolicy::default();
    retry.request_timeout = Duration::from_secs(20);
    retry.completion_timeout = Duration::from_secs(20);
    retry.connect_timeout = Duration::from_secs(5);
    retry.attempts = 5;
    retry.first_pause = Duration::from_millis(5);
    retry.longest_pause = Duration::from_millis(50);
    retry.deadline = Duration::from_secs(60);
    retry
}

impl TestStore {
    /// A target that no other test uses.
    pub(crate) fn new_target(&self) -> String {
        let name = Uuid::now_v7().simple();
        match &self.folder {
            Some(folder) => format!("{}/{name}", folder.display()),
            None => format!("s3://{}/{name}", self.bucket),
        }
    }

    /// The `CREATE SECRET` and `CREATE CONNECTION` statements of the connection `c`.
    pub(crate) fn connection_sql(&self) -> String {
        connection_sql("c", self, &self.key, &self.secret)
    }

    /// Returns a new engine and its session. On a server, the connection `c` exists in it.
    pub(crate) async fn session(&self) -> (Engine, Session) {
        let engine = Engine::builder().retry(self.retry.clone()).build().unwrap();
        let session = engine.session().unwrap();
        if self.folder.is_none() {
            execute_all(&session, &self.connection_sql()).await;
        }
        (engine, session)
    }

    /// A client that meets the manners of the store.
    pub(crate) fn client(&self) -> S3Client {
        self.client_of(&self.endpoint)
    }

    /// A client that sees everything that is there.
    fn plain_client(&self) -> S3Client {
        self.client_of(self.plain_endpoint.as_ref().unwrap_or(&self.endpoint))
    }

    fn client_of(&self, endpoint: &str) -> S3Client {
        let credential = AwsCredential {
            key_id: self.key.clone(),
            secret_key: self.secret.clone(),
            token: None,
        };
        let mut settings = S3Settings::new(
            Url::parse(endpoint).unwrap(),
            self.region.as_deref().unwrap_or("us-east-1"),
            Arc::new(StaticCredentialProvider::new(credential)),
        );
        settings.retry = quick_retry();
        S3Client::new(settings, Some(&self.bucket)).unwrap()
    }

    /// The keys (on the local disk, the paths) under a target, including bookkeeping, sorted.
    pub(crate) async fn keys(&self, target: &str) -> Vec<String> {
        if self.folder.is_some() {
            return files_under(Path::new(target));
        }
        let prefix = format!("{}/", self.path(target));
        let mut keys: Vec<String> = self
            .plain_client()
            .list_objects(&prefix, usize::MAX)
            .await
            .unwrap()
            .into_iter()
            .map(|object| object.key)
            .collect();
        keys.sort();
        keys
    }

    /// The bytes of all objects under a target, in the order of their names.
    pub(crate) async fn contents(&self, target: &str) -> Vec<Vec<u8>> {
        if self.folder.is_some() {
            let files = self.keys(target).await;
            return files
                .iter()
                .map(|file| std::fs::read(file).unwrap())
                .collect();
        }
        let client = self.plain_client();
        let mut contents = Vec::new();
        for key in self.keys(target).await {
            contents.push(client.get_object(&key).await.unwrap().unwrap().to_vec());
        }
        contents
    }

    pub(crate) async fn pending_uploads(&self, target: &str) -> usize {
        if self.folder.is_some() {
            let is_staged = |file: &String| file.ends_with(".staged");
            return self
                .keys(target)
                .await
                .iter()
                .filter(|file| is_staged(file))
                .count();
        }
        let uploads = self.plain_client().list_uploads(self.path(target)).await;
        uploads.unwrap().len()
    }

    pub(crate) async fn abort_uploads(&self, target: &str) {
        let client = self.plain_client();
        for upload in client.list_uploads(self.path(target)).await.unwrap() {
            let aborted = client.abort_upload(&upload.key, &upload.upload_id).await;
            aborted.unwrap();
        }
    }

    /// The key of a target: its URL without scheme and bucket.
    pub(crate) fn path<'a>(&self, target: &'a str) -> &'a str {
        let path = target.strip_prefix("s3://").unwrap();
        path.split_once('/').unwrap().1
    }

    /// Asserts that the target is empty and has no pending uploads.
    pub(crate) async fn assert_untouched(&self, target: &str) {
        assert_eq!(self.keys(target).await, Vec::<String>::new());
        assert_eq!(self.pending_uploads(target).await, 0);
    }
}

pub(crate) fn connection_sql(name: &str, store: &TestStore, key: &str, secret: &str) -> String {
    let region = match &store.region {
        Some(region) => format!(", REGION = '{region}'"),
        None => String::new(),
    };
    format!(
        "CREATE SECRET {name}_secret AS '{secret}';
         CREATE CONNECTION {name} TO AWS (
             ACCESS KEY ID = '{key}', SECRET ACCESS KEY = SECRET {name}_secret,
             ENDPOINT = '{}'{region});",
        store.endpoint
    )
}

/// The connection option of a `COPY` or `RECOVER EXPORT` at `target`. Empty for local targets.
pub(crate) fn connection_option(target: &str) -> &'static str {
    if target.starts_with("s3://") {
        "AWS CONNECTION = c, "
    } else {
        ""
    }
}

/// Creates an external table over the files of an export.
pub(crate) async fn read_back(
    session: &Session,
    table: &str,
    target: &str,
    format: &str,
    csv_columns: &str,
) {
    let (columns, header) = match format {
        "csv" => (csv_columns, "'format.has_header' 'false'"),
        _ => ("", "'format.pruning' 'true'"),
    };
    let connection = match connection_option(target) {
        "" => "",
        _ => "'aws.connection' 'c', ",
    };
    let sql = format!(
        "CREATE EXTERNAL TABLE {table} {columns} STORED AS {format} LOCATION '{target}/'
         OPTIONS ({connection}{header})"
    );
    session.execute(&sql).await.unwrap();
}

/// The paths of all files in a folder and its subfolders, sorted.
pub(crate) fn files_under(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// A folder on the local disk, which is removed on drop.
pub(crate) struct LocalFolder {
    pub(crate) store: TestStore,
    _folder: TempDir,
}

pub(crate) fn local_folder() -> LocalFolder {
    let folder = TempDir::new().unwrap();
    let mut store = embedded_store(String::new());
    store.folder = Some(folder.path().to_owned());
    LocalFolder {
        store,
        _folder: folder,
    }
}

pub(crate) async fn execute_all(session: &Session, script: &str) {
    for statement in session.split_script(script).unwrap().statements {
        let execution = session.start_statement(statement).await.unwrap();
        execution.collect().await.unwrap();
    }
}

/// The embedded server with its folder. Drop stops the server and removes the folder.
pub(crate) struct Embedded {
    pub(crate) store: TestStore,
    _root: TempDir,
    _server: DevServer,
}

pub(crate) const BUCKET: &str = "bucket";

const VERSIONED_BUCKET: &str = "versioned";

pub(crate) fn embedded_key() -> AccessKey {
    AccessKey {
        id: "test-key".into(),
        secret: "test-secret".into(),
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A folder with one bucket in it.
pub(crate) fn bucket_folder() -> TempDir {
    let root = TempDir::new().unwrap();
    std::fs::create_dir(root.path().join(BUCKET)).unwrap();
    root
}

pub(crate) fn embedded_store(endpoint: String) -> TestStore {
    let key = embedded_key();
    TestStore {
        folder: None,
        endpoint,
        plain_endpoint: None,
        region: None,
        bucket: BUCKET.into(),
        key: key.id,
        secret: key.secret,
        read_only: None,
        retry: quick_retry(),
    }
}

pub(crate) async fn embedded() -> Embedded {
    let root = bucket_folder();
    let server = DevServer::start(root.path(), &embedded_key(), any_port())
        .await
        .unwrap();
    Embedded {
        store: embedded_store(server.endpoint()),
        _root: root,
        _server: server,
    }
}

/// The script that installs and starts servers and readers.
fn servers_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/servers")
}

/// Installs a server or tool unless it is installed already. Returns the path that `servers`
/// prints.
pub(crate) fn install(what: &str) -> PathBuf {
    let output = Command::new(servers_script())
        .args(["install", what])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{what} can't be installed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The folder that keeps what the tests install and build.
pub(crate) fn cache_folder() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    set("TIDEGATE_TEST_CACHE").unwrap_or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(dirs::cache_dir);
        caches.unwrap().join("tidegate")
    })
}

/// A server process that ends with the test process, because its script waits for the end of its
/// standard input.
struct Running {
    _process: Child,
    _lifeline: ChildStdin,
    _folder: Option<TempDir>,
}

impl Running {
    /// Starts a server and waits until it accepts connections on `port`. `folder` may hold the
    /// server's files and is removed with the server.
    fn start(server: &mut Command, port: u16, folder: Option<TempDir>) -> Self {
        let server = server.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = server.spawn().unwrap();
        let lifeline = process.stdin.take().unwrap();
        wait_for_port(port);
        Self {
            _process: process,
            _lifeline: lifeline,
            _folder: folder,
        }
    }
}

/// A real Garage, installed on first use and shared by all tests.
pub(crate) fn garage() -> TestStore {
    static GARAGE: OnceLock<(TestStore, Running)> = OnceLock::new();
    GARAGE.get_or_init(start_garage).0.clone()
}

fn start_garage() -> (TestStore, Running) {
    let binary = install("garage");
    let folder = TempDir::new().unwrap();
    let [api, rpc] = [port_for_a_process(), port_for_a_process()];
    let store = TestStore {
        folder: None,
        endpoint: format!("http://127.0.0.1:{api}"),
        plain_endpoint: None,
        region: Some("garage".into()),
        bucket: "exports".into(),
        key: format!("GK{}", "ab".repeat(12)),
        secret: "0123456789abcdef".repeat(4),
        read_only: Some((
            format!("GK{}", "cd".repeat(12)),
            "fedcba9876543210".repeat(4),
        )),
        retry: quick_retry(),
    };
    let root = folder.path().display();
    let config = format!(
        "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\ndb_engine = \"sqlite\"\n\
         replication_factor = 1\nmetadata_fsync = false\ndata_fsync = false\n\
         rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{}\"\n\
         [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{api}\"\n",
        "ef".repeat(32)
    );
    let config_path = folder.path().join("garage.toml");
    std::fs::write(&config_path, config).unwrap();
    let mut server = Command::new(servers_script());
    server
        .args(["run"])
        .arg(&binary)
        .arg("-c")
        .arg(&config_path)
        .args(["server", "--single-node", "--default-bucket"])
        .env("GARAGE_DEFAULT_ACCESS_KEY", &store.key)
        .env("GARAGE_DEFAULT_SECRET_KEY", &store.secret)
        .env("GARAGE_DEFAULT_BUCKET", &store.bucket)
        .env("RUST_LOG", "error")
        .stderr(Stdio::null());
    let running = Running::start(&mut server, api, Some(folder));

    let (ro_key, ro_secret) = store.read_only.clone().unwrap();
    let admin = |args: &[&str]| {
        let output = Command::new(&binary)
            .arg("-c")
            .arg(&config_path)
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    admin(&["key", "import", "--yes", "-n", "ro", &ro_key, &ro_secret]);
    admin(&["bucket", "allow", "--read", &store.bucket, "--key", &ro_key]);
    (store, running)
}

/// A moto without access checks, installed on first use and shared by all tests. It keeps an
/// object's properties (media type, storage class, encryption) as AWS does.
pub(crate) fn moto() -> TestStore {
    static MOTO: OnceLock<(TestStore, Running)> = OnceLock::new();
    MOTO.get_or_init(start_moto).0.clone()
}

fn run_moto(checks_rights: bool) -> (PathBuf, String, Running) {
    let python = install("moto");
    let folder = TempDir::new().unwrap();
    let port = port_for_a_process();
    let mut server = Command::new(servers_script());
    server.arg("run").arg(&python);
    if checks_rights {
        server.arg(servers_script().with_file_name("moto_checked.py"));
        server.env("INITIAL_NO_AUTH_ACTION_COUNT", "100000");
    } else {
        server.args(["-m", "moto.server"]);
    }
    server
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stderr(Stdio::null());
    let running = Running::start(&mut server, port, Some(folder));
    (python, format!("http://127.0.0.1:{port}"), running)
}

fn start_moto() -> (TestStore, Running) {
    let (python, endpoint, running) = run_moto(false);
    let store = embedded_store(endpoint);
    // This moto does not check access, so the request for a bucket needs no signature.
    let made = Command::new(&python)
        .args([
            "-c",
            "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='PUT'))",
        ])
        .arg(format!("{}/{BUCKET}", store.endpoint))
        .status()
        .unwrap();
    assert!(made.success());
    (store, running)
}

/// A moto that checks rights, with a role and users.
pub(crate) struct MotoIam {
    /// The store with the key of the user `exporter`, who has every right that an export needs.
    pub(crate) store: TestStore,
    /// The same with a bucket that keeps all versions of its objects.
    pub(crate) versioned: TestStore,
    /// A role with the same rights.
    pub(crate) role: String,
    /// Keys and secrets by the users' names.
    pub(crate) users: BTreeMap<String, (String, String)>,
    _running: Running,
}

/// Installed and started on first use, and shared by all tests.
pub(crate) fn moto_iam() -> &'static MotoIam {
    static MOTO: LazyLock<MotoIam> = LazyLock::new(|| {
        let (python, endpoint, running) = run_moto(true);
        let setup = servers_script().with_file_name("moto_iam.py");
        let output = Command::new(python)
            .arg(setup)
            .args([&endpoint, BUCKET, VERSIONED_BUCKET])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let users = made["users"].as_object().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let users: BTreeMap<_, _> = users
            .map(|(name, key)| (name.clone(), (text(&key[0]), text(&key[1]))))
            .collect();
        let (key, secret) = users["exporter"].clone();
        let store = TestStore {
            key,
            secret,
            ..embedded_store(endpoint)
        };
        let versioned = TestStore {
            bucket: VERSIONED_BUCKET.into(),
            ..store.clone()
        };
        MotoIam {
            store,
            versioned,
            role: text(&made["role"]),
            users,
            _running: running,
        }
    });
    &MOTO
}

/// A PostgreSQL 15 with one empty database, installed on first use and shared by all tests.
pub(crate) struct Postgres {
    programs: PathBuf,
    pub(crate) port: u16,
    _running: Running,
}

pub(crate) fn postgres() -> &'static Postgres {
    static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| {
        let programs = install("postgres");
        let port = port_for_a_process();
        let mut server = Command::new(servers_script());
        server.args(["postgres", &port.to_string()]);
        let running = Running::start(&mut server, port, None);
        let is_ready = || {
            let mut asked = Command::new(programs.join("pg_isready"));
            asked.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            asked.status().unwrap().success()
        };
        while !is_ready() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Postgres {
            programs,
            port,
            _running: running,
        }
    });
    &POSTGRES
}

impl Postgres {
    /// Executes a script and returns what it writes to standard output.
    pub(crate) fn execute(&self, script: &str) -> Vec<u8> {
        let mut process = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let script = script.to_owned();
        // Input needs its own thread: psql may fill the output pipe before it has read all input.
        let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
        let output = process.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        output.stdout
    }
}

/// A TLS server with a self-signed certificate.
pub(crate) struct TlsServer {
    pub(crate) port: u16,
    _running: Running,
}

/// Makes a self-signed certificate for 127.0.0.1, and returns the paths of it and its key.
pub(crate) fn certificate(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("certificate"), path("key"));
    let made = Command::new(install("openssl"))
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        ])
        .args([
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "no certificate could be made");
    (certificate, key)
}

pub(crate) fn serve_tls() -> TlsServer {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = certificate(folder.path());
    let openssl = install("openssl");
    let port = port_for_a_process();
    let mut server = Command::new(servers_script());
    server
        .arg("run")
        .arg(&openssl)
        .args(["s_server", "-quiet", "-www"])
        .args([
            "-accept",
            &port.to_string(),
            "-cert",
            &certificate,
            "-key",
            &key,
        ])
        .stderr(Stdio::null());
    TlsServer {
        port,
        _running: Running::start(&mut server, port, Some(folder)),
    }
}

/// A port that refuses connections for as long as this exists: it is bound, and nothing listens.
pub(crate) struct ClosedPort(tokio::net::TcpSocket);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(any_port()).unwrap();
        Self(socket)
    }

    /// The URL of the server that is not there.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}

/// A port for a server in another process, which can't be handed a bound socket. It is below the
/// ports that the system assigns by itself, so that no other server of the tests gets it, and each
/// process of the tests begins elsewhere.
fn port_for_a_process() -> u16 {
    const FIRST: u32 = 20_000;
    const PORTS: u32 = 12_000;
    const PORTS_OF_A_PROCESS: u32 = 50;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let offset = std::process::id() * PORTS_OF_A_PROCESS + TAKEN.fetch_add(1, Relaxed);
        let port = (FIRST + offset % PORTS) as u16;
        if std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

fn wait_for_port(port: u16) {
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "no server");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a script of `tests/readers` and returns its standard output. A Python with DuckDB, Polars
/// and pyarrow, is installed on first use.
pub(crate) fn python(script: &str, arguments: &[&str]) -> String {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| install("python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/readers")
        .join(script);
    let mut process = Command::new(PYTHON.as_path())
        .arg(&script)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    process
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut printed)
        .unwrap();
    let status = process.wait().unwrap();
    assert!(status.success(), "{}: {printed}", script.display());
    printed
}
