//! Completion: possible continuations of a statement that is being typed.
//!
//! Invariant: option names and their values come from the tables that the parser uses. Typed text
//! is neither stored nor shown.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::options::{
    CONNECTION_OPTIONS, COPY_OPTIONS, Known, RECOVER_OPTIONS, SHOW_FILES_OPTIONS, VALIDATE_OPTIONS,
    Values,
};

/// A possible continuation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// These words.
    Words(String),
    /// A text. The caller adds quotes, unless the cursor is already inside quotes.
    Text(&'static str),
    /// The name of a secret.
    Secret,
    /// The name of a connection.
    Connection,
    /// The name of a table or view.
    Table,
    /// The name of a column.
    Column,
    /// The name of a function.
    Function,
    /// The path of a file, in quotes.
    Path,
}

const STATEMENTS: &[&str] = &[
    "COPY",
    "SELECT",
    "WITH",
    "CREATE SECRET",
    "CREATE CONNECTION",
    "CREATE TABLE",
    "CREATE VIEW",
    "CREATE EXTERNAL TABLE",
    "CREATE OR REPLACE",
    "ALTER SECRET",
    "ALTER CONNECTION",
    "DROP SECRET",
    "DROP CONNECTION",
    "DROP TABLE",
    "DROP VIEW",
    "SHOW SECRETS",
    "SHOW CONNECTIONS",
    "SHOW CREATE CONNECTION",
    "SHOW FILES FROM",
    "SHOW TABLES",
    "SHOW ALL",
    "VALIDATE CONNECTION",
    "RECOVER EXPORT",
    "INSERT INTO",
    "DESCRIBE",
    "SUMMARIZE",
    "EXPLAIN",
    "SET",
    "VALUES",
];

/// Keywords of queries.
const QUERY: &[&str] = &[
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "ON",
    "USING",
    "UNION ALL",
    "EXCEPT",
    "INTERSECT",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS NULL",
    "IS NOT NULL",
    "BETWEEN",
    "LIKE",
    "ILIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "OVER",
    "PARTITION BY",
    "ASC",
    "DESC",
    "NULLS FIRST",
    "NULLS LAST",
    "TRUE",
    "FALSE",
    "NULL",
    "INTERVAL",
    "DATE",
    "TIMESTAMP",
    "EXISTS",
    "FILTER",
    "QUALIFY",
    "VALUES",
    "TO",
    "WITH",
];

/// The words that statements begin with.
pub(crate) fn statement_words() -> Vec<&'static str> {
    STATEMENTS
        .iter()
        .filter_map(|words| words.split(' ').next())
        .collect()
}

/// A token, reduced to the properties that completion uses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// A word, in upper case.
    Word(String),
    /// A quoted text or name, or a number.
    Value,
    Open,
    Close,
    Comma,
    Equals,
    Other,
}

/// Returns the possible continuations at the cursor. `before` is the statement up to the cursor,
/// without the word at the cursor. `in_quotes` says that the cursor is inside a quoted text.
pub fn expected_at(before: &str, in_quotes: bool) -> Vec<Expected> {
    let mut tokens = Vec::new();
    // Errors are ignored: a quote or comment that is not closed is where the cursor is.
    let _ = Tokenizer::new(&GenericDialect {}, before).tokenize_with_location_into_buf(&mut tokens);
    let mut seen: Vec<Seen> = tokens
        .into_iter()
        .filter_map(|token| see(token.token))
        .collect();
    let prefix = match seen.first() {
        Some(Seen::Word(word)) if word == "EXPLAIN" => {
            let options = ["ANALYZE", "VERBOSE"];
            let given = seen[1..].iter().take_while(
                |token| matches!(token, Seen::Word(word) if options.contains(&word.as_str())),
            );
            1 + given.count()
        }
        _ => 0,
    };
    let explained = prefix > 0;
    seen.drain(..prefix);
    let mut expected = statement(&seen, in_quotes);
    if explained && seen.is_empty() {
        expected.extend(words(&["ANALYZE", "VERBOSE"]));
    }
    expected
}

