//! `to_date` and `to_timestamp` with templates of PostgreSQL.
//!
//! Invariant: a text is read as PostgreSQL reads it, or refused. A field that is not supported is an
//! error.
//!
//! The rules: `DCH_from_char` in PostgreSQL's `src/backend/utils/adt/formatting.c`.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::template::{DAYS, Dots, Field, MONTHS, Piece, ROMAN, Template};
use crate::error::{Error, ErrorKind, Result};

/// What a text says about a time.
#[derive(Debug, Default)]
struct Found {
    year: i32,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    julian_day: Option<i32>,
    hour: u32,
    minute: u32,
    second: u32,
    second_of_day: Option<u32>,
    micros: u32,
    is_afternoon: Option<bool>,
    has_hour12: bool,
    is_before_christ: bool,
}

fn refuse(why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

/// Reads a time.
///
/// # Errors
/// The text does not fit the template, or is no time.
pub(super) fn read_time(text: &str, template: &Template) -> Result<NaiveDateTime> {
    refuse_conflicts(template)?;
    let mut reader = Reader {
        text,
        rest: text,
        skipped: 0,
        found: Found::default(),
    };
    let pieces = &template.0;
    for (number, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(written) => reader.read_text(written, number == 0),
            Piece::Field {
                field,
                is_bare,
                ordinal,
            } => {
                reader.skip_space();
                let is_open = *is_bare || is_separator(pieces.get(number + 1));
                reader.read_field(*field, is_open)?;
                if ordinal.is_some() {
                    reader.rest = reader.rest.get(2..).unwrap_or_default();
                }
                reader.skipped = 0;
            }
        }
    }
    let found = reader.found.to_time();
    found.ok_or_else(|| refuse(format!("the date or time \"{text}\" is out of range")))
}

/// Refuses templates with several fields for one part of a time: PostgreSQL refuses or merges them.
fn refuse_conflicts(template: &Template) -> Result<()> {
    let mut parts = Vec::new();
    let mut needs_year = false;
    for piece in &template.0 {
        let Piece::Field { field, .. } = piece else {
            continue;
        };
        parts.extend_from_slice(match field {
            Field::Year(_) | Field::YearWithComma => &["year"],
            Field::MonthNumber | Field::Month(_) | Field::ShortMonth(_) | Field::RomanMonth(_) => {
                &["month"]
            }
            Field::DayOfMonth => &["day"],
            Field::DayOfYear => {
                needs_year = true;
                &["month", "day"]
            }
            Field::JulianDay => &["year", "month", "day"],
            Field::Hour12 | Field::Hour24 => &["hour"],
            Field::Minute => &["minute"],
            Field::Second => &["second"],
            Field::SecondOfDay => &["hour", "minute", "second"],
            Field::Milliseconds | Field::Microseconds | Field::Fraction(_) => &["fraction"],
            _ => &[][..],
        });
    }
    let is_twice = (0..parts.len()).any(|at| parts[..at].contains(&parts[at]));
    if !is_twice && (!needs_year || parts.contains(&"year")) {
        return Ok(());
    }
    let why = "the template has conflicting or missing fields";
    Err(Error::new(ErrorKind::Unsupported, why)
        .with_hint("name each part of the time once, and a year beside DDD"))
}

