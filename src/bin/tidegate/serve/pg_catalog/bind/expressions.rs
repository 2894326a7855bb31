//! Expressions: columns, literals, operators, casts, subqueries.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, AccessExpr, BinaryOperator, Subscript, UnaryOperator};
use tidegate_extensions::format::postgres::oid;

use super::{Binder, MOST_DEPTH, MOST_EXPRESSIONS, Typed, name_of, unsupported};
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::functions::operator;
use crate::serve::pg_catalog::objects::Objects;
use crate::serve::pg_catalog::plan::{Call, Expr, Many, Query};
use crate::serve::pg_catalog::system::System;
use crate::serve::pg_catalog::text::more;
use crate::serve::pg_catalog::types::{
    array_of, choose_operator, common_type, parse_type, type_text,
};
use crate::serve::pg_catalog::value::Value;

/// Functions that are called without parentheses.
const CALLED: [&str; 8] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_timestamp",
    "current_user",
    "session_user",
    "user",
];

fn text(text: impl AsRef<str>) -> Typed {
    Typed::new(Expr::Const(Value::text(text)), oid::UNKNOWN)
}

impl Binder<'_> {
    /// Binds a condition.
    pub(super) fn condition(&mut self, expr: &ast::Expr) -> Result<Expr, Fault> {
        let typed = self.expr(expr)?;
        if !matches!(typed.type_oid, oid::BOOL | oid::UNKNOWN) {
            let found = type_text(typed.type_oid, i32::MIN, self.objects);
            let why = format!("a condition must be of type boolean, not of type {found}");
            return Err(Fault::new("42804", why));
        }
        Ok(self.coerce(typed, oid::BOOL, false)?.expr)
    }

    fn boolean(expr: Expr) -> Typed {
        Typed::new(expr, oid::BOOL)
    }

    fn boxed(&mut self, expr: &ast::Expr) -> Result<Box<Expr>, Fault> {
        Ok(Box::new(self.condition(expr)?))
    }

    /// Binds an expression.
    ///
    /// # Errors
    /// Names that are not known, types that don't fit, and syntax that is not supported.
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Result<Typed, Fault> {
        self.depth += 1;
        self.expressions += 1;
        if self.depth > MOST_DEPTH || self.expressions > MOST_EXPRESSIONS {
            return Err(Fault::new("54001", "expressions are nested too deep"));
        }
        let bound = self.unlimited(expr);
        self.depth -= 1;
        bound
    }

    fn unlimited(&mut self, expr: &ast::Expr) -> Result<Typed, Fault> {
        use ast::Expr as E;
        Ok(match expr {
            E::Nested(inner) | E::Collate { expr: inner, .. } => self.expr(inner)?,
            E::Identifier(ident) => {
                let name = name_of(ident);
                match self.column(std::slice::from_ref(&name)) {
                    // Functions that are called without parentheses.
                    Err(_) if ident.quote_style.is_none() && CALLED.contains(&name.as_str()) => {
                        self.call(&name, Vec::new())?
                    }
                    column => column?,
                }
            }
            E::CompoundIdentifier(parts) => {
                let parts: Vec<String> = parts.iter().map(name_of).collect();
                self.column(&parts)?
            }
            E::Value(value) => self.literal(&value.value)?,
            E::TypedString(typed) => {
                let (to, _) = parse_type(&typed.data_type.to_string(), self.objects)?;
                let literal = self.literal(&typed.value.value)?;
                self.coerce(literal, to, true)?
            }
            E::Cast {
                expr, data_type, ..
            } => self.cast(expr, data_type)?,
            E::UnaryOp { op, expr } => self.unary(op, expr)?,
            E::BinaryOp { left, op, right } => self.binary(left, op, right)?,
            E::IsNull(inner) => {
                let typed = self.expr(inner)?;
                Self::boolean(Expr::IsNull(Box::new(typed.expr)))
            }
            E::IsNotNull(inner) => {
                let typed = self.expr(inner)?;
                Self::boolean(Expr::Not(Box::new(Expr::IsNull(Box::new(typed.expr)))))
            }
            E::IsTrue(inner) => Self::boolean(Expr::Is(self.boxed(inner)?, true)),
            E::IsFalse(inner) => Self::boolean(Expr::Is(self.boxed(inner)?, false)),
            E::IsNotTrue(inner) => {
                Self::boolean(Expr::Not(Box::new(Expr::Is(self.boxed(inner)?, true))))
            }
            E::IsNotFalse(inner) => {
                Self::boolean(Expr::Not(Box::new(Expr::Is(self.boxed(inner)?, false))))
            }
            E::IsDistinctFrom(left, right) => self.distinct(left, right)?,
            E::IsNotDistinctFrom(left, right) => {
                let distinct = self.distinct(left, right)?;
                Self::boolean(Expr::Not(Box::new(distinct.expr)))
            }
            E::InList {
                expr,
                list,
                negated,
            } => {
                let any = self.in_list(expr, list)?;
                negated_if(any, *negated)
            }
            E::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                let left = self.expr(expr)?;
                let query = self.query(subquery)?;
                let any = self.quantified_query(left, "=", query, false)?;
                negated_if(any.expr, *negated)
            }
            E::InUnnest {
                expr,
                array_expr,
                negated,
            } => {
                let (left, right) = (self.expr(expr)?, self.expr(array_expr)?);
                let any = self.quantified_array(left, "=", right, false)?;
                negated_if(any.expr, *negated)
            }
            E::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => self.quantified(left, compare_op, right, false)?,
            E::AllOp {
                left,
                compare_op,
                right,
            } => self.quantified(left, compare_op, right, true)?,
            E::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let (value, low) = (self.expr(expr)?.shared(), self.expr(low)?);
                let above = self.operator(">=", vec![value.clone(), low])?.expr;
                let high = self.expr(high)?;
                let below = self.operator("<=", vec![value, high])?.expr;
                negated_if(Expr::And(Box::new(above), Box::new(below)), *negated)
            }
            E::Like {
                negated,
                expr,
                pattern,
                escape_char,
                any: false,
            } => self.like(
                if *negated { "!~~" } else { "~~" },
                expr,
                pattern,
                escape_char,
            )?,
            E::ILike {
                negated,
                expr,
                pattern,
                escape_char,
                any: false,
            } => self.like(
                if *negated { "!~~*" } else { "~~*" },
                expr,
                pattern,
                escape_char,
            )?,
            E::SimilarTo {
                negated,
                expr,
                pattern,
                escape_char: None,
            } => {
                let (value, pattern) = (self.expr(expr)?, self.expr(pattern)?);
                let pattern = self.call("similar_to_escape", vec![pattern])?;
                let operator = if *negated { "!~" } else { "~" };
                self.operator(operator, vec![value, pattern])?
            }
            E::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref())?,
            E::Exists { subquery, negated } => {
                let query = Arc::new(self.query(subquery)?);
                negated_if(Expr::Exists(query), *negated)
            }
            E::Subquery(query) => self.scalar(query)?,
            E::Tuple(items) => {
                let items = self.exprs(items)?;
                record(items)
            }
            E::Array(array) => self.array(&array.elem)?,
            E::CompoundFieldAccess { root, access_chain } => {
                let mut typed = self.expr(root)?;
                for access in access_chain {
                    typed = self.access(typed, access)?;
                }
                typed
            }
            E::Function(function) => self.function(function)?,
            E::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                let mut arguments = vec![self.expr(expr)?];
                match (substring_from, substring_for) {
                    (Some(from), _) => arguments.push(self.expr(from)?),
                    (None, Some(_)) => {
                        arguments.push(Typed::new(Expr::Const(Value::Int(1)), oid::INT4));
                    }
                    (None, None) => {}
                }
                if let Some(count) = substring_for {
                    arguments.push(self.expr(count)?);
                }
                self.call("substring", arguments)?
            }
            E::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut arguments = vec![self.expr(expr)?];
                let listed = trim_characters.as_ref().and_then(|all| all.first());
                if let Some(what) = trim_what.as_deref().or(listed) {
                    arguments.push(self.expr(what)?);
                }
                self.call(name, arguments)?
            }
            E::Position { expr, r#in } => {
                let arguments = vec![self.expr(r#in)?, self.expr(expr)?];
                self.call("position", arguments)?
            }
            E::Extract { field, expr, .. } => {
                let arguments = vec![text(field.to_string().to_lowercase()), self.expr(expr)?];
                self.call("extract", arguments)?
            }
            E::Ceil { expr, .. } => {
                let arguments = vec![self.expr(expr)?];
                self.call("ceil", arguments)?
            }
            E::Floor { expr, .. } => {
                let arguments = vec![self.expr(expr)?];
                self.call("floor", arguments)?
            }
            E::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                let arguments = vec![self.expr(time_zone)?, self.expr(timestamp)?];
                self.call("timezone", arguments)?
            }
            E::Interval(interval) => {
                let value = self.expr(&interval.value)?;
                self.coerce(value, oid::INTERVAL, true)?
            }
            other => return Err(unsupported(other)),
        })
    }

    pub(super) fn exprs(&mut self, exprs: &[ast::Expr]) -> Result<Vec<Typed>, Fault> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn literal(&mut self, value: &ast::Value) -> Result<Typed, Fault> {
        Ok(match value {
            ast::Value::Number(number, _) => {
                let number = number.to_string();
                match number.parse::<i64>() {
                    Ok(whole) => {
                        let type_oid = match i32::try_from(whole) {
                            Ok(_) => oid::INT4,
                            Err(_) => oid::INT8,
                        };
                        Typed::new(Expr::Const(Value::Int(whole)), type_oid)
                    }
                    Err(_) => {
                        let parsed = number.parse().map_err(|_| unsupported(&number))?;
                        Typed::new(Expr::Const(Value::Float(parsed)), oid::NUMERIC)
                    }
                }
            }
            ast::Value::SingleQuotedString(value)
            | ast::Value::EscapedStringLiteral(value)
            | ast::Value::UnicodeStringLiteral(value)
            | ast::Value::NationalStringLiteral(value)
            | ast::Value::SingleQuotedRawStringLiteral(value) => text(value),
            ast::Value::DollarQuotedString(value) => text(&value.value),
            ast::Value::Boolean(value) => Self::boolean(Expr::Const(Value::Bool(*value))),
            ast::Value::Null => Typed::null(),
            ast::Value::Placeholder(name) => {
                let number: usize = name.trim_start_matches('$').parse().unwrap_or(0);
                let place = number
                    .checked_sub(1)
                    .filter(|place| *place < usize::from(u16::MAX))
                    .ok_or_else(|| Fault::new("42P02", format!("there is no parameter {name}")))?;
                if self.parameters.len() <= place {
                    self.parameters.resize(place + 1, 0);
                }
                let type_oid = match self.parameters[place] {
                    0 => oid::UNKNOWN,
                    known => known,
                };
                Typed::new(Expr::Parameter(place), type_oid)
            }
            other => return Err(unsupported(other)),
        })
    }

    /// Whether a table of the current query has a column.
    pub(super) fn has_column(&mut self, name: &str) -> bool {
        let tables = &self.scope().tables;
        tables
            .iter()
            .any(|table| table.columns.iter().any(|column| column.name == name))
    }

    /// A column, a table as a record, or the value of a function in FROM.
    fn column(&mut self, parts: &[String]) -> Result<Typed, Fault> {
        let (schema, table, name) = match parts {
            [name] => (None, None, name),
            [table, name] => (None, Some(table), name),
            [schema, table, name] | [_, schema, table, name] => (Some(schema), Some(table), name),
            _ => return Err(unsupported(parts.join("."))),
        };
        for level in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[level];
            if scope.is_hidden {
                continue;
            }
            let up = self.scopes.len() - 1 - level;
            let mut found = None;
            for (place, of) in scope.tables.iter().enumerate() {
                let is_meant = table.is_none_or(|table| of.alias == *table)
                    && schema.is_none_or(|schema| of.schema.as_ref() == Some(schema));
                if !is_meant {
                    continue;
                }
                let mut columns = of.columns.iter();
                let column = columns
                    .find(|column| column.name == *name && (table.is_some() || !column.is_merged));
                let typed = match column {
                    Some(column) => Typed {
                        expr: Expr::Column {
                            up,
                            slot: column.slot,
                        },
                        type_oid: column.type_oid,
                        fields: column.fields.clone(),
                    },
                    None if of.relation != 0 => match system_column(name, of.relation) {
                        Some(typed) => typed,
                        None => continue,
                    },
                    None => continue,
                };
                if found.is_some() && column.is_some() && table.is_none() {
                    let why = format!("column reference \"{name}\" is ambiguous");
                    return Err(Fault::new("42702", why));
                }
                if found.is_none() {
                    found = Some((place, typed));
                }
            }
            if found.is_none() && table.is_none() {
                let mut tables = scope.tables.iter();
                let place = tables.position(|of| of.alias == *name);
                found = place.map(|place| {
                    let of = &scope.tables[place];
                    let columns = of.columns.iter().map(|column| {
                        let expr = Expr::Column {
                            up,
                            slot: column.slot,
                        };
                        (column.name.clone(), Typed::new(expr, column.type_oid))
                    });
                    let (names, mut values): (Vec<_>, Vec<_>) = columns.unzip();
                    if of.is_value && values.len() == 1 {
                        return (place, values.remove(0));
                    }
                    let fields = names.into_iter().zip(&values);
                    let fields = fields.map(|(name, value)| (name, value.type_oid)).collect();
                    let mut record = record(values);
                    record.fields = Some(Arc::new(fields));
                    (place, record)
                });
            }
            if let Some((place, typed)) = found {
                self.uses.push((level, place));
                return Ok(typed);
            }
        }
        let is_table = table.is_some_and(|table| {
            let mut scopes = self.scopes.iter();
            scopes.any(|scope| scope.tables.iter().any(|of| of.alias == *table))
        });
        Err(match table {
            Some(table) if !is_table => {
                let why = format!("missing FROM-clause entry for table \"{table}\"");
                Fault::new("42P01", why)
            }
            Some(table) => Fault::new("42703", format!("column {table}.{name} does not exist")),
            None => Fault::new("42703", format!("column \"{name}\" does not exist")),
        })
    }

    fn cast(&mut self, expr: &ast::Expr, data_type: &ast::DataType) -> Result<Typed, Fault> {
        let (to, modifier) = parse_type(&data_type.to_string(), self.objects)?;
        // An array without elements has the type that it is cast to.
        if let ast::Expr::Array(array) = expr
            && array.elem.is_empty()
        {
            return Ok(Typed::new(Expr::Array(Vec::new()), to));
        }
        let typed = self.expr(expr)?;
        let typed = self.coerce(typed, to, true)?;
        if matches!(to, oid::VARCHAR | oid::BPCHAR) && modifier > 4 {
            let length = Typed::new(Expr::Const(Value::Int(i64::from(modifier) - 4)), oid::INT4);
            let short = self.call("left", vec![typed, length])?;
            return Ok(Typed::new(short.expr, to));
        }
        Ok(typed)
    }

    fn unary(&mut self, op: &UnaryOperator, expr: &ast::Expr) -> Result<Typed, Fault> {
        match op {
            UnaryOperator::Not => Ok(Self::boolean(Expr::Not(self.boxed(expr)?))),
            UnaryOperator::Plus => self.expr(expr),
            UnaryOperator::Minus => {
                let typed = self.expr(expr)?;
                if let Expr::Const(Value::Int(number)) = &typed.expr {
                    let negative = Expr::Const(Value::Int(number.wrapping_neg()));
                    return Ok(Typed::new(negative, typed.type_oid));
                }
                self.operator("-", vec![typed])
            }
            other => Err(unsupported(other)),
        }
    }

    fn binary(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
    ) -> Result<Typed, Fault> {
        match op {
            BinaryOperator::And => {
                let (left, right) = (self.boxed(left)?, self.boxed(right)?);
                Ok(Self::boolean(Expr::And(left, right)))
            }
            BinaryOperator::Or => {
                let (left, right) = (self.boxed(left)?, self.boxed(right)?);
                Ok(Self::boolean(Expr::Or(left, right)))
            }
            op => {
                let name = operator_name(op);
                let arguments = vec![self.expr(left)?, self.expr(right)?];
                self.operator(&name, arguments)
            }
        }
    }

    /// A call of an operator.
    pub(super) fn operator(&mut self, name: &str, arguments: Vec<Typed>) -> Result<Typed, Fault> {
        let name = if name == "!=" { "<>" } else { name };
        // Records are compared field by field.
        if let [left, right] = arguments.as_slice()
            && let (Expr::Record(lefts), Expr::Record(rights)) = (&left.expr, &right.expr)
            && let (Some(left), Some(right)) = (&left.fields, &right.fields)
            && name == "="
        {
            let (lefts, rights) = (lefts.clone(), rights.clone());
            let (left, right) = (Arc::clone(left), Arc::clone(right));
            let mut all = Expr::Const(Value::Bool(true));
            for ((a, b), (of_a, of_b)) in lefts
                .into_iter()
                .zip(rights)
                .zip(left.iter().zip(right.iter()))
            {
                let pair = vec![Typed::new(a, of_a.1), Typed::new(b, of_b.1)];
                let equal = self.operator("=", pair)?.expr;
                all = Expr::And(Box::new(all), Box::new(equal));
            }
            return Ok(Self::boolean(all));
        }
        let given: Vec<u32> = arguments.iter().map(|argument| argument.type_oid).collect();
        let chosen = choose_operator(name, &given, self.objects)?;
        check_modelled(name, &chosen.arguments, chosen.returns, self.objects)?;
        let mut exprs = Vec::new();
        let types = chosen.arguments.clone();
        for (argument, to) in arguments.into_iter().zip(chosen.arguments) {
            exprs.push(self.coerce(argument, to, false)?.expr);
        }
        let apply = operator(name).ok_or_else(|| unsupported(format!("the operator {name}")))?;
        let call = Call {
            name: name.to_owned(),
            types,
            fields: Vec::new(),
            returns: chosen.returns,
            // An array that is NULL adds nothing to another.
            is_strict: name != "||" || self.objects.element_type(chosen.returns) == 0,
        };
        let expr = Expr::Call {
            apply,
            call: Arc::new(call),
            arguments: exprs,
        };
        Ok(Typed::new(expr, chosen.returns))
    }

    fn distinct(&mut self, left: &ast::Expr, right: &ast::Expr) -> Result<Typed, Fault> {
        let arguments = vec![self.expr(left)?, self.expr(right)?];
        let (left, right) = self.equation(arguments, "IS DISTINCT FROM")?;
        Ok(Self::boolean(Expr::IsDistinct(left, right)))
    }

    /// The sides of an equation, with the types that they are compared as.
    pub(super) fn equation(
        &mut self,
        arguments: Vec<Typed>,
        what: &str,
    ) -> Result<(Box<Expr>, Box<Expr>), Fault> {
        let Expr::Call { arguments, .. } = self.operator("=", arguments)?.expr else {
            return Err(unsupported(format!("{what} of these types")));
        };
        match <[Expr; 2]>::try_from(arguments) {
            Ok([left, right]) => Ok((Box::new(left), Box::new(right))),
            Err(_) => Err(unsupported(format!("{what} of these types"))),
        }
    }

    fn like(
        &mut self,
        operator: &str,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: &Option<ast::ValueWithSpan>,
    ) -> Result<Typed, Fault> {
        let value = self.expr(expr)?;
        let mut pattern = self.expr(pattern)?;
        if let Some(escape) = escape {
            let escape = self.literal(&escape.value)?;
            pattern = self.call("like_escape", vec![pattern, escape])?;
        }
        self.operator(operator, vec![value, pattern])
    }

    fn in_list(&mut self, expr: &ast::Expr, list: &[ast::Expr]) -> Result<Expr, Fault> {
        let left = self.expr(expr)?.shared();
        let items = self.exprs(list)?;
        let types: Vec<u32> = items.iter().map(|item| item.type_oid).collect();
        let known = types.iter().all(|of| *of != more::RECORD);
        let element = match types.iter().all(|of| *of == oid::UNKNOWN) {
            true => left.type_oid,
            false => common_type(&types, "IN", self.objects).unwrap_or(oid::UNKNOWN),
        };
        if let (true, Some(array)) = (known, array_of(element)) {
            let items = items
                .into_iter()
                .map(|item| Ok(self.coerce(item, element, false)?.expr));
            let items = items.collect::<Result<_, Fault>>()?;
            let array = Typed::new(Expr::Array(items), array);
            return Ok(self.quantified_array(left, "=", array, false)?.expr);
        }
        let mut any = Expr::Const(Value::Bool(false));
        for item in items {
            let equal = self.operator("=", vec![left.clone(), item])?.expr;
            any = Expr::Or(Box::new(any), Box::new(equal));
        }
        Ok(any)
    }

    fn quantified(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
    ) -> Result<Typed, Fault> {
        let left = self.expr(left)?;
        let name = operator_name(op);
        let mut inner = right;
        while let ast::Expr::Nested(nested) = inner {
            inner = nested;
        }
        match inner {
            ast::Expr::Subquery(query) => {
                let query = self.query(query)?;
                self.quantified_query(left, &name, query, all)
            }
            other => {
                let right = self.expr(other)?;
                self.quantified_array(left, &name, right, all)
            }
        }
    }

    fn quantified_array(
        &mut self,
        left: Typed,
        name: &str,
        right: Typed,
        all: bool,
    ) -> Result<Typed, Fault> {
        let mut right = right;
        if right.type_oid == oid::UNKNOWN {
            let of = match left.type_oid {
                oid::UNKNOWN => oid::TEXT_ARRAY,
                of => array_of(of).unwrap_or(oid::TEXT_ARRAY),
            };
            right = self.coerce(right, of, false)?;
        }
        let element = match right.type_oid {
            more::ANYARRAY => oid::TEXT,
            of => self.objects.element_type(of),
        };
        if element == 0 {
            let why = "op ANY/ALL (array) requires array on right side";
            return Err(Fault::new("42809", why));
        }
        let chosen = choose_operator(name, &[left.type_oid, element], self.objects)?;
        let left = self.coerce(left, chosen.arguments[0], false)?;
        let array = array_of(chosen.arguments[1]).unwrap_or(right.type_oid);
        let right = match chosen.arguments[1] == element {
            true => right,
            false => self.coerce(right, array, false)?,
        };
        self.quantify(
            left,
            name,
            chosen.arguments,
            Many::Array(Box::new(right.expr)),
            all,
        )
    }

    fn quantified_query(
        &mut self,
        left: Typed,
        name: &str,
        query: Query,
        all: bool,
    ) -> Result<Typed, Fault> {
        if let (Expr::Record(values), Some(fields)) = (&left.expr, &left.fields) {
            return self.quantified_records(values.clone(), fields, name, query, all);
        }
        let [output] = query.outputs.as_slice() else {
            return Err(Fault::new("42601", "subquery has too many columns"));
        };
        let chosen = choose_operator(name, &[left.type_oid, output.type_oid], self.objects)?;
        let left = self.coerce(left, chosen.arguments[0], false)?;
        self.quantify(
            left,
            name,
            chosen.arguments,
            Many::Query(Arc::new(query)),
            all,
        )
    }

    /// `(a, b) IN (SELECT …)`
    fn quantified_records(
        &mut self,
        values: Vec<Expr>,
        fields: &[(String, u32)],
        name: &str,
        query: Query,
        all: bool,
    ) -> Result<Typed, Fault> {
        if name != "=" || all {
            return Err(unsupported(format!("{name} of records and a query")));
        }
        if values.len() != query.outputs.len() {
            let why = "subquery has too few or too many columns";
            return Err(Fault::new("42601", why));
        }
        let mut left = Vec::new();
        for ((value, (_, of)), output) in values.into_iter().zip(fields).zip(&query.outputs) {
            let chosen = choose_operator("=", &[*of, output.type_oid], self.objects)?;
            if chosen.arguments[1] != output.type_oid {
                return Err(unsupported("a comparison of records of these types"));
            }
            let value = self.coerce(Typed::new(value, *of), chosen.arguments[0], false)?;
            left.push(value.expr);
        }
        let record = Typed::new(Expr::Record(left), more::RECORD);
        let types = vec![more::RECORD; 2];
        self.quantify(record, name, types, Many::Query(Arc::new(query)), all)
    }

    fn quantify(
        &mut self,
        left: Typed,
        name: &str,
        types: Vec<u32>,
        right: Many,
        all: bool,
    ) -> Result<Typed, Fault> {
        check_modelled(name, &types, oid::BOOL, self.objects)?;
        let apply = operator(name).ok_or_else(|| unsupported(format!("the operator {name}")))?;
        let call = Call {
            name: name.to_owned(),
            types,
            fields: Vec::new(),
            returns: oid::BOOL,
            is_strict: true,
        };
        Ok(Self::boolean(Expr::Quantified {
            left: Box::new(left.expr),
            apply,
            call: Arc::new(call),
            right,
            all,
        }))
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Result<Typed, Fault> {
        let operand = match operand {
            Some(operand) => Some(self.expr(operand)?.shared()),
            None => None,
        };
        let mut tests = Vec::new();
        let mut results = Vec::new();
        for case in conditions {
            tests.push(match &operand {
                Some(operand) => {
                    let arguments = vec![operand.clone(), self.expr(&case.condition)?];
                    self.operator("=", arguments)?.expr
                }
                None => self.condition(&case.condition)?,
            });
            results.push(self.expr(&case.result)?);
        }
        // Its type is chosen from ELSE on.
        let otherwise = match otherwise {
            Some(otherwise) => self.expr(otherwise)?,
            None => Typed::null(),
        };
        results.insert(0, otherwise);
        let (mut results, type_oid) = self.unified(results, "CASE")?;
        let otherwise = results.remove(0);
        let expr = Expr::Case {
            branches: tests.into_iter().zip(results).collect(),
            otherwise: Box::new(otherwise),
        };
        Ok(Typed::new(expr, type_oid))
    }

    /// Values of one type.
    pub(super) fn unified(
        &mut self,
        values: Vec<Typed>,
        what: &str,
    ) -> Result<(Vec<Expr>, u32), Fault> {
        let types: Vec<u32> = values.iter().map(|value| value.type_oid).collect();
        let common = common_type(&types, what, self.objects)?;
        let exprs = values
            .into_iter()
            .map(|value| Ok(self.coerce(value, common, false)?.expr));
        Ok((exprs.collect::<Result<_, Fault>>()?, common))
    }

    fn scalar(&mut self, query: &ast::Query) -> Result<Typed, Fault> {
        let query = self.query(query)?;
        let [output] = query.outputs.as_slice() else {
            return Err(Fault::new("42601", "subquery must return only one column"));
        };
        let (type_oid, fields) = (output.type_oid, output.fields.clone());
        Ok(Typed {
            expr: Expr::Scalar(Arc::new(query)),
            type_oid,
            fields,
        })
    }

    /// The rows of a query as an array.
    pub(super) fn array_of_query(&mut self, query: &ast::Query) -> Result<Typed, Fault> {
        let query = self.query(query)?;
        let [output] = query.outputs.as_slice() else {
            return Err(Fault::new("42601", "subquery must return only one column"));
        };
        let of = array_of(output.type_oid).unwrap_or(oid::TEXT_ARRAY);
        Ok(Typed::new(Expr::ArrayOf(Arc::new(query)), of))
    }

    fn array(&mut self, elements: &[ast::Expr]) -> Result<Typed, Fault> {
        let elements = self.exprs(elements)?;
        if elements.is_empty() {
            let why = "cannot determine type of empty array";
            return Err(Fault::new("42P18", why).with_hint(
                "Explicitly cast to the desired type, for example ARRAY[]::integer[].",
            ));
        }
        let (elements, common) = self.unified(elements, "ARRAY")?;
        let of = match self.objects.element_type(common) {
            0 => array_of(common).unwrap_or(oid::TEXT_ARRAY),
            _ => common,
        };
        Ok(Typed::new(Expr::Array(elements), of))
    }

    fn access(&mut self, typed: Typed, access: &AccessExpr) -> Result<Typed, Fault> {
        match access {
            AccessExpr::Dot(ast::Expr::Identifier(ident)) => {
                let name = name_of(ident);
                let place = typed
                    .fields
                    .as_ref()
                    .and_then(|fields| fields.iter().position(|(field, _)| *field == name));
                match (place, &typed.fields) {
                    (Some(place), Some(fields)) => {
                        let of = fields[place].1;
                        Ok(Typed::new(Expr::Field(Box::new(typed.expr), place), of))
                    }
                    _ => {
                        let why = format!("column \"{name}\" not found in data type");
                        Err(Fault::new("42703", why))
                    }
                }
            }
            AccessExpr::Subscript(subscript) => {
                let first = match typed.type_oid {
                    oid::INT2VECTOR | oid::OIDVECTOR => 0,
                    _ => 1,
                };
                let element = self.objects.element_type(typed.type_oid);
                if element == 0 {
                    let why = "cannot subscript a value that is no array";
                    return Err(Fault::new("42804", why));
                }
                let array = Box::new(typed.expr);
                let mut place = |expr: &ast::Expr| -> Result<Box<Expr>, Fault> {
                    let typed = self.expr(expr)?;
                    Ok(Box::new(self.coerce(typed, oid::INT4, false)?.expr))
                };
                match subscript {
                    Subscript::Index { index } => {
                        let place = place(index)?;
                        Ok(Typed::new(
                            Expr::Element {
                                array,
                                place,
                                first,
                            },
                            element,
                        ))
                    }
                    Subscript::Slice {
                        lower_bound,
                        upper_bound,
                        stride: None,
                    } => {
                        let from = lower_bound.as_ref().map(&mut place).transpose()?;
                        let to = upper_bound.as_ref().map(&mut place).transpose()?;
                        let expr = Expr::Slice {
                            array,
                            from,
                            to,
                            first,
                        };
                        Ok(Typed::new(expr, typed.type_oid))
                    }
                    other => Err(unsupported(other)),
                }
            }
            other => Err(unsupported(other)),
        }
    }
}

