//! Texts and other values without a fixed size.
//!
//! Invariant: values are compared and stored as bytes, without interpreting them.

use arrow::array::{Array, ArrayAccessor, AsArray, GenericByteArray, GenericByteViewArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ByteArrayType, ByteViewType, DataType};
use parquet::data_type::ByteArray;

use super::leaf::Values;
use crate::error::Result;

/// Each value is preceded by its length:
/// <https://parquet.apache.org/docs/file-format/data-pages/encodings/#plain-plain--0>
const LENGTH_BYTES: usize = 4;

/// Number of entries in the cache from views to dictionary indexes.
const VIEWS: usize = 256;

/// Gathers the values of a column: its dictionary, and the extremes of the open page.
#[derive(Default)]
pub(super) struct BytesValues {
    dictionary: Dictionary,
    /// The number of the page in which each value of the dictionary was last seen.
    seen: Vec<u32>,
    page: u32,
    extremes: Extremes,
    views: Vec<KnownView>,
}

/// A view and the dictionary index of its value.
#[derive(Clone, Copy, Default)]
struct KnownView {
    view: u128,
    /// The index plus one; 0 means empty.
    place: u32,
}

impl BytesValues {
    /// Values of a text or binary type; `None` for other types.
    pub(super) fn of_type(data_type: &DataType) -> Option<Self> {
        use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
        let is_bytes = matches!(
            data_type,
            Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView
        );
        is_bytes.then(Self::default)
    }

    /// Appends the dictionary indexes of the views' values. Equal views have equal values, and
    /// columns that come out of dictionaries repeat their views. Cached views need no lookup in the
    /// dictionary.
    fn index_views<V: ByteViewType>(
        &mut self,
        array: &GenericByteViewArray<V>,
        places: &mut Vec<u32>,
    ) {
        // Views of another array refer to other buffers.
        self.views.clear();
        self.views.resize(VIEWS, KnownView::default());
        let mut index = |row: usize| {
            let view = array.views()[row];
            let folded = (view as u64 ^ (view >> 64) as u64).wrapping_mul(self.dictionary.seed);
            let known = (folded >> (u64::BITS - VIEWS.trailing_zeros())) as usize;
            if self.views[known].place > 0 && self.views[known].view == view {
                return self.views[known].place - 1;
            }
            let place = self.dictionary.place(array.value(row).as_ref());
            self.views[known] = KnownView {
                view,
                place: place + 1,
            };
            place
        };
        match super::nulls_of(array) {
            None => places.extend((0..array.len()).map(index)),
            Some(nulls) => nulls
                .valid_indices()
                .for_each(|row| places.push(index(row))),
        }
    }
}

impl Values for BytesValues {
    type Value = ByteArray;

    fn slots_within(&self, array: &dyn Array, most: usize) -> (usize, usize) {
        match array.data_type() {
            DataType::Utf8 => count_within(lengths(array.as_string::<i32>()), array.nulls(), most),
            DataType::LargeUtf8 => {
                count_within(lengths(array.as_string::<i64>()), array.nulls(), most)
            }
            DataType::Binary => {
                count_within(lengths(array.as_binary::<i32>()), array.nulls(), most)
            }
            DataType::LargeBinary => {
                count_within(lengths(array.as_binary::<i64>()), array.nulls(), most)
            }
            DataType::Utf8View => {
                count_within(view_lengths(array.as_string_view()), array.nulls(), most)
            }
            DataType::BinaryView => {
                count_within(view_lengths(array.as_binary_view()), array.nulls(), most)
            }
            _ => (array.len(), 0),
        }
    }

    fn index(&mut self, array: &dyn Array, places: &mut Vec<u32>) -> Result<()> {
        match array.data_type() {
            DataType::Utf8View => self.index_views(array.as_string_view(), places),
            DataType::BinaryView => self.index_views(array.as_binary_view(), places),
            _ => for_each_value(array, |value| places.push(self.dictionary.place(value)))?,
        }
        Ok(())
    }

