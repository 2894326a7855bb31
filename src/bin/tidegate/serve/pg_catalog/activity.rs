//! What the connections of the server do, as `pg_stat_activity` and `pg_stat_progress_copy` show it.
//!
//! Invariant: a text that may hold a secret is not shown, and users see their own statements only.

use std::sync::PoisonError;

use tidegate_extensions::sql::may_hold_secret;

use super::objects::{DATABASE, Objects};
use super::plan::Call;
use super::value::{Row, Value};
use crate::serve::backends::Backend;
use crate::serve::fault::Fault;
use crate::serve::users::Role;

/// The most characters of a statement that are shown, as PostgreSQL's `track_activity_query_size`.
const MOST_CHARACTERS: usize = 1024;

/// The number of columns of `pg_stat_get_activity`, and of parameters of `pg_stat_get_progress_info`.
const ACTIVITY_COLUMNS: usize = 30;
const PROGRESS_PARAMETERS: usize = 20;

/// What `pg_stat_progress_copy` says by numbers.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/commands/progress.h>
const COPY_TO: i64 = 2;
const TO_FILE: i64 = 1;

fn may_see(backend: &Backend, objects: &Objects) -> bool {
    objects.user.role == Role::Admin || backend.client.user == objects.user.name
}

fn number(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The rows of `pg_stat_get_activity`: all connections, or the one with a number.
pub(super) fn backends(values: &[Value], _: &Call, objects: &Objects) -> Result<Vec<Row>, Fault> {
    let wanted = values.first().and_then(Value::as_int);
    let all = objects.server.backends.list();
    let rows = all
        .iter()
        .filter(|backend| wanted.is_none_or(|wanted| wanted == i64::from(backend.pid)));
    Ok(rows.map(|backend| activity_row(backend, objects)).collect())
}

fn activity_row(backend: &Backend, objects: &Objects) -> Row {
    let user = objects.role_number(&backend.client.user);
    let user = user.map_or(Value::Null, |user| Value::Int(i64::from(user)));
    let mut row = vec![Value::Null; ACTIVITY_COLUMNS];
    if !may_see(backend, objects) {
        row[0] = Value::Int(i64::from(DATABASE));
        row[1] = Value::Int(i64::from(backend.pid));
        row[2] = user;
        row[5] = Value::text("<insufficient privilege>");
        return row.into();
    }
    let activity = backend.activity();
    let settings = backend.client.settings.lock();
    let application = settings
        .unwrap_or_else(PoisonError::into_inner)
        .get("application_name");
    let text = match may_hold_secret(&activity.text) {
        true => "<a statement with a secret>".to_owned(),
        false => activity.text.chars().take(MOST_CHARACTERS).collect(),
    };
    let since = Value::Micros(activity.since.timestamp_micros());
    let is_active = activity.state == "active";
    let columns = [
        Value::Int(i64::from(DATABASE)),
        Value::Int(i64::from(backend.pid)),
        user,
        Value::text(application.unwrap_or_default()),
        Value::text(activity.state),
        Value::text(text),
        if is_active {
            Value::Null
        } else {
            Value::text("Client")
        },
        if is_active {
            Value::Null
        } else {
            Value::text("ClientRead")
        },
        match activity.state {
            "idle" => Value::Null,
            _ => since.clone(),
        },
        since.clone(),
        Value::Micros(backend.started.timestamp_micros()),
        since,
        Value::text(backend.client.address.ip().to_string()),
        Value::Null,
        Value::Int(i64::from(backend.client.address.port())),
        Value::Null,
        Value::Null,
        Value::text("client backend"),
    ];
    for (place, value) in row.iter_mut().zip(columns) {
        *place = value;
    }
    row.into()
}

/// The rows of `pg_stat_get_progress_info('COPY')`: the exports that run.
pub(super) fn progress(values: &[Value], _: &Call, objects: &Objects) -> Result<Vec<Row>, Fault> {
    if !values[0].as_text().eq_ignore_ascii_case("copy") {
        return Ok(Vec::new());
    }
    let all = objects.server.backends.list();
    let rows = all.iter().filter(|backend| may_see(backend, objects));
    let rows = rows.filter_map(|backend| {
        let export = backend.activity().progress?.snapshot().export?;
        let mut row = vec![
            Value::Int(i64::from(backend.pid)),
            Value::Int(i64::from(DATABASE)),
            Value::Int(0),
        ];
        let mut parameters = vec![Value::Int(0); PROGRESS_PARAMETERS];
        parameters[0] = number(export.bytes);
        parameters[2] = number(export.rows);
        parameters[4] = Value::Int(COPY_TO);
        parameters[5] = Value::Int(TO_FILE);
        row.append(&mut parameters);
        Some(row.into())
    });
    Ok(rows.collect())
}