fn see(token: Token) -> Option<Seen> {
    Some(match token {
        Token::Whitespace(_) | Token::EOF => return None,
        Token::Word(word) if word.quote_style.is_none() => Seen::Word(word.value.to_uppercase()),
        Token::Word(_) | Token::Number(..) => Seen::Value,
        Token::SingleQuotedString(_) | Token::DollarQuotedString(_) => Seen::Value,
        Token::LParen => Seen::Open,
        Token::RParen => Seen::Close,
        Token::Comma => Seen::Comma,
        Token::Eq => Seen::Equals,
        _ => Seen::Other,
    })
}

fn words(all: &[&str]) -> Vec<Expected> {
    all.iter()
        .map(|words| Expected::Words((*words).to_owned()))
        .collect()
}

fn begins_with(seen: &[Seen], expected: &[&str]) -> bool {
    expected
        .iter()
        .enumerate()
        .all(|(at, word)| matches!(seen.get(at), Some(Seen::Word(seen)) if seen == word))
}

fn statement(seen: &[Seen], in_quotes: bool) -> Vec<Expected> {
    if let Some((list, known)) = option_list(seen) {
        return option(list, known);
    }
    let has_or_replace = begins_with(seen, &["CREATE", "OR", "REPLACE"]);
    let object_at = if has_or_replace { 3 } else { 1 };
    // The tokens after the verb and the kind of object.
    let after = seen.get(object_at + 1..).unwrap_or_default();
    match (seen.first(), seen.get(object_at)) {
        (None, _) => words(STATEMENTS),
        (Some(Seen::Word(verb)), Some(Seen::Word(object))) => {
            match (verb.as_str(), object.as_str()) {
                ("CREATE", "SECRET") => create_secret(after),
                ("CREATE", "CONNECTION") => create_connection(after),
                ("ALTER", "SECRET") => alter_secret(after),
                ("ALTER", "CONNECTION") => alter_connection(after),
                ("DROP", object) => drop_object(object, after),
                ("VALIDATE", "CONNECTION") => validate_connection(after),
                ("RECOVER", "EXPORT") => words(&["WITH (AWS CONNECTION ="]),
                ("SHOW", "FILES") if !after.is_empty() => words(&["WITH (AWS CONNECTION ="]),
                ("COPY", _) => copy(seen, in_quotes),
                _ if begins_with(seen, &["SHOW", "CREATE", "CONNECTION"]) => {
                    vec![Expected::Connection]
                }
                _ => other(seen, in_quotes),
            }
        }
        (Some(Seen::Word(verb)), _) if verb == "COPY" => copy(seen, in_quotes),
        _ => other(seen, in_quotes),
    }
}

/// Continuations of one of DataFusion's statements, or of the first words of any statement.
fn other(seen: &[Seen], in_quotes: bool) -> Vec<Expected> {
    let typed = leading_words(seen);
    let is_all = seen.iter().all(|token| matches!(token, Seen::Word(_)));
    let rest = STATEMENTS
        .iter()
        .filter_map(|words| words.strip_prefix(typed.as_str())?.strip_prefix(' '));
    let rest: Vec<&str> = rest.collect();
    match is_all && !rest.is_empty() {
        true => words(&rest),
        false => query(seen, in_quotes),
    }
}

fn copy(seen: &[Seen], in_quotes: bool) -> Vec<Expected> {
    let to = Seen::Word("TO".to_owned());
    let after_to = seen.iter().position(|token| *token == to);
    let after_to = after_to.map(|to| &seen[to + 1..]);
    match (depth(seen), after_to) {
        (0, None) if seen.len() == 1 => [words(&["("]), vec![Expected::Table]].concat(),
        (0, None) => words(&["TO"]),
        (0, Some([])) if in_quotes => vec![Expected::Path],
        (0, Some([])) => [words(&["STDOUT"]), vec![Expected::Path]].concat(),
        (0, Some(target)) if ends_with(target, "WITH") => words(&["("]),
        (0, Some(_)) => words(&["WITH ("]),
        _ => query(seen, in_quotes),
    }
}

