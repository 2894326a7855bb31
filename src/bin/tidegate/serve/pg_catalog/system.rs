//! The rows that every database of PostgreSQL 15 has: its types, functions, operators, and the tables
//! and views of the catalog itself.
//!
//! Invariant: rows are those of a new PostgreSQL 15, as `postgres15/dump` has written them. What is
//! known about types, functions and tables is read from them, and from nowhere else.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use tidegate_extensions::format::postgres::{array_elements, oid};

use super::value::{Row, Value};

/// The number of the schema `pg_catalog`.
pub(super) const PG_CATALOG: u32 = 11;
/// The number of the schema `public`.
pub(super) const PUBLIC: u32 = 2200;
/// Whether names without a schema are looked up in a schema.
pub(super) fn is_on_path(schema: u32) -> bool {
    matches!(schema, PG_CATALOG | PUBLIC)
}

/// The function that gives the elements of arrays.
const ARRAY_SUBSCRIPTS: u32 = 6179;
/// The least number of an object that is not the system's.
pub(super) const FIRST_OWN: u32 = 16384;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("postgres15/", $name, ".tsv")))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attribute",
    "pg_auth_members",
    "pg_authid",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_depend",
    "pg_description",
    "pg_extension",
    "pg_index",
    "pg_init_privs",
    "pg_language",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_proc",
    "pg_range",
    "pg_rewrite",
    "pg_tablespace",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
];

const VIEWS: &str = include_str!("postgres15/views.tsv");
const KEYWORDS: &str = include_str!("postgres15/keywords.tsv");

/// A type.
#[derive(Debug, Clone)]
pub(super) struct Type {
    pub(super) name: String,
    pub(super) namespace: u32,
    pub(super) category: u8,
    pub(super) is_preferred: bool,
    /// The type of its elements, or of what a subscript gives; 0 for none.
    pub(super) element: u32,
    pub(super) is_array: bool,
    /// The type of its arrays; 0 for none.
    pub(super) array: u32,
    /// The type that it is a domain of; 0 for none.
    base: u32,
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) namespace: u32,
    pub(super) arguments: Vec<u32>,
    /// How many of the last arguments may be left out.
    pub(super) defaults: usize,
    /// The last argument takes all others.
    pub(super) is_variadic: bool,
    pub(super) returns: u32,
    /// The names and types of the columns that it returns.
    pub(super) columns: Vec<(String, u32)>,
    /// NULL for an argument that is NULL.
    pub(super) is_strict: bool,
    /// `f`, `p`, `a` or `w`.
    pub(super) kind: u8,
}

/// An operator. A prefix operator has 0 for its left type.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) returns: u32,
}

/// A column of a system table or view.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) type_oid: u32,
    is_required: bool,
}

/// A system table or view.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) namespace: u32,
    pub(super) columns: Vec<Column>,
    rows: OnceLock<Vec<Row>>,
}

/// Everything that is the same for all databases.
pub(super) struct System {
    pub(super) types: HashMap<u32, Type>,
    relations: HashMap<(u32, String), Relation>,
    functions: HashMap<String, Vec<Function>>,
    operators: HashMap<String, Vec<Operator>>,
    /// The context of a cast: `i`mplicit, in an `a`ssignment, or `e`xplicit.
    casts: HashMap<(u32, u32), u8>,
    views: HashMap<u32, String>,
    keywords: Vec<Row>,
    /// The names of functions, with their places among those of the same name.
    numbered: HashMap<u32, (String, usize)>,
}

static SYSTEM: LazyLock<System> = LazyLock::new(System::load);

/// The rows of a file, each with its fields. `None` is NULL.
fn fields(text: &str) -> impl Iterator<Item = Vec<Option<String>>> {
    text.lines()
        .map(|line| line.split('\t').map(unescaped).collect())
}

/// A field of PostgreSQL's text format.
fn unescaped(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(char) = chars.next() {
        text.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            char => char,
        });
    }
    Some(text)
}

fn file(name: &str) -> &'static str {
    let found = FILES.iter().find(|(of, _)| *of == name);
    found.map_or("", |(_, text)| *text)
}

fn number(field: &Option<String>) -> u32 {
    let parsed = field.as_deref().and_then(|text| text.parse().ok());
    parsed.unwrap_or(0)
}

fn text(field: &Option<String>) -> String {
    field.clone().unwrap_or_default()
}

fn letter(field: &Option<String>) -> u8 {
    let first = field.as_deref().and_then(|text| text.bytes().next());
    first.unwrap_or(0)
}

