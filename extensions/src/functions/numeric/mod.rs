//! Arithmetic of numbers as in PostgreSQL.
//!
//! Invariant: integers and decimals are exact, or the query fails. Where a decimal meets a double, both
//! are doubles.
//!
//! | module | contents |
//! |---|---|
//! | `checked` | operators that fail on overflow |
//! | `floats` | operators and functions of doubles that give no infinity |
//! | `quotient` | `/` of decimals |
//! | `casts` | casts to integers, rounded |
//! | `sum` | `sum` without overflow |
//! | `unify` | columns of set operations and joins, decimal on one side and double on the other |

mod casts;
mod checked;
mod floats;
mod quotient;
mod sum;
mod unify;

use std::sync::LazyLock;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::{Between, Case, InList};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, WindowFunctionDefinition, cast,
};

pub(super) use casts::round_casts;
use checked::checked;
pub(super) use floats::with_checks;
use quotient::{Digits, NARROW, Quotient, WIDE};
pub(super) use sum::CheckedSum;
pub(super) use unify::UnifyColumns;

static QUOTIENT: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(Quotient::new()));

/// Replaces an operator or function of numbers.
pub(super) fn exact_numbers(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    let types_of = |parts: &[&Expr]| -> Option<Vec<DataType>> {
        let types = parts
            .iter()
            .map(|part| Some(plain(part.get_type(schema).ok()?)));
        types.collect()
    };
    match expr {
        Expr::BinaryExpr(mut binary) => {
            let Some(types) = types_of(&[&binary.left, &binary.right]) else {
                return Ok(Transformed::no(Expr::BinaryExpr(binary)));
            };
            if !is_mixed(&types) && !is_real_with_integer(&types) {
                return Ok(replace(binary, &types));
            }
            for operand in [&mut binary.left, &mut binary.right] {
                to_double(operand, schema);
            }
            let types = [DataType::Float64, DataType::Float64];
            Ok(Transformed::yes(replace(binary, &types).data))
        }
        Expr::Negative(operand) => {
            let types = types_of(&[&operand]).unwrap_or_default();
            Ok(match checked(Operator::Minus, &[&operand], &types) {
                Some(checked) => Transformed::yes(checked),
                None => Transformed::no(Expr::Negative(operand)),
            })
        }
        mut expr => {
            if let Expr::WindowFunction(window) = &mut expr {
                let params = &mut window.params;
                let orders = params.order_by.iter_mut().map(|order| &mut order.expr);
                let mut is_changed = false;
                for key in params.partition_by.iter_mut().chain(orders) {
                    is_changed |= take_sign_of_zero(key, schema);
                }
                if is_changed {
                    return Ok(Transformed::yes(expr));
                }
            }
            if let Some(args) = args_of_avg(&mut expr) {
                let is_changed = lengthen(args, schema);
                return Ok(Transformed::new_transformed(expr, is_changed));
            }
            if let Some(whole) = rounded_to_whole(&expr, schema) {
                return Ok(Transformed::yes(whole));
            }
            let mut is_changed = false;
            for mut parts in alternatives(&mut expr) {
                let read = parts.iter().map(|part| &**part);
                let types = types_of(&read.collect::<Vec<_>>()).unwrap_or_default();
                let Some(common) = common_type(&types) else {
                    continue;
                };
                for (part, found) in parts.iter_mut().zip(&types) {
                    if *found != common && found.is_numeric() {
                        **part = cast(std::mem::take(*part), common.clone());
                        is_changed = true;
                    }
                }
            }
            Ok(Transformed::new_transformed(expr, is_changed))
        }
    }
}

/// Makes the zeros of a window's key equal, as in PostgreSQL: rows with 0 and -0 are peers. DataFusion's
/// windows tell them apart, and their sorts may not. Returns whether the key was changed.
fn take_sign_of_zero(key: &mut Expr, schema: &DFSchema) -> bool {
    let zero = match key.get_type(schema).map(plain) {
        Ok(DataType::Float32) => ScalarValue::Float32(Some(0.0)),
        Ok(DataType::Float64) => ScalarValue::Float64(Some(0.0)),
        _ => return false,
    };
    let zero = Expr::Literal(zero, None);
    // Plans are analyzed more than once.
    let is_sum = match &*key {
        Expr::BinaryExpr(sum) => sum.op == Operator::Plus && *sum.right == zero,
        Expr::ScalarFunction(sum) => sum.args.last() == Some(&zero),
        _ => false,
    };
    if !is_sum {
        let sum = BinaryExpr::new(
            Box::new(std::mem::take(key)),
            Operator::Plus,
            Box::new(zero),
        );
        *key = Expr::BinaryExpr(sum);
    }
    !is_sum
}