fn create_connection(after: &[Seen]) -> Vec<Expected> {
    match after {
        [] => words(&["IF NOT EXISTS"]),
        [.., Seen::Close] => words(&["WITH (VALIDATE = true)"]),
        _ if ends_with(after, "AWS") => words(&["("]),
        _ if ends_with(after, "TO") => words(&["AWS ("]),
        _ => words(&["TO AWS ("]),
    }
}

fn alter_secret(after: &[Seen]) -> Vec<Expected> {
    match after {
        [] => [words(&["IF EXISTS"]), vec![Expected::Secret]].concat(),
        _ => words(&["AS", "FROM ENV", "FROM FILE", "FROM PROMPT", "RENAME TO"]),
    }
}

fn alter_connection(after: &[Seen]) -> Vec<Expected> {
    const CHANGES: &[&str] = &[
        "SET (",
        "DROP (",
        "RESET (",
        "RENAME TO",
        "WITH (VALIDATE = true)",
    ];
    match after {
        [] => [words(&["IF EXISTS"]), vec![Expected::Connection]].concat(),
        _ => words(CHANGES),
    }
}

fn validate_connection(after: &[Seen]) -> Vec<Expected> {
    match after {
        [] => vec![Expected::Connection],
        [_] => words(&["FOR"]),
        _ => Vec::new(),
    }
}

fn create_secret(after: &[Seen]) -> Vec<Expected> {
    match after {
        [] => words(&["IF NOT EXISTS"]),
        _ if ends_with(after, "FROM") => words(&["ENV", "FILE", "PROMPT"]),
        _ if ends_with(after, "FILE") => vec![Expected::Path],
        _ if ends_with(after, "AS") || ends_with(after, "ENV") => Vec::new(),
        _ => words(&["AS", "FROM ENV", "FROM FILE", "FROM PROMPT"]),
    }
}

fn drop_object(object: &str, after: &[Seen]) -> Vec<Expected> {
    let name = match object {
        "SECRET" => Expected::Secret,
        "CONNECTION" => Expected::Connection,
        _ => Expected::Table,
    };
    match after {
        [] => [words(&["IF EXISTS"]), vec![name]].concat(),
        _ => [words(&["CASCADE", "RESTRICT"]), vec![name]].concat(),
    }
}

fn ends_with(seen: &[Seen], word: &str) -> bool {
    matches!(seen.last(), Some(Seen::Word(last)) if last == word)
}

/// The number of open parentheses.
fn depth(seen: &[Seen]) -> usize {
    seen.iter().fold(0, |depth: usize, token| match token {
        Seen::Open => depth + 1,
        Seen::Close => depth.saturating_sub(1),
        _ => depth,
    })
}

/// If the cursor is in an option list: the tokens after its opening parenthesis, and the options
/// that the list accepts.
fn option_list(seen: &[Seen]) -> Option<(&[Seen], &'static [Known])> {
    let mut open = Vec::new();
    for (at, token) in seen.iter().enumerate() {
        match token {
            Seen::Open => open.push(at),
            Seen::Close => drop(open.pop()),
            _ => {}
        }
    }
    let start = *open.first()?;
    let before = &seen[..start];
    let is = |words: &[&str]| begins_with(seen, words);
    let has = |word: &str| before.contains(&Seen::Word(word.to_owned()));
    let known = if is(&["COPY"]) && has("TO") {
        COPY_OPTIONS
    } else if is(&["SHOW", "FILES"]) {
        SHOW_FILES_OPTIONS
    } else if is(&["RECOVER"]) {
        RECOVER_OPTIONS
    } else if (is(&["CREATE"]) || is(&["ALTER"])) && has("CONNECTION") {
        match ends_with(before, "WITH") {
            true => VALIDATE_OPTIONS,
            false => CONNECTION_OPTIONS,
        }
    } else {
        return None;
    };
    Some((&seen[start + 1..], known))
}

