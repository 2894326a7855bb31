//! The schemas, tables and users of a session, as rows of the system catalog.
//!
//! Invariant: an object keeps its number as long as its connection lasts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::TableProvider;
use datafusion::common::Constraint;
use datafusion::logical_expr::TableType;
use tidegate::Session;
use tidegate_extensions::format::postgres::pg_type;

use super::system::{FIRST_OWN, PG_CATALOG, PUBLIC, Relation, System};
use super::value::{Row, Value};
use crate::serve::backends::Backend;
use crate::serve::server::Server;
use crate::serve::settings::Settings;
use crate::serve::users::{Role, User};

/// The number of the role that owns everything: the session's user.
pub(super) const OWNER: u32 = 10;
/// The number of the database.
pub(super) const DATABASE: u32 = 5;
/// The numbers of tables that rows refer to.
pub(super) const PG_CLASS: u32 = 1259;
const PG_TYPE: u32 = 1247;
const PG_CONSTRAINT: u32 = 2606;
const PG_NAMESPACE: u32 = 2615;
const PG_TOAST: u32 = 99;
const HEAP: u32 = 2;
const BTREE: u32 = 403;

/// The type of lists of privileges, and the user whom the system's name.
const ACL_ITEMS: u32 = 1034;
const MAKER: &str = "postgres";

/// The columns that every table has, with the numbers of their types.
/// <https://www.postgresql.org/docs/15/ddl-system-columns.html>
const SYSTEM_COLUMNS: [(&str, u32, i64); 6] = [
    ("tableoid", 26, -6),
    ("cmax", 29, -5),
    ("xmax", 28, -4),
    ("cmin", 29, -3),
    ("xmin", 28, -2),
    ("ctid", 27, -1),
];

/// The names of the schemas that are PostgreSQL's here, not DataFusion's.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

/// Gives numbers to the objects of a connection.
#[derive(Debug, Default)]
pub(in crate::serve) struct Numbers {
    given: HashMap<String, u32>,
}

impl Numbers {
    fn of(&mut self, kind: &str, name: &str) -> u32 {
        let next = FIRST_OWN + u32::try_from(self.given.len()).unwrap_or(0);
        *self.given.entry(format!("{kind} {name}")).or_insert(next)
    }
}

/// A schema.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) oid: u32,
    pub(super) name: String,
}

/// A column of a table.
#[derive(Debug)]
struct Field {
    name: String,
    type_oid: u32,
    modifier: i32,
    is_required: bool,
    default: Option<String>,
}

/// A primary or unique key, with its index.
#[derive(Debug)]
struct Key {
    oid: u32,
    index: u32,
    name: String,
    is_primary: bool,
    /// The numbers of its columns, from 1.
    columns: Vec<i64>,
}

/// A table or view.
#[derive(Debug)]
struct Table {
    oid: u32,
    type_oid: u32,
    array_oid: u32,
    schema: u32,
    name: String,
    is_view: bool,
    definition: Option<String>,
    fields: Vec<Field>,
    keys: Vec<Key>,
}

/// A user.
#[derive(Debug)]
struct RoleEntry {
    oid: u32,
    name: String,
    is_admin: bool,
}

/// What a session has, at the time it was asked.
pub(in crate::serve) struct Objects {
    pub(super) server: Arc<Server>,
    pub(super) settings: Arc<Mutex<Settings>>,
    pub(super) user: User,
    pub(super) database: String,
    pub(super) pid: i32,
    pub(super) schemas: Vec<Schema>,
    tables: Vec<Table>,
    roles: Vec<RoleEntry>,
    /// The rows of the system tables that were read, by the tables' numbers.
    rows: Mutex<HashMap<u32, Arc<Vec<Row>>>>,
}

