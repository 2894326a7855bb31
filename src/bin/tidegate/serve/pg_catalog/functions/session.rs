//! Functions about the session and the server.

use std::sync::PoisonError;

use crate::serve::backends::Reason;
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::objects::Objects;
use crate::serve::pg_catalog::plan::Apply;
use crate::serve::pg_catalog::value::Value;
use crate::serve::settings::{SERVER_VERSION, Settings, unknown};

fn with_settings<T>(objects: &Objects, take: impl FnOnce(&mut Settings) -> T) -> T {
    let mut settings = objects
        .settings
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    take(&mut settings)
}

/// The implementation of a function.
pub(super) fn function(name: &str) -> Option<Apply> {
    let apply: Apply = match name {
        "version" => |_, _, _| Ok(Value::text(version())),
        "current_database" | "current_catalog" => {
            |_, _, objects| Ok(Value::text(&objects.database))
        }
        "current_schema" => |_, _, _| Ok(Value::text("public")),
        "current_schemas" => |v, _, _| {
            let schemas = match v[0].is_true() {
                true => &["pg_catalog", "public"][..],
                false => &["public"][..],
            };
            Ok(Value::list(schemas.iter().map(Value::text)))
        },
        "current_user" | "session_user" | "current_role" | "user" | "getpgusername" => {
            |_, _, objects| Ok(Value::text(&objects.user.name))
        }
        "pg_backend_pid" => |_, _, objects| Ok(Value::Int(i64::from(objects.pid))),
        "pg_is_in_recovery" | "pg_is_wal_replay_paused" => |_, _, _| Ok(Value::Bool(false)),
        "pg_export_snapshot" => |_, _, _| Ok(Value::text("00000003-00000001-1")),
        "pg_postmaster_start_time" | "pg_conf_load_time" => {
            |_, _, objects| Ok(Value::Micros(objects.server.started.timestamp_micros()))
        }
        "txid_current" | "pg_current_xact_id" => |_, _, _| Ok(Value::Int(1)),
        "inet_server_port" => |_, _, objects| Ok(Value::Int(i64::from(objects.server.port()))),
        "inet_server_addr" | "inet_client_addr" | "inet_client_port" | "pg_current_logfile" => {
            |_, _, _| Ok(Value::Null)
        }
        "pg_blocking_pids" => |_, _, _| Ok(Value::list([])),
        "pg_advisory_unlock_all" => |_, _, _| Ok(Value::text("")),
        "current_setting" => |v, _, objects| {
            let name = v[0].as_text();
            let may_miss = v.get(1).is_some_and(Value::is_true);
            let value = with_settings(objects, |settings| settings.get(&name.to_lowercase()));
            match value {
                Some(value) => Ok(Value::text(value)),
                None if may_miss => Ok(Value::Null),
                None => Err(unknown(name)),
            }
        },
        "set_config" => |v, _, objects| {
            if v[0].is_null() {
                return Err(Fault::new("22004", "SET requires parameter name"));
            }
            let name = v[0].as_text().to_lowercase();
            let value = (!v[1].is_null()).then(|| v[1].as_text());
            let is_local = v[2].is_true();
            with_settings(objects, |settings| {
                settings.set(&name, value, is_local)?;
                Ok(settings.get(&name).map_or(Value::Null, Value::text))
            })
        },
        "pg_cancel_backend" => |v, _, objects| stop(v, objects, Reason::Request),
        "pg_terminate_backend" => |v, _, objects| stop(v, objects, Reason::Terminated),
        _ => return None,
    };
    Some(apply)
}

fn version() -> String {
    format!(
        "PostgreSQL {SERVER_VERSION} (Tidegate {})",
        env!("CARGO_PKG_VERSION")
    )
}

/// Cancels what a backend runs, or ends it.
fn stop(values: &[Value], objects: &Objects, reason: Reason) -> Result<Value, Fault> {
    let pid = values[0].as_int().and_then(|pid| i32::try_from(pid).ok());
    let backends = &objects.server.backends;
    let stopped = backends.stop(pid.unwrap_or(0), &objects.user, reason)?;
    Ok(Value::Bool(stopped))
}
