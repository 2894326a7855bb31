//! Numbers in the text of a statement.
//!
//! Invariant: a number keeps all its digits, or is a double if it has more digits than a decimal.

use sqlparser::ast::{DataType, ExactNumberInfo, Expr};

use super::build::{cast, double, text};

/// The most digits of a decimal.
const MOST_DIGITS: usize = 76;

/// A number that DataFusion does not read as an exact one: with an exponent, or an integer that is
/// out of range of `BIGINT`.
pub(super) fn exact_number(written: &str) -> Option<Expr> {
    let plain: String = written.chars().filter(|c| *c != '_').collect();
    let (mantissa, exponent) = match plain.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None if plain.parse::<i64>().is_err() && plain.chars().all(|c| c.is_ascii_digit()) => {
            (plain.as_str(), 0)
        }
        None => return None,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // The number is `digits` × 10^-places.
    let places = i64::try_from(fraction.len()).ok()? - exponent;
    let (digits, places) = match usize::try_from(places) {
        Ok(places) => (digits, places),
        Err(_) => {
            let zeros = usize::try_from(-places).ok()?;
            match zeros <= MOST_DIGITS {
                true => (format!("{digits}{}", "0".repeat(zeros)), 0),
                false => return Some(double(&text(&plain))),
            }
        }
    };
    let digits = digits.trim_start_matches('0');
    let all = digits.len().max(places).max(1);
    if all > MOST_DIGITS {
        return Some(double(&text(&plain)));
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    let value = match fraction {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    };
    let info =
        ExactNumberInfo::PrecisionAndScale(u64::try_from(all).ok()?, i64::try_from(places).ok()?);
    Some(cast(&text(&value), DataType::Decimal(info)))
}
