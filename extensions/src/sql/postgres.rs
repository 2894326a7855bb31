//! Syntax that DataFusion reads otherwise than PostgreSQL, or not at all.
//!
//! Invariant: a rewritten statement means in DataFusion what the written one means in PostgreSQL.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    LimitClause, ObjectName, Parens, Query, Set, SetExpr, SetOperator, SetQuantifier, Statement,
    Subscript, TimezoneInfo, UnaryOperator, Value, VisitMut, VisitorMut,
};
use sqlparser::tokenizer::Span;

use super::names::name_columns;
use crate::error::{Error, ErrorKind, Result};

/// The functions that rewritten expressions call.
pub(crate) mod functions {
    /// The pattern of `SIMILAR TO` and its escape character, as a regular expression.
    pub(crate) const SIMILAR_TO: &str = "similar_to_escape";
    /// The pattern of `LIKE` and its escape character, as a pattern with the escape character `\`.
    pub(crate) const LIKE: &str = "like_escape";
}

/// The most digits of a decimal.
const MOST_DIGITS: usize = 76;

/// Rewrites a statement.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a clause that DataFusion would ignore.
pub(crate) fn rewrite_statement(statement: &mut DataFusionStatement) -> Result<()> {
    match statement {
        DataFusionStatement::Statement(statement) => {
            name_columns(statement);
            set_time_zone(statement);
            finish(statement.visit(&mut Rewrite))
        }
        DataFusionStatement::Explain(explain) => rewrite_statement(&mut explain.statement),
        _ => Ok(()),
    }
}

/// `SET TIME ZONE 'x'` sets DataFusion's option.
fn set_time_zone(statement: &mut Statement) {
    let Statement::Set(Set::SetTimeZone { value, .. }) = statement else {
        return;
    };
    let zone = match value {
        Expr::Identifier(word) => match word.value.to_lowercase().as_str() {
            "default" | "local" => text("UTC"),
            zone => text(zone),
        },
        value => value.clone(),
    };
    let option = ["datafusion", "execution", "time_zone"].map(Ident::new);
    *statement = Statement::Set(Set::SingleAssignment {
        scope: None,
        hivevar: false,
        variable: ObjectName::from(option.to_vec()),
        values: vec![zone],
    });
}

/// Rewrites an expression.
///
/// # Errors
/// As for [`rewrite_statement`].
pub(crate) fn rewrite_expr(expr: &mut Expr) -> Result<()> {
    finish(expr.visit(&mut Rewrite))
}

fn finish(flow: ControlFlow<Error>) -> Result<()> {
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let SetExpr::Values(values) = query.body.as_mut() {
            prefer_doubles(&mut values.rows);
        }
        match fetch_as_limit(query).and_then(|()| refuse_counted_sets(&query.body)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        negate_base(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match rewrite(expr) {
            Ok(Some(rewritten)) => *expr = rewritten,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<Error> {
        if let Statement::CreateTable(create) = statement {
            let columns = create.columns.iter_mut();
            columns.for_each(|column| count_microseconds(&mut column.data_type));
        }
        ControlFlow::Continue(())
    }
}

/// Timestamps have microseconds, as in PostgreSQL. DataFusion's nanoseconds end in the year 2262.
fn count_microseconds(data_type: &mut DataType) {
    if let DataType::Timestamp(precision @ None, _) = data_type {
        *precision = Some(6);
    }
}

/// Refuses set operations that DataFusion takes for others.
fn refuse_counted_sets(body: &SetExpr) -> Result<()> {
    let SetExpr::SetOperation {
        op,
        set_quantifier,
        left,
        right,
    } = body
    else {
        return Ok(());
    };
    if *op != SetOperator::Union && *set_quantifier == SetQuantifier::All {
        let why = format!("{op} ALL is not supported");
        let error = Error::new(ErrorKind::Unsupported, why);
        return Err(error.with_hint("number equal rows with row_number(), and leave out ALL"));
    }
    refuse_counted_sets(left)?;
    refuse_counted_sets(right)
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_as_limit(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.with_ties || fetch.percent {
        let why = "FETCH … WITH TIES and PERCENT are not supported";
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let fetched = fetch.quantity.unwrap_or_else(|| number("1"));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => *limit = Some(fetched),
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(fetched),
                offset: None,
                limit_by: Vec::new(),
            });
        }
        Some(_) => {
            let why = "a query has either LIMIT or FETCH";
            return Err(Error::new(ErrorKind::Syntax, why));
        }
    }
    Ok(())
}

/// Casts literals of a column of `VALUES` to doubles if another row has a double there. DataFusion would
/// make decimals of both.
fn prefer_doubles(rows: &mut [Parens<Vec<Expr>>]) {
    let columns = rows.first().map_or(0, |row| row.content.len());
    for column in 0..columns {
        let mut values = rows.iter().filter_map(|row| row.content.get(column));
        if !values.any(is_double) {
            continue;
        }
        let values = rows
            .iter_mut()
            .filter_map(|row| row.content.get_mut(column));
        for value in values.filter(|value| is_number(value)) {
            *value = double(value);
        }
    }
}

/// Whether an expression is a cast to a floating-point type.
fn is_double(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_double(inner),
        Expr::Cast { data_type, .. } => matches!(
            data_type,
            DataType::Double(_)
                | DataType::DoublePrecision
                | DataType::Real
                | DataType::Float(_)
                | DataType::Float4
                | DataType::Float8
        ),
        _ => false,
    }
}

