//! Statements about secrets and connections.
//!
//! Invariant: the value of a secret is cut out of the tokens before any parser sees them, and no
//! error quotes a token that may be a secret.

use std::fmt;

use sqlparser::ast::{Expr, Ident};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::ast::{Name, OptionValue, SqlOption, escaped, write_options};
use super::cursor::{Cursor, into_text};
use super::dialect::SqlDialect;
use super::options::{CONNECTION_OPTIONS, VALIDATE_OPTIONS, parse_option_names, parse_options};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::secret::SecretValue;

/// A statement about secrets.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretStatement {
    /// `CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name { AS expression | FROM … }`
    Create {
        /// The secret's name.
        name: Ident,
        /// `OR REPLACE` was given.
        or_replace: bool,
        /// `IF NOT EXISTS` was given.
        if_not_exists: bool,
        /// The value.
        value: SecretSource,
    },
    /// `ALTER SECRET [IF EXISTS] name { AS expression | FROM … }`
    Alter {
        /// The secret's name.
        name: Ident,
        /// `IF EXISTS` was given.
        if_exists: bool,
        /// The new value.
        value: SecretSource,
    },
    /// `ALTER SECRET [IF EXISTS] name RENAME TO name`
    Rename(Rename),
    /// `DROP SECRET [IF EXISTS] name [CASCADE | RESTRICT]`
    Drop(DropObject),
    /// `SHOW SECRETS [LIKE 'pattern']`
    Show {
        /// The pattern that names must match.
        like: Option<String>,
    },
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretSource {
    /// `AS expression`
    Expression(Box<SecretExpr>),
    /// `FROM ENV 'variable'`
    Environment(String),
    /// `FROM FILE 'path'`
    File(String),
    /// `FROM PROMPT`
    Prompt,
}

/// A constant expression with its literals cut out: `decode($1, $2)`.
#[derive(Clone, PartialEq)]
pub struct SecretExpr {
    /// The expression, with `$n` instead of the n-th literal.
    pub expr: Expr,
    /// The literals, in order.
    pub literals: Vec<SecretValue>,
}

/// The expression may hold a secret that was written without quotes, so it is not printed either.
impl fmt::Debug for SecretExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretExpr(…)")
    }
}

/// A statement about connections.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionStatement {
    /// `CREATE CONNECTION [IF NOT EXISTS] name TO AWS (option = value, …) [WITH (VALIDATE = …)]`
    Create {
        /// The connection's name.
        name: Ident,
        /// `IF NOT EXISTS` was given.
        if_not_exists: bool,
        /// The options in the order given; their names are checked, their values are not.
        options: Vec<SqlOption>,
        /// The options of `WITH`.
        with: Vec<SqlOption>,
    },
    /// `ALTER CONNECTION [IF EXISTS] name change [, …] [WITH (VALIDATE = …)]`
    Alter {
        /// The connection's name.
        name: Ident,
        /// `IF EXISTS` was given.
        if_exists: bool,
        /// The changes, made together.
        changes: Vec<OptionChange>,
        /// The options of `WITH`.
        with: Vec<SqlOption>,
    },
    /// `ALTER CONNECTION [IF EXISTS] name RENAME TO name`
    Rename(Rename),
    /// `DROP CONNECTION [IF EXISTS] name [CASCADE | RESTRICT]`
    Drop(DropObject),
    /// `SHOW CONNECTIONS [LIKE 'pattern']`
    Show {
        /// The pattern that names must match.
        like: Option<String>,
    },
    /// `SHOW CREATE CONNECTION name`
    ShowCreate {
        /// The connection's name.
        name: Ident,
    },
    /// `VALIDATE CONNECTION name [FOR target]`
    Validate {
        /// The connection's name.
        name: Ident,
        /// The target to check: a constant text expression, and its location.
        target: Option<Box<(Expr, Location)>>,
    },
}