    fn write_plain(&mut self, array: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
        for_each_value(array, |value| {
            self.extremes.observe(value);
            push_value(value, out);
        })
    }

    fn write_indexed(&mut self, places: &[u32], out: &mut Vec<u8>) {
        for place in places {
            let value = self.dictionary.value(*place);
            self.extremes.observe(value);
            push_value(value, out);
        }
    }

    fn dictionary_len(&self) -> usize {
        self.dictionary.ends.len()
    }

    fn dictionary_bytes(&self) -> usize {
        self.dictionary.plain.len()
    }

    fn write_dictionary(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dictionary.plain);
    }

    fn drop_dictionary(&mut self) {
        self.dictionary = Dictionary::default();
        self.seen = Vec::new();
        self.views = Vec::new();
    }

    fn take_extremes(&mut self, places: &[u32]) -> Option<(ByteArray, ByteArray)> {
        self.page += 1;
        self.seen.resize(self.dictionary.ends.len(), 0);
        for place in places {
            let seen = &mut self.seen[*place as usize];
            if *seen != self.page {
                *seen = self.page;
                self.extremes.observe(self.dictionary.value(*place));
            }
        }
        let (min, max) = std::mem::take(&mut self.extremes).bounds?;
        Some((min.into(), max.into()))
    }

    fn memory_bytes(&self) -> usize {
        let bounds = self.extremes.bounds.as_ref();
        bounds.map_or(0, |(min, max)| min.capacity() + max.capacity())
            + self.dictionary.memory_bytes()
            + self.seen.capacity() * size_of::<u32>()
            + self.views.capacity() * size_of::<KnownView>()
    }
}

/// Returns the number of leading values that fit into `most` bytes of a page, and their size in
/// bytes. If no value fits, returns 0 and the size of the first value.
fn count_within(
    lengths: impl Iterator<Item = usize>,
    nulls: Option<&NullBuffer>,
    most: usize,
) -> (usize, usize) {
    let (mut rows, mut bytes) = (0, 0);
    for length in lengths {
        // The array may contain bytes for a NULL, which are not written.
        let is_null = nulls.is_some_and(|nulls| nulls.is_null(rows));
        let more = bytes + if is_null { 0 } else { length + LENGTH_BYTES };
        if more > most {
            return (rows, if rows == 0 { more } else { bytes });
        }
        rows += 1;
        bytes = more;
    }
    (rows, bytes)
}

fn lengths<T: ByteArrayType>(array: &GenericByteArray<T>) -> impl Iterator<Item = usize> {
    array.offsets().lengths()
}

/// The length is in the lowest four bytes of a view.
fn view_lengths<T: ByteViewType>(array: &GenericByteViewArray<T>) -> impl Iterator<Item = usize> {
    array.views().iter().map(|view| *view as u32 as usize)
}

/// Calls `work` with each value that isn't NULL.
fn for_each_value(array: &dyn Array, mut work: impl FnMut(&[u8])) -> Result<()> {
    fn each<A>(array: A, work: &mut impl FnMut(&[u8]))
    where
        A: ArrayAccessor,
        A::Item: AsRef<[u8]>,
    {
        match super::nulls_of(&array) {
            None => (0..array.len()).for_each(|row| work(array.value(row).as_ref())),
            Some(nulls) => {
                let rows = nulls.valid_indices();
                rows.for_each(|row| work(array.value(row).as_ref()));
            }
        }
    }
    match array.data_type() {
        DataType::Utf8 => each(array.as_string::<i32>(), &mut work),
        DataType::LargeUtf8 => each(array.as_string::<i64>(), &mut work),
        DataType::Binary => each(array.as_binary::<i32>(), &mut work),
        DataType::LargeBinary => each(array.as_binary::<i64>(), &mut work),
        DataType::Utf8View => each(array.as_string_view(), &mut work),
        DataType::BinaryView => each(array.as_binary_view(), &mut work),
        _ => return Err(super::unexpected_type(array.data_type())),
    }
    Ok(())
}

