//! Values of four or eight bytes.
//!
//! Invariant: two values are the same only if their bits are the same, so that every NaN and both
//! zeros are preserved.

use arrow::array::{Array, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    ArrowNativeType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, ToByteSlice, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use parquet::basic::SortOrder;

use super::leaf::Values;
use super::statistics::{Ordered, sign_bit};
use crate::error::Result;

/// A value as the format stores it.
pub(super) trait Fixed: Ordered + ArrowNativeType {
    const BYTES: usize;

    /// The bits of the value.
    fn bits(self) -> u64;

    /// Maps the value to a number, in the order of the column. `None` for floats, whose numbers are
    /// too far apart for a lookup table.
    fn number(self, order: SortOrder) -> Option<u64>;

    /// The smallest and largest value, except NaN; `None` if there is none.
    fn extremes(values: &[Self], order: SortOrder) -> Option<(Self, Self)>;
}

macro_rules! fixed_integers {
    ($($integer:ty as $unsigned:ty),*) => {$(
        impl Fixed for $integer {
            const BYTES: usize = size_of::<Self>();

            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }

            fn number(self, order: SortOrder) -> Option<u64> {
                Some(u64::from((self ^ Self::MIN ^ sign_bit!($integer, order)) as $unsigned))
            }

            fn extremes(values: &[Self], order: SortOrder) -> Option<(Self, Self)> {
                let sign = sign_bit!($integer, order);
                let &first = values.first()?;
                let values = values.iter().map(|value| value ^ sign);
                let start = (first ^ sign, first ^ sign);
                let (min, max) =
                    values.fold(start, |(min, max), value| (min.min(value), max.max(value)));
                Some((min ^ sign, max ^ sign))
            }
        }
    )*};
}

macro_rules! fixed_floats {
    ($($float:ty),*) => {$(
        impl Fixed for $float {
            const BYTES: usize = size_of::<Self>();

            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }

            fn number(self, _order: SortOrder) -> Option<u64> {
                None
            }

            fn extremes(values: &[Self], _order: SortOrder) -> Option<(Self, Self)> {
                // `min` and `max` ignore NaN.
                let min = values.iter().fold(Self::NAN, |min, value| min.min(*value));
                let max = values.iter().fold(Self::NAN, |max, value| max.max(*value));
                // Readers may treat both zeros as equal, so the bounds include both.
                let min = if min == 0.0 { -0.0 } else { min };
                let max = if max == 0.0 { 0.0 } else { max };
                (!min.is_nan()).then_some((min, max))
            }
        }
    )*};
}

fixed_integers!(i32 as u32, i64 as u64);
fixed_floats!(f32, f64);

/// Appends the values of an array that are not NULL. Returns `false` if the array has another type.
type Gather<T> = fn(&dyn Array, &mut Vec<T>) -> bool;

/// Gathers the values of a column: its dictionary, and the extremes of the open page.
pub(super) struct FixedValues<T> {
    gather: Gather<T>,
    gathered: Vec<T>,
    order: SortOrder,
    dictionary: Dictionary<T>,
    extremes: Option<(T, T)>,
}

impl<T: Fixed> FixedValues<T> {
    fn new(gather: Gather<T>, order: SortOrder) -> Self {
        Self {
            gather,
            gathered: Vec::new(),
            order,
            dictionary: Dictionary::new(order),
            extremes: None,
        }
    }

    /// Gathers the array's values and returns the smallest and largest of them.
    fn gather(&mut self, array: &dyn Array) -> Result<Option<(T, T)>> {
        self.gathered.clear();
        if !(self.gather)(array, &mut self.gathered) {
            return Err(super::unexpected_type(array.data_type()));
        }
        let extremes = T::extremes(&self.gathered, self.order);
        self.extremes = match (self.extremes, extremes) {
            (Some((min, max)), Some(more)) => T::extremes(&[min, max, more.0, more.1], self.order),
            (known, more) => known.or(more),
        };
        Ok(extremes)
    }
}

/// Numbers are looked up in a table if they span a smaller range than this, else by hash.
const MOST_NUMBERS: u64 = 1 << 15;