/// Whether an expression is a literal number, maybe with a sign.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_number(inner),
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        _ => false,
    }
}

/// In PostgreSQL, the sign of `-2 ^ 2` belongs to the base.
fn negate_base(expr: &mut Expr) {
    if let Expr::UnaryOp {
        op: sign @ (UnaryOperator::Minus | UnaryOperator::Plus),
        expr: operand,
    } = expr
        && let Expr::BinaryOp {
            left,
            op: BinaryOperator::BitwiseXor,
            right,
        } = operand.as_mut()
    {
        let base = Expr::UnaryOp {
            op: *sign,
            expr: left.clone(),
        };
        *expr = Expr::BinaryOp {
            left: Box::new(base),
            op: BinaryOperator::BitwiseXor,
            right: right.clone(),
        };
        // The sign may be written more than once.
        if let Expr::BinaryOp { left, .. } = expr {
            negate_base(left);
        }
    }
}

fn rewrite(expr: &mut Expr) -> Result<Option<Expr>> {
    Ok(match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => exact_number(digits),
            _ => None,
        },
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::BitwiseXor => Some(call("power", [double(left), double(right)])),
            BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch => {
                **right = match_newlines(right);
                None
            }
            op => compare_tuples(left, op, right),
        },
        Expr::InList {
            expr,
            list,
            negated,
        } if matches!(expr.as_ref(), Expr::Tuple(_)) => {
            let equal = list
                .iter()
                .filter_map(|item| compare_tuples(expr, &BinaryOperator::Eq, item))
                .reduce(|all, item| binary(all, BinaryOperator::Or, item));
            match (equal, negated) {
                (Some(equal), true) => Some(not(equal)),
                (equal, _) => equal,
            }
        }
        // DataFusion changes the sign in the text of an interval, where only its first part has it.
        Expr::UnaryOp { expr, .. } if matches!(expr.as_ref(), Expr::Interval(_)) => {
            **expr = Expr::Nested(expr.clone());
            None
        }
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => {
            let escape = escape_char.as_ref().map(|escape| escape.value.clone());
            let regex = with_escape(functions::SIMILAR_TO, pattern, escape);
            let op = match negated {
                true => BinaryOperator::PGRegexNotMatch,
                false => BinaryOperator::PGRegexMatch,
            };
            Some(binary(expr.as_ref().clone(), op, regex))
        }
        Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } => {
            match escape_char.take() {
                Some(escape) => {
                    **pattern = with_escape(functions::LIKE, pattern, Some(escape.value));
                }
                None => refuse_open_escape(pattern)?,
            }
            None
        }
        Expr::Cast {
            expr, data_type, ..
        } => {
            count_microseconds(data_type);
            limit_length(expr, data_type)?
        }
        Expr::TypedString(typed) => {
            count_microseconds(&mut typed.data_type);
            None
        }
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => Some(call(
            "timezone",
            [time_zone.as_ref().clone(), timestamp.as_ref().clone()],
        )),
        Expr::CompoundFieldAccess { access_chain, .. } => {
            access_chain.iter_mut().for_each(refuse_negative_index);
            None
        }
        Expr::Function(function) => rewrite_call(function)?,
        _ => None,
    })
}