/// One part of `ALTER CONNECTION`.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionChange {
    /// `SET (option = value, …)`
    Set(Vec<SqlOption>),
    /// `DROP (option, …)`
    Drop(Vec<&'static str>),
    /// `RESET (option, …)`
    Reset(Vec<&'static str>),
}

/// `RENAME TO`
#[derive(Debug, Clone, PartialEq)]
pub struct Rename {
    /// The old name.
    pub name: Ident,
    /// `IF EXISTS` was given.
    pub if_exists: bool,
    /// The new name.
    pub to: Ident,
}

/// `DROP`
#[derive(Debug, Clone, PartialEq)]
pub struct DropObject {
    /// The name.
    pub name: Ident,
    /// `IF EXISTS` was given.
    pub if_exists: bool,
    /// `CASCADE` was given.
    pub cascade: bool,
}

/// A statement about secrets or connections.
pub(super) enum CatalogStatement {
    Secret(SecretStatement),
    Connection(ConnectionStatement),
}

/// The kind of a statement, known from its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Alter,
    Drop,
    Show,
    ShowCreate,
    Validate,
}

/// The words that begin these statements.
const BEGINNINGS: &[(&[&str], Verb)] = &[
    (&["CREATE", "SECRET"], Verb::Create),
    (&["CREATE", "OR", "REPLACE", "SECRET"], Verb::Create),
    (&["CREATE", "CONNECTION"], Verb::Create),
    (&["CREATE", "OR", "REPLACE", "CONNECTION"], Verb::Create),
    (&["ALTER", "SECRET"], Verb::Alter),
    (&["ALTER", "CONNECTION"], Verb::Alter),
    (&["DROP", "SECRET"], Verb::Drop),
    (&["DROP", "CONNECTION"], Verb::Drop),
    (&["SHOW", "SECRETS"], Verb::Show),
    (&["SHOW", "CONNECTIONS"], Verb::Show),
    (&["SHOW", "CREATE", "CONNECTION"], Verb::ShowCreate),
    (&["VALIDATE", "CONNECTION"], Verb::Validate),
];

/// Whether one of these statements begins `offset` tokens after the cursor.
pub(super) fn at_catalog_statement(cursor: &Cursor, offset: usize) -> bool {
    BEGINNINGS
        .iter()
        .any(|(words, _)| cursor.at_words_from(offset, words))
}

/// Parses a statement that [`at_catalog_statement`] recognised.
///
/// # Errors
/// [`ErrorKind::Syntax`], or [`ErrorKind::InvalidParameter`] for an option.
pub(super) fn parse_catalog_statement(
    cursor: &mut Cursor,
    sql: &SqlDialect,
) -> Result<CatalogStatement> {
    cursor.hide_tokens();
    let beginning = BEGINNINGS
        .iter()
        .find(|(words, _)| cursor.accept_words(words));
    let Some((words, verb)) = beginning else {
        return Err(cursor.expected("a statement about secrets or connections"));
    };
    let or_replace = words.contains(&"OR");
    Ok(match words.last() {
        Some(&("SECRET" | "SECRETS")) => {
            CatalogStatement::Secret(parse_secret(cursor, sql, *verb, or_replace)?)
        }
        _ => CatalogStatement::Connection(parse_connection(cursor, sql, *verb, or_replace)?),
    })
}

fn parse_secret(
    cursor: &mut Cursor,
    sql: &SqlDialect,
    verb: Verb,
    or_replace: bool,
) -> Result<SecretStatement> {
    const NAME: &str = "the name of a secret";
    match verb {
        Verb::Show => Ok(SecretStatement::Show {
            like: parse_like(cursor)?,
        }),
        Verb::Drop => Ok(SecretStatement::Drop(parse_drop(cursor, NAME)?)),
        Verb::Alter => {
            let if_exists = cursor.accept_words(&["IF", "EXISTS"]);
            let name = cursor.identifier(NAME)?;
            if cursor.accept_words(&["RENAME", "TO"]) {
                let to = cursor.identifier(NAME)?;
                let rename = Rename {
                    name,
                    if_exists,
                    to,
                };
                return Ok(SecretStatement::Rename(rename));
            }
            Ok(SecretStatement::Alter {
                name,
                if_exists,
                value: parse_source(cursor, sql)?,
            })
        }
        _ => {
            let if_not_exists = cursor.accept_words(&["IF", "NOT", "EXISTS"]);
            Ok(SecretStatement::Create {
                name: cursor.identifier(NAME)?,
                or_replace,
                if_not_exists,
                value: parse_source(cursor, sql)?,
            })
        }
    }
}

