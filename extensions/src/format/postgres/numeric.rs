//! The binary form of `numeric`: digits in base 10,000.
//!
//! Invariant: the form has the sign, digits and display scale of the value's text.
//!
//! The form: `numeric_send` in
//! <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/numeric.c>

const NEGATIVE: u16 = 0x4000;

/// Appends the binary form of a number that is written in decimal, such as `-12.30`. The text must
/// consist of digits, one point at most, and a sign in front of them.
pub(super) fn push_numeric(text: &str, out: &mut Vec<u8>) {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    // Groups of four digits begin at the point, in both directions.
    let lead = (4 - whole.len() % 4) % 4;
    let mut padded = "0".repeat(lead) + whole;
    let weight = padded.len() / 4;
    padded.push_str(fraction);
    while !padded.len().is_multiple_of(4) {
        padded.push('0');
    }
    let groups = padded.as_bytes().chunks(4);
    let groups = groups.map(|group| {
        let digits = group.iter().map(|digit| u16::from(digit - b'0'));
        digits.fold(0, |value, digit| value * 10 + digit)
    });
    let mut groups: Vec<u16> = groups.collect();
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let (weight, sign) = match groups.is_empty() {
        true => (0, 0),
        false => (weight as i16 - 1 - zeros as i16, sign),
    };
    out.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(fraction.len() as u16).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// The text of a number in binary form; `None` if the bytes are not such a form. `NaN` and the
/// infinities are their names.
pub fn numeric_text(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks_exact(2).map(|pair| {
        let pair: [u8; 2] = [pair[0], pair[1]];
        u16::from_be_bytes(pair)
    });
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<u16> = words.collect();
    match sign {
        0 | NEGATIVE => {}
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    if digits.len() != usize::from(count) || digits.iter().any(|digit| *digit > 9999) {
        return None;
    }
    let weight = i32::from(weight as i16);
    let group = |place: i32| {
        let index = usize::try_from(weight - place).ok();
        index
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let mut whole = String::new();
    for place in (0..=weight.max(0)).rev() {
        whole.push_str(&format!("{:04}", group(place)));
    }
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let mut fraction = String::new();
        let groups = i32::from(scale).div_euclid(4) + 1;
        for place in 1..=groups {
            fraction.push_str(&format!("{:04}", group(-place)));
        }
        fraction.truncate(usize::from(scale));
        text.push('.');
        text.push_str(&fraction);
    }
    Some(text)
}
