//! Templates of PostgreSQL's `to_char` for dates and times.
//!
//! Invariant: a template is read as PostgreSQL reads it: at each place the longest known pattern, in
//! exactly its case; all other characters stand for themselves.
//!
//! The patterns: <https://www.postgresql.org/docs/15/functions-formatting.html>

use std::fmt::Write;

use chrono::{Datelike, NaiveDateTime, Timelike};

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(pub(super) Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Field {
        field: Field,
        /// `FM`: without zeros and blanks that fill the field.
        is_bare: bool,
        /// `TH` or `th`.
        ordinal: Option<Case>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Capital,
    Lower,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Meridiem(Case, Dots),
    Era(Case, Dots),
    Month(Case),
    ShortMonth(Case),
    Day(Case),
    ShortDay(Case),
    RomanMonth(Case),
    Zone(Case),
    Century,
    Hour12,
    Hour24,
    Minute,
    Second,
    SecondOfDay,
    Milliseconds,
    Microseconds,
    /// The first digits of the fraction of the second.
    Fraction(usize),
    YearWithComma,
    /// The last digits of the year; four are all of it.
    Year(u32),
    IsoYear(u32),
    MonthNumber,
    DayOfMonth,
    DayOfYear,
    IsoDayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Quarter,
    JulianDay,
    ZoneHours,
    ZoneMinutes,
    Offset,
    /// `FX`, which concerns only reading.
    Nothing,
}

/// Whether an abbreviation has dots: `a.m.`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dots {
    Dots,
    None,
}

use Case::{Capital, Lower, Upper};
use Field::*;

/// Patterns in capital letters. Those in small letters mean the same, except for the case of names.
const PATTERNS: [(&str, Field); 50] = [
    ("A.D.", Era(Upper, Dots::Dots)),
    ("A.M.", Meridiem(Upper, Dots::Dots)),
    ("AD", Era(Upper, Dots::None)),
    ("AM", Meridiem(Upper, Dots::None)),
    ("B.C.", Era(Upper, Dots::Dots)),
    ("BC", Era(Upper, Dots::None)),
    ("CC", Century),
    ("DAY", Day(Upper)),
    ("DDD", DayOfYear),
    ("DD", DayOfMonth),
    ("DY", ShortDay(Upper)),
    ("D", DayOfWeek),
    ("FF1", Fraction(1)),
    ("FF2", Fraction(2)),
    ("FF3", Fraction(3)),
    ("FF4", Fraction(4)),
    ("FF5", Fraction(5)),
    ("FF6", Fraction(6)),
    ("FX", Nothing),
    ("HH24", Hour24),
    ("HH12", Hour12),
    ("HH", Hour12),
    ("IDDD", IsoDayOfYear),
    ("ID", IsoDayOfWeek),
    ("IW", IsoWeek),
    ("IYYY", IsoYear(4)),
    ("IYY", IsoYear(3)),
    ("IY", IsoYear(2)),
    ("I", IsoYear(1)),
    ("J", JulianDay),
    ("MI", Minute),
    ("MM", MonthNumber),
    ("MONTH", Month(Upper)),
    ("MON", ShortMonth(Upper)),
    ("MS", Milliseconds),
    ("OF", Offset),
    ("P.M.", Meridiem(Upper, Dots::Dots)),
    ("PM", Meridiem(Upper, Dots::None)),
    ("Q", Quarter),
    ("RM", RomanMonth(Upper)),
    ("SSSSS", SecondOfDay),
    ("SSSS", SecondOfDay),
    ("SS", Second),
    ("TZ", Zone(Upper)),
    ("US", Microseconds),
    ("WW", WeekOfYear),
    ("W", WeekOfMonth),
    ("Y,YYY", YearWithComma),
    ("YYYY", Year(4)),
    ("YYY", Year(3)),
];

/// Further patterns, which have no form in small letters or are shorter than others.
const MORE_PATTERNS: [(&str, Field); 10] = [
    ("Day", Day(Capital)),
    ("Dy", ShortDay(Capital)),
    ("Month", Month(Capital)),
    ("Mon", ShortMonth(Capital)),
    ("TZH", ZoneHours),
    ("TZM", ZoneMinutes),
    ("YY", Year(2)),
    ("Y", Year(1)),
    ("yy", Year(2)),
    ("y", Year(1)),
];

impl Field {
    /// Whether it is written in digits.
    pub(super) fn is_number(self) -> bool {
        !matches!(
            self,
            Meridiem(..)
                | Era(..)
                | Month(_)
                | ShortMonth(_)
                | Day(_)
                | ShortDay(_)
                | RomanMonth(_)
                | Zone(_)
                | Offset
                | ZoneHours
                | Nothing
        )
    }