fn is_true(field: &Option<String>) -> bool {
    field.as_deref() == Some("t")
}

fn numbers(field: &Option<String>) -> Vec<u32> {
    let words = field.as_deref().unwrap_or("").split_ascii_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The elements of an array; none if it is NULL.
fn elements(field: &Option<String>) -> Vec<String> {
    let elements = field.as_deref().and_then(array_elements);
    elements.unwrap_or_default().into_iter().flatten().collect()
}

impl System {
    pub(super) fn get() -> &'static Self {
        &SYSTEM
    }

    /// The positions of fields are those of the columns in PostgreSQL 15:
    /// <https://www.postgresql.org/docs/15/catalogs.html>
    fn load() -> Self {
        let types: HashMap<u32, Type> = fields(file("pg_type"))
            .map(|row| {
                let of = Type {
                    name: text(&row[1]),
                    namespace: number(&row[2]),
                    category: letter(&row[7]),
                    is_preferred: is_true(&row[8]),
                    element: number(&row[13]),
                    is_array: number(&row[12]) == ARRAY_SUBSCRIPTS,
                    array: number(&row[14]),
                    base: number(&row[25]),
                };
                (number(&row[0]), of)
            })
            .collect();
        let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
        for row in fields(file("pg_attribute")) {
            let is_system = row[5].as_deref().is_some_and(|text| text.starts_with('-'));
            if is_system {
                continue;
            }
            columns.entry(number(&row[0])).or_default().push(Column {
                name: text(&row[1]),
                type_oid: number(&row[2]),
                is_required: is_true(&row[13]),
            });
        }
        let relations = fields(file("pg_class"))
            .filter(|row| matches!(letter(&row[16]), b'r' | b'v'))
            .map(|row| {
                let relation = Relation {
                    oid: number(&row[0]),
                    name: text(&row[1]),
                    namespace: number(&row[2]),
                    columns: columns.remove(&number(&row[0])).unwrap_or_default(),
                    rows: OnceLock::new(),
                };
                ((relation.namespace, relation.name.clone()), relation)
            });
        let mut functions: HashMap<String, Vec<Function>> = HashMap::new();
        for row in fields(file("pg_proc")) {
            let function = function(&row);
            let named = functions.entry(function.name.clone()).or_default();
            named.push(function);
        }
        let mut operators: HashMap<String, Vec<Operator>> = HashMap::new();
        for row in fields(file("pg_operator")) {
            operators.entry(text(&row[1])).or_default().push(Operator {
                left: number(&row[7]),
                right: number(&row[8]),
                returns: number(&row[9]),
            });
        }
        let casts = fields(file("pg_cast"))
            .map(|row| ((number(&row[1]), number(&row[2])), letter(&row[4])));
        let views = fields(VIEWS).map(|row| (number(&row[0]), text(&row[1])));
        let numbered = functions.values().flat_map(|named| {
            let named = named.iter().enumerate();
            named.map(|(place, function)| (function.oid, (function.name.clone(), place)))
        });
        Self {
            types,
            relations: relations.collect(),
            numbered: numbered.collect(),
            functions,
            operators,
            casts: casts.collect(),
            views: views.collect(),
            keywords: fields(KEYWORDS).map(keyword).collect(),
        }
    }

    /// The base type of a domain, or the type itself.
    pub(super) fn base_type(&self, type_oid: u32) -> u32 {
        match self.types.get(&type_oid) {
            Some(of) if of.base != 0 => self.base_type(of.base),
            _ => type_oid,
        }
    }

    /// The type with a name in the system's schemas.
    pub(super) fn type_named(&self, namespace: Option<u32>, name: &str) -> Option<u32> {
        let found = self.types.iter().find(|(_, of)| {
            of.name == name
                && match namespace {
                    Some(namespace) => of.namespace == namespace,
                    None => of.namespace == PG_CATALOG,
                }
        });
        found.map(|(type_oid, _)| *type_oid)
    }

    pub(super) fn relation(&self, namespace: u32, name: &str) -> Option<&Relation> {
        self.relations.get(&(namespace, name.to_owned()))
    }

    pub(super) fn functions(&self, name: &str) -> &[Function] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn function(&self, number: u32) -> Option<&Function> {
        let (name, place) = self.numbered.get(&number)?;
        self.functions(name).get(*place)
    }

    /// The rows of `pg_get_keywords`.
    pub(super) fn keywords(&self) -> &[Row] {
        &self.keywords
    }

    pub(super) fn operators(&self, name: &str) -> &[Operator] {
        self.operators.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn cast(&self, from: u32, to: u32) -> Option<u8> {
        self.casts.get(&(from, to)).copied()
    }

    /// The query of a view.
    pub(super) fn view(&self, relation: u32) -> Option<&str> {
        self.views.get(&relation).map(String::as_str)
    }
}

fn keyword(fields: Vec<Option<String>>) -> Row {
    let values = fields.into_iter().enumerate().map(|(place, field)| {
        let text = field.unwrap_or_default();
        match place {
            2 => Value::Bool(text == "t"),
            _ => Value::text(text),
        }
    });
    values.collect()
}

fn function(row: &[Option<String>]) -> Function {
    let all = elements(&row[20]);
    let modes = elements(&row[21]);
    let names = elements(&row[22]);
    let columns = all.iter().enumerate().filter_map(|(place, type_oid)| {
        let mode = modes.get(place).map_or("i", String::as_str);
        let name = names.get(place).cloned().unwrap_or_default();
        matches!(mode, "o" | "t").then(|| (name, type_oid.parse().unwrap_or(0)))
    });
    Function {
        oid: number(&row[0]),
        name: text(&row[1]),
        namespace: number(&row[2]),
        arguments: numbers(&row[19]),
        defaults: number(&row[17]) as usize,
        is_variadic: number(&row[7]) != 0,
        returns: number(&row[18]),
        columns: columns.collect(),
        is_strict: is_true(&row[12]),
        kind: letter(&row[9]),
    }
}

impl Relation {
    /// The place of a column.
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|of| of.name == column)
    }

    /// The rows that every database has.
    pub(super) fn system_rows(&self) -> &[Row] {
        self.rows.get_or_init(|| {
            if self.namespace != PG_CATALOG {
                return Vec::new();
            }
            let rows = fields(file(&self.name)).map(|row| {
                let values = row.into_iter().zip(&self.columns);
                let values = values.map(|(field, column)| match field {
                    Some(text) => value(column.type_oid, &text),
                    None => Value::Null,
                });
                values.collect()
            });
            rows.collect()
        })
    }

    /// A row with some values. Other columns are NULL, or empty if they must not be NULL.
    pub(super) fn row(&self, values: &[(&str, Value)]) -> Row {
        let columns = self.columns.iter().map(|column| {
            let given = values.iter().find(|(name, _)| *name == column.name);
            match given {
                Some((_, value)) => value.clone(),
                None if !column.is_required => Value::Null,
                None => empty(column.type_oid),
            }
        });
        columns.collect()
    }
}

