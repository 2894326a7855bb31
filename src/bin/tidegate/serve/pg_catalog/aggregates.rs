//! Aggregates and window functions.

use std::collections::{HashMap, HashSet};

use tidegate_extensions::format::postgres::oid;

use super::functions::json;
use super::plan::{Aggregate, Window};
use super::run::{Frame, Run, sort};
use super::value::Value;
use crate::serve::fault::Fault;

/// Whether there is an aggregate with this name.
pub(super) fn has_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "array_agg"
            | "string_agg"
            | "bool_and"
            | "bool_or"
            | "every"
            | "json_agg"
            | "jsonb_agg"
            | "json_object_agg"
            | "jsonb_object_agg"
    )
}

/// Whether there is a window function with this name that is no aggregate.
pub(super) fn has_window(name: &str) -> bool {
    matches!(
        name,
        "row_number" | "rank" | "dense_rank" | "lag" | "lead" | "first_value" | "last_value"
    )
}

/// The aggregate of some rows.
pub(super) fn aggregate(
    run: &Run<'_>,
    of: &Aggregate,
    frames: &[Frame<'_>],
) -> Result<Value, Fault> {
    let mut rows = Vec::new();
    for frame in frames {
        if let Some(filter) = &of.filter
            && !run.eval(filter, frame)?.is_true()
        {
            continue;
        }
        let keys = of.order.iter().map(|sort| run.eval(&sort.expr, frame));
        let keys = keys.collect::<Result<Vec<_>, Fault>>()?;
        run.pass()?;
        rows.push((keys, run.all(&of.arguments, frame)?));
    }
    if !of.order.is_empty() {
        sort(&mut rows, &of.order);
    }
    let mut rows: Vec<Vec<Value>> = rows.into_iter().map(|(_, row)| row).collect();
    if of.is_distinct {
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.clone()));
        if of.order.is_empty() {
            rows.sort_by(|a, b| {
                let pairs = a.iter().zip(b);
                let first = pairs.map(|(a, b)| a.order(b)).find(|order| order.is_ne());
                first.unwrap_or(std::cmp::Ordering::Equal)
            });
        }
    }
    let first = |row: &Vec<Value>| row.first().cloned().unwrap_or(Value::Null);
    let values = || rows.iter().map(first).filter(|value| !value.is_null());
    let type_of = |place: usize| of.call.types.get(place).copied().unwrap_or(oid::TEXT);
    let is_empty = rows.is_empty();
    Ok(match of.call.name.as_str() {
        "count" => {
            let count = match of.arguments.is_empty() {
                true => rows.len(),
                false => values().count(),
            };
            Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
        }
        "sum" | "avg" => {
            let count = values().count();
            if count == 0 {
                return Ok(Value::Null);
            }
            let whole = values().all(|value| matches!(value, Value::Int(_)));
            if whole && of.call.name == "sum" {
                let sum = values()
                    .filter_map(|value| value.as_int())
                    .fold(0, i64::saturating_add);
                return Ok(match of.call.returns {
                    oid::NUMERIC => Value::Float(sum as f64),
                    _ => Value::Int(sum),
                });
            }
            let sum: f64 = values().filter_map(|value| value.as_float()).sum();
            Value::Float(if of.call.name == "avg" {
                sum / count as f64
            } else {
                sum
            })
        }
        "min" => values().min_by(Value::order).unwrap_or(Value::Null),
        "max" => values().max_by(Value::order).unwrap_or(Value::Null),
        "bool_and" | "every" => match values().next() {
            None => Value::Null,
            Some(_) => Value::Bool(values().all(|value| value.is_true())),
        },
        "bool_or" => match values().next() {
            None => Value::Null,
            Some(_) => Value::Bool(values().any(|value| value.is_true())),
        },
        "array_agg" if is_empty => Value::Null,
        "array_agg" => Value::list(rows.iter().map(first)),
        "string_agg" => {
            let mut text: Option<String> = None;
            for row in &rows {
                let [Value::Text(value), separator] = row.as_slice() else {
                    continue;
                };
                match &mut text {
                    None => text = Some(value.to_string()),
                    Some(text) => {
                        text.push_str(separator.as_text());
                        text.push_str(value);
                    }
                }
            }
            text.map_or(Value::Null, Value::text)
        }
        "json_agg" | "jsonb_agg" if is_empty => Value::Null,
        "json_agg" | "jsonb_agg" => {
            let fields = of.call.fields.first().and_then(Option::as_ref);
            let texts = rows
                .iter()
                .map(|row| json::text(&first(row), type_of(0), fields, run.objects));
            let texts: Vec<String> = texts.collect();
            Value::text(format!("[{}]", texts.join(", ")))
        }
        "json_object_agg" | "jsonb_object_agg" if is_empty => Value::Null,
        "json_object_agg" | "jsonb_object_agg" => {
            let texts = rows.iter().filter_map(|row| {
                let [name, value] = row.as_slice() else {
                    return None;
                };
                let name = json::key(name, type_of(0), run.objects);
                Some(format!(
                    "{name} : {}",
                    json::text(value, type_of(1), None, run.objects)
                ))
            });
            let texts: Vec<String> = texts.collect();
            Value::text(format!("{{ {} }}", texts.join(", ")))
        }
        other => return Err(super::bind::unsupported(format!("the aggregate {other}"))),
    })
}