fn parse_connection(
    cursor: &mut Cursor,
    sql: &SqlDialect,
    verb: Verb,
    or_replace: bool,
) -> Result<ConnectionStatement> {
    const NAME: &str = "the name of a connection";
    match verb {
        Verb::Show => Ok(ConnectionStatement::Show {
            like: parse_like(cursor)?,
        }),
        Verb::Drop => Ok(ConnectionStatement::Drop(parse_drop(cursor, NAME)?)),
        Verb::ShowCreate => Ok(ConnectionStatement::ShowCreate {
            name: cursor.identifier(NAME)?,
        }),
        Verb::Validate => {
            let name = cursor.identifier(NAME)?;
            let target = match cursor.accept_words(&["FOR"]) {
                true => {
                    let location = cursor.location();
                    let dialect = sql.dialect();
                    let target =
                        cursor.parse_with(dialect.as_ref(), sql.recursion_limit(), |parser| {
                            parser.parse_expr()
                        })?;
                    Some(Box::new((target, location)))
                }
                false => None,
            };
            Ok(ConnectionStatement::Validate { name, target })
        }
        Verb::Alter => parse_alter_connection(cursor),
        Verb::Create if or_replace => Err(Error::new(
            ErrorKind::Syntax,
            "CREATE OR REPLACE CONNECTION is not supported",
        )
        .with_hint("use CREATE CONNECTION IF NOT EXISTS, or ALTER CONNECTION")
        .at(cursor.location())),
        Verb::Create => {
            let if_not_exists = cursor.accept_words(&["IF", "NOT", "EXISTS"]);
            let name = cursor.identifier(NAME)?;
            cursor.expect_words(&["TO", "AWS"])?;
            Ok(ConnectionStatement::Create {
                name,
                if_not_exists,
                options: parse_options(cursor, CONNECTION_OPTIONS, "CREATE CONNECTION")?,
                with: parse_with(cursor, "CREATE CONNECTION")?,
            })
        }
    }
}

fn parse_alter_connection(cursor: &mut Cursor) -> Result<ConnectionStatement> {
    const STATEMENT: &str = "ALTER CONNECTION";
    let if_exists = cursor.accept_words(&["IF", "EXISTS"]);
    let name = cursor.identifier("the name of a connection")?;
    if cursor.accept_words(&["RENAME", "TO"]) {
        let to = cursor.identifier("the name of a connection")?;
        return Ok(ConnectionStatement::Rename(Rename {
            name,
            if_exists,
            to,
        }));
    }
    let mut changes = Vec::new();
    loop {
        changes.push(if cursor.accept_words(&["SET"]) {
            OptionChange::Set(parse_options(cursor, CONNECTION_OPTIONS, STATEMENT)?)
        } else if cursor.accept_words(&["DROP"]) {
            OptionChange::Drop(parse_option_names(cursor, CONNECTION_OPTIONS, STATEMENT)?)
        } else if cursor.accept_words(&["RESET"]) {
            OptionChange::Reset(parse_option_names(cursor, CONNECTION_OPTIONS, STATEMENT)?)
        } else {
            return Err(cursor.expected("SET (…), DROP (…), RESET (…) or RENAME TO"));
        });
        if !cursor.accept(&Token::Comma) {
            break;
        }
    }
    Ok(ConnectionStatement::Alter {
        name,
        if_exists,
        changes,
        with: parse_with(cursor, STATEMENT)?,
    })
}