    /// The field of the same pattern in small letters.
    fn in_small_letters(self) -> Self {
        match self {
            Meridiem(_, dots) => Meridiem(Lower, dots),
            Era(_, dots) => Era(Lower, dots),
            Month(_) => Month(Lower),
            ShortMonth(_) => ShortMonth(Lower),
            Day(_) => Day(Lower),
            ShortDay(_) => ShortDay(Lower),
            RomanMonth(_) => RomanMonth(Lower),
            Zone(_) => Zone(Lower),
            other => other,
        }
    }

    /// The longest pattern at the beginning of `text`, and its length in bytes.
    fn at(text: &str) -> Option<(Self, usize)> {
        let upper = PATTERNS.iter().chain(&MORE_PATTERNS);
        let upper = upper.filter(|(pattern, _)| text.starts_with(pattern));
        let upper = upper.map(|(pattern, field)| (*field, pattern.len()));
        let lower = PATTERNS.iter().filter(|(pattern, _)| {
            let start = text.get(..pattern.len());
            start.is_some_and(|start| {
                start.eq_ignore_ascii_case(pattern)
                    && !start.bytes().any(|byte| byte.is_ascii_uppercase())
            })
        });
        let lower = lower.map(|(pattern, field)| (field.in_small_letters(), pattern.len()));
        upper.chain(lower).max_by_key(|(_, length)| *length)
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        let mut is_quoted = false;
        while let Some(first) = rest.chars().next() {
            if is_quoted || first == '"' || first == '\\' {
                let after = &rest[first.len_utf8()..];
                match (first, after.chars().next()) {
                    ('"', _) => {
                        is_quoted = !is_quoted;
                        rest = after;
                    }
                    // A backslash keeps the next character, in quotes, or before a quote.
                    ('\\', Some(next)) if is_quoted || next == '"' => {
                        plain.push(next);
                        rest = &after[next.len_utf8()..];
                    }
                    _ => {
                        plain.push(first);
                        rest = after;
                    }
                }
                continue;
            }
            // One prefix; a second one is text.
            let prefixes = [("FM", true), ("fm", true), ("TM", false), ("tm", false)];
            let prefix = prefixes
                .into_iter()
                .find(|(prefix, _)| rest.starts_with(prefix));
            let is_bare = prefix.is_some_and(|(_, is_bare)| is_bare);
            rest = &rest[prefix.map_or(0, |(prefix, _)| prefix.len())..];
            let Some((field, length)) = Field::at(rest) else {
                let is_plain = |first: &char| !matches!(first, '"' | '\\');
                if let Some(first) = rest.chars().next().filter(is_plain) {
                    plain.push(first);
                    rest = &rest[first.len_utf8()..];
                }
                continue;
            };
            rest = &rest[length..];
            let ordinals = [("TH", Upper), ("th", Lower)];
            let ordinal = ordinals
                .into_iter()
                .find(|(suffix, _)| rest.starts_with(suffix));
            if ordinal.is_some() {
                rest = &rest[2..];
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Field {
                field,
                is_bare,
                ordinal: ordinal.map(|(_, case)| case),
            });
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Self(pieces)
    }

    /// Writes a time. `zone` is the abbreviation of its time zone, and the zone's offset in seconds.
    pub(super) fn write(&self, time: &NaiveDateTime, zone: Option<(&str, i32)>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field {
                    field,
                    is_bare,
                    ordinal,
                } => {
                    let start = out.len();
                    field.write(time, zone, *is_bare, out);
                    // PostgreSQL passes over the suffix of an offset.
                    let is_number = !matches!(field, Offset | ZoneHours | ZoneMinutes | Zone(_));
                    if let Some(case) = ordinal.filter(|_| is_number) {
                        let suffix = ordinal_of(&out[start..]);
                        out.push_str(&cased(suffix, case));
                    }
                }
            }
        }
    }
}

/// The ordinal's suffix of a number; empty if the text does not end in a digit.
fn ordinal_of(number: &str) -> &'static str {
    let mut digits = number.bytes().rev();
    let last = digits.next();
    let is_teen = digits.next() == Some(b'1');
    match last {
        Some(b'1') if !is_teen => "st",
        Some(b'2') if !is_teen => "nd",
        Some(b'3') if !is_teen => "rd",
        Some(byte) if byte.is_ascii_digit() => "th",
        _ => "",
    }
}

fn cased(text: &str, case: Case) -> String {
    match case {
        Upper => text.to_ascii_uppercase(),
        Lower => text.to_ascii_lowercase(),
        Capital => text.to_owned(),
    }
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

pub(super) const ROMAN: [&str; 12] = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII",
];

/// The Julian day of 0001-01-01.
const JULIAN_DAY_OF_YEAR_1: i64 = 1_721_426;

/// The year as people count: there is no year 0.
fn counted(year: i32) -> i32 {
    if year > 0 { year } else { 1 - year }
}

