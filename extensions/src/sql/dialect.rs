//! The SQL dialect of a session.
//!
//! Invariant: a [`SqlDialect`] names a dialect that sqlparser knows. In the generic dialect, operators
//! have PostgreSQL's precedence.

use std::any::TypeId;

use sqlparser::ast::Expr;
use sqlparser::dialect::{
    Dialect, GenericDialect, PostgreSqlDialect, Precedence, dialect_from_str,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::error::{Error, ErrorKind, Result};

/// The SQL dialect of a session, and its nesting limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlDialect {
    name: String,
    recursion_limit: usize,
}

impl SqlDialect {
    /// The dialect that DataFusion's `datafusion.sql_parser.dialect` names, with expressions nested
    /// at most `recursion_limit` deep.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if there is no such dialect.
    pub fn new(name: String, recursion_limit: usize) -> Result<Self> {
        if dialect_from_str(&name).is_none() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("unknown SQL dialect '{name}'"),
            ));
        }
        Ok(Self {
            name,
            recursion_limit,
        })
    }

    /// How deep expressions may be nested.
    pub(super) fn recursion_limit(&self) -> usize {
        self.recursion_limit
    }

    /// Creates sqlparser's dialect. It is not stored, because it can't be sent between threads.
    pub fn dialect(&self) -> Box<dyn Dialect> {
        match dialect_from_str(&self.name) {
            Some(dialect) if !dialect.is::<GenericDialect>() => dialect,
            _ => Box::new(GenericWithPrecedence),
        }
    }
}

/// sqlparser's generic dialect with PostgreSQL's precedence of operators.
///
/// See <https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-PRECEDENCE>.
#[derive(Debug)]
struct GenericWithPrecedence;

/// Forwards methods without parameters to the generic dialect.
macro_rules! forward {
    ($($method:ident),* $(,)?) => {
        $(fn $method(&self) -> bool {
            GenericDialect.$method()
        })*
    };
}

impl Dialect for GenericWithPrecedence {
    /// The parser tells dialects apart by this type.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        PostgreSqlDialect {}.prec_value(precedence)
    }

    fn prec_unknown(&self) -> u8 {
        PostgreSqlDialect {}.prec_unknown()
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Colon => None,
            _ => PostgreSqlDialect {}.get_next_precedence(parser),
        }
    }

    /// Parses `IS [NOT] DISTINCT FROM`. sqlparser takes everything after it for its right operand,
    /// an `AND` as well.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        use Keyword::{DISTINCT, FROM, IS, NOT};
        let left = || Box::new(left.clone());
        if parser.parse_keywords(&[IS, DISTINCT, FROM]) {
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| Expr::IsDistinctFrom(left(), Box::new(right))))
        } else if parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]) {
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| Expr::IsNotDistinctFrom(left(), Box::new(right))))
        } else {
            None
        }
    }

    forward! {
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    }
}
