//! Queries, their parts, and the order of their rows.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    self, GroupByExpr, LimitClause, OrderByKind, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, SetOperator, SetQuantifier,
};
use tidegate_extensions::format::postgres::oid;

use super::{Binder, Named, NamedQuery, Table, Typed, name_of, parts_of, unsupported};
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::plan::{
    Body, Cte, Distinct, Expr, Group, Output, Query, Select, SetKind, Sort,
};
use crate::serve::pg_catalog::types::common_type;

/// The rest of a query after its body.
type Tail<'q> = Option<&'q ast::Query>;

impl Binder<'_> {
    /// Binds a query.
    ///
    /// # Errors
    /// Names that are not known, types that don't fit, and syntax that is not supported.
    pub(in crate::serve::pg_catalog) fn query(
        &mut self,
        query: &ast::Query,
    ) -> Result<Query, Fault> {
        let mark = self.uses.len();
        let depth = self.scopes.len();
        let known = self.queries.len();
        let number = self.number();
        let recursions = self.recursions;
        let mut ctes = Vec::new();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                ctes.push(self.cte(cte, with.recursive)?);
            }
        }
        let mut bound = self.body(&query.body, Some(query))?;
        self.queries.truncate(known);
        bound.number = number;
        bound.ctes = ctes;
        bound.is_correlated = self.uses[mark..].iter().any(|(scope, _)| *scope < depth);
        bound.is_recursive = self.recursions > recursions;
        Ok(bound)
    }

    /// Binds a query of WITH, and lets the queries after it name it.
    fn cte(&mut self, cte: &ast::Cte, may_recur: bool) -> Result<Cte, Fault> {
        let mark = self.uses.len();
        let number = self.number();
        let recursive = match cte.query.body.as_ref() {
            SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier,
                left,
                right,
            } if may_recur && cte.query.with.is_none() => {
                let all = *set_quantifier == SetQuantifier::All;
                self.recursive_cte(cte, number, all, (left, right))?
            }
            _ => None,
        };
        let is_recursive = recursive.is_some();
        let query = match recursive {
            Some(query) => query,
            None => self.query(&cte.query)?,
        };
        let depth = self.scopes.len();
        let uses = self.uses[mark..].iter();
        let uses = uses.filter(|(scope, _)| *scope < depth).copied().collect();
        self.queries.push(NamedQuery {
            name: name_of(&cte.alias.name),
            number,
            outputs: renamed(&query.outputs, &cte.alias),
            is_recursive: !is_recursive && query.is_recursive,
            uses,
        });
        Ok(Cte {
            number,
            query: Arc::new(query),
            is_recursive,
        })
    }

    /// Binds a query of WITH RECURSIVE that names itself; `None` if it does not.
    fn recursive_cte(
        &mut self,
        cte: &ast::Cte,
        number: usize,
        all: bool,
        (left, right): (&SetExpr, &SetExpr),
    ) -> Result<Option<Query>, Fault> {
        let name = name_of(&cte.alias.name);
        let mut left = self.body(left, None)?;
        self.name_unknown(&mut left)?;
        self.queries.push(NamedQuery {
            name: name.clone(),
            number,
            outputs: renamed(&left.outputs, &cte.alias),
            is_recursive: true,
            uses: Vec::new(),
        });
        let recursions = self.recursions;
        let right = self.body(right, None);
        self.queries.pop();
        let right = right?;
        if self.recursions == recursions {
            return Ok(None);
        }
        if cte.query.order_by.is_some() || cte.query.limit_clause.is_some() {
            return Err(unsupported("ORDER BY or LIMIT of a recursive query"));
        }
        if right.outputs.len() != left.outputs.len() {
            return Err(unequal("UNION"));
        }
        for (left, right) in left.outputs.iter().zip(&right.outputs) {
            let types = [left.type_oid, right.type_oid];
            if common_type(&types, "UNION", self.objects)? != left.type_oid {
                let why =
                    format!("recursive query \"{name}\" has another type in its recursive term");
                return Err(Fault::new("42804", why)
                    .with_hint("Cast the output of the non-recursive term."));
            }
        }
        let right = self.as_types(right, &left.outputs)?;
        let outputs = left.outputs.clone();
        let body = Body::Set {
            kind: SetKind::Union,
            all,
            left: Arc::new(left),
            right: Arc::new(right),
        };
        Ok(Some(self.plain(body, outputs)))
    }

    fn plain(&mut self, body: Body, outputs: Vec<Output>) -> Query {
        Query {
            number: self.number(),
            ctes: Vec::new(),
            body,
            order: Vec::new(),
            limit: None,
            offset: None,
            outputs,
            is_correlated: true,
            is_recursive: false,
        }
    }

    fn body(&mut self, body: &SetExpr, tail: Tail) -> Result<Query, Fault> {
        let mut query = match body {
            SetExpr::Select(select) => {
                self.push_scope()?;
                let bound = self.select(select, tail);
                self.scopes.pop();
                let (select, outputs) = bound?;
                self.plain(Body::Select(Box::new(select)), outputs)
            }
            SetExpr::Query(query) => {
                let inner = self.query(query)?;
                if tail.is_none_or(|tail| tail.order_by.is_none() && tail.limit_clause.is_none()) {
                    return Ok(inner);
                }
                let outputs = inner.outputs.clone();
                let inner = Arc::new(inner);
                let none = Arc::new(self.plain(Body::Values(Vec::new()), outputs.clone()));
                let body = Body::Set {
                    kind: SetKind::Union,
                    all: true,
                    left: inner,
                    right: none,
                };
                self.plain(body, outputs)
            }
            SetExpr::Values(values) => self.values(values)?,
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                let kind = match op {
                    SetOperator::Union => SetKind::Union,
                    SetOperator::Except | SetOperator::Minus => SetKind::Except,
                    SetOperator::Intersect => SetKind::Intersect,
                };
                let left = self.body(left, None)?;
                let right = self.body(right, None)?;
                if left.outputs.len() != right.outputs.len() {
                    return Err(unequal(&op.to_string()));
                }
                let pairs = left.outputs.iter().zip(&right.outputs);
                let outputs = pairs.map(|(left, right)| {
                    let types = [left.type_oid, right.type_oid];
                    Ok(Output {
                        type_oid: common_type(&types, &op.to_string(), self.objects)?,
                        ..left.clone()
                    })
                });
                let outputs = outputs.collect::<Result<Vec<_>, Fault>>()?;
                let left = Arc::new(self.as_types(left, &outputs)?);
                let right = Arc::new(self.as_types(right, &outputs)?);
                let all = *set_quantifier == SetQuantifier::All;
                self.plain(
                    Body::Set {
                        kind,
                        all,
                        left,
                        right,
                    },
                    outputs,
                )
            }
            other => return Err(unsupported(other)),
        };
        let Some(tail) = tail else { return Ok(query) };
        if !matches!(query.body, Body::Select(_)) {
            query.order = self.order_of_outputs(tail, &query.outputs)?;
        }
        (query.limit, query.offset) = self.limits(tail)?;
        if let Body::Select(_) = query.body {
            self.name_unknown(&mut query)?;
        }
        Ok(query)
    }

    /// Columns whose type nothing has decided are texts.
    fn name_unknown(&mut self, query: &mut Query) -> Result<(), Fault> {
        let Body::Select(select) = &mut query.body else {
            return Ok(());
        };
        for (output, expr) in query.outputs.iter_mut().zip(&mut select.outputs) {
            if output.type_oid == oid::UNKNOWN {
                let typed = Typed::new(expr.clone(), oid::UNKNOWN);
                *expr = self.coerce(typed, oid::TEXT, false)?.expr;
                output.type_oid = oid::TEXT;
            }
        }
        Ok(())
    }

    /// The query with columns of these types.
    fn as_types(&mut self, mut query: Query, outputs: &[Output]) -> Result<Query, Fault> {
        let wanted: Vec<u32> = outputs.iter().map(|output| output.type_oid).collect();
        if query
            .outputs
            .iter()
            .map(|output| output.type_oid)
            .eq(wanted.iter().copied())
        {
            return Ok(query);
        }
        let from: Vec<u32> = query.outputs.iter().map(|output| output.type_oid).collect();
        let mut convert = |exprs: &mut Vec<Expr>| -> Result<(), Fault> {
            for ((expr, from), to) in exprs.iter_mut().zip(&from).zip(&wanted) {
                let typed = Typed::new(expr.clone(), *from);
                *expr = self.coerce(typed, *to, false)?.expr;
            }
            Ok(())
        };
        match &mut query.body {
            Body::Select(select) => convert(&mut select.outputs)?,
            Body::Values(rows) => rows.iter_mut().try_for_each(convert)?,
            // Types of one category have values of one kind.
            Body::Set { .. } => {}
        }
        for (output, to) in query.outputs.iter_mut().zip(&wanted) {
            output.type_oid = *to;
        }
        Ok(query)
    }

    fn values(&mut self, values: &ast::Values) -> Result<Query, Fault> {
        self.push_scope()?;
        let rows = values.rows.iter().map(|row| {
            let row = row.content.iter().map(|expr| self.expr(expr));
            row.collect::<Result<Vec<Typed>, Fault>>()
        });
        let rows = rows.collect::<Result<Vec<_>, Fault>>();
        self.scopes.pop();
        let rows = rows?;
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            let why = "VALUES lists must all be the same length";
            return Err(Fault::new("42601", why));
        }
        let mut outputs = Vec::new();
        for column in 0..width {
            let types: Vec<u32> = rows.iter().map(|row| row[column].type_oid).collect();
            outputs.push(Output {
                name: format!("column{}", column + 1),
                type_oid: common_type(&types, "VALUES", self.objects)?,
                fields: None,
            });
        }
        let rows = rows.into_iter().map(|row| {
            let row = row.into_iter().zip(&outputs);
            let row =
                row.map(|(value, output)| Ok(self.coerce(value, output.type_oid, false)?.expr));
            row.collect::<Result<Vec<Expr>, Fault>>()
        });
        let rows = rows.collect::<Result<Vec<_>, Fault>>()?;
        Ok(self.plain(Body::Values(rows), outputs))
    }

    fn limits(&mut self, query: &ast::Query) -> Result<(Option<Expr>, Option<Expr>), Fault> {
        let mut bound = |expr: Option<&ast::Expr>| -> Result<Option<Expr>, Fault> {
            let Some(expr) = expr else { return Ok(None) };
            let typed = self.expr(expr)?;
            Ok(Some(self.coerce(typed, oid::INT8, false)?.expr))
        };
        if query
            .fetch
            .as_ref()
            .is_some_and(|fetch| fetch.with_ties || fetch.percent)
        {
            return Err(unsupported("FETCH … WITH TIES"));
        }
        let fetched = query
            .fetch
            .as_ref()
            .and_then(|fetch| fetch.quantity.as_ref());
        match &query.limit_clause {
            None => Ok((bound(fetched)?, None)),
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                let limit = bound(limit.as_ref().or(fetched))?;
                Ok((limit, bound(offset.as_ref().map(|offset| &offset.value))?))
            }
            Some(other) => Err(unsupported(other)),
        }
    }

    /// The order of a result that is no SELECT: by names or numbers of its columns.
    fn order_of_outputs(
        &mut self,
        query: &ast::Query,
        outputs: &[Output],
    ) -> Result<Vec<Sort>, Fault> {
        let Some(order) = &query.order_by else {
            return Ok(Vec::new());
        };
        self.push_scope()?;
        let columns = outputs.iter().enumerate().map(|(slot, output)| Named {
            name: output.name.clone(),
            type_oid: output.type_oid,
            fields: None,
            slot,
            is_merged: false,
            is_using: false,
        });
        let columns = columns.collect();
        self.scope().tables.push(Table {
            alias: String::new(),
            schema: None,
            columns,
            relation: 0,
            is_value: false,
        });
        let typed: Vec<Typed> = outputs
            .iter()
            .enumerate()
            .map(|(slot, output)| Typed::new(Expr::Column { up: 0, slot }, output.type_oid))
            .collect();
        let names: Vec<String> = outputs.iter().map(|output| output.name.clone()).collect();
        let sorts = self.sorts(order, &names, &typed);
        self.scopes.pop();
        sorts
    }

    fn sorts(
        &mut self,
        order: &ast::OrderBy,
        names: &[String],
        outputs: &[Typed],
    ) -> Result<Vec<Sort>, Fault> {
        let OrderByKind::Expressions(keys) = &order.kind else {
            return Err(unsupported("ORDER BY ALL"));
        };
        keys.iter()
            .map(|key| self.sort(key, names, outputs))
            .collect()
    }

    /// A sort key: a column of the result by its name or number, or an expression.
    pub(super) fn sort(
        &mut self,
        key: &ast::OrderByExpr,
        names: &[String],
        outputs: &[Typed],
    ) -> Result<Sort, Fault> {
        let typed = match self.output_of(&key.expr, names, outputs)? {
            Some(output) => output,
            None => self.expr(&key.expr)?,
        };
        let is_descending = key.options.asc == Some(false);
        Ok(Sort {
            expr: typed.expr,
            is_descending,
            nulls_first: key.options.nulls_first.unwrap_or(is_descending),
        })
    }

    /// The column of the result that ORDER BY or GROUP BY names.
    fn output_of(
        &self,
        expr: &ast::Expr,
        names: &[String],
        outputs: &[Typed],
    ) -> Result<Option<Typed>, Fault> {
        match expr {
            ast::Expr::Value(value) => {
                let ast::Value::Number(number, _) = &value.value else {
                    return Ok(None);
                };
                let place: usize = number.to_string().parse().unwrap_or(0);
                let found = place.checked_sub(1).and_then(|place| outputs.get(place));
                match found {
                    Some(output) => Ok(Some(output.clone())),
                    None => {
                        let why = format!("position {place} is not in select list");
                        Err(Fault::new("42P10", why))
                    }
                }
            }
            ast::Expr::Identifier(ident) => {
                let name = name_of(ident);
                let place = names.iter().position(|of| *of == name);
                Ok(place.and_then(|place| outputs.get(place)).cloned())
            }
            _ => Ok(None),
        }
    }

    fn select(&mut self, select: &ast::Select, tail: Tail) -> Result<(Select, Vec<Output>), Fault> {
        if select.into.is_some()
            || select.top.is_some()
            || select.qualify.is_some()
            || select.prewhere.is_some()
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
        {
            return Err(unsupported("a clause of this SELECT"));
        }
        let windows = select
            .named_window
            .iter()
            .filter_map(|window| match &window.1 {
                ast::NamedWindowExpr::WindowSpec(spec) => Some((name_of(&window.0), spec.clone())),
                ast::NamedWindowExpr::NamedWindow(_) => None,
            });
        self.scope().named_windows = windows.collect();
        let from = self.from(&select.from, select.selection.as_ref())?;
        self.scope().may_aggregate = true;
        let (mut typed, mut names) = (Vec::new(), Vec::new());
        for item in &select.projection {
            self.item(item, &mut typed, &mut names)?;
        }
        let GroupByExpr::Expressions(group, _) = &select.group_by else {
            return Err(unsupported("GROUP BY ALL"));
        };
        let mut keys = Vec::new();
        for key in group {
            // A column of FROM comes before one of the result.
            let is_column = match key {
                ast::Expr::Identifier(ident) => self.has_column(&name_of(ident)),
                _ => false,
            };
            let output = match is_column {
                true => None,
                false => self.output_of(key, &names, &typed)?,
            };
            keys.push(match output {
                Some(output) => output.expr,
                None => self.expr(key)?.expr,
            });
        }
        let having = match &select.having {
            Some(having) => Some(self.condition(having)?),
            None => None,
        };
        let distinct = match &select.distinct {
            None | Some(ast::Distinct::All) => Distinct::None,
            Some(ast::Distinct::Distinct) => Distinct::All,
            Some(ast::Distinct::On(exprs)) => {
                let exprs =
                    exprs
                        .iter()
                        .map(|expr| match self.output_of(expr, &names, &typed)? {
                            Some(output) => Ok(output.expr),
                            None => Ok(self.expr(expr)?.expr),
                        });
                Distinct::On(exprs.collect::<Result<_, Fault>>()?)
            }
        };
        let order = match tail.and_then(|tail| tail.order_by.as_ref()) {
            Some(order) => self.sorts(order, &names, &typed)?,
            None => Vec::new(),
        };
        let scope = self.scope();
        let aggregates = std::mem::take(&mut scope.aggregates);
        let group =
            (!aggregates.is_empty() || !group.is_empty() || having.is_some()).then_some(Group {
                keys,
                aggregates,
                having,
            });
        let bound = Select {
            from,
            width: scope.width,
            group,
            windows: std::mem::take(&mut scope.windows),
            sets: std::mem::take(&mut scope.sets),
            outputs: typed.iter().map(|typed| typed.expr.clone()).collect(),
            distinct,
            order,
        };
        let outputs = typed.into_iter().zip(names).map(|(typed, name)| Output {
            name,
            type_oid: typed.type_oid,
            fields: typed.fields,
        });
        Ok((bound, outputs.collect()))
    }

    fn item(
        &mut self,
        item: &SelectItem,
        typed: &mut Vec<Typed>,
        names: &mut Vec<String>,
    ) -> Result<(), Fault> {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                typed.push(self.expr(expr)?);
                let name = column_name(expr).map(|(name, _)| name);
                names.push(name.unwrap_or_else(|| "?column?".to_owned()));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                typed.push(self.expr(expr)?);
                names.push(name_of(alias));
            }
            SelectItem::Wildcard(_) => self.wildcard(None, typed, names)?,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let parts = parts_of(name);
                self.wildcard(Some(&parts), typed, names)?;
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                let record = self.expr(expr)?;
                let Some(fields) = record.fields.clone() else {
                    return Err(Fault::new("42809", "this is not a record"));
                };
                for (place, (name, type_oid)) in fields.iter().enumerate() {
                    let field = Expr::Field(Box::new(record.expr.clone()), place);
                    typed.push(Typed::new(field, *type_oid));
                    names.push(name.clone());
                }
            }
            other => return Err(unsupported(other)),
        }
        Ok(())
    }

    /// All columns, or those of a table.
    fn wildcard(
        &mut self,
        table: Option<&[String]>,
        typed: &mut Vec<Typed>,
        names: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let current = self.scopes.len() - 1;
        let mut found = false;
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for (place, of) in self.scopes[current].tables.iter().enumerate() {
            let is_meant = match table {
                None => true,
                Some([name]) => of.alias == *name,
                Some([schema, name]) => {
                    of.alias == *name && of.schema.as_deref() == Some(schema.as_str())
                }
                Some(_) => false,
            };
            if !is_meant {
                continue;
            }
            found = true;
            self.uses.push((current, place));
            for column in &of.columns {
                if column.is_merged && table.is_none() {
                    continue;
                }
                let value = Typed {
                    expr: Expr::Column {
                        up: 0,
                        slot: column.slot,
                    },
                    type_oid: column.type_oid,
                    fields: column.fields.clone(),
                };
                let column_of = (column.name.clone(), value);
                match column.is_using && table.is_none() {
                    true => first.push(column_of),
                    false => rest.push(column_of),
                }
            }
        }
        for (name, value) in first.into_iter().chain(rest) {
            names.push(name);
            typed.push(value);
        }
        match (found, table) {
            (true, _) => Ok(()),
            (false, None) => Err(Fault::new(
                "42601",
                "SELECT * with no tables specified is not valid",
            )),
            (false, Some(parts)) => {
                let why = format!(
                    "missing FROM-clause entry for table \"{}\"",
                    parts.join(".")
                );
                Err(Fault::new("42P01", why))
            }
        }
    }
}