/// Distinct values, numbered in the order of their first appearance.
struct Dictionary<T> {
    values: Vec<T>,
    lookup: Lookup,
    order: SortOrder,
}

/// Maps a value to its dictionary index. Indexes are stored plus one; 0 means empty.
enum Lookup {
    /// A table of the numbers from `first` on.
    Table { first: u64, places: Vec<u32> },
    /// A hash table. At least half of the slots are free.
    Hashed { slots: Vec<u32>, multiplier: u64 },
}

impl<T: Fixed> Dictionary<T> {
    fn new(order: SortOrder) -> Self {
        let (first, places) = (0, Vec::new());
        Self {
            values: Vec::new(),
            lookup: Lookup::Table { first, places },
            order,
        }
    }

    /// Appends the dictionary index of each value. `extremes` are the smallest and largest of
    /// `values`.
    fn index(&mut self, values: &[T], extremes: Option<(T, T)>, out: &mut Vec<u32>) {
        if values.is_empty() {
            return;
        }
        let order = self.order;
        let numbers =
            extremes.and_then(|(min, max)| Some((min.number(order)?, max.number(order)?)));
        if !self.covers(numbers) {
            self.widen(numbers);
        }
        match &mut self.lookup {
            Lookup::Table { first, places } => out.extend(values.iter().map(|value| {
                let number = value.number(order).unwrap_or(*first);
                let place = &mut places[(number - *first) as usize];
                if *place == 0 {
                    self.values.push(*value);
                    *place = self.values.len() as u32;
                }
                *place - 1
            })),
            Lookup::Hashed { .. } => out.extend(values.iter().map(|value| self.place(*value))),
        }
    }

    /// Whether the current lookup can hold all values between these two numbers.
    fn covers(&self, numbers: Option<(u64, u64)>) -> bool {
        match (&self.lookup, numbers) {
            (Lookup::Hashed { .. }, _) => true,
            (Lookup::Table { first, places }, Some((min, max))) => {
                *first <= min && max - *first < places.len() as u64
            }
            (Lookup::Table { .. }, None) => false,
        }
    }

    /// Replaces the lookup with a table that also covers these numbers, or with a hash table if
    /// their range is too wide.
    fn widen(&mut self, numbers: Option<(u64, u64)>) {
        let order = self.order;
        let known = self.values.iter().filter_map(|value| value.number(order));
        let range = numbers.map(|(min, max)| {
            known.fold((min, max), |(min, max), number| {
                (min.min(number), max.max(number))
            })
        });
        self.lookup = match range {
            Some((min, max)) if max - min < MOST_NUMBERS => {
                // The next values are likely to be near these.
                let margin = (max - min) / 2 + 1;
                let first = min.saturating_sub(margin);
                let mut places = vec![0; (max.saturating_add(margin) - first) as usize + 1];
                for (place, value) in (1..).zip(&self.values) {
                    let number = value.number(order).unwrap_or(first);
                    places[(number - first) as usize] = place;
                }
                Lookup::Table { first, places }
            }
            _ => self.hashed(1024),
        };
    }

    fn hashed(&self, least_slots: usize) -> Lookup {
        let length = (self.values.len() * 4).next_power_of_two().max(least_slots);
        let multiplier = super::hash_seed() | 1;
        let mut slots = vec![0; length];
        for (place, value) in (1..).zip(&self.values) {
            let mut slot = slot(*value, multiplier, length);
            while slots[slot] != 0 {
                slot = (slot + 1) & (length - 1);
            }
            slots[slot] = place;
        }
        Lookup::Hashed { slots, multiplier }
    }

    /// Returns the index of `value` from the hash table. A new value is added.
    fn place(&mut self, value: T) -> u32 {
        let Lookup::Hashed { slots, multiplier } = &mut self.lookup else {
            return 0;
        };
        let mut slot = slot(value, *multiplier, slots.len());
        loop {
            let place = slots[slot];
            match self.values.get((place as usize).wrapping_sub(1)) {
                Some(known) if known.bits() == value.bits() => return place - 1,
                Some(_) => slot = (slot + 1) & (slots.len() - 1),
                None => break,
            }
        }
        self.values.push(value);
        let place = self.values.len() as u32;
        slots[slot] = place;
        if self.values.len() * 2 > slots.len() {
            self.lookup = self.hashed(0);
        }
        place - 1
    }

