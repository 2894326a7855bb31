//! Parameters of a statement: `$1, $2, …`.
//!
//! Invariant: a value replaces its parameter as a literal token, so its text is never read as SQL.

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::script::ScriptStatement;
use crate::error::{Error, ErrorKind, Result};

/// The value of a parameter.
#[derive(Clone, PartialEq, Eq)]
pub enum ParameterValue {
    /// NULL.
    Null,
    /// A text, or the text form of a value of another type.
    Text(String),
    /// A number in decimal notation, perhaps with a sign, a point or an exponent.
    Number(String),
    /// `true` or `false`.
    Boolean(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<ParameterValue>),
}

/// A value may be a secret, so it is never printed.
impl std::fmt::Debug for ParameterValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ParameterValue(…)")
    }
}

/// A value and the SQL type that it is cast to; `None` if the context decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The value. `None` leaves the parameter in the statement.
    pub value: Option<ParameterValue>,
    /// Words of an SQL type: `double precision`.
    pub cast: Option<&'static str>,
}

/// What the text around a parameter says of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterUse {
    /// `$1::bigint` or `CAST($1 AS bigint)`: the type, in lower case, with `[]` for an array.
    Cast(String),
    /// `LIMIT $1` or `OFFSET $1`
    RowCount,
}

impl ScriptStatement {
    /// The number of the statement's parameters: the highest that it names. `PREPARE` has none,
    /// because its parameters belong to the statement that it prepares.
    ///
    /// # Errors
    /// [`ErrorKind::Syntax`] for a parameter that is not `$` and a number from 1 to 65,535.
    pub fn parameters(&self) -> Result<u16> {
        let is_prepare = |token: &TokenWithSpan| is_word(&token.token, "PREPARE");
        if self.tokens.first().is_some_and(is_prepare) {
            return Ok(0);
        }
        let mut highest = 0;
        for token in &self.tokens {
            if let Token::Placeholder(name) = &token.token {
                highest = highest.max(number_of(name)?);
            }
        }
        Ok(highest)
    }

    /// What the statement says of the type of parameter `number`, at its first use that says
    /// anything.
    pub fn parameter_use(&self, number: u16) -> Option<ParameterUse> {
        let tokens = &self.tokens;
        let is_parameter = |token: &Token| match token {
            Token::Placeholder(name) => number_of(name).ok() == Some(number),
            _ => false,
        };
        tokens.iter().enumerate().find_map(|(at, token)| {
            if !is_parameter(&token.token) {
                return None;
            }
            let before = at.checked_sub(1).and_then(|at| tokens.get(at));
            let before_that = at.checked_sub(2).and_then(|at| tokens.get(at));
            let after = tokens.get(at + 1).map(|token| &token.token);
            let word = |token: Option<&TokenWithSpan>, text: &str| {
                token.is_some_and(|token| is_word(&token.token, text))
            };
            let is_cast = before.is_some_and(|token| token.token == Token::LParen)
                && (word(before_that, "CAST") || word(before_that, "TRY_CAST"))
                && after.is_some_and(|token| is_word(token, "AS"));
            if after == Some(&Token::DoubleColon) || is_cast {
                return Some(ParameterUse::Cast(type_words(tokens.get(at + 2..)?)?));
            }
            let counts_rows = word(before, "LIMIT") || word(before, "OFFSET");
            counts_rows.then_some(ParameterUse::RowCount)
        })
    }

    /// The statement with literals in place of its parameters. Locations stay those of the
    /// parameters.
    ///
    /// # Errors
    /// As for [`Self::parameters`]; [`ErrorKind::InvalidParameter`] if a parameter has no value.
    pub fn with_parameters(&self, parameters: &[Parameter]) -> Result<Self> {
        let mut tokens = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let Token::Placeholder(name) = &token.token else {
                tokens.push(token.clone());
                continue;
            };
            let parameter = parameters.get(usize::from(number_of(name)?) - 1);
            let parameter = parameter.ok_or_else(|| {
                let why = format!("there is no parameter {name}");
                Error::new(ErrorKind::InvalidParameter, why)
            })?;
            let mut literal = Vec::new();
            push_parameter(parameter, &token.token, &mut literal);
            let placed = literal.into_iter().map(|literal| TokenWithSpan {
                token: literal,
                span: token.span,
            });
            tokens.extend(placed);
        }
        Ok(self.with_tokens(tokens))
    }
}

fn number_of(name: &str) -> Result<u16> {
    let number = name
        .strip_prefix('$')
        .and_then(|digits| digits.parse().ok());
    number.filter(|number| *number > 0).ok_or_else(|| {
        let why = format!("{name} is no parameter");
        Error::new(ErrorKind::Syntax, why).with_hint("parameters are $1, $2, …")
    })
}

fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

fn word(text: &str) -> Token {
    Token::make_word(text, None)
}

/// Appends `literal`, or `CAST(literal AS type)`.
fn push_parameter(parameter: &Parameter, placeholder: &Token, tokens: &mut Vec<Token>) {
    let Some(cast) = parameter.cast else {
        match &parameter.value {
            Some(value) => push_literal(value, tokens),
            None => tokens.push(placeholder.clone()),
        }
        return;
    };
    tokens.extend([word("CAST"), Token::LParen]);
    match &parameter.value {
        Some(value) => push_literal(value, tokens),
        None => tokens.push(placeholder.clone()),
    }
    tokens.push(word("AS"));
    let (cast, is_array) = match cast.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (cast, false),
    };
    tokens.extend(cast.split(' ').map(word));
    if is_array {
        tokens.extend([Token::LBracket, Token::RBracket]);
    }
    tokens.push(Token::RParen);
}

