//! Booleans: a bit for each value, and no dictionary.
//!
//! Invariant: the first value of a page is the lowest bit of its first byte.

use arrow::array::{Array, AsArray};

use super::leaf::Values;
use crate::error::Result;

/// The values of the open page.
#[derive(Default)]
pub(super) struct BooleanValues {
    written: usize,
    has_false: bool,
    has_true: bool,
}

impl Values for BooleanValues {
    type Value = bool;

    fn slots_within(&self, array: &dyn Array, most: usize) -> (usize, usize) {
        let rows = array.len().min(most.saturating_mul(8));
        (rows, rows.max(1).div_ceil(8))
    }

    fn index(&mut self, array: &dyn Array, _places: &mut Vec<u32>) -> Result<()> {
        Err(super::unexpected_type(array.data_type()))
    }

    fn write_plain(&mut self, array: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
        let Some(booleans) = array.as_boolean_opt() else {
            return Err(super::unexpected_type(array.data_type()));
        };
        let mut push = |value: bool| {
            let bit = self.written % 8;
            if bit == 0 {
                out.push(0);
            }
            if let Some(last) = out.last_mut() {
                *last |= u8::from(value) << bit;
            }
            self.written += 1;
            self.has_true |= value;
            self.has_false |= !value;
        };
        match super::nulls_of(booleans) {
            None => booleans.values().iter().for_each(push),
            Some(nulls) => nulls
                .valid_indices()
                .for_each(|row| push(booleans.value(row))),
        }
        Ok(())
    }

    fn write_indexed(&mut self, _places: &[u32], _out: &mut Vec<u8>) {}

    fn dictionary_len(&self) -> usize {
        0
    }

    fn dictionary_bytes(&self) -> usize {
        0
    }

    fn write_dictionary(&self, _out: &mut Vec<u8>) {}

    fn drop_dictionary(&mut self) {}

    fn take_extremes(&mut self, _places: &[u32]) -> Option<(bool, bool)> {
        let page = std::mem::take(self);
        (page.written > 0).then_some((!page.has_false, page.has_true))
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}