/// Whether a field of digits ends before this piece, however many digits it has.
fn is_separator(next: Option<&Piece>) -> bool {
    match next {
        None => true,
        Some(Piece::Text(text)) => !text.starts_with(|c: char| c.is_ascii_digit()),
        Some(Piece::Field { field, .. }) => !field.is_number(),
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    /// How many blanks were passed over since the last field.
    skipped: usize,
    found: Found,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        let trimmed = self.rest.trim_ascii_start();
        self.skipped += self.rest.len() - trimmed.len();
        self.rest = trimmed;
    }

    /// A separator stands for a separator or for nothing, any other character for any character.
    fn read_text(&mut self, written: &str, is_first: bool) {
        for (number, c) in written.chars().enumerate() {
            let separates = |c: char| c.is_ascii_whitespace() || c.is_ascii_punctuation();
            if separates(c) || (is_first && number == 0) {
                self.skip_space();
            }
            if separates(c) {
                self.skipped = self.skipped.saturating_sub(1);
                if let Some(rest) = self.rest.strip_prefix(separates) {
                    self.rest = rest;
                    self.skipped += 1;
                }
            } else if self.skipped > 0 {
                self.skipped -= 1;
            } else {
                let mut rest = self.rest.chars();
                rest.next();
                self.rest = rest.as_str();
            }
        }
    }

    fn invalid(&self) -> Error {
        refuse(format!(
            "\"{}\" does not fit the template at \"{}\"",
            self.text, self.rest
        ))
    }

    /// Reads `length` digits; if the field is open, all digits. Returns the number and how many
    /// digits it has.
    fn digits(&mut self, length: usize, is_open: bool) -> Result<(u32, usize)> {
        let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 || (!is_open && count < length) {
            return Err(self.invalid());
        }
        let count = if is_open { count } else { length };
        let (digits, rest) = self.rest.split_at(count);
        let number = digits.parse().map_err(|_| self.invalid())?;
        self.rest = rest;
        Ok((number, count))
    }

    /// Reads one of these words, in any case. Returns its index.
    fn word<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) -> Result<usize> {
        for (index, word) in words.into_iter().enumerate() {
            let start = self.rest.get(..word.len());
            if start.is_some_and(|start| start.eq_ignore_ascii_case(word)) {
                self.rest = &self.rest[word.len()..];
                return Ok(index);
            }
        }
        Err(self.invalid())
    }

    fn month(&mut self, names: [&str; 12]) -> Result<()> {
        let month = self.word(names)?;
        self.found.month = u32::try_from(month + 1).ok();
        Ok(())
    }

    fn read_field(&mut self, field: Field, is_open: bool) -> Result<()> {
        match field {
            Field::Nothing => {}
            Field::Year(length) => {
                let (year, count) = self.digits(length as usize, is_open)?;
                let year = i32::try_from(year).map_err(|_| self.invalid())?;
                self.found.year = match (length, count) {
                    (4, _) | (_, 4..) => year,
                    _ => near_2020(year),
                };
            }
            Field::YearWithComma => {
                let (thousands, _) = self.digits(1, true)?;
                let rest = self.rest.strip_prefix(',').ok_or_else(|| self.invalid())?;
                self.rest = rest;
                let (year, _) = self.digits(3, false)?;
                let year = thousands
                    .checked_mul(1000)
                    .and_then(|all| all.checked_add(year));
                let year = year.and_then(|year| i32::try_from(year).ok());
                self.found.year = year.ok_or_else(|| self.invalid())?;
            }
            Field::MonthNumber => self.found.month = Some(self.digits(2, is_open)?.0),
            Field::Month(_) => self.month(MONTHS)?,
            Field::ShortMonth(_) => self.month(MONTHS.map(short))?,
            Field::RomanMonth(_) => {
                // The longest first: `VIII` begins with `VII`.
                let mut months: Vec<(usize, &str)> = ROMAN.into_iter().enumerate().collect();
                months.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
                let found = self.word(months.iter().map(|(_, name)| *name))?;
                let month = months.get(found).map_or(0, |(month, _)| *month);
                self.found.month = u32::try_from(month + 1).ok();
            }
            Field::DayOfMonth => self.found.day = Some(self.digits(2, is_open)?.0),
            Field::DayOfYear => self.found.day_of_year = Some(self.digits(3, is_open)?.0),
            Field::JulianDay => {
                let (day, _) = self.digits(1, true)?;
                self.found.julian_day = i32::try_from(day).ok();
            }
            // The date follows from other fields.
            Field::Day(_) => {
                self.word(DAYS)?;
            }
            Field::ShortDay(_) => {
                self.word(DAYS.map(short))?;
            }
            Field::Hour24 => self.found.hour = self.digits(2, is_open)?.0,
            Field::Hour12 => {
                self.found.hour = self.digits(2, is_open)?.0;
                self.found.has_hour12 = true;
            }
            Field::Minute => self.found.minute = self.digits(2, is_open)?.0,
            Field::Second => self.found.second = self.digits(2, is_open)?.0,
            Field::SecondOfDay => self.found.second_of_day = Some(self.digits(5, is_open)?.0),
            Field::Milliseconds | Field::Microseconds | Field::Fraction(_) => {
                let length = match field {
                    Field::Milliseconds => 3,
                    Field::Fraction(digits) => digits,
                    _ => 6,
                };
                let (number, count) = self.digits(length, is_open)?;
                // More digits than the field has would be another unit in PostgreSQL.
                if count > length {
                    return Err(self.invalid());
                }
                let missing = u32::try_from(6 - count).map_err(|_| self.invalid())?;
                self.found.micros = number * 10_u32.pow(missing);
            }
            Field::Meridiem(_, dots) => {
                let found = match dots {
                    Dots::Dots => self.word(["A.M.", "P.M."])?,
                    Dots::None => self.word(["AM", "PM"])?,
                };
                self.found.is_afternoon = Some(found == 1);
                self.found.has_hour12 = true;
            }
            Field::Era(_, dots) => {
                let found = match dots {
                    Dots::Dots => self.word(["A.D.", "B.C."])?,
                    Dots::None => self.word(["AD", "BC"])?,
                };
                self.found.is_before_christ = found == 1;
            }
            other => {
                let why = format!("the field {other:?} can't be read, only written by to_char");
                return Err(Error::new(ErrorKind::Unsupported, why));
            }
        }
        Ok(())
    }
}