    fn memory_bytes(&self) -> usize {
        let (Lookup::Table { places, .. } | Lookup::Hashed { slots: places, .. }) = &self.lookup;
        self.values.capacity() * T::BYTES + places.capacity() * size_of::<u32>()
    }
}

/// Multiply-shift hashing: <https://en.wikipedia.org/wiki/Universal_hashing>
fn slot<T: Fixed>(value: T, multiplier: u64, slots: usize) -> usize {
    let hash = value.bits().wrapping_mul(multiplier);
    (hash >> (u64::BITS - slots.trailing_zeros())) as usize
}

impl<T: Fixed> Values for FixedValues<T> {
    type Value = T;

    fn slots_within(&self, array: &dyn Array, most: usize) -> (usize, usize) {
        let rows = array.len().min(most / T::BYTES);
        let first = rows.max(1);
        let nulls = super::nulls_of(array).map_or(0, |nulls| nulls.slice(0, first).null_count());
        (rows, (first - nulls) * T::BYTES)
    }

    fn index(&mut self, array: &dyn Array, places: &mut Vec<u32>) -> Result<()> {
        let extremes = self.gather(array)?;
        self.dictionary.index(&self.gathered, extremes, places);
        Ok(())
    }

    fn write_plain(&mut self, array: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
        self.gather(array)?;
        out.extend_from_slice(self.gathered.to_byte_slice());
        Ok(())
    }

    fn write_indexed(&mut self, places: &[u32], out: &mut Vec<u8>) {
        let values: Vec<T> = places
            .iter()
            .map(|place| self.dictionary.values[*place as usize])
            .collect();
        out.extend_from_slice(values.to_byte_slice());
    }

    fn dictionary_len(&self) -> usize {
        self.dictionary.values.len()
    }

    fn dictionary_bytes(&self) -> usize {
        self.dictionary.values.len() * T::BYTES
    }

    fn write_dictionary(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.dictionary.values.to_byte_slice());
    }

    fn drop_dictionary(&mut self) {
        self.dictionary = Dictionary::new(self.order);
    }

    fn take_extremes(&mut self, _places: &[u32]) -> Option<(T, T)> {
        self.extremes.take()
    }

    fn memory_bytes(&self) -> usize {
        self.gathered.capacity() * T::BYTES + self.dictionary.memory_bytes()
    }
}

/// Converts a value of Arrow to the type that the format stores.
trait StoredAs<T> {
    fn stored(self) -> T;
}

macro_rules! stored_as {
    ($($native:ty => $stored:ty),*) => {$(
        impl StoredAs<$stored> for $native {
            fn stored(self) -> $stored {
                self as $stored
            }
        }
    )*};
}

stored_as!(
    i8 => i32, i16 => i32, i32 => i32, u8 => i32, u16 => i32, u32 => i32, i128 => i32,
    i64 => i64, u64 => i64, i128 => i64, f32 => f32, f64 => f64
);

fn gather<A, T>(array: &dyn Array, out: &mut Vec<T>) -> bool
where
    A: ArrowPrimitiveType,
    A::Native: StoredAs<T>,
{
    let Some(array) = array.as_primitive_opt::<A>() else {
        return false;
    };
    let values = array.values();
    match super::nulls_of(array) {
        None => out.extend(values.iter().map(|value| value.stored())),
        Some(nulls) => out.extend(nulls.valid_indices().map(|row| values[row].stored())),
    }
    true
}

impl FixedValues<i32> {
    /// Values of a type that the format stores in four bytes; `None` for other types.
    pub(super) fn of_type(data_type: &DataType, order: SortOrder) -> Option<Self> {
        let gather = match data_type {
            DataType::Int8 => gather::<Int8Type, i32>,
            DataType::Int16 => gather::<Int16Type, _>,
            DataType::Int32 => gather::<Int32Type, _>,
            DataType::UInt8 => gather::<UInt8Type, _>,
            DataType::UInt16 => gather::<UInt16Type, _>,
            DataType::UInt32 => gather::<UInt32Type, _>,
            DataType::Date32 => gather::<Date32Type, _>,
            DataType::Time32(TimeUnit::Millisecond) => gather::<Time32MillisecondType, _>,
            DataType::Decimal128(_, _) => gather::<Decimal128Type, _>,
            _ => return None,
        };
        Some(Self::new(gather, order))
    }
}