/// Whether the operators of a type are those of its values here: not if it is only a text.
fn is_modelled(of: u32, objects: &Objects) -> bool {
    let category = System::get().types.get(&of).map_or(0, |of| of.category);
    match objects.element_type(of) {
        0 => {
            matches!(category, b'B' | b'N' | b'S' | b'Z')
                || matches!(
                    of,
                    oid::XID | oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::INTERVAL
                )
                || matches!(of, more::RECORD | oid::UNKNOWN)
        }
        element => is_modelled(element, objects),
    }
}

/// # Errors
/// 0A000 for an operator of a type whose values are only texts here.
fn check_modelled(
    name: &str,
    arguments: &[u32],
    returns: u32,
    objects: &Objects,
) -> Result<(), Fault> {
    const MONEY: u32 = 790;
    let is_text = name == "||" && returns == oid::TEXT;
    let unknown = arguments
        .iter()
        .find(|of| !is_modelled(**of, objects) || **of == MONEY);
    match unknown {
        Some(of) if !is_text => Err(unsupported(format!(
            "the operator {name} of {}",
            type_text(*of, i32::MIN, objects)
        ))),
        _ => Ok(()),
    }
}

fn negated_if(expr: Expr, negated: bool) -> Typed {
    let expr = match negated {
        true => Expr::Not(Box::new(expr)),
        false => expr,
    };
    Typed::new(expr, oid::BOOL)
}

/// A record of values.
pub(super) fn record(values: Vec<Typed>) -> Typed {
    let fields = values.iter().enumerate();
    let fields = fields.map(|(place, value)| (format!("f{}", place + 1), value.type_oid));
    let fields = Arc::new(fields.collect());
    Typed {
        expr: Expr::Record(values.into_iter().map(|value| value.expr).collect()),
        type_oid: more::RECORD,
        fields: Some(fields),
    }
}

/// A column that every table of PostgreSQL has. Its value says nothing here.
fn system_column(name: &str, relation: u32) -> Option<Typed> {
    let (value, type_oid) = match name {
        "xmin" => (1, oid::XID),
        "xmax" | "cmin" | "cmax" => (0, oid::XID),
        "tableoid" => (i64::from(relation), oid::OID),
        _ => return None,
    };
    Some(Typed::new(Expr::Const(Value::Int(value)), type_oid))
}

pub(super) fn operator_name(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::PGCustomBinaryOperator(parts) => parts.last().cloned().unwrap_or_default(),
        other => other.to_string(),
    }
}
