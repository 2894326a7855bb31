//! Tidegate exports the result of any SQL query to S3-compatible object storage, all or nothing.
//!
//! The default feature `cli` is the program. A library turns it off:
//!
//! ```toml
//! tidegate = { version = "0.1", default-features = false, features = ["file-catalog"] }
//! ```
//!
//! | feature | adds |
//! |---|---|
//! | `cli` | the program `tidegate`; turns on the other features |
//! | `file-catalog` | [`FileCatalog`]: secrets and connections in an encrypted file |
//! | `aws-chain` | credentials of roles, profiles and AWS's credential chain |
//! | `dev-server` | [`dev_s3`] and [`tpch`]: an S3 server and TPC-H data, for trying things out |
//!
//! `docs/architecture.md` shows the layers and the folders.
//!
//! # Executing SQL
//!
//! An [`Engine`] holds the state that all sessions of a program share: the catalog of secrets and
//! connections, the memory limit, and the clean-up of cancelled exports. A [`Session`] executes
//! SQL:
//!
//! ```
//! use tidegate::Engine;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::Error> {
//! let engine = Engine::builder().build()?;
//! let session = engine.session()?;
//! session.execute("CREATE TABLE t AS VALUES (1), (2), (3)").await?;
//! let outcome = session.execute("SELECT count(*) FROM t").await?;
//! assert_eq!(outcome.tag(), "SELECT 1");
//! engine.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Session::execute`] keeps a statement's rows in memory. [`Session::start`] returns an
//! [`Execution`], which returns them batch by batch. [`Engine::builder`] accepts the program's own
//! tables, functions and object stores, and a [`FileCatalog`] that keeps secrets and connections in
//! a file.
//!
//! # Exporting
//!
//! `COPY … TO` is executed like any other statement; [`Outcome::export`] reports the files that it
//! wrote. [`Session::copy`] exports a DataFrame without SQL:
//!
//! ```
//! use tidegate::{Engine, Mode, Parquet};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let target = folder.path().join("squares").display().to_string();
//! let session = Engine::builder().build()?.session()?;
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
//! [`Execution::progress`] can be read while a statement runs. Cancelling the statement's
//! [`CancellationToken`] makes it clean up, for five seconds at most, and return
//! [`ErrorKind::Cancelled`]. Dropping the future cancels the statement, too, and
//! [`Engine::shutdown`] then waits for the clean-up:
//!
//! ```
//! use std::time::Duration;
//! use futures::StreamExt;
//! use tidegate::{CancellationToken, Engine, ErrorKind};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), tidegate::Error> {
//! let session = Engine::builder().build()?.session()?;
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
//! Programs that have their own DataFusion session use the statements through
//! [`tidegate_extensions`].

mod closed_registry;
mod copy;
#[cfg(feature = "dev-server")]
pub mod dev_s3;
mod dry_run;
mod engine;
mod execution;
mod outcome;
mod overlay_registry;
mod panics;
mod planned;
mod progress;
mod session;
#[cfg(feature = "dev-server")]
pub mod tpch;

pub use copy::{CopyTo, Csv, FormatSpec, Json, Parquet, TimestampUnit};
pub use dry_run::{Checked, DryRun};
pub use engine::{Engine, EngineBuilder};
#[doc(hidden)]
pub use execution::CLEAN_UP;
pub use execution::{Cancellation, Execution};
pub use outcome::Outcome;
pub use planned::{CopyOut, Planned};
pub use progress::{ExportSnapshot, Progress, Snapshot};
pub use session::Session;
pub use tidegate_extensions::catalog::{Catalog, MemoryCatalog, OverlayCatalog};
#[cfg(feature = "file-catalog")]
pub use tidegate_extensions::catalog::{FileCatalog, KeyFile};
pub use tidegate_extensions::sink::{ExportReport, ExportedFile, Mode, Unfinished};
pub use tidegate_extensions::sql::{Script, ScriptStatement};
pub use tidegate_extensions::{Access, Error, ErrorKind, Location, Prompt, Result, SecretValue};
pub use tokio_util::sync::CancellationToken;

// The crates whose types are in the signatures of this one.
pub use datafusion::{self, arrow};
pub use object_store;
