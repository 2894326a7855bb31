//! Tidegate exports the result of any SQL query to S3-compatible object storage, all or nothing.
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
//! The statements themselves are in [`tidegate_extensions`], for programs that have a DataFusion
//! session of their own.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod dev_s3;
mod engine;
mod session;
pub mod tpch;

pub use engine::{Engine, EngineBuilder};
pub use session::{Outcome, Session};
pub use tidegate_extensions::catalog::{Catalog, FileCatalog, KeyFile};
pub use tidegate_extensions::sink::Unfinished;
pub use tidegate_extensions::{Error, ErrorKind, Location, Prompt, Result, SecretValue};
