//! Operators and functions that mean what PostgreSQL's mean.
//!
//! Invariant: a result is PostgreSQL's value, or the query fails. DataFusion wraps integers around on
//! overflow, and cuts the fraction off where PostgreSQL rounds.
//!
//! | module | contents |
//! |---|---|
//! | `numeric` | arithmetic of integers and decimals, and casts to integers |
//! | `texts` | casts from and to texts |
//! | `times` | dates, times and intervals |
//! | `patterns` | the patterns of `LIKE … ESCAPE` and `SIMILAR TO` |
//! | `to_char` | `to_char` with PostgreSQL's templates |

mod numeric;
mod patterns;
mod texts;
mod times;
mod to_char;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, Operator, ScalarUDF};

use numeric::{CheckedSum, ExactNumbers, RoundCasts, UnifyColumns, with_checks};
use patterns::pattern_functions;
use texts::TextCasts;
use times::{AtTimeZone, TimeOperators};
use to_char::ToChar;

/// Replaces functions and operators of the session.
pub(crate) fn with_functions(builder: &mut SessionStateBuilder) {
    for function in builder.aggregate_functions().iter_mut().flatten() {
        if function.name() == "sum" {
            *function = Arc::new(AggregateUDF::from(CheckedSum::new()));
        }
    }
    for function in builder.scalar_functions().iter_mut().flatten() {
        if function.name() == "to_char" {
            *function = Arc::new(ScalarUDF::from(ToChar::new()));
        }
        if let Some(checked) = with_checks(function) {
            *function = Arc::new(checked);
        }
    }
    let patterns = pattern_functions().map(Arc::new);
    let timezone = Arc::new(ScalarUDF::from(AtTimeZone::new()));
    builder
        .scalar_functions()
        .get_or_insert_default()
        .extend(patterns.into_iter().chain([timezone]));
    let mut analyzer = builder.analyzer().take().unwrap_or_default();
    analyzer.add_function_rewrite(Arc::new(TimeOperators));
    analyzer.add_function_rewrite(Arc::new(ExactNumbers));
    analyzer.add_function_rewrite(Arc::new(RoundCasts));
    analyzer.add_function_rewrite(Arc::new(TextCasts));
    analyzer.rules.insert(0, Arc::new(UnifyColumns));
    *builder.analyzer() = Some(analyzer);
}

/// Whether an operator compares its operands.
fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}
