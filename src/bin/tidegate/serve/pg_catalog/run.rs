//! Runs queries: nested loops over rows in memory.
//!
//! Invariant: a query that reads no value of an outer query runs once in a statement, and an equation
//! with a column finds its rows by an index.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use tidegate::CancellationToken;

use super::aggregates::{aggregate, window_values};
use super::convert::convert;
use super::objects::Objects;
use super::plan::{
    self, Apply, Body, Call, Distinct, Expr, Group, Many, Node, Query, Select, SetCall, SetKind,
    Sort, Source,
};
use super::value::{Row, Value};
use crate::serve::fault::Fault;

/// A cancelled statement ends within this many rows.
const ROWS_PER_CHECK: u64 = 1024;

/// The most bytes of the rows that a query keeps.
const MOST_BYTES: usize = 64 << 20;

/// The rows that expressions read.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f> {
    row: &'f [Value],
    aggregates: &'f [Value],
    windows: &'f [Value],
    sets: &'f [Value],
    outer: Option<&'f Frame<'f>>,
}

impl<'f> Frame<'f> {
    fn new(row: &'f [Value], outer: Option<&'f Frame<'f>>) -> Self {
        Self {
            row,
            aggregates: &[],
            windows: &[],
            sets: &[],
            outer,
        }
    }
}

type Rows = Arc<Vec<Row>>;
type Index = HashMap<Value, Vec<usize>>;

/// Takes a row. It returns false to end the loops.
type Take<'t> = dyn FnMut(&mut Vec<Value>) -> Result<bool, Fault> + 't;

/// A statement that runs.
pub(super) struct Run<'r> {
    pub(super) objects: &'r Objects,
    parameters: &'r [Value],
    token: &'r CancellationToken,
    passed: Cell<u64>,
    /// Results of queries that read no outer values.
    results: RefCell<HashMap<usize, Rows>>,
    ctes: RefCell<HashMap<usize, Rows>>,
    /// Indexes by the rows' place in memory and the column. The rows are kept, so that no others get
    /// their place.
    indexes: RefCell<HashMap<(usize, usize), (Rows, Arc<Index>)>>,
}

impl<'r> Run<'r> {
    pub(super) fn new(
        objects: &'r Objects,
        parameters: &'r [Value],
        token: &'r CancellationToken,
    ) -> Self {
        Self {
            objects,
            parameters,
            token,
            passed: Cell::new(0),
            results: RefCell::default(),
            ctes: RefCell::default(),
            indexes: RefCell::default(),
        }
    }

