//! Functions about the objects of the catalog.
//! <https://www.postgresql.org/docs/15/functions-info.html>

use tidegate_extensions::format::postgres::oid;

use crate::serve::fault::Fault;
use crate::serve::pg_catalog::objects::{DATABASE, Objects, quoted};
use crate::serve::pg_catalog::plan::{Apply, Call};
use crate::serve::pg_catalog::system::{PG_CATALOG, Relation, System, is_on_path};
use crate::serve::pg_catalog::text::name_parts;
use crate::serve::pg_catalog::types::{parse_type, type_text};
use crate::serve::pg_catalog::value::{Row, Value};

/// The encodings by their numbers. <https://www.postgresql.org/docs/15/multibyte.html>
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

/// Methods of indexes, with their properties `can_order`, `can_unique`, `can_multi_col`, `can_exclude`
/// and `can_include`.
const INDEX_METHODS: [(u32, [bool; 5]); 6] = [
    (403, [true, true, true, true, true]),
    (405, [false, false, false, true, false]),
    (783, [false, false, true, true, true]),
    (2742, [false, false, true, false, false]),
    (4000, [false, false, false, true, true]),
    (3580, [false, false, true, false, false]),
];

/// The number of an object, or NULL if there is none.
fn number(found: Option<u32>) -> Result<Value, Fault> {
    Ok(found.map_or(Value::Null, |number| Value::Int(i64::from(number))))
}

fn text(found: Option<String>) -> Result<Value, Fault> {
    Ok(found.map_or(Value::Null, Value::text))
}

/// A row of a system table, whose values are named.
struct Named {
    relation: &'static Relation,
    row: Row,
}

impl Named {
    /// The row with a number.
    fn find(relation: &str, number: u32, objects: &Objects) -> Option<Self> {
        let relation = System::get().relation(PG_CATALOG, relation)?;
        let rows = objects.rows(relation);
        let row = rows.iter().find(|row| row[0].as_oid() == number)?;
        let row = Row::clone(row);
        Some(Self { relation, row })
    }

    fn get(&self, column: &str) -> Value {
        let place = self.relation.place(column);
        let value = place.and_then(|place| self.row.get(place));
        value.cloned().unwrap_or(Value::Null)
    }
}

/// Whether an object's name means it without a schema: whether it is in `pg_catalog` or `public`.
/// `column` is the place of the schema's number in a row of `relation`.
fn visible(
    relation: &str,
    column: &str,
    values: &[Value],
    objects: &Objects,
) -> Result<Value, Fault> {
    Ok(match Named::find(relation, values[0].as_oid(), objects) {
        None => Value::Null,
        Some(row) => Value::Bool(is_on_path(row.get(column).as_oid())),
    })
}