/// Continuations inside an option list.
fn option(list: &[Seen], known: &'static [Known]) -> Vec<Expected> {
    let mut inner = 0usize;
    let mut start = 0;
    for (at, token) in list.iter().enumerate() {
        match token {
            Seen::Open => inner += 1,
            Seen::Close => inner = inner.saturating_sub(1),
            Seen::Comma if inner == 0 => start = at + 1,
            _ => {}
        }
    }
    let given = &list[..start];
    let current = &list[start..];
    let typed = leading_words(current);
    // The longest known name that the words begin with; `None` if no name is complete yet.
    let begun = known
        .iter()
        .filter(|option| format!("{typed} ").starts_with(&format!("{} ", option.name)))
        .max_by_key(|option| option.name.len());
    let has_value = current.contains(&Seen::Equals);
    if let Some(option) = begun {
        let name = option.name;
        let has_more = has_value || typed.len() > name.len();
        return match option.values {
            _ if has_more && ends_with(current, "SECRET") => vec![Expected::Secret],
            Values::Columns if inner > 0 => vec![Expected::Column],
            values if has_value || typed.len() == name.len() => value(values, has_value),
            _ => Vec::new(),
        };
    }
    let is_given = |name: &str| {
        let mut options = given.split(|token| *token == Seen::Comma);
        options.any(|option| leading_words(option).starts_with(name))
    };
    let rest = known.iter().filter_map(|option| match typed.as_str() {
        "" => Some(option.name),
        typed => option.name.strip_prefix(typed)?.strip_prefix(' '),
    });
    let rest = rest.filter(|words| !typed.is_empty() || !is_given(words));
    rest.map(|words| Expected::Words(words.to_owned()))
        .collect()
}

