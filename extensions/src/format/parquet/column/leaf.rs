//! A leaf of a column: encodes its values into pages.
//!
//! Invariant: every value is in exactly one page, in order, and no row is divided between pages. In a
//! chunk, dictionary-encoded pages come before plain pages, except for pages that have only NULLs.
//!
//! The first page of a chunk that has values decides whether a dictionary pays. If the count of
//! distinct values and the uncompressed sizes are not conclusive, the page is compressed with and
//! without a dictionary and the smaller wins. If a column has no use for a dictionary, hashing all
//! its values costs more than writing them. Later chunks may reuse the decision.

use arrow::array::{Array, ArrayRef};
use parquet::basic::Encoding;
use parquet::schema::types::ColumnDescPtr;

use super::super::ParquetCompression;
use super::chunk::{ChunkWriter, EncodedChunk};
use super::codec::compress;
use super::hybrid;
use super::levels::{Layout, LevelLimits, Levels, PageLevels, Position};
use super::statistics::{ChunkStatistics, Ordered, PageContent};
use crate::error::{Error, ErrorKind, Result};

/// Values are processed in steps of this many rows, which stay in the CPU cache.
const STEP_ROWS: usize = 4096;

/// The same for the slots of nested columns. A longer row is a step of its own.
const STEP_SLOTS: usize = 4 * STEP_ROWS;

/// A page of a nested column also ends at this many times its limit of rows, in entries.
const ENTRIES_PER_ROW: usize = 16;

/// Soft limit of a dictionary's size in bytes: readers hold the dictionary in memory.
const DICTIONARY_BYTES: usize = 1 << 20;

/// Upper bound for the size of a value in bytes. Page sizes are signed 32-bit integers, and a
/// dictionary page also holds other values.
const LARGEST_VALUE: usize = i32::MAX as usize - 2 * DICTIONARY_BYTES;

/// Minimum number of values to judge whether values repeat.
const EARLY_VALUES: usize = 8192;

/// Options for the pages of a column.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PageOptions {
    pub(in super::super) codec: ParquetCompression,
    /// A page ends at this many rows or at `bytes`, whichever comes first.
    pub(in super::super) rows: usize,
    /// Limit of a page in bytes before compression.
    pub(in super::super) bytes: usize,
    /// Whether the file has a page index: the position and statistics of each page.
    pub(in super::super) index: bool,
}

/// The values of a column, gathered for its pages.
pub(super) trait Values: Send {
    /// A value as the format stores it.
    type Value: Ordered;

    /// Returns the number of leading slots of the array that fit into `most` bytes of a page, and
    /// their size in bytes. If no slot fits, returns 0 and the size of the first.
    fn slots_within(&self, array: &dyn Array, most: usize) -> (usize, usize);

    /// Appends the dictionary indexes of all non-NULL values. New values are added to the
    /// dictionary.
    ///
    /// # Errors
    /// The array is not of the column's type.
    fn index(&mut self, array: &dyn Array, places: &mut Vec<u32>) -> Result<()>;

    /// Appends all non-NULL values in plain encoding.
    ///
    /// # Errors
    /// As [`Self::index`].
    fn write_plain(&mut self, array: &dyn Array, out: &mut Vec<u8>) -> Result<()>;

    /// Appends the dictionary's values with the indexes `places` in plain encoding.
    fn write_indexed(&mut self, places: &[u32], out: &mut Vec<u8>);

    /// Number of values in the dictionary.
    fn dictionary_len(&self) -> usize;

    /// Size of the dictionary page before compression, in bytes.
    fn dictionary_bytes(&self) -> usize;

    /// Appends the content of the dictionary page.
    fn write_dictionary(&self, out: &mut Vec<u8>);

    /// Empties the dictionary and frees its memory.
    fn drop_dictionary(&mut self);

    /// Returns the smallest and largest value of the page that ends here. The page consists of the
    /// values written plain since the last call and the dictionary's values with the indexes
    /// `places`.
    fn take_extremes(&mut self, places: &[u32]) -> Option<(Self::Value, Self::Value)>;

    /// Memory in use, in bytes.
    fn memory_bytes(&self) -> usize;
}

/// Writes one chunk of a column of any type.
pub(in super::super) trait WriteLeaf: Send {
    /// Adds the values of `array`: a row each, or as `levels` say.
    ///
    /// # Errors
    /// The array is not of the column's type, or a page is too large for Parquet.
    fn write(&mut self, array: &ArrayRef, levels: Option<&Levels>) -> Result<()>;

    /// Estimated size of the chunk in the file, in bytes. Data that is not compressed yet counts
    /// with its uncompressed size.
    fn estimated_bytes(&self) -> usize;

    /// The memory in use, in bytes.
    fn memory_bytes(&self) -> usize;

    /// Ends the chunk. Also returns whether a dictionary pays for the column; `None` if the chunk's
    /// values do not show it.
    ///
    /// # Errors
    /// A page is too large for Parquet.
    fn close(self: Box<Self>) -> Result<(EncodedChunk, Option<bool>)>;
}

