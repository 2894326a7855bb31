//! Definition and repetition levels: which values of a nested column exist, and which row they
//! belong to.
//!
//! Invariant: the entries of a leaf whose definition level is at least the slot level are the slots of
//! its array, in order. An entry with a lower level stands for a NULL or an empty list above the leaf.
//!
//! The format: <https://parquet.apache.org/docs/file-format/nestedencoding/>

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, OffsetSizeTrait, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, Field};
use parquet::basic::Repetition;
use parquet::file::metadata::LevelHistogram;
use parquet::schema::types::ColumnDescriptor;

use super::super::encode_error;
use super::hybrid;
use crate::error::{Error, ErrorKind, Result};

/// The levels of the entries of a leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Levels {
    definition: Vec<u8>,
    /// 0 at the start of a row. Empty if no list is above the leaf: then each entry is a row.
    repetition: Vec<u8>,
}

/// The levels that a column of the file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelLimits {
    definition: u8,
    repetition: u8,
    /// The lowest definition level of an entry that has a slot in the leaf's array.
    slot: u8,
}

impl LevelLimits {
    /// The levels of a column of the file; `None` if it is nested too deeply.
    pub(super) fn of_column(column: &ColumnDescriptor) -> Option<Self> {
        let definition = u8::try_from(column.max_def_level()).ok()?;
        let is_nullable = column.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
        Some(Self {
            definition,
            repetition: u8::try_from(column.max_rep_level()).ok()?,
            slot: definition - u8::from(is_nullable),
        })
    }

    /// Whether the leaf itself is nullable.
    pub(super) fn is_nullable(self) -> bool {
        self.slot < self.definition
    }

    /// Whether these are the highest levels.
    pub(super) fn equal(self, definition: u8, repetition: u8) -> bool {
        (self.definition, self.repetition) == (definition, repetition)
    }
}

/// A place between two rows: the numbers of rows, slots and entries before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) rows: usize,
    pub(super) slots: usize,
    pub(super) entries: usize,
}

/// How the slots of an array belong to rows.
#[derive(Clone, Copy)]
pub(super) enum Layout<'a> {
    /// Each slot is a row.
    Flat(usize),
    Nested(&'a Levels),
}

impl Layout<'_> {
    /// Number of entries of all rows.
    pub(super) fn entries(self) -> usize {
        match self {
            Self::Flat(rows) => rows,
            Self::Nested(levels) => levels.definition.len(),
        }
    }

    /// Returns the position after up to `rows` further rows that have up to `slots` slots together.
    pub(super) fn advance(
        self,
        from: Position,
        rows: usize,
        slots: usize,
        limits: LevelLimits,
    ) -> Position {
        let levels = match self {
            Self::Flat(all) => {
                let rows = rows.min(slots).min(all - from.rows);
                return Position {
                    rows: from.rows + rows,
                    slots: from.slots + rows,
                    entries: from.entries + rows,
                };
            }
            Self::Nested(levels) => levels,
        };
        let (mut at, mut whole) = (from, from);
        while at.entries < levels.definition.len() && at.rows - from.rows < rows {
            loop {
                at.slots += usize::from(levels.definition[at.entries] >= limits.slot);
                at.entries += 1;
                if levels
                    .repetition
                    .get(at.entries)
                    .is_none_or(|level| *level == 0)
                {
                    break;
                }
            }
            at.rows += 1;
            if at.slots - from.slots > slots {
                break;
            }
            whole = at;
        }
        whole
    }
}

/// The levels of the page that is being filled.
pub(super) struct PageLevels {
    limits: LevelLimits,
    entries: usize,
    /// Of a flat column: which entries have a value; `None` as long as all have one.
    validity: Option<BooleanBufferBuilder>,
    nested: Levels,
}

impl PageLevels {
    pub(super) fn new(limits: LevelLimits) -> Self {
        Self {
            limits,
            entries: 0,
            validity: None,
            nested: Levels::default(),
        }
    }

    /// Number of entries: values, NULLs and empty lists.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Whether no entry of a nested column was added.
    fn is_flat(&self) -> bool {
        self.nested.definition.is_empty()
    }

    /// Adds the entries from one position to another. `array` holds their slots.
    pub(super) fn add(
        &mut self,
        array: &dyn Array,
        layout: Layout<'_>,
        from: Position,
        to: Position,
    ) {
        match layout {
            Layout::Nested(levels) => {
                let entries = from.entries..to.entries;
                self.nested
                    .definition
                    .extend_from_slice(&levels.definition[entries.clone()]);
                if let Some(repetition) = levels.repetition.get(entries) {
                    self.nested.repetition.extend_from_slice(repetition);
                }
            }
            Layout::Flat(_) => self.add_validity(array),
        }
        self.entries += to.entries - from.entries;
    }