impl Field {
    fn write(
        self,
        time: &NaiveDateTime,
        zone: Option<(&str, i32)>,
        is_bare: bool,
        out: &mut String,
    ) {
        // Writing to a text never fails.
        let mut number = |value: i64, width: usize| {
            let width = if is_bare { 0 } else { width };
            let _ = write!(out, "{value:0width$}");
        };
        let year = time.year();
        let month = time.month0() as usize % 12;
        let day = time.weekday().num_days_from_sunday() as usize % 7;
        let last_digits = |year: i32, digits: u32| match digits {
            4.. => i64::from(year),
            _ => i64::from(year % 10_i32.pow(digits)),
        };
        let offset = zone.map_or(0, |(_, offset)| offset);
        match self {
            Nothing => {}
            Hour12 => number(i64::from(time.hour12().1), 2),
            Hour24 => number(i64::from(time.hour()), 2),
            Minute => number(i64::from(time.minute()), 2),
            Second => number(i64::from(time.second()), 2),
            SecondOfDay => number(i64::from(time.num_seconds_from_midnight()), 0),
            MonthNumber => number(i64::from(time.month()), 2),
            DayOfMonth => number(i64::from(time.day()), 2),
            DayOfYear => number(i64::from(time.ordinal()), 3),
            IsoDayOfYear => {
                let week = i64::from(time.iso_week().week0());
                let day = i64::from(time.weekday().number_from_monday());
                number(week * 7 + day, 3);
            }
            DayOfWeek => number(day as i64 + 1, 0),
            IsoDayOfWeek => number(i64::from(time.weekday().number_from_monday()), 0),
            WeekOfMonth => number(i64::from(time.day0() / 7 + 1), 0),
            WeekOfYear => number(i64::from(time.ordinal0() / 7 + 1), 2),
            IsoWeek => number(i64::from(time.iso_week().week()), 2),
            Quarter => number(month as i64 / 3 + 1, 0),
            JulianDay => {
                let days = i64::from(time.num_days_from_ce());
                number(days + JULIAN_DAY_OF_YEAR_1 - 1, 0);
            }
            Century => {
                let century = match year > 0 {
                    true => (year - 1) / 100 + 1,
                    false => year / 100 - 1,
                };
                number(i64::from(century), 2);
            }
            Year(digits) => number(last_digits(counted(year), digits), digits as usize),
            IsoYear(digits) => {
                let year = counted(time.iso_week().year());
                number(last_digits(year, digits), digits as usize);
            }
            YearWithComma => {
                let year = counted(year);
                let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
            }
            Milliseconds => {
                let _ = write!(out, "{:03}", micros(time) / 1000);
            }
            Microseconds => {
                let _ = write!(out, "{:06}", micros(time));
            }
            Fraction(digits) => {
                let fraction = format!("{:06}", micros(time));
                out.push_str(fraction.get(..digits).unwrap_or(&fraction));
            }
            Month(case) => fill(&cased(MONTHS[month], case), 9, is_bare, out),
            ShortMonth(case) => out.push_str(&cased(&MONTHS[month][..3], case)),
            Day(case) => fill(&cased(DAYS[day], case), 9, is_bare, out),
            ShortDay(case) => out.push_str(&cased(&DAYS[day][..3], case)),
            RomanMonth(case) => fill(&cased(ROMAN[month], case), 4, is_bare, out),
            Meridiem(case, dots) => {
                let text = match (time.hour() >= 12, dots) {
                    (true, Dots::Dots) => "P.M.",
                    (true, Dots::None) => "PM",
                    (false, Dots::Dots) => "A.M.",
                    (false, Dots::None) => "AM",
                };
                out.push_str(&cased(text, case));
            }
            Era(case, dots) => {
                let text = match (year > 0, dots) {
                    (true, Dots::Dots) => "A.D.",
                    (true, Dots::None) => "AD",
                    (false, Dots::Dots) => "B.C.",
                    (false, Dots::None) => "BC",
                };
                out.push_str(&cased(text, case));
            }
            Zone(case) => out.push_str(&cased(zone.map_or("", |(name, _)| name), case)),
            ZoneHours => {
                let sign = if offset < 0 { '-' } else { '+' };
                let _ = write!(out, "{sign}{:02}", offset.abs() / 3600);
            }
            ZoneMinutes => {
                let _ = write!(out, "{:02}", offset.abs() / 60 % 60);
            }
            Offset => {
                let sign = if offset < 0 { '-' } else { '+' };
                let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
                let width = if is_bare { 0 } else { 2 };
                let _ = write!(out, "{sign}{hours:0width$}");
                if minutes != 0 {
                    let _ = write!(out, ":{minutes:02}");
                }
            }
        }
    }
}

fn micros(time: &NaiveDateTime) -> u32 {
    time.nanosecond() / 1000 % 1_000_000
}

fn fill(text: &str, width: usize, is_bare: bool, out: &mut String) {
    let width = if is_bare { 0 } else { width };
    let _ = write!(out, "{text:<width$}");
}
