//! Errors as the user sees them.
//!
//! Invariant: an error is shown with its place, and with the line it is in unless that may hold a
//! secret.

use std::path::Path;

use tidegate::{Error, ErrorKind, Location, Result};
use tidegate_extensions::sql::may_hold_secret;

use crate::print::complain;

/// A text to execute, and what to call it in errors.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// None for what was typed.
    name: Option<String>,
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
            name: Some(name.to_owned()),
            text,
        }
    }

    /// What the user typed.
    pub(crate) fn typed(text: String) -> Self {
        Self { name: None, text }
    }

    /// # Errors
    /// The file can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let why = format!("can't read {}: {error}", path.display());
            Error::new(ErrorKind::InvalidParameter, why)
        })?;
        Ok(Self::new(&path.display().to_string(), text))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The folder that the script is in.
    pub(crate) fn folder(&self) -> Option<&Path> {
        Path::new(self.name.as_ref()?).parent()
    }
}

/// How much of a line is shown on either side of the place, in characters.
const AROUND: usize = 60;

/// Prints an error. `locate` turns its place into one of the source; `written` is the statement.
pub(super) fn report(
    source: &Source,
    error: &Error,
    locate: impl Fn(Location) -> Location,
    written: &str,
) {
    let place = error.location().map(locate);
    match (&source.name, place) {
        (Some(name), Some(Location { line, column })) => {
            complain(&format!("{name}:{line}:{column}: {}", error.message()));
        }
        (Some(name), None) => complain(&format!("{name}: {}", error.message())),
        (None, _) => complain(&format!("error: {}", error.message())),
    }
    if let Some(place) = place.filter(|_| !may_hold_secret(written)) {
        point_at(&source.text, place);
    }
    if let Some(hint) = error.hint() {
        complain(&format!("hint: {hint}"));
    }
}

/// Shows the line of a place, and a caret below it.
fn point_at(text: &str, place: Location) {
    let line = usize::try_from(place.line).unwrap_or(usize::MAX);
    let Some(whole) = text.lines().nth(line.saturating_sub(1)) else {
        return;
    };
    let column = usize::try_from(place.column).unwrap_or(1).saturating_sub(1);
    let from = column.saturating_sub(AROUND);
    let shown: String = whole.chars().skip(from).take(2 * AROUND).collect();
    let shown = crate::print::printable(shown.replace('\t', " "));
    let before: String = shown.chars().take(column - from).collect();
    let pad = " ".repeat(crate::print::width(&before));
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    complain(&format!("{number} | {shown}\n{margin} | {pad}^"));
}