/// The value of a window function for each row.
pub(super) fn window_values(
    run: &Run<'_>,
    window: &Window,
    frames: &[Frame<'_>],
) -> Result<Vec<Value>, Fault> {
    let mut keyed = Vec::new();
    for (place, frame) in frames.iter().enumerate() {
        let keys = window.order.iter().map(|sort| run.eval(&sort.expr, frame));
        let keys = keys.collect::<Result<Vec<_>, Fault>>()?;
        keyed.push((keys, (place, run.all(&window.partition, frame)?)));
    }
    sort(&mut keyed, &window.order);
    let mut places: HashMap<Vec<Value>, usize> = HashMap::new();
    let mut partitions: Vec<Vec<(Vec<Value>, usize)>> = Vec::new();
    for (keys, (place, partition)) in keyed {
        let of = *places.entry(partition).or_insert_with(|| {
            partitions.push(Vec::new());
            partitions.len() - 1
        });
        partitions[of].push((keys, place));
    }
    let mut values = vec![Value::Null; frames.len()];
    let number = |count: usize| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let of = &window.function;
    for rows in &partitions {
        let (mut rank, mut dense) = (0, 0);
        for (place, (keys, row)) in rows.iter().enumerate() {
            if place == 0 || rows[place - 1].0 != *keys {
                rank = place + 1;
                dense += 1;
            }
            let at = |place: Option<usize>| -> Result<Value, Fault> {
                let found = place.and_then(|place| rows.get(place));
                match (found, of.arguments.first()) {
                    (Some((_, row)), Some(value)) => run.eval(value, &frames[*row]),
                    _ => Ok(Value::Null),
                }
            };
            values[*row] = match of.call.name.as_str() {
                "row_number" => number(place + 1),
                "rank" => number(rank),
                "dense_rank" => number(dense),
                "lag" => at(place.checked_sub(1))?,
                "lead" => at(Some(place + 1))?,
                "first_value" => at(Some(0))?,
                "last_value" => {
                    let end = rows.iter().rposition(|(other, _)| other == keys);
                    at(end)?
                }
                _ => {
                    // With an order, the rows up to the last one with the same keys.
                    let end = match window.order.is_empty() {
                        true => rows.len(),
                        false => rows
                            .iter()
                            .rposition(|(other, _)| other == keys)
                            .map_or(0, |end| end + 1),
                    };
                    let seen: Vec<Frame<'_>> =
                        rows[..end].iter().map(|(_, row)| frames[*row]).collect();
                    aggregate(run, of, &seen)?
                }
            };
        }
    }
    Ok(values)
}