/// Writes a chunk of values of one kind.
pub(super) struct LeafWriter<V: Values> {
    values: V,
    options: PageOptions,
    limits: LevelLimits,
    chunk: ChunkWriter,
    statistics: ChunkStatistics<V::Value>,
    dictionary: DictionaryState,
    page: OpenPage,
    /// Number of values in the chunk's finished pages, without NULLs.
    values_written: usize,
}

/// State of the chunk's dictionary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DictionaryState {
    /// No page with values is finished yet, so the dictionary may still be given up.
    OnTrial,
    InUse,
    /// The dictionary is full. Earlier pages need it; later pages are plain.
    Full,
    GivenUp,
}

/// The page that is being filled.
struct OpenPage {
    rows: usize,
    /// Number of values that are not NULL.
    values: usize,
    levels: PageLevels,
    places: Vec<u32>,
    plain: Vec<u8>,
    /// Size of the values in plain encoding, in bytes.
    plain_bytes: usize,
}

impl<V: Values> LeafWriter<V> {
    /// Starts a chunk of `column`. If `uses_dictionary` is `None`, the first page decides whether a
    /// dictionary pays.
    pub(super) fn new(
        values: V,
        column: ColumnDescPtr,
        limits: LevelLimits,
        options: PageOptions,
        uses_dictionary: Option<bool>,
    ) -> Self {
        Self {
            values,
            options,
            limits,
            statistics: ChunkStatistics::new(&column, options.index),
            chunk: ChunkWriter::new(column),
            dictionary: match uses_dictionary {
                None => DictionaryState::OnTrial,
                Some(true) => DictionaryState::InUse,
                Some(false) => DictionaryState::GivenUp,
            },
            page: OpenPage {
                rows: 0,
                values: 0,
                levels: PageLevels::new(limits),
                places: Vec::new(),
                plain: Vec::new(),
                plain_bytes: 0,
            },
            values_written: 0,
        }
    }

    fn uses_dictionary(&self) -> Option<bool> {
        let (values, distinct) = (self.values_written, self.values.dictionary_len());
        match self.dictionary {
            _ if values < EARLY_VALUES => None,
            DictionaryState::GivenUp => Some(false),
            DictionaryState::InUse if hardly_repeats(values, distinct) => None,
            DictionaryState::InUse => Some(true),
            DictionaryState::OnTrial | DictionaryState::Full => None,
        }
    }

    /// Adds `rows` rows with the slots `array` to the open page. The caller adds their levels. Their
    /// values have `bytes` bytes in plain encoding.
    fn add(&mut self, array: &dyn Array, rows: usize, bytes: usize) -> Result<()> {
        if !self.limits.is_nullable() && array.null_count() > 0 {
            return Err(Error::new(
                ErrorKind::Internal,
                "a column that is not nullable contains a NULL",
            ));
        }
        self.page.rows += rows;
        self.page.values += array.len() - array.null_count();
        self.page.plain_bytes += bytes;
        match self.dictionary {
            DictionaryState::OnTrial => {
                self.values.index(array, &mut self.page.places)?;
                let (values, distinct) = (self.page.values, self.values.dictionary_len());
                if values >= EARLY_VALUES && hardly_repeats(values, distinct) {
                    self.give_up_dictionary();
                }
            }
            DictionaryState::InUse => self.values.index(array, &mut self.page.places)?,
            DictionaryState::Full | DictionaryState::GivenUp => {
                self.values.write_plain(array, &mut self.page.plain)?;
            }
        }
        if self.dictionary == DictionaryState::InUse
            && self.values.dictionary_bytes() > DICTIONARY_BYTES
        {
            self.end_page()?;
            self.dictionary = DictionaryState::Full;
        }
        Ok(())
    }

    fn give_up_dictionary(&mut self) {
        let places = std::mem::take(&mut self.page.places);
        self.values.write_indexed(&places, &mut self.page.plain);
        self.values.drop_dictionary();
        self.dictionary = DictionaryState::GivenUp;
    }

    /// Whether the first page is better written with a dictionary.
    fn does_dictionary_pay(&mut self) -> Result<bool> {
        let plain = self.page.plain_bytes;
        let width = usize::from(self.place_width());
        let indexed = self.values.dictionary_bytes() + self.page.places.len() * width / 8;
        if indexed >= plain || indexed * 10 <= plain * 3 {
            return Ok(indexed < plain);
        }
        let codec = self.options.codec;
        let places = &self.page.places;
        let dictionary = compress(codec, |out| self.values.write_dictionary(out))?;
        let indexed = compress(codec, |out| hybrid::encode(places, width as u8, out))?;
        let plain = compress(codec, |out| self.values.write_indexed(places, out))?;
        // If the page is full, more pages share the dictionary. Most of them also add values to it,
        // so only half of its size counts for this page.
        let pages = if self.page.rows < self.options.rows {
            1
        } else {
            2
        };
        Ok(dictionary.bytes.len() / pages + indexed.bytes.len() < plain.bytes.len())
    }

    fn place_width(&self) -> u8 {
        let largest = self.values.dictionary_len().saturating_sub(1);
        hybrid::bit_width(u32::try_from(largest).unwrap_or(u32::MAX))
    }