/// The leading words of a list of tokens, with underscores replaced by spaces.
fn leading_words(tokens: &[Seen]) -> String {
    let words = tokens.iter().map_while(|token| match token {
        Seen::Word(word) => Some(word.replace('_', " ")),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn value(values: Values, has_equals: bool) -> Vec<Expected> {
    let mut expected = match values {
        Values::Any => Vec::new(),
        Values::Boolean => words(&["true", "false"]),
        Values::OneOf(texts) | Values::Such(texts) => {
            texts.iter().map(|text| Expected::Text(text)).collect()
        }
        Values::Connection => vec![Expected::Connection],
        Values::Secret | Values::TextOrSecret => words(&["SECRET"]),
        Values::Columns => words(&["("]),
    };
    if !has_equals {
        expected.extend(words(&["="]));
    }
    expected
}

/// Continuations in a query, chosen by the tokens before the cursor.
fn query(seen: &[Seen], in_quotes: bool) -> Vec<Expected> {
    let reads = [
        "FROM", "JOIN", "INTO", "TABLE", "DESCRIBE", "UPDATE", "LOCATION",
    ];
    let last = seen.iter().rev().find(|token| **token != Seen::Open);
    if let [.., Seen::Word(option), Seen::Other] = seen
        && option == "AWS_CONNECTION"
    {
        return vec![Expected::Connection];
    }
    if seen.ends_with(&[Seen::Word("STORED".to_owned()), Seen::Word("AS".to_owned())]) {
        return words(&["PARQUET", "CSV", "JSON"]);
    }
    if let Some(Seen::Word(first)) = seen.last() {
        let second = QUERY
            .iter()
            .filter_map(|words| words.strip_prefix(first.as_str())?.strip_prefix(' '));
        let second: Vec<&str> = second.collect();
        if !second.is_empty() {
            return words(&second);
        }
    }
    let after_table = match seen.last() {
        Some(Seen::Word(word)) => reads.contains(&word.as_str()),
        _ => false,
    };
    if after_table && in_quotes {
        return vec![Expected::Path];
    }
    if after_table {
        let from = words(&["(", "read_parquet(", "read_csv(", "read_json("]);
        return [from, vec![Expected::Table]].concat();
    }
    if in_quotes {
        let reads_files = matches!(last, Some(Seen::Word(word)) if word.starts_with("READ_"));
        return if reads_files {
            vec![Expected::Path]
        } else {
            Vec::new()
        };
    }
    let mut expected = words(QUERY);
    expected.extend([Expected::Column, Expected::Function, Expected::Table]);
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(before: &str, expected: Expected) {
        let all = expected_at(before, false);
        assert!(all.contains(&expected), "{before}: {all:?}");
    }

    fn has_words(before: &str, words: &str) {
        has(before, Expected::Words(words.to_owned()));
    }

    fn has_not(before: &str, words: &str) {
        let all = expected_at(before, false);
        assert!(
            !all.contains(&Expected::Words(words.to_owned())),
            "{before}: {all:?}"
        );
    }

    #[test]
    fn statements_are_known_word_by_word() {
        has_words("", "COPY");
        has_words("CREATE ", "CONNECTION");
        has_words("CREATE SECRET s ", "FROM ENV");
        has_words("CREATE OR REPLACE SECRET s FROM ", "PROMPT");
        has_words("CREATE CONNECTION c ", "TO AWS (");
        has("ALTER SECRET ", Expected::Secret);
        has("DROP CONNECTION ", Expected::Connection);
        has("VALIDATE CONNECTION ", Expected::Connection);
        has("SHOW CREATE CONNECTION ", Expected::Connection);
        has_words("EXPLAIN ", "ANALYZE");
        has_words("SHOW CREATE ", "CONNECTION");
        has_words("CREATE OR ", "REPLACE");
        has_words("CREATE CONNECTION c TO ", "AWS (");
        has_words("SELECT a FROM t GROUP ", "BY");
        has_words("CREATE EXTERNAL TABLE t STORED AS ", "PARQUET");
        has("EXPLAIN ANALYZE COPY ", Expected::Table);
    }

    #[test]
    fn copy_is_known_from_its_source_to_its_options() {
        has("COPY ", Expected::Table);
        has_words("COPY t ", "TO");
        has_words("COPY t TO ", "STDOUT");
        has_words("COPY t TO 's3://b/p' ", "WITH (");
        has("COPY (SELECT ", Expected::Column);
        has("COPY (SELECT * FROM ", Expected::Table);
        let list = "COPY t TO 's3://b/p' WITH (";
        has_words(list, "AWS CONNECTION");
        has_words(&format!("{list}AWS "), "CONNECTION");
        has(&format!("{list}AWS CONNECTION = "), Expected::Connection);
        has(&format!("{list}aws_connection "), Expected::Connection);
        has(
            &format!("{list}AWS CONNECTION = c, FORMAT = "),
            Expected::Text("parquet"),
        );
        has(&format!("{list}FORMAT "), Expected::Text("parquet"));
        has(&format!("{list}PARTITION BY = (a, "), Expected::Column);
        has_not(&format!("{list}FORMAT = csv, "), "FORMAT");
        has_words(&format!("{list}FORMAT = csv, HEADER, "), "MODE");
        has_words(&format!("{list}HEADER "), "true");
    }

    #[test]
    fn connections_know_their_options_and_secrets() {
        let list = "CREATE CONNECTION c TO AWS (";
        has_words(list, "SECRET ACCESS KEY");
        has_words(&format!("{list}SECRET "), "ACCESS KEY");
        has_words(&format!("{list}SECRET ACCESS KEY = "), "SECRET");
        has(
            &format!("{list}SECRET ACCESS KEY = SECRET "),
            Expected::Secret,
        );
        has(
            &format!("{list}SECRET ACCESS KEY SECRET "),
            Expected::Secret,
        );
        has(&format!("{list}URL STYLE = "), Expected::Text("path"));
        has_words("ALTER CONNECTION c ", "RESET (");
        has_words("ALTER CONNECTION c RESET (", "REGION");
        has_words(
            "CREATE CONNECTION c TO AWS (REGION = 'r') WITH (",
            "VALIDATE",
        );
    }

    #[test]
    fn a_text_after_from_is_a_path() {
        assert_eq!(expected_at("SELECT * FROM ", true), [Expected::Path]);
        assert_eq!(expected_at("COPY t TO ", true), [Expected::Path]);
        let call = "SELECT * FROM read_parquet('s3://b/p', aws_connection => ";
        assert_eq!(expected_at(call, true), [Expected::Connection]);
        assert!(expected_at("SELECT * FROM t WHERE a = ", true).is_empty());
    }
}
