//! The `tidegate` program.
//!
//! Invariant: it exits with 0 when everything succeeded, 1 when a statement failed, 2 when the
//! command line was wrong, 128 and the signal's number when a signal ended it; and never before
//! cancelled exports have been cleaned up.

mod allocator;
mod cli;
mod demo;
mod print;
mod progress_line;
mod repl;
mod shell;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
