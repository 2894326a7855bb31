//! Numbers as PostgreSQL prints them.
//!
//! Invariant: every digit is kept; a float has the fewest digits that read back as the same float
//! without the rule for ties.

use std::fmt::LowerExp;
use std::ops::Range;
use std::str::FromStr;

use super::digits::Scaled;

/// Writes a scaled integer.
pub(super) fn push_decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    match Scaled::decimal(value, scale) {
        Some(number) => number.push(out),
        None => push_long_decimal(itoa::Buffer::new().format(value), scale, out),
    }
}

/// Writes a scaled integer from its decimal digits, with the point in its place.
pub(super) fn push_long_decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    out.extend_from_slice(sign.as_bytes());
    let Ok(scale) = usize::try_from(scale) else {
        out.extend_from_slice(digits.as_bytes());
        let zeros = if digits == "0" {
            0
        } else {
            scale.unsigned_abs()
        };
        out.extend(std::iter::repeat_n(b'0', usize::from(zeros)));
        return;
    };
    if scale == 0 {
        out.extend_from_slice(digits.as_bytes());
        return;
    }
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole.as_bytes());
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits.as_bytes());
    }
}

/// From this magnitude on, adjacent floats are more than 1 apart.
const SPARSE_F32: f32 = 16_777_216.0;
const SPARSE_F64: f64 = 9_007_199_254_740_992.0;

/// Magnitudes that PostgreSQL and zmij print in decimal notation.
const DECIMAL_F32: Range<f32> = 1e-4..1e6;
const DECIMAL_F64: Range<f64> = 1e-4..1e15;

/// Writes a `real` as PostgreSQL does.
pub(super) fn push_f32(value: f32, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format(value);
    if DECIMAL_F32.contains(&value.abs()) {
        return push_without_zero_fraction(shortest, out);
    }
    if value.is_finite() && value.abs() >= SPARSE_F32 && is_bound(shortest, value) {
        return push_float(&longer(shortest, value), 6, out);
    }
    push_float(shortest, 6, out);
}

/// Writes a `double precision` as PostgreSQL does.
pub(super) fn push_f64(value: f64, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format(value);
    if DECIMAL_F64.contains(&value.abs()) {
        return push_without_zero_fraction(shortest, out);
    }
    if value.is_finite() && value.abs() >= SPARSE_F64 && is_bound(shortest, value) {
        return push_float(&longer(shortest, value), 15, out);
    }
    push_float(shortest, 15, out);
}

/// Writes `1` for `1.0`, and other numbers in decimal notation as they are.
fn push_without_zero_fraction(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// Whether a text is exactly halfway between a float and its neighbour, so that it reads as this
/// float only by the rule for ties. PostgreSQL doesn't print such a text, but zmij does. Only large
/// floats have one. See `acceptBounds` in
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/common/d2s.c>
fn is_bound<F: FromStr + PartialEq>(text: &str, value: F) -> bool {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let point = if mantissa.contains('.') { "" } else { "." };
    let reads_as = |text: String| text.parse::<F>().is_ok_and(|read| read == value);
    // Checks a number slightly farther from zero, then a number slightly closer.
    let more = format!("{mantissa}{point}{:0>30}e{exponent}", 1);
    if !reads_as(more) {
        return true;
    }
    let trimmed = mantissa.trim_end_matches(['0', '.']);
    let (kept, last) = trimmed.split_at(trimmed.len() - 1);
    let dropped = mantissa.split('.').next().unwrap_or_default().len();
    let zeros = dropped.saturating_sub(trimmed.len());
    let less = u8::from_str(last).map_or(0, |digit| digit - 1);
    let nines = "9".repeat(zeros);
    let point = if trimmed.contains('.') { "" } else { "." };
    !reads_as(format!(
        "{kept}{less}{nines}{point}{}e{exponent}",
        "9".repeat(30)
    ))
}

/// The shortest text of `value` that is not halfway to a neighbour (see [`is_bound`]).
fn longer<F: FromStr + PartialEq + LowerExp + Copy>(shortest: &str, value: F) -> String {
    let digits = shortest.bytes().filter(u8::is_ascii_digit).count();
    (1..=digits + 20)
        .map(|precision| format!("{value:.precision$e}"))
        .find(|text| text.parse::<F>().is_ok_and(|read| read == value) && !is_bound(text, value))
        .unwrap_or_else(|| shortest.to_owned())
}

/// Rewrites zmij's shortest exact text (`1e+20`, `0.1`, `100.0`) in PostgreSQL's form: decimal
/// notation while -4 <= exponent < `precision`, else an exponent of at least two digits. The rule
/// is `double_to_shortest_decimal_bufn` in PostgreSQL's src/common/d2s.c.
fn push_float(shortest: &str, precision: i32, out: &mut Vec<u8>) {
    match shortest {
        "NaN" => return out.extend_from_slice(b"NaN"),
        "inf" => return out.extend_from_slice(b"Infinity"),
        "-inf" => return out.extend_from_slice(b"-Infinity"),
        _ => {}
    }
    let unsigned = match shortest.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => shortest,
    };
    let (mantissa, exponent) = match unsigned.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');

    // All significant digits, and the exponent of the first digit.
    let mut digits: Vec<u8> = [whole.as_bytes(), fraction.as_bytes()].concat();
    let leading_zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    if leading_zeros == digits.len() {
        out.push(b'0');
        return;
    }
    let first_exponent = exponent + whole.len() as i32 - 1 - leading_zeros as i32;
    digits.drain(..leading_zeros);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }

    if (-4..precision).contains(&first_exponent) {
        push_plain(&digits, first_exponent, out);
    } else {
        push_scientific(&digits, first_exponent, out);
    }
}

fn push_plain(digits: &[u8], first_exponent: i32, out: &mut Vec<u8>) {
    match usize::try_from(first_exponent) {
        Err(_) => {
            out.extend_from_slice(b"0.");
            let zeros = first_exponent.unsigned_abs() as usize - 1;
            out.extend(std::iter::repeat_n(b'0', zeros));
            out.extend_from_slice(digits);
        }
        Ok(exponent) if digits.len() <= exponent + 1 => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', exponent + 1 - digits.len()));
        }
        Ok(exponent) => {
            out.extend_from_slice(&digits[..=exponent]);
            out.push(b'.');
            out.extend_from_slice(&digits[exponent + 1..]);
        }
    }
}

fn push_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let magnitude = i64::from(exponent.abs());
    if magnitude < 100 {
        super::temporal::push_two_digits(magnitude, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
    }
}