fn push_value(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Distinct values in plain encoding, numbered in the order of their first appearance.
struct Dictionary {
    plain: Vec<u8>,
    /// Where each value ends in `plain`.
    ends: Vec<u32>,
    /// A hash table of the values. At least half of the slots are free.
    slots: Vec<Slot>,
    seed: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// The index plus one; 0 means empty.
    place: u32,
    /// The upper half of the value's hash.
    check: u32,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            plain: Vec::new(),
            ends: Vec::new(),
            slots: Vec::new(),
            seed: super::hash_seed() | 1,
        }
    }
}

impl Dictionary {
    fn value(&self, place: u32) -> &[u8] {
        let place = place as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.plain[start as usize + LENGTH_BYTES..self.ends[place] as usize]
    }

    /// Returns the index of `value`. A new value is added.
    fn place(&mut self, value: &[u8]) -> u32 {
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = self.hash(value);
        let check = (hash >> 32) as u32;
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let known = self.slots[slot];
            if known.place == 0 {
                break;
            }
            if known.check == check && self.value(known.place - 1) == value {
                return known.place - 1;
            }
            slot = (slot + 1) & mask;
        }
        push_value(value, &mut self.plain);
        self.ends.push(self.plain.len() as u32);
        let place = self.ends.len() as u32;
        self.slots[slot] = Slot { place, check };
        place - 1
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 4).max(64);
        let mut slots = vec![Slot::default(); length];
        for place in 0..self.ends.len() as u32 {
            let hash = self.hash(self.value(place));
            let mut slot = hash as usize & (length - 1);
            while slots[slot].place != 0 {
                slot = (slot + 1) & (length - 1);
            }
            slots[slot] = Slot {
                place: place + 1,
                check: (hash >> 32) as u32,
            };
        }
        self.slots = slots;
    }

    /// Hashes eight bytes at a time with a folded 64 × 64 bit multiplication, as in wyhash:
    /// <https://github.com/wangyi-fudan/wyhash>
    fn hash(&self, value: &[u8]) -> u64 {
        let fold = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word) * u128::from(self.seed);
            product as u64 ^ (product >> 64) as u64
        };
        let (words, rest) = value.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let hash = words.fold(value.len() as u64 ^ self.seed.rotate_left(32), fold);
        let rest = rest
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        fold(fold(hash, rest), self.seed >> 1)
    }

    fn memory_bytes(&self) -> usize {
        self.plain.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.slots.capacity() * size_of::<Slot>()
    }
}

/// The smallest and largest value of a page.
struct Extremes {
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    /// The prefixes of the bounds. Most values lie between the bounds by their prefix alone and
    /// need no full comparison.
    min_prefix: u64,
    max_prefix: u64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self {
            bounds: None,
            min_prefix: u64::MAX,
            max_prefix: 0,
        }
    }
}

impl Extremes {
    fn observe(&mut self, value: &[u8]) {
        let prefix = prefix(value);
        if self.min_prefix < prefix && prefix < self.max_prefix {
            return;
        }
        let (min, max) = self
            .bounds
            .get_or_insert_with(|| (value.to_vec(), value.to_vec()));
        if value < min.as_slice() {
            value.clone_into(min);
        }
        if value > max.as_slice() {
            value.clone_into(max);
        }
        self.min_prefix = self::prefix(min);
        self.max_prefix = self::prefix(max);
    }
}

/// The first eight bytes as a number that preserves the order of values. Shorter values are padded
/// with zeros.
fn prefix(value: &[u8]) -> u64 {
    match value.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let start = value
                .iter()
                .fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            start.unbounded_shl(8 * (8 - value.len() as u32))
        }
    }
}