    fn add_validity(&mut self, array: &dyn Array) {
        match (&mut self.validity, super::nulls_of(array)) {
            (None, None) => {}
            (Some(validity), None) => validity.append_n(array.len(), true),
            (validity, Some(nulls)) => {
                let validity = validity.get_or_insert_with(|| {
                    let mut validity = BooleanBufferBuilder::new(self.entries + array.len());
                    validity.append_n(self.entries, true);
                    validity
                });
                validity.append_buffer(nulls.inner());
            }
        }
    }

    /// Appends the levels as a page holds them: repetition before definition.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.limits.repetition > 0 {
            let width = hybrid::bit_width(self.limits.repetition.into());
            with_size(out, |out| {
                hybrid::encode(&self.nested.repetition, width, out)
            });
        }
        if self.limits.definition > 0 {
            let width = hybrid::bit_width(self.limits.definition.into());
            with_size(out, |out| match &self.validity {
                _ if !self.is_flat() => hybrid::encode(&self.nested.definition, width, out),
                None => hybrid::encode_run(1, self.entries, width, out),
                Some(validity) => hybrid::encode_bits(validity.as_slice(), self.entries, out),
            });
        }
    }

    /// How many entries have each repetition level and each definition level. `values` is the number
    /// of values that are not NULL.
    pub(super) fn histograms(
        &self,
        values: usize,
    ) -> (Option<LevelHistogram>, Option<LevelHistogram>) {
        let count = |levels: &[u8], most: u8| {
            let mut counts = vec![0i64; usize::from(most) + 1];
            levels
                .iter()
                .for_each(|level| counts[usize::from(*level)] += 1);
            LevelHistogram::from(counts)
        };
        let LevelLimits {
            definition,
            repetition,
            ..
        } = self.limits;
        let repetition = (repetition > 0).then(|| count(&self.nested.repetition, repetition));
        let definition = (definition > 0).then(|| match self.is_flat() {
            true => vec![(self.entries - values) as i64, values as i64].into(),
            false => count(&self.nested.definition, definition),
        });
        (repetition, definition)
    }

    /// Empties the page and keeps its memory for the next page.
    pub(super) fn clear(&mut self) {
        self.entries = 0;
        self.validity = None;
        self.nested.definition.clear();
        self.nested.repetition.clear();
    }

    /// Memory in use, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let validity = self.validity.as_ref();
        validity.map_or(0, BooleanBufferBuilder::capacity) / 8
            + self.nested.definition.capacity()
            + self.nested.repetition.capacity()
    }
}

/// Appends what `write` appends, preceded by its size in bytes.
fn with_size(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let size = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&size.to_le_bytes());
}

/// Returns the leaves of a column with their highest definition and repetition levels, in the order
/// of the file. `None` if a type in it has another layout than this module knows.
pub(super) fn leaves(field: &Field) -> Option<Vec<(&DataType, u8, u8)>> {
    fn find<'a>(
        field: &'a Field,
        definition: u8,
        repetition: u8,
        found: &mut Vec<(&'a DataType, u8, u8)>,
    ) -> Option<()> {
        let definition = definition.checked_add(u8::from(field.is_nullable()))?;
        match field.data_type() {
            DataType::Struct(fields) => fields
                .iter()
                .try_for_each(|field| find(field, definition, repetition, found)),
            DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => find(
                item,
                definition.checked_add(1)?,
                repetition.checked_add(1)?,
                found,
            ),
            leaf => {
                found.push((leaf, definition, repetition));
                Some(())
            }
        }
    }
    let mut found = Vec::new();
    find(field, 0, 0, &mut found)?;
    Some(found)
}

/// The levels down to an array inside a nested column.
struct Path {
    levels: Levels,
    /// The definition level of the entries that have a slot in the array.
    alive: u8,
    /// The repetition level of the innermost list.
    depth: u8,
}

/// Calls `work` for each leaf of a column, in the order of the file, with the leaf's slots and their
/// levels.
///
/// # Errors
/// Errors of `work`; a NULL in a field that is not nullable.
pub(super) fn shred(
    field: &Field,
    array: &ArrayRef,
    work: &mut dyn FnMut(&ArrayRef, Levels) -> Result<()>,
) -> Result<()> {
    let levels = Levels {
        definition: vec![0; array.len()],
        repetition: Vec::new(),
    };
    let path = Path {
        levels,
        alive: 0,
        depth: 0,
    };
    path.descend(field, array, work)
}

