//! Tidegate's statements as nodes of a DataFusion logical plan.
//!
//! Invariant: a node is built only from checked values, compares and hashes by its contents, and
//! prints no secrets.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::options::{CopyOptions, RecoverOptions};
use crate::catalog::{Connection, OnConflict, OnMissing, connections_schema, secrets_schema};
use crate::error::{Error, ErrorKind};
use crate::secret::SecretValue;
use crate::sink::{Target, files_schema};
use crate::sql::ast::OptionChange;

/// `COPY … TO`: exports the rows of its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyToNode {
    /// The query.
    pub input: Arc<LogicalPlan>,
    /// Where its rows go.
    pub target: Target,
    /// The options of the statement.
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

/// The schema of the result: one column, `count`.
pub(super) fn count_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let count = Field::new("count", DataType::UInt64, false);
        let schema = Schema::new(vec![count]);
        Arc::new(DFSchema::try_from(schema).unwrap_or_else(|_| DFSchema::empty()))
    });
    &SCHEMA
}

/// The schema of the result with `RETURN = 'files'`: one row per object.
fn returned_files_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let schema = files_schema().as_ref().clone();
        Arc::new(DFSchema::try_from(schema).unwrap_or_else(|_| DFSchema::empty()))
    });
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
        if self.options.return_files {
            returned_files_schema()
        } else {
            count_schema()
        }
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CopyTo: target={}", self.target)?;
        if let Some(connection) = &self.options.connection {
            write!(f, ", connection={connection}")?;
        }
        write!(f, ", format={}", self.options.format.name())?;
        if let Some(partition) = &self.options.partition {
            write!(f, ", partition by=[{}]", partition.columns.join(", "))?;
        }
        Ok(())
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

/// A statement without input.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// `CREATE SECRET`
    CreateSecret {
        /// The name, folded.
        name: String,
        /// Where its value comes from.
        value: SecretInput,
        /// What to do if the name is taken.
        on_conflict: OnConflict,
    },
    /// `ALTER SECRET … AS`
    AlterSecret {
        /// The name, folded.
        name: String,
        /// Where its value comes from.
        value: SecretInput,
        /// What to do if there is none.
        on_missing: OnMissing,
    },
    /// `CREATE CONNECTION`
    CreateConnection {
        /// The connection, checked.
        connection: Connection,
        /// What to do if the name is taken.
        on_conflict: OnConflict,
        /// Whether to test the connection first.
        validate: bool,
    },
    /// `ALTER CONNECTION`
    AlterConnection {
        /// The name, folded.
        name: String,
        /// The changes, made together.
        changes: Vec<OptionChange>,
        /// What to do if there is none.
        on_missing: OnMissing,
        /// Whether to test the changed connection first.
        validate: bool,
    },
    /// `ALTER … RENAME TO`
    Rename {
        /// The kind of the renamed object.
        object: CatalogObject,
        /// The name, folded.
        name: String,
        /// The new name, folded.
        to: String,
        /// What to do if there is none.
        on_missing: OnMissing,
    },
    /// `DROP`
    Drop {
        /// The kind of the dropped object.
        object: CatalogObject,
        /// The name, folded.
        name: String,
        /// Whether to drop the objects that use it, too.
        cascade: bool,
        /// What to do if there is none.
        on_missing: OnMissing,
    },
    /// `SHOW SECRETS`, `SHOW CONNECTIONS`
    Show {
        /// The kind of the listed objects.
        object: CatalogObject,
        /// The pattern that names must match.
        like: Option<String>,
    },
    /// `SHOW CREATE CONNECTION`
    ShowCreateConnection {
        /// The name, folded.
        name: String,
    },
    /// `VALIDATE CONNECTION`
    ValidateConnection {
        /// The name, folded.
        name: String,
        /// The export target to test; `None` to test only the connection.
        target: Option<Target>,
    },
    /// `RECOVER EXPORT`
    RecoverExport {
        /// The target of the exports that died.
        target: Target,
        /// The options of the statement.
        options: RecoverOptions,
    },
}

/// The kinds of objects in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CatalogObject {
    /// Secrets.
    Secret,
    /// Connections.
    Connection,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretInput {
    /// The value in the statement.
    Value(SecretValue),
    /// An environment variable, read when the statement runs.
    Environment(String),
    /// A file, read when the statement runs.
    File(PathBuf),
    /// The user is asked when the statement runs.
    Prompt,
}

