//! Texts as times.
//!
//! Invariant: a text is read as PostgreSQL reads it, or refused. ISO 8601 is read, with PostgreSQL's
//! liberties: months and days of one digit, times without seconds, names of zones, years before Christ.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, Int64Array, StringArray, Time64NanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::zone::instant_of;
use crate::error::{Error, ErrorKind, Result};

/// The zone of a text.
enum Zone {
    /// East of Greenwich, in seconds.
    Offset(i64),
    Named(Tz),
}

/// Reads texts as `wanted`, a timestamp or a time. Without `is_try`, a text that can't be read is an
/// error, otherwise NULL.
///
/// # Errors
/// A text is no time, or out of range of `wanted`.
pub(crate) fn parse_times(
    texts: &StringArray,
    wanted: &DataType,
    is_try: bool,
) -> Result<ArrayRef> {
    let failed = |error: arrow::error::ArrowError| {
        Error::new(ErrorKind::InvalidParameter, "a time is out of range").with_source(error)
    };
    let parse = |parse: &dyn Fn(&str) -> Option<i64>, name: &str, example: &str| -> Result<_> {
        let values = texts.iter().map(|text| {
            let Some(text) = text else {
                return Ok(None);
            };
            match parse(text.trim()) {
                None if !is_try => {
                    let why = format!("invalid input for type {name}: \"{text}\"");
                    Err(Error::new(ErrorKind::InvalidParameter, why)
                        .with_hint(format!("write it as '{example}'")))
                }
                parsed => Ok(parsed),
            }
        });
        values.collect::<Result<Int64Array>>()
    };
    match wanted {
        DataType::Timestamp(unit, zone) => {
            let session: Option<Tz> = match zone {
                Some(zone) => Some(zone.parse().map_err(failed)?),
                None => None,
            };
            let (name, example) = match session {
                Some(_) => ("timestamp with time zone", "2024-02-29 10:11:12+00"),
                None => ("timestamp", "2024-02-29 10:11:12"),
            };
            let read = |text: &str| unit_of(*unit, timestamp(text, session.as_ref())?);
            let values = parse(&read, name, example)?;
            cast(&values, wanted).map_err(failed)
        }
        _ => {
            let read = |text: &str| time_of_day(text).map(|micros| micros * 1000);
            let values = parse(&read, "time", "10:11:12")?;
            let values =
                Time64NanosecondArray::new(values.values().clone(), values.nulls().cloned());
            let values: ArrayRef = Arc::new(values);
            cast(&values, wanted).map_err(failed)
        }
    }
}

/// Microseconds in another unit.
fn unit_of(unit: TimeUnit, micros: i64) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some((micros + 500_000).div_euclid(1_000_000)),
        TimeUnit::Millisecond => Some((micros + 500).div_euclid(1000)),
        TimeUnit::Microsecond => Some(micros),
        TimeUnit::Nanosecond => micros.checked_mul(1000),
    }
}

/// Microseconds since 1970. Without a `session` zone, the zone of the text is ignored.
fn timestamp(text: &str, session: Option<&Tz>) -> Option<i64> {
    if text.eq_ignore_ascii_case("epoch") {
        return Some(0);
    }
    let (text, is_before_christ) = match text.strip_suffix("BC") {
        Some(text) => (text.trim_end(), true),
        None => (text, false),
    };
    let (date, rest) = date(text, is_before_christ)?;
    let (micros, rest) = match rest.strip_prefix(['T', 't', ' ']) {
        Some(rest) if rest.trim_start().starts_with(|c: char| c.is_ascii_digit()) => {
            time(rest.trim_start())?
        }
        _ => (0, rest),
    };
    let local = date.and_time(NaiveTime::MIN) + TimeDelta::microseconds(micros);
    let zone = zone(rest.trim())?;
    let Some(session) = session else {
        return Some(local.and_utc().timestamp_micros());
    };
    let instant: NaiveDateTime = match zone {
        Some(Zone::Offset(seconds)) => local.checked_sub_signed(TimeDelta::seconds(seconds))?,
        Some(Zone::Named(zone)) => instant_of(local, &zone)?,
        None => instant_of(local, session)?,
    };
    Some(instant.and_utc().timestamp_micros())
}

/// Splits off a number of `least` to `most` digits.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(least..=most).contains(&count) {
        return None;
    }
    let (digits, rest) = text.split_at(count);
    Some((digits.parse().ok()?, rest))
}

fn date(text: &str, is_before_christ: bool) -> Option<(NaiveDate, &str)> {
    let (year, rest) = digits(text, 4, 6)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
    // There is no year 0.
    let year = match (year, is_before_christ) {
        (0, _) => return None,
        (year, true) => 1 - year,
        (year, false) => year,
    };
    let [month, day] = [month, day].map(|number| u32::try_from(number).unwrap_or_default());
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    Some((date, rest))
}

/// `10:11`, `10:11:12` or `10:11:12.345`, in microseconds.
fn time(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = digits(text, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2, 2)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => digits(rest, 1, 2)?,
        None => (0, rest),
    };
    let (micros, rest) = match rest.strip_prefix('.') {
        Some(rest) => fraction(rest),
        None => (0, rest),
    };
    let is_end = hour == 24 && minute == 0 && second == 0 && micros == 0;
    if !is_end && (hour > 23 || minute > 59 || second > 60) {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some((seconds * 1_000_000 + micros, rest))
}

/// The digits after the decimal point, rounded to microseconds.
fn fraction(text: &str) -> (i64, &str) {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(count);
    let digit = |place: usize| {
        digits
            .as_bytes()
            .get(place)
            .map_or(0, |digit| i64::from(digit - b'0'))
    };
    let micros = (0..6).fold(0, |micros, place| micros * 10 + digit(place));
    (micros + i64::from(digit(6) >= 5), rest)
}

/// The zone at the end of a text. The outer option is empty if there is something else.
fn zone(text: &str) -> Option<Option<Zone>> {
    let (sign, rest) = match text.chars().next() {
        None => return Some(None),
        Some('Z' | 'z') if text.len() == 1 => return Some(Some(Zone::Offset(0))),
        Some('+') => (1, &text[1..]),
        Some('-') => (-1, &text[1..]),
        Some(_) => return Some(Some(Zone::Named(text.parse().ok()?))),
    };
    let (hours, minutes, rest) = match digits(rest, 4, 4) {
        Some((both, rest)) => (both / 100, both % 100, rest),
        None => {
            let (hours, rest) = digits(rest, 1, 2)?;
            match rest.strip_prefix(':') {
                Some(rest) => {
                    let (minutes, rest) = digits(rest, 2, 2)?;
                    (hours, minutes, rest)
                }
                None => (hours, 0, rest),
            }
        }
    };
    let is_valid = rest.is_empty() && hours < 16 && minutes < 60;
    is_valid.then_some(Some(Zone::Offset(sign * (hours * 60 + minutes) * 60)))
}

/// A time of day in microseconds.
fn time_of_day(text: &str) -> Option<i64> {
    let (micros, rest) = match digits(text, 6, 6) {
        // `101112`
        Some((number, rest)) => {
            let parts = format!(
                "{:02}:{:02}:{:02}",
                number / 10_000,
                number / 100 % 100,
                number % 100
            );
            (time(&parts)?.0, rest)
        }
        None => time(text)?,
    };
    zone(rest.trim())?;
    // The end of the day has no place in Arrow's type.
    (micros < 86_400_000_000).then_some(micros)
}