/// The type without its encoding.
fn plain(data_type: DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => *values,
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        other => other,
    }
}

/// Whether there are decimals and doubles. DataFusion would make decimals of all of them, which
/// changes doubles.
fn is_mixed(types: &[DataType]) -> bool {
    types.iter().any(DataType::is_decimal) && types.iter().any(DataType::is_floating)
}

/// The common type of numbers of several types, as in PostgreSQL. `None` if DataFusion finds the same, or
/// if there are other values than numbers.
fn common_type(types: &[DataType]) -> Option<DataType> {
    let is_known = |found: &DataType| found.is_numeric() || found.is_null();
    let numbers = || types.iter().filter(|found| found.is_numeric());
    let first = numbers().next()?;
    let is_uniform =
        numbers().all(|found| found == first || found.is_integer() && first.is_integer());
    if !types.iter().all(is_known) || is_uniform {
        return None;
    }
    if numbers().any(DataType::is_floating) {
        return Some(match numbers().any(|found| *found == DataType::Float64) {
            true => DataType::Float64,
            false => DataType::Float32,
        });
    }
    numbers().try_fold(first.clone(), |common, found| {
        comparison_coercion(&common, found)
    })
}

/// `ceil`, `floor` and `round` of a decimal without decimal places, and `round` of an integer as a
/// double, as in PostgreSQL.
fn rounded_to_whole(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else {
        return None;
    };
    let [arg] = call.args.as_slice() else {
        return None;
    };
    let found = plain(arg.get_type(schema).ok()?);
    match call.func.name() {
        "round" if found.is_integer() => Some(cast(arg.clone(), DataType::Float64)),
        "ceil" | "floor" | "round" if found.is_decimal() => {
            let Digits { all, places } = Digits::of(&found)?;
            let all = (all - places + 1).min(WIDE);
            let whole = Digits { all, places: 0 };
            Some(cast(expr.clone(), whole.data_type()))
        }
        _ => None,
    }
}

/// Whether there is a single-precision number and an integer. PostgreSQL makes doubles of both.
fn is_real_with_integer(types: &[DataType]) -> bool {
    let is_real = |found: &DataType| matches!(found, DataType::Float16 | DataType::Float32);
    types.iter().any(is_real) && types.iter().any(DataType::is_integer)
}

/// Casts a number to a double.
fn to_double(expr: &mut Expr, schema: &DFSchema) {
    if expr
        .get_type(schema)
        .is_ok_and(|found| found != DataType::Float64)
    {
        *expr = cast(std::mem::take(expr), DataType::Float64);
    }
}

/// Replaces an operator that can overflow or round.
fn replace(binary: BinaryExpr, types: &[DataType]) -> Transformed<Expr> {
    let is_exact = types.iter().all(|found| Digits::of(found).is_some());
    if !is_exact || !types.iter().any(DataType::is_decimal) {
        let operands = [binary.left.as_ref(), binary.right.as_ref()];
        return match checked(binary.op, &operands, types) {
            Some(checked) => Transformed::yes(checked),
            None => Transformed::no(Expr::BinaryExpr(binary)),
        };
    }
    let operands = [shortest(&binary.left), shortest(&binary.right)];
    if binary.op == Operator::Divide {
        return Transformed::yes(QUOTIENT.call(operands.to_vec()));
    }
    let digits: Vec<Digits> = (operands.iter().zip(types))
        .filter_map(|(operand, found)| match operand {
            Expr::Literal(value, _) => Digits::of(&value.data_type()),
            _ => Digits::of(found),
        })
        .collect();
    let [left, right] = digits.as_slice() else {
        return Transformed::no(Expr::BinaryExpr(binary));
    };
    let is_long = result_digits(binary.op, *left, *right).is_some_and(Digits::is_long);
    let type_of = |digits: &Digits| {
        let places = i8::try_from(digits.places).unwrap_or(i8::MAX);
        match is_long {
            true => DataType::Decimal256(digits.all, places),
            false => digits.data_type(),
        }
    };
    let types: Vec<DataType> = digits.iter().map(type_of).collect();
    let operands = operands.into_iter().zip(&types);
    let operands = operands.map(|(operand, wanted)| match is_long {
        true => cast(operand, wanted.clone()),
        false => operand,
    });
    let operands: Vec<Expr> = operands.collect();
    match checked(binary.op, &[&operands[0], &operands[1]], &types) {
        Some(checked) => Transformed::yes(checked),
        None => Transformed::no(Expr::BinaryExpr(binary)),
    }
}

