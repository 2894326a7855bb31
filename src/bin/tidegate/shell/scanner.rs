//! Splits a script into items: statements, and commands for the shell.
//!
//! Invariant: an item is found without reading the text after it, so that a command can change how
//! the rest is read. Every item has its location in the script.

use tidegate::Location;

use super::lexer::{Kind, Lexer};

/// A piece of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A statement without its semicolon.
    Statement(Fragment),
    /// A backslash command, up to the end of its line, without the backslash.
    Command(Fragment),
}

/// Text, and where it begins in its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) text: String,
    pub(crate) start: Location,
}

/// The construct that is not closed at the end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// Nothing: everything is closed.
    Nothing,
    /// A statement that has no semicolon yet.
    Statement,
    /// A parenthesis.
    Parenthesis,
    /// A text in quotes.
    Text,
    /// A name in double quotes.
    Name,
    /// A comment.
    Comment,
}

/// Reads a script item by item.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// Where the next statement begins, in bytes.
    start: usize,
    /// Where scanning continues, in bytes.
    position: usize,
    /// Commands in the middle of the statement, from their backslash to their line's end.
    commands: Vec<std::ops::Range<usize>>,
    open: Open,
    parentheses: usize,
    /// A byte with a known location, to count on from. Locations are usually asked for in order.
    known: (usize, Location),
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            start: 0,
            position: 0,
            commands: Vec::new(),
            open: Open::Nothing,
            parentheses: 0,
            known: (0, Location { line: 1, column: 1 }),
        }
    }

    /// The next complete item: a statement that has its semicolon, or a command. None if the rest
    /// is incomplete.
    pub(crate) fn next_complete(&mut self) -> Option<Item> {
        for lexeme in Lexer::new(self.text, self.position) {
            self.position = lexeme.end;
            match lexeme.kind {
                Kind::Semicolon => {
                    let statement = self.take_statement(lexeme.start);
                    self.start = lexeme.end;
                    if statement.is_some() {
                        return statement.map(Item::Statement);
                    }
                }
                Kind::Backslash => {
                    let rest = &self.text[lexeme.end..];
                    let end = lexeme.end + rest.find('\n').unwrap_or(rest.len());
                    self.position = end;
                    self.commands.push(lexeme.start..end);
                    return Some(Item::Command(Fragment {
                        text: self.text[lexeme.end..end].trim_end().to_owned(),
                        start: self.locate(lexeme.start),
                    }));
                }
                Kind::Space | Kind::Comment { closed: true } => {}
                Kind::Comment { closed: false } => {
                    let is_block = self.text[lexeme.start..].starts_with("/*");
                    if is_block {
                        self.open = Open::Comment;
                    }
                }
                Kind::Text { closed: false } => self.open = Open::Text,
                Kind::Name { closed: false } => self.open = Open::Name,
                _ => {
                    match &self.text[lexeme.start..lexeme.end] {
                        "(" => self.parentheses += 1,
                        ")" => self.parentheses = self.parentheses.saturating_sub(1),
                        _ => {}
                    }
                    self.open = match self.parentheses {
                        0 => Open::Statement,
                        _ => Open::Parenthesis,
                    };
                }
            }
        }
        None
    }

    /// Ends the current statement at the current position, as if there were a semicolon.
    pub(crate) fn end_statement(&mut self) -> Option<Fragment> {
        let statement = self.take_statement(self.position);
        self.start = self.position;
        statement
    }

    /// The construct that is not closed at the end of the text. Valid once [`Self::next_complete`]
    /// has returned none.
    pub(crate) fn open(&self) -> Open {
        self.open
    }

    /// The text after the last complete statement. Commands in it are replaced with blanks.
    pub(crate) fn rest(&self) -> String {
        self.without_commands(self.text.len())
    }

    fn take_statement(&mut self, end: usize) -> Option<Fragment> {
        let text = self.without_commands(end);
        let mut lexemes = Lexer::new(&text, 0);
        let first = lexemes
            .find(|lexeme| !matches!(lexeme.kind, Kind::Space | Kind::Comment { closed: true }))
            .map(|lexeme| lexeme.start);
        self.commands.clear();
        self.open = Open::Nothing;
        self.parentheses = 0;
        let first = first?;
        Some(Fragment {
            start: self.locate(self.start + first),
            text: text[first..].trim_end().to_owned(),
        })
    }

    /// The location of a byte of the text. A command inside a statement is located before its
    /// statement, so `at` may be before the last byte that was located.
    fn locate(&mut self, at: usize) -> Location {
        if at < self.known.0 {
            self.known = (0, Location { line: 1, column: 1 });
        }
        let (from, place) = self.known;
        let place = advance(place, &self.text[from..at]);
        self.known = (at, place);
        place
    }

    fn without_commands(&self, end: usize) -> String {
        let mut text = String::new();
        let mut from = self.start;
        for command in &self.commands {
            text.push_str(&self.text[from..command.start]);
            // One blank for each byte. Only columns on this line may change, and nothing follows
            // there.
            text.extend(command.clone().map(|_| ' '));
            from = command.end;
        }
        text.push_str(self.text.get(from..end).unwrap_or_default());
        text
    }
}

/// The place after a text that begins at `place`.
pub(super) fn advance(place: Location, text: &str) -> Location {
    let mut place = place;
    for c in text.chars() {
        match c {
            '\n' => {
                place.line += 1;
                place.column = 1;
            }
            _ => place.column += 1,
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> (Vec<Item>, Open, String) {
        let mut scanner = Scanner::new(text);
        let items = std::iter::from_fn(|| scanner.next_complete()).collect();
        (items, scanner.open(), scanner.rest())
    }

    fn statement(text: &str, line: u64, column: u64) -> Item {
        Item::Statement(Fragment {
            text: text.to_owned(),
            start: Location { line, column },
        })
    }

    fn command(text: &str, line: u64, column: u64) -> Item {
        Item::Command(Fragment {
            text: text.to_owned(),
            start: Location { line, column },
        })
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes() {
        let (items, open, rest) = scan("select ';'; -- c;\n;;\n select $$;$$ ;select 3");
        let expected = [
            statement("select ';'", 1, 1),
            statement("select $$;$$", 3, 2),
        ];
        assert_eq!(items, expected);
        assert_eq!(open, Open::Statement);
        assert_eq!(rest, "select 3");
    }

    #[test]
    fn commands_end_with_their_line() {
        let (items, open, _) = scan("\\set x 1;2\nselect 1;\\echo é b\nselect 2;");
        let expected = [
            command("set x 1;2", 1, 1),
            statement("select 1", 2, 1),
            command("echo é b", 2, 10),
            statement("select 2", 3, 1),
        ];
        assert_eq!(items, expected);
        assert_eq!(open, Open::Nothing);
    }

    #[test]
    fn a_command_in_a_statement_moves_nothing() {
        let (items, ..) = scan("select\n\\echo é;\n  1;");
        let expected = [
            command("echo é;", 2, 1),
            statement("select\n         \n  1", 1, 1),
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn what_is_open_is_known() {
        for (text, open) in [
            ("", Open::Nothing),
            (" -- comment", Open::Nothing),
            ("select 1;", Open::Nothing),
            ("select 1; -- done", Open::Nothing),
            ("select", Open::Statement),
            ("select (1", Open::Parenthesis),
            ("select (1)", Open::Statement),
            ("select 'a;", Open::Text),
            ("select $x$ $$", Open::Text),
            ("select \"a;", Open::Name),
            ("select /* ;", Open::Comment),
        ] {
            assert_eq!(scan(text).1, open, "{text}");
        }
    }
}