impl Objects {
    /// A session without tables.
    pub(in crate::serve) fn new(
        server: &Arc<Server>,
        settings: &Arc<Mutex<Settings>>,
        user: &User,
        backend: &Backend,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            settings: Arc::clone(settings),
            user: user.clone(),
            database: backend.client.database.clone(),
            pid: backend.pid,
            schemas: Vec::new(),
            tables: Vec::new(),
            roles: Vec::new(),
            rows: Mutex::default(),
        }
    }

    /// Reads the session's schemas and tables, and the users.
    ///
    /// # Errors
    /// A table can't be opened, or the file of users can't be read.
    pub(in crate::serve) async fn with_tables(
        mut self,
        session: &Session,
        numbers: &mut Numbers,
    ) -> tidegate::Result<Self> {
        let state = session.context().state();
        let default = &state.config_options().catalog.default_catalog;
        if let Some(catalog) = session.context().catalog(default) {
            let mut names = catalog.schema_names();
            names.sort_unstable();
            for name in names {
                let Some(schema) = catalog.schema(&name) else {
                    continue;
                };
                if SYSTEM_SCHEMAS.contains(&name.as_str()) {
                    continue;
                }
                let number = match name.as_str() {
                    "public" => PUBLIC,
                    name => numbers.of("schema", name),
                };
                let mut table_names = schema.table_names();
                table_names.sort_unstable();
                for table_name in table_names {
                    let found = schema
                        .table(&table_name)
                        .await
                        .map_err(tidegate::Error::from)?;
                    if let Some(provider) = found {
                        let full = format!("{name} {table_name}");
                        self.tables.push(table(
                            numbers,
                            number,
                            &full,
                            table_name,
                            provider.as_ref(),
                        ));
                    }
                }
                if number != PUBLIC {
                    self.schemas.push(Schema { oid: number, name });
                }
            }
        }
        self.roles = vec![RoleEntry {
            oid: OWNER,
            name: self.user.name.clone(),
            is_admin: self.user.role == Role::Admin,
        }];
        for other in self.server.users.read()? {
            if other.name != self.user.name {
                self.roles.push(RoleEntry {
                    oid: numbers.of("role", &other.name),
                    is_admin: other.role == Role::Admin,
                    name: other.name,
                });
            }
        }
        Ok(self)
    }

    /// The number of a schema.
    pub(super) fn schema_number(&self, name: &str) -> Option<u32> {
        match name {
            "pg_catalog" => Some(PG_CATALOG),
            "public" => Some(PUBLIC),
            "information_schema" => information_schema(),
            "pg_toast" => Some(PG_TOAST),
            name => {
                let found = self.schemas.iter().find(|schema| schema.name == name);
                found.map(|schema| schema.oid)
            }
        }
    }

    pub(super) fn schema_name(&self, number: u32) -> Option<&str> {
        if number == PG_CATALOG {
            return Some("pg_catalog");
        }
        if number == PUBLIC {
            return Some("public");
        }
        if number == PG_TOAST {
            return Some("pg_toast");
        }
        if Some(number) == information_schema() {
            return Some("information_schema");
        }
        let found = self.schemas.iter().find(|schema| schema.oid == number);
        found.map(|schema| schema.name.as_str())
    }

    /// The number of a role.
    pub(super) fn role_number(&self, name: &str) -> Option<u32> {
        let found = self.roles.iter().find(|role| role.name == name);
        let system = || system_roles().iter().find(|row| row[1].as_text() == name);
        found
            .map(|role| role.oid)
            .or_else(|| system().map(|row| row[0].as_oid()))
    }

    pub(super) fn role_name(&self, number: u32) -> Option<&str> {
        let found = self.roles.iter().find(|role| role.oid == number);
        let system = || system_roles().iter().find(|row| row[0].as_oid() == number);
        found
            .map(|role| role.name.as_str())
            .or_else(|| system().map(|row| row[1].as_text()))
    }

    /// The number of a table, view or index. Without a schema it is looked up as PostgreSQL does: in
    /// `pg_catalog`, then in `public`.
    pub(super) fn relation_number(&self, schema: Option<&str>, name: &str) -> Option<u32> {
        let namespaces = match schema {
            Some(schema) => vec![self.schema_number(schema)?],
            None => vec![PG_CATALOG, PUBLIC],
        };
        namespaces.into_iter().find_map(|namespace| {
            let system = System::get().relation(namespace, name);
            let own = || {
                let mut own = self.tables.iter().filter(|table| table.schema == namespace);
                own.find_map(|table| match table.name == name {
                    true => Some(table.oid),
                    false => {
                        let key = table.keys.iter().find(|key| key.name == name);
                        key.map(|key| key.index)
                    }
                })
            };
            system.map(|relation| relation.oid).or_else(own)
        })
    }

    /// The schema and the name of a table, view or index.
    pub(super) fn relation_name(&self, number: u32) -> Option<(u32, String)> {
        for table in &self.tables {
            if table.oid == number {
                return Some((table.schema, table.name.clone()));
            }
            if let Some(key) = table.keys.iter().find(|key| key.index == number) {
                return Some((table.schema, key.name.clone()));
            }
        }
        let pg_class = System::get().relation(PG_CATALOG, "pg_class")?;
        let found = pg_class
            .system_rows()
            .iter()
            .find(|row| row[0].as_oid() == number)?;
        Some((found[2].as_oid(), found[1].as_text().to_owned()))
    }

    /// The schema and the name of a type.
    pub(super) fn type_name(&self, number: u32) -> Option<(u32, String)> {
        if let Some(of) = System::get().types.get(&number) {
            return Some((of.namespace, of.name.clone()));
        }
        self.tables.iter().find_map(|table| {
            if table.type_oid == number {
                return Some((table.schema, table.name.clone()));
            }
            (table.array_oid == number).then(|| (table.schema, format!("_{}", table.name)))
        })
    }

    /// The type of the elements of an array type; 0 for another type.
    pub(super) fn element_type(&self, number: u32) -> u32 {
        match System::get().types.get(&number) {
            Some(of) if of.is_array => of.element,
            Some(_) => 0,
            None => {
                let found = self.tables.iter().find(|table| table.array_oid == number);
                found.map_or(0, |table| table.type_oid)
            }
        }
    }

    /// The number of the type with this name.
    pub(super) fn type_number(&self, schema: Option<&str>, name: &str) -> Option<u32> {
        let namespace = match schema {
            Some(schema) => Some(self.schema_number(schema)?),
            None => None,
        };
        System::get().type_named(namespace, name).or_else(|| {
            self.tables.iter().find_map(|table| {
                if namespace.unwrap_or(PUBLIC) != table.schema {
                    return None;
                }
                let is_array = name.strip_prefix('_') == Some(table.name.as_str());
                match (table.name == name, is_array) {
                    (true, _) => Some(table.type_oid),
                    (_, true) => Some(table.array_oid),
                    _ => None,
                }
            })
        })
    }

    /// The query of a view.
    pub(super) fn view_definition(&self, number: u32) -> Option<String> {
        if let Some(view) = System::get().view(number) {
            return Some(view.to_owned());
        }
        let view = self.tables.iter().find(|table| table.oid == number)?;
        let definition = view.definition.as_deref()?;
        let query = definition
            .split_once(" AS ")
            .map_or(definition, |(_, query)| query);
        Some(format!("{};", query.trim_end_matches(';')))
    }

    /// The definition of a primary or unique key.
    pub(super) fn key_definition(&self, number: u32) -> Option<String> {
        let mut keys = self.keys();
        let (table, key) = keys.find(|(_, key)| key.oid == number)?;
        let word = if key.is_primary {
            "PRIMARY KEY"
        } else {
            "UNIQUE"
        };
        Some(format!("{word} ({})", table.column_names(key).join(", ")))
    }

    /// The definition of an index, or of one of its columns. A short one names the schema only if the
    /// table is not found without.
    pub(super) fn index_definition(
        &self,
        number: u32,
        column: usize,
        is_short: bool,
    ) -> Option<String> {
        let mut keys = self.keys();
        let (table, key) = keys.find(|(_, key)| key.index == number)?;
        let columns = table.column_names(key);
        if column > 0 {
            return columns.get(column - 1).cloned();
        }
        let schema = match is_short && table.schema == PUBLIC {
            true => String::new(),
            false => format!(
                "{}.",
                quoted(self.schema_name(table.schema).unwrap_or_default())
            ),
        };
        Some(format!(
            "CREATE UNIQUE INDEX {} ON {schema}{} USING btree ({})",
            quoted(&key.name),
            quoted(&table.name),
            columns.join(", ")
        ))
    }

    fn keys(&self) -> impl Iterator<Item = (&Table, &Key)> {
        let tables = self.tables.iter();
        tables.flat_map(|table| table.keys.iter().map(move |key| (table, key)))
    }

    /// The rows that every database has. The user is in the place of the one who made PostgreSQL's.
    fn system_rows(&self, relation: &Relation) -> Vec<Row> {
        let rows = relation.system_rows();
        let lists = relation.columns.iter().enumerate();
        let lists = lists.filter(|(_, column)| column.type_oid == ACL_ITEMS);
        let lists: Vec<usize> = lists.map(|(place, _)| place).collect();
        if lists.is_empty() {
            return rows.to_vec();
        }
        let renamed = |item: &Value| Value::text(item.as_text().replace(MAKER, &self.user.name));
        let rows = rows.iter().map(|row| {
            if lists.iter().all(|place| row[*place].is_null()) {
                return Row::clone(row);
            }
            let values = row.iter().enumerate().map(|(place, value)| match value {
                Value::List(items) if lists.contains(&place) => {
                    Value::list(items.iter().map(renamed))
                }
                value => value.clone(),
            });
            values.collect()
        });
        rows.collect()
    }

    /// The rows of a system table.
    pub(super) fn rows(&self, relation: &Relation) -> Arc<Vec<Row>> {
        let mut kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = kept
            .entry(relation.oid)
            .or_insert_with(|| Arc::new(self.all_rows(relation)));
        Arc::clone(rows)
    }

    fn all_rows(&self, relation: &Relation) -> Vec<Row> {
        let mut rows = self.system_rows(relation);
        if relation.namespace != PG_CATALOG {
            return rows;
        }
        match relation.name.as_str() {
            "pg_namespace" => rows.extend(self.schemas.iter().map(|schema| {
                relation.row(&[
                    ("oid", int(schema.oid)),
                    ("nspname", Value::text(&schema.name)),
                    ("nspowner", int(OWNER)),
                ])
            })),
            "pg_class" => {
                rows.extend(self.tables.iter().map(|table| table.class_row(relation)));
                rows.extend(
                    self.keys()
                        .map(|(table, key)| table.index_row(relation, key)),
                );
            }
            "pg_attribute" => {
                rows.extend(
                    self.tables
                        .iter()
                        .flat_map(|table| table.attribute_rows(relation)),
                );
                rows.extend(
                    self.keys()
                        .flat_map(|(table, key)| table.key_attributes(relation, key)),
                );
            }
            "pg_attrdef" => rows.extend(
                self.tables
                    .iter()
                    .flat_map(|table| table.defaults(relation)),
            ),
            "pg_type" => rows.extend(self.tables.iter().flat_map(|table| table.types(relation))),
            "pg_constraint" => {
                rows.extend(
                    self.keys()
                        .map(|(table, key)| table.constraint_row(relation, key)),
                );
            }
            "pg_depend" => {
                rows.extend(
                    self.tables
                        .iter()
                        .flat_map(|table| table.dependencies(relation)),
                );
            }
            "pg_index" => rows.extend(self.keys().map(|(table, key)| table.key_row(relation, key))),
            "pg_rewrite" => {
                let views = self.tables.iter().filter(|table| table.is_view);
                rows.extend(views.map(|view| {
                    relation.row(&[
                        ("oid", int(view.oid)),
                        ("rulename", Value::text("_RETURN")),
                        ("ev_class", int(view.oid)),
                        ("ev_type", Value::text("1")),
                        ("ev_enabled", Value::text("O")),
                        ("is_instead", Value::Bool(true)),
                    ])
                }));
            }
            "pg_database" => rows.push(relation.row(&[
                ("oid", int(DATABASE)),
                ("datname", Value::text(&self.database)),
                ("datdba", int(OWNER)),
                ("encoding", Value::Int(6)),
                ("datlocprovider", Value::text("c")),
                ("datallowconn", Value::Bool(true)),
                ("datconnlimit", Value::Int(-1)),
                ("datminmxid", Value::Int(1)),
                ("dattablespace", Value::Int(1663)),
                ("datcollate", Value::text("C")),
                ("datctype", Value::text("C")),
            ])),
            "pg_authid" => rows.extend(self.roles.iter().map(|role| {
                let is_admin = Value::Bool(role.is_admin);
                relation.row(&[
                    ("oid", int(role.oid)),
                    ("rolname", Value::text(&role.name)),
                    ("rolsuper", is_admin.clone()),
                    ("rolinherit", Value::Bool(true)),
                    ("rolcreaterole", is_admin.clone()),
                    ("rolcreatedb", is_admin.clone()),
                    ("rolcanlogin", Value::Bool(true)),
                    ("rolreplication", is_admin.clone()),
                    ("rolbypassrls", is_admin),
                    ("rolconnlimit", Value::Int(-1)),
                ])
            })),
            _ => {}
        }
        rows
    }
}

