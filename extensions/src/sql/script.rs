//! Splits a script into statements, at the level of tokens.
//!
//! Invariant: a `;` inside a string, a dollar quote or a comment does not end a statement.
//! Statements before a lexical error can still be executed.

use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Location};

/// One statement of a script: its tokens (without white space and comments) and where it starts.
#[derive(Clone, PartialEq)]
pub struct ScriptStatement {
    pub(crate) tokens: Vec<TokenWithSpan>,
    location: Location,
}

impl ScriptStatement {
    /// The location of the statement's first token.
    pub fn location(&self) -> Location {
        self.location
    }

    /// The statement's tokens. They may hold a secret's literal.
    pub fn tokens(&self) -> &[TokenWithSpan] {
        &self.tokens
    }

    /// Other tokens at the same location.
    pub(super) fn with_tokens(&self, tokens: Vec<TokenWithSpan>) -> Self {
        Self {
            tokens,
            location: self.location,
        }
    }
}

/// Tokens may hold a secret's literal, so they are never printed.
impl std::fmt::Debug for ScriptStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptStatement")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// A script's statements, and the lexical error at which splitting stopped, if there was one.
#[derive(Debug)]
pub struct Script {
    /// The complete statements, in order.
    pub statements: Vec<ScriptStatement>,
    /// An unterminated string, comment or the like after the last complete statement.
    pub error: Option<Error>,
}

/// Splits `sql` at the semicolons between statements. Empty statements are dropped.
pub fn split_script(sql: &str, dialect: &dyn Dialect) -> Script {
    let mut tokens = Vec::new();
    let error = Tokenizer::new(dialect, sql)
        .tokenize_with_location_into_buf(&mut tokens)
        .err()
        .map(Error::from);

    let mut statements = Vec::new();
    let mut current = Vec::new();
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => push_statement(&mut statements, std::mem::take(&mut current)),
            _ => current.push(token),
        }
    }
    if error.is_none() {
        push_statement(&mut statements, current);
    }
    Script { statements, error }
}

fn push_statement(statements: &mut Vec<ScriptStatement>, tokens: Vec<TokenWithSpan>) {
    let Some(first) = tokens.first() else { return };
    let location = Location {
        line: first.span.start.line,
        column: first.span.start.column,
    };
    statements.push(ScriptStatement { tokens, location });
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::GenericDialect;

    fn split(sql: &str) -> Script {
        split_script(sql, &GenericDialect {})
    }

    #[test]
    fn semicolons_inside_tokens_end_nothing() {
        let script = split("select ';' , \";\" -- ;\n, 1 /* ; /* ; */ */ ;; select $$;$$");
        assert_eq!(script.statements.len(), 2);
        assert!(script.error.is_none());
    }

    #[test]
    fn statements_before_a_lexical_error_remain() {
        let script = split("select 1;\nselect 2;\nselect 'open");
        assert_eq!(script.statements.len(), 2);
        let error = script.error.unwrap();
        assert_eq!(error.location().unwrap().line, 3);
    }

    #[test]
    fn locations_count_from_one() {
        let script = split("\n\n  select 1");
        assert_eq!(
            script.statements[0].location(),
            Location { line: 3, column: 3 }
        );
    }
}
