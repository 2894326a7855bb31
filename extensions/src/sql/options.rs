//! Option lists: `(ACCESS KEY ID = 'x', FORMAT parquet, HEADER)`.
//!
//! Invariant: a value is read only after the option's name was recognised. In names, case does not
//! matter and underscores equal spaces. `=` is optional. The error for an unknown name suggests the
//! nearest known name.

use sqlparser::tokenizer::Token;

use super::ast::{OptionValue, SqlOption};
use super::cursor::{Cursor, into_text, word_to_ident};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

/// An option that a statement accepts: the single definition of its name, values and help.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The canonical name: upper case, one space between words.
    pub(super) name: &'static str,
    /// The values that it takes.
    pub(super) values: Values,
    /// A short description for a list of completions.
    pub(super) help: &'static str,
}

/// The values that an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// A text, number or character that can't be listed.
    Any,
    Boolean,
    /// One of these texts and no other.
    OneOf(&'static [&'static str]),
    /// A text. These are examples.
    Such(&'static [&'static str]),
    Connection,
    /// `SECRET name`, or a text that is not secret.
    TextOrSecret,
    /// `SECRET name`. A text given for it may be the secret itself.
    Secret,
    /// `(column, …)`
    Columns,
}

impl Known {
    /// Whether a text given for it may be a secret.
    fn is_sensitive(&self) -> bool {
        self.values == Values::Secret
    }
}

const fn option(name: &'static str, values: Values, help: &'static str) -> Known {
    Known { name, values, help }
}

const SIZES: Values = Values::Such(&["64MB", "256MB", "1GB"]);

/// The options of `CREATE CONNECTION … TO AWS`.
pub(super) const CONNECTION_OPTIONS: &[Known] = &[
    option("ENDPOINT", Values::Any, "URL of a store that is not AWS"),
    option("REGION", Values::Any, "region to sign requests for"),
    option(
        "ACCESS KEY ID",
        Values::TextOrSecret,
        "id of the access key",
    ),
    option("SECRET ACCESS KEY", Values::Secret, "SECRET name"),
    option("SESSION TOKEN", Values::Secret, "SECRET name"),
    option("ASSUME ROLE ARN", Values::Any, "role to assume"),
    option(
        "ASSUME ROLE SESSION NAME",
        Values::Any,
        "name of the role's session",
    ),
    option(
        "EXTERNAL ID",
        Values::Any,
        "external id that the role asks for",
    ),
    option("PROFILE", Values::Any, "profile of the AWS configuration"),
    option(
        "CREDENTIAL CHAIN",
        Values::Boolean,
        "use AWS's credential chain",
    ),
    option(
        "URL STYLE",
        Values::OneOf(&["path", "virtual"]),
        "place of the bucket in URLs",
    ),
    option(
        "ALLOW HTTP",
        Values::Boolean,
        "allow an endpoint without TLS",
    ),
];

/// The options whose values may be secrets.
pub(super) const OPTIONS_WITH_SECRETS: [&str; 2] = ["SECRET ACCESS KEY", "SESSION TOKEN"];

/// The options after `WITH` of `CREATE CONNECTION` and `ALTER CONNECTION`.
pub(super) const VALIDATE_OPTIONS: &[Known] = &[option(
    "VALIDATE",
    Values::Boolean,
    "check that the connection works",
)];

const AWS_CONNECTION: Known = option(
    "AWS CONNECTION",
    Values::Connection,
    "connection to the store",
);

const FORMAT: Known = option(
    "FORMAT",
    Values::OneOf(&["parquet", "csv", "json"]),
    "format of the files",
);

/// The options of `COPY … TO`.
pub(super) const COPY_OPTIONS: &[Known] = &[
    AWS_CONNECTION,
    FORMAT,
    option("MAX FILE SIZE", SIZES, "encoded bytes of a full file"),
    option(
        "MODE",
        Values::OneOf(&["error", "append", "overwrite", "overwrite partitions"]),
        "what to do with objects under the target",
    ),
    option(
        "FORCE",
        Values::Boolean,
        "let MODE 'overwrite' delete files that no export wrote, and 'append' add other files",
    ),
    option(
        "SINGLE FILE",
        Values::Boolean,
        "write one object with the target's name",
    ),
    option(
        "PARTITION BY",
        Values::Columns,
        "a folder for each value of these columns",
    ),
    option(
        "PARTITION COLUMNS",
        Values::OneOf(&["drop", "keep"]),
        "whether files keep the partition columns",
    ),
    option(
        "MAX OPEN FILES",
        Values::Any,
        "files open at once with PARTITION BY",
    ),
    option(
        "SYNC",
        Values::Boolean,
        "wait until files on this machine are on the disk",
    ),
    option("MANIFEST", Values::Boolean, "leave a list of the objects"),
    option(
        "RETURN",
        Values::OneOf(&["count", "files"]),
        "rows of the result",
    ),
    option(
        "COMPRESSION",
        Values::Such(&[
            "none", "snappy", "zstd", "zstd(9)", "gzip", "brotli", "lz4_raw",
        ]),
        "codec, with a level as in 'zstd(9)'",
    ),
    option(
        "PASSTHROUGH",
        Values::OneOf(&["auto", "off"]),
        "move row groups of Parquet files that need no change, without decoding",
    ),
    option(
        "TIMESTAMP UNIT",
        Values::OneOf(&["ns", "us", "ms"]),
        "unit to cast timestamps to",
    ),
    option("ROW GROUP ROWS", Values::Any, "maximum rows of a row group"),
    option(
        "ROW GROUP SIZE",
        SIZES,
        "maximum encoded bytes of a row group",
    ),
    option(
        "HEADER",
        Values::Boolean,
        "name the columns in the first line",
    ),
    option("DELIMITER", Values::Any, "character between values"),
    option("QUOTE", Values::Any, "character around values"),
    option("ESCAPE", Values::Any, "character before a quote in a value"),
    option("NULL", Values::Any, "text that stands for NULL"),
    option(
        "FORCE QUOTE",
        Values::Columns,
        "columns that are always quoted",
    ),
    option(
        "SERVER SIDE ENCRYPTION",
        Values::OneOf(&["AES256", "aws:kms", "aws:kms:dsse"]),
        "how the store encrypts the objects",
    ),
    option("KMS KEY ID", Values::Any, "KMS key to encrypt with"),
    option(
        "STORAGE CLASS",
        Values::Such(&["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING"]),
        "storage class of the objects",
    ),
    option(
        "CHECKSUM",
        Values::OneOf(&["none", "sha256"]),
        "checksum for the store to verify",
    ),
];

