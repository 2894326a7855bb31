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
//! | `to_char` | `to_char`, `to_date`, `to_timestamp` and `to_number` with PostgreSQL's templates |
//! | `json` | access to JSON |
//! | `strings` | further functions of texts |
//! | `rows` | how a function is computed row by row |

mod json;
mod numeric;
mod patterns;
mod rows;
mod strings;
mod texts;
mod times;
mod to_char;

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{AggregateUDF, Expr, Operator, ScalarUDF};

use json::json_functions;
use numeric::{CheckedSum, UnifyColumns, exact_numbers, round_casts, with_checks};
use patterns::pattern_functions;
use strings::string_functions;
use texts::text_casts;
use times::{AtTimeZone, ScalePlanner, interval_functions, make_timestamp, time_operators};
use to_char::{ToChar, reading_functions};

/// Replaces one expression, whose operands are replaced already. The schema is that of the plan's
/// inputs.
#[derive(Debug)]
struct Rewrite {
    name: &'static str,
    rewrite: fn(Expr, &DFSchema) -> DataFusionResult<Transformed<Expr>>,
}

impl FunctionRewrite for Rewrite {
    fn name(&self) -> &str {
        self.name
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Transformed<Expr>> {
        (self.rewrite)(expr, schema)
    }
}

/// In the order in which each expression passes them.
const REWRITES: [Rewrite; 4] = [
    Rewrite {
        name: "time_operators",
        rewrite: time_operators,
    },
    Rewrite {
        name: "exact_numbers",
        rewrite: exact_numbers,
    },
    Rewrite {
        name: "round_casts",
        rewrite: round_casts,
    },
    Rewrite {
        name: "text_casts",
        rewrite: text_casts,
    },
];

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
    let functions = builder.scalar_functions().get_or_insert_default();
    functions.push(Arc::new(ScalarUDF::from(AtTimeZone::new())));
    functions.push(make_timestamp());
    functions.extend(pattern_functions());
    functions.extend(interval_functions());
    functions.extend(json_functions());
    functions.extend(string_functions());
    functions.extend(reading_functions());
    let planners = builder.expr_planners().get_or_insert_default();
    planners.insert(0, Arc::new(ScalePlanner));
    let mut analyzer = builder.analyzer().take().unwrap_or_default();
    for rewrite in REWRITES {
        analyzer.add_function_rewrite(Arc::new(rewrite));
    }
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
