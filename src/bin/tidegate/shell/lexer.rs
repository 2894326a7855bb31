//! Splits SQL text into lexemes, as far as a shell needs to understand it.
//!
//! Invariant: the concatenated lexemes of a text are the text. A quoted text, a quoted name and a
//! comment are one lexeme each, so that nothing in them is taken for the end of a statement, a
//! variable or a command.
//!
//! The rules are psql's: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>

/// The kind of a lexeme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Blanks and line ends.
    Space,
    /// A keyword or a plain name.
    Word,
    /// A number.
    Number,
    /// `'text'`, `E'text'` or `$$text$$`; closed if its end was found.
    Text { closed: bool },
    /// `"name"`; closed if its end was found.
    Name { closed: bool },
    /// `-- …` without its line end, or `/* … */`; closed if its end was found.
    Comment { closed: bool },
    /// `:name`, `:'name'`, `:"name"`, `:{?name}`
    Variable,
    /// A backslash, which begins a command of the shell.
    Backslash,
    /// `;`
    Semicolon,
    /// Any other character.
    Symbol,
}

/// A piece of a text: its kind, and its bytes from `start` to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lexeme {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The lexemes of a text.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    /// The lexemes of `text` from byte `position` on. A lexeme must begin there.
    pub(crate) fn new(text: &'a str, position: usize) -> Self {
        Self { text, position }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn lexeme(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        let found = match first {
            '\'' => text(rest, 1, false),
            'e' | 'E' if rest[1..].starts_with('\'') => text(rest, 2, true),
            '"' | '`' => {
                let (length, closed) = quoted(rest, 1, first, false);
                (Kind::Name { closed }, length)
            }
            '$' => dollar_quoted(rest).unwrap_or((Kind::Symbol, 1)),
            '-' if rest.starts_with("--") => {
                let line = rest.find('\n');
                let closed = line.is_some();
                (Kind::Comment { closed }, line.unwrap_or(rest.len()))
            }
            '/' if rest.starts_with("/*") => comment(rest),
            ':' if rest.starts_with("::") || rest.starts_with(":=") => (Kind::Symbol, 2),
            ':' => match variable(rest) {
                Some(length) => (Kind::Variable, length),
                None => (Kind::Symbol, 1),
            },
            ';' => (Kind::Semicolon, 1),
            '\\' => (Kind::Backslash, 1),
            c if c.is_whitespace() => (Kind::Space, run(rest, char::is_whitespace)),
            c if c.is_ascii_digit() => {
                let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '.';
                (Kind::Number, run(rest, is_digit))
            }
            c if is_word_start(c) => (Kind::Word, run(rest, is_word)),
            c => (Kind::Symbol, c.len_utf8()),
        };
        Some(found)
    }
}

impl Iterator for Lexer<'_> {
    type Item = Lexeme;

    fn next(&mut self) -> Option<Lexeme> {
        let (kind, length) = self.lexeme()?;
        let start = self.position;
        self.position += length;
        Some(Lexeme {
            kind,
            start,
            end: self.position,
        })
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn text(rest: &str, opening: usize, escapes: bool) -> (Kind, usize) {
    let (length, closed) = quoted(rest, opening, '\'', escapes);
    (Kind::Text { closed }, length)
}

/// The length of a quoted text or name in bytes, with both quotes, and whether its closing quote
/// was found. A doubled quote does not close it.
fn quoted(rest: &str, opening: usize, quote: char, escapes: bool) -> (usize, bool) {
    let mut characters = rest[opening..].char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && escapes {
            characters.next();
        } else if c == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => {
                    characters.next();
                }
                _ => return (opening + at + 1, true),
            }
        }
    }
    (rest.len(), false)
}

/// `$$…$$` or `$tag$…$tag$`.
fn dollar_quoted(rest: &str) -> Option<(Kind, usize)> {
    let tag = rest[1..].split_once('$')?.0;
    let is_tag = tag.is_empty() || (tag.starts_with(is_word_start) && tag.chars().all(is_word));
    if !is_tag {
        return None;
    }
    let delimiter = &rest[..tag.len() + 2];
    let body = &rest[delimiter.len()..];
    Some(match body.find(delimiter) {
        Some(end) => (Kind::Text { closed: true }, end + 2 * delimiter.len()),
        None => (Kind::Text { closed: false }, rest.len()),
    })
}

/// A comment, which may contain other comments.
fn comment(rest: &str) -> (Kind, usize) {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return (Kind::Comment { closed: true }, at);
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    (Kind::Comment { closed: false }, rest.len())
}

/// The length of a variable in bytes, with its colon and quotes.
fn variable(rest: &str) -> Option<usize> {
    let after = &rest[1..];
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (opening, closing) = match after.chars().next()? {
        '\'' => ("'", "'"),
        '"' => ("\"", "\""),
        '{' => ("{?", "}"),
        _ => ("", ""),
    };
    let name = after.strip_prefix(opening)?;
    let length = run(name, is_name);
    let is_whole = length > 0 && name[length..].starts_with(closing);
    is_whole.then_some(1 + opening.len() + length + closing.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        Lexer::new(text, 0)
            .filter(|lexeme| lexeme.kind != Kind::Space)
            .map(|lexeme| (lexeme.kind, &text[lexeme.start..lexeme.end]))
            .collect()
    }

    #[test]
    fn quotes_and_comments_are_one_lexeme() {
        let closed = true;
        for (text, kind) in [
            ("'a''b;'", Kind::Text { closed }),
            (r"E'a\'b;'", Kind::Text { closed }),
            ("$$a;'$$", Kind::Text { closed }),
            ("$x$ $$ $y$ ; $x$", Kind::Text { closed }),
            ("\"a\"\"b;\"", Kind::Name { closed }),
            ("/* a /* b; */ c; */", Kind::Comment { closed }),
            ("'a", Kind::Text { closed: false }),
            ("$x$ a $y$", Kind::Text { closed: false }),
            ("/* a /* b */", Kind::Comment { closed: false }),
            ("-- a", Kind::Comment { closed: false }),
        ] {
            assert_eq!(kinds(text), [(kind, text)], "{text}");
        }
    }

    #[test]
    fn variables_are_not_casts() {
        let variables = |text| {
            let kinds = kinds(text).into_iter();
            let found = kinds.filter(|(kind, _)| *kind == Kind::Variable);
            found.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            variables("select :a, :'b', :\"c\", :{?d} from t"),
            [":a", ":'b'", ":\"c\"", ":{?d}"]
        );
        let none: [&str; 0] = [];
        assert_eq!(
            variables("select a::int, $1, ':b', \":c\", x := y, : z"),
            none
        );
        assert_eq!(variables("select 'a'::text, b ::int"), none);
    }

    proptest! {
        #[test]
        fn the_lexemes_are_the_text(text in "[ -~\n\\\\é$'\";:*/-]{0,60}") {
            let mut end = 0;
            for lexeme in Lexer::new(&text, 0) {
                prop_assert_eq!(lexeme.start, end);
                prop_assert!(lexeme.end > lexeme.start);
                end = lexeme.end;
            }
            prop_assert_eq!(end, text.len());
        }
    }
}
