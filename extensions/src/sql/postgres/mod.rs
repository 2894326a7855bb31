//! Syntax that DataFusion reads otherwise than PostgreSQL, or not at all.
//!
//! Invariant: a rewritten statement means in DataFusion what the written one means in PostgreSQL.

mod build;
mod calls;
mod interval;
mod numbers;

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::{
    AccessExpr, Assignment, AssignmentTarget, BinaryOperator, CharacterLength, DataType, Expr,
    Ident, LimitClause, ObjectName, Parens, Query, Set, SetExpr, SetOperator, SetQuantifier,
    Statement, Subscript, UnaryOperator, Value, VisitMut, VisitorMut, visit_expressions,
};

use self::build::{binary, call, cast, double, literal, not, number, text};
use self::calls::{first_match, match_newlines, rewrite_call};
use self::numbers::exact_number;
use super::functions;
use super::names::name_columns;
use crate::error::{Error, ErrorKind, Result};

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
            // Every table without a location lives as long as the session.
            create.temporary = false;
            let columns = create.columns.iter_mut();
            columns.for_each(|column| {
                count_microseconds(&mut column.data_type);
                if reader_of(&column.data_type).is_some() {
                    column.data_type = DataType::Text;
                }
            });
        }
        match statement {
            // `BEGIN` and `END` are `START TRANSACTION` and `COMMIT`.
            Statement::StartTransaction {
                begin, transaction, ..
            } => {
                (*begin, *transaction) = (false, None);
                ControlFlow::Continue(())
            }
            Statement::Commit { end, .. } => {
                *end = false;
                ControlFlow::Continue(())
            }
            Statement::Update(update) => match refuse_double_assignment(&update.assignments) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Refuses `SET a = 1, a = 2`, of which DataFusion would take one.
fn refuse_double_assignment(assignments: &[Assignment]) -> Result<()> {
    let mut assigned = HashSet::new();
    for assignment in assignments {
        let columns = match &assignment.target {
            AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
            AssignmentTarget::Tuple(columns) => columns.as_slice(),
        };
        for column in columns {
            let name = match column.0.last().and_then(|part| part.as_ident()) {
                Some(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
                Some(ident) => ident.value.clone(),
                None => continue,
            };
            if !assigned.insert(name) {
                let why = format!("column {column} is assigned more than once");
                return Err(Error::new(ErrorKind::Syntax, why));
            }
        }
    }
    Ok(())
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
            Value::UnicodeStringLiteral(written) => Some(text(written)),
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
            BinaryOperator::PGOverlap => Some(call_both("array_has_any", left, right)),
            BinaryOperator::Arrow => Some(call_both(functions::JSON_GET, left, right)),
            BinaryOperator::LongArrow => Some(call_both(functions::JSON_GET_TEXT, left, right)),
            BinaryOperator::HashArrow => Some(call_both(functions::JSON_GET_PATH, left, right)),
            BinaryOperator::HashLongArrow => {
                Some(call_both(functions::JSON_GET_PATH_TEXT, left, right))
            }
            op => compare_tuples(left, op, right),
        },
        Expr::InList {
            expr,
            list,
            negated,
        } if matches!(expr.as_ref(), Expr::Tuple(_)) => {
            let items = list.iter();
            let equal = items.filter_map(|item| compare_tuples(expr, &BinaryOperator::Eq, item));
            any_of(equal, *negated)
        }
        // DataFusion would compute a constant call in the list without rows, and some functions, such as
        // `ceil` of a decimal, then panic.
        Expr::InList {
            expr,
            list,
            negated,
        } if list.iter().any(has_call) => {
            let left = || expr.as_ref().clone();
            let items = list.iter();
            let equal = items.map(|item| binary(left(), BinaryOperator::Eq, item.clone()));
            any_of(equal, *negated)
        }
        // DataFusion changes the sign in the text of an interval, where only its first part has it.
        Expr::UnaryOp { expr, .. } if matches!(expr.as_ref(), Expr::Interval(_)) => {
            **expr = Expr::Nested(expr.clone());
            None
        }
        // Two's complement.
        Expr::UnaryOp {
            op: UnaryOperator::BitwiseNot,
            expr,
        } => {
            let negative = Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(Expr::Nested(expr.clone())),
            };
            Some(binary(negative, BinaryOperator::Minus, number("1")))
        }
        Expr::Interval(interval) => {
            if let Some(translated) = literal(&interval.value).and_then(interval::translate) {
                *interval.value = text(&translated);
            }
            None
        }
        Expr::Substring {
            expr,
            substring_from: Some(pattern),
            substring_for: None,
            ..
        } if literal(pattern).is_some() => Some(first_match(expr, pattern)?),
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
            if let (DataType::Interval { .. }, Some(written)) = (&*data_type, literal(expr))
                && let Some(translated) = interval::translate(written)
            {
                **expr = text(&translated);
            }
            match reader_of(data_type) {
                Some(reader) => Some(call(reader, [cast(expr, DataType::Text)])),
                None => limit_length(expr, data_type)?,
            }
        }
        Expr::TypedString(typed) => {
            count_microseconds(&mut typed.data_type);
            let written = Expr::Value(typed.value.clone());
            reader_of(&typed.data_type).map(|reader| call(reader, [written]))
        }
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => Some(call(
            "timezone",
            [time_zone.as_ref().clone(), timestamp.as_ref().clone()],
        )),
        Expr::CompoundFieldAccess { access_chain, .. } => {
            access_chain.iter_mut().for_each(rewrite_index);
            None
        }
        Expr::Function(function) => rewrite_call(function)?,
        _ => None,
    })
}

/// Whether one of the comparisons holds, or with `negated`, none.
fn any_of(equal: impl Iterator<Item = Expr>, negated: bool) -> Option<Expr> {
    let any = equal.reduce(|all, item| binary(all, BinaryOperator::Or, item))?;
    Some(if negated { not(any) } else { any })
}

/// Whether an expression contains a call of a function.
fn has_call(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |part| match part {
        Expr::Function(_) | Expr::Ceil { .. } | Expr::Floor { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
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

/// In PostgreSQL, arrays have no elements with negative numbers, and a slice may be open.
fn rewrite_index(access: &mut AccessExpr) {
    match access {
        AccessExpr::Subscript(Subscript::Index { index })
            if matches!(
                index,
                Expr::UnaryOp {
                    op: UnaryOperator::Minus,
                    ..
                }
            ) =>
        {
            *index = number("0");
        }
        AccessExpr::Subscript(Subscript::Slice {
            lower_bound,
            upper_bound,
            ..
        }) => {
            lower_bound.get_or_insert_with(|| number("1"));
            upper_bound.get_or_insert_with(|| number(LAST_ELEMENT));
        }
        _ => {}
    }
}

/// More than the number of elements of any array.
const LAST_ELEMENT: &str = "2147483647";

/// The function that reads texts as a type whose values are kept as text.
fn reader_of(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::JSON => Some(functions::JSON),
        DataType::JSONB => Some(functions::JSONB),
        DataType::Uuid => Some(functions::UUID),
        _ => None,
    }
}

fn call_both(function: &str, left: &Expr, right: &Expr) -> Expr {
    call(function, [left.clone(), right.clone()])
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