/// The implementation of a function.
pub(super) fn function(name: &str) -> Option<Apply> {
    let apply: Apply = match name {
        "format_type" => |v, _, objects| {
            if v[0].is_null() {
                return Ok(Value::Null);
            }
            let modifier = v[1].as_int().map_or(i32::MIN, |modifier| modifier as i32);
            Ok(Value::text(type_text(v[0].as_oid(), modifier, objects)))
        },
        "oidvectortypes" => |v, _, objects| {
            let types = v[0].items().iter();
            let types: Vec<String> = types
                .map(|of| type_text(of.as_oid(), i32::MIN, objects))
                .collect();
            Ok(Value::text(types.join(", ")))
        },
        "pg_get_userbyid" => |v, _, objects| {
            let number = v[0].as_oid();
            let unknown = || format!("unknown (OID={number})");
            Ok(Value::text(
                objects
                    .role_name(number)
                    .map_or_else(unknown, str::to_owned),
            ))
        },
        "pg_table_is_visible" => |v, _, objects| {
            let found = objects.relation_name(v[0].as_oid());
            Ok(found.map_or(Value::Null, |(schema, _)| Value::Bool(is_on_path(schema))))
        },
        "pg_type_is_visible" => |v, _, objects| {
            let found = objects.type_name(v[0].as_oid());
            Ok(found.map_or(Value::Null, |(schema, _)| Value::Bool(is_on_path(schema))))
        },
        "pg_function_is_visible" => |v, _, objects| visible("pg_proc", "pronamespace", v, objects),
        "pg_operator_is_visible" => {
            |v, _, objects| visible("pg_operator", "oprnamespace", v, objects)
        }
        "pg_opclass_is_visible" => {
            |v, _, objects| visible("pg_opclass", "opcnamespace", v, objects)
        }
        "pg_opfamily_is_visible" => {
            |v, _, objects| visible("pg_opfamily", "opfnamespace", v, objects)
        }
        "pg_collation_is_visible" => {
            |v, _, objects| visible("pg_collation", "collnamespace", v, objects)
        }
        "pg_conversion_is_visible" => {
            |v, _, objects| visible("pg_conversion", "connamespace", v, objects)
        }
        "pg_ts_config_is_visible" => {
            |v, _, objects| visible("pg_ts_config", "cfgnamespace", v, objects)
        }
        "pg_ts_dict_is_visible" => {
            |v, _, objects| visible("pg_ts_dict", "dictnamespace", v, objects)
        }
        "pg_ts_parser_is_visible" => {
            |v, _, objects| visible("pg_ts_parser", "prsnamespace", v, objects)
        }
        "pg_ts_template_is_visible" => {
            |v, _, objects| visible("pg_ts_template", "tmplnamespace", v, objects)
        }
        "pg_statistics_obj_is_visible" => |_, _, _| Ok(Value::Null),
        // The text of an expression is kept as it is.
        "pg_get_expr" => |v, _, _| Ok(v[0].clone()),
        "pg_get_constraintdef" => |v, _, objects| {
            let number = v[0].as_oid();
            text(
                objects
                    .key_definition(number)
                    .or_else(|| system_key(number, objects)),
            )
        },
        "pg_get_indexdef" => |v, _, objects| {
            let column = v.get(1).and_then(Value::as_int);
            let column = column
                .and_then(|column| usize::try_from(column).ok())
                .unwrap_or(0);
            let number = v[0].as_oid();
            let is_short = v.get(2).is_some_and(Value::is_true);
            let own = objects.index_definition(number, column, is_short);
            text(own.or_else(|| system_index(number, column, objects)))
        },
        "pg_get_viewdef" => |v, call, objects| {
            let number = match call.types[0] {
                oid::TEXT => relation_named(v[0].as_text(), objects)?,
                _ => v[0].as_oid(),
            };
            text(objects.view_definition(number))
        },
        "pg_get_triggerdef"
        | "pg_get_ruledef"
        | "pg_get_partkeydef"
        | "pg_get_functiondef"
        | "pg_get_partition_constraintdef"
        | "pg_get_statisticsobjdef_columns"
        | "pg_get_function_sqlbody"
        | "pg_get_serial_sequence"
        | "pg_get_statisticsobjdef"
        | "pg_get_statisticsobjdef_expressions" => |_, _, _| Ok(Value::Null),
        "pg_get_function_result" => |v, _, objects| {
            let Some(row) = Named::find("pg_proc", v[0].as_oid(), objects) else {
                return Ok(Value::Null);
            };
            if row.get("prokind").as_text() == "p" {
                return Ok(Value::Null);
            }
            let of = type_text(row.get("prorettype").as_oid(), i32::MIN, objects);
            let set = match row.get("proretset").is_true() {
                true => "SETOF ",
                false => "",
            };
            Ok(Value::text(format!("{set}{of}")))
        },
        "pg_get_function_arguments" | "pg_get_function_identity_arguments" => function_arguments,
        "pg_get_function_arg_default" => |_, _, _| Ok(Value::Null),
        "obj_description" | "shobj_description" => |v, _, objects| {
            let class = match v.get(1) {
                Some(name) => objects.relation_number(Some("pg_catalog"), name.as_text()),
                None => None,
            };
            Ok(description(v[0].as_oid(), class, 0, objects))
        },
        "col_description" => |v, _, objects| {
            let column = v[1].as_int().unwrap_or(0);
            Ok(description(
                v[0].as_oid(),
                Some(super::super::objects::PG_CLASS),
                column,
                objects,
            ))
        },
        "pg_encoding_to_char" => |v, _, _| {
            let place = v[0]
                .as_int()
                .and_then(|number| usize::try_from(number).ok());
            let name = place.and_then(|place| ENCODINGS.get(place));
            Ok(Value::text(name.copied().unwrap_or("")))
        },
        "pg_char_to_encoding" => |v, _, _| {
            let name = v[0].as_text().to_uppercase().replace('-', "");
            let place = ENCODINGS.iter().position(|of| *of == name);
            Ok(Value::Int(place.map_or(-1, |place| place as i64)))
        },
        "getdatabaseencoding" | "pg_client_encoding" => |_, _, _| Ok(Value::text("UTF8")),
        // Sizes of tables are those of PostgreSQL's files: there are none.
        "pg_relation_size"
        | "pg_total_relation_size"
        | "pg_table_size"
        | "pg_indexes_size"
        | "pg_database_size"
        | "pg_tablespace_size" => |_, _, _| Ok(Value::Int(0)),
        "pg_relation_filenode" => |_, _, _| Ok(Value::Null),
        "pg_tablespace_location" => |_, _, _| Ok(Value::text("")),
        "pg_relation_is_publishable" | "pg_is_other_temp_schema" => {
            |_, _, _| Ok(Value::Bool(false))
        }
        "pg_relation_is_updatable" => |_, _, _| Ok(Value::Int(0)),
        "pg_column_is_updatable" => |_, _, _| Ok(Value::Bool(false)),
        "pg_my_temp_schema" => |_, _, _| Ok(Value::Int(0)),
        "pg_indexam_has_property" => |v, _, _| {
            const NAMES: [&str; 5] = [
                "can_order",
                "can_unique",
                "can_multi_col",
                "can_exclude",
                "can_include",
            ];
            let method = INDEX_METHODS.iter().find(|(of, _)| *of == v[0].as_oid());
            let name = NAMES.iter().position(|name| *name == v[1].as_text());
            Ok(match (method, name) {
                (Some((_, properties)), Some(place)) => Value::Bool(properties[place]),
                _ => Value::Null,
            })
        },
        "pg_sequence_last_value" => |_, _, _| Ok(Value::Null),
        "row_security_active" => |_, _, _| Ok(Value::Bool(false)),
        "to_regclass" => |v, _, objects| number(relation_named(v[0].as_text(), objects).ok()),
        "to_regtype" => |v, _, objects| {
            let found = parse_type(v[0].as_text(), objects).ok();
            number(found.map(|(of, _)| of))
        },
        "to_regnamespace" => |v, _, objects| number(objects.schema_number(v[0].as_text())),
        "to_regrole" => |v, _, objects| number(objects.role_number(v[0].as_text())),
        "to_regproc" => |v, _, _| {
            let name = name_parts(v[0].as_text()).and_then(|mut parts| parts.pop());
            let functions = System::get().functions(name.as_deref().unwrap_or_default());
            number(functions.first().map(|function| function.oid))
        },
        "nameconcatoid" => {
            |v, _, _| Ok(Value::text(format!("{}_{}", v[0].as_text(), v[1].as_oid())))
        }
        "pg_describe_object" | "pg_identify_object" => |_, _, _| Ok(Value::Null),
        "pg_typeof" => |_, call, _| Ok(Value::Int(i64::from(call.types[0]))),
        "pg_stat_get_db_numbackends" => |v, _, objects| {
            let count = match v[0].as_oid() == DATABASE {
                true => objects.server.backends.list().len(),
                false => 0,
            };
            Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
        },
        // No statistics of tables are kept.
        name if name.starts_with("pg_stat_get_") => |_, call, _| {
            Ok(match call.returns {
                oid::INT8 | oid::INT4 => Value::Int(0),
                oid::FLOAT8 => Value::Float(0.0),
                _ => Value::Null,
            })
        },
        "_pg_truetypid" => |v, call, _| {
            let is_domain = member(v, call, 1, "typtype").as_text() == "d";
            Ok(match is_domain {
                true => member(v, call, 1, "typbasetype"),
                false => member(v, call, 0, "atttypid"),
            })
        },
        "_pg_truetypmod" => |v, call, _| Ok(member(v, call, 0, "atttypmod")),
        "_pg_char_max_length" => |v, _, _| {
            let modifier = v[1].as_int().unwrap_or(-1);
            Ok(match v[0].as_oid() {
                oid::VARCHAR | oid::BPCHAR if modifier >= 4 => Value::Int(modifier - 4),
                1560 | 1562 if modifier >= 0 => Value::Int(modifier),
                _ => Value::Null,
            })
        },
        "_pg_char_octet_length" => |v, _, _| {
            let modifier = v[1].as_int().unwrap_or(-1);
            Ok(match v[0].as_oid() {
                oid::VARCHAR | oid::BPCHAR if modifier >= 4 => Value::Int((modifier - 4) * 4),
                oid::TEXT | oid::VARCHAR | oid::BPCHAR => Value::Int(1 << 30),
                _ => Value::Null,
            })
        },
        "_pg_numeric_precision" => |v, _, _| {
            let modifier = v[1].as_int().unwrap_or(-1);
            Ok(match v[0].as_oid() {
                oid::INT2 => Value::Int(16),
                oid::INT4 => Value::Int(32),
                oid::INT8 => Value::Int(64),
                oid::FLOAT4 => Value::Int(24),
                oid::FLOAT8 => Value::Int(53),
                oid::NUMERIC if modifier >= 4 => Value::Int((modifier - 4) >> 16 & 0xffff),
                _ => Value::Null,
            })
        },
        "_pg_numeric_precision_radix" => |v, _, _| {
            Ok(match v[0].as_oid() {
                oid::INT2 | oid::INT4 | oid::INT8 | oid::FLOAT4 | oid::FLOAT8 => Value::Int(2),
                oid::NUMERIC => Value::Int(10),
                _ => Value::Null,
            })
        },
        "_pg_numeric_scale" => |v, _, _| {
            let modifier = v[1].as_int().unwrap_or(-1);
            Ok(match v[0].as_oid() {
                oid::INT2 | oid::INT4 | oid::INT8 => Value::Int(0),
                oid::NUMERIC if modifier >= 4 => Value::Int((modifier - 4) & 0x7ff),
                _ => Value::Null,
            })
        },
        "_pg_datetime_precision" => |v, _, _| {
            let modifier = v[1].as_int().unwrap_or(-1);
            Ok(match v[0].as_oid() {
                oid::DATE => Value::Int(0),
                oid::TIME | 1266 | oid::TIMESTAMP | oid::TIMESTAMPTZ if modifier < 0 => {
                    Value::Int(6)
                }
                oid::TIME | 1266 | oid::TIMESTAMP | oid::TIMESTAMPTZ => Value::Int(modifier),
                oid::INTERVAL if modifier < 0 || modifier & 0xffff == 0xffff => Value::Int(6),
                oid::INTERVAL => Value::Int(modifier & 0xffff),
                _ => Value::Null,
            })
        },
        "_pg_interval_type" => |_, _, _| Ok(Value::Null),
        "_pg_index_position" => |v, _, objects| {
            let Some(row) = Named::find("pg_index", v[0].as_oid(), objects) else {
                return Ok(Value::Null);
            };
            let keys = row.get("indkey");
            let found = keys.items().iter().position(|number| *number == v[1]);
            Ok(found.map_or(Value::Null, |place| Value::Int(place as i64 + 1)))
        },
        _ => return None,
    };
    Some(apply)
}

