//! Operators and functions that mean what PostgreSQL's mean.
//!
//! Invariant: a result is PostgreSQL's value, or the query fails. DataFusion wraps integers around on
//! overflow, and cuts the fraction off where PostgreSQL rounds.
//!
//! | module | contents |
//! |---|---|
//! | `integers` | `+`, `-` and `*` of integers, checked |
//! | `casts` | casts to integers, rounded |
//! | `operators` | operators that mean something else in PostgreSQL |
//! | `sum` | `sum` of integers, checked |
//! | `to_char` | `to_char` with PostgreSQL's templates |

mod casts;
mod integers;
mod operators;
mod sum;
mod to_char;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use casts::RoundCasts;
use integers::CheckIntegers;
use operators::RefuseOperators;
use sum::CheckedSum;
use to_char::ToChar;

/// Replaces functions and operators of the session.
pub(crate) fn with_functions(builder: &mut SessionStateBuilder) {
    if let Some(planners) = builder.expr_planners() {
        planners.insert(0, Arc::new(RefuseOperators));
    }
    for function in builder.aggregate_functions().iter_mut().flatten() {
        if function.name() == "sum" {
            *function = Arc::new(AggregateUDF::from(CheckedSum::new()));
        }
    }
    for function in builder.scalar_functions().iter_mut().flatten() {
        if function.name() == "to_char" {
            *function = Arc::new(ScalarUDF::from(ToChar::new()));
        }
    }
    let mut analyzer = builder.analyzer().take().unwrap_or_default();
    analyzer.add_function_rewrite(Arc::new(CheckIntegers));
    analyzer.add_function_rewrite(Arc::new(RoundCasts));
    *builder.analyzer() = Some(analyzer);
}