impl FixedValues<i64> {
    /// Values of a type that the format stores in eight bytes; `None` for other types.
    pub(super) fn of_type(data_type: &DataType, order: SortOrder) -> Option<Self> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond};
        let gather = match data_type {
            DataType::Int64 => gather::<Int64Type, i64>,
            DataType::UInt64 => gather::<UInt64Type, _>,
            DataType::Time64(Microsecond) => gather::<Time64MicrosecondType, _>,
            DataType::Time64(Nanosecond) => gather::<Time64NanosecondType, _>,
            DataType::Timestamp(Millisecond, _) => gather::<TimestampMillisecondType, _>,
            DataType::Timestamp(Microsecond, _) => gather::<TimestampMicrosecondType, _>,
            DataType::Timestamp(Nanosecond, _) => gather::<TimestampNanosecondType, _>,
            DataType::Decimal128(_, _) => gather::<Decimal128Type, _>,
            _ => return None,
        };
        Some(Self::new(gather, order))
    }
}

impl FixedValues<f32> {
    /// A column of `real`.
    pub(super) fn floats() -> Self {
        Self::new(gather::<Float32Type, _>, SortOrder::SIGNED)
    }
}

impl FixedValues<f64> {
    /// A column of `double`.
    pub(super) fn doubles() -> Self {
        Self::new(gather::<Float64Type, _>, SortOrder::SIGNED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers that are close to each other, but may be far from those in other lists.
    fn numbers() -> impl Strategy<Value = Vec<i64>> {
        let start = prop_oneof![
            Just(0),
            Just(i64::MIN),
            Just(i64::MAX),
            Just(1 << 31),
            -70_000..70_000i64
        ];
        let near = proptest::collection::vec(-3000..3000i64, 0..20);
        (start, near).prop_map(|(start, near)| {
            let near = near.into_iter();
            near.map(|step| start.wrapping_add(step)).collect()
        })
    }

    fn check_places<T: Fixed + PartialEq + std::fmt::Debug>(
        steps: &[Vec<T>],
        order: SortOrder,
    ) -> std::result::Result<(), TestCaseError> {
        let mut dictionary = Dictionary::new(order);
        for step in steps {
            let mut places = Vec::new();
            dictionary.index(step, T::extremes(step, order), &mut places);
            let found = places
                .iter()
                .map(|place| dictionary.values[*place as usize]);
            prop_assert_eq!(&found.collect::<Vec<T>>(), step);
        }
        let mut distinct: Vec<u64> = dictionary.values.iter().map(|value| value.bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), dictionary.values.len());
        Ok(())
    }

    proptest! {
        #[test]
        fn every_value_has_one_place(steps in proptest::collection::vec(numbers(), 1..5)) {
            let short: Vec<Vec<i32>> = steps
                .iter()
                .map(|step| step.iter().map(|number| *number as i32).collect())
                .collect();
            let doubles: Vec<Vec<f64>> = steps
                .iter()
                .map(|step| step.iter().map(|number| *number as f64).collect())
                .collect();
            for order in [SortOrder::SIGNED, SortOrder::UNSIGNED] {
                check_places(&steps, order)?;
                check_places(&short, order)?;
            }
            check_places(&doubles, SortOrder::SIGNED)?;
        }
    }

    #[test]
    fn near_numbers_are_in_a_table() {
        let mut dictionary = Dictionary::new(SortOrder::SIGNED);
        for values in [[-3i64, 5], [9000, -20_000]] {
            dictionary.index(
                &values,
                i64::extremes(&values, SortOrder::SIGNED),
                &mut Vec::new(),
            );
            assert!(matches!(dictionary.lookup, Lookup::Table { .. }));
        }
        dictionary.index(&[1 << 40], Some((1 << 40, 1 << 40)), &mut Vec::new());
        assert!(matches!(dictionary.lookup, Lookup::Hashed { .. }));
    }
}
