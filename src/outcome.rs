//! The result of a statement.
//!
//! Invariant: the command tag is PostgreSQL's for the same statement, if it has one. Exceptions:
//! `CREATE TABLE … AS` has the tag `CREATE TABLE`, and `SHOW` has `SELECT` with a row count.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement, WriteOp};
use tidegate_extensions::plan::{Change, ChangeNode, CommandNode, CopyOutNode, CopyToNode};
use tidegate_extensions::sink::ExportReport;

/// The result of a statement.
#[derive(Debug, Clone)]
pub struct Outcome {
    tag: String,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    export: Option<ExportReport>,
}

impl Outcome {
    pub(crate) fn new(
        tag: String,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        export: Option<ExportReport>,
    ) -> Self {
        Self {
            tag,
            schema,
            batches,
            export,
        }
    }

    /// The command tag, as in PostgreSQL: `CREATE SECRET`, `COPY 6001215`, `SELECT 3`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The schema of the rows. It has no columns if the statement returns no rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Whether the statement returns rows at all.
    pub fn has_rows(&self) -> bool {
        !self.schema.fields().is_empty()
    }

    /// The report of an export. None for other statements.
    pub fn export(&self) -> Option<&ExportReport> {
        self.export.as_ref()
    }
}

/// How the command tag of a statement is built.
#[derive(Debug, Clone)]
pub(crate) enum Tag {
    /// The words alone.
    Plain(String),
    /// The words and the number of rows returned; the rows are the result.
    Rows(&'static str),
    /// The words and the count that the statement returns as its only row.
    Count(&'static str),
    /// The words and the sum of the files' row counts. The rows are the files.
    Files(&'static str),
    /// The words and the number of rows in the lines. The rows hold the lines.
    Lines(&'static str),
}

impl Tag {
    pub(crate) fn of(plan: &LogicalPlan) -> Self {
        let plain = |words: &str| Tag::Plain(words.to_owned());
        match plan {
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(copy) = node.downcast_ref::<CopyToNode>() {
                    return match copy.options.return_files {
                        true => Tag::Files("COPY"),
                        false => Tag::Count("COPY"),
                    };
                }
                if node.is::<CopyOutNode>() {
                    return Tag::Lines("COPY");
                }
                if let Some(node) = node.downcast_ref::<ChangeNode>() {
                    return match node.change {
                        Change::Truncate => plain(node.change.tag()),
                        Change::Delete | Change::Update => Tag::Count(node.change.tag()),
                    };
                }
                match node.downcast_ref::<CommandNode>() {
                    Some(node) => plain(node.command().tag()),
                    None => Tag::Rows("SELECT"),
                }
            }
            LogicalPlan::Ddl(ddl) => plain(ddl_words(ddl)),
            LogicalPlan::Dml(dml) => match dml.op {
                WriteOp::Insert(_) => Tag::Count("INSERT 0"),
                WriteOp::Delete => Tag::Count("DELETE"),
                WriteOp::Update => Tag::Count("UPDATE"),
                _ => Tag::Count("OK"),
            },
            LogicalPlan::Copy(_) => Tag::Count("COPY"),
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => plain("EXPLAIN"),
            LogicalPlan::Statement(Statement::SetVariable(_)) => plain("SET"),
            LogicalPlan::Statement(Statement::ResetVariable(_)) => plain("RESET"),
            LogicalPlan::Statement(Statement::Prepare(_)) => plain("PREPARE"),
            LogicalPlan::Statement(Statement::Deallocate(_)) => plain("DEALLOCATE"),
            LogicalPlan::Statement(Statement::TransactionStart(_)) => plain("BEGIN"),
            LogicalPlan::Statement(Statement::TransactionEnd(_)) => plain("COMMIT"),
            _ => Tag::Rows("SELECT"),
        }
    }

    /// Whether the rows of the statement are a result to show.
    pub(crate) fn returns_rows(&self) -> bool {
        !matches!(self, Self::Count(_) | Self::Lines(_))
    }

    /// The words that the tag begins with.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Plain(words) => words,
            Self::Rows(words) | Self::Count(words) | Self::Files(words) | Self::Lines(words) => {
                words
            }
        }
    }
}

fn ddl_words(ddl: &DdlStatement) -> &'static str {
    match ddl {
        DdlStatement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE",
        DdlStatement::CreateMemoryTable(_) => "CREATE TABLE",
        DdlStatement::CreateView(_) => "CREATE VIEW",
        DdlStatement::CreateCatalogSchema(_) => "CREATE SCHEMA",
        DdlStatement::CreateCatalog(_) => "CREATE DATABASE",
        DdlStatement::CreateIndex(_) => "CREATE INDEX",
        DdlStatement::DropTable(_) => "DROP TABLE",
        DdlStatement::DropView(_) => "DROP VIEW",
        DdlStatement::DropCatalogSchema(_) => "DROP SCHEMA",
        DdlStatement::CreateFunction(_) => "CREATE FUNCTION",
        DdlStatement::DropFunction(_) => "DROP FUNCTION",
    }
}