fn empty(type_oid: u32) -> Value {
    match type_oid {
        oid::BOOL => Value::Bool(false),
        oid::NAME | oid::TEXT | oid::CHAR => Value::text(""),
        oid::FLOAT4 | oid::FLOAT8 => Value::Float(0.0),
        oid::INT2VECTOR | oid::OIDVECTOR => Value::list([]),
        _ => Value::Int(0),
    }
}

/// A value of a file.
fn value(type_oid: u32, text: &str) -> Value {
    match type_oid {
        oid::BOOL => Value::Bool(text == "t"),
        oid::INT2 | oid::INT4 | oid::INT8 | oid::OID | oid::XID | oid::REGPROC => {
            Value::Int(text.parse().unwrap_or(0))
        }
        oid::FLOAT4 | oid::FLOAT8 => Value::Float(text.parse().unwrap_or(0.0)),
        oid::INT2VECTOR | oid::OIDVECTOR => {
            let words = text.split_ascii_whitespace();
            Value::list(words.map(|word| Value::Int(word.parse().unwrap_or(0))))
        }
        _ => match array_elements(text) {
            Some(elements) if is_array(type_oid) => {
                let of = System::get()
                    .types
                    .get(&type_oid)
                    .map_or(0, |of| of.element);
                Value::list(elements.iter().map(|element| match element {
                    Some(text) => value(of, text),
                    None => Value::Null,
                }))
            }
            _ => Value::Text(Arc::from(text)),
        },
    }
}

/// Whether a type is an array: not a vector, and not a text of fixed length.
pub(super) fn is_array(type_oid: u32) -> bool {
    let found = System::get().types.get(&type_oid);
    found.is_some_and(|of| {
        of.category == b'A' && !matches!(type_oid, oid::INT2VECTOR | oid::OIDVECTOR)
    })
}