fn rewrite_call(function: &mut Function) -> Result<Option<Expr>> {
    let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) else {
        return Ok(None);
    };
    let name = name.value.to_lowercase();
    let with_zone = DataType::Timestamp(Some(6), TimezoneInfo::WithTimeZone);
    let cast_to = |data_type| Ok(Some(cast(&Expr::Function(function.clone()), data_type)));
    match name.as_str() {
        "now" | "current_timestamp" | "to_timestamp" if function.over.is_none() => {
            cast_to(with_zone)
        }
        "transaction_timestamp" | "statement_timestamp" => {
            Ok(Some(cast(&call("now", []), with_zone)))
        }
        "localtimestamp" => {
            let local = DataType::Timestamp(Some(6), TimezoneInfo::WithoutTimeZone);
            Ok(Some(cast(&cast(&call("now", []), with_zone), local)))
        }
        // The length of an empty array is NULL.
        "array_length" => Ok(Some(call(
            "nullif",
            [Expr::Function(function.clone()), number("0")],
        ))),
        "array_remove" => {
            function.name = ObjectName::from(vec![Ident::new("array_remove_all")]);
            Ok(None)
        }
        "array_dims" => {
            let why = "array_dims is not supported";
            Err(Error::new(ErrorKind::Unsupported, why).with_hint("use array_length"))
        }
        "regexp_like" | "regexp_match" | "regexp_count" | "regexp_instr" | "regexp_replace" => {
            if let FunctionArguments::List(list) = &mut function.args {
                let mut args = list.args.iter_mut().filter_map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg),
                    _ => None,
                });
                let (_, pattern, replacement) = (args.next(), args.next(), args.next());
                if let Some(pattern) = pattern {
                    *pattern = match_newlines(pattern);
                }
                if let (Some(replacement), "regexp_replace") = (replacement, name.as_str()) {
                    translate_replacement(replacement)?;
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// The text of a literal.
fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

/// In PostgreSQL, `.` matches the end of a line, too.
fn match_newlines(pattern: &Expr) -> Expr {
    match literal(pattern) {
        Some(pattern) => text(&format!("(?s){pattern}")),
        None => binary(text("(?s)"), BinaryOperator::StringConcat, pattern.clone()),
    }
}

/// Translates a literal replacement of `regexp_replace`. DataFusion reads `\1` as PostgreSQL does, and
/// `$1` like it.
fn translate_replacement(replacement: &mut Expr) -> Result<()> {
    let Some(written) = literal(replacement) else {
        return Ok(());
    };
    let mut translated = String::with_capacity(written.len());
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('&')) => {
                chars.next();
                translated.push_str("${0}");
            }
            ('\\', Some('\\')) => {
                let why = "a backslash in the replacement of regexp_replace is not supported";
                return Err(Error::new(ErrorKind::Unsupported, why));
            }
            ('$', _) => translated.push_str("$$"),
            (c, _) => translated.push(c),
        }
    }
    *replacement = text(&translated);
    Ok(())
}

/// Refuses a literal pattern of `LIKE` that ends with an escape character.
fn refuse_open_escape(pattern: &Expr) -> Result<()> {
    let backslashes = literal(pattern).map_or(0, |text| {
        text.chars().rev().take_while(|c| *c == '\\').count()
    });
    if backslashes % 2 == 1 {
        let why = "a pattern must not end with its escape character";
        return Err(
            Error::new(ErrorKind::InvalidParameter, why).with_hint("write \\\\ for a backslash")
        );
    }
    Ok(())
}

