//! FROM and WHERE: where rows come from, and which conditions are checked at which loop.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableWithJoins,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tidegate_extensions::format::postgres::oid;

use super::expressions::operator_name;
use super::{Binder, MOST_TABLES, Named, Table, Typed, name_of, parts_of, unsupported};
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::plan::{Expr, Node, Output, Query, Source};
use crate::serve::pg_catalog::system::{PG_CATALOG, PUBLIC, System};
use crate::serve::pg_catalog::text::more;
use crate::serve::pg_catalog::types::parse_type;

/// A condition, and the tables that it needs.
struct Condition {
    expr: Expr,
    needs: u128,
    /// The sides of an equation, and the tables that each needs.
    sides: Option<[(Expr, u128); 2]>,
}

/// The tables of FROM as they were written.
enum Tree {
    Item {
        table: usize,
        source: Source,
        slots: Range<usize>,
        /// The tables that its rows depend on.
        needs: u128,
    },
    Join {
        kind: Kind,
        left: Box<Tree>,
        right: Box<Tree>,
        on: Vec<Condition>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
    Full,
}

impl Tree {
    /// Its tables, as bits.
    fn tables(&self) -> u128 {
        match self {
            Self::Item { table, .. } => 1 << *table,
            Self::Join { left, right, .. } => left.tables() | right.tables(),
        }
    }

    fn slots(&self) -> Range<usize> {
        match self {
            Self::Item { slots, .. } => slots.clone(),
            Self::Join { left, right, .. } => {
                let (left, right) = (left.slots(), right.slots());
                left.start.min(right.start)..left.end.max(right.end)
            }
        }
    }

    /// The other tables that its rows depend on.
    fn needs(&self) -> u128 {
        match self {
            Self::Item { needs, .. } => *needs,
            Self::Join { left, right, .. } => (left.needs() | right.needs()) & !self.tables(),
        }
    }

    /// The parts of inner joins, in the order in which they were written, and the conditions.
    fn flatten(self, parts: &mut Vec<Tree>, conditions: &mut Vec<Condition>) {
        match self {
            Self::Join {
                kind: Kind::Inner,
                left,
                right,
                on,
            } => {
                conditions.extend(on);
                left.flatten(parts, conditions);
                right.flatten(parts, conditions);
            }
            other => parts.push(other),
        }
    }

    /// Whether an index finds the rows of this part, if the tables in `bound` have rows.
    fn has_probe(&self, conditions: &[Condition], bound: u128) -> bool {
        let Self::Item { table, slots, .. } = self else {
            return false;
        };
        let own = 1 << *table;
        conditions.iter().any(|condition| {
            let sides = condition.sides.as_ref();
            sides.is_some_and(|[left, right]| {
                let is_column = |side: &(Expr, u128)| match side.0 {
                    Expr::Column { up: 0, slot } => slots.contains(&slot),
                    _ => false,
                };
                is_column(left) && right.1 & !bound & !own == 0 && right.1 & own == 0
                    || is_column(right) && left.1 & !bound & !own == 0 && left.1 & own == 0
            })
        })
    }