/// The roles that every database has.
fn system_roles() -> &'static [Row] {
    let relation = System::get().relation(PG_CATALOG, "pg_authid");
    relation.map_or(&[], Relation::system_rows)
}

/// The number of the schema `information_schema`.
pub(super) fn information_schema() -> Option<u32> {
    let namespaces = System::get().relation(PG_CATALOG, "pg_namespace")?;
    let mut rows = namespaces.system_rows().iter();
    let found = rows.find(|row| row[1].as_text() == "information_schema")?;
    Some(found[0].as_oid())
}

/// An identifier, quoted if it has to be.
/// <https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
pub(super) fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let is_plain = chars
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(name);
    match is_plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Whether PostgreSQL quotes a word because it is a key word that is not always a name.
/// <https://www.postgresql.org/docs/15/sql-keywords-appendix.html>
fn is_reserved(word: &str) -> bool {
    let mut keywords = System::get().keywords().iter();
    keywords.any(|row| row[0].as_text() == word && row[1].as_text() != "U")
}

fn int(number: u32) -> Value {
    Value::Int(i64::from(number))
}

fn count(items: usize) -> Value {
    Value::Int(i64::try_from(items).unwrap_or(i64::MAX))
}

fn table(
    numbers: &mut Numbers,
    schema: u32,
    full: &str,
    name: String,
    provider: &dyn TableProvider,
) -> Table {
    let arrow = provider.schema();
    let keys = provider
        .constraints()
        .into_iter()
        .flat_map(|all| all.iter());
    let keys: Vec<(bool, Vec<usize>)> = keys
        .filter_map(|constraint| match constraint {
            Constraint::PrimaryKey(columns) => Some((true, columns.clone())),
            Constraint::Unique(columns) => Some((false, columns.clone())),
        })
        .collect();
    let is_key = |place: usize| {
        let mut keys = keys.iter();
        keys.any(|(is_primary, columns)| *is_primary && columns.contains(&place))
    };
    let fields = arrow.fields().iter().enumerate().map(|(place, field)| {
        let of = pg_type(field);
        Field {
            name: field.name().clone(),
            type_oid: of.oid,
            modifier: of.modifier,
            is_required: !field.is_nullable() || is_key(place),
            default: provider
                .get_column_default(field.name())
                .map(|expr| expr.to_string()),
        }
    });
    let fields: Vec<Field> = fields.collect();
    let column_name = |place: &usize| fields.get(*place).map_or("", |field| field.name.as_str());
    let keys = keys.iter().map(|(is_primary, columns)| {
        let name = match is_primary {
            true => format!("{name}_pkey"),
            false => {
                let names: Vec<&str> = columns.iter().map(column_name).collect();
                format!("{name}_{}_key", names.join("_"))
            }
        };
        Key {
            oid: numbers.of("key", &format!("{full} {name}")),
            index: numbers.of("index", &format!("{full} {name}")),
            is_primary: *is_primary,
            columns: columns.iter().map(|place| *place as i64 + 1).collect(),
            name,
        }
    });
    let keys = keys.collect();
    Table {
        oid: numbers.of("table", full),
        type_oid: numbers.of("type", full),
        array_oid: numbers.of("array", full),
        schema,
        is_view: provider.table_type() == TableType::View,
        definition: provider.get_table_definition().map(str::to_owned),
        name,
        fields,
        keys,
    }
}

