//! Option lists: `(ACCESS KEY ID = 'x', FORMAT parquet, HEADER)`.
//!
//! Invariant: names are known before values are looked at. Case does not matter, underscores equal
//! spaces, `=` may be left out, and an unknown name is answered with the nearest known one.

use sqlparser::tokenizer::Token;

use super::ast::{OptionValue, SqlOption};
use super::cursor::{Cursor, word_to_ident};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// An option that a statement knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The canonical name: upper case, one space between words.
    pub(super) name: &'static str,
    /// Whether a text given for it may be a secret.
    pub(super) sensitive: bool,
}

const fn plain(name: &'static str) -> Known {
    Known {
        name,
        sensitive: false,
    }
}

const fn sensitive(name: &'static str) -> Known {
    Known {
        name,
        sensitive: true,
    }
}

/// The options of `CREATE CONNECTION … TO AWS`.
pub(super) const CONNECTION_OPTIONS: &[Known] = &[
    plain("ENDPOINT"),
    plain("REGION"),
    plain("ACCESS KEY ID"),
    sensitive("SECRET ACCESS KEY"),
    sensitive("SESSION TOKEN"),
    plain("ASSUME ROLE ARN"),
    plain("ASSUME ROLE SESSION NAME"),
    plain("EXTERNAL ID"),
    plain("PROFILE"),
    plain("CREDENTIAL CHAIN"),
    plain("URL STYLE"),
    plain("ALLOW HTTP"),
];

/// The options whose values may be secrets.
pub(super) const OPTIONS_WITH_SECRETS: [&str; 2] = ["SECRET ACCESS KEY", "SESSION TOKEN"];

/// The options after `WITH` of `CREATE CONNECTION` and `ALTER CONNECTION`.
pub(super) const VALIDATE_OPTIONS: &[Known] = &[plain("VALIDATE")];

/// The options of `COPY … TO`.
pub(super) const COPY_OPTIONS: &[Known] = &[
    plain("AWS CONNECTION"),
    plain("FORMAT"),
    plain("MAX FILE SIZE"),
    plain("MODE"),
    plain("SINGLE FILE"),
    plain("PARTITION BY"),
    plain("PARTITION COLUMNS"),
    plain("MAX OPEN FILES"),
    plain("MANIFEST"),
    plain("RETURN"),
    plain("COMPRESSION"),
    plain("TIMESTAMP UNIT"),
    plain("ROW GROUP ROWS"),
    plain("ROW GROUP SIZE"),
    plain("HEADER"),
    plain("DELIMITER"),
    plain("QUOTE"),
    plain("ESCAPE"),
    plain("NULL"),
    plain("FORCE QUOTE"),
    plain("SERVER SIDE ENCRYPTION"),
    plain("KMS KEY ID"),
    plain("STORAGE CLASS"),
    plain("CHECKSUM"),
];

/// What an option's value may be, for whoever helps to type it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values {
    Any,
    Boolean,
    /// One of these texts; others may be possible, too.
    OneOf(&'static [&'static str]),
    Connection,
    /// `SECRET name`
    Secret,
    /// `(column, …)`
    Columns,
}

/// The values of an option by its canonical name.
pub(super) fn values_of(name: &str) -> Values {
    match name {
        "AWS CONNECTION" => Values::Connection,
        "FORMAT" => Values::OneOf(&["parquet", "csv", "json"]),
        "MODE" => Values::OneOf(&["error", "append", "overwrite"]),
        "PARTITION BY" | "FORCE QUOTE" => Values::Columns,
        "PARTITION COLUMNS" => Values::OneOf(&["drop", "keep"]),
        "RETURN" => Values::OneOf(&["count", "files"]),
        "COMPRESSION" => Values::OneOf(&[
            "none", "snappy", "zstd", "zstd(9)", "gzip", "brotli", "lz4_raw",
        ]),
        "TIMESTAMP UNIT" => Values::OneOf(&["ns", "us", "ms"]),
        "SERVER SIDE ENCRYPTION" => Values::OneOf(&["AES256", "aws:kms"]),
        "STORAGE CLASS" => Values::OneOf(&["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING"]),
        "CHECKSUM" => Values::OneOf(&["none", "sha256"]),
        "URL STYLE" => Values::OneOf(&["path", "virtual"]),
        "MAX FILE SIZE" | "ROW GROUP SIZE" => Values::OneOf(&["64MB", "256MB", "1GB"]),
        "SECRET ACCESS KEY" | "SESSION TOKEN" | "ACCESS KEY ID" => Values::Secret,
        "SINGLE FILE" | "MANIFEST" | "HEADER" | "CREDENTIAL CHAIN" | "ALLOW HTTP" | "FORCE"
        | "VALIDATE" => Values::Boolean,
        _ => Values::Any,
    }
}

