//! Calls of functions that DataFusion has under another name, or with other arguments.
//!
//! Invariant: a rewritten call has the value that PostgreSQL's function has.

use sqlparser::ast::{
    BinaryOperator, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Interval, ObjectName, TimezoneInfo,
};

use super::build::{binary, call, cast, double, literal, number, text};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::functions;

/// Functions of PostgreSQL, and DataFusion's names of them.
const ALIASES: [(&str, &str); 5] = [
    ("ceiling", "ceil"),
    ("every", "bool_and"),
    ("gen_random_uuid", "uuid"),
    ("variance", "var_samp"),
    ("uuid_generate_v4", "uuid"),
];

/// The arguments, if none of them has a name.
fn plain_args(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return Vec::new();
    };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg.clone()),
        _ => None,
    });
    args.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Whether an argument is a template of PostgreSQL. With `%`, it is a pattern of chrono.
fn is_template(expr: &Expr) -> bool {
    literal(expr).is_some_and(|template| !template.contains('%'))
}

/// The unit of `date_trunc`, which may be in the plural.
fn singular(unit: &Expr) -> Expr {
    match literal(unit) {
        Some(name) if name.len() > 3 => text(name.strip_suffix(['s', 'S']).unwrap_or(name)),
        _ => unit.clone(),
    }
}

/// `make_interval(days => 10)` is a sum of products.
fn make_interval(function: &Function) -> Result<Option<Expr>> {
    const UNITS: [(&str, &str); 7] = [
        ("years", "1 year"),
        ("months", "1 month"),
        ("weeks", "7 days"),
        ("days", "1 day"),
        ("hours", "1 hour"),
        ("mins", "1 minute"),
        ("secs", "1 second"),
    ];
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    let mut sum = None;
    for (position, arg) in list.args.iter().enumerate() {
        let (unit, count) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(count)) => (UNITS.get(position), count),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(count),
                ..
            } => {
                let name = name.value.to_lowercase();
                (UNITS.iter().find(|(unit, _)| *unit == name), count)
            }
            _ => return Ok(None),
        };
        let Some((_, unit)) = unit else {
            let why = "make_interval has years, months, weeks, days, hours, mins and secs";
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        };
        let product = binary(interval(unit), BinaryOperator::Multiply, count.clone());
        sum = Some(match sum {
            Some(sum) => binary(sum, BinaryOperator::Plus, product),
            None => product,
        });
    }
    Ok(Some(sum.unwrap_or_else(|| interval("0 days"))))
}

fn interval(written: &str) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(text(written)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// The first match of a literal pattern.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a pattern with groups or alternatives: PostgreSQL returns a group,
/// and takes the longest alternative instead of the first.
pub(super) fn first_match(searched: &Expr, pattern: &Expr) -> Result<Expr> {
    let Some(written) = literal(pattern).filter(|pattern| !pattern.contains(['(', '|'])) else {
        let why = "substring and regexp_substr need a literal pattern without ( and |";
        return Err(Error::new(ErrorKind::Unsupported, why).with_hint("use regexp_match"));
    };
    let group = text(&format!("({written})"));
    let found = call("regexp_match", [searched.clone(), match_newlines(&group)]);
    Ok(call("array_element", [found, number("1")]))
}

pub(super) fn rewrite_call(function: &mut Function) -> Result<Option<Expr>> {
    let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) else {
        return Ok(None);
    };
    let name = name.value.to_lowercase();
    if let Some((_, known)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        function.name = ObjectName::from(vec![Ident::new(*known)]);
        return Ok(None);
    }
    let args = plain_args(function);
    let with_zone = DataType::Timestamp(Some(6), TimezoneInfo::WithTimeZone);
    match (name.as_str(), args.as_slice()) {
        ("to_date" | "to_timestamp", [text, template]) if is_template(template) => {
            let time = call(functions::READ_TIME, [text.clone(), template.clone()]);
            Ok(Some(match name.as_str() {
                "to_date" => cast(&time, DataType::Date),
                _ => cast(&time, with_zone),
            }))
        }
        ("mod", [left, right]) => Ok(Some(binary(
            left.clone(),
            BinaryOperator::Modulo,
            right.clone(),
        ))),
        // The difference is a multiple of the divisor, so the quotient has no fraction.
        ("div", [left, right]) => {
            let rest = binary(left.clone(), BinaryOperator::Modulo, right.clone());
            let multiple = binary(left.clone(), BinaryOperator::Minus, rest);
            let quotient = binary(multiple, BinaryOperator::Divide, right.clone());
            let whole = DataType::Decimal(ExactNumberInfo::PrecisionAndScale(38, 0));
            Ok(Some(cast(&quotient, whole)))
        }
        // The sign of NaN is 0.
        ("sign", [value]) => {
            let sign = call("signum", [double(value)]);
            Ok(Some(call("nanvl", [sign, double(&number("0"))])))
        }
        // No date is infinite.
        ("isfinite", [time]) => Ok(Some(binary(time.clone(), BinaryOperator::Eq, time.clone()))),
        ("array_upper", [array, dimension]) => {
            let length = call("array_length", [array.clone(), dimension.clone()]);
            Ok(Some(call("nullif", [length, number("0")])))
        }
        ("array_lower", [array, dimension]) => {
            let length = call("array_length", [array.clone(), dimension.clone()]);
            let length = call("nullif", [length, number("0")]);
            let first = binary(length.clone(), BinaryOperator::Divide, length);
            Ok(Some(cast(&first, DataType::Integer(None))))
        }
        ("age", [start]) => Ok(Some(call("age", [call("current_date", []), start.clone()]))),
        ("date_trunc", [unit, time, zone]) => {
            let local = call("timezone", [zone.clone(), cast(time, with_zone)]);
            let cut = call("date_trunc", [singular(unit), local]);
            Ok(Some(call("timezone", [zone.clone(), cut])))
        }
        ("date_trunc", [unit, time]) => {
            let unit = singular(unit);
            let is_changed = unit != args[0];
            Ok(is_changed.then(|| call("date_trunc", [unit, time.clone()])))
        }
        ("make_interval", _) => make_interval(function),
        ("regexp_substr", [searched, pattern]) => first_match(searched, pattern).map(Some),
        ("regexp_replace", [_, _, _, flags]) if literal(flags) == Some("") => {
            if let FunctionArguments::List(list) = &mut function.args {
                list.args.pop();
            }
            rewrite_call(function)
        }
        (name, _) => rewrite_name(function, name),
    }
}

fn rewrite_name(function: &mut Function, name: &str) -> Result<Option<Expr>> {
    let with_zone = DataType::Timestamp(Some(6), TimezoneInfo::WithTimeZone);
    let cast_to = |data_type| Ok(Some(cast(&Expr::Function(function.clone()), data_type)));
    match name {
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
                if let (Some(replacement), "regexp_replace") = (replacement, name) {
                    translate_replacement(replacement)?;
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// In PostgreSQL, `.` matches the end of a line, too.
pub(super) fn match_newlines(pattern: &Expr) -> Expr {
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
