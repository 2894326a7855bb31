//! Running scripts.
//!
//! Invariant: statements run in order; the first error is printed as `file:line:column: message`
//! and nothing after it runs.

use std::io::Write;

use tidegate::{Error, ErrorKind, Location, Result, Session};

use crate::print;

/// A text to execute, and what to call it in errors.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A byte order mark, as some editors write it, is no part of the text.
    pub(crate) fn new(name: &str, text: String) -> Self {
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Self {
            name: name.to_owned(),
            text,
        }
    }
}

/// Executes a script and prints its results. Says whether all of it succeeded; an error of a
/// statement has then been printed.
///
/// # Errors
/// Standard output is closed.
pub(crate) async fn run(session: &Session, source: &Source, quiet: bool) -> Result<bool> {
    let script = session.split_script(&source.text)?;
    for statement in script.statements {
        let location = statement.location();
        let mut lines = std::io::stdout();
        match session.execute_statement_to(statement, &mut lines).await {
            // Its lines are all that is to be read there.
            Ok(outcome) if outcome.wrote_lines() => {}
            Ok(outcome) => {
                let text = print::outcome(&outcome, quiet)?;
                write_out(&text)?;
            }
            Err(error) => {
                report(source, &error, location);
                return Ok(false);
            }
        }
    }
    if let Some(error) = script.error {
        report(source, &error, Location { line: 1, column: 1 });
        return Ok(false);
    }
    Ok(true)
}

fn report(source: &Source, error: &Error, statement: Location) {
    let Location { line, column } = error.location().unwrap_or(statement);
    let name = &source.name;
    print::complain(&format!("{name}:{line}:{column}: {}", error.message()));
    if let Some(hint) = error.hint() {
        print::complain(&format!("hint: {hint}"));
    }
}

fn write_out(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| {
            Error::new(ErrorKind::Io, format!("can't write the result: {error}")).with_source(error)
        })
}