fn parse_with(cursor: &mut Cursor, statement: &str) -> Result<Vec<SqlOption>> {
    match cursor.accept_words(&["WITH"]) {
        true => parse_options(cursor, VALIDATE_OPTIONS, statement),
        false => Ok(Vec::new()),
    }
}

fn parse_drop(cursor: &mut Cursor, what: &str) -> Result<DropObject> {
    let if_exists = cursor.accept_words(&["IF", "EXISTS"]);
    let name = cursor.identifier(what)?;
    let cascade = cursor.accept_words(&["CASCADE"]);
    if !cascade {
        cursor.accept_words(&["RESTRICT"]);
    }
    Ok(DropObject {
        name,
        if_exists,
        cascade,
    })
}

fn parse_like(cursor: &mut Cursor) -> Result<Option<String>> {
    match cursor.accept_words(&["LIKE"]) {
        true => cursor.text("a pattern in single quotes").map(Some),
        false => Ok(None),
    }
}

fn parse_source(cursor: &mut Cursor, sql: &SqlDialect) -> Result<SecretSource> {
    if cursor.accept_words(&["FROM", "ENV"]) {
        let variable = cursor.text("the name of an environment variable in single quotes")?;
        return Ok(SecretSource::Environment(variable));
    }
    if cursor.accept_words(&["FROM", "FILE"]) {
        return Ok(SecretSource::File(cursor.text("a path in single quotes")?));
    }
    if cursor.accept_words(&["FROM", "PROMPT"]) {
        return Ok(SecretSource::Prompt);
    }
    if cursor.at_words(&["FROM"]) {
        return Err(cursor.expected("FROM ENV 'variable', FROM FILE 'path' or FROM PROMPT"));
    }
    cursor.expect_words(&["AS"])?;
    let expression = parse_secret_expr(cursor, sql)?;
    Ok(SecretSource::Expression(Box::new(expression)))
}

/// Replaces the literals by placeholders, then lets sqlparser parse the expression.
fn parse_secret_expr(cursor: &mut Cursor, sql: &SqlDialect) -> Result<SecretExpr> {
    let start = cursor.location();
    let mut literals = Vec::new();
    let mut cut = Vec::new();
    let mut may_be_type = false;
    while let Some(token) = cursor.take() {
        let is_called = cursor.peek() == Some(&Token::LParen);
        if let Token::Word(word) = &token
            && !(is_called || may_be_type || is_harmless(word))
        {
            // The word may be the secret, written without quotes.
            return Err(not_a_secret(start));
        }
        may_be_type = match &token {
            Token::Word(word) => word.keyword == Keyword::AS,
            other => *other == Token::DoubleColon,
        };
        match into_text(token) {
            Ok(text) => {
                literals.push(SecretValue::new(text));
                cut.push(Token::Placeholder(format!("${}", literals.len())));
            }
            // Names, calls and operators are harmless; any other literal could be the secret.
            Err(
                token @ (Token::Word(_)
                | Token::LParen
                | Token::RParen
                | Token::Comma
                | Token::StringConcat
                | Token::DoubleColon),
            ) => cut.push(token),
            Err(_) => return Err(not_a_secret(start)),
        }
    }
    let cut = cut.into_iter().map(TokenWithSpan::wrap).collect();
    let mut rest = Cursor::new(cut);
    let parsed = rest.parse_with(sql.dialect().as_ref(), sql.recursion_limit(), |parser| {
        parser.parse_expr()
    });
    match parsed {
        Ok(expr) if rest.at_end() => Ok(SecretExpr { expr, literals }),
        _ => Err(not_a_secret(start)),
    }
}

/// Keywords that a secret's expression may contain besides functions and types.
fn is_harmless(word: &Word) -> bool {
    let keywords = [Keyword::AS, Keyword::NULL, Keyword::TRUE, Keyword::FALSE];
    word.quote_style.is_none() && keywords.contains(&word.keyword)
}

/// The error does not quote the expression, because it may be the secret itself.
fn not_a_secret(start: Location) -> Error {
    Error::new(
        ErrorKind::Syntax,
        "expected one constant expression of type text or bytea after AS",
    )
    .with_hint("write the value in single quotes: CREATE SECRET name AS 'value'")
    .at(start)
}

