//! Tidegate inside a Rust program: export a query, then read it back.
//!
//! Run it with `cargo run --release --example embed`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate::dev_s3::{AccessKey, DevServer};
use tidegate::{Engine, Result};

#[tokio::main]
async fn main() -> Result<()> {
    // Any S3-compatible store will do; this one lives as long as the example.
    let root = std::env::temp_dir().join(format!("tidegate-embed-{}", std::process::id()));
    std::fs::create_dir_all(root.join("bucket"))
        .map_err(|error| tidegate::Error::new(tidegate::ErrorKind::Io, error.to_string()))?;
    let key = AccessKey {
        id: "key".to_owned(),
        secret: "secret".to_owned(),
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = DevServer::start(&root, &key, anywhere).await?;

    let engine = Engine::builder().memory_limit(256 << 20).build()?;
    let session = engine.session()?;
    session.execute("CREATE SECRET s AS 'secret'").await?;
    let connection = format!(
        "CREATE CONNECTION c TO AWS (
             ACCESS KEY ID = 'key', SECRET ACCESS KEY = SECRET s, ENDPOINT = '{}')",
        server.endpoint()
    );
    session.execute(&connection).await?;

    let outcome = session
        .execute(
            "COPY (SELECT value, value * value AS square FROM generate_series(1, 1000))
             TO 's3://bucket/squares' WITH (AWS CONNECTION = c, FORMAT = 'parquet')",
        )
        .await?;
    println!("{}", outcome.tag());

    session
        .execute(
            "CREATE EXTERNAL TABLE squares STORED AS PARQUET LOCATION 's3://bucket/squares/'
             OPTIONS ('aws.connection' 'c')",
        )
        .await?;
    let outcome = session.execute("SELECT max(square) FROM squares").await?;
    println!("{} row, {} batch", outcome.tag(), outcome.batches().len());

    engine.shutdown(Duration::from_secs(5)).await;
    drop(server);
    let _ = std::fs::remove_dir_all(&root);
    Ok(())
}