/// Columns with the names that WITH gives them.
fn renamed(outputs: &[Output], alias: &ast::TableAlias) -> Vec<Output> {
    let mut outputs = outputs.to_vec();
    for (output, column) in outputs.iter_mut().zip(&alias.columns) {
        output.name = name_of(&column.name);
    }
    outputs
}

fn unequal(what: &str) -> Fault {
    let why = format!("each {what} query must have the same number of columns");
    Fault::new("42601", why)
}

/// The name of a column without an alias, as PostgreSQL chooses it, and whether it is a strong one: a
/// cast does not change it.
fn column_name(expr: &ast::Expr) -> Option<(String, bool)> {
    use ast::Expr as E;
    let strong = |name: String| Some((name, true));
    let word = |name: &str| Some((name.to_owned(), true));
    match expr {
        E::Identifier(ident) => strong(name_of(ident)),
        E::CompoundIdentifier(parts) => parts.last().map(name_of).and_then(strong),
        E::CompoundFieldAccess { root, access_chain } => {
            let last = access_chain.iter().rev().find_map(|access| match access {
                ast::AccessExpr::Dot(E::Identifier(ident)) => Some(name_of(ident)),
                _ => None,
            });
            last.and_then(strong).or_else(|| column_name(root))
        }
        E::Function(function) => parts_of(&function.name).pop().and_then(strong),
        E::Nested(inner) | E::Collate { expr: inner, .. } => column_name(inner),
        E::Cast {
            expr, data_type, ..
        } => match column_name(expr) {
            Some((name, true)) => strong(name),
            _ => Some((type_name(data_type), false)),
        },
        E::TypedString(typed) => Some((type_name(&typed.data_type), false)),
        E::Case { else_result, .. } => match else_result.as_deref().and_then(column_name) {
            Some((name, true)) => strong(name),
            _ => Some(("case".to_owned(), false)),
        },
        E::Exists { .. } => word("exists"),
        E::Array(_) => word("array"),
        E::Extract { .. } => word("extract"),
        E::Substring { .. } => word("substring"),
        E::Position { .. } => word("position"),
        E::Trim { trim_where, .. } => word(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        E::Tuple(_) => word("row"),
        E::Value(value) => match value.value {
            ast::Value::Boolean(_) => Some(("bool".to_owned(), false)),
            _ => None,
        },
        E::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => column_name(expr),
                SelectItem::ExprWithAlias { alias, .. } => strong(name_of(alias)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The name of a type in `pg_type`, which a column gets whose expression has none.
fn type_name(data_type: &ast::DataType) -> String {
    let text = data_type.to_string().to_lowercase();
    let bare = text.split(['(', '[']).next().unwrap_or(&text).trim();
    let name = match bare {
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "real" => "float4",
        "double precision" | "float" | "double" => "float8",
        "decimal" | "dec" => "numeric",
        "character varying" => "varchar",
        "character" | "char" => "bpchar",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        other => other.rsplit('.').next().unwrap_or(other),
    };
    name.trim_matches('"').to_owned()
}