    fn end_page(&mut self) -> Result<()> {
        if self.page.rows == 0 {
            return Ok(());
        }
        if self.dictionary == DictionaryState::OnTrial && self.page.values > 0 {
            match self.does_dictionary_pay()? {
                true => self.dictionary = DictionaryState::InUse,
                false => self.give_up_dictionary(),
            }
        }
        let width = self.place_width();
        let page = &self.page;
        // A page with only NULLs may come before the dictionary has a value.
        let uses_dictionary =
            self.dictionary == DictionaryState::InUse && self.values.dictionary_len() > 0;
        let compressed = compress(self.options.codec, |out| {
            page.levels.write(out);
            if uses_dictionary {
                out.push(width);
                hybrid::encode(&page.places, width, out);
            } else {
                out.extend_from_slice(&page.plain);
            }
        })?;
        let encoding = match uses_dictionary {
            true => Encoding::RLE_DICTIONARY,
            false => Encoding::PLAIN,
        };
        let entries = page.levels.entries();
        self.chunk
            .add_data_page(compressed, page.rows, entries, encoding)?;
        self.statistics.add_page(PageContent {
            entries,
            nulls: entries - page.values,
            histograms: page.levels.histograms(page.values),
            extremes: self.values.take_extremes(&page.places),
        });
        self.values_written += page.values;
        self.page.clear();
        Ok(())
    }
}

fn hardly_repeats(values: usize, distinct: usize) -> bool {
    distinct > values / 8 * 7
}

impl<V: Values> WriteLeaf for LeafWriter<V> {
    fn write(&mut self, array: &ArrayRef, levels: Option<&Levels>) -> Result<()> {
        let layout = levels.map_or(Layout::Flat(array.len()), Layout::Nested);
        let mut at = Position::default();
        while at.entries < layout.entries() {
            let rows = (self.options.rows - self.page.rows).min(STEP_ROWS);
            let mut end = layout.advance(at, rows, STEP_SLOTS, self.limits);
            if end == at {
                end = layout.advance(at, 1, usize::MAX, self.limits);
            }
            let step = array.slice(at.slots, end.slots - at.slots);
            let in_page = match self.dictionary {
                DictionaryState::InUse => 0,
                _ => self.page.plain_bytes,
            };
            let room = self.options.bytes.saturating_sub(in_page);
            let (mut slots, mut bytes) = self.values.slots_within(&step, room);
            if slots < step.len() {
                end = layout.advance(at, rows, slots, self.limits);
                if end == at && self.page.rows > 0 {
                    self.end_page()?;
                    continue;
                }
                // A row that is longer than a page is a page of its own.
                if end == at {
                    end = layout.advance(at, 1, usize::MAX, self.limits);
                }
                if end.slots - at.slots != slots {
                    slots = end.slots - at.slots;
                    bytes = self
                        .values
                        .slots_within(&step.slice(0, slots), usize::MAX)
                        .1;
                }
            }
            if bytes > LARGEST_VALUE {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("a value of {bytes} bytes is too long for Parquet: the limit is 2 GB"),
                ));
            }
            let step = step.slice(0, slots);
            self.page.levels.add(&step, layout, at, end);
            self.add(&step, end.rows - at.rows, bytes)?;
            at = end;
            let most_entries = self.options.rows.saturating_mul(ENTRIES_PER_ROW);
            if self.page.rows >= self.options.rows || self.page.levels.entries() >= most_entries {
                self.end_page()?;
            }
        }
        Ok(())
    }

    fn estimated_bytes(&self) -> usize {
        let places = self.page.places.len() * usize::from(self.place_width()) / 8;
        let dictionary = self.values.dictionary_bytes();
        self.chunk.encoded_bytes() + dictionary + places + self.page.plain.len()
    }

    fn memory_bytes(&self) -> usize {
        self.chunk.encoded_bytes()
            + self.values.memory_bytes()
            + self.page.memory_bytes()
            + self.statistics.memory_bytes()
    }

    fn close(mut self: Box<Self>) -> Result<(EncodedChunk, Option<bool>)> {
        self.end_page()?;
        let uses_dictionary = self.uses_dictionary();
        let codec = self.options.codec;
        // The dictionary is empty if it was given up or if the chunk has no values.
        let dictionary = match self.values.dictionary_len() {
            0 => None,
            values => {
                let page = compress(codec, |out| self.values.write_dictionary(out))?;
                Some((page, values))
            }
        };
        let (statistics, index) = self.statistics.finish()?;
        let page_index = self.options.index;
        let chunk = self
            .chunk
            .close(codec, dictionary, statistics, index, page_index)?;
        Ok((chunk, uses_dictionary))
    }
}

impl OpenPage {
    /// Empties the page and keeps its memory for the next page.
    fn clear(&mut self) {
        self.rows = 0;
        self.values = 0;
        self.levels.clear();
        self.places.clear();
        self.plain.clear();
        self.plain_bytes = 0;
    }

    fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>()
            + self.plain.capacity()
            + self.levels.memory_bytes()
    }
}