    /// The loops for this part, with conditions that need no other tables than its own and those in
    /// `bound`.
    fn into_node(self, conditions: Vec<Condition>, bound: u128) -> Node {
        match self {
            Self::Item {
                table,
                source,
                slots,
                ..
            } => {
                let own = 1 << table;
                let probe = conditions.iter().find_map(|condition| {
                    let [left, right] = condition.sides.as_ref()?;
                    let slot_of = |expr: &Expr| match expr {
                        Expr::Column { up: 0, slot } if slots.contains(slot) => {
                            Some(slot - slots.start)
                        }
                        _ => None,
                    };
                    match (slot_of(&left.0), slot_of(&right.0)) {
                        (Some(slot), _) if right.1 & own == 0 => Some((slot, right.0.clone())),
                        (_, Some(slot)) if left.1 & own == 0 => Some((slot, left.0.clone())),
                        _ => None,
                    }
                });
                Node::Scan {
                    source,
                    offset: slots.start,
                    width: slots.len(),
                    probe,
                    filters: conditions
                        .into_iter()
                        .map(|condition| condition.expr)
                        .collect(),
                }
            }
            Self::Join {
                kind: Kind::Inner, ..
            } => {
                let (mut parts, mut conditions) = (Vec::new(), conditions);
                self.flatten(&mut parts, &mut conditions);
                let (mut node, mut bound) = (None, bound);
                while !parts.is_empty() {
                    // A part that an index finds comes first, then the one that was written first.
                    let is_ready = |part: &Tree| part.needs() & !bound == 0;
                    let probed = parts
                        .iter()
                        .position(|part| is_ready(part) && part.has_probe(&conditions, bound));
                    let next = probed.or_else(|| parts.iter().position(is_ready));
                    let part = parts.remove(next.unwrap_or(0));
                    let before = bound;
                    bound |= part.tables();
                    let (now, later): (Vec<_>, Vec<_>) = conditions
                        .into_iter()
                        .partition(|condition| condition.needs & !bound == 0);
                    conditions = later;
                    let next = part.into_node(now, before);
                    node = Some(match node {
                        None => next,
                        Some(left) => Node::Inner(Box::new(left), Box::new(next)),
                    });
                }
                // Conditions that nothing above can check need a table that is not here.
                let rest: Vec<Expr> = conditions.into_iter().map(|rest| rest.expr).collect();
                let all = Node::Unit(rest);
                match node {
                    Some(node) => Node::Inner(Box::new(node), Box::new(all)),
                    None => all,
                }
            }
            Self::Join {
                kind,
                left,
                right,
                on,
            } => {
                let early = bound | left.tables();
                let is_full = kind == Kind::Full;
                let (first, after): (Vec<_>, Vec<_>) = conditions
                    .into_iter()
                    .partition(|condition| !is_full && condition.needs & !early == 0);
                let (left_slots, right_slots) = (left.slots(), right.slots());
                Node::Left {
                    left: Box::new(left.into_node(first, bound)),
                    right: Box::new(right.into_node(on, early)),
                    right_slots,
                    filters: after.into_iter().map(|condition| condition.expr).collect(),
                    is_full,
                    left_slots,
                }
            }
        }
    }
}

impl Binder<'_> {
    /// Binds FROM and WHERE.
    pub(super) fn from(
        &mut self,
        from: &[TableWithJoins],
        selection: Option<&ast::Expr>,
    ) -> Result<Node, Fault> {
        let mut tree: Option<Tree> = None;
        for item in from {
            let next = self.joined(item)?;
            tree = Some(match tree {
                None => next,
                Some(left) => Tree::Join {
                    kind: Kind::Inner,
                    left: Box::new(left),
                    right: Box::new(next),
                    on: Vec::new(),
                },
            });
        }
        let mut conditions = Vec::new();
        if let Some(selection) = selection {
            self.conditions(selection, &mut conditions)?;
        }
        Ok(match tree {
            Some(tree) => tree.into_node(conditions, 0),
            None => Node::Unit(
                conditions
                    .into_iter()
                    .map(|condition| condition.expr)
                    .collect(),
            ),
        })
    }

    /// Splits a condition at its ANDs.
    fn conditions(&mut self, expr: &ast::Expr, into: &mut Vec<Condition>) -> Result<(), Fault> {
        match expr {
            ast::Expr::Nested(inner) => return self.conditions(inner, into),
            ast::Expr::BinaryOp {
                left,
                op: ast::BinaryOperator::And,
                right,
            } => {
                self.conditions(left, into)?;
                return self.conditions(right, into);
            }
            _ => {}
        }
        let mark = self.uses.len();
        if let ast::Expr::BinaryOp { left, op, right } = expr
            && operator_name(op) == "="
        {
            let left = self.expr(left)?;
            let left_needs = self.used_since(mark);
            let second = self.uses.len();
            let right = self.expr(right)?;
            let right_needs = self.used_since(second);
            let typed = self.operator("=", vec![left, right])?;
            let sides = match &typed.expr {
                Expr::Call { arguments, .. } => match arguments.as_slice() {
                    [left, right] => {
                        Some([(left.clone(), left_needs), (right.clone(), right_needs)])
                    }
                    _ => None,
                },
                _ => None,
            };
            into.push(Condition {
                expr: typed.expr,
                needs: left_needs | right_needs,
                sides,
            });
            return Ok(());
        }
        let expr = self.condition(expr)?;
        into.push(Condition {
            expr,
            needs: self.used_since(mark),
            sides: None,
        });
        Ok(())
    }