/// Names that DuckDB has for some of them.
const ALIASES: &[(&str, &str)] = &[
    ("CODEC", "COMPRESSION"),
    ("DELIM", "DELIMITER"),
    ("SEP", "DELIMITER"),
    ("NULLSTR", "NULL"),
    ("FILE SIZE BYTES", "MAX FILE SIZE"),
    ("ROW GROUP SIZE BYTES", "ROW GROUP SIZE"),
];

/// The options of `RECOVER EXPORT`.
pub(super) const RECOVER_OPTIONS: &[Known] = &[plain("AWS CONNECTION"), plain("FORCE")];

/// Parses `(name [=] value, …)`, checking names and that none is given twice.
///
/// `statement` names the statement in errors.
pub(super) fn parse_options(
    cursor: &mut Cursor,
    known: &[Known],
    statement: &str,
) -> Result<Vec<SqlOption>> {
    cursor.expect(&Token::LParen)?;
    let mut options: Vec<SqlOption> = Vec::new();
    if cursor.accept(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let location = cursor.location();
        let option = parse_name(cursor, known, statement)?;
        if options.iter().any(|earlier| earlier.name == option.name) {
            let message = format!("option {} of {statement} is given twice", option.name);
            return Err(Error::new(ErrorKind::InvalidParameter, message).at(location));
        }
        let value = parse_value(cursor, option)?;
        options.push(SqlOption {
            name: option.name,
            value,
            location,
        });
        if cursor.accept(&Token::Comma) {
            continue;
        }
        cursor.expect(&Token::RParen)?;
        return Ok(options);
    }
}

/// Parses `(name, …)`.
pub(super) fn parse_option_names(
    cursor: &mut Cursor,
    known: &[Known],
    statement: &str,
) -> Result<Vec<&'static str>> {
    cursor.expect(&Token::LParen)?;
    let mut names = Vec::new();
    loop {
        names.push(parse_name(cursor, known, statement)?.name);
        if !cursor.accept(&Token::Comma) {
            cursor.expect(&Token::RParen)?;
            return Ok(names);
        }
    }
}

fn parse_name(cursor: &mut Cursor, known: &[Known], statement: &str) -> Result<Known> {
    let words = leading_words(cursor);
    if words.is_empty() {
        return Err(cursor.expected("the name of an option"));
    }
    // Without "=" the value's first word looks like part of the name, so the longest known name
    // that the words begin with is the one meant.
    let by_alias = ALIASES.iter().filter_map(|(alias, name)| {
        let option = known.iter().find(|option| option.name == *name)?;
        Some((*alias, option))
    });
    let found = known
        .iter()
        .map(|option| (option.name, option))
        .chain(by_alias)
        .filter_map(|(name, option)| matching_words(name, &words).map(|count| (count, *option)))
        .max_by_key(|(count, _)| *count);
    if let Some((count, option)) = found {
        cursor.skip(count);
        return Ok(option);
    }
    let named_by_equals = cursor.peek_nth(words.len()) == Some(&Token::Eq);
    if !named_by_equals && cursor.hides_tokens() {
        // What stands here without "=" may be a secret whose option was forgotten.
        return Err(cursor.expected("the name of an option"));
    }
    let written = if named_by_equals {
        words.join(" ")
    } else {
        words[0].clone()
    };
    Err(unknown_option(&written, known, statement).at(cursor.location()))
}

/// The unquoted words from here on, in upper case and with underscores as spaces.
fn leading_words(cursor: &Cursor) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(Token::Word(word)) = cursor.peek_nth(words.len()) {
        if word.quote_style.is_some() {
            break;
        }
        words.push(word.value.to_ascii_uppercase().replace('_', " "));
    }
    words
}

