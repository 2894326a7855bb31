//! Detects texts that may hold a secret.
//!
//! Invariant: in doubt, the answer is yes. Callers check every text that a user typed, including
//! statements with typing errors, before they store or show any of it.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::Token;

use super::dialect::SqlDialect;
use super::options::{OPTIONS_WITH_SECRETS, is_near};
use super::parser::parse_statement;
use super::script::{ScriptStatement, split_script};

/// Words after which a literal may be a secret.
const WORDS: [&str; 4] = ["SECRET", "SECRETS", "TOKEN", "PASSWORD"];

/// Parameters of signed URLs. A quoted text that contains one of them holds credentials.
const IN_TEXTS: [&str; 4] = ["signature=", "sig=", "credential=", "token="];

/// Nesting limit for expressions when [`is_understood`] parses a statement.
const RECURSION_LIMIT: usize = 50;

/// Whether a text that a user typed may hold the value of a secret. True if a statement in it
/// - creates or alters a secret,
/// - has a literal after a word like `SECRET`, even if that word is misspelt,
/// - has a URL with credentials,
/// - creates or alters a connection and cannot be parsed, or
/// - begins with a literal, which means that the beginning of the statement is missing.
///
/// If a literal or comment is not closed, a word like `SECRET` or `CONNECTION` is enough.
/// `SECRET ACCESS KEY = SECRET name` does not count, because it holds only a secret's name.
pub fn may_hold_secret(text: &str) -> bool {
    let script = split_script(text, &GenericDialect {});
    if script.error.is_some() {
        // The open literal runs to the end of the text, so every word of the text is checked.
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

/// Whether a literal follows a suspicious word, or holds credentials.
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
            // A quoted text may also name a setting, such as 'aws.secret_access_key'.
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

/// The number of tokens of an option that names a secret, such as
/// `SECRET ACCESS KEY = SECRET name`. `None` if the tokens do not begin with such an option, or if
/// it does not end after the name.
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

/// Whether the token is a literal or may be part of one. Only unquoted words and some punctuation
/// are not.
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
