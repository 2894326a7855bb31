//! `tidegate demo`: a complete export on an S3 server of its own.
//!
//! Invariant: everything that it shows really happens, through statements that a user could write.
//! It ends with an error unless aggregates of the exported rows equal those of the source.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tidegate::dev_s3::{AccessKey, DevServer};
use tidegate::tpch;
use tidegate::{Engine, Error, ErrorKind, Result, Session};

use crate::print::numbers::duration;
use crate::print::{self, Style};
use crate::progress_line::{ProgressLine, ShowProgress};

const BUCKET: &str = "demo";

/// Runs the demo with TPC-H data of this scale.
///
/// # Errors
/// A statement failed, or the exported data differs from the source.
pub(crate) async fn run(engine: &Engine, scale: f64) -> Result<()> {
    if !(scale > 0.0 && scale <= 1000.0) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("--scale {scale} is out of range: it must be above 0 and at most 1000"),
        ));
    }
    let folder = ScratchFolder::create()?;
    let key = AccessKey {
        id: "demo-key".to_owned(),
        secret: "demo-secret".to_owned(),
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bucket = folder.path.join(BUCKET);
    std::fs::create_dir_all(&bucket).map_err(io_error("can't make a bucket"))?;
    let server = DevServer::start(&folder.path, &key, anywhere).await?;
    let endpoint = server.endpoint();

    say(&format!(
        "An S3 server is up at {endpoint}; its bucket \"{BUCKET}\" is empty."
    ));
    say(&format!(
        "The view some_object is TPC-H lineitem at scale {scale}, generated while it is read."
    ));

    let session = engine.session()?;
    let threads = session.context().state().config().target_partitions();
    let lineitem = tpch::lineitem(scale, threads)?;
    session
        .context()
        .register_table("lineitem", Arc::new(lineitem))?;
    let walk = Walk { session };
    walk.step("CREATE VIEW some_object AS SELECT * FROM lineitem")
        .await?;
    walk.step_shown_as(
        &format!("CREATE SECRET secret_access_key AS '{}'", key.secret),
        "CREATE SECRET secret_access_key AS '…'",
    )
    .await?;
    walk.step(&format!(
        "CREATE CONNECTION bucket_connection TO AWS (\n    \
             ACCESS KEY ID = '{}',\n    \
             SECRET ACCESS KEY = SECRET secret_access_key,\n    \
             ENDPOINT = '{endpoint}'\n)",
        key.id
    ))
    .await?;
    walk.step("VALIDATE CONNECTION bucket_connection").await?;

    for format in ["parquet", "csv"] {
        walk.step(&format!(
            "COPY some_object TO 's3://{BUCKET}/{format}'\n\
             WITH (\n    \
                 AWS CONNECTION = bucket_connection,\n    \
                 FORMAT = '{format}'\n  )"
        ))
        .await?;
        show_objects(&bucket.join(format), &format!("s3://{BUCKET}/{format}"))?;
    }

    say("Read back through the same connection:");
    for format in ["parquet", "csv"] {
        walk.step(&external_table(&walk.session, format).await?)
            .await?;
    }
    let summary = walk
        .step(
            "SELECT 'generated' AS source, count(*) AS rows, sum(l_quantity) AS quantity, \
             count(DISTINCT l_orderkey) AS orders FROM some_object\n\
             UNION ALL SELECT 'parquet', count(*), sum(l_quantity), count(DISTINCT l_orderkey) \
             FROM exported_parquet\n\
             UNION ALL SELECT 'csv', count(*), sum(l_quantity), count(DISTINCT l_orderkey) \
             FROM exported_csv",
        )
        .await?;
    check_rows_agree(&summary)?;
    say(
        "All three agree. Nothing but data is left in the bucket, and the demo cleans up after itself.",
    );
    drop(server);
    Ok(())
}

/// Prints statements and what they return.
struct Walk {
    session: Session,
}

impl Walk {
    async fn step(&self, sql: &str) -> Result<tidegate::Outcome> {
        self.step_shown_as(sql, sql).await
    }

    /// Executes `sql` and prints `shown` in its place: a secret is never printed.
    async fn step_shown_as(&self, sql: &str, shown: &str) -> Result<tidegate::Outcome> {
        let mut shown = shown.lines();
        println!("tidegate=> {}", shown.next().unwrap_or_default());
        for line in shown {
            println!("           {line}");
        }
        let started = Instant::now();
        let execution = self.session.start(sql).await?;
        let line = ProgressLine::start(ShowProgress::Auto, execution.progress());
        let outcome = execution.collect().await?;
        drop(line);
        if outcome.has_rows() {
            print::print_outcome(&outcome, &Style::default(), &mut std::io::stdout())?;
        }
        println!("{}\nTime: {}\n", outcome.tag(), duration(started.elapsed()));
        Ok(outcome)
    }
}

fn say(text: &str) {
    println!("-- {text}\n");
}

fn io_error(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(ErrorKind::Io, format!("{what}: {error}")).with_source(error)
}

/// A folder for the server, removed when the demo ends.
struct ScratchFolder {
    path: PathBuf,
}

impl ScratchFolder {
    fn create() -> Result<Self> {
        let name = format!("tidegate-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(io_error("can't make a folder for the demo"))?;
        Ok(Self { path })
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("tidegate: can't remove {}: {error}", self.path.display());
        }
    }
}

fn show_objects(folder: &Path, url: &str) -> Result<()> {
    let unreadable = io_error("can't list the bucket");
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(&unreadable)? {
        let entry = entry.map_err(&unreadable)?;
        let metadata = entry.metadata().map_err(&unreadable)?;
        if metadata.is_file() {
            objects.push((
                entry.file_name().to_string_lossy().into_owned(),
                metadata.len(),
            ));
        }
    }
    objects.sort();
    for (name, bytes) in objects {
        println!("   {:>8.1} MB  {url}/{name}", bytes as f64 / 1e6);
    }
    println!();
    Ok(())
}

/// The statement that reads an export back. CSV carries no types, so its columns are declared.
async fn external_table(session: &Session, format: &str) -> Result<String> {
    let columns = if format == "csv" {
        let schema = session.execute("SELECT * FROM some_object LIMIT 0").await?;
        let columns: Vec<String> = schema
            .schema()
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), sql_type(field.data_type())))
            .collect();
        format!(" (\n    {}\n)", columns.join(", "))
    } else {
        String::new()
    };
    let header = if format == "csv" {
        ", 'format.has_header' 'false'"
    } else {
        ""
    };
    Ok(format!(
        "CREATE EXTERNAL TABLE exported_{format}{columns} STORED AS {format}\n\
         LOCATION 's3://{BUCKET}/{format}/'\n\
         OPTIONS ('aws.connection' 'bucket_connection'{header})"
    ))
}

fn sql_type(data_type: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 => "DATE".to_owned(),
        _ => "VARCHAR".to_owned(),
    }
}

fn check_rows_agree(summary: &tidegate::Outcome) -> Result<()> {
    let options = arrow::util::display::FormatOptions::default();
    let mut rows = Vec::new();
    for batch in summary.batches() {
        let columns: Vec<_> = batch.columns()[1..]
            .iter()
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            rows.push(values);
        }
    }
    if rows.len() == 3 && rows.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DataCorrupted,
        "what was read back differs from what was exported",
    ))
}
