//! Turns a panic below a statement into an error of the statement.
//!
//! Invariant: a panic while a statement is planned or executed ends only this statement, with
//! [`ErrorKind::Internal`](tidegate_extensions::ErrorKind::Internal). The error has the message of
//! the panic. The panic hook, which the library does not set, prints the place in the code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;
use tidegate_extensions::{Error, Result};

/// Awaits `work`, and returns its panic as an error.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // Data that a panic leaves inconsistent belongs to this statement and is dropped with it.
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())))
}

/// Calls `work`, and returns its panic as an error.
pub(crate) fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Error::from_panic(panic.as_ref()))
}