fn quoted(text: &str) -> String {
    OptionValue::Text(text.to_owned()).to_string()
}

fn when(given: bool, words: &'static str) -> &'static str {
    if given { words } else { "" }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression(_) => f.write_str("AS '…'"),
            Self::Environment(variable) => write!(f, "FROM ENV {}", quoted(variable)),
            Self::File(path) => write!(f, "FROM FILE {}", quoted(path)),
            Self::Prompt => f.write_str("FROM PROMPT"),
        }
    }
}

impl fmt::Display for SecretStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create {
                name,
                or_replace,
                if_not_exists,
                value,
            } => write!(
                f,
                "CREATE {}SECRET {}{} {value}",
                when(*or_replace, "OR REPLACE "),
                when(*if_not_exists, "IF NOT EXISTS "),
                Name(name)
            ),
            Self::Alter {
                name,
                if_exists,
                value,
            } => write!(
                f,
                "ALTER SECRET {}{} {value}",
                when(*if_exists, "IF EXISTS "),
                Name(name)
            ),
            Self::Rename(rename) => write!(f, "ALTER SECRET {rename}"),
            Self::Drop(drop) => write!(f, "DROP SECRET {drop}"),
            Self::Show { like } => write_show(f, "SECRETS", like.as_deref()),
        }
    }
}

impl fmt::Display for ConnectionStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create {
                name,
                if_not_exists,
                options,
                with,
            } => {
                let if_not_exists = when(*if_not_exists, "IF NOT EXISTS ");
                write!(f, "CREATE CONNECTION {if_not_exists}{} TO AWS ", Name(name))?;
                write_options(f, options)?;
                write_with(f, with)
            }
            Self::Alter {
                name,
                if_exists,
                changes,
                with,
            } => {
                let if_exists = when(*if_exists, "IF EXISTS ");
                write!(f, "ALTER CONNECTION {if_exists}{}", Name(name))?;
                for (i, change) in changes.iter().enumerate() {
                    write!(f, "{} {change}", when(i > 0, ","))?;
                }
                write_with(f, with)
            }
            Self::Rename(rename) => write!(f, "ALTER CONNECTION {rename}"),
            Self::Drop(drop) => write!(f, "DROP CONNECTION {drop}"),
            Self::Show { like } => write_show(f, "CONNECTIONS", like.as_deref()),
            Self::ShowCreate { name } => write!(f, "SHOW CREATE CONNECTION {}", Name(name)),
            Self::Validate { name, target } => {
                write!(f, "VALIDATE CONNECTION {}", Name(name))?;
                match target {
                    Some(target) => write!(f, " FOR {}", escaped(&target.0)),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for OptionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(options) => {
                f.write_str("SET ")?;
                write_options(f, options)
            }
            Self::Drop(names) => write!(f, "DROP ({})", names.join(", ")),
            Self::Reset(names) => write!(f, "RESET ({})", names.join(", ")),
        }
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_exists = when(self.if_exists, "IF EXISTS ");
        write!(
            f,
            "{if_exists}{} RENAME TO {}",
            Name(&self.name),
            Name(&self.to)
        )
    }
}

impl fmt::Display for DropObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_exists = when(self.if_exists, "IF EXISTS ");
        let cascade = when(self.cascade, " CASCADE");
        write!(f, "{if_exists}{}{cascade}", Name(&self.name))
    }
}

fn write_show(f: &mut fmt::Formatter<'_>, what: &str, like: Option<&str>) -> fmt::Result {
    write!(f, "SHOW {what}")?;
    match like {
        Some(pattern) => write!(f, " LIKE {}", quoted(pattern)),
        None => Ok(()),
    }
}

fn write_with(f: &mut fmt::Formatter<'_>, options: &[SqlOption]) -> fmt::Result {
    if options.is_empty() {
        return Ok(());
    }
    f.write_str(" WITH ")?;
    write_options(f, options)
}