/// What `pg_type` says about a type.
fn type_fact(type_oid: u32, column: &str) -> Value {
    let Some(pg_type) = System::get().relation(PG_CATALOG, "pg_type") else {
        return Value::Null;
    };
    let row = pg_type
        .system_rows()
        .iter()
        .find(|row| row[0].as_oid() == type_oid);
    match (row, pg_type.place(column)) {
        (Some(row), Some(place)) => row[place].clone(),
        _ => Value::Null,
    }
}

impl Table {
    fn column_names(&self, key: &Key) -> Vec<String> {
        let names = key.columns.iter().filter_map(|number| {
            let place = usize::try_from(*number).ok()?.checked_sub(1)?;
            self.fields.get(place).map(|field| quoted(&field.name))
        });
        names.collect()
    }

    fn class_row(&self, pg_class: &Relation) -> Row {
        let kind = if self.is_view { "v" } else { "r" };
        pg_class.row(&[
            ("oid", int(self.oid)),
            ("relname", Value::text(&self.name)),
            ("relnamespace", int(self.schema)),
            ("reltype", int(self.type_oid)),
            ("relowner", int(OWNER)),
            ("relam", int(if self.is_view { 0 } else { HEAP })),
            ("relfilenode", int(if self.is_view { 0 } else { self.oid })),
            ("reltuples", Value::Float(-1.0)),
            ("relhasindex", Value::Bool(!self.keys.is_empty())),
            ("relpersistence", Value::text("p")),
            ("relkind", Value::text(kind)),
            ("relnatts", count(self.fields.len())),
            ("relhasrules", Value::Bool(self.is_view)),
            ("relispopulated", Value::Bool(true)),
            (
                "relreplident",
                Value::text(if self.is_view { "n" } else { "d" }),
            ),
        ])
    }