/// How many of `words` spell `name` from its beginning to its end; `None` if they don't.
fn matching_words(name: &str, words: &[String]) -> Option<usize> {
    let mut spelled = String::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            spelled.push(' ');
        }
        spelled.push_str(word);
        if spelled == name {
            return Some(i + 1);
        }
        if spelled.len() >= name.len() {
            return None;
        }
    }
    None
}

fn unknown_option(written: &str, known: &[Known], statement: &str) -> Error {
    let names: Vec<&str> = known.iter().map(|option| option.name).collect();
    let error = Error::new(
        ErrorKind::InvalidParameter,
        format!("unknown option {written} of {statement}"),
    );
    match nearest(written, &names) {
        Some(name) => error.with_hint(format!("did you mean {name}?")),
        None => error.with_hint(format!("the options are {}", names.join(", "))),
    }
}

/// The candidate that reads most like `written`, if any is close enough to be meant.
pub fn nearest<'a>(written: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| {
            let similarity = strsim::jaro_winkler(
                &written.to_ascii_uppercase(),
                &candidate.to_ascii_uppercase(),
            );
            (similarity, *candidate)
        })
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Whether a word may be meant for another: the same but for case and a typing error for every three
/// letters.
pub(super) fn is_near(written: &str, word: &str) -> bool {
    strsim::damerau_levenshtein(&written.to_ascii_uppercase(), word) <= word.len() / 3
}

fn parse_value(cursor: &mut Cursor, option: Known) -> Result<OptionValue> {
    let has_equals = cursor.accept(&Token::Eq);
    if cursor.at_words(&["SECRET"]) && matches!(cursor.peek_nth(1), Some(Token::Word(_))) {
        // What follows is a name, not a value.
        cursor.skip(1);
        return Ok(OptionValue::Secret(
            cursor.identifier("the name of a secret")?,
        ));
    }
    if option.sensitive && !matches!(cursor.peek(), Some(Token::Comma | Token::RParen) | None) {
        // Whatever stands here may be the secret itself, however it is written.
        let text = cursor.take().map(|token| match into_text(token) {
            Ok(text) => text,
            Err(other) => other.to_string(),
        });
        let value = SecretValue::new(text.unwrap_or_default());
        return Ok(OptionValue::Sensitive(value));
    }
    let value = match cursor.peek() {
        Some(Token::Comma | Token::RParen) | None if !has_equals => return Ok(OptionValue::None),
        Some(Token::Word(word)) => {
            let ident = word_to_ident(word);
            cursor.skip(1);
            return Ok(match parse_level(cursor) {
                Some(level) => OptionValue::Text(format!("{}({level})", ident.value)),
                None => OptionValue::Word(ident),
            });
        }
        Some(Token::Mul) => OptionValue::All,
        Some(Token::Number(digits, _)) => OptionValue::Number(digits.clone()),
        Some(Token::LParen) => return Ok(OptionValue::Names(cursor.name_list("a name")?)),
        Some(token) if is_text(token) => {
            let text = cursor.take().and_then(|token| into_text(token).ok());
            return Ok(OptionValue::Text(text.unwrap_or_default()));
        }
        _ => return Err(cursor.expected(&format!("a value for {}", option.name))),
    };
    cursor.skip(1);
    Ok(value)
}

/// `(3)`, as in `zstd(3)`.
fn parse_level(cursor: &mut Cursor) -> Option<String> {
    let [
        Some(Token::LParen),
        Some(Token::Number(level, _)),
        Some(Token::RParen),
    ] = [0, 1, 2].map(|n| cursor.peek_nth(n))
    else {
        return None;
    };
    let level = level.clone();
    cursor.skip(3);
    Some(level)
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
    )
}

/// The content of a text literal, moved out of its token; another token is given back.
pub(super) fn into_text(token: Token) -> std::result::Result<String, Token> {
    match token {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::NationalStringLiteral(text) => Ok(text),
        Token::DollarQuotedString(quoted) => Ok(quoted.value),
        other => Err(other),
    }
}
