//! Dates, times and intervals as PostgreSQL prints them with its default settings.
//!
//! Invariant: no value is rounded. Nanoseconds, which PostgreSQL doesn't have, are printed with all
//! digits except trailing zeros. The forms:
//! <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-OUTPUT>

use std::sync::LazyLock;

use arrow::array::timezone::Tz;
use arrow::datatypes::TimeUnit;
use chrono::{Offset, TimeZone};

use super::digits::PAIRS;

pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// Returns the number of digits that a fraction of a second has in this unit, and the number of
/// units per second.
pub(super) fn fraction(unit: TimeUnit) -> (usize, i64) {
    match unit {
        TimeUnit::Second => (0, 1),
        TimeUnit::Millisecond => (3, 1_000),
        TimeUnit::Microsecond => (6, 1_000_000),
        TimeUnit::Nanosecond => (9, 1_000_000_000),
    }
}

/// `2010-10-10 08:10:10.5+05:30`
pub(super) fn push_timestamp(value: i64, unit: TimeUnit, zone: Option<Tz>, out: &mut Vec<u8>) {
    let (year, offset) = push_local_time(value, unit, zone, b' ', out);
    if let Some(offset) = offset {
        push_offset(offset, out);
    }
    push_era(year, out);
}

/// `2010-10-10T08:10:10.5+05:30`, with `Z` for UTC.
pub(super) fn push_iso_timestamp(value: i64, unit: TimeUnit, zone: Option<Tz>, out: &mut Vec<u8>) {
    let (year, offset) = push_local_time(value, unit, zone, b'T', out);
    match offset {
        None => {}
        Some(0) => out.push(b'Z'),
        Some(offset) => {
            push_offset(offset, out);
            if offset % 3600 == 0 {
                out.extend_from_slice(b":00");
            }
        }
    }
    push_era(year, out);
}

/// Writes the local date and time of the zone, with the byte `between` between them. Returns the
/// astronomical year and, if there is a zone, its offset from UTC in seconds.
fn push_local_time(
    value: i64,
    unit: TimeUnit,
    zone: Option<Tz>,
    between: u8,
    out: &mut Vec<u8>,
) -> (i64, Option<i64>) {
    let (digits, per_second) = fraction(unit);
    let utc = value.div_euclid(per_second);
    let rest = value.rem_euclid(per_second);
    let offset = zone.map(|zone| utc_offset(zone, utc));
    let local = utc.saturating_add(offset.unwrap_or(0));
    let year = push_day(local.div_euclid(SECONDS_PER_DAY), out);
    out.push(between);
    push_time(local.rem_euclid(SECONDS_PER_DAY), rest, digits, out);
    (year, offset)
}

/// The zone's offset in seconds east of UTC at a moment in seconds since 1970.
fn utc_offset(zone: Tz, utc: i64) -> i64 {
    chrono::DateTime::from_timestamp(utc, 0).map_or(0, |moment| {
        let offset = zone.offset_from_utc_datetime(&moment.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    })
}

/// `+00`, `+05:30`, `-00:25:21`
fn push_offset(offset: i64, out: &mut Vec<u8>) {
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = offset.abs();
    push_two_digits(seconds / 3600, out);
    if seconds % 3600 != 0 {
        out.push(b':');
        push_two_digits(seconds / 60 % 60, out);
    }
    if seconds % 60 != 0 {
        out.push(b':');
        push_two_digits(seconds % 60, out);
    }
}

/// The first year of [`DATES`].
const FIRST_YEAR: i64 = 1970;

/// Texts of the days from 1970 to 2069, because most dates are in this range.
static DATES: LazyLock<Vec<[u8; 10]>> = LazyLock::new(|| {
    let date = |day| {
        let mut text = Vec::new();
        push_date(day, &mut text);
        text.first_chunk().copied()
    };
    (0..36_525).map_while(date).collect()
});

pub(super) fn push_date_with_era(days: i64, out: &mut Vec<u8>) {
    let year = push_day(days, out);
    push_era(year, out);
}

/// Writes the date and returns a year of its era: the astronomical year (0 is 1 BC) if the date is
/// not in [`DATES`].
fn push_day(days: i64, out: &mut Vec<u8>) -> i64 {
    let known = usize::try_from(days).ok().and_then(|day| DATES.get(day));
    if let Some(date) = known {
        out.extend_from_slice(date);
        return FIRST_YEAR;
    }
    push_date(days, out)
}

/// Writes the date and returns the astronomical year (0 is 1 BC).
fn push_date(days: i64, out: &mut Vec<u8>) -> i64 {
    let (year, month, day) = civil_from_days(days);
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        push_two_digits(shown / 100, out);
        push_two_digits(shown % 100, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
    out.push(b'-');
    push_two_digits(month, out);
    out.push(b'-');
    push_two_digits(day, out);
    year
}

fn push_era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Year, month and day of a day counted from 1970-01-01 in the proleptic Gregorian calendar:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(super) fn push_time_in(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let (digits, per_second) = fraction(unit);
    push_time(
        value.div_euclid(per_second),
        value.rem_euclid(per_second),
        digits,
        out,
    );
}

/// `08:10:10.5`: the fraction has `digits` digits, and trailing zeros are dropped.
pub(super) fn push_time(seconds: i64, fraction: i64, digits: usize, out: &mut Vec<u8>) {
    let [[a, b], [c, d], [e, f]] = [seconds / 3600, seconds / 60 % 60, seconds % 60].map(pair);
    out.extend_from_slice(&[a, b, b':', c, d, b':', e, f]);
    push_fraction(fraction, digits, out);
}

fn push_fraction(fraction: i64, digits: usize, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    // A point and the digits, from the last to the first.
    let mut room = *b".000000000";
    let mut rest = fraction;
    for place in (1..=digits).rev() {
        room[place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let shown = room.iter().rposition(|digit| *digit != b'0');
    out.extend_from_slice(&room[..=shown.unwrap_or_default()]);
}

pub(super) fn push_two_digits(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&pair(value));
}

/// The digits of a number below 100.
fn pair(value: i64) -> [u8; 2] {
    PAIRS[value as usize % PAIRS.len()]
}

/// `1 year 2 mons -3 days +04:05:06.5`: the rule is `EncodeInterval` for `INTSTYLE_POSTGRES` in
/// PostgreSQL's src/interfaces/ecpg/pgtypeslib/interval.c.
pub(super) fn push_interval(months: i64, days: i64, nanos: i128, out: &mut Vec<u8>) {
    let start = out.len();
    let mut after_negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && count > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if count != 1 {
            out.push(b's');
        }
        after_negative = count < 0;
    }
    let is_only_part = out.len() == start;
    if nanos == 0 && !is_only_part {
        return;
    }
    if !is_only_part {
        out.push(b' ');
    }
    if nanos < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    let nanos = nanos.unsigned_abs();
    let seconds = nanos / 1_000_000_000;
    // Hours are not limited to 24: a duration has up to `i64::MAX` seconds.
    let hours = seconds / 3600;
    if hours < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
    out.push(b':');
    push_two_digits((seconds / 60 % 60) as i64, out);
    out.push(b':');
    push_two_digits((seconds % 60) as i64, out);
    push_fraction((nanos % 1_000_000_000) as i64, 9, out);
}