    fn index_row(&self, pg_class: &Relation, key: &Key) -> Row {
        pg_class.row(&[
            ("oid", int(key.index)),
            ("relname", Value::text(&key.name)),
            ("relnamespace", int(self.schema)),
            ("relowner", int(OWNER)),
            ("relam", int(BTREE)),
            ("relfilenode", int(key.index)),
            ("relpages", Value::Int(1)),
            ("relpersistence", Value::text("p")),
            ("relkind", Value::text("i")),
            ("relnatts", count(key.columns.len())),
            ("relispopulated", Value::Bool(true)),
            ("relreplident", Value::text("n")),
        ])
    }

    fn attribute_rows(&self, pg_attribute: &Relation) -> Vec<Row> {
        let fields = self.fields.iter().enumerate();
        let own = fields.map(|(place, field)| {
            let dimensions = i64::from(type_fact(field.type_oid, "typcategory").as_text() == "A");
            attribute(
                pg_attribute,
                self.oid,
                place + 1,
                field,
                dimensions,
                field.is_required,
            )
        });
        let system = SYSTEM_COLUMNS.iter().filter(|_| !self.is_view);
        let system = system.map(|(name, type_oid, number)| {
            let fact = |fact: &str| type_fact(*type_oid, fact);
            pg_attribute.row(&[
                ("attrelid", int(self.oid)),
                ("attname", Value::text(name)),
                ("atttypid", int(*type_oid)),
                ("attlen", fact("typlen")),
                ("attnum", Value::Int(*number)),
                ("attcacheoff", Value::Int(-1)),
                ("atttypmod", Value::Int(-1)),
                ("attbyval", fact("typbyval")),
                ("attalign", fact("typalign")),
                ("attstorage", fact("typstorage")),
                ("attnotnull", Value::Bool(true)),
                ("attislocal", Value::Bool(true)),
            ])
        });
        system.chain(own).collect()
    }

