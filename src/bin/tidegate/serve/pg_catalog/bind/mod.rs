//! Gives the names of a query their columns, functions and types.
//!
//! Invariant: every scope stands for one row at run time: that of a SELECT's FROM, or of a result that
//! is ordered.

mod expressions;
mod from;
mod functions;
mod queries;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use tidegate_extensions::format::postgres::oid;

use super::objects::Objects;
use super::plan::{Aggregate, Expr, Fields, Output, Query, SetCall, Window};
use super::text::read;
use super::types::{is_implicit, is_text, type_text};
use super::value::Value;
use crate::serve::fault::Fault;

/// A bound expression and its type.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) expr: Expr,
    pub(super) type_oid: u32,
    /// The fields of a record.
    pub(super) fields: Option<Fields>,
}

impl Typed {
    fn new(expr: Expr, type_oid: u32) -> Self {
        Self {
            expr,
            type_oid,
            fields: None,
        }
    }

    /// The same expression for several places.
    fn shared(self) -> Self {
        Self {
            expr: Expr::Shared(Arc::new(self.expr)),
            ..self
        }
    }

    fn null() -> Self {
        Self::new(Expr::Const(Value::Null), oid::UNKNOWN)
    }
}

/// A column that can be named.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    type_oid: u32,
    fields: Option<Fields>,
    slot: usize,
    /// A column of USING whose value is that of the other side: only a qualified name means it.
    is_merged: bool,
    /// A column of USING: it comes first.
    is_using: bool,
}

/// A table of FROM.
#[derive(Debug)]
struct Table {
    alias: String,
    schema: Option<String>,
    columns: Vec<Named>,
    /// The number of a system table; 0 for none.
    relation: u32,
    /// A function that returns no record: its alias means its value.
    is_value: bool,
}

/// The names that a query's expressions can use.
#[derive(Debug, Default)]
struct Scope {
    tables: Vec<Table>,
    width: usize,
    /// True while a part of FROM is bound that can't see its neighbours.
    is_hidden: bool,
    aggregates: Vec<Aggregate>,
    windows: Vec<Window>,
    sets: Vec<SetCall>,
    named_windows: Vec<(String, ast::WindowSpec)>,
    /// Aggregates and sets may stand here.
    may_aggregate: bool,
}

/// A query of WITH that can be named.
#[derive(Debug, Clone)]
struct NamedQuery {
    name: String,
    number: usize,
    outputs: Vec<Output>,
    /// The rows that a recursive query has found so far decide its own.
    is_recursive: bool,
    /// The columns of outer queries that it reads.
    uses: Vec<(usize, usize)>,
}

/// Binds one statement.
pub(super) struct Binder<'a> {
    objects: &'a Objects,
    /// The types of the parameters; 0 if they are not known.
    pub(super) parameters: Vec<u32>,
    scopes: Vec<Scope>,
    queries: Vec<NamedQuery>,
    /// The scope and the table of each column that was named.
    uses: Vec<(usize, usize)>,
    next_number: usize,
    /// How deep the expression is that is bound, and how many were.
    depth: usize,
    expressions: usize,
    /// How often working rows of recursive queries were named.
    recursions: usize,
    views: HashMap<u32, Arc<Query>>,
}

/// How deep queries may be nested.
const MOST_SCOPES: usize = 60;

/// How deep expressions may be nested, and how many of them a statement may have.
const MOST_DEPTH: usize = 4000;
const MOST_EXPRESSIONS: usize = 200_000;

/// The most tables of one FROM: each is a bit of the conditions that need it.
const MOST_TABLES: usize = 127;

pub(super) fn unsupported(what: impl std::fmt::Display) -> Fault {
    Fault::new(
        "0A000",
        format!("{what} is not supported in queries of the system catalog"),
    )
}

/// The name that an identifier stands for.
fn name_of(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a name.
fn parts_of(name: &ast::ObjectName) -> Vec<String> {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    parts.map(name_of).collect()
}

impl<'a> Binder<'a> {
    pub(super) fn new(objects: &'a Objects, parameters: Vec<u32>) -> Self {
        Self {
            objects,
            parameters,
            scopes: Vec::new(),
            queries: Vec::new(),
            uses: Vec::new(),
            next_number: 0,
            depth: 0,
            expressions: 0,
            recursions: 0,
            views: HashMap::new(),
        }
    }

    fn number(&mut self) -> usize {
        self.next_number += 1;
        self.next_number
    }

    fn push_scope(&mut self) -> Result<(), Fault> {
        if self.scopes.len() >= MOST_SCOPES {
            return Err(Fault::new("54001", "queries are nested too deep"));
        }
        self.scopes.push(Scope::default());
        Ok(())
    }

    /// The scope of the query that is being bound.
    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Makes an expression one of another type.
    ///
    /// # Errors
    /// 42846 if there is no such cast; errors of reading a literal.
    fn coerce(&mut self, from: Typed, to: u32, is_explicit: bool) -> Result<Typed, Fault> {
        let to = super::system::System::get().base_type(to);
        if let (Expr::Parameter(place), oid::UNKNOWN) = (&from.expr, from.type_oid) {
            if let Some(known) = self.parameters.get_mut(*place) {
                *known = to;
            }
            return Ok(Typed::new(from.expr, to));
        }
        if from.type_oid == to || to == super::text::more::ANY {
            return Ok(from);
        }
        if from.type_oid == oid::UNKNOWN
            && let Expr::Const(value) = &from.expr
        {
            let value = match value {
                Value::Text(text) => read(to, text, self.objects)?,
                other => other.clone(),
            };
            return Ok(Typed::new(Expr::Const(value), to));
        }
        if is_explicit && !self.has_cast(from.type_oid, to) {
            let why = format!(
                "cannot cast type {} to {}",
                type_text(from.type_oid, i32::MIN, self.objects),
                type_text(to, i32::MIN, self.objects)
            );
            return Err(Fault::new("42846", why));
        }
        let expr = Expr::Convert {
            expr: Box::new(from.expr),
            from: from.type_oid,
            to,
        };
        Ok(Typed::new(expr, to))
    }

    /// Whether CAST works: by a cast, through texts, or element by element.
    fn has_cast(&self, from: u32, to: u32) -> bool {
        let system = super::system::System::get();
        let elements = (
            self.objects.element_type(from),
            self.objects.element_type(to),
        );
        is_implicit(from, to)
            || system.cast(from, to).is_some()
            || is_text(from)
            || is_text(to)
            || elements.0 != 0 && elements.1 != 0 && self.has_cast(elements.0, elements.1)
            || from == super::text::more::ANYARRAY
    }

    /// The tables of the current scope that were used since `mark`, as bits.
    fn used_since(&self, mark: usize) -> u128 {
        let current = self.scopes.len().saturating_sub(1);
        let used = self.uses[mark..]
            .iter()
            .filter(|(scope, _)| *scope == current);
        used.fold(0, |bits, (_, table)| bits | 1 << *table)
    }
}
