//! Tidegate exports the result of any SQL query to S3-compatible object storage, all or nothing.
//!
//! # Executing SQL
//!
//! An [`Engine`] holds what a program shares: the catalog of secrets and connections, the memory
//! limit, the clean-up of cancelled exports. A [`Session`] executes SQL:
//!
//! ```
//! use tidegate::Engine;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::Error> {
//! let engine = Engine::builder().build()?;
//! let session = engine.session();
//! session.execute("CREATE TABLE t AS VALUES (1), (2), (3)").await?;
//! let outcome = session.execute("SELECT count(*) FROM t").await?;
//! assert_eq!(outcome.tag(), "SELECT 1");
//! engine.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Session::execute`] keeps a statement's rows; [`Session::start`] returns an [`Execution`] that
//! hands them out as they come. [`Engine::builder`] takes tables, functions and stores of the
//! program's own, and a [`FileCatalog`] to remember secrets and connections in.
//!
//! # Exporting
//!
//! `COPY … TO` is a statement like any other, and what it wrote is in [`Outcome::export`]. Without SQL,
//! [`Session::copy`] exports a DataFrame:
//!
//! ```
//! use tidegate::{Engine, Mode, Parquet};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let target = folder.path().join("squares").display().to_string();
//! let session = Engine::builder().build()?.session();
//! let squares = session
//!     .context()
//!     .sql("SELECT value, value * value AS square FROM generate_series(1, 100)")
//!     .await?;
//! let report = session
//!     .copy(squares)
//!     .to(target) // or "s3://bucket/squares", with .connection("name")
//!     .format(Parquet::default().zstd(3))
//!     .mode(Mode::Overwrite)
//!     .run()
//!     .await?;
//! assert_eq!((report.rows, report.files.len()), (100, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Watching and cancelling
//!
//! [`Execution::progress`] can be watched while a statement runs. A [`CancellationToken`] cancels it
//! and waits until everything is cleaned up; dropping the future cancels it, too, and
//! [`Engine::shutdown`] waits for the clean-up:
//!
//! ```
//! use std::time::Duration;
//! use futures::StreamExt;
//! use tidegate::{CancellationToken, Engine, ErrorKind};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), tidegate::Error> {
//! let session = Engine::builder().build()?.session();
//! let token = CancellationToken::new();
//! let endless = "SELECT count(*) FROM generate_series(1, 10000000000000)";
//! let execution = session.start(endless).await?.cancelled_by(token.clone());
//! let mut snapshots = Box::pin(execution.progress().stream(Duration::from_millis(10)));
//! let running = tokio::spawn(execution.collect());
//! while let Some(snapshot) = snapshots.next().await {
//!     if snapshot.elapsed > Duration::from_millis(50) {
//!         token.cancel();
//!     }
//! }
//! assert_eq!(running.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
//! # Ok(())
//! # }
//! ```
//!
//! # In a DataFusion program
//!
//! The statements themselves are in [`tidegate_extensions`], for programs that have a DataFusion
//! session of their own.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod check;
mod copy;
pub mod dev_s3;
mod engine;
mod execution;
mod outcome;
mod progress;
mod session;
pub mod tpch;

pub use check::Checked;
pub use copy::{Copy, Csv, FileFormat, Json, Parquet, TimestampUnit};
pub use engine::{Engine, EngineBuilder};
pub use execution::Execution;
pub use outcome::Outcome;
pub use progress::{ExportSnapshot, Progress, Snapshot};
pub use session::Session;
pub use tidegate_extensions::catalog::{
    Catalog, FileCatalog, KeyFile, MemoryCatalog, OverlayCatalog,
};
pub use tidegate_extensions::sink::{ExportReport, ExportedFile, Mode, Unfinished};
pub use tidegate_extensions::sql::{Script, ScriptStatement};
pub use tidegate_extensions::{Error, ErrorKind, Location, Prompt, Result, SecretValue};
pub use tokio_util::sync::CancellationToken;
