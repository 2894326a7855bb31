//! Digits of whole numbers and of decimals.
//!
//! Invariant: a whole number has no leading zeros; a decimal has all digits of its scale.

/// The digits of the numbers below 100.
pub(super) const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Buffer for a number's text, which is aligned to the end. Digits are written from the last to the
/// first, so they need not be counted beforehand.
pub(super) type Room = [u8; 24];

/// Decimals with more digits after the point are too long for [`Scaled`].
const MOST_FRACTION_DIGITS: usize = 18;

/// A number whose text fits into [`Room`].
#[derive(Clone, Copy)]
pub(super) struct Scaled {
    is_negative: bool,
    magnitude: u64,
    /// Number of digits after the point.
    scale: usize,
}

impl From<i64> for Scaled {
    fn from(value: i64) -> Self {
        Self {
            is_negative: value < 0,
            magnitude: value.unsigned_abs(),
            scale: 0,
        }
    }
}

impl From<u64> for Scaled {
    fn from(magnitude: u64) -> Self {
        Self {
            is_negative: false,
            magnitude,
            scale: 0,
        }
    }
}

impl Scaled {
    /// A decimal with `scale` digits after the point. `None` if the scale is negative or the number
    /// is too long.
    pub(super) fn decimal(value: i128, scale: i8) -> Option<Self> {
        let scale = usize::try_from(scale).ok()?;
        Some(Self {
            is_negative: value < 0,
            magnitude: u64::try_from(value.unsigned_abs()).ok()?,
            scale: (scale <= MOST_FRACTION_DIGITS).then_some(scale)?,
        })
    }

    /// Writes the text to the end of `room` and returns its start index. There is at least one
    /// digit before the point.
    pub(super) fn write(self, room: &mut Room) -> usize {
        let mut at = room.len();
        let mut rest = self.magnitude;
        let mut scale = self.scale;
        while scale >= 2 {
            at -= 2;
            room[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
            scale -= 2;
        }
        if scale == 1 {
            at -= 1;
            room[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if self.scale > 0 {
            at -= 1;
            room[at] = b'.';
        }
        while rest > u64::from(u32::MAX) {
            at -= 2;
            room[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
        }
        // Dividing 32-bit numbers is faster.
        let mut rest = rest as u32;
        while rest >= 100 {
            at -= 2;
            room[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
        }
        if rest >= 10 {
            at -= 2;
            room[at..at + 2].copy_from_slice(&PAIRS[rest as usize]);
        } else {
            at -= 1;
            room[at] = b'0' + rest as u8;
        }
        if self.is_negative {
            at -= 1;
            room[at] = b'-';
        }
        at
    }

    /// Appends the text.
    pub(super) fn push(self, out: &mut Vec<u8>) {
        let mut room = Room::default();
        let start = self.write(&mut room);
        out.extend_from_slice(&room[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: Scaled) -> String {
        let mut out = Vec::new();
        number.push(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn whole_numbers(shift in 0u32..64, value in any::<i64>()) {
            let (signed, unsigned) = (value >> shift, value as u64 >> shift);
            prop_assert_eq!(text(signed.into()), signed.to_string());
            prop_assert_eq!(text(unsigned.into()), unsigned.to_string());
        }

        #[test]
        fn decimals(shift in 0u32..64, value in any::<i64>(), scale in 1u32..=18) {
            let value = i128::from(value >> shift);
            let (whole, rest) = (value.abs() / 10i128.pow(scale), value.abs() % 10i128.pow(scale));
            let sign = if value < 0 { "-" } else { "" };
            let expected = format!("{sign}{whole}.{rest:0>width$}", width = scale as usize);
            prop_assert_eq!(Scaled::decimal(value, scale as i8).map(text), Some(expected));
        }
    }

    #[test]
    fn the_longest_and_those_that_are_too_long() {
        let decimal = |value, scale| Scaled::decimal(value, scale).map(text);
        let most = i128::from(u64::MAX);
        assert_eq!(decimal(-most, 18).unwrap(), "-18.446744073709551615");
        assert_eq!(decimal(most, 0).unwrap(), "18446744073709551615");
        assert_eq!(decimal(-1, 18).unwrap(), "-0.000000000000000001");
        assert_eq!(decimal(0, 3).unwrap(), "0.000");
        assert_eq!(decimal(most + 1, 2), None);
        assert_eq!(decimal(1, 19), None);
        assert_eq!(decimal(1, -1), None);
    }
}
