//! A position in a statement's tokens.
//!
//! Invariant: the cursor never logs and never puts a token's text into an error unless the caller
//! asks for it, because the tokens may hold a secret.

use sqlparser::ast::Ident;
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::error::{Error, ErrorKind, Location, Result};

/// Walks over the tokens of one statement.
pub(super) struct Cursor {
    tokens: Vec<TokenWithSpan>,
    position: usize,
    /// Whether an error may show the token it stopped at.
    show_tokens: bool,
}

impl Cursor {
    pub(super) fn new(tokens: Vec<TokenWithSpan>) -> Self {
        Self {
            tokens,
            position: 0,
            show_tokens: true,
        }
    }

    /// Stops errors from quoting tokens, because the statement may hold secrets.
    pub(super) fn hide_tokens(&mut self) {
        self.show_tokens = false;
    }

    pub(super) fn hides_tokens(&self) -> bool {
        !self.show_tokens
    }

    /// All tokens, for a parser that starts again at the first token.
    pub(super) fn into_tokens(self) -> Vec<TokenWithSpan> {
        self.tokens
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.peek_nth(0)
    }

    pub(super) fn peek_nth(&self, n: usize) -> Option<&Token> {
        self.tokens.get(self.position + n).map(|t| &t.token)
    }

    pub(super) fn at_end(&self) -> bool {
        self.position >= self.tokens.len()
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Moves the next token out and steps over it. `Token::EOF` replaces it.
    pub(super) fn take(&mut self) -> Option<Token> {
        let slot = self.tokens.get_mut(self.position)?;
        self.position += 1;
        Some(std::mem::replace(&mut slot.token, Token::EOF))
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.position += count;
    }

    /// Whether the tokens from here spell these words, in any case.
    pub(super) fn at_words(&self, words: &[&str]) -> bool {
        self.at_words_from(0, words)
    }

    /// Whether the tokens from `offset` on spell these words, in any case.
    pub(super) fn at_words_from(&self, offset: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, expected)| {
            self.peek_nth(offset + n)
                .is_some_and(|token| is_word(token, expected))
        })
    }

    /// Steps over these words if they come next. Returns whether they did.
    pub(super) fn accept_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            self.position += words.len();
        }
        found
    }

    pub(super) fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        if self.accept_words(words) {
            return Ok(());
        }
        Err(self.expected(&words.join(" ")))
    }

    pub(super) fn accept(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.position += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.accept(token) {
            return Ok(());
        }
        Err(self.expected(&format!("\"{token}\"")))
    }

    /// Parses a name. `what` describes the name in the error.
    pub(super) fn identifier(&mut self, what: &str) -> Result<Ident> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let mut ident = word_to_ident(word);
                if let Some(token) = self.tokens.get(self.position) {
                    ident.span = token.span;
                }
                self.position += 1;
                Ok(ident)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Parses a text literal. `what` describes the text in the error.
    pub(super) fn text(&mut self, what: &str) -> Result<String> {
        let error = self.expected(what);
        self.take()
            .and_then(|token| into_text(token).ok())
            .ok_or(error)
    }

    /// Parses `(name, …)`. `what` describes a name in the error.
    pub(super) fn name_list(&mut self, what: &str) -> Result<Vec<Ident>> {
        self.expect(&Token::LParen)?;
        let mut names = Vec::new();
        loop {
            names.push(self.identifier(what)?);
            if !self.accept(&Token::Comma) {
                self.expect(&Token::RParen)?;
                return Ok(names);
            }
        }
    }

    /// The location of the next token, or the end of the last token if none is left.
    pub(super) fn location(&self) -> Location {
        let place = match self.tokens.get(self.position) {
            Some(token) => Some(token.span.start),
            None => self.tokens.last().map(|token| token.span.end),
        };
        Location {
            line: place.map_or(1, |place| place.line.max(1)),
            column: place.map_or(1, |place| place.column.max(1)),
        }
    }

    /// The error "expected x, found y", without y if tokens are hidden.
    pub(super) fn expected(&self, what: &str) -> Error {
        let message = match self.peek() {
            None => format!("expected {what}, found the end of the statement"),
            Some(token) if self.show_tokens => format!("expected {what}, found {token}"),
            Some(_) => format!("expected {what} here"),
        };
        Error::new(ErrorKind::Syntax, message).at(self.location())
    }

    pub(super) fn expect_end(&self) -> Result<()> {
        if self.at_end() {
            return Ok(());
        }
        Err(self.expected("the end of the statement"))
    }

    /// Lets sqlparser parse from the cursor on, then steps over the parsed tokens.
    pub(super) fn parse_with<T>(
        &mut self,
        dialect: &dyn Dialect,
        recursion_limit: usize,
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T> {
        let rest = self.tokens.get(self.position..).unwrap_or_default();
        let mut parser = Parser::new(dialect)
            .with_recursion_limit(recursion_limit)
            .with_tokens_with_locations(rest.to_vec());
        let parsed = parse(&mut parser)?;
        self.position += parser.index();
        Ok(parsed)
    }
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. })
        if value.eq_ignore_ascii_case(expected))
}

pub(super) fn word_to_ident(word: &Word) -> Ident {
    Ident {
        value: word.value.clone(),
        quote_style: word.quote_style,
        span: sqlparser::tokenizer::Span::empty(),
    }
}

/// Whether `STORED AS` occurs outside all parentheses, as in DataFusion's own COPY.
pub(super) fn has_stored_as(tokens: &[TokenWithSpan]) -> bool {
    let mut depth = 0usize;
    tokens.windows(2).any(|pair| {
        match pair[0].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && is_word(&pair[0].token, "STORED") && is_keyword(&pair[1].token, Keyword::AS)
    })
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

/// The content of a text literal, moved out of its token. Any other token is returned as `Err`.
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
