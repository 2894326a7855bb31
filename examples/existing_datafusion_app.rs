//! Adds Tidegate's statements to a program that has its own DataFusion session.
//!
//! Run it with `cargo run --release --example existing_datafusion_app`.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidegate_extensions::{Services, TidegateSql, install};

/// The program's own session, with its configuration.
fn existing_session() -> SessionStateBuilder {
    let config = SessionConfig::new().with_target_partitions(2);
    SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
}

fn cities() -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("city", DataType::Utf8, false),
        Field::new("people", DataType::Int64, true),
    ]));
    let names = StringArray::from(vec!["Aarhus", "Porto", "Gdańsk"]);
    let people = Int64Array::from(vec![Some(292_598), Some(231_800), None]);
    Ok(RecordBatch::try_new(
        schema,
        vec![Arc::new(names), Arc::new(people)],
    )?)
}

#[tokio::main]
async fn main() -> Result<()> {
    // The only change: the statements are installed before the session is built.
    let services = Services::default();
    let state = install(existing_session(), services.clone()).build();
    let context = SessionContext::new_with_state(state);

    // Everything works as before …
    context.register_batch("cities", cities()?)?;
    context
        .sql("SELECT count(*) FROM cities")
        .await?
        .collect()
        .await?;

    // … and `tidegate_sql` accepts the new statements, too.
    let target = std::env::temp_dir().join(format!("tidegate-cities-{}", std::process::id()));
    let copy = format!(
        "COPY (SELECT * FROM cities ORDER BY city) TO '{}'
         WITH (FORMAT = 'parquet', PARTITION BY = (city), RETURN = 'files')",
        target.display()
    );
    let files = context.tidegate_sql(&copy).await?;
    let files = files.select_columns(&["rows", "bytes"])?.collect().await?;
    println!("{}", pretty_format_batches(&files)?);

    // Dropped exports clean up in the background. Wait for that before the program ends.
    services.reaper.drain(Duration::from_secs(5)).await;
    let _ = std::fs::remove_dir_all(&target);
    Ok(())
}
