//! Functions about privileges.
//!
//! Invariant: everything in a session is its user's, who may do everything with it. What does not exist
//! gives NULL or an error, as in PostgreSQL.
//! <https://www.postgresql.org/docs/15/functions-info.html#FUNCTIONS-INFO-ACCESS-TABLE>

use tidegate_extensions::format::postgres::oid;

use crate::serve::fault::Fault;
use crate::serve::pg_catalog::objects::{OWNER, Objects};
use crate::serve::pg_catalog::plan::{Apply, ApplySet, Call};
use crate::serve::pg_catalog::text::read;
use crate::serve::pg_catalog::value::{Row, Value};

/// The letters and names of privileges, in the order of `aclitem`.
const PRIVILEGES: [(char, &str); 14] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
];

/// The implementation of a function.
pub(super) fn function(name: &str) -> Option<Apply> {
    let apply: Apply = match name {
        "has_table_privilege" | "has_any_column_privilege" | "has_sequence_privilege" => {
            |v, _, objects| on_relation(&v[v.len() - 2], objects)
        }
        "has_column_privilege" => |v, _, objects| on_relation(&v[v.len() - 3], objects),
        "has_schema_privilege" => |v, _, objects| on_schema(&v[v.len() - 2], objects),
        "has_database_privilege"
        | "has_function_privilege"
        | "has_type_privilege"
        | "has_language_privilege"
        | "has_tablespace_privilege"
        | "has_foreign_data_wrapper_privilege"
        | "has_server_privilege" => |_, _, _| Ok(Value::Bool(true)),
        "pg_has_role" => |v, _, objects| {
            let role = &v[v.len() - 2];
            let number = match role {
                Value::Text(name) => objects.role_number(name).unwrap_or(0),
                number => number.as_oid(),
            };
            Ok(Value::Bool(number == OWNER))
        },
        "acldefault" => default_privileges,
        _ => return None,
    };
    Some(apply)
}

/// # Errors
/// 42P01 for a name that no relation has.
fn on_relation(relation: &Value, objects: &Objects) -> Result<Value, Fault> {
    if let Value::Text(name) = relation {
        read(oid::REGCLASS, name, objects)?;
        return Ok(Value::Bool(true));
    }
    Ok(match objects.relation_name(relation.as_oid()) {
        Some(_) => Value::Bool(true),
        None => Value::Null,
    })
}

/// # Errors
/// 3F000 for a name that no schema has.
fn on_schema(schema: &Value, objects: &Objects) -> Result<Value, Fault> {
    if let Value::Text(name) = schema {
        return match objects.schema_number(name) {
            Some(_) => Ok(Value::Bool(true)),
            None => Err(Fault::new(
                "3F000",
                format!("schema \"{name}\" does not exist"),
            )),
        };
    }
    Ok(match objects.schema_name(schema.as_oid()) {
        Some(_) => Value::Bool(true),
        None => Value::Null,
    })
}

fn default_privileges(values: &[Value], _: &Call, objects: &Objects) -> Result<Value, Fault> {
    let owner = values[1].as_oid();
    let name = objects.role_name(owner).unwrap_or_default();
    let own = |letters: &str| Value::text(format!("{name}={letters}/{name}"));
    let all = |letters: &str| Value::text(format!("={letters}/{name}"));
    Ok(Value::list(match values[0].as_text() {
        "c" => Vec::new(),
        "r" => vec![own("arwdDxt")],
        "s" => vec![own("rwU")],
        "d" => vec![all("Tc"), own("CTc")],
        "f" => vec![all("X"), own("X")],
        "l" | "T" => vec![all("U"), own("U")],
        "n" => vec![own("UC")],
        "t" => vec![own("C")],
        _ => vec![own("U")],
    }))
}

/// The implementation of a function that returns a set.
pub(super) fn set_function(name: &str) -> Option<ApplySet> {
    let apply: ApplySet = match name {
        "aclexplode" => exploded,
        _ => return None,
    };
    Some(apply)
}

fn exploded(values: &[Value], _: &Call, objects: &Objects) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    for item in values[0].items() {
        let text = item.as_text();
        let Some((grantee, rest)) = text.split_once('=') else {
            continue;
        };
        let (letters, grantor) = rest.split_once('/').unwrap_or((rest, ""));
        // System rows name the user who made the database.
        let number = |name: &str| match name {
            "" => 0,
            name => objects.role_number(name).unwrap_or(OWNER),
        };
        let mut chars = letters.chars().peekable();
        while let Some(letter) = chars.next() {
            let is_grantable = chars.next_if_eq(&'*').is_some();
            let found = PRIVILEGES.iter().find(|(of, _)| *of == letter);
            let Some((_, privilege)) = found else {
                continue;
            };
            rows.push(Row::from(vec![
                Value::Int(i64::from(number(grantor))),
                Value::Int(i64::from(number(grantee))),
                Value::text(privilege),
                Value::Bool(is_grantable),
            ]));
        }
    }
    Ok(rows)
}