    fn key_attributes(&self, pg_attribute: &Relation, key: &Key) -> Vec<Row> {
        let fields = key
            .columns
            .iter()
            .enumerate()
            .filter_map(|(place, number)| {
                let column = usize::try_from(*number).ok()?.checked_sub(1)?;
                let field = self.fields.get(column)?;
                Some(attribute(
                    pg_attribute,
                    key.index,
                    place + 1,
                    field,
                    0,
                    false,
                ))
            });
        fields.collect()
    }

    fn defaults(&self, pg_attrdef: &Relation) -> Vec<Row> {
        let fields = self.fields.iter().enumerate().filter_map(|(place, field)| {
            let default = field.default.as_ref()?;
            Some(pg_attrdef.row(&[
                ("oid", Value::Int(i64::from(self.oid) * 1000 + place as i64)),
                ("adrelid", int(self.oid)),
                ("adnum", count(place + 1)),
                ("adbin", Value::text(default)),
            ]))
        });
        fields.collect()
    }

    /// The type of its rows, and that of their arrays.
    fn types(&self, pg_type: &Relation) -> [Row; 2] {
        let function = |name: &str| int(System::get().functions(name).first().map_or(0, |f| f.oid));
        let common = |number: u32, name: &str| {
            vec![
                ("oid", int(number)),
                ("typname", Value::text(name)),
                ("typnamespace", int(self.schema)),
                ("typowner", int(OWNER)),
                ("typlen", Value::Int(-1)),
                ("typisdefined", Value::Bool(true)),
                ("typdelim", Value::text(",")),
                ("typalign", Value::text("d")),
                ("typstorage", Value::text("x")),
                ("typtypmod", Value::Int(-1)),
            ]
        };
        let mut row = common(self.type_oid, &self.name);
        row.extend([
            ("typtype", Value::text("c")),
            ("typcategory", Value::text("C")),
            ("typrelid", int(self.oid)),
            ("typarray", int(self.array_oid)),
            ("typinput", function("record_in")),
            ("typoutput", function("record_out")),
            ("typreceive", function("record_recv")),
            ("typsend", function("record_send")),
        ]);
        let mut array = common(self.array_oid, &format!("_{}", self.name));
        array.extend([
            ("typtype", Value::text("b")),
            ("typcategory", Value::text("A")),
            ("typelem", int(self.type_oid)),
            ("typsubscript", function("array_subscript_handler")),
            ("typinput", function("array_in")),
            ("typoutput", function("array_out")),
            ("typreceive", function("array_recv")),
            ("typsend", function("array_send")),
            ("typanalyze", function("array_typanalyze")),
        ]);
        [pg_type.row(&row), pg_type.row(&array)]
    }

