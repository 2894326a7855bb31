//! Calls of functions, aggregates and functions that return sets.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    self, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, WindowType,
};
use tidegate_extensions::format::postgres::oid;

use super::{Binder, Typed, name_of, parts_of, unsupported};
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::aggregates::{has_aggregate, has_window};
use crate::serve::pg_catalog::functions::{function, set_function, side_by_side, unknown};
use crate::serve::pg_catalog::plan::{Aggregate, Call, Expr, Rows, SetCall, Window};
use crate::serve::pg_catalog::text::more;
use crate::serve::pg_catalog::types::choose_function;
use crate::serve::pg_catalog::value::Value;

impl Binder<'_> {
    /// The arguments of a call.
    pub(super) fn arguments(&mut self, arguments: &[FunctionArg]) -> Result<Vec<Typed>, Fault> {
        let mut bound = Vec::new();
        for argument in arguments {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => bound.push(self.expr(expr)?),
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => {
                    let parts = parts_of(name);
                    let table = parts.last().cloned().unwrap_or_default();
                    bound.push(
                        self.expr(&ast::Expr::Identifier(ast::Ident::with_quote('"', table)))?,
                    );
                }
                FunctionArg::Unnamed(_) => {}
                other => return Err(unsupported(other)),
            }
        }
        Ok(bound)
    }

    pub(super) fn function(&mut self, of: &ast::Function) -> Result<Typed, Fault> {
        let parts = parts_of(&of.name);
        let name = parts.last().cloned().unwrap_or_default();
        let list = match &of.args {
            FunctionArguments::None => &[],
            FunctionArguments::Subquery(query) if name == "array" => {
                return self.array_of_query(query);
            }
            FunctionArguments::Subquery(query) => {
                return Err(unsupported(query));
            }
            FunctionArguments::List(list) => list.args.as_slice(),
        };
        let arguments = self.arguments(list)?;
        match (parts.len(), name.as_str()) {
            (1, "coalesce") => {
                let (values, of) = self.unified(arguments, "COALESCE")?;
                return Ok(Typed::new(Expr::Coalesce(values), of));
            }
            (1, "greatest" | "least") => {
                let (values, of) = self.unified(arguments, &name.to_uppercase())?;
                return Ok(Typed::new(Expr::Extreme(values, name == "greatest"), of));
            }
            (1, "nullif") if arguments.len() == 2 => {
                let of = match arguments[0].type_oid {
                    oid::UNKNOWN => oid::TEXT,
                    of => of,
                };
                let (left, right) = self.equation(arguments, "NULLIF")?;
                return Ok(Typed::new(Expr::NullIf(left, right), of));
            }
            (1, "row") => return Ok(super::expressions::record(arguments)),
            _ => {}
        }
        if let Some(over) = &of.over {
            return self.window(of, &name, arguments, over);
        }
        if has_aggregate(&name) {
            let aggregate = self.aggregate(of, &name, arguments)?;
            let returns = aggregate.call.returns;
            let scope = self.scope();
            if !scope.may_aggregate {
                let why = "aggregate functions are not allowed here";
                return Err(Fault::new("42803", why));
            }
            scope.aggregates.push(aggregate);
            let place = scope.aggregates.len() - 1;
            return Ok(Typed::new(Expr::Aggregate(place), returns));
        }
        if set_function(&name).is_some() {
            let (call, returned, _) = self.set_call(&parts, arguments)?;
            let scope = self.scope();
            if !scope.may_aggregate {
                let why = "set-returning functions are not allowed here";
                return Err(Fault::new("0A000", why));
            }
            scope.sets.push(call);
            let place = scope.sets.len() - 1;
            return Ok(Typed {
                expr: Expr::Set(place),
                ..returned
            });
        }
        self.call_qualified(&parts, arguments)
    }

    /// A call of a function of `pg_catalog`.
    pub(super) fn call(&mut self, name: &str, arguments: Vec<Typed>) -> Result<Typed, Fault> {
        self.call_qualified(&[name.to_owned()], arguments)
    }

    fn call_qualified(&mut self, parts: &[String], arguments: Vec<Typed>) -> Result<Typed, Fault> {
        let (call, arguments, columns) = self.resolved(parts, arguments)?;
        let fields = (columns.len() > 1).then(|| Arc::new(columns));
        let apply = function(&call.name).unwrap_or(unknown);
        let type_oid = call.returns;
        let expr = Expr::Call {
            apply,
            call: Arc::new(call),
            arguments,
        };
        Ok(Typed {
            expr,
            type_oid,
            fields,
        })
    }

    /// Chooses a function and gives its arguments their types. Returns also the columns that it
    /// declares for its rows.
    fn resolved(
        &mut self,
        parts: &[String],
        arguments: Vec<Typed>,
    ) -> Result<(Call, Vec<Expr>, Vec<(String, u32)>), Fault> {
        let (schema, name) = match parts {
            [name] => (None, name.as_str()),
            [schema, name] | [_, schema, name] => (Some(schema), name.as_str()),
            _ => return Err(unsupported(parts.join("."))),
        };
        // These are key words, and no functions.
        let name = match name {
            "user" | "current_role" => "current_user",
            "current_catalog" => "current_database",
            "current_timestamp" => "now",
            name => name,
        };
        let namespace = match schema {
            Some(schema) => {
                let missing = || Fault::new("3F000", format!("schema \"{schema}\" does not exist"));
                Some(self.objects.schema_number(schema).ok_or_else(missing)?)
            }
            None => None,
        };
        let given: Vec<u32> = arguments.iter().map(|argument| argument.type_oid).collect();
        let (chosen, resolved) = choose_function(namespace, name, &given, self.objects)?;
        let columns = chosen.columns.iter();
        let columns = columns.map(|(name, of)| (name.clone(), resolved.actual(*of)));
        let columns = columns.collect();
        let fields = arguments.iter().map(|argument| argument.fields.clone());
        let fields = fields.collect();
        let mut exprs = Vec::new();
        let mut types = Vec::new();
        for (argument, to) in arguments.into_iter().zip(resolved.arguments) {
            // Records are given as they are.
            let typed = match argument.fields.is_some() {
                true => argument,
                false => self.coerce(argument, to, false)?,
            };
            types.push(typed.type_oid);
            exprs.push(typed.expr);
        }
        let call = Call {
            name: name.to_owned(),
            types,
            fields,
            returns: resolved.returns,
            is_strict: chosen.is_strict,
        };
        Ok((call, exprs, columns))
    }

    /// A call of a function that returns a set, what each of its rows is, and the name that it declares
    /// for its only column.
    pub(super) fn set_call(
        &mut self,
        parts: &[String],
        arguments: Vec<Typed>,
    ) -> Result<(SetCall, Typed, Option<String>), Fault> {
        let name = parts.last().cloned().unwrap_or_default();
        if name == "unnest" && arguments.len() > 1 {
            let (call, returned) = self.unnest(arguments);
            return Ok((call, returned, None));
        }
        let (call, arguments, mut columns) = self.resolved(parts, arguments)?;
        let column = match columns.len() {
            1 => columns.pop().map(|(name, _)| name),
            _ => None,
        };
        let fields = (columns.len() > 1).then(|| Arc::new(columns));
        let apply = match set_function(&name) {
            Some(apply) => Rows::Set(apply),
            None => Rows::Value(function(&name).unwrap_or(unknown)),
        };
        let returned = Typed {
            expr: Expr::Const(Value::Null),
            type_oid: call.returns,
            fields,
        };
        let call = SetCall {
            apply,
            call: Arc::new(call),
            arguments,
        };
        Ok((call, returned, column))
    }

    /// Several arrays side by side.
    fn unnest(&mut self, arrays: Vec<Typed>) -> (SetCall, Typed) {
        let types: Vec<u32> = arrays.iter().map(|array| array.type_oid).collect();
        let fields = types
            .iter()
            .map(|of| ("unnest".to_owned(), self.objects.element_type(*of)));
        let fields: Vec<(String, u32)> = fields.collect();
        let call = Call {
            name: "unnest".to_owned(),
            types,
            fields: Vec::new(),
            returns: more::RECORD,
            is_strict: false,
        };
        let returned = Typed {
            expr: Expr::Const(Value::Null),
            type_oid: more::RECORD,
            fields: Some(Arc::new(fields)),
        };
        let call = SetCall {
            apply: Rows::Set(side_by_side),
            call: Arc::new(call),
            arguments: arrays.into_iter().map(|array| array.expr).collect(),
        };
        (call, returned)
    }

    fn aggregate(
        &mut self,
        of: &ast::Function,
        name: &str,
        arguments: Vec<Typed>,
    ) -> Result<Aggregate, Fault> {
        let (mut is_distinct, mut order) = (false, Vec::new());
        if let FunctionArguments::List(list) = &of.args {
            is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            for clause in &list.clauses {
                match clause {
                    FunctionArgumentClause::OrderBy(keys) => {
                        for key in keys {
                            order.push(self.sort(key, &[], &[])?);
                        }
                    }
                    other => return Err(unsupported(other)),
                }
            }
        }
        let filter = match &of.filter {
            Some(filter) => Some(self.condition(filter)?),
            None => None,
        };
        let parts = [name.to_owned()];
        let (call, arguments, _) = match arguments.is_empty() && name == "count" {
            true => {
                let call = Call {
                    name: name.to_owned(),
                    types: Vec::new(),
                    fields: Vec::new(),
                    returns: oid::INT8,
                    is_strict: false,
                };
                (call, Vec::new(), Vec::new())
            }
            false => self.resolved(&parts, arguments)?,
        };
        Ok(Aggregate {
            arguments,
            call: Arc::new(call),
            is_distinct,
            order,
            filter,
        })
    }

    fn window(
        &mut self,
        of: &ast::Function,
        name: &str,
        arguments: Vec<Typed>,
        over: &WindowType,
    ) -> Result<Typed, Fault> {
        if !has_aggregate(name) && !has_window(name) {
            return Err(unsupported(format!("the window function {name}")));
        }
        let spec = match over {
            WindowType::WindowSpec(spec) => spec.clone(),
            WindowType::NamedWindow(ident) => {
                let wanted = name_of(ident);
                let named = &self.scope().named_windows;
                let found = named.iter().find(|(name, _)| *name == wanted);
                let missing = || Fault::new("42704", format!("window \"{wanted}\" does not exist"));
                found.map(|(_, spec)| spec.clone()).ok_or_else(missing)?
            }
        };
        if spec.window_frame.is_some() {
            return Err(unsupported("a frame of a window"));
        }
        if has_window(name) && arguments.len() > 1 {
            return Err(unsupported(format!("{name} with an offset")));
        }
        let function = self.aggregate(of, name, arguments)?;
        let partition = self.exprs(&spec.partition_by)?;
        let partition = partition.into_iter().map(|typed| typed.expr).collect();
        let order = spec.order_by.iter().map(|key| self.sort(key, &[], &[]));
        let order = order.collect::<Result<Vec<_>, Fault>>()?;
        let returns = function.call.returns;
        let scope = self.scope();
        scope.windows.push(Window {
            function,
            partition,
            order,
        });
        let place = scope.windows.len() - 1;
        Ok(Typed::new(Expr::Window(place), returns))
    }
}
