//! Parquet's hybrid encoding of small integers: run lengths and bit packing.
//!
//! Invariant: the appended bytes decode to the values, followed by at most seven zeros.
//!
//! The format:
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#run-length-encoding--bit-packing-hybrid-rle--3>

/// Values are packed in groups of eight, so that each group ends on a byte boundary.
const GROUP: usize = 8;

/// Number of bits for values up to `largest`; at least 1.
pub(super) fn bit_width(largest: u32) -> u8 {
    // At most 32.
    (u32::BITS - largest.leading_zeros()).max(1) as u8
}

/// Appends `values`. Each value must fit into `width` bits (1 to 32).
pub(super) fn encode<T: Copy + Into<u32>>(values: &[T], width: u8, out: &mut Vec<u8>) {
    out.reserve(values.len() * usize::from(width) / 8 + 16);
    let mut packed = 0;
    let mut at = 0;
    while at < values.len() {
        let rest = &values[at..];
        let run = run_length(rest);
        if run < GROUP && run < rest.len() {
            at += GROUP.min(rest.len());
            continue;
        }
        pack(&values[packed..at], width, out);
        encode_run(rest[0].into(), run, width, out);
        at += run;
        packed = at;
    }
    pack(&values[packed..], width, out);
}

/// Runs of bits that are shorter than this many groups are packed with the bits around them.
const LEAST_BIT_GROUPS: usize = 4;

/// Appends the first `count` bits, as values of one bit. The first is the lowest bit of `bits[0]`.
pub(super) fn encode_bits(bits: &[u8], count: usize, out: &mut Vec<u8>) {
    let bits = &bits[..count.div_ceil(GROUP)];
    let whole = count / GROUP;
    let mut packed = 0;
    let mut at = 0;
    while at < whole {
        let first = bits[at];
        let run = match first {
            0 | u8::MAX => bits[at..whole]
                .iter()
                .take_while(|group| **group == first)
                .count(),
            _ => 0,
        };
        if run < LEAST_BIT_GROUPS {
            at += run.max(1);
            continue;
        }
        push_packed_bits(&bits[packed..at], out);
        encode_run(u32::from(first & 1), run * GROUP, 1, out);
        at += run;
        packed = at;
    }
    push_packed_bits(&bits[packed..], out);
}

fn push_packed_bits(groups: &[u8], out: &mut Vec<u8>) {
    if !groups.is_empty() {
        push_varint((groups.len() as u64) << 1 | 1, out);
        out.extend_from_slice(groups);
    }
}

/// Appends a run: `value`, repeated `length` times.
pub(super) fn encode_run(value: u32, length: usize, width: u8, out: &mut Vec<u8>) {
    push_varint((length as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..usize::from(width.div_ceil(8))]);
}

/// Number of leading values that are equal.
fn run_length<T: Copy + Into<u32>>(values: &[T]) -> usize {
    let first: u32 = values[0].into();
    let groups = values.chunks_exact(GROUP);
    let whole = groups
        .take_while(|group| {
            group
                .iter()
                .fold(0, |differ, value| differ | ((*value).into() ^ first))
                == 0
        })
        .count()
        * GROUP;
    let rest = values[whole..].iter();
    whole + rest.take_while(|value| (**value).into() == first).count()
}

fn pack<T: Copy + Into<u32>>(values: &[T], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    push_varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut bits, mut held) = (0u64, 0u32);
    for value in values {
        let value: u32 = (*value).into();
        bits |= u64::from(value) << held;
        held += u32::from(width);
        if held >= u32::BITS {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= u32::BITS;
            held -= u32::BITS;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..held.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A decoder written from the format's description.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let mut header = 0u64;
            for shift in (0..).step_by(7) {
                header |= u64::from(bytes[0] & 0x7f) << shift;
                let last = bytes[0] < 0x80;
                bytes = &bytes[1..];
                if last {
                    break;
                }
            }
            let length = (header >> 1) as usize;
            if header & 1 == 0 {
                let value_bytes = usize::from(width.div_ceil(8));
                let mut value = [0; 4];
                value[..value_bytes].copy_from_slice(&bytes[..value_bytes]);
                bytes = &bytes[value_bytes..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), length));
                continue;
            }
            let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
            for value in 0..length * 8 {
                let start = value * usize::from(width);
                let bits = (0..usize::from(width)).map(|i| bit(start + i) << i);
                values.push(bits.sum());
            }
            bytes = &bytes[length * usize::from(width)..];
        }
        assert_eq!(bytes, b"", "bytes are left over");
        assert!(values.len() < count + GROUP);
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn values_decode(
            runs in proptest::collection::vec((any::<u32>(), 1usize..40), 0..40),
            noise in proptest::collection::vec(any::<u32>(), 0..40),
            width in 1u8..=32,
        ) {
            let runs = runs.iter().flat_map(|(value, length)| vec![*value; *length]);
            let values: Vec<u32> = runs.chain(noise).map(|value| value >> (32 - width)).collect();
            let mut encoded = Vec::new();
            encode(&values, width, &mut encoded);
            prop_assert_eq!(decode(&encoded, width, values.len()), values);
        }
    }

    proptest! {
        #[test]
        fn bits_decode(
            runs in proptest::collection::vec((any::<bool>(), 1usize..90), 0..40),
            noise in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let runs = runs.iter().flat_map(|(value, length)| vec![*value; *length]);
            let values: Vec<bool> = noise.iter().copied().chain(runs).chain(noise.clone()).collect();
            let mut bits = vec![0u8; values.len().div_ceil(8)];
            for (at, value) in values.iter().enumerate() {
                bits[at / 8] |= u8::from(*value) << (at % 8);
            }
            let mut encoded = Vec::new();
            encode_bits(&bits, values.len(), &mut encoded);
            let expected: Vec<u32> = values.into_iter().map(u32::from).collect();
            prop_assert_eq!(decode(&encoded, 1, expected.len()), expected);
        }
    }

    #[test]
    fn a_run_is_short() {
        let mut encoded = Vec::new();
        encode(&[1u32; 20_000], 1, &mut encoded);
        assert_eq!(encoded.len(), 4);
    }

    #[test]
    fn widths() {
        let widths = [0, 1, 2, 3, 4, 255, 256, u32::MAX].map(bit_width);
        assert_eq!(widths, [1, 1, 2, 2, 3, 8, 9, 32]);
    }
}