    fn constraint_row(&self, pg_constraint: &Relation, key: &Key) -> Row {
        pg_constraint.row(&[
            ("oid", int(key.oid)),
            ("conname", Value::text(&key.name)),
            ("connamespace", int(self.schema)),
            (
                "contype",
                Value::text(if key.is_primary { "p" } else { "u" }),
            ),
            ("convalidated", Value::Bool(true)),
            ("conrelid", int(self.oid)),
            ("conindid", int(key.index)),
            ("confupdtype", Value::text(" ")),
            ("confdeltype", Value::text(" ")),
            ("confmatchtype", Value::text(" ")),
            ("conislocal", Value::Bool(true)),
            ("connoinherit", Value::Bool(true)),
            ("conkey", numbers(&key.columns)),
        ])
    }

    /// What depends on it, and what it depends on.
    fn dependencies(&self, pg_depend: &Relation) -> Vec<Row> {
        let row = |from: (u32, u32), to: (u32, u32, i64), kind: &str| {
            pg_depend.row(&[
                ("classid", int(from.0)),
                ("objid", int(from.1)),
                ("refclassid", int(to.0)),
                ("refobjid", int(to.1)),
                ("refobjsubid", Value::Int(to.2)),
                ("deptype", Value::text(kind)),
            ])
        };
        let mut rows = vec![
            row((PG_TYPE, self.type_oid), (PG_CLASS, self.oid, 0), "i"),
            row((PG_CLASS, self.oid), (PG_NAMESPACE, self.schema, 0), "n"),
        ];
        for key in &self.keys {
            rows.push(row((PG_CLASS, key.index), (PG_CONSTRAINT, key.oid, 0), "i"));
            for column in &key.columns {
                let of = (PG_CLASS, self.oid, *column);
                rows.push(row((PG_CONSTRAINT, key.oid), of, "a"));
            }
        }
        rows
    }

