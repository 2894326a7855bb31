//! Assembles lines from the cells of their columns.
//!
//! Invariant: a line consists of the cells of one row in column order, with a delimiter between
//! cells and a line end after the last cell.
//!
//! A block of rows is written column by column, so that one type's code runs for many values, and
//! then copied row by row.

use std::ops::Range;

use arrow::array::RecordBatch;

use super::digits::{Room, Scaled};
use crate::error::Result;

/// Upper bound for rows in a block. Blocks of long rows are smaller ([`BLOCK_BYTES`]), so that
/// their texts stay in the CPU cache. The first block is small because the length of its rows is
/// unknown.
const BLOCK_ROWS: usize = 512;
const FIRST_BLOCK_ROWS: usize = 32;
const BLOCK_BYTES: usize = 256 << 10;

/// Short cells are copied in pieces of this many bytes, which is faster than copying the exact
/// length.
const PIECE: usize = 16;

/// The cells of one column.
pub(super) struct Cells {
    text: Vec<u8>,
    places: Vec<Place>,
}

/// Position of a cell in the text of its column.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    length: usize,
}

impl Cells {
    /// The buffer to append the text of the next cell to.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Ends a cell. Its text is everything that was appended since the previous cell.
    pub(super) fn end_cell(&mut self) {
        let end = |place: &Place| place.start + place.length;
        let start = self.places.last().map_or(0, end);
        let length = self.text.len() - start;
        self.places.push(Place { start, length });
    }

    /// Appends a cell with a number.
    pub(super) fn push_number(&mut self, number: Scaled) {
        let room = self.text.len();
        self.text.extend_from_slice(&Room::default());
        if let Some(end) = self.text.last_chunk_mut() {
            let start = room + number.write(end);
            let length = self.text.len() - start;
            self.places.push(Place { start, length });
        }
    }

    /// Appends a cell with the first `length` bytes of `text`.
    pub(super) fn push_short<const N: usize>(&mut self, text: &[u8; N], length: usize) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.text.truncate(start + length);
        self.places.push(Place { start, length });
    }

    /// Whether any cell is empty.
    pub(super) fn has_empty(&self) -> bool {
        self.places.iter().any(|place| place.length == 0)
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.places.clear();
    }
}

/// Passes the lines of a batch's rows to `out`, one block of rows at a time, and returns how many
/// lines it assembled. `push_cells` appends the cells of a column, given by its index, for a range
/// of rows.
///
/// # Errors
/// Errors of `out`.
pub(super) fn format_lines(
    batch: &RecordBatch,
    delimiter: u8,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
    push_cells: impl Fn(usize, Range<usize>, &mut Cells),
) -> Result<u64> {
    let cells = |_| Cells {
        text: Vec::new(),
        places: Vec::with_capacity(BLOCK_ROWS),
    };
    let mut columns: Vec<Cells> = (0..batch.num_columns()).map(cells).collect();
    let mut lines = Vec::new();
    let mut assembled = 0;
    let mut start = 0;
    let mut block = FIRST_BLOCK_ROWS;
    while start < batch.num_rows() {
        let rows = start..batch.num_rows().min(start + block);
        for (place, cells) in columns.iter_mut().enumerate() {
            cells.clear();
            push_cells(place, rows.clone(), cells);
        }
        let (text, count) = put_together(&mut columns, rows.len(), delimiter, &mut lines);
        assembled += count;
        // The next rows are likely to be as long as these.
        block = (BLOCK_BYTES * rows.len() / text.len().max(1)).clamp(1, BLOCK_ROWS);
        out(text)?;
        start = rows.end;
    }
    Ok(assembled)
}

/// Assembles the lines of the first `rows` rows, and counts them. `lines` is a buffer that is reused
/// for them.
fn put_together<'a>(
    columns: &mut [Cells],
    rows: usize,
    delimiter: u8,
    lines: &'a mut Vec<u8>,
) -> (&'a [u8], u64) {
    let texts: usize = columns.iter().map(|cells| cells.text.len()).sum();
    let most = texts + rows * columns.len().max(1) + PIECE;
    if lines.len() < most {
        lines.resize(most, 0);
    }
    for cells in columns.iter_mut() {
        cells.text.extend_from_slice(&[0; PIECE]);
    }
    let (mut at, mut count) = (0, 0);
    for row in 0..rows {
        for cells in columns.iter() {
            let Place { start, length } = cells.places[row];
            copy(&cells.text[start..], length, &mut lines[at..]);
            at += length;
            lines[at] = delimiter;
            at += 1;
        }
        // A row without columns is still a line.
        at += usize::from(columns.is_empty());
        lines[at - 1] = b'\n';
        count += 1;
    }
    (&lines[..at], count)
}

/// Copies `length` bytes and possibly the rest of a piece. Both slices must have space for that.
fn copy(from: &[u8], length: usize, to: &mut [u8]) {
    if length > PIECE * 4 {
        to[..length].copy_from_slice(&from[..length]);
        return;
    }
    let pieces = from
        .as_chunks::<PIECE>()
        .0
        .iter()
        .zip(to.as_chunks_mut::<PIECE>().0);
    for (from, to) in pieces.take(length.div_ceil(PIECE)) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatchOptions};
    use arrow::datatypes::Schema;
    use proptest::prelude::*;

    use super::*;

    fn lines(batch: &RecordBatch, texts: &[Vec<String>]) -> String {
        let mut all = Vec::new();
        let mut out = |lines: &[u8]| {
            all.extend_from_slice(lines);
            Ok(())
        };
        format_lines(batch, b';', &mut out, |column, rows, cells| {
            for row in rows {
                cells
                    .text()
                    .extend_from_slice(texts[column][row].as_bytes());
                cells.end_cell();
            }
        })
        .unwrap();
        String::from_utf8(all).unwrap()
    }

    proptest! {
        #[test]
        fn cells_are_put_together_row_by_row(
            texts in (1usize..5, 1usize..900).prop_flat_map(|(columns, rows)| {
                let text = prop_oneof![9 => "[a-z]{0,30}", 1 => "[a-z]{60,900}"];
                proptest::collection::vec(proptest::collection::vec(text, rows), columns)
            }),
        ) {
            let rows = texts[0].len();
            let array: ArrayRef = Arc::new(arrow::array::NullArray::new(rows));
            let named = (0..texts.len()).map(|column| (format!("c{column}"), Arc::clone(&array)));
            let batch = RecordBatch::try_from_iter(named).unwrap();
            let row = |row: usize| texts.iter().map(|column| column[row].as_str()).collect::<Vec<_>>();
            let expected: String = (0..rows).map(|n| row(n).join(";") + "\n").collect();
            prop_assert_eq!(lines(&batch, &texts), expected);
        }
    }

    #[test]
    fn rows_without_columns_are_lines() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema, vec![], &options).unwrap();
        assert_eq!(lines(&batch, &[]), "\n\n\n");
    }
}
