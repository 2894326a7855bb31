//! The `tidegate` program.
//!
//! Invariant: it exits with 0 when everything succeeded, 1 when a statement failed, 2 when the
//! command line was wrong, 130 when it was interrupted; and never before cancelled exports have
//! been cleaned up.

mod cli;
mod demo;
mod print;
mod script;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
