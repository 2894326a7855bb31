//! Functions that return sets.

use tidegate_extensions::format::postgres::oid;

use super::operators::pattern;
use super::texts::groups;
use crate::serve::fault::Fault;
use crate::serve::pg_catalog::activity;
use crate::serve::pg_catalog::objects::Objects;
use crate::serve::pg_catalog::plan::{ApplySet, Call};
use crate::serve::pg_catalog::system::System;
use crate::serve::pg_catalog::value::{Row, Value};

/// The most rows of a series.
const MOST_ROWS: i64 = 500_000;

fn one(value: Value) -> Row {
    Row::from(vec![value])
}

fn int(place: usize) -> Value {
    Value::Int(i64::try_from(place).unwrap_or(i64::MAX))
}

/// The implementation of a function.
pub(super) fn set_function(name: &str) -> Option<ApplySet> {
    let apply: ApplySet = match name {
        "unnest" => |v, _, _| Ok(v[0].items().iter().cloned().map(one).collect()),
        "generate_series" => series,
        "generate_subscripts" => |v, call, _| {
            let first = usize::from(!is_vector(call));
            let count = match v[1].as_int() {
                Some(1) => v[0].items().len(),
                _ => 0,
            };
            Ok((first..first + count)
                .map(|place| one(int(place)))
                .collect())
        },
        "_pg_expandarray" => |v, _, _| {
            let items = v[0].items().iter().enumerate();
            let rows = items.map(|(place, item)| Row::from(vec![item.clone(), int(place + 1)]));
            Ok(rows.collect())
        },
        "regexp_matches" => |v, _, _| {
            let flags = v.get(2).map_or("", Value::as_text);
            let found = pattern(v[1].as_text(), flags.contains('i'))?;
            let most = if flags.contains('g') { usize::MAX } else { 1 };
            let all = found.captures_iter(v[0].as_text()).take(most);
            Ok(all
                .map(|captures| one(Value::list(groups(&captures))))
                .collect())
        },
        "regexp_split_to_table" => |v, _, _| {
            let flags = v.get(2).map_or("", Value::as_text);
            let found = pattern(v[1].as_text(), flags.contains('i'))?;
            let parts = found.split(v[0].as_text());
            Ok(parts.map(|part| one(Value::text(part))).collect())
        },
        "string_to_table" => |v, _, _| {
            let parts = v[0].as_text().split(v[1].as_text());
            Ok(parts.map(|part| one(Value::text(part))).collect())
        },
        "pg_options_to_table" => |v, _, _| {
            let options = v[0].items().iter().map(|option| {
                let text = option.as_text();
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                Row::from(vec![Value::text(name), Value::text(value)])
            });
            Ok(options.collect())
        },
        "pg_get_keywords" => |_, _, _| Ok(System::get().keywords().to_vec()),
        "pg_show_all_settings" => settings,
        "pg_stat_get_activity" => activity::backends,
        "pg_stat_get_progress_info" => activity::progress,
        "pg_partition_tree"
        | "pg_partition_ancestors"
        | "pg_prepared_statement"
        | "pg_prepared_xact"
        | "pg_cursor"
        | "pg_lock_status"
        | "pg_timezone_names"
        | "pg_timezone_abbrevs"
        | "pg_available_extensions"
        | "pg_available_extension_versions"
        | "pg_get_replication_slots"
        | "pg_stat_get_wal_senders"
        | "pg_stat_get_wal_receiver"
        | "pg_get_publication_tables"
        | "pg_hba_file_rules"
        | "pg_show_all_file_settings"
        | "pg_listening_channels"
        | "pg_config"
        | "pg_show_replication_origin_status"
        | "pg_stat_get_subscription"
        | "pg_stat_get_slru" => |_, _, _| Ok(Vec::new()),
        _ => return None,
    };
    Some(apply)
}

/// The elements of several arrays side by side.
pub(in super::super) fn side_by_side(
    values: &[Value],
    _: &Call,
    _: &Objects,
) -> Result<Vec<Row>, Fault> {
    let count = values
        .iter()
        .map(|array| array.items().len())
        .max()
        .unwrap_or(0);
    let rows = (0..count).map(|place| {
        let row = values.iter().map(|array| array.items().get(place).cloned());
        row.map(|value| value.unwrap_or(Value::Null)).collect()
    });
    Ok(rows.collect())
}

fn is_vector(call: &Call) -> bool {
    matches!(
        call.types.first(),
        Some(&(oid::INT2VECTOR | oid::OIDVECTOR))
    )
}

fn series(values: &[Value], _: &Call, _: &Objects) -> Result<Vec<Row>, Fault> {
    let (Some(from), Some(to)) = (values[0].as_int(), values[1].as_int()) else {
        return Err(Fault::new(
            "0A000",
            "generate_series takes whole numbers here",
        ));
    };
    let step = values.get(2).and_then(Value::as_int).unwrap_or(1);
    if step == 0 {
        return Err(Fault::new("22023", "step size cannot equal zero"));
    }
    if to.saturating_sub(from).saturating_abs() / step.saturating_abs() > MOST_ROWS {
        return Err(Fault::new("54000", "a series is too long"));
    }
    let mut rows = Vec::new();
    let mut next = from;
    while step > 0 && next <= to || step < 0 && next >= to {
        rows.push(one(Value::Int(next)));
        next = match next.checked_add(step) {
            Some(next) => next,
            None => break,
        };
    }
    Ok(rows)
}

fn settings(_: &[Value], _: &Call, objects: &Objects) -> Result<Vec<Row>, Fault> {
    let locked = objects.settings.lock();
    let settings = locked.unwrap_or_else(std::sync::PoisonError::into_inner);
    let rows = settings.all().into_iter().map(|(name, value)| {
        let text = |text: &str| Value::text(text);
        Row::from(vec![
            text(&name),
            text(&value),
            Value::Null,
            text("Preset Options"),
            text(""),
            Value::Null,
            text("user"),
            text("string"),
            text("default"),
            Value::Null,
            Value::Null,
            Value::Null,
            text(&value),
            text(&value),
            Value::Null,
            Value::Null,
            Value::Bool(false),
        ])
    });
    Ok(rows.collect())
}