/// A cast to `varchar(3)` cuts longer texts.
fn limit_length(expr: &Expr, data_type: &DataType) -> Result<Option<Expr>> {
    let length = match data_type {
        DataType::Varchar(length)
        | DataType::CharVarying(length)
        | DataType::CharacterVarying(length) => length,
        DataType::Char(Some(_)) | DataType::Character(Some(_)) => {
            let why = format!("casts to {data_type} are not supported");
            return Err(Error::new(ErrorKind::Unsupported, why)
                .with_hint("write VARCHAR instead of CHAR; rpad() adds spaces"));
        }
        _ => return Ok(None),
    };
    let Some(CharacterLength::IntegerLength { length, .. }) = length else {
        return Ok(None);
    };
    let whole = cast(expr, DataType::Varchar(None));
    Ok(Some(call("left", [whole, number(&length.to_string())])))
}

/// In PostgreSQL, arrays have no elements with negative numbers.
fn refuse_negative_index(access: &mut AccessExpr) {
    if let AccessExpr::Subscript(Subscript::Index { index }) = access
        && let Expr::UnaryOp {
            op: UnaryOperator::Minus,
            ..
        } = index
    {
        *index = number("0");
    }
}

/// `(a, b) < (c, d)` as comparisons of their parts. `None` if these are no two rows of one length.
fn compare_tuples(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let (Expr::Tuple(left), Expr::Tuple(right)) = (left, right) else {
        return None;
    };
    if left.len() != right.len() || left.is_empty() {
        return None;
    }
    let pairs = || left.iter().cloned().zip(right.iter().cloned());
    let all_equal = || {
        let equal = pairs().map(|(left, right)| binary(left, BinaryOperator::Eq, right));
        equal.reduce(|all, pair| binary(all, BinaryOperator::And, pair))
    };
    let strict = match op {
        BinaryOperator::Eq => return all_equal(),
        BinaryOperator::NotEq => return all_equal().map(not),
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
        _ => return None,
    };
    let mut compared: Option<Expr> = None;
    for (left, right) in pairs().rev() {
        let this = binary(left.clone(), strict.clone(), right.clone());
        compared = Some(match compared {
            None => binary(left, op.clone(), right),
            Some(rest) => {
                let equal = binary(left, BinaryOperator::Eq, right);
                let rest = binary(equal, BinaryOperator::And, rest);
                binary(this, BinaryOperator::Or, rest)
            }
        });
    }
    compared
}

fn with_escape(function: &str, pattern: &Expr, escape: Option<Value>) -> Expr {
    let escape = escape.unwrap_or_else(|| Value::SingleQuotedString("\\".to_owned()));
    call(
        function,
        [pattern.clone(), Expr::Value(escape.with_empty_span())],
    )
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }))
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(expr),
    }
}

/// A number that DataFusion does not read as an exact one: with an exponent, or an integer that is
/// out of range of `BIGINT`.
fn exact_number(written: &str) -> Option<Expr> {
    let plain: String = written.chars().filter(|c| *c != '_').collect();
    let (mantissa, exponent) = match plain.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None if plain.parse::<i64>().is_err() && plain.chars().all(|c| c.is_ascii_digit()) => {
            (plain.as_str(), 0)
        }
        None => return None,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // The number is `digits` × 10^-places.
    let places = i64::try_from(fraction.len()).ok()? - exponent;
    let (digits, places) = match usize::try_from(places) {
        Ok(places) => (digits, places),
        Err(_) => {
            let zeros = usize::try_from(-places).ok()?;
            match zeros <= MOST_DIGITS {
                true => (format!("{digits}{}", "0".repeat(zeros)), 0),
                false => return Some(double(&text(&plain))),
            }
        }
    };
    let digits = digits.trim_start_matches('0');
    let all = digits.len().max(places).max(1);
    if all > MOST_DIGITS {
        return Some(double(&text(&plain)));
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    let value = match fraction {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    };
    let info =
        ExactNumberInfo::PrecisionAndScale(u64::try_from(all).ok()?, i64::try_from(places).ok()?);
    Some(cast(&text(&value), DataType::Decimal(info)))
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).with_empty_span())
}

fn cast(expr: &Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr.clone()),
        data_type,
        array: false,
        format: None,
    }
}

fn double(expr: &Expr) -> Expr {
    cast(expr, DataType::Double(ExactNumberInfo::None))
}

fn call<const N: usize>(name: &str, args: [Expr; N]) -> Expr {
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident {
            value: name.to_owned(),
            quote_style: None,
            span: Span::empty(),
        }]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.to_vec(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
