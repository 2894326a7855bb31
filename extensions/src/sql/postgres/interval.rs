//! Texts of intervals.
//!
//! Invariant: a translated text is the same interval to Arrow as the written one is to PostgreSQL.
//! See <https://www.postgresql.org/docs/15/datatype-datetime.html#DATATYPE-INTERVAL-INPUT>.

use std::fmt::Write;

/// Translates times of day (`1 day 02:03:04`) and ISO 8601 (`P1DT2H`). `None` if the text has
/// neither, or can't be read.
pub(super) fn translate(text: &str) -> Option<String> {
    let text = text.trim();
    match text.strip_prefix(['P', 'p']) {
        Some(rest) => iso(rest),
        None if text.contains(':') => with_time(text),
        None => None,
    }
}

fn iso(text: &str) -> Option<String> {
    let (mut out, mut rest, mut in_time) = (String::new(), text, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']) {
            (rest, in_time) = (after, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, after) = rest.split_at(end);
        number.parse::<f64>().ok()?;
        let unit = match (after.chars().next()?.to_ascii_uppercase(), in_time) {
            ('Y', false) => "years",
            ('M', false) => "months",
            ('W', false) => "weeks",
            ('D', false) => "days",
            ('H', true) => "hours",
            ('M', true) => "minutes",
            ('S', true) => "seconds",
            _ => return None,
        };
        let _ = write!(out, " {number} {unit}");
        rest = &after[1..];
    }
    (!out.is_empty()).then(|| out.trim_start().to_owned())
}

fn with_time(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut words = text.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        match words.peek() {
            _ if word.contains(':') => {
                let (sign, time) = match word.strip_prefix('-') {
                    Some(time) => ("-", time),
                    None => ("", word.strip_prefix('+').unwrap_or(word)),
                };
                let mut parts = time.split(':');
                for unit in ["hours", "minutes", "seconds"] {
                    let Some(part) = parts.next() else {
                        break;
                    };
                    let is_number = |c: char| c.is_ascii_digit() || (unit == "seconds" && c == '.');
                    if part.is_empty() || !part.chars().all(is_number) {
                        return None;
                    }
                    let _ = write!(out, " {sign}{part} {unit}");
                }
                if parts.next().is_some() {
                    return None;
                }
            }
            // A number before a time of day counts days.
            Some(next) if next.contains(':') && word.parse::<i64>().is_ok() => {
                let _ = write!(out, " {word} days");
            }
            _ => {
                let _ = write!(out, " {word}");
            }
        }
    }
    Some(out.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn times_of_day_and_iso_8601_are_translated() {
        let cases = [
            ("1 day 02:03:04", "1 day 02 hours 03 minutes 04 seconds"),
            ("3 -4:05", "3 days -4 hours -05 minutes"),
            (
                "P1Y2M3DT4H5M6.5S",
                "1 years 2 months 3 days 4 hours 5 minutes 6.5 seconds",
            ),
            ("P-1W", "-1 weeks"),
        ];
        for (text, wanted) in cases {
            assert_eq!(translate(text).as_deref(), Some(wanted), "{text}");
        }
        for text in ["2 days", "P", "P1H", "1:2:3:4", "a:b"] {
            assert_eq!(translate(text), None, "{text}");
        }
    }
}
