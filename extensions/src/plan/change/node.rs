//! A change of a table in memory as a node of a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, TableReference};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    DmlStatement, Expr, Extension, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Projection,
    Statement, SubqueryAlias, UserDefinedLogicalNodeCore, WriteOp,
};

use super::numbered::NumberedTable;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::logical::count_schema;

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// `DELETE`
    Delete,
    /// `UPDATE`
    Update,
    /// `TRUNCATE`
    Truncate,
}

impl Change {
    fn of(op: &WriteOp) -> Option<Self> {
        match op {
            WriteOp::Delete => Some(Self::Delete),
            WriteOp::Update => Some(Self::Update),
            WriteOp::Truncate => Some(Self::Truncate),
            _ => None,
        }
    }

    /// The command tag, as in PostgreSQL.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
            Self::Truncate => "TRUNCATE TABLE",
        }
    }
}

/// Changes the rows of a table in memory that its input returns.
///
/// The input has the column that numbers the rows. For an update, the new values of all columns
/// precede it.
#[derive(Debug, Clone)]
pub struct ChangeNode {
    /// The kind of change.
    pub change: Change,
    pub(super) input: Arc<LogicalPlan>,
    pub(super) name: TableReference,
    pub(super) table: Arc<NumberedTable>,
    pub(super) schema: DFSchemaRef,
}

impl ChangeNode {
    fn key(&self) -> (Change, &TableReference, *const NumberedTable) {
        (self.change, &self.name, Arc::as_ptr(&self.table))
    }
}

impl PartialEq for ChangeNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.input == other.input
    }
}

impl Eq for ChangeNode {}

impl Hash for ChangeNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for ChangeNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.key().cmp(&other.key()) {
            Ordering::Equal => self.input.partial_cmp(&other.input),
            order => Some(order),
        }
    }
}

impl UserDefinedLogicalNodeCore for ChangeNode {
    fn name(&self) -> &str {
        "Change"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Change: {} {}", self.change.tag(), self.name)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> DataFusionResult<Self> {
        let mut node = self.clone();
        if let Some(input) = inputs.into_iter().next() {
            node.input = Arc::new(input);
        }
        Ok(node)
    }

    /// Every column of the input is needed, so none may be pruned.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Replaces DataFusion's plan of a change, also in `EXPLAIN` and in a prepared statement.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the table is not in memory and the change is not a plain filter or
/// is only explained, or if the statement has a part that is not known here.
pub(in crate::plan) fn plan_changes(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Dml(dml) => {
            let planned = match Change::of(&dml.op) {
                Some(change) => plan_change(&dml, change)?,
                None => None,
            };
            Ok(planned.unwrap_or(LogicalPlan::Dml(dml)))
        }
        LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Statement(Statement::Prepare(_)) => {
            let planned = plan.map_children(|inner| Ok(Transformed::yes(plan_changes(inner)?)))?;
            check_explained(&planned.data)?;
            Ok(planned.data)
        }
        plan => Ok(plan),
    }
}

/// Refuses to explain a change of another provider's table: DataFusion makes it while it plans.
fn check_explained(plan: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Explain(explain) = plan else {
        return Ok(());
    };
    match explain.plan.as_ref() {
        LogicalPlan::Dml(dml) if Change::of(&dml.op).is_some() => {
            let why = "EXPLAIN shows an UPDATE or DELETE only of a table in memory";
            Err(Error::new(ErrorKind::Unsupported, why))
        }
        _ => Ok(()),
    }
}

/// `None` if the table's own provider makes the change.
fn plan_change(dml: &DmlStatement, change: Change) -> Result<Option<LogicalPlan>> {
    let provider = source_as_provider(&dml.target)?;
    let Some(table) = NumberedTable::of(provider) else {
        if is_plain(&dml.input)? {
            return Ok(None);
        }
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is not a table in memory", dml.table_name),
        )
        .with_hint(format!(
            "{} of other tables takes no subquery and no LIMIT",
            change.tag()
        )));
    };
    let table = Arc::new(table);
    let scan = || {
        let source = provider_as_source(Arc::clone(&table) as _);
        LogicalPlanBuilder::scan(dml.table_name.clone(), source, None)?.build()
    };
    let rows = match change {
        Change::Truncate => scan()?,
        Change::Delete | Change::Update => with_numbers(&dml.input, &table, &scan)?,
    };
    let rows = match change {
        Change::Update => rows,
        Change::Delete | Change::Truncate => {
            let number = number_of(&rows, &table)?;
            LogicalPlanBuilder::from(rows).project([number])?.build()?
        }
    };
    let schema = match change {
        Change::Truncate => Arc::new(DFSchema::empty()),
        Change::Delete | Change::Update => Arc::clone(count_schema()),
    };
    Ok(Some(LogicalPlan::Extension(Extension {
        node: Arc::new(ChangeNode {
            change,
            input: Arc::new(rows),
            name: dml.table_name.clone(),
            table,
            schema,
        }),
    })))
}

/// Whether DataFusion passes all of the statement to the table's provider.
fn is_plain(input: &LogicalPlan) -> Result<bool> {
    let mut is_plain = true;
    input.apply_with_subqueries(|plan| {
        let is_known = matches!(
            plan,
            LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::TableScan(_)
        );
        let expressions = plan.expressions();
        let has_subquery = expressions.iter().any(|expr| {
            expr.exists(|part| {
                Ok(matches!(
                    part,
                    Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_)
                ))
            })
            .unwrap_or(true)
        });
        is_plain &= is_known && !has_subquery;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(is_plain)
}

/// The input of a change, with the numbers of its rows as a further column.
fn with_numbers(
    plan: &LogicalPlan,
    table: &NumberedTable,
    scan: &impl Fn() -> DataFusionResult<LogicalPlan>,
) -> Result<LogicalPlan> {
    let inner = |input: &LogicalPlan| with_numbers(input, table, scan).map(Arc::new);
    Ok(match plan {
        LogicalPlan::TableScan(_) => scan()?,
        LogicalPlan::Filter(filter) => {
            let input = inner(&filter.input)?;
            LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), input)?)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let input = inner(&alias.input)?;
            LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(input, alias.alias.clone())?)
        }
        LogicalPlan::Limit(limit) => LogicalPlan::Limit(Limit {
            skip: limit.skip.clone(),
            fetch: limit.fetch.clone(),
            input: inner(&limit.input)?,
        }),
        LogicalPlan::Projection(projection) => {
            let input = inner(&projection.input)?;
            let mut exprs = projection.expr.clone();
            exprs.push(number_of(&input, table)?);
            LogicalPlan::Projection(Projection::try_new(exprs, input)?)
        }
        _ => {
            let why = "an UPDATE or DELETE takes its rows from its own table";
            let error = Error::new(ErrorKind::Unsupported, why);
            return Err(error.with_hint("use a subquery: WHERE id IN (SELECT …)"));
        }
    })
}

fn number_of(plan: &LogicalPlan, table: &NumberedTable) -> Result<Expr> {
    let name = table.number_column();
    let (qualifier, field) = plan.schema().qualified_field_with_unqualified_name(name)?;
    Ok(Expr::Column(Column::from((qualifier, field.as_ref()))))
}
