//! PostgreSQL's system catalog, which clients read to learn about tables, types and the server.
//!
//! Invariant: a query of the catalog has the columns, types and rows that PostgreSQL 15 has for the
//! same tables, or it fails.
//!
//! The queries of clients need what DataFusion has not: `oid` and `regclass`, arrays of queries,
//! subqueries of every kind in every place. They read some thousand rows at most. So they are run here,
//! by nested loops in memory; queries of tables never are.
//!
//! | module | what it does |
//! |---|---|
//! | `system` | the rows that every database has; types, functions and operators from them |
//! | `objects` | the tables, schemas and users of a session as rows |
//! | `activity` | what connections do, as rows |
//! | `types` | names of types; which function or operator is meant |
//! | `bind` | names and types of a query → `plan` |
//! | `run`, `aggregates` | `plan` → rows |
//! | `functions` | functions and operators |
//! | `value`, `text`, `convert` | values and their text forms |
//! | `answer` | rows as the client gets them |

mod activity;
mod aggregates;
mod answer;
mod bind;
mod convert;
mod functions;
mod objects;
mod plan;
mod run;
mod system;
mod text;
mod types;
mod value;

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::arrow;
use datafusion::sql::sqlparser::ast::{self, ObjectName, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidegate::CancellationToken;
use tidegate_extensions::format::postgres::{ValueFormat, oid};
use tidegate_extensions::sql::{ParameterValue, ScriptStatement};

use self::bind::Binder;
use self::objects::information_schema;
use self::plan::Query;
use self::run::Run;
use self::system::{PG_CATALOG, System};
use self::value::Value;
use super::fault::Fault;
use super::message::{Bind, utf8};
use super::parameters::of_binary;

pub(super) use self::answer::with_functions;
pub(super) use self::objects::{Numbers, Objects};

/// Words of queries that only the catalog understands.
const WORDS: [&str; 23] = [
    "aclexplode",
    "col_description",
    "format_type",
    "getdatabaseencoding",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_function_privilege",
    "has_schema_privilege",
    "has_table_privilege",
    "inet_client_addr",
    "inet_server_addr",
    "obj_description",
    "to_regclass",
    "to_regtype",
    "information_schema",
    "regclass",
    "regtype",
    "regproc",
    "regprocedure",
    "regnamespace",
    "regrole",
    "current_schemas",
];

/// A query of the catalog that is parsed.
#[derive(Debug, Clone)]
pub(super) struct CatalogQuery(Arc<ast::Query>);

/// The relations that a query names, and the names that its WITH gives.
#[derive(Default)]
struct Relations {
    named: Vec<Vec<String>>,
    /// The functions in FROM.
    called: Vec<Vec<String>>,
    given: Vec<String>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.given.push(cte.alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let parts = |name: &ObjectName| {
            let parts = name.0.iter().filter_map(|part| part.as_ident());
            parts.map(|part| part.value.to_lowercase()).collect()
        };
        match factor {
            TableFactor::Table {
                name, args: None, ..
            } => self.named.push(parts(name)),
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                self.called.push(parts(name));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl CatalogQuery {
    /// Whether a statement has a word that only the catalog understands.
    pub(super) fn mentions(statement: &ScriptStatement) -> bool {
        let mut tokens = statement.tokens().iter();
        tokens.any(|token| match &token.token {
            Token::Word(word) => {
                let word = word.value.to_lowercase();
                let is_known = || {
                    word == "pg_catalog"
                        || is_system(None, &word)
                        || !System::get().functions(&word).is_empty()
                };
                word.starts_with("pg_") && is_known() || WORDS.contains(&word.as_str())
            }
            _ => false,
        })
    }

    /// The query, if a statement is one that reads the catalog, and no tables.
    pub(super) fn of(statement: &ScriptStatement) -> Option<Self> {
        let tokens = statement.tokens();
        let is_query = statement.begins_with(&["SELECT"])
            || statement.begins_with(&["WITH"])
            || matches!(
                tokens.first().map(|token| &token.token),
                Some(Token::LParen)
            );
        if !is_query || !Self::mentions(statement) {
            return None;
        }
        let mut parser =
            Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens.to_vec());
        let query = parser.parse_query().ok()?;
        if parser.peek_token().token != Token::EOF {
            return None;
        }
        let mut relations = Relations::default();
        let _ = query.visit(&mut relations);
        let is_catalog = relations.named.iter().all(|parts| match parts.as_slice() {
            [name] => relations.given.contains(name) || is_system(None, name),
            [schema, name] | [_, schema, name] => is_system(Some(schema), name),
            _ => false,
        });
        let mut called = relations.called.iter().filter_map(|parts| parts.last());
        let are_functions = called.all(|name| !System::get().functions(name).is_empty());
        (is_catalog && are_functions).then(|| Self(Arc::from(query)))
    }

    /// Gives the query's names their columns and types. `types` are those that the client has declared
    /// for its parameters; 0 stands for none.
    ///
    /// # Errors
    /// A name is unknown, a type does not fit, or a feature is not supported.
    pub(super) fn plan(&self, objects: Arc<Objects>, types: &[u32]) -> Result<CatalogPlan, Fault> {
        let types = types.iter().map(|of| match *of {
            oid::UNKNOWN => 0,
            of => of,
        });
        let mut binder = Binder::new(&objects, types.collect());
        let query = binder.query(&self.0)?;
        let types = binder.parameters.iter().map(|of| match *of {
            0 => oid::TEXT,
            of => of,
        });
        Ok(CatalogPlan {
            parameters: types.collect(),
            values: Vec::new(),
            schema: answer::schema(&query.outputs),
            query: Arc::new(query),
            objects,
        })
    }
}

/// Whether a relation is the system's.
fn is_system(schema: Option<&String>, name: &str) -> bool {
    let system = System::get();
    let namespace = match schema.map(String::as_str) {
        None | Some("pg_catalog") => Some(PG_CATALOG),
        Some("information_schema") => information_schema(),
        Some(_) => return false,
    };
    namespace.is_some_and(|namespace| system.relation(namespace, name).is_some())
}

/// A query of the catalog that can be run.
#[derive(Clone)]
pub(super) struct CatalogPlan {
    query: Arc<Query>,
    objects: Arc<Objects>,
    /// The types of its parameters.
    pub(super) parameters: Vec<u32>,
    values: Vec<Value>,
    pub(super) schema: Schema,
}

impl CatalogPlan {
    /// Gives the parameters the values that the client has sent.
    ///
    /// # Errors
    /// 08P01 for a wrong number of them, 22P02 for one that is not of its type.
    pub(super) fn with_values(mut self, bind: &Bind) -> Result<Self, Fault> {
        let formats = super::query::parameter_formats(bind, self.parameters.len())?;
        let values = bind.parameters.iter().zip(&self.parameters).zip(formats);
        let values = values.map(|((bytes, of), format)| {
            let Some(bytes) = bytes else {
                return Ok(Value::Null);
            };
            match format {
                ValueFormat::Text => text::read(*of, &utf8(bytes)?, &self.objects),
                ValueFormat::Binary => {
                    let value = of_binary(*of, bytes.clone())?;
                    self.value(*of, &value)
                }
            }
        });
        self.values = values.collect::<Result<_, Fault>>()?;
        Ok(self)
    }

    fn value(&self, of: u32, value: &ParameterValue) -> Result<Value, Fault> {
        Ok(match value {
            ParameterValue::Null => Value::Null,
            ParameterValue::Boolean(value) => Value::Bool(*value),
            ParameterValue::Number(text) | ParameterValue::Text(text) => {
                text::read(of, text, &self.objects)?
            }
            ParameterValue::Array(values) => {
                let element = self.objects.element_type(of);
                let values = values.iter().map(|value| self.value(element, value));
                Value::List(values.collect::<Result<_, Fault>>()?)
            }
            ParameterValue::Bytes(_) => return Err(bind::unsupported("a parameter of type bytea")),
        })
    }

    /// Refuses binary forms that columns don't have.
    ///
    /// # Errors
    /// 0A000 for a column whose values can be sent as texts only.
    pub(super) fn check_formats(&self, formats: &[ValueFormat]) -> Result<(), Fault> {
        let columns = self.query.outputs.iter().zip(formats);
        let found = columns
            .filter(|(_, format)| **format == ValueFormat::Binary)
            .find(|(output, _)| !answer::has_binary(output.type_oid));
        match found {
            None => Ok(()),
            Some((output, _)) => {
                let name = types::type_text(output.type_oid, i32::MIN, &self.objects);
                let why = format!(
                    "column \"{}\" of type {name} can't be sent in binary form",
                    output.name
                );
                Err(Fault::new("0A000", why).with_hint("cast it to text, or ask for text"))
            }
        }
    }

    /// Runs the query.
    ///
    /// # Errors
    /// Errors of its expressions; 57014 if `token` is cancelled.
    pub(super) fn run(&self, token: &CancellationToken) -> Result<RecordBatch, Fault> {
        let run = Run::new(&self.objects, &self.values, token);
        let rows = run.query(&self.query, None)?;
        answer::batch(&self.schema, &self.query.outputs, &rows, &self.objects)
    }
}