impl Path {
    fn descend(
        &self,
        field: &Field,
        array: &ArrayRef,
        work: &mut dyn FnMut(&ArrayRef, Levels) -> Result<()>,
    ) -> Result<()> {
        let nulls = super::nulls_of(array);
        if nulls.is_some() && !field.is_nullable() {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{}, which is not nullable, contains a NULL", field.name()),
            ));
        }
        match array.data_type() {
            DataType::Struct(fields) => {
                let path = self.with_nulls(field.is_nullable(), nulls);
                let exists = nulls.map(|nulls| BooleanArray::new(nulls.inner().clone(), None));
                for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                    match &exists {
                        None => path.descend(field, column, work)?,
                        Some(exists) => {
                            let column =
                                filter(column, exists).map_err(|e| encode_error(e.into()))?;
                            path.descend(field, &column, work)?;
                        }
                    }
                }
                Ok(())
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                self.descend_list(field, nulls, item, list.offsets(), list.values(), work)
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                self.descend_list(field, nulls, item, list.offsets(), list.values(), work)
            }
            DataType::Map(item, _) => {
                let map = array.as_map();
                let entries: ArrayRef = Arc::new(map.entries().clone());
                self.descend_list(field, nulls, item, map.offsets(), &entries, work)
            }
            _ => work(array, self.with_nulls(field.is_nullable(), nulls).levels),
        }
    }

    /// The levels below a struct, or of a leaf.
    fn with_nulls(&self, is_nullable: bool, nulls: Option<&NullBuffer>) -> Self {
        let mut levels = self.levels.clone();
        if !is_nullable {
            let (alive, depth) = (self.alive, self.depth);
            return Self {
                levels,
                alive,
                depth,
            };
        }
        let alive = levels
            .definition
            .iter_mut()
            .filter(|level| **level == self.alive);
        match nulls {
            None => alive.for_each(|level| *level += 1),
            Some(nulls) => alive
                .zip(nulls.iter())
                .for_each(|(level, is_valid)| *level += u8::from(is_valid)),
        }
        Self {
            levels,
            alive: self.alive + 1,
            depth: self.depth,
        }
    }

    fn descend_list<O: OffsetSizeTrait>(
        &self,
        field: &Field,
        nulls: Option<&NullBuffer>,
        item: &Field,
        offsets: &OffsetBuffer<O>,
        values: &ArrayRef,
        work: &mut dyn FnMut(&ArrayRef, Levels) -> Result<()>,
    ) -> Result<()> {
        let path = self.with_list(field.is_nullable(), nulls, offsets);
        path.descend(item, &items(nulls, offsets, values)?, work)
    }

    /// The levels below a list.
    fn with_list<O: OffsetSizeTrait>(
        &self,
        is_nullable: bool,
        nulls: Option<&NullBuffer>,
        offsets: &OffsetBuffer<O>,
    ) -> Self {
        let Levels {
            definition,
            repetition,
        } = &self.levels;
        let empty = self.alive + u8::from(is_nullable);
        let (alive, depth) = (empty + 1, self.depth + 1);
        let mut levels = Levels::default();
        let mut lists = offsets.lengths().enumerate();
        for (entry, level) in definition.iter().enumerate() {
            let repeated = repetition.get(entry).copied().unwrap_or(0);
            levels.repetition.push(repeated);
            if *level != self.alive {
                levels.definition.push(*level);
                continue;
            }
            let Some((list, length)) = lists.next() else {
                break;
            };
            if nulls.is_some_and(|nulls| nulls.is_null(list)) {
                levels.definition.push(self.alive);
            } else if length == 0 {
                levels.definition.push(empty);
            } else {
                levels
                    .definition
                    .resize(levels.definition.len() + length, alive);
                levels.repetition.resize(levels.definition.len(), depth);
            }
        }
        Self {
            levels,
            alive,
            depth,
        }
    }
}

/// The items of all lists that are not NULL, in order.
fn items<O: OffsetSizeTrait>(
    nulls: Option<&NullBuffer>,
    offsets: &OffsetBuffer<O>,
    values: &ArrayRef,
) -> Result<ArrayRef> {
    let ends = offsets
        .windows(2)
        .map(|ends| ends[0].as_usize()..ends[1].as_usize());
    let ends = ends.enumerate();
    let lists = ends.filter(|(list, items)| {
        !items.is_empty() && nulls.is_none_or(|nulls| nulls.is_valid(*list))
    });
    let mut all = 0..0;
    let mut has_gap = false;
    for (_, items) in lists.clone() {
        if all.is_empty() {
            all = items;
        } else {
            has_gap |= items.start != all.end;
            all.end = items.end;
        }
    }
    if !has_gap {
        return Ok(values.slice(all.start, all.len()));
    }
    // A NULL may have items.
    let kept = lists.flat_map(|(_, items)| items).map(|item| item as u64);
    let kept = UInt64Array::from_iter_values(kept);
    take(values, &kept, None).map_err(|error| encode_error(error.into()))
}