/// The first three letters of a name.
fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

/// The year nearest to 2020 with these last digits.
fn near_2020(year: i32) -> i32 {
    match year {
        ..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

impl Found {
    fn to_time(&self) -> Option<NaiveDateTime> {
        let mut hour = self.hour;
        if self.has_hour12 {
            if !(1..=12).contains(&hour) {
                return None;
            }
            hour = match (self.is_afternoon, hour) {
                (Some(true), 1..12) => hour + 12,
                (Some(false) | None, 12) => 0,
                _ => hour,
            };
        }
        let time = match self.second_of_day {
            Some(seconds) => NaiveTime::from_num_seconds_from_midnight_opt(seconds, 0)?,
            None => NaiveTime::from_hms_opt(hour, self.minute, self.second)?,
        };
        let year = match self.is_before_christ {
            true if self.year > 0 => 1 - self.year,
            _ => self.year,
        };
        let date = match (self.julian_day, self.day_of_year, self.month) {
            (Some(day), _, _) => {
                // The Julian day of 1970-01-01.
                let days = i64::from(day) - 2_440_588;
                let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
                epoch.checked_add_signed(TimeDelta::try_days(days)?)?
            }
            (None, Some(day), None) => NaiveDate::from_yo_opt(year, day)?,
            (None, _, month) => {
                NaiveDate::from_ymd_opt(year, month.unwrap_or(1), self.day.unwrap_or(1))?
            }
        };
        let micros = TimeDelta::microseconds(i64::from(self.micros));
        date.and_time(time).checked_add_signed(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_in_postgres() {
        let cases = [
            ("05 Dec 2000", "DD Mon YYYY", Some("2000-12-05 00:00:00")),
            ("20240229", "YYYYMMDD", Some("2024-02-29 00:00:00")),
            ("2024-060", "YYYY-DDD", Some("2024-02-29 00:00:00")),
            ("29/02/24", "DD/MM/YY", Some("2024-02-29 00:00:00")),
            ("2023-02-29", "YYYY-MM-DD", None),
            (
                "December 5, 2000",
                "FMMonth DD, YYYY",
                Some("2000-12-05 00:00:00"),
            ),
            (
                "2024-02-29T10:11:12.5",
                "YYYY-MM-DD\"T\"HH24:MI:SS.MS",
                Some("2024-02-29 10:11:12.500"),
            ),
            (
                "2024-02-29 10:11:12 PM",
                "YYYY-MM-DD HH12:MI:SS AM",
                Some("2024-02-29 22:11:12"),
            ),
            ("2024-2-9", "YYYY-MM-DD", Some("2024-02-09 00:00:00")),
            ("2024  02  09", "YYYY MM DD", Some("2024-02-09 00:00:00")),
            ("2024022", "YYYYMMDD", Some("2024-02-02 00:00:00")),
            ("abc", "YYYY", None),
        ];
        for (text, template, wanted) in cases {
            let read = read_time(text, &Template::parse(template));
            let read = read.ok().map(|time| time.to_string());
            assert_eq!(read.as_deref(), wanted, "{text} {template}");
        }
    }
}
