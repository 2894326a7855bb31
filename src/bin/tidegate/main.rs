//! The `tidegate` program.
//!
//! Invariant: it exits with 0 when everything succeeded, 1 when a statement failed, 2 when the
//! command line was wrong, 128 plus the signal's number when a signal ended it, and 141 when the
//! reader of standard output went away. Before it exits, it waits up to 4.5 seconds for the
//! clean-up of exports.

mod allocator;
mod cli;
mod demo;
mod print;
mod progress_line;
mod repl;
mod serve;
mod shell;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