    /// Counts a step, and ends the statement if it is cancelled.
    pub(super) fn pass(&self) -> Result<(), Fault> {
        self.passed.set(self.passed.get() + 1);
        match self.passed.get() % ROWS_PER_CHECK == 0 && self.token.is_cancelled() {
            true => Err(Fault::new("57014", "the statement was cancelled")),
            false => Ok(()),
        }
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// Errors of its expressions; 57014 if it is cancelled.
    pub(super) fn query(&self, query: &Query, outer: Option<&Frame<'_>>) -> Result<Rows, Fault> {
        let is_constant = !query.is_correlated && !query.is_recursive;
        if is_constant && let Some(rows) = self.results.borrow().get(&query.number) {
            return Ok(Arc::clone(rows));
        }
        for cte in &query.ctes {
            let rows = match (&cte.query.body, cte.is_recursive) {
                (
                    Body::Set {
                        all, left, right, ..
                    },
                    true,
                ) => self.recursive(cte.number, *all, left, right, outer)?,
                _ => self.query(&cte.query, outer)?,
            };
            self.ctes.borrow_mut().insert(cte.number, rows);
        }
        let frame = Frame::new(&[], outer);
        let count = |expr: &Option<Expr>, sqlstate, what: &str| -> Result<Option<usize>, Fault> {
            let Some(expr) = expr else { return Ok(None) };
            let Some(count) = self.eval(expr, &frame)?.as_int() else {
                return Ok(None);
            };
            let negative = |_| Fault::new(sqlstate, format!("{what} must not be negative"));
            usize::try_from(count).map(Some).map_err(negative)
        };
        let limit = count(&query.limit, "2201W", "LIMIT")?;
        let offset = count(&query.offset, "2201X", "OFFSET")?;
        let mut rows = match &query.body {
            Body::Select(select) => {
                let most = limit.map(|limit| limit.saturating_add(offset.unwrap_or(0)));
                self.select(select, most, outer)?
            }
            Body::Values(rows) => {
                let rows = rows.iter().map(|row| self.all(row, &frame).map(Row::from));
                rows.collect::<Result<Vec<_>, Fault>>()?
            }
            Body::Set {
                kind,
                all,
                left,
                right,
            } => {
                let (left, right) = (self.query(left, outer)?, self.query(right, outer)?);
                combined(*kind, *all, &left, &right)
            }
        };
        if !query.order.is_empty() {
            let keyed = rows.into_iter().map(|row| {
                let frame = Frame::new(&row, outer);
                let keys = self.keys(&query.order, &frame)?;
                Ok((keys, row))
            });
            let mut keyed = keyed.collect::<Result<Vec<_>, Fault>>()?;
            sort(&mut keyed, &query.order);
            rows = keyed.into_iter().map(|(_, row)| row).collect();
        }
        rows.drain(..offset.unwrap_or(0).min(rows.len()));
        if let Some(limit) = limit {
            rows.truncate(limit);
        }
        let rows = Arc::new(rows);
        if is_constant {
            self.results
                .borrow_mut()
                .insert(query.number, Arc::clone(&rows));
        }
        Ok(rows)
    }

    fn recursive(
        &self,
        number: usize,
        all: bool,
        left: &Query,
        right: &Query,
        outer: Option<&Frame<'_>>,
    ) -> Result<Rows, Fault> {
        let mut seen = HashSet::new();
        let mut fresh = |rows: &[Row]| -> Vec<Row> {
            let rows = rows
                .iter()
                .filter(|row| all || seen.insert(Row::clone(row)));
            rows.cloned().collect()
        };
        let mut working = fresh(&*self.query(left, outer)?);
        let mut result = Vec::new();
        let mut bytes = 0;
        while !working.is_empty() {
            result.extend(working.iter().cloned());
            bytes += working.iter().map(|row| size_of_row(row)).sum::<usize>();
            check_size(bytes)?;
            self.ctes.borrow_mut().insert(number, Arc::new(working));
            working = fresh(&*self.query(right, outer)?);
        }
        Ok(Arc::new(result))
    }

    /// The rows of a SELECT. `most` is how many of them are read.
    fn select(
        &self,
        select: &Select,
        most: Option<usize>,
        outer: Option<&Frame<'_>>,
    ) -> Result<Vec<Row>, Fault> {
        let mut row = vec![Value::Null; select.width];
        let mut results = Results::default();
        let frame = Frame::new(&[], outer);
        if select.group.is_none() && select.windows.is_empty() {
            self.each(&select.from, &mut row, outer, &mut |row| {
                let frame = Frame::new(row, outer);
                self.project(select, &frame, &mut results)?;
                let is_enough = most.is_some_and(|most| results.rows.len() >= most);
                let takes_first =
                    select.order.is_empty() && matches!(select.distinct, Distinct::None);
                Ok(!(is_enough && takes_first))
            })?;
            return Ok(results.finish(select));
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        self.each(&select.from, &mut row, outer, &mut |row| {
            bytes += size_of_row(row);
            check_size(bytes)?;
            rows.push(Row::from(row.as_slice()));
            Ok(true)
        })?;
        // Each row, with the values of its group's aggregates.
        let groups = match &select.group {
            Some(group) => self.grouped(group, rows, select.width, &frame)?,
            None => rows.into_iter().map(|row| (row, Vec::new())).collect(),
        };
        let mut windows: Vec<Vec<Value>> = vec![Vec::new(); groups.len()];
        for window in &select.windows {
            let frames = groups.iter().map(|(row, aggregates)| Frame {
                row,
                aggregates,
                ..frame
            });
            let frames: Vec<Frame<'_>> = frames.collect();
            let values = window_values(self, window, &frames)?;
            for (of, value) in windows.iter_mut().zip(values) {
                of.push(value);
            }
        }
        for ((row, aggregates), windows) in groups.iter().zip(&windows) {
            let frame = Frame {
                row,
                aggregates,
                windows,
                ..frame
            };
            self.project(select, &frame, &mut results)?;
        }
        Ok(results.finish(select))
    }

    fn grouped(
        &self,
        group: &Group,
        rows: Vec<Row>,
        width: usize,
        frame: &Frame<'_>,
    ) -> Result<Vec<(Row, Vec<Value>)>, Fault> {
        let mut places: HashMap<Vec<Value>, usize> = HashMap::new();
        let mut groups: Vec<Vec<Row>> = Vec::new();
        for row in rows {
            let frame = Frame {
                row: &row,
                ..*frame
            };
            let place = *places
                .entry(self.all(&group.keys, &frame)?)
                .or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
            groups[place].push(row);
        }
        if groups.is_empty() && group.keys.is_empty() {
            groups.push(Vec::new());
        }
        let mut kept = Vec::new();
        for rows in groups {
            let frames = rows.iter().map(|row| Frame { row, ..*frame });
            let frames: Vec<Frame<'_>> = frames.collect();
            let values = group
                .aggregates
                .iter()
                .map(|of| aggregate(self, of, &frames));
            let values = values.collect::<Result<Vec<_>, Fault>>()?;
            // Other columns have the values of the group's first row.
            let nulls = || Row::from(vec![Value::Null; width]);
            let row = rows.first().cloned().unwrap_or_else(nulls);
            if let Some(having) = &group.having {
                let frame = Frame {
                    row: &row,
                    aggregates: &values,
                    ..*frame
                };
                if !self.eval(having, &frame)?.is_true() {
                    continue;
                }
            }
            kept.push((row, values));
        }
        Ok(kept)
    }

    /// Computes the columns of a row of FROM. Functions that return sets make several rows of it.
    fn project(
        &self,
        select: &Select,
        frame: &Frame<'_>,
        results: &mut Results,
    ) -> Result<(), Fault> {
        if select.sets.is_empty() {
            return self.push(select, frame, results);
        }
        let sets = select.sets.iter().map(|call| self.set_rows(call, frame));
        let sets = sets.collect::<Result<Vec<_>, Fault>>()?;
        let count = sets.iter().map(Vec::len).max().unwrap_or(0);
        for place in 0..count {
            let values = sets.iter().map(|rows| match rows.get(place) {
                None => Value::Null,
                Some(row) if row.len() == 1 => row[0].clone(),
                Some(row) => Value::Record(Row::clone(row)),
            });
            let values: Vec<Value> = values.collect();
            let frame = Frame {
                sets: &values,
                ..*frame
            };
            self.push(select, &frame, results)?;
        }
        Ok(())
    }

    fn push(&self, select: &Select, frame: &Frame<'_>, results: &mut Results) -> Result<(), Fault> {
        let row = Row::from(self.all(&select.outputs, frame)?);
        let distinct = match &select.distinct {
            Distinct::On(exprs) => Some(self.all(exprs, frame)?),
            Distinct::None | Distinct::All => None,
        };
        let keys = self.keys(&select.order, frame)?;
        results.push(keys, row, distinct)
    }

    fn keys(&self, order: &[Sort], frame: &Frame<'_>) -> Result<Vec<Value>, Fault> {
        order
            .iter()
            .map(|sort| self.eval(&sort.expr, frame))
            .collect()
    }

    /// Passes the rows of FROM on.
    fn each(
        &self,
        node: &Node,
        row: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
        take: &mut Take<'_>,
    ) -> Result<bool, Fault> {
        match node {
            Node::Unit(filters) => match self.passes(filters, row, outer)? {
                true => take(row),
                false => Ok(true),
            },
            Node::Scan {
                source,
                offset,
                width,
                probe,
                filters,
            } => {
                let rows = self.source(source, row, outer)?;
                let mut place = |row: &mut Vec<Value>, of: &Row| -> Result<bool, Fault> {
                    self.pass()?;
                    let count = (*width).min(of.len());
                    row[*offset..*offset + count].clone_from_slice(&of[..count]);
                    match self.passes(filters, row, outer)? {
                        true => take(row),
                        false => Ok(true),
                    }
                };
                let Some((column, value)) = probe else {
                    for of in rows.iter() {
                        if !place(row, of)? {
                            return Ok(false);
                        }
                    }
                    return Ok(true);
                };
                let wanted = self.eval(value, &Frame::new(row, outer))?;
                if wanted.is_null() {
                    return Ok(true);
                }
                let index = self.index(&rows, *column);
                for found in index.get(&wanted).into_iter().flatten() {
                    if !place(row, &rows[*found])? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Inner(left, right) => self.each(left, row, outer, &mut |row| {
                self.each(right, row, outer, take)
            }),
            Node::Left {
                left,
                right,
                right_slots,
                filters,
                is_full: false,
                ..
            } => self.each(left, row, outer, &mut |row| {
                let mut is_matched = false;
                let goes_on = self.each(right, row, outer, &mut |row| {
                    is_matched = true;
                    match self.passes(filters, row, outer)? {
                        true => take(row),
                        false => Ok(true),
                    }
                })?;
                if !goes_on || is_matched {
                    return Ok(goes_on);
                }
                row[right_slots.clone()].fill(Value::Null);
                match self.passes(filters, row, outer)? {
                    true => take(row),
                    false => Ok(true),
                }
            }),
            Node::Left {
                left,
                right,
                right_slots,
                filters,
                is_full: true,
                left_slots,
            } => {
                let slots = (left_slots.clone(), right_slots.clone());
                for found in self.full_join(left, right, slots, row, outer)? {
                    let (start, end) = (left_slots.start, right_slots.end);
                    row[start..end].clone_from_slice(&found);
                    if self.passes(filters, row, outer)? && !take(row)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// The rows of a full join, kept in memory.
    fn full_join(
        &self,
        left: &Node,
        right: &Node,
        (left_slots, right_slots): (Range<usize>, Range<usize>),
        row: &mut Vec<Value>,
        outer: Option<&Frame<'_>>,
    ) -> Result<Vec<Vec<Value>>, Fault> {
        let all = left_slots.start..right_slots.end;
        let mut found = Vec::new();
        let mut matched = HashSet::new();
        self.each(left, row, outer, &mut |row| {
            let before = found.len();
            self.each(right, row, outer, &mut |row| {
                matched.insert(row[right_slots.clone()].to_vec());
                found.push(row[all.clone()].to_vec());
                Ok(true)
            })?;
            if found.len() == before {
                row[right_slots.clone()].fill(Value::Null);
                found.push(row[all.clone()].to_vec());
            }
            Ok(true)
        })?;
        // Without the conditions of the join, the right side has all of its rows.
        let unfiltered = match right {
            Node::Scan { source, .. } => self.source(source, row, outer)?,
            _ => {
                let why = "a FULL JOIN with a join on its right side";
                return Err(super::bind::unsupported(why));
            }
        };
        for of in unfiltered.iter() {
            if !matched.contains(&of[..]) {
                let mut alone = vec![Value::Null; all.len()];
                let start = right_slots.start - all.start;
                alone[start..start + of.len()].clone_from_slice(of);
                found.push(alone);
            }
        }
        Ok(found)
    }

    fn passes(
        &self,
        filters: &[Expr],
        row: &[Value],
        outer: Option<&Frame<'_>>,
    ) -> Result<bool, Fault> {
        let frame = Frame::new(row, outer);
        for filter in filters {
            if !self.eval(filter, &frame)?.is_true() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn source(
        &self,
        source: &Source,
        row: &[Value],
        outer: Option<&Frame<'_>>,
    ) -> Result<Rows, Fault> {
        let frame = Frame::new(row, outer);
        Ok(match source {
            Source::Rows(rows) => Arc::clone(rows),
            Source::Query(query) => self.query(query, Some(&frame))?,
            Source::Cte(number) => {
                let missing = || Fault::new("XX000", "a query of WITH has no rows yet");
                self.ctes
                    .borrow()
                    .get(number)
                    .cloned()
                    .ok_or_else(missing)?
            }
            Source::Function { call, ordinality } => {
                let mut rows = self.set_rows(call, &frame)?;
                if *ordinality {
                    for (place, row) in rows.iter_mut().enumerate() {
                        let number = Value::Int(i64::try_from(place + 1).unwrap_or(i64::MAX));
                        let values = row.iter().cloned().chain([number]);
                        *row = values.collect();
                    }
                }
                Arc::new(rows)
            }
        })
    }

    fn index(&self, rows: &Rows, column: usize) -> Arc<Index> {
        let key = (Arc::as_ptr(rows) as usize, column);
        if let Some((_, index)) = self.indexes.borrow().get(&key) {
            return Arc::clone(index);
        }
        let mut index = Index::new();
        for (place, row) in rows.iter().enumerate() {
            if let Some(value) = row.get(column) {
                index.entry(value.clone()).or_default().push(place);
            }
        }
        let index = Arc::new(index);
        let kept = (Arc::clone(rows), Arc::clone(&index));
        self.indexes.borrow_mut().insert(key, kept);
        index
    }

    fn set_rows(&self, call: &SetCall, frame: &Frame<'_>) -> Result<Vec<Row>, Fault> {
        let arguments = self.all(&call.arguments, frame)?;
        if call.call.is_strict && arguments.iter().any(Value::is_null) {
            return Ok(Vec::new());
        }
        match call.apply {
            plan::Rows::Set(apply) => apply(&arguments, &call.call, self.objects),
            plan::Rows::Value(apply) => {
                let value = apply(&arguments, &call.call, self.objects)?;
                Ok(vec![Row::from(vec![value])])
            }
        }
    }

    pub(super) fn all(&self, exprs: &[Expr], frame: &Frame<'_>) -> Result<Vec<Value>, Fault> {
        exprs.iter().map(|expr| self.eval(expr, frame)).collect()
    }

    /// The value of an expression.
    pub(super) fn eval(&self, expr: &Expr, frame: &Frame<'_>) -> Result<Value, Fault> {
        let lost = || Fault::new("XX000", "a value of a row is missing");
        Ok(match expr {
            Expr::Const(value) => value.clone(),
            Expr::Shared(expr) => self.eval(expr, frame)?,
            Expr::Parameter(place) => self.parameters.get(*place).cloned().unwrap_or(Value::Null),
            Expr::Column { up, slot } => {
                let mut of = frame;
                for _ in 0..*up {
                    of = of.outer.ok_or_else(lost)?;
                }
                of.row.get(*slot).cloned().ok_or_else(lost)?
            }
            Expr::Aggregate(place) => frame.aggregates.get(*place).cloned().ok_or_else(lost)?,
            Expr::Window(place) => frame.windows.get(*place).cloned().ok_or_else(lost)?,
            Expr::Set(place) => frame.sets.get(*place).cloned().ok_or_else(lost)?,
            Expr::Call {
                apply,
                call,
                arguments,
            } => {
                let arguments = self.all(arguments, frame)?;
                self.apply(*apply, call, &arguments)?
            }
            Expr::Convert { expr, from, to } => {
                convert(self.eval(expr, frame)?, *from, *to, self.objects)?
            }
            Expr::And(left, right) => match self.eval(left, frame)? {
                Value::Bool(false) => Value::Bool(false),
                left => match self.eval(right, frame)? {
                    Value::Bool(true) => left,
                    Value::Bool(false) => Value::Bool(false),
                    _ => Value::Null,
                },
            },
            Expr::Or(left, right) => match self.eval(left, frame)? {
                Value::Bool(true) => Value::Bool(true),
                left => match self.eval(right, frame)? {
                    Value::Bool(true) => Value::Bool(true),
                    Value::Bool(false) => left,
                    _ => Value::Null,
                },
            },
            Expr::Not(inner) => match self.eval(inner, frame)? {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            Expr::IsNull(inner) => Value::Bool(match self.eval(inner, frame)? {
                Value::Record(fields) => fields.iter().all(Value::is_null),
                value => value.is_null(),
            }),
            Expr::Is(inner, wanted) => {
                let value = self.eval(inner, frame)?;
                Value::Bool(matches!(value, Value::Bool(value) if value == *wanted))
            }
            Expr::IsDistinct(left, right) => {
                Value::Bool(self.eval(left, frame)? != self.eval(right, frame)?)
            }
            Expr::Case {
                branches,
                otherwise,
            } => {
                for (condition, result) in branches {
                    if self.eval(condition, frame)?.is_true() {
                        return self.eval(result, frame);
                    }
                }
                self.eval(otherwise, frame)?
            }
            Expr::Coalesce(values) => {
                for value in values {
                    let value = self.eval(value, frame)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Value::Null
            }
            Expr::NullIf(left, right) => {
                let left = self.eval(left, frame)?;
                match left == self.eval(right, frame)? {
                    true => Value::Null,
                    false => left,
                }
            }
            Expr::Extreme(values, greatest) => {
                let values = self.all(values, frame)?.into_iter();
                let values = values.filter(|value| !value.is_null());
                let found = match greatest {
                    true => values.max_by(Value::order),
                    false => values.min_by(Value::order),
                };
                found.unwrap_or(Value::Null)
            }
            Expr::Array(values) => Value::List(self.all(values, frame)?.into()),
            Expr::Record(values) => Value::Record(self.all(values, frame)?.into()),
            Expr::Field(record, place) => {
                let record = self.eval(record, frame)?;
                record.items().get(*place).cloned().unwrap_or(Value::Null)
            }
            Expr::Element {
                array,
                place,
                first,
            } => {
                let array = self.eval(array, frame)?;
                let place = self.eval(place, frame)?.as_int();
                let place = place.and_then(|place| usize::try_from(place - first).ok());
                let found = place.and_then(|place| array.items().get(place));
                found.cloned().unwrap_or(Value::Null)
            }
            Expr::Slice {
                array,
                from,
                to,
                first,
            } => {
                let array = self.eval(array, frame)?;
                if array.is_null() {
                    return Ok(Value::Null);
                }
                let items = array.items();
                let bound = |expr: &Option<Box<Expr>>, otherwise: i64| match expr {
                    Some(expr) => self.eval(expr, frame).map(|value| value.as_int()),
                    None => Ok(Some(otherwise)),
                };
                let last = first + i64::try_from(items.len()).unwrap_or(i64::MAX) - 1;
                let (Some(from), Some(to)) = (bound(from, *first)?, bound(to, last)?) else {
                    return Ok(Value::Null);
                };
                let (from, to) = (from.max(*first), to.min(last));
                let places = usize::try_from(from - first).unwrap_or(0);
                let count = usize::try_from(to - from + 1).unwrap_or(0);
                Value::list(items.iter().skip(places).take(count).cloned())
            }
            Expr::Quantified {
                left,
                apply,
                call,
                right,
                all,
            } => {
                let left = self.eval(left, frame)?;
                self.quantified(&left, *apply, call, right, *all, frame)?
            }
            Expr::Scalar(query) => {
                let rows = self.query(query, Some(frame))?;
                match rows.as_slice() {
                    [] => Value::Null,
                    [row] => row.first().cloned().unwrap_or(Value::Null),
                    _ => {
                        let why = "more than one row returned by a subquery used as an expression";
                        return Err(Fault::new("21000", why));
                    }
                }
            }
            Expr::Exists(query) => Value::Bool(!self.query(query, Some(frame))?.is_empty()),
            Expr::ArrayOf(query) => {
                let rows = self.query(query, Some(frame))?;
                let values = rows.iter().map(|row| row.first().cloned());
                Value::list(values.map(|value| value.unwrap_or(Value::Null)))
            }
        })
    }

    pub(super) fn apply(
        &self,
        apply: Apply,
        call: &Call,
        arguments: &[Value],
    ) -> Result<Value, Fault> {
        self.pass()?;
        match call.is_strict && arguments.iter().any(Value::is_null) {
            true => Ok(Value::Null),
            false => apply(arguments, call, self.objects),
        }
    }

    fn quantified(
        &self,
        left: &Value,
        apply: Apply,
        call: &Call,
        right: &Many,
        all: bool,
        frame: &Frame<'_>,
    ) -> Result<Value, Fault> {
        let values: Vec<Value> = match right {
            Many::Array(array) => match self.eval(array, frame)? {
                Value::Null => return Ok(Value::Null),
                array => array.items().to_vec(),
            },
            Many::Query(query) => {
                let rows = self.query(query, Some(frame))?;
                let values = rows.iter().map(|row| match row.len() {
                    1 => row[0].clone(),
                    _ => Value::Record(Row::clone(row)),
                });
                values.collect()
            }
        };
        let mut is_unknown = false;
        for value in values {
            match self.apply(apply, call, &[left.clone(), value])? {
                Value::Bool(found) if found != all => return Ok(Value::Bool(found)),
                Value::Bool(_) => {}
                _ => is_unknown = true,
            }
        }
        Ok(match is_unknown {
            true => Value::Null,
            false => Value::Bool(all),
        })
    }
}

fn combined(kind: SetKind, all: bool, left: &[Row], right: &[Row]) -> Vec<Row> {
    let mut counts: HashMap<&Row, usize> = HashMap::new();
    for row in right {
        *counts.entry(row).or_default() += 1;
    }
    let kept: Vec<Row> = match kind {
        SetKind::Union => left.iter().chain(right).cloned().collect(),
        SetKind::Except if all => left
            .iter()
            .filter(|row| match counts.get_mut(*row) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            })
            .cloned()
            .collect(),
        SetKind::Except => left
            .iter()
            .filter(|row| !counts.contains_key(*row))
            .cloned()
            .collect(),
        SetKind::Intersect => left
            .iter()
            .filter(|row| match counts.get_mut(*row) {
                Some(count) if *count > 0 => {
                    *count -= usize::from(all);
                    true
                }
                _ => false,
            })
            .cloned()
            .collect(),
    };
    if all {
        return kept;
    }
    let mut seen = HashSet::new();
    kept.into_iter()
        .filter(|row| seen.insert(Row::clone(row)))
        .collect()
}

/// Sorts rows by their keys. Rows with equal keys keep their order.
pub(super) fn sort<T>(rows: &mut [(Vec<Value>, T)], order: &[Sort]) {
    use std::cmp::Ordering;
    rows.sort_by(|(a, _), (b, _)| {
        for ((a, b), sort) in a.iter().zip(b).zip(order) {
            let order = match (a.is_null(), b.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) if sort.nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if sort.nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) if sort.is_descending => b.order(a),
                (false, false) => a.order(b),
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    });
}

/// About the bytes that a row takes.
fn size_of_row(row: &[Value]) -> usize {
    row.iter().map(Value::size).sum()
}

/// # Errors
/// 53200 for more bytes than a query may keep.
fn check_size(bytes: usize) -> Result<(), Fault> {
    match bytes > MOST_BYTES {
        true => Err(Fault::new(
            "53200",
            "a query of the system catalog has too many rows",
        )),
        false => Ok(()),
    }
}

/// The rows of a SELECT, with their sort keys.
#[derive(Default)]
struct Results {
    rows: Vec<(Vec<Value>, (Row, Option<Vec<Value>>))>,
    bytes: usize,
}

impl Results {
    fn push(
        &mut self,
        keys: Vec<Value>,
        row: Row,
        distinct: Option<Vec<Value>>,
    ) -> Result<(), Fault> {
        self.bytes += size_of_row(&row) + size_of_row(&keys);
        check_size(self.bytes)?;
        self.rows.push((keys, (row, distinct)));
        Ok(())
    }

    /// The rows in order, without those that DISTINCT leaves out.
    fn finish(mut self, select: &Select) -> Vec<Row> {
        sort(&mut self.rows, &select.order);
        let rows = self.rows.into_iter().map(|(_, row)| row);
        match &select.distinct {
            Distinct::None => rows.map(|(row, _)| row).collect(),
            Distinct::All => {
                let mut seen = HashSet::new();
                let rows = rows.map(|(row, _)| row);
                rows.filter(|row| seen.insert(Row::clone(row))).collect()
            }
            Distinct::On(_) => {
                let mut seen = HashSet::new();
                let rows = rows.filter(|(_, key)| seen.insert(key.clone()));
                rows.map(|(row, _)| row).collect()
            }
        }
    }
}
