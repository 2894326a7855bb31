//! The names of a query's output columns.
//!
//! Invariant: a column without an alias gets PostgreSQL's name (`count`, `?column?`), and no two
//! columns of a `SELECT` that are not just columns of tables get the same name: the second `a` is
//! `a2`. See `FigureColname` in PostgreSQL's `src/backend/parser/parse_target.c`.

use std::collections::HashSet;

use sqlparser::ast::{
    AccessExpr, DataType, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, TrimWhereField,
};

/// The name of an expression that has none.
const UNNAMED: &str = "?column?";

/// Names the columns of all queries of a statement whose columns have a name.
pub(super) fn name_columns(statement: &mut Statement) {
    match statement {
        Statement::Query(query) => name_query(query),
        Statement::Insert(insert) => {
            if let Some(source) = &mut insert.source {
                name_query(source);
            }
        }
        Statement::CreateTable(create) => {
            if let Some(query) = &mut create.query {
                name_query(query);
            }
        }
        Statement::CreateView(create) => name_query(&mut create.query),
        Statement::Prepare { statement, .. } | Statement::Explain { statement, .. } => {
            name_columns(statement);
        }
        _ => {}
    }
}

fn name_query(query: &mut Query) {
    if let Some(with) = &mut query.with {
        for table in &mut with.cte_tables {
            name_query(&mut table.query);
        }
    }
    name_body(&mut query.body);
}

fn name_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_select(select),
        SetExpr::Query(query) => name_query(query),
        SetExpr::SetOperation { left, right, .. } => {
            name_body(left);
            name_body(right);
        }
        _ => {}
    }
}

fn name_select(select: &mut Select) {
    select.from.iter_mut().for_each(name_tables);
    let mut taken = HashSet::new();
    for item in &select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(name) = column_name(expr)
        {
            taken.insert(name.to_owned());
        }
    }
    let mut columns = HashSet::new();
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let found = match column_name(expr) {
                    // Columns of two tables may have one name. DataFusion refuses only one column
                    // that is there twice.
                    Some(_) if columns.insert(expr.to_string()) => continue,
                    Some(name) => name.to_owned(),
                    None => figure_name(expr).map_or_else(|| UNNAMED.to_owned(), |(name, _)| name),
                };
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::with_quote('"', free_name(&mut taken, found)),
                };
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = folded(alias);
                let free = free_name(&mut taken, name.clone());
                if free != name {
                    *alias = Ident::with_quote('"', free);
                }
            }
            _ => {}
        }
    }
}

fn name_tables(tables: &mut TableWithJoins) {
    let joined = tables.joins.iter_mut().map(|join| &mut join.relation);
    for factor in joined.chain([&mut tables.relation]) {
        match factor {
            TableFactor::Derived { subquery, .. } => name_query(subquery),
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => name_tables(table_with_joins),
            _ => {}
        }
    }
}

/// A name that is not taken: the name itself, or with a number.
fn free_name(taken: &mut HashSet<String>, name: String) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}

/// An identifier as DataFusion reads it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The name of a column of a table.
fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(ident) => Some(&ident.value),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.as_str()),
        _ => None,
    }
}

/// The name that PostgreSQL gives an expression, and whether a cast keeps this name.
fn figure_name(expr: &Expr) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match expr {
        Expr::Identifier(ident) => Some((folded(ident), true)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| (folded(part), true)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some(ident),
                _ => None,
            });
            match field {
                Some(ident) => Some((folded(ident), true)),
                None => figure_name(root),
            }
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure_name(inner),
        Expr::Function(function) => function
            .name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map(|ident| (folded(ident), true)),
        Expr::Cast {
            expr, data_type, ..
        } => match figure_name(expr) {
            Some((name, true)) => Some((name, true)),
            _ => Some((type_name(data_type), false)),
        },
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), false)),
        Expr::Interval(_) => Some(("interval".to_owned(), false)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure_name) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Expr::Exists { .. } => strong("exists"),
        Expr::Subquery(query) => first_name(&query.body),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

/// The name of the first column of a scalar subquery.
fn first_name(body: &SetExpr) -> Option<(String, bool)> {
    match body {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) => figure_name(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some((folded(alias), true)),
            _ => None,
        },
        SetExpr::Query(query) => first_name(&query.body),
        SetExpr::SetOperation { left, .. } => first_name(left),
        _ => None,
    }
}

/// PostgreSQL's own name of a type.
fn type_name(data_type: &DataType) -> String {
    let written = data_type.to_string().to_lowercase();
    let name = written.split('(').next().unwrap_or_default().trim();
    let name = match name {
        "int" | "integer" | "int4" => "int4",
        "bigint" | "int8" => "int8",
        "smallint" | "int2" => "int2",
        "real" | "float4" => "float4",
        "float" | "double" | "double precision" | "float8" => "float8",
        "boolean" | "bool" => "bool",
        "decimal" | "dec" | "numeric" => "numeric",
        "char" | "character" => "bpchar",
        "character varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "time without time zone" => "time",
        other => other,
    };
    name.to_owned()
}