/// The texts that an option of `COPY` accepts; empty if it has no complete list of texts.
pub(crate) fn choices(name: &str) -> &'static [&'static str] {
    match COPY_OPTIONS.iter().find(|option| option.name == name) {
        Some(Known {
            values: Values::OneOf(choices),
            ..
        }) => choices,
        _ => &[],
    }
}

/// DuckDB's names for some options, each with Tidegate's name.
const ALIASES: &[(&str, &str)] = &[
    ("CODEC", "COMPRESSION"),
    ("DELIM", "DELIMITER"),
    ("SEP", "DELIMITER"),
    ("NULLSTR", "NULL"),
    ("FILE SIZE BYTES", "MAX FILE SIZE"),
    ("ROW GROUP SIZE BYTES", "ROW GROUP SIZE"),
];

/// The options of `COPY … FROM`.
pub(super) const COPY_FROM_OPTIONS: &[Known] = &[
    AWS_CONNECTION,
    FORMAT,
    option(
        "COMPRESSION",
        Values::OneOf(&["none", "gzip", "zstd", "bzip2", "xz"]),
        "codec of csv and json",
    ),
    option("HEADER", Values::Boolean, "the first line names columns"),
    option("DELIMITER", Values::Any, "character between values"),
    option("QUOTE", Values::Any, "character around values"),
    option("ESCAPE", Values::Any, "character before a quote in a value"),
    option("NULL", Values::Any, "text that stands for NULL"),
];

/// The options of `SHOW FILES`.
pub(super) const SHOW_FILES_OPTIONS: &[Known] = &[AWS_CONNECTION];

/// The options of `RECOVER EXPORT`.
pub(super) const RECOVER_OPTIONS: &[Known] = &[
    AWS_CONNECTION,
    option(
        "FORCE",
        Values::Boolean,
        "also recover exports that may still be running",
    ),
];

/// Parses `(name [=] value, …)`. An unknown or repeated name is an error.
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
    // Without "=" the value's first word looks like part of the name, so take the longest known
    // name that the words begin with.
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
        // Without "=" the word may be a secret whose option name is missing: do not quote it.
        return Err(cursor.expected("the name of an option"));
    }
    let written = if named_by_equals {
        words.join(" ")
    } else {
        words[0].clone()
    };
    Err(unknown_option(&written, known, statement).at(cursor.location()))
}

/// The unquoted words from the cursor on, in upper case and with underscores as spaces.
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

/// The number of leading `words` that together spell all of `name`; `None` if they do not.
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

/// Returns the candidate most similar to `written`, ignoring case, or `None` if no candidate is
/// similar enough.
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

/// Whether `written` may be a misspelling of `word`, which must be in upper case. Case is ignored,
/// and one typing error is allowed for every three letters of `word`.
pub(super) fn is_near(written: &str, word: &str) -> bool {
    strsim::damerau_levenshtein(&written.to_ascii_uppercase(), word) <= word.len() / 3
}

fn parse_value(cursor: &mut Cursor, option: Known) -> Result<OptionValue> {
    let has_equals = cursor.accept(&Token::Eq);
    if cursor.at_words(&["SECRET"]) && matches!(cursor.peek_nth(1), Some(Token::Word(_))) {
        // A name follows, not a value.
        cursor.skip(1);
        return Ok(OptionValue::Secret(
            cursor.identifier("the name of a secret")?,
        ));
    }
    if option.is_sensitive() && !matches!(cursor.peek(), Some(Token::Comma | Token::RParen) | None)
    {
        // Any token here may be the secret itself, even without quotes.
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
        _ => {
            let expected = cursor.expected(&format!("a value for {}", option.name));
            return Err(expected.with_hint(format!("{}: {}", option.name, option.help)));
        }
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
