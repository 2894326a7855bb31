//! Which texts may hold a secret.
//!
//! Invariant: when in doubt, a text may. It is asked of whatever a user typed, statements with typing
//! errors in them included, before any of it is kept or shown.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::Token;

use super::options::{OPTIONS_WITH_SECRETS, is_near};
use super::parser::{SqlDialect, parse_statement};
use super::script::{ScriptStatement, split_script};

/// Words after which a literal may be a secret.
const WORDS: [&str; 4] = ["SECRET", "SECRETS", "TOKEN", "PASSWORD"];

/// What a quoted text holds that has credentials in it: signed URLs, and URLs with a password.
const IN_TEXTS: [&str; 4] = ["signature=", "sig=", "credential=", "token="];

/// How deep expressions may be nested in what is understood.
const RECURSION_LIMIT: usize = 50;

/// Whether a text that a user typed may hold the value of a secret: a statement in it creates or alters
/// a secret, has a word like `SECRET`, however misspelt, and anything quoted after it, has a URL with
/// credentials, is about to make a connection and not understood, or is no statement because its
/// beginning is missing. `SECRET ACCESS KEY = SECRET name` does not count: what follows is a name.
pub fn may_hold_secret(text: &str) -> bool {
    let script = split_script(text, &GenericDialect {});
    if script.error.is_some() {
        // What is not closed runs to the end: words in it can't be told from a secret.
        return words_of(text).any(|word| is_suspicious(word) || is_near(word, "CONNECTION"));
    }
    script.statements.into_iter().any(statement_may)
}

fn statement_may(statement: ScriptStatement) -> bool {
    let tokens: Vec<Token> = statement
        .tokens
        .iter()
        .map(|token| token.token.clone())
        .collect();
    let makes = |thing: &str| {
        let has = |wanted: &str| tokens.iter().any(|token| spells(token, wanted));
        (has("CREATE") || has("ALTER")) && has(thing)
    };
    if tokens.first().is_some_and(is_literal) {
        return true;
    }
    if makes("CONNECTION") {
        if !is_understood(statement) {
            return true;
        }
    } else if makes("SECRET") {
        return true;
    }
    has_value_of_secret(&tokens)
}

/// Whether something quoted follows a suspicious word.
fn has_value_of_secret(tokens: &[Token]) -> bool {
    let mut suspicious = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some(length) = names_secret(&tokens[at..]) {
            at += length;
            continue;
        }
        if is_quoted(token) {
            let text = token.to_string();
            if suspicious || has_credentials(&text) {
                return true;
            }
            // The name of a setting.
            suspicious |= words_of(&text).any(is_suspicious);
        } else if let Token::Word(word) = token {
            suspicious |= words_of(&word.value).any(is_suspicious);
        }
        at += 1;
    }
    false
}

fn has_credentials(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let in_url = text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'));
    in_url || IN_TEXTS.iter().any(|part| text.contains(part))
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

fn spells(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && is_near(&word.value, wanted))
}

fn is_understood(statement: ScriptStatement) -> bool {
    let sql = SqlDialect::new("generic".to_owned(), RECURSION_LIMIT);
    sql.is_ok_and(|sql| parse_statement(statement, &sql).is_ok())
}

fn is_suspicious(word: &str) -> bool {
    WORDS.iter().any(|suspicious| is_near(word, suspicious))
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

fn is_literal(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_some(),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_) => true,
        _ => false,
    }
}

/// Whether the token is a literal, or anything else that may be part of one.
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
            "SELECT 1; 'v'; SELECT 2",
            "CREATE SECRET s AS v; CREATE CONNECTION c TO AWS (CREDENTIAL CHAIN = true)",
            "CREATE CONNECTION c TO AWS (ENDPOINT = 'https://k:v@h', CREDENTIAL CHAIN = true)",
            "COPY (SELECT 1) TO 's3://b/x' STORED AS PARQUET OPTIONS ('aws.secret_access_key' 'v')",
            "SET \"aws.secret_access_key\" = 'v'",
            "SELECT * FROM 'https://h/x.csv?X-Amz-Signature=v'",
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
