//! Runs the examples of `docs/scheduling.md` in the way that their schedulers run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tidegate::Session;

use crate::program::program;
use crate::servers::{Embedded, embedded, install};

const DAY: &str = "2024-05-02";
const ROWS_OF_A_DAY: usize = 10;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scheduling")
}

fn example(name: &str) -> String {
    std::fs::read_to_string(examples().join(name)).unwrap()
}

/// A machine with scheduled exports: a store, a catalog with the connection "lake", and orders in
/// Parquet files.
struct Machine {
    server: Embedded,
    home: TempDir,
    lake: String,
    session: Session,
}

impl Machine {
    async fn set_up() -> Self {
        let server = embedded().await;
        let home = tempfile::tempdir().unwrap();
        let lake = server.store.new_target();
        let (_engine, session) = server.store.session().await;
        let machine = Self {
            server,
            home,
            lake,
            session,
        };
        let setup = machine.server.store.connection_sql();
        let setup = setup.replace("CONNECTION c ", "CONNECTION lake ");
        let mut command = program();
        machine.add_environment(&mut command);
        assert_success(&command.args(["-c", &setup]).output().unwrap());
        machine.write_orders().await;
        machine
    }

    async fn write_orders(&self) {
        let sql = format!(
            "COPY (SELECT value AS id, value % 3 AS customer, value * 1.5 AS price,
                          CASE value % 3 WHEN 0 THEN DATE '2024-05-01' WHEN 1 THEN DATE '{DAY}'
                               ELSE current_date() - INTERVAL '1 day' END::date AS day
                   FROM generate_series(1, {}))
             TO '{}' WITH (FORMAT = parquet, MODE = overwrite)",
            3 * ROWS_OF_A_DAY,
            self.home.path().join("orders").display()
        );
        self.session.execute(&sql).await.unwrap();
    }

    fn orders(&self) -> String {
        format!("{}/orders/*.parquet", self.home.path().display())
    }

    fn add_environment(&self, command: &mut Command) {
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", program.parent().unwrap().display());
        command
            .env("PATH", path)
            .env("TIDEGATE_CATALOG", self.home.path().join("catalog.db"))
            .env("TIDEGATE_KEY_FILE", self.home.path().join("key"));
    }

    /// Runs a scheduler's shell command, with its paths and URLs replaced by this machine's.
    fn run(&self, shell: &str, command: &str) -> Output {
        let script = examples().join("export_orders.sql");
        let command = command
            .replace("/etc/tidegate/export_orders.sql", script.to_str().unwrap())
            .replace("/var/lib/orders/*.parquet", &self.orders())
            .replace("s3://lake/orders", &self.lake);
        let mut process = Command::new(shell);
        self.add_environment(&mut process);
        process.args(["-c", &command]).output().unwrap()
    }

    /// How many orders of a day are in the lake.
    async fn exported(&self, day: &str) -> usize {
        let sql = format!(
            "SELECT DISTINCT id FROM read_parquet('{}/day={day}/', aws_connection => 'c')",
            self.lake
        );
        let all = sql.replace("DISTINCT ", "");
        let distinct = self.session.execute(&sql).await.unwrap().tag().to_owned();
        let all = self.session.execute(&all).await.unwrap().tag().to_owned();
        assert_eq!(distinct, all, "nothing is there twice");
        all.strip_prefix("SELECT ").unwrap().parse().unwrap()
    }
}

fn yesterday() -> String {
    let yesterday = Command::new("date")
        .args(["-d", "yesterday", "+%F"])
        .output();
    String::from_utf8(yesterday.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

fn assert_success(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cron_runs_its_line() {
    let machine = Machine::set_up().await;
    let crontab = example("crontab");
    let line = crontab.lines().last().unwrap();
    let command: Vec<&str> = line.splitn(6, ' ').collect();
    // A percent sign is a line end in a crontab, unless it is escaped.
    let command = command[5].replace("\\%", "%");
    for _ in 0..2 {
        let output = machine.run("sh", &command);
        assert_success(&output);
        assert_eq!(output.stdout, b"", "cron would mail it");
        assert_eq!(machine.exported(&yesterday()).await, ROWS_OF_A_DAY);
    }
    // cron mails the output of a failed run.
    let output = machine.run(
        "sh",
        &command.replace("s3://lake/orders", "s3://no-such-bucket/x"),
    );
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("export_orders.sql:") && said.contains("no-such-bucket"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_starts_its_service() {
    let machine = Machine::set_up().await;
    let service = example("tidegate-orders.service");
    let start = service
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/bin/sh -c '"));
    // A percent sign is doubled in a unit.
    let command = start.unwrap().trim_end_matches('\'').replace("%%", "%");
    assert_success(&machine.run("sh", &command));
    assert_eq!(machine.exported(&yesterday()).await, ROWS_OF_A_DAY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn airflow_runs_its_command() {
    let machine = Machine::set_up().await;
    let dag = examples().join("airflow_dag.py");
    let source = example("airflow_dag.py");
    // Airflow itself is not installed: the DAG is compiled, and its command is taken out of it.
    let checked = Command::new("python3")
        .args([
            "-c",
            "import ast, sys\n\
             tree = compile(open(sys.argv[1]).read(), sys.argv[1], 'exec', ast.PyCF_ONLY_AST)\n\
             compile(tree, sys.argv[1], 'exec')\n\
             values = [node.value for node in tree.body if isinstance(node, ast.Assign)\n\
                       and node.targets[0].id == 'COMMAND']\n\
             print(ast.literal_eval(values[0]), end='')",
            dag.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_success(&checked);
    assert!(source.contains("bash_command=COMMAND"));
    let command = String::from_utf8(checked.stdout)
        .unwrap()
        .replace("{{ ds }}", DAY);
    for _ in 0..2 {
        assert_success(&machine.run("bash", &command));
        assert_eq!(machine.exported(DAY).await, ROWS_OF_A_DAY);
    }
}

/// Dagster itself runs the job, twice for the same day and once for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dagster_materializes_days() {
    let machine = Machine::set_up().await;
    let python = install("dagster");
    let materialize = |day: &str, lake: &str| {
        let mut command = Command::new(python.with_file_name("dagster"));
        machine.add_environment(&mut command);
        command
            .args([
                "asset",
                "materialize",
                "--select",
                "exported_orders",
                "--partition",
                day,
            ])
            .arg("--python-file")
            .arg(examples().join("dagster_job.py"))
            .env("ORDERS", machine.orders())
            .env("LAKE", lake)
            .env("DAGSTER_HOME", machine.home.path())
            .env("DAGSTER_DISABLE_TELEMETRY", "1")
            .output()
            .unwrap()
    };
    for (day, rows) in [(DAY, 10), (DAY, 10), ("2024-05-01", 10)] {
        let output = materialize(day, &machine.lake);
        assert_success(&output);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("exported {rows} rows")), "{said}");
        assert_eq!(machine.exported(day).await, rows);
    }
    assert_eq!(machine.exported(DAY).await, ROWS_OF_A_DAY);
}
