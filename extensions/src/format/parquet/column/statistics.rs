//! Statistics of a column's values, per page and for the whole chunk.
//!
//! Invariant: no value is smaller than the recorded minimum or larger than the recorded maximum, in
//! the order that the format defines for the column's type. Long values are truncated, and a
//! truncated maximum is raised so that it remains an upper bound.
//!
//! The rules: <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>
//! (`Statistics`, `ColumnIndex`, `ColumnOrder`)

use std::cmp::Ordering;

use parquet::basic::{BoundaryOrder, SortOrder};
use parquet::data_type::{AsBytes, ByteArray};
use parquet::file::metadata::{ColumnIndexBuilder, LevelHistogram};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::super::encode_error;
use crate::error::Result;

/// Longer texts and bytes are truncated to this many bytes, as in the parquet crate.
const LONGEST: usize = 64;

/// A value as Parquet stores it, with its order.
pub(super) trait Ordered: Clone + AsBytes + Send {
    /// Compares two values in the order of their column. Neither value may be NaN.
    fn compare(&self, other: &Self, order: SortOrder) -> Ordering;

    /// A truncated value that is not larger; `None` if this value is short enough.
    fn cut_down(&self) -> Option<Self> {
        None
    }

    /// A truncated value that is not smaller; `None` if this value is short enough or there is no
    /// such value.
    fn cut_up(&self) -> Option<Self> {
        None
    }

    /// The statistics of a chunk with these values.
    fn into_statistics(statistics: ValueStatistics<Self>) -> Statistics;
}

/// The mask to XOR integers with, so that signed comparison gives the order of their column. For
/// unsigned columns it flips the sign bit.
macro_rules! sign_bit {
    ($signed:ty, $order:expr) => {
        match $order {
            ::parquet::basic::SortOrder::UNSIGNED => <$signed>::MIN,
            _ => 0,
        }
    };
}
pub(super) use sign_bit;

macro_rules! order_integers {
    ($($signed:ty),*) => {$(
        impl Ordered for $signed {
            fn compare(&self, other: &Self, order: SortOrder) -> Ordering {
                let sign = sign_bit!($signed, order);
                (self ^ sign).cmp(&(other ^ sign))
            }

            fn into_statistics(statistics: ValueStatistics<Self>) -> Statistics {
                statistics.into()
            }
        }
    )*};
}

macro_rules! order_floats {
    ($($float:ty),*) => {$(
        impl Ordered for $float {
            fn compare(&self, other: &Self, _order: SortOrder) -> Ordering {
                self.total_cmp(other)
            }

            fn into_statistics(statistics: ValueStatistics<Self>) -> Statistics {
                statistics.into()
            }
        }
    )*};
}

impl Ordered for bool {
    fn compare(&self, other: &Self, _order: SortOrder) -> Ordering {
        self.cmp(other)
    }

    fn into_statistics(statistics: ValueStatistics<Self>) -> Statistics {
        statistics.into()
    }
}

order_integers!(i32, i64);
order_floats!(f32, f64);

impl Ordered for ByteArray {
    fn compare(&self, other: &Self, _order: SortOrder) -> Ordering {
        self.data().cmp(other.data())
    }

    fn cut_down(&self) -> Option<Self> {
        let bytes = self.data();
        (bytes.len() > LONGEST).then(|| bytes[..cut_at(bytes)].to_vec().into())
    }

    fn cut_up(&self) -> Option<Self> {
        let bytes = self.data();
        if bytes.len() <= LONGEST {
            return None;
        }
        let start = &bytes[..cut_at(bytes)];
        let raised = match std::str::from_utf8(start) {
            Ok(text) => raise_text(text),
            Err(_) => raise_bytes(start),
        };
        raised.map(Into::into)
    }

    fn into_statistics(statistics: ValueStatistics<Self>) -> Statistics {
        statistics.into()
    }
}

/// Index at which to truncate. A text is not cut within a character.
fn cut_at(bytes: &[u8]) -> usize {
    let starts_character = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    let near = (LONGEST - 3..=LONGEST).rev();
    let mut whole = near.filter(starts_character);
    whole.next().unwrap_or(LONGEST)
}

/// A text that is larger than every text with the prefix `text`, and not longer than `text`. `None`
/// if no character can be raised.
fn raise_text(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        let next = char::from_u32(u32::from(last) + 1)?;
        if next.len_utf8() != last.len_utf8() {
            return None;
        }
        let mut raised = text[..at].to_owned();
        raised.push(next);
        Some(raised.into_bytes())
    })
}

/// Bytes that are larger than all values with the prefix `bytes`, and not longer than `bytes`.
/// `None` if no byte can be raised.
fn raise_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut raised = bytes[..=at].to_vec();
    raised[at] += 1;
    Some(raised)
}

/// Counts and extremes of one page.
pub(super) struct PageContent<V> {
    /// Values, NULLs and empty lists.
    pub(super) entries: usize,
    /// Entries without a value.
    pub(super) nulls: usize,
    /// How many entries have each repetition level and each definition level, if there are several.
    pub(super) histograms: (Option<LevelHistogram>, Option<LevelHistogram>),
    /// The smallest and largest value; `None` if no value has an order.
    pub(super) extremes: Option<(V, V)>,
}