/// A field of an argument that is a record.
fn member(values: &[Value], call: &Call, place: usize, name: &str) -> Value {
    let fields = call.fields.get(place).and_then(Option::as_ref);
    let at = fields.and_then(|fields| fields.iter().position(|(field, _)| field == name));
    let found = at.and_then(|at| values[place].items().get(at));
    found.cloned().unwrap_or(Value::Null)
}

/// # Errors
/// 42P01 if there is none.
fn relation_named(text: &str, objects: &Objects) -> Result<u32, Fault> {
    let value = super::super::text::read(oid::REGCLASS, text, objects)?;
    Ok(value.as_oid())
}

fn description(number: u32, class: Option<u32>, column: i64, objects: &Objects) -> Value {
    let Some(relation) = System::get().relation(PG_CATALOG, "pg_description") else {
        return Value::Null;
    };
    let rows = objects.rows(relation);
    let found = rows.iter().find(|row| {
        row[0].as_oid() == number
            && class.is_none_or(|class| row[1].as_oid() == class)
            && row[2].as_int() == Some(column)
    });
    found.map_or(Value::Null, |row| row[3].clone())
}

/// The columns of a relation by their numbers.
fn column_names(relation: u32, numbers: &[Value], objects: &Objects) -> Vec<String> {
    let Some(pg_attribute) = System::get().relation(PG_CATALOG, "pg_attribute") else {
        return Vec::new();
    };
    let rows = objects.rows(pg_attribute);
    let names = numbers.iter().filter_map(|number| {
        let mut rows = rows.iter();
        let row = rows.find(|row| row[0].as_oid() == relation && row[5] == *number)?;
        Some(quoted(row[1].as_text()))
    });
    names.collect()
}

