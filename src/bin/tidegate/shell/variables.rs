//! Variables of scripts: `:name`, `:'name'`, `:"name"`.
//!
//! Invariant: a value is inserted into a statement in the form of its reference: as it is, as a
//! text literal, or as a quoted name. In the latter two, quotes in the value are doubled. Nothing
//! inside quotes or a comment is a reference.
//!
//! The rules are psql's:
//! <https://www.postgresql.org/docs/current/app-psql.html#APP-PSQL-INTERPOLATION>

use std::collections::BTreeMap;

use tidegate::Location;

use super::lexer::{Kind, Lexer};
use super::scanner::{Fragment, advance};

/// The variable that lets a script continue after an error if it is off.
pub(crate) const ON_ERROR_STOP: &str = "ON_ERROR_STOP";

/// Named texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, String>,
}

/// A text with its variables replaced, and the origin of its pieces.
#[derive(Debug)]
pub(crate) struct Interpolated {
    pub(crate) text: String,
    /// For each piece: its first byte in `text`, the location of that byte in the script, and
    /// whether the piece is the value of a variable. Every byte of a value has the location of its
    /// reference.
    pieces: Vec<(usize, Location, bool)>,
}

impl Variables {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// # Errors
    /// A message for the user if the name is not valid.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !is_name {
            return Err(format!(
                "\"{name}\" can't be a variable's name: letters, digits and underscores only"
            ));
        }
        self.values.insert(name.to_owned(), value);
        Ok(())
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.values.remove(name);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.iter();
        values.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a script ends at its first error.
    pub(crate) fn stop_on_error(&self) -> bool {
        let off = ["off", "false", "0", "no"];
        self.get(ON_ERROR_STOP)
            .is_none_or(|value| !off.iter().any(|off| value.eq_ignore_ascii_case(off)))
    }

    /// The text that replaces a reference. None if its variable is not set.
    fn resolve(&self, reference: &str) -> Option<String> {
        let inner = &reference[1..];
        let quoted = |quote: char| inner.strip_prefix(quote)?.strip_suffix(quote);
        if let Some(name) = quoted('\'') {
            return Some(format!("'{}'", self.get(name)?.replace('\'', "''")));
        }
        if let Some(name) = quoted('"') {
            return Some(format!("\"{}\"", self.get(name)?.replace('"', "\"\"")));
        }
        if let Some(name) = inner.strip_prefix("{?") {
            let is_set = self.get(name.trim_end_matches('}')).is_some();
            return Some(if is_set { "TRUE" } else { "FALSE" }.to_owned());
        }
        self.get(inner).map(str::to_owned)
    }

    /// The first reference to a variable that is not set.
    pub(crate) fn find_unset(&self, text: &str) -> Option<String> {
        let mut references = Lexer::new(text, 0)
            .filter(|lexeme| lexeme.kind == Kind::Variable)
            .map(|lexeme| &text[lexeme.start..lexeme.end]);
        // A number after the colon is part of a slice of a list.
        let unset = references.find_map(|reference| {
            let name = reference[1..].trim_matches(['\'', '"']);
            let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
            (is_name && self.resolve(reference).is_none()).then_some(name)
        })?;
        Some(unset.to_owned())
    }

    /// Replaces the references to variables that are set.
    pub(crate) fn interpolate(&self, fragment: &Fragment) -> Interpolated {
        let source = &fragment.text;
        let mut interpolated = Interpolated {
            text: String::with_capacity(source.len()),
            pieces: vec![(0, fragment.start, false)],
        };
        let mut place = fragment.start;
        for lexeme in Lexer::new(source, 0) {
            let written = &source[lexeme.start..lexeme.end];
            let value = (lexeme.kind == Kind::Variable).then(|| self.resolve(written));
            let after = advance(place, written);
            match value.flatten() {
                None => interpolated.text.push_str(written),
                Some(value) => {
                    let start = interpolated.text.len();
                    interpolated.pieces.push((start, place, true));
                    interpolated.text.push_str(&value);
                    let end = interpolated.text.len();
                    interpolated.pieces.push((end, after, false));
                }
            }
            place = after;
        }
        interpolated
    }
}

impl Interpolated {
    /// Maps a location in the text to its location in the script.
    pub(crate) fn locate(&self, place: Location) -> Location {
        let Some(at) = byte_at(&self.text, place) else {
            return place;
        };
        let piece = self.pieces.iter().rev().find(|(start, ..)| *start <= at);
        match piece {
            Some((_, origin, true)) => *origin,
            Some((start, origin, false)) => advance(*origin, &self.text[*start..at]),
            None => place,
        }
    }
}

/// The byte at a place of a text that begins at line 1, column 1.
fn byte_at(text: &str, place: Location) -> Option<usize> {
    let mut line_start = 0;
    for _ in 1..place.line {
        line_start += text[line_start..].find('\n')? + 1;
    }
    let line = &text[line_start..];
    let column = usize::try_from(place.column).ok()?.saturating_sub(1);
    let within = line.char_indices().nth(column).map(|(at, _)| at);
    Some(line_start + within.unwrap_or(line.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        for (name, value) in [("t", "a, b"), ("q", "it's \"it\""), ("n", "1\n2")] {
            variables.set(name, value.to_owned()).unwrap();
        }
        variables
    }

    fn fragment(text: &str) -> Fragment {
        Fragment {
            text: text.to_owned(),
            start: Location { line: 7, column: 3 },
        }
    }

    #[test]
    fn three_quotings() {
        let interpolated = |text| variables().interpolate(&fragment(text)).text;
        assert_eq!(interpolated("select :t, :x, ':t'"), "select a, b, :x, ':t'");
        assert_eq!(interpolated("select :'q'"), "select 'it''s \"it\"'");
        assert_eq!(interpolated("select :\"q\""), "select \"it's \"\"it\"\"\"");
        assert_eq!(interpolated(":{?t} :{?x}"), "TRUE FALSE");
    }

    #[test]
    fn places_are_those_of_the_script() {
        let interpolated = variables().interpolate(&fragment("select :n, x\n from :t y"));
        assert_eq!(interpolated.text, "select 1\n2, x\n from a, b y");
        let locate = |line, column| {
            let place = interpolated.locate(Location { line, column });
            (place.line, place.column)
        };
        assert_eq!(locate(1, 1), (7, 3));
        assert_eq!(locate(1, 8), (7, 10), "the reference");
        assert_eq!(locate(2, 1), (7, 10), "the reference");
        assert_eq!(locate(2, 4), (7, 14), "x");
        assert_eq!(locate(3, 2), (8, 2), "from");
        assert_eq!(locate(3, 12), (8, 10), "y");
    }
}
