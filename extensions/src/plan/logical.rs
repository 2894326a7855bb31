//! Tidegate's statements as nodes of a DataFusion logical plan.
//!
//! Invariant: a node is complete and checked when it is built, compares and hashes by what it does,
//! and prints without secrets.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::catalog::{Connection, OnConflict};
use crate::secret::SecretValue;
use crate::sink::{CopyOptions, Target};

/// `COPY … TO`: exports the rows of its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyToNode {
    /// The query.
    pub input: Arc<LogicalPlan>,
    /// Where its rows go.
    pub target: Target,
    /// How.
    pub options: CopyOptions,
    /// The statement as text, for the export's bookkeeping.
    pub statement: String,
}

impl PartialOrd for CopyToNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |node: &Self| (node.target.clone(), node.options.clone());
        let by_key = key(self).cmp(&key(other));
        if by_key != Ordering::Equal {
            return Some(by_key);
        }
        self.input.partial_cmp(&other.input)
    }
}

/// One column, `count`.
fn count_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let count = Field::new("count", DataType::UInt64, false);
        let schema = Schema::new(vec![count]);
        Arc::new(DFSchema::try_from(schema).unwrap_or_else(|_| DFSchema::empty()))
    });
    &SCHEMA
}

fn empty_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| Arc::new(DFSchema::empty()));
    &SCHEMA
}

impl UserDefinedLogicalNodeCore for CopyToNode {
    fn name(&self) -> &str {
        "CopyTo"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        count_schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "CopyTo: target={}, connection={}, format={}",
            self.target,
            self.options.connection,
            self.options.file_format().name()
        )
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut node = self.clone();
        if let Some(input) = inputs.into_iter().next() {
            node.input = Arc::new(input);
        }
        Ok(node)
    }

    /// Every column of the input is written, so none may be pruned.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// A statement without input and without rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `CREATE SECRET`
    CreateSecret {
        /// The name, folded.
        name: String,
        /// The value.
        value: SecretValue,
        /// What to do if the name is taken.
        on_conflict: OnConflict,
    },
    /// `CREATE CONNECTION`
    CreateConnection {
        /// The connection, checked.
        connection: Connection,
        /// What to do if the name is taken.
        on_conflict: OnConflict,
    },
    /// `VALIDATE CONNECTION`
    ValidateConnection {
        /// The name, folded.
        name: String,
    },
}

impl Command {
    /// The statement's command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::CreateSecret { .. } => "CREATE SECRET",
            Self::CreateConnection { .. } => "CREATE CONNECTION",
            Self::ValidateConnection { .. } => "VALIDATE CONNECTION",
        }
    }

    /// What the statement is about.
    pub fn object(&self) -> &str {
        match self {
            Self::CreateSecret { name, .. } | Self::ValidateConnection { name } => name,
            Self::CreateConnection { connection, .. } => &connection.name,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.tag(), self.object())
    }
}

/// A [`Command`] in a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandNode(pub Arc<Command>);

impl Eq for CommandNode {}

impl Hash for CommandNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.tag().hash(state);
        self.0.object().hash(state);
    }
}

impl PartialOrd for CommandNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        let key = |node: &Self| (node.0.tag(), node.0.object().to_owned());
        Some(key(self).cmp(&key(other))).filter(|order| *order != Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for CommandNode {
    fn name(&self) -> &str {
        "Command"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        empty_schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.0)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}
