//! SQL statements for secrets, connections and all-or-nothing exports to S3-compatible stores, for
//! any program built on DataFusion.
//!
//! Invariant of the whole: a `COPY … TO 's3://…'` either makes every object appear under its
//! target, or none, and leaves nothing pending.
//!
//! [`install`] adds the statements to a session's builder. [`TidegateSql`] executes text that may
//! contain them:
//!
//! ```
//! use datafusion::execution::session_state::SessionStateBuilder;
//! use datafusion::prelude::SessionContext;
//! use tidegate_extensions::{Services, TidegateSql, install};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate_extensions::Error> {
//! let builder = SessionStateBuilder::new().with_default_features();
//! let context = SessionContext::new_with_state(install(builder, Services::default()).build());
//! context.tidegate_sql("CREATE SECRET s AS 'v'").await?.collect().await?;
//! context.tidegate_sql("SELECT 1").await?.collect().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The layers. Each one uses only the layers below it, apart from small helpers of [`sql`] (names
//! and option values):
//!
//! | module | input | output |
//! |---|---|---|
//! | [`sql`] | text | statements |
//! | [`plan`] | statements | logical nodes, then operators |
//! | [`read`] | paths, function calls | tables |
//! | [`sink`] | batches | objects that appear all at once |
//! | [`mod@format`] | batches | encoded bytes |
//! | `credentials` | connections | keys for signing requests, renewed in time |
//! | [`catalog`], [`s3`] | names | settings, requests |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access;
pub mod catalog;
mod connect;
mod credentials;
mod error;
pub mod format;
mod functions;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod media_type;
pub mod memory;
#[doc(hidden)]
pub mod notices;
pub mod plan;
pub mod read;
pub mod s3;
mod secret;
mod services;
mod session;
#[cfg(test)]
mod simulation;
pub mod sink;
pub mod sql;
mod suggest;
mod tasks;

// The crates whose types are in the signatures of this one.
pub use {arrow, datafusion, object_store};

pub use access::Access;
pub use error::{Error, ErrorKind, Location, Result};
pub use secret::SecretValue;
pub use services::{Prompt, Services};
pub use session::{TidegateSql, install};