/// Gathers the statistics of a chunk.
pub(super) struct ChunkStatistics<V> {
    order: SortOrder,
    nulls: u64,
    extremes: Option<(V, V)>,
    /// The extremes of the last page that has values.
    last: Option<(V, V)>,
    ascending: bool,
    descending: bool,
    index: Option<ColumnIndexBuilder>,
}

impl<V: Ordered> ChunkStatistics<V> {
    /// Statistics of a chunk of `column`, with an index of its pages if `page_index` is set.
    pub(super) fn new(column: &ColumnDescPtr, page_index: bool) -> Self {
        Self {
            order: column.sort_order(),
            nulls: 0,
            extremes: None,
            last: None,
            ascending: true,
            descending: true,
            index: page_index.then(|| ColumnIndexBuilder::new(column.physical_type())),
        }
    }

    pub(super) fn add_page(&mut self, page: PageContent<V>) {
        self.nulls += page.nulls as u64;
        if let Some(index) = &mut self.index {
            let (repetition, definition) = &page.histograms;
            index.append_histograms(repetition, definition);
            match &page.extremes {
                Some((min, max)) => index.append(
                    false,
                    min.cut_down().as_ref().unwrap_or(min).as_bytes().to_vec(),
                    max.cut_up().as_ref().unwrap_or(max).as_bytes().to_vec(),
                    page.nulls as i64,
                ),
                None if page.nulls == page.entries => {
                    index.append(true, Vec::new(), Vec::new(), page.nulls as i64);
                }
                // Apart from NULLs the page has only NaN, which the index can't express.
                None => self.index = None,
            }
        }
        let Some((min, max)) = page.extremes else {
            return;
        };
        let order = self.order;
        if let Some((last_min, last_max)) = &self.last {
            let orders = [last_min.compare(&min, order), last_max.compare(&max, order)];
            self.ascending &= !orders.contains(&Ordering::Greater);
            self.descending &= !orders.contains(&Ordering::Less);
        }
        self.extremes = Some(match self.extremes.take() {
            None => (min.clone(), max.clone()),
            Some((smallest, largest)) => (
                if min.compare(&smallest, order).is_lt() {
                    min.clone()
                } else {
                    smallest
                },
                if max.compare(&largest, order).is_gt() {
                    max.clone()
                } else {
                    largest
                },
            ),
        });
        self.last = Some((min, max));
    }

    /// Memory of the extremes that are held, in bytes, because texts may be long. Memory that two
    /// values share is counted twice.
    pub(super) fn memory_bytes(&self) -> usize {
        let held = self.extremes.iter().chain(&self.last);
        held.map(|(min, max)| min.as_bytes().len() + max.as_bytes().len())
            .sum()
    }

    /// Returns the chunk's statistics and the index of its pages, if there is one.
    ///
    /// # Errors
    /// The parquet crate can't build the index.
    pub(super) fn finish(self) -> Result<(Statistics, Option<ColumnIndexMetaData>)> {
        let (min, max) = self.extremes.unzip();
        let (cut_min, cut_max) = (
            min.as_ref().and_then(Ordered::cut_down),
            max.as_ref().and_then(Ordered::cut_up),
        );
        let (min_is_exact, max_is_exact) = (cut_min.is_none(), cut_max.is_none());
        let statistics = ValueStatistics::new(
            cut_min.or(min),
            cut_max.or(max),
            None,
            Some(self.nulls),
            false,
        )
        .with_min_is_exact(min_is_exact)
        .with_max_is_exact(max_is_exact)
        .with_backwards_compatible_min_max(self.order.is_signed());
        let index = self.index.map(|mut index| {
            index.set_boundary_order(match (self.ascending, self.descending) {
                (true, _) => BoundaryOrder::ASCENDING,
                (false, true) => BoundaryOrder::DESCENDING,
                (false, false) => BoundaryOrder::UNORDERED,
            });
            index.build().map_err(encode_error)
        });
        Ok((V::into_statistics(statistics), index.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cut_texts_are_bounds(text in "\\PC{20,90}|[\u{10FFFF}]{15,20}[a-c]{0,9}") {
            let value = ByteArray::from(text.as_str());
            let is_long = text.len() > LONGEST;
            let down = value.cut_down();
            prop_assert_eq!(down.is_some(), is_long);
            for bound in down.iter().chain(&value.cut_up()) {
                prop_assert!(bound.data().len() <= LONGEST);
                prop_assert!(std::str::from_utf8(bound.data()).is_ok());
            }
            if let Some(down) = down {
                prop_assert!(down.data() < value.data());
            }
            if let Some(up) = value.cut_up() {
                prop_assert!(up.data() > value.data());
            }
        }

        #[test]
        fn cut_bytes_are_bounds(bytes in proptest::collection::vec(200u8.., 60..80)) {
            let value = ByteArray::from(bytes);
            if let Some(down) = value.cut_down() {
                prop_assert!(down.data() < value.data());
            }
            if let Some(up) = value.cut_up() {
                prop_assert!(up.data() > value.data());
            }
        }
    }

    #[test]
    fn there_is_not_always_a_larger_one() {
        assert!(ByteArray::from(vec![u8::MAX; 100]).cut_up().is_none());
        assert!(
            ByteArray::from("\u{10FFFF}".repeat(30).as_str())
                .cut_up()
                .is_none()
        );
    }
}
