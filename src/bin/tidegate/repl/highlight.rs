//! Colours for typed text.
//!
//! Invariant: removing the colour codes gives back the text.

use crate::shell::{Kind, Lexer};

const KEYWORD: &str = "1;34";
const TEXT: &str = "32";
const NUMBER: &str = "35";
const COMMENT: &str = "90";
const VARIABLE: &str = "33";

/// Keywords of statements. They are coloured everywhere: few columns have such names.
const KEYWORDS: &[&str] = &[
    "ADD",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "AWS",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "CONNECTION",
    "CONNECTIONS",
    "COPY",
    "CREATE",
    "CROSS",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "ENV",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXPORT",
    "EXTERNAL",
    "FALSE",
    "FILE",
    "FILES",
    "FILTER",
    "FOR",
    "FORMAT",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PARTITIONED",
    "PROMPT",
    "QUALIFY",
    "RECOVER",
    "RENAME",
    "REPLACE",
    "RESET",
    "RESTRICT",
    "RIGHT",
    "SECRET",
    "SECRETS",
    "SELECT",
    "SET",
    "SHOW",
    "STDOUT",
    "STORED",
    "SUMMARIZE",
    "TABLE",
    "THEN",
    "TO",
    "TRUE",
    "UNION",
    "UPDATE",
    "USING",
    "VALIDATE",
    "VALUES",
    "VERBOSE",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
];

/// The line in colours.
pub(super) fn highlight(line: &str) -> String {
    let mut coloured = String::with_capacity(line.len() * 2);
    for lexeme in Lexer::new(line, 0) {
        let text = &line[lexeme.start..lexeme.end];
        let color = match lexeme.kind {
            Kind::Text { .. } => Some(TEXT),
            Kind::Number => Some(NUMBER),
            Kind::Comment { .. } => Some(COMMENT),
            Kind::Variable | Kind::Backslash => Some(VARIABLE),
            Kind::Word if is_keyword(text) => Some(KEYWORD),
            _ => None,
        };
        match color {
            Some(color) => coloured.push_str(&format!("\x1b[{color}m{text}\x1b[0m")),
            None => coloured.push_str(text),
        }
    }
    coloured
}

fn is_keyword(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    KEYWORDS.binary_search(&word.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn without_colours_it_is_the_same() {
        let line = "SELECT 'it''s', 1.5, :x FROM \"T\" -- c\n\\q";
        let coloured = highlight(line);
        assert!(coloured.contains("\x1b[1;34mSELECT\x1b[0m"));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, line);
    }
}
