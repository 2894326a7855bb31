//! Which texts may hold a secret.
//!
//! Invariant: when in doubt, a text may. It is asked of whatever a user typed, statements with typing
//! errors in them included, before any of it is kept or shown.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::options::{OPTIONS_WITH_SECRETS, is_near};
use super::parser::{SqlDialect, parse_statement};
use super::script::split_script;

/// Words after which a literal may be a secret.
const WORDS: [&str; 4] = ["SECRET", "SECRETS", "TOKEN", "PASSWORD"];

/// How deep expressions may be nested in what is understood.
const RECURSION_LIMIT: usize = 50;

/// Whether a text that a user typed may hold the value of a secret: it creates or alters a secret, has
/// a word like `SECRET` in it, however misspelt, and anything quoted after it, or is about to make a
/// connection and not understood. `SECRET ACCESS KEY = SECRET name` does not count: what follows is a name.
pub fn may_hold_secret(text: &str) -> bool {
    let mut tokens = Vec::new();
    let is_whole = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location_into_buf(&mut tokens)
        .is_ok();
    if !is_whole {
        // What is not closed runs to the end: words in it can't be told from a secret.
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        return words.any(|word| is_suspicious(word) || is_near(word, "CONNECTION"));
    }
    if makes(text, "CONNECTION") {
        if !is_understood(text) {
            return true;
        }
    } else if makes(text, "SECRET") {
        return true;
    }
    let tokens = tokens.into_iter().map(|token| token.token);
    let tokens: Vec<Token> = tokens
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    let mut suspicious = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some(length) = names_secret(&tokens[at..]) {
            at += length;
            continue;
        }
        match token {
            Token::Word(word) if word.quote_style.is_none() => {
                suspicious |= is_suspicious(&word.value);
            }
            token if suspicious && is_quoted(token) => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

/// Whether the text creates or alters such a thing, or was meant to.
fn makes(text: &str, thing: &str) -> bool {
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let has = |wanted: &str| words.iter().any(|word| is_near(word, wanted));
    (has("CREATE") || has("ALTER")) && has(thing)
}

/// Whether every statement of the text is one.
fn is_understood(text: &str) -> bool {
    let dialect = GenericDialect {};
    let script = split_script(text, &dialect);
    let Ok(sql) = SqlDialect::new("generic".to_owned(), RECURSION_LIMIT) else {
        return false;
    };
    let mut statements = script.statements.into_iter();
    script.error.is_none() && statements.all(|statement| parse_statement(statement, &sql).is_ok())
}

fn is_suspicious(word: &str) -> bool {
    // SECRET_ACCESS_KEY is three words.
    let mut words = word.split('_');
    words.any(|word| WORDS.iter().any(|suspicious| is_near(word, suspicious)))
}

/// The tokens of `SECRET ACCESS KEY = SECRET name` and the like, which names a secret and ends.
fn names_secret(tokens: &[Token]) -> Option<usize> {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => Some(word.value.to_ascii_uppercase()),
        _ => None,
    };
    let length = OPTIONS_WITH_SECRETS.iter().find_map(|option| {
        let words: Vec<&str> = option.split(' ').collect();
        let together = (word(0)? == words.join("_")).then_some(1);
        let apart = (0..words.len()).all(|at| word(at).is_some_and(|w| w == words[at]));
        together.or(apart.then_some(words.len()))
    })?;
    let equals = usize::from(tokens.get(length) == Some(&Token::Eq));
    let value = length + equals;
    let is_name = word(value)? == "SECRET" && matches!(tokens.get(value + 1), Some(Token::Word(_)));
    let ends = matches!(
        tokens.get(value + 2),
        Some(Token::Comma | Token::RParen) | None
    );
    (is_name && ends).then_some(value + 2)
}

fn is_quoted(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_some(),
        other => !matches!(
            other,
            Token::Comma
                | Token::Period
                | Token::LParen
                | Token::RParen
                | Token::Eq
                | Token::SemiColon
                | Token::EOF
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_recognised() {
        for text in [
            "CREATE SECRET s AS 'v'",
            "create or replace secret if not exists s as decode('djE=', 'base64')",
            "ALTER SECRET s AS $$v$$",
            "ALTER SECRET s AS E'v'",
            "ALTER SECRET s AS 12345",
            "CRAETE SERCET s AS 'v'",
            "CREATE SECERT s AS 'v",
            "EXPLAIN CREATE SECRET s AS 'v'",
            "CREATE CONNECTION c TO AWS (SECRET ACCESS KEY = 'v')",
            "CREATE CONNECTION c TO AWS (SECRET_ACCESS_KEY 'v')",
            "CREATE CONNECTION c TO AWS (ACCESS KEY ID 'a', SESSION TOKEN = 'v')",
            "CREATE CONNECTION c TO AWS (SECRET ACCESS KEY = SECRET 'v')",
            "ALTER CONNECTION c SET (SESSION_TOKEN = 'v')",
            "CREATE SECRET s FROM ENV 'V'",
            "CREATE SECRET s AS \"v\"",
            "CREATE SECRET s AS v",
            "CREATE CONNECTION c TO AWS (SESSION v = 'v', ENDPOINT = 'https://x')",
            "CREATE CONECTION c TO AWS (ACCESS KEY ID = v)",
            "\\set secret 'v'",
        ] {
            assert!(may_hold_secret(text), "{text}");
        }
    }

    #[test]
    fn other_statements_are_not() {
        for text in [
            "SELECT 'v'",
            "SELECT CASE WHEN a THEN 'x' ELSE 'y' END FROM t WHERE open = 'z'",
            "SHOW SECRETS",
            "DROP SECRET s CASCADE",
            "COPY t TO 's3://b/p' WITH (AWS CONNECTION = c, FORMAT = 'parquet')",
            "CREATE CONNECTION c TO AWS (ACCESS KEY ID = 'a', SECRET ACCESS KEY = SECRET s, \
             ENDPOINT = 'https://x', REGION = 'r')",
            "CREATE CONNECTION c TO AWS (SECRET_ACCESS_KEY SECRET s, SESSION TOKEN = SECRET t, \
             ENDPOINT = 'https://x')",
            "COPY t TO 's3://b/p' WITH (AWS CONNECTION = c, FROMAT = 'parquet')",
        ] {
            assert!(!may_hold_secret(text), "{text}");
        }
    }
}
