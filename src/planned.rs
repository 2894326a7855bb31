//! A planned statement.
//!
//! Invariant: nothing has taken effect yet, and nothing is read but what planning reads.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::LogicalPlan;
use tidegate_extensions::notices::Notices;
use tidegate_extensions::plan::{CopyOutNode, StreamOptions};
use tidegate_extensions::{Location, Result};

use crate::outcome::Tag;

/// A statement that has been planned and can be started, by
/// [`Session::start_planned`](crate::Session::start_planned).
#[derive(Debug)]
pub struct Planned {
    plan: LogicalPlan,
    tag: Tag,
    location: Location,
    notices: Notices,
}

/// How the result of a `COPY … TO STDOUT` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOut {
    /// The number of columns.
    pub columns: usize,
    /// Rows are in PostgreSQL's binary form, not lines of text.
    pub is_binary: bool,
}

impl Planned {
    pub(crate) fn new(plan: LogicalPlan, location: Location, notices: Notices) -> Self {
        Self {
            tag: Tag::of(&plan),
            plan,
            location,
            notices,
        }
    }

    pub(crate) fn into_parts(self) -> (LogicalPlan, Location, Notices) {
        (self.plan, self.location, self.notices)
    }

    /// The columns of the rows that the statement returns; `None` if it returns none.
    pub fn columns(&self) -> Option<&Schema> {
        let schema = self.plan.schema().as_arrow();
        let returns_rows = self.tag.returns_rows() && !schema.fields().is_empty();
        returns_rows.then_some(schema)
    }

    /// How the statement writes its result, if it is a `COPY … TO STDOUT`.
    pub fn copy_out(&self) -> Option<CopyOut> {
        let LogicalPlan::Extension(extension) = &self.plan else {
            return None;
        };
        let node = extension.node.as_any().downcast_ref::<CopyOutNode>()?;
        Some(CopyOut {
            columns: node.input.schema().fields().len(),
            is_binary: node.options == StreamOptions::Binary,
        })
    }

    /// Whether the statement may change something outside the session or in it: whether it is not
    /// only a query.
    pub fn has_effect(&self) -> bool {
        match &self.tag {
            Tag::Rows(_) | Tag::Lines(_) => false,
            Tag::Plain(words) => words != "EXPLAIN",
            Tag::Count(_) | Tag::Files(_) => true,
        }
    }

    /// The words that the command tag begins with.
    pub fn tag_words(&self) -> &str {
        self.tag.words()
    }

    /// The statement's parameters by number, each with its type if the planner found one.
    ///
    /// # Errors
    /// The planner found two types for a parameter.
    pub fn parameter_types(&self) -> Result<BTreeMap<u16, Option<DataType>>> {
        let types = self.plan.get_parameter_types()?;
        let numbered = types.into_iter().filter_map(|(name, data_type)| {
            let number = name.strip_prefix('$')?.parse().ok()?;
            Some((number, data_type))
        });
        Ok(numbered.collect())
    }
}