fn push_literal(value: &ParameterValue, tokens: &mut Vec<Token>) {
    match value {
        ParameterValue::Null => tokens.push(word("NULL")),
        ParameterValue::Text(text) => tokens.push(Token::SingleQuotedString(text.clone())),
        ParameterValue::Boolean(true) => tokens.push(word("TRUE")),
        ParameterValue::Boolean(false) => tokens.push(word("FALSE")),
        ParameterValue::Number(number) => match number.strip_prefix('-') {
            Some(positive) => tokens.extend([
                Token::LParen,
                Token::Minus,
                Token::Number(positive.to_owned(), false),
                Token::RParen,
            ]),
            None => tokens.push(Token::Number(number.clone(), false)),
        },
        ParameterValue::Bytes(bytes) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
            tokens.push(Token::HexStringLiteral(hex.collect()));
        }
        ParameterValue::Array(items) => {
            tokens.extend([word("ARRAY"), Token::LBracket]);
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    tokens.push(Token::Comma);
                }
                push_literal(item, tokens);
            }
            tokens.push(Token::RBracket);
        }
    }
}

/// The words of the type that `tokens` begin with, in lower case.
fn type_words(tokens: &[TokenWithSpan]) -> Option<String> {
    let text = |token: &TokenWithSpan| match &token.token {
        Token::Word(Word { value, .. }) => Some(value.to_ascii_lowercase()),
        _ => None,
    };
    let first = text(tokens.first()?)?;
    let rest: Vec<String> = tokens[1..].iter().map_while(text).take(3).collect();
    let has =
        |words: &[&str]| rest.len() >= words.len() && rest.iter().zip(words).all(|(a, b)| a == b);
    let (mut name, mut used) = (first.clone(), 1);
    for words in [
        &["precision"] as &[&str],
        &["varying"],
        &["with", "time", "zone"],
        &["without", "time", "zone"],
    ] {
        if has(words) {
            name = format!("{first} {}", words.join(" "));
            used = 1 + words.len();
        }
    }
    let mut after = tokens[used..].iter().map(|token| &token.token);
    if (after.next(), after.next()) == (Some(&Token::LBracket), Some(&Token::RBracket)) {
        name.push_str("[]");
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::GenericDialect;

    use super::*;
    use crate::sql::split_script;

    fn statement(sql: &str) -> ScriptStatement {
        let mut script = split_script(sql, &GenericDialect {});
        assert!(script.error.is_none());
        script.statements.remove(0)
    }

    fn replaced(sql: &str, parameters: &[Parameter]) -> String {
        let replaced = statement(sql).with_parameters(parameters).unwrap();
        let tokens = replaced.tokens.iter().map(|token| token.token.to_string());
        tokens.collect::<Vec<_>>().join(" ")
    }

    fn parameter(value: ParameterValue, cast: Option<&'static str>) -> Parameter {
        Parameter {
            value: Some(value),
            cast,
        }
    }

    #[test]
    fn the_highest_parameter_counts() {
        assert_eq!(statement("select $2, '$9', $1").parameters().unwrap(), 2);
        assert_eq!(statement("select 1").parameters().unwrap(), 0);
        assert_eq!(statement("PREPARE p AS select $1").parameters().unwrap(), 0);
        for wrong in ["select $0", "select $65536", "select $a"] {
            assert!(statement(wrong).parameters().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_one_literal() {
        let text = parameter(ParameterValue::Text("'; drop table t; --".into()), None);
        let number = parameter(
            ParameterValue::Number("-5".into()),
            Some("double precision"),
        );
        assert_eq!(
            replaced("select $1, $2, $1", &[text, number]),
            "select ''; drop table t; --' , CAST ( ( - 5 ) AS double precision ) , ''; drop table t; --'"
        );
        let array = ParameterValue::Array(vec![
            ParameterValue::Number("1".into()),
            ParameterValue::Null,
        ]);
        assert_eq!(
            replaced("select $1", &[parameter(array, Some("bigint[]"))]),
            "select CAST ( ARRAY [ 1 , NULL ] AS bigint [ ] )"
        );
        assert!(statement("select $2").with_parameters(&[]).is_err());
    }

    #[test]
    fn the_text_says_the_type() {
        let cast = |sql: &str| match statement(sql).parameter_use(1) {
            Some(ParameterUse::Cast(name)) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(cast("select $1::BigInt + 1"), "bigint");
        assert_eq!(
            cast("select cast($1 as double precision)"),
            "double precision"
        );
        assert_eq!(cast("select $1::int4[]"), "int4[]");
        assert_eq!(
            cast("select $1::timestamp with time zone"),
            "timestamp with time zone"
        );
        assert_eq!(cast("select $1, $1::date as d"), "date");
        let counts = statement("select 1 limit $1").parameter_use(1);
        assert_eq!(counts, Some(ParameterUse::RowCount));
        assert_eq!(statement("select $1").parameter_use(1), None);
    }
}
