//! Errors as the user sees them.
//!
//! Invariant: an error is shown with its location, and with its line unless the executed text may
//! hold a secret.

use std::path::Path;

use tidegate::{Error, ErrorKind, Location, Result};
use tidegate_extensions::sql::may_hold_secret;

use super::scanner::Fragment;
use crate::print::{complain, terminal_size};

/// A text to execute, and its name in errors.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// None for typed text.
    name: Option<String>,
    text: String,
}

impl Source {
    /// Drops a byte order mark, which some editors write, from the text.
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

    /// A text that the user typed.
    pub(crate) fn typed(text: String) -> Self {
        Self { name: None, text }
    }

    /// # Errors
    /// The file can't be read.
    pub(crate) async fn read(path: &Path) -> Result<Self> {
        let text = tokio::fs::read_to_string(path).await.map_err(|error| {
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

/// How many characters of a line are shown if standard error is no terminal.
const SHOWN: usize = 120;

/// Prints an error of `written`. `locate` maps the error's location to the source. Only the
/// executed text is shown: the source beside it may contain a secret.
pub(super) fn report(
    source: &Source,
    error: &Error,
    locate: impl Fn(Location) -> Location,
    written: &Fragment,
) {
    let place = error.location().map(locate);
    match (&source.name, place) {
        (Some(name), Some(Location { line, column })) => {
            complain(&format!("{name}:{line}:{column}: {}", error.message()));
        }
        (Some(name), None) => complain(&format!("{name}: {}", error.message())),
        (None, _) => complain(&format!("error: {}", error.message())),
    }
    if let Some(place) = place.filter(|_| !may_hold_secret(&written.text)) {
        point_at(written, place);
    }
    if let Some(hint) = error.hint() {
        complain(&format!("hint: {hint}"));
    }
}

/// Prints the line of a location, as far as it was executed, with a caret below it.
fn point_at(written: &Fragment, place: Location) {
    let Some(line) = place.line.checked_sub(written.start.line) else {
        return;
    };
    let before = match line {
        0 => written.start.column,
        _ => 1,
    };
    let whole = usize::try_from(line)
        .ok()
        .and_then(|line| written.text.lines().nth(line));
    let column = place.column.checked_sub(before);
    let column = column.and_then(|column| usize::try_from(column).ok());
    let (Some(whole), Some(column)) = (whole, column) else {
        return;
    };
    let number = place.line.to_string();
    let terminal = terminal_size(std::io::stderr()).map(|(_, columns)| columns);
    let room = terminal.map_or(SHOWN, |columns| columns.saturating_sub(number.len() + 4));
    // The caret must fit, too.
    let from = column.saturating_sub(room / 2);
    let shown: String = whole.chars().skip(from).take(room).collect();
    let shown = crate::print::printable(shown.replace('\t', " "));
    let before: String = shown.chars().take(column - from).collect();
    let pad = " ".repeat(crate::print::width(&before));
    let margin = " ".repeat(number.len());
    complain(&format!("{number} | {shown}\n{margin} | {pad}^"));
}