    fn joined(&mut self, item: &TableWithJoins) -> Result<Tree, Fault> {
        let mut tree = self.factor(&item.relation)?;
        for join in &item.joins {
            let before = self.scope().tables.len();
            let right = self.factor(&join.relation)?;
            let (kind, is_swapped, constraint) = match &join.join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                    (Kind::Inner, false, on)
                }
                JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Kind::Left, false, on),
                JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Kind::Left, true, on),
                JoinOperator::FullOuter(on) => (Kind::Full, false, on),
                other => return Err(unsupported(format!("{other:?}"))),
            };
            let mut on = Vec::new();
            match constraint {
                JoinConstraint::None => {}
                JoinConstraint::On(expr) => self.conditions(expr, &mut on)?,
                JoinConstraint::Using(columns) => {
                    let names = columns.iter().filter_map(|name| parts_of(name).pop());
                    self.using(names.collect(), before, (kind, is_swapped), &mut on)?;
                }
                JoinConstraint::Natural => {
                    let tables = &self.scope().tables;
                    let names = |tables: &[Table]| -> Vec<String> {
                        let columns = tables.iter().flat_map(|table| &table.columns);
                        columns.map(|column| column.name.clone()).collect()
                    };
                    let left = names(&tables[..before]);
                    let mut common = names(&tables[before..]);
                    common.retain(|name| left.contains(name));
                    self.using(common, before, (kind, is_swapped), &mut on)?;
                }
            }
            let (left, right) = if is_swapped {
                (right, tree)
            } else {
                (tree, right)
            };
            tree = Tree::Join {
                kind,
                left: Box::new(left),
                right: Box::new(right),
                on,
            };
        }
        Ok(tree)
    }

    /// Equations of columns that both sides of a join have. The tables from `before` on are its right
    /// side.
    fn using(
        &mut self,
        names: Vec<String>,
        before: usize,
        (kind, is_swapped): (Kind, bool),
        on: &mut Vec<Condition>,
    ) -> Result<(), Fault> {
        if kind == Kind::Full {
            return Err(unsupported("FULL JOIN with USING"));
        }
        for name in names {
            let missing = || {
                let why = format!("column \"{name}\" specified in USING clause does not exist");
                Fault::new("42703", why)
            };
            let mut side = |tables: Range<usize>| -> Option<(usize, Typed)> {
                tables.into_iter().find_map(|place| {
                    let table = self.scope().tables.get_mut(place)?;
                    let mut columns = table.columns.iter_mut();
                    let column = columns.find(|column| column.name == name && !column.is_merged)?;
                    // The side whose rows are all returned has the value.
                    column.is_merged = (place >= before) != is_swapped;
                    column.is_using = !column.is_merged;
                    let slot = column.slot;
                    Some((
                        place,
                        Typed::new(Expr::Column { up: 0, slot }, column.type_oid),
                    ))
                })
            };
            let left = side(0..before).ok_or_else(missing)?;
            let right = side(before..usize::from(u16::MAX)).ok_or_else(missing)?;
            let bits = |table: usize| 1_u128 << table;
            let sides = [
                (left.1.expr.clone(), bits(left.0)),
                (right.1.expr.clone(), bits(right.0)),
            ];
            let is_same = left.1.type_oid == right.1.type_oid;
            let equal = self.operator("=", vec![left.1, right.1])?;
            on.push(Condition {
                expr: equal.expr,
                needs: bits(left.0) | bits(right.0),
                sides: Some(sides).filter(|_| is_same),
            });
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<Tree, Fault> {
        let mark = self.uses.len();
        let mut tree = self.relation(factor)?;
        self.check_tables()?;
        let used = self.used_since(mark);
        if let Tree::Item { needs, table, .. } = &mut tree {
            *needs = used & !(1 << *table);
        }
        Ok(tree)
    }

    fn relation(&mut self, factor: &TableFactor) -> Result<Tree, Fault> {
        match factor {
            TableFactor::Table {
                sample: Some(_), ..
            } => Err(unsupported("TABLESAMPLE")),
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => self.table(name, alias.as_ref()),
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                with_ordinality,
                ..
            } => self.function_rows(
                &parts_of(name),
                &args.args,
                alias.as_ref(),
                *with_ordinality,
            ),
            TableFactor::Function {
                name,
                args,
                alias,
                with_ordinality,
                ..
            } => self.function_rows(&parts_of(name), args, alias.as_ref(), *with_ordinality),
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_ordinality,
                ..
            } => {
                let arrays = array_exprs
                    .iter()
                    .map(|array| FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(array.clone())));
                let arrays: Vec<FunctionArg> = arrays.collect();
                let name = "unnest".to_owned();
                self.function_rows(&[name], &arrays, alias.as_ref(), *with_ordinality)
            }
            TableFactor::TableFunction { expr, alias } => match expr {
                ast::Expr::Function(function) => match &function.args {
                    ast::FunctionArguments::List(list) => {
                        let parts = parts_of(&function.name);
                        self.function_rows(&parts, &list.args, alias.as_ref(), false)
                    }
                    _ => Err(unsupported(expr)),
                },
                other => Err(unsupported(other)),
            },
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                ..
            } => {
                let was_hidden = self.scope().is_hidden;
                self.scope().is_hidden |= !lateral;
                let query = self.query(subquery);
                self.scope().is_hidden = was_hidden;
                let query = query?;
                let outputs = query.outputs.clone();
                let name = alias.as_ref().map(|alias| name_of(&alias.name));
                let source = Source::Query(Arc::new(query));
                Ok(self.add_table(
                    name.unwrap_or_default(),
                    None,
                    alias.as_ref(),
                    outputs,
                    source,
                ))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.joined(table_with_joins),
            other => Err(unsupported(other)),
        }
    }

    /// # Errors
    /// 54001 for too many tables, 42712 for two of one name.
    fn check_tables(&mut self) -> Result<(), Fault> {
        let tables = &self.scope().tables;
        if tables.len() > MOST_TABLES {
            return Err(Fault::new("54001", "a FROM has too many tables"));
        }
        let Some((last, others)) = tables.split_last() else {
            return Ok(());
        };
        let is_twice = others.iter().any(|other| other.alias == last.alias);
        match is_twice && !last.alias.is_empty() {
            true => {
                let why = format!("table name \"{}\" specified more than once", last.alias);
                Err(Fault::new("42712", why))
            }
            false => Ok(()),
        }
    }

    /// Adds a table to the scope.
    fn add_table(
        &mut self,
        name: String,
        schema: Option<String>,
        alias: Option<&TableAlias>,
        outputs: Vec<Output>,
        source: Source,
    ) -> Tree {
        let scope = self.scope();
        let (start, width) = (scope.width, outputs.len());
        let renamed = alias.map_or(&[][..], |alias| alias.columns.as_slice());
        let columns = outputs
            .into_iter()
            .enumerate()
            .map(|(place, output)| Named {
                name: match renamed.get(place) {
                    Some(column) => name_of(&column.name),
                    None => output.name,
                },
                type_oid: output.type_oid,
                fields: output.fields,
                slot: start + place,
                is_merged: false,
                is_using: false,
            });
        let columns = columns.collect();
        scope.tables.push(Table {
            alias: match alias {
                Some(alias) => name_of(&alias.name),
                None => name,
            },
            schema: schema.filter(|_| alias.is_none()),
            columns,
            relation: 0,
            is_value: false,
        });
        scope.width += width;
        Tree::Item {
            table: scope.tables.len() - 1,
            source,
            slots: start..start + width,
            needs: 0,
        }
    }

    fn table(&mut self, name: &ast::ObjectName, alias: Option<&TableAlias>) -> Result<Tree, Fault> {
        let parts = parts_of(name);
        if let [name] = parts.as_slice()
            && let Some(query) = self.queries.iter().rev().find(|query| query.name == *name)
        {
            let (outputs, source) = (query.outputs.clone(), Source::Cte(query.number));
            let (uses, recursions) = (query.uses.clone(), usize::from(query.is_recursive));
            self.uses.extend(uses);
            self.recursions += recursions;
            return Ok(self.add_table(name.clone(), None, alias, outputs, source));
        }
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name),
            [schema, name] => (Some(schema.as_str()), name),
            [_, schema, name] => (Some(schema.as_str()), name),
            _ => return Err(unsupported(name)),
        };
        let namespaces = match schema {
            Some(schema) => vec![self.objects.schema_number(schema)],
            None => vec![Some(PG_CATALOG), Some(PUBLIC)],
        };
        let system = System::get();
        let found = namespaces
            .into_iter()
            .flatten()
            .find_map(|of| system.relation(of, name));
        let Some(relation) = found else {
            return Err(match self.objects.relation_number(schema, name) {
                Some(_) => unsupported(format!("the table \"{name}\"")),
                None => {
                    let why = format!("relation \"{}\" does not exist", parts.join("."));
                    Fault::new("42P01", why)
                }
            });
        };
        let outputs = relation.columns.iter().map(|column| Output {
            name: column.name.clone(),
            type_oid: system.base_type(column.type_oid),
            fields: None,
        });
        let outputs: Vec<Output> = outputs.collect();
        let source = match system.view(relation.oid) {
            Some(definition) => Source::Query(self.view(relation.oid, definition)?),
            None => Source::Rows(self.objects.rows(relation)),
        };
        let schema = self.objects.schema_name(relation.namespace);
        let schema = schema.map(str::to_owned);
        let tree = self.add_table(name.clone(), schema, alias, outputs, source);
        if let Some(table) = self.scope().tables.last_mut() {
            table.relation = relation.oid;
        }
        Ok(tree)
    }

    /// Binds the query of a view, apart from the query that names it.
    fn view(&mut self, relation: u32, definition: &str) -> Result<Arc<Query>, Fault> {
        if let Some(bound) = self.views.get(&relation) {
            return Ok(Arc::clone(bound));
        }
        let failed = |error: &dyn std::fmt::Display| Fault::new("XX000", error.to_string());
        let mut parser = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(definition.trim_end_matches(';'))
            .map_err(|error| failed(&error))?;
        let query = parser.parse_query().map_err(|error| failed(&error))?;
        let mut binder = Binder::new(self.objects, Vec::new());
        binder.next_number = self.next_number;
        std::mem::swap(&mut binder.views, &mut self.views);
        let bound = binder.query(&query);
        std::mem::swap(&mut binder.views, &mut self.views);
        self.next_number = binder.next_number;
        let bound = Arc::new(bound?);
        self.views.insert(relation, Arc::clone(&bound));
        Ok(bound)
    }

    /// A function in FROM.
    fn function_rows(
        &mut self,
        parts: &[String],
        arguments: &[FunctionArg],
        alias: Option<&TableAlias>,
        ordinality: bool,
    ) -> Result<Tree, Fault> {
        let arguments = self.arguments(arguments)?;
        let name = parts.last().cloned().unwrap_or_default();
        let (call, returned, column) = self.set_call(parts, arguments)?;
        let declared = alias.map_or(&[][..], |alias| alias.columns.as_slice());
        let is_declared = declared.iter().any(|column| column.data_type.is_some());
        let is_value = returned.fields.is_none() && !is_declared;
        let mut outputs: Vec<Output> = if is_declared {
            let columns = declared.iter().filter_map(|column| {
                let data_type = column.data_type.as_ref()?;
                let parsed = parse_type(&data_type.to_string(), self.objects);
                Some(parsed.map(|(type_oid, _)| Output {
                    name: name_of(&column.name),
                    type_oid,
                    fields: None,
                }))
            });
            columns.collect::<Result<_, Fault>>()?
        } else if let Some(fields) = &returned.fields {
            let fields = fields.iter().map(|(name, type_oid)| Output {
                name: name.clone(),
                type_oid: *type_oid,
                fields: None,
            });
            fields.collect()
        } else if returned.type_oid == more::RECORD {
            let why = "a column definition list is required for functions returning \"record\"";
            return Err(Fault::new("42601", why));
        } else {
            vec![Output {
                name: column.unwrap_or_else(|| {
                    alias.map_or_else(|| name.clone(), |alias| name_of(&alias.name))
                }),
                type_oid: returned.type_oid,
                fields: None,
            }]
        };
        if ordinality {
            outputs.push(Output {
                name: "ordinality".to_owned(),
                type_oid: oid::INT8,
                fields: None,
            });
        }
        let source = Source::Function { call, ordinality };
        let tree = self.add_table(name, None, alias, outputs, source);
        if let Some(table) = self.scope().tables.last_mut() {
            table.is_value = is_value;
        }
        Ok(tree)
    }
}