    fn key_row(&self, pg_index: &Relation, key: &Key) -> Row {
        let zeros = vec![0; key.columns.len()];
        let types = key.columns.iter().filter_map(|number| {
            let place = usize::try_from(*number).ok()?.checked_sub(1)?;
            Some(self.fields.get(place)?.type_oid)
        });
        let types: Vec<u32> = types.collect();
        let classes: Vec<i64> = types.iter().map(|of| operator_class(*of)).collect();
        let collations = types.iter().map(|of| type_fact(*of, "typcollation"));
        let yes = Value::Bool(true);
        pg_index.row(&[
            ("indexrelid", int(key.index)),
            ("indrelid", int(self.oid)),
            ("indnatts", count(key.columns.len())),
            ("indnkeyatts", count(key.columns.len())),
            ("indisunique", yes.clone()),
            ("indisprimary", Value::Bool(key.is_primary)),
            ("indimmediate", yes.clone()),
            ("indisvalid", yes.clone()),
            ("indisready", yes.clone()),
            ("indislive", yes),
            ("indkey", numbers(&key.columns)),
            ("indcollation", Value::list(collations)),
            ("indclass", numbers(&classes)),
            ("indoption", numbers(&zeros)),
        ])
    }
}

/// The number of the operators that an index of a type uses.
fn operator_class(type_oid: u32) -> i64 {
    let Some(relation) = System::get().relation(PG_CATALOG, "pg_opclass") else {
        return 0;
    };
    let place = |name| relation.place(name).unwrap_or(0);
    let (method, of, default) = (place("opcmethod"), place("opcintype"), place("opcdefault"));
    let mut rows = relation.system_rows().iter();
    let found = rows.find(|row| {
        row[method].as_oid() == BTREE && row[of].as_oid() == type_oid && row[default].is_true()
    });
    found.and_then(|row| row[0].as_int()).unwrap_or(0)
}

fn numbers(numbers: &[i64]) -> Value {
    Value::list(numbers.iter().map(|number| Value::Int(*number)))
}

fn attribute(
    pg_attribute: &Relation,
    relation: u32,
    number: usize,
    field: &Field,
    dimensions: i64,
    is_required: bool,
) -> Row {
    let fact = |name: &str| type_fact(field.type_oid, name);
    pg_attribute.row(&[
        ("attrelid", int(relation)),
        ("attname", Value::text(&field.name)),
        ("atttypid", int(field.type_oid)),
        ("attstattarget", Value::Int(-1)),
        ("attlen", fact("typlen")),
        ("attnum", count(number)),
        ("attndims", Value::Int(dimensions)),
        ("attcacheoff", Value::Int(-1)),
        ("atttypmod", Value::Int(i64::from(field.modifier))),
        ("attbyval", fact("typbyval")),
        ("attalign", fact("typalign")),
        ("attstorage", fact("typstorage")),
        ("attnotnull", Value::Bool(is_required)),
        (
            "atthasdef",
            Value::Bool(field.default.is_some() && is_own(relation)),
        ),
        ("attislocal", Value::Bool(true)),
        ("attcollation", fact("typcollation")),
    ])
}

fn is_own(relation: u32) -> bool {
    relation >= FIRST_OWN
}