/// The digits that the results of an operator can have. `None` for `/`, and operators that do not
/// compute.
fn result_digits(op: Operator, left: Digits, right: Digits) -> Option<Digits> {
    let [left_whole, right_whole] = [left.all - left.places, right.all - right.places];
    let (whole, places) = match op {
        Operator::Plus | Operator::Minus => {
            (left_whole.max(right_whole), left.places.max(right.places))
        }
        Operator::Multiply => (left_whole + right_whole, left.places + right.places),
        _ => return None,
    };
    let all = whole + places + 1;
    Some(Digits { all, places })
}

/// An integer literal as a decimal with no more digits than it needs.
fn shortest(operand: &Expr) -> Expr {
    match operand {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => {
            let digits = value
                .unsigned_abs()
                .checked_ilog10()
                .map_or(1, |log| log + 1);
            let digits = u8::try_from(digits).unwrap_or(NARROW);
            let value = ScalarValue::Decimal128(Some(i128::from(*value)), digits, 0);
            Expr::Literal(value, metadata.clone())
        }
        other => other.clone(),
    }
}

/// The arguments of `avg`, as an aggregate or a window function.
fn args_of_avg(expr: &mut Expr) -> Option<&mut Vec<Expr>> {
    match expr {
        Expr::AggregateFunction(call) if call.func.name() == "avg" => Some(&mut call.params.args),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) if function.name() == "avg" => {
                Some(&mut call.params.args)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Gives the argument of `avg` more decimal places, because DataFusion's average has only four more
/// than its argument. Returns whether anything changed.
fn lengthen(args: &mut [Expr], schema: &DFSchema) -> bool {
    let [arg] = args else {
        return false;
    };
    let longer_than = |expr: &Expr| longer(&plain(expr.get_type(schema).ok()?));
    if let Expr::Cast(done) = &*arg
        && longer_than(&done.expr).as_ref() == Some(done.field.data_type())
    {
        return false;
    }
    let Some(longer) = longer_than(arg) else {
        return false;
    };
    *arg = cast(std::mem::take(arg), longer);
    true
}

/// The type of an argument of `avg` whose average has 16 decimal places more than `found`.
fn longer(found: &DataType) -> Option<DataType> {
    /// Decimal places that the cast adds. `avg` adds four.
    const ADDED: u8 = 12;
    /// Digits that are left for the sum of 10^10 values.
    const SUM: u8 = 10;
    if !found.is_decimal() {
        return None;
    }
    let Digits { all, places } = Digits::of(found)?;
    let (all, places) = (all + ADDED, places + ADDED);
    let scale = i8::try_from(places).ok()?;
    match all {
        0..=NARROW if all + SUM <= NARROW => Some(DataType::Decimal128(all, scale)),
        0..=WIDE if all + SUM <= WIDE => Some(DataType::Decimal256(all, scale)),
        _ => None,
    }
}

/// Functions whose arguments have one common type.
const UNIFYING: [&str; 8] = [
    "coalesce",
    "nvl",
    "nvl2",
    "nullif",
    "greatest",
    "least",
    "make_array",
    "ifnull",
];

/// The parts of an expression that get one common type, in groups.
fn alternatives(expr: &mut Expr) -> Vec<Vec<&mut Expr>> {
    match expr {
        Expr::Between(Between {
            expr, low, high, ..
        }) => vec![vec![expr, low, high]],
        Expr::InList(InList { expr, list, .. }) => {
            let mut parts: Vec<&mut Expr> = vec![expr];
            parts.extend(list);
            vec![parts]
        }
        Expr::Case(Case {
            expr,
            when_then_expr,
            else_expr,
        }) => {
            let (mut compared, mut results): (Vec<&mut Expr>, Vec<&mut Expr>) = when_then_expr
                .iter_mut()
                .map(|(when, then)| (when.as_mut(), then.as_mut()))
                .unzip();
            compared.extend(expr.as_deref_mut());
            results.extend(else_expr.as_deref_mut());
            vec![compared, results]
        }
        Expr::ScalarFunction(call) if UNIFYING.contains(&call.func.name()) => {
            vec![call.args.iter_mut().collect()]
        }
        _ => Vec::new(),
    }
}