/// The definition of a key of a system table.
fn system_key(number: u32, objects: &Objects) -> Option<String> {
    let row = Named::find("pg_constraint", number, objects)?;
    let word = match row.get("contype").as_text() {
        "p" => "PRIMARY KEY",
        "u" => "UNIQUE",
        _ => return None,
    };
    let columns = row.get("conkey");
    let names = column_names(row.get("conrelid").as_oid(), columns.items(), objects);
    Some(format!("{word} ({})", names.join(", ")))
}

/// The definition of an index of a system table.
fn system_index(number: u32, column: usize, objects: &Objects) -> Option<String> {
    let row = Named::find("pg_index", number, objects)?;
    let table = row.get("indrelid").as_oid();
    let columns = row.get("indkey");
    let names = column_names(table, columns.items(), objects);
    if column > 0 {
        return names.get(column - 1).cloned();
    }
    let unique = if row.get("indisunique").is_true() {
        "UNIQUE "
    } else {
        ""
    };
    let (_, name) = objects.relation_name(number)?;
    let (schema, table) = objects.relation_name(table)?;
    Some(format!(
        "CREATE {unique}INDEX {} ON {}.{} USING btree ({})",
        quoted(&name),
        quoted(objects.schema_name(schema)?),
        quoted(&table),
        names.join(", ")
    ))
}

fn function_arguments(values: &[Value], _: &Call, objects: &Objects) -> Result<Value, Fault> {
    let Some(row) = Named::find("pg_proc", values[0].as_oid(), objects) else {
        return Ok(Value::Null);
    };
    let (names, modes) = (row.get("proargnames"), row.get("proargmodes"));
    let names = names.items();
    let (all, given) = (row.get("proallargtypes"), row.get("proargtypes"));
    let types = match all.items() {
        [] => given.items(),
        all => all,
    };
    let arguments = types.iter().enumerate().filter_map(|(place, of)| {
        let mode = modes.items().get(place).map_or("i", Value::as_text);
        let prefix = match mode {
            "o" => "OUT ",
            "b" => "INOUT ",
            "v" => "VARIADIC ",
            "t" => return None,
            _ => "",
        };
        let name = names.get(place).map_or("", Value::as_text);
        let name = match name {
            "" => String::new(),
            name => format!("{} ", quoted(name)),
        };
        Some(format!(
            "{prefix}{name}{}",
            type_text(of.as_oid(), i32::MIN, objects)
        ))
    });
    let arguments: Vec<String> = arguments.collect();
    Ok(Value::text(arguments.join(", ")))
}
