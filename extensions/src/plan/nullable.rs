//! The columns of `CREATE TABLE … AS`.
//!
//! Invariant: a column takes NULL unless it is declared NOT NULL, as in PostgreSQL. DataFusion
//! declares a column NOT NULL if the query's result has no NULL there, so that a later `INSERT` of
//! NULL fails.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Column;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, CreateMemoryTable, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::parser::Statement as DataFusionStatement;
use sqlparser::ast::{ColumnOption, Statement as SqlStatement};

use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};

/// The columns that a `CREATE TABLE` declares NOT NULL.
pub(super) fn not_null_columns(statement: &DataFusionStatement) -> Vec<String> {
    let DataFusionStatement::Statement(statement) = statement else {
        return Vec::new();
    };
    let SqlStatement::CreateTable(create) = statement.as_ref() else {
        return Vec::new();
    };
    let columns = create.columns.iter().filter(|column| {
        column.options.iter().any(|option| {
            matches!(
                option.option,
                ColumnOption::NotNull | ColumnOption::PrimaryKey(_)
            )
        })
    });
    columns.map(|column| fold(&column.name)).collect()
}

/// Lets every column take NULL, except for `not_null`.
pub(super) fn take_null(create: &mut CreateMemoryTable, not_null: &[String]) -> Result<()> {
    if matches!(*create.input, LogicalPlan::EmptyRelation(_)) {
        // No query: the columns are as declared.
        return Ok(());
    }
    let input = Arc::clone(&create.input);
    let columns = input.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match field.is_nullable() || not_null.contains(field.name()) {
            true => column,
            false => NULLABLE
                .call(vec![column])
                .alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    let plan = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    create.input = Arc::new(plan);
    Ok(())
}

static NULLABLE: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(Nullable::new()));

/// Returns its argument, as a value that may be NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable {
    signature: Signature,
}

impl Nullable {
    fn new() -> Self {
        // Calls with constants of any other function are folded, and are NOT NULL again.
        let signature = Signature::any(1, Volatility::Volatile);
        Self { signature }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "nullable has one argument")
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        "nullable"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(types.first().cloned().ok_or_else(broken)?)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let field = args.arg_fields.first().ok_or_else(broken)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Ok(args.args.into_iter().next().ok_or_else(broken)?)
    }
}
