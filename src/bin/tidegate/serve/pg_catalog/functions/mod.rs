//! Functions and operators of catalog queries.
//!
//! Invariant: an unknown function is an error that names it. Tidegate keeps no files, statistics or
//! transactions of tables; functions about them return what PostgreSQL returns for an unused table.
//! A function gets values of the types that PostgreSQL declares for it.

mod catalog;
pub(super) mod json;
mod operators;
mod privileges;
mod session;
mod sets;
mod texts;

use super::objects::Objects;
use super::plan::{Apply, ApplySet, Call};
use super::value::Value;
use crate::serve::fault::Fault;

pub(super) use self::operators::operator;
pub(super) use self::sets::side_by_side;

/// The implementation of a function.
pub(super) fn function(name: &str) -> Option<Apply> {
    texts::function(name)
        .or_else(|| catalog::function(name))
        .or_else(|| privileges::function(name))
        .or_else(|| session::function(name))
        .or_else(|| json::function(name))
}

/// Refuses a call of a function that PostgreSQL has and Tidegate has not.
///
/// # Errors
/// 0A000, always.
pub(super) fn unknown(_: &[Value], call: &Call, _: &Objects) -> Result<Value, Fault> {
    Err(super::bind::unsupported(format!(
        "the function {}",
        call.name
    )))
}

/// The implementation of a function that returns a set.
pub(super) fn set_function(name: &str) -> Option<ApplySet> {
    sets::set_function(name).or_else(|| privileges::set_function(name))
}
