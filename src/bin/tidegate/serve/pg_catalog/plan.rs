//! What a query is after its names and types are known.
//!
//! Invariant: an expression has the type that PostgreSQL gives it, and every conversion is explicit.

use std::sync::Arc;

use super::objects::Objects;
use super::value::{Row, Value};
use crate::serve::fault::Fault;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) type_oid: u32,
    /// The fields of a record.
    pub(super) fields: Option<Fields>,
}

/// The names and types of a record's fields.
pub(super) type Fields = Arc<Vec<(String, u32)>>;

/// What an implementation of a function or operator knows of its call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    /// The types of its arguments.
    pub(super) types: Vec<u32>,
    /// The fields of the arguments that are records.
    pub(super) fields: Vec<Option<Fields>>,
    pub(super) returns: u32,
    /// It is NULL if an argument is.
    pub(super) is_strict: bool,
}

/// Computes a function or operator.
pub(super) type Apply = fn(&[Value], &Call, &Objects) -> Result<Value, Fault>;

/// Computes the rows of a function that returns a set.
pub(super) type ApplySet = fn(&[Value], &Call, &Objects) -> Result<Vec<Row>, Fault>;

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Const(Value),
    Parameter(usize),
    /// An expression that stands in several places.
    Shared(Arc<Expr>),
    /// A value of the row of the query that is `up` levels further out.
    Column {
        up: usize,
        slot: usize,
    },
    Call {
        apply: Apply,
        call: Arc<Call>,
        arguments: Vec<Expr>,
    },
    /// Another type's form of a value.
    Convert {
        expr: Box<Expr>,
        from: u32,
        to: u32,
    },
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    /// `IS TRUE` or `IS FALSE`.
    Is(Box<Expr>, bool),
    IsDistinct(Box<Expr>, Box<Expr>),
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Coalesce(Vec<Expr>),
    NullIf(Box<Expr>, Box<Expr>),
    /// The greatest, or the least.
    Extreme(Vec<Expr>, bool),
    Array(Vec<Expr>),
    Record(Vec<Expr>),
    Field(Box<Expr>, usize),
    /// An element; the first one has the number `first`.
    Element {
        array: Box<Expr>,
        place: Box<Expr>,
        first: i64,
    },
    Slice {
        array: Box<Expr>,
        from: Option<Box<Expr>>,
        to: Option<Box<Expr>>,
        first: i64,
    },
    /// A comparison with any or all elements of an array or rows of a query.
    Quantified {
        left: Box<Expr>,
        apply: Apply,
        call: Arc<Call>,
        right: Many,
        all: bool,
    },
    Scalar(Arc<Query>),
    Exists(Arc<Query>),
    ArrayOf(Arc<Query>),
    Aggregate(usize),
    Window(usize),
    /// A row of a function that returns a set, in the list of a SELECT.
    Set(usize),
}

/// The values that a comparison is quantified over.
#[derive(Debug, Clone)]
pub(super) enum Many {
    Array(Box<Expr>),
    Query(Arc<Query>),
}

/// A sort key.
#[derive(Debug, Clone)]
pub(super) struct Sort {
    pub(super) expr: Expr,
    pub(super) is_descending: bool,
    pub(super) nulls_first: bool,
}

/// An aggregate of a group, or over a window.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) arguments: Vec<Expr>,
    pub(super) call: Arc<Call>,
    pub(super) is_distinct: bool,
    pub(super) order: Vec<Sort>,
    pub(super) filter: Option<Expr>,
}

/// A window function.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) function: Aggregate,
    pub(super) partition: Vec<Expr>,
    pub(super) order: Vec<Sort>,
}

/// A function that returns a set.
#[derive(Debug, Clone)]
pub(super) struct SetCall {
    pub(super) apply: Rows,
    pub(super) call: Arc<Call>,
    pub(super) arguments: Vec<Expr>,
}

/// How the rows of a function are computed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows {
    /// It returns a set.
    Set(ApplySet),
    /// It returns a value, which is its only row.
    Value(Apply),
}

/// An item of FROM.
#[derive(Debug)]
pub(super) enum Source {
    Rows(Arc<Vec<Row>>),
    Query(Arc<Query>),
    Cte(usize),
    Function { call: SetCall, ordinality: bool },
}

/// How rows are found, in nested loops.
#[derive(Debug)]
pub(super) enum Node {
    /// One row without values.
    Unit(Vec<Expr>),
    Scan {
        source: Source,
        offset: usize,
        width: usize,
        /// A column and the value that it must have.
        probe: Option<(usize, Expr)>,
        filters: Vec<Expr>,
    },
    Inner(Box<Node>, Box<Node>),
    Left {
        left: Box<Node>,
        right: Box<Node>,
        /// The slots of the right side.
        right_slots: std::ops::Range<usize>,
        filters: Vec<Expr>,
        /// Rows of the right side without a partner are returned, too.
        is_full: bool,
        left_slots: std::ops::Range<usize>,
    },
}

/// The rows of a SELECT that are one each.
#[derive(Debug, Clone)]
pub(super) enum Distinct {
    None,
    All,
    On(Vec<Expr>),
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) keys: Vec<Expr>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) having: Option<Expr>,
}

#[derive(Debug)]
pub(super) struct Select {
    pub(super) from: Node,
    /// The number of values of a row of FROM.
    pub(super) width: usize,
    pub(super) group: Option<Group>,
    pub(super) windows: Vec<Window>,
    pub(super) sets: Vec<SetCall>,
    pub(super) outputs: Vec<Expr>,
    pub(super) distinct: Distinct,
    pub(super) order: Vec<Sort>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetKind {
    Union,
    Except,
    Intersect,
}

#[derive(Debug)]
pub(super) enum Body {
    Select(Box<Select>),
    Values(Vec<Vec<Expr>>),
    Set {
        kind: SetKind,
        all: bool,
        left: Arc<Query>,
        right: Arc<Query>,
    },
}

/// A query of WITH.
#[derive(Debug)]
pub(super) struct Cte {
    pub(super) number: usize,
    pub(super) query: Arc<Query>,
    pub(super) is_recursive: bool,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) number: usize,
    pub(super) ctes: Vec<Cte>,
    pub(super) body: Body,
    /// The order of a body that is no SELECT.
    pub(super) order: Vec<Sort>,
    pub(super) limit: Option<Expr>,
    pub(super) offset: Option<Expr>,
    pub(super) outputs: Vec<Output>,
    /// It reads values of outer queries.
    pub(super) is_correlated: bool,
    /// It reads the rows that a recursive query has found so far.
    pub(super) is_recursive: bool,
}