impl Command {
    /// The statement's command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::CreateSecret { .. } => "CREATE SECRET",
            Self::AlterSecret { .. } => "ALTER SECRET",
            Self::CreateConnection { .. } => "CREATE CONNECTION",
            Self::AlterConnection { .. } => "ALTER CONNECTION",
            Self::Rename { object, .. } => match object {
                CatalogObject::Secret => "ALTER SECRET",
                CatalogObject::Connection => "ALTER CONNECTION",
            },
            Self::Drop { object, .. } => match object {
                CatalogObject::Secret => "DROP SECRET",
                CatalogObject::Connection => "DROP CONNECTION",
            },
            Self::Show { .. } | Self::ShowCreateConnection { .. } => "SHOW",
            Self::ValidateConnection { .. } => "VALIDATE CONNECTION",
            Self::RecoverExport { .. } => "RECOVER EXPORT",
        }
    }

    /// The object of the statement, for display: the name of a secret or connection, the kind of
    /// the listed objects, or a target.
    pub fn object(&self) -> String {
        match self {
            Self::CreateSecret { name, .. }
            | Self::AlterSecret { name, .. }
            | Self::AlterConnection { name, .. }
            | Self::Rename { name, .. }
            | Self::Drop { name, .. }
            | Self::ShowCreateConnection { name } => name.clone(),
            Self::CreateConnection { connection, .. } => connection.name.clone(),
            Self::Show { object, .. } => match object {
                CatalogObject::Secret => "SECRETS".to_owned(),
                CatalogObject::Connection => "CONNECTIONS".to_owned(),
            },
            Self::ValidateConnection { name, target } => match target {
                Some(target) => format!("{name} FOR {target}"),
                None => name.clone(),
            },
            Self::RecoverExport { target, .. } => target.to_string(),
        }
    }

    /// The rows that the statement returns, with the columns of [`Self::schema`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the columns do not fit the schema.
    pub(super) fn rows(&self, columns: Vec<ArrayRef>) -> crate::error::Result<RecordBatch> {
        RecordBatch::try_new(Arc::new(self.schema()), columns).map_err(|error| {
            Error::new(ErrorKind::Internal, "the result can't be built").with_source(error)
        })
    }

    /// The columns of the rows that the statement returns; most return none.
    pub fn schema(&self) -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        match self {
            Self::RecoverExport { .. } => Schema::new(vec![
                text("export_id"),
                text("action"),
                Field::new("objects", DataType::UInt64, false),
                Field::new("bytes", DataType::UInt64, false),
            ]),
            Self::Show { object, .. } => match object {
                CatalogObject::Secret => secrets_schema(),
                CatalogObject::Connection => connections_schema(),
            },
            Self::ShowCreateConnection { .. } => {
                Schema::new(vec![text("name"), text("create_sql")])
            }
            Self::ValidateConnection {
                target: Some(_), ..
            } => Schema::new(vec![text("check"), text("status"), text("detail")]),
            _ => Schema::empty(),
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
pub struct CommandNode {
    command: Arc<Command>,
    schema: DFSchemaRef,
}

impl CommandNode {
    /// A node that runs `command`.
    ///
    /// # Errors
    /// Never in practice, because the schemas of all commands are valid.
    pub fn try_new(command: Command) -> Result<Self> {
        Ok(Self {
            schema: Arc::new(DFSchema::try_from(command.schema())?),
            command: Arc::new(command),
        })
    }

    /// The plan that runs `command`.
    ///
    /// # Errors
    /// As for [`Self::try_new`].
    pub(super) fn plan(command: Command) -> crate::error::Result<LogicalPlan> {
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(Self::try_new(command)?),
        }))
    }

    /// The command that the node runs.
    pub fn command(&self) -> &Arc<Command> {
        &self.command
    }
}

impl Eq for CommandNode {}

impl Hash for CommandNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.command.tag().hash(state);
        self.command.object().hash(state);
    }
}

impl PartialOrd for CommandNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        let key = |node: &Self| (node.command.tag(), node.command.object());
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
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.command)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}
