//! Which texts a guessed type may stand for.
//!
//! Invariant: a value of a guessed type has the text that it was read from, up to zeros at the end of
//! a fraction and the form of an exponent. `007` is no integer, `12345678901234567.25` no
//! double, and `2024-01-01 10:11:12` no date. Declared types are not checked in this way.

use arrow::array::StringArray;
use arrow::datatypes::{DataType, TimeUnit};
use memchr::memchr;

/// The first text that is a value of the type, but not of this very text.
pub(in crate::read) fn find_inexact(texts: &StringArray, data_type: &DataType) -> Option<usize> {
    let is_exact: &dyn Fn(&str) -> bool = match data_type {
        DataType::Boolean => &is_flag,
        DataType::Int64 | DataType::UInt64 => &is_integer,
        DataType::Float64 => &is_double,
        DataType::Decimal128(_, scale) => {
            let digits = usize::try_from(*scale).unwrap_or_default();
            &move |text: &str| !text.contains(['e', 'E']) && has_fraction_of(text, digits)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => &|text: &str| has_fraction_of(text, 6),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => &|text: &str| has_fraction_of(text, 9),
        _ => return None,
    };
    let mut texts = texts.iter();
    texts.position(|text| text.is_some_and(|text| !text.is_empty() && !is_exact(text)))
}

/// The first text that has a time, which a date would cut off.
pub(super) fn find_time(texts: &StringArray) -> Option<usize> {
    // Most columns of dates have no time at all.
    memchr(b':', texts.value_data())?;
    texts
        .iter()
        .position(|text| text.is_some_and(|text| text.contains(':')))
}

/// PostgreSQL's texts of booleans, and the words.
pub(super) fn is_flag(text: &str) -> bool {
    let words = ["t", "f", "true", "false"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [first, ..] => first.is_ascii_digit() && *first != b'0',
        [] => false,
    }
}

/// A double gives back this many significant digits of every number.
const DIGITS: usize = 15;

fn is_double(text: &str) -> bool {
    is_short_decimal(text.as_bytes()) || is_exact_double(text)
}

/// Whether a text has at most 15 digits, a point among them, and no zero at its beginning, as most
/// numbers have.
fn is_short_decimal(text: &[u8]) -> bool {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let points = number.iter().filter(|byte| **byte == b'.').count();
    number.len() <= DIGITS + points
        && points <= 1
        && number
            .first()
            .is_some_and(|first| (b'1'..=b'9').contains(first))
        && number.iter().all(|byte| is_digit(byte) || *byte == b'.')
}

fn is_exact_double(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let Some((digits, exponent)) = normalize(number) else {
        // NaN and Infinity.
        return number.bytes().all(|byte| byte.is_ascii_alphabetic());
    };
    let whole = number.split(['.', 'e', 'E']).next().unwrap_or_default();
    if whole.len() > 1 && whole.starts_with('0') {
        return false;
    }
    if digits.len() <= DIGITS {
        return true;
    }
    let Ok(value) = number.parse::<f64>() else {
        return false;
    };
    normalize(&format!("{value:e}")) == Some((digits, exponent))
}

/// The digits of a number without zeros at either end, and the power of ten of the first digit's
/// place. `None` if it is no number in digits.
fn normalize(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let place = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
    let digits = digits.trim_matches('0').to_owned();
    let place = if digits.is_empty() {
        0
    } else {
        exponent + place
    };
    Some((digits, place))
}

/// Whether a text has at most `digits` digits after the point, without zeros at the end.
fn has_fraction_of(text: &str, digits: usize) -> bool {
    let Some((_, rest)) = text.split_once('.') else {
        return true;
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches('0').len() <= digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(text: &str, data_type: &DataType) -> bool {
        find_inexact(&StringArray::from(vec![text]), data_type).is_none()
    }

    #[test]
    fn texts_that_numbers_do_not_give_back() {
        for text in ["0", "-1", "10", "9223372036854775807"] {
            assert!(exact(text, &DataType::Int64), "{text}");
        }
        for text in ["007", "-0", "+1", "00"] {
            assert!(!exact(text, &DataType::Int64), "{text}");
        }
        for text in [
            "0.1",
            "-0",
            "1e5",
            "1.50",
            ".5",
            "1E-7",
            "NaN",
            "-Infinity",
            "0.30000000000000004",
        ] {
            assert!(exact(text, &DataType::Float64), "{text}");
        }
        for text in [
            "00.5",
            "01",
            "99999999999999999.99",
            "0.1000000000000000055",
        ] {
            assert!(!exact(text, &DataType::Float64), "{text}");
        }
    }

    #[test]
    fn times_are_not_cut() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert!(exact("2024-01-01 10:11:12.123456", &micros));
        assert!(exact("2024-01-01 10:11:12.123456000+02", &micros));
        assert!(!exact("2024-01-01 10:11:12.1234567", &micros));
        let dates = StringArray::from(vec!["2024-01-01", "2024-01-01 10:11:12"]);
        assert_eq!(find_time(&dates), Some(1));
        assert_eq!(find_time(&dates.slice(0, 1)), None);
    }

    proptest! {
        #[test]
        fn numbers_in_their_own_text_are_exact(integer: i64, double: f64) {
            prop_assert!(exact(&integer.to_string(), &DataType::Int64));
            if double.is_finite() {
                for text in [format!("{double}"), format!("{double:e}")] {
                    prop_assert!(exact(&text, &DataType::Float64), "{text}");
                }
            }
        }
    }
}
