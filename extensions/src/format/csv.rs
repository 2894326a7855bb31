//! CSV as PostgreSQL's `COPY … (FORMAT csv)` writes it.
//!
//! Invariant: reading a file back loses nothing. NULL is the NULL string without quotes, and a
//! value that equals the NULL string is quoted; so, with the default NULL string, an empty text is
//! `""`. The rules: <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FORMAT-CSV>

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;

use super::csv_text::{ColumnText, column_text, has_text_form};
use super::{EncodedFile, Encoder, FileFormat, PartBuffer, refuse_columns, threads_for};
use crate::error::Result;
use crate::tasks::map_on_threads;

const DELIMITER: u8 = b',';
const QUOTE: u8 = b'"';

/// Rows are formatted here before they go to their part, so that one row is one append.
const SCRATCH_BYTES: usize = 32 << 10;

/// A batch is cut into more slices than threads, because their rows differ in cost.
const SLICES_PER_THREAD: usize = 4;

/// CSV files.
#[derive(Debug, Clone, Default)]
pub struct CsvFormat {}

impl CsvFormat {
    /// CSV without a header, separated by commas.
    pub fn new() -> Self {
        Self::default()
    }
}

impl FileFormat for CsvFormat {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn extension(&self) -> &'static str {
        ".csv"
    }

    fn content_type(&self) -> &'static str {
        "text/csv"
    }

    fn gathers(&self) -> bool {
        false
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        let refused: Vec<&Field> = schema
            .fields()
            .iter()
            .map(AsRef::as_ref)
            .filter(|field| !has_text_form(field.data_type()))
            .collect();
        refuse_columns("csv", &refused)
    }

    fn start_file(
        &self,
        _schema: &SchemaRef,
        part_bytes: usize,
        threads: usize,
    ) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(CsvEncoder {
            parts: PartBuffer::new(part_bytes),
            rows: 0,
            threads,
        }))
    }
}

struct CsvEncoder {
    parts: PartBuffer,
    rows: u64,
    threads: usize,
}

#[async_trait]
impl Encoder for CsvEncoder {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let threads = threads_for(batch, self.threads);
        if threads == 1 {
            format_rows(batch, |text| self.parts.push(text))?;
        } else {
            let format = |rows| {
                let mut whole = Vec::new();
                format_rows(&rows, |text| whole.extend_from_slice(text))?;
                Ok(whole)
            };
            let slices = cut_rows(batch, threads * SLICES_PER_THREAD);
            for text in map_on_threads(slices, threads, format).await? {
                self.parts.push(&text);
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn encoded_bytes(&self) -> u64 {
        self.parts.written_bytes()
    }

    fn memory_bytes(&self) -> usize {
        self.parts.buffered_bytes()
    }

    fn gathered_bytes(&self) -> usize {
        0
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn parts(&mut self) -> &mut PartBuffer {
        &mut self.parts
    }

    async fn finish(self: Box<Self>) -> Result<EncodedFile> {
        Ok(EncodedFile {
            rows: self.rows,
            parts: self.parts,
            columns: Vec::new(),
        })
    }
}

/// The batch in about so many slices.
fn cut_rows(batch: &RecordBatch, slices: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows().div_ceil(slices).max(1);
    (0..batch.num_rows())
        .step_by(rows)
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

/// Hands the text of a batch's rows to `out`, some rows at a time.
fn format_rows(batch: &RecordBatch, mut out: impl FnMut(&[u8])) -> Result<()> {
    let columns = batch
        .columns()
        .iter()
        .map(|array| column_text(array.as_ref()))
        .collect::<Result<Vec<_>>>()?;
    let mut text = Vec::with_capacity(SCRATCH_BYTES + 1024);
    let mut value = Vec::new();
    for row in 0..batch.num_rows() {
        push_row(&mut text, &columns, row, &mut value);
        if text.len() >= SCRATCH_BYTES {
            out(&text);
            text.clear();
        }
    }
    out(&text);
    Ok(())
}

/// Appends a row to `out`; `value` is room for the text of a value that may need quotes.
fn push_row(out: &mut Vec<u8>, columns: &[ColumnText<'_>], row: usize, value: &mut Vec<u8>) {
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            out.push(DELIMITER);
        }
        if column.is_null(row) {
            continue;
        }
        match column.as_bytes(row) {
            Some(text) => push_quoted_if_needed(out, text, columns.len() == 1),
            None if column.is_plain() => column.push_text(row, out),
            None => {
                value.clear();
                column.push_text(row, value);
                push_quoted_if_needed(out, value, columns.len() == 1);
            }
        }
    }
    out.push(b'\n');
}

/// Quotes a value that equals the NULL string (empty), holds a special character, or would be read
/// as the end of the data (`\.` alone on a line).
fn push_quoted_if_needed(out: &mut Vec<u8>, value: &[u8], only_column: bool) {
    let special = |byte: &u8| matches!(*byte, DELIMITER | QUOTE | b'\n' | b'\r');
    let needs_quotes =
        value.is_empty() || (only_column && value == b"\\.") || value.iter().any(special);
    if !needs_quotes {
        out.extend_from_slice(value);
        return;
    }
    out.push(QUOTE);
    for piece in value.split_inclusive(|byte| *byte == QUOTE) {
        out.extend_from_slice(piece);
        if piece.last() == Some(&QUOTE) {
            out.push(QUOTE);
        }
    }
    out.push(QUOTE);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
        Float64Array, Int64Array, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
        TimestampNanosecondArray, UInt64Array,
    };
    use proptest::prelude::*;

    use super::*;

    fn encode(columns: Vec<ArrayRef>) -> String {
        futures::executor::block_on(encode_on_threads(columns, 1))
    }

    async fn encode_on_threads(columns: Vec<ArrayRef>, threads: usize) -> String {
        let named = columns
            .into_iter()
            .enumerate()
            .map(|(i, array)| (format!("c{i}"), array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(named).unwrap();
        let format = CsvFormat::new();
        format.check_schema(&batch.schema()).unwrap();
        let mut encoder = format
            .start_file(&batch.schema(), 1 << 20, threads)
            .unwrap();
        encoder.write(&batch).await.unwrap();
        let mut file = encoder.finish().await.unwrap();
        assert_eq!(file.rows, batch.num_rows() as u64);
        let bytes = file.parts.take_any().unwrap_or_default();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn null_and_empty_text_differ() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("a,b\"c\n")]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None, Some(i64::MAX)]));
        assert_eq!(
            encode(vec![text, number]),
            "\"\",-1\n,\n\"a,b\"\"c\n\",9223372036854775807\n"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_keep_their_order_on_several_threads() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50_001));
        let expected = encode(vec![Arc::clone(&numbers)]);
        assert_eq!(encode_on_threads(vec![numbers], 3).await, expected);
    }

    #[test]
    fn an_end_of_data_marker_is_quoted_when_alone() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["\\."]));
        assert_eq!(encode(vec![Arc::clone(&text)]), "\"\\.\"\n");
        assert_eq!(encode(vec![Arc::clone(&text), text]), "\\.,\\.\n");
    }

    /// The right-hand sides are what PostgreSQL 15 prints for the same values.
    #[test]
    fn values_read_as_postgresql_prints_them() {
        let floats = vec![
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e15, "1e+15"),
            (123456789012345.0, "123456789012345"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in floats {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            assert_eq!(encode(vec![column]).trim_end(), expected);
        }
        let cases: Vec<(ArrayRef, &str)> = vec![
            (Arc::new(Float32Array::from(vec![1e6])), "1e+06"),
            (Arc::new(Float32Array::from(vec![123456.0])), "123456"),
            (Arc::new(BooleanArray::from(vec![true])), "t"),
            (Arc::new(BooleanArray::from(vec![false])), "f"),
            (
                Arc::new(UInt64Array::from(vec![u64::MAX])),
                "18446744073709551615",
            ),
            (
                Arc::new(BinaryArray::from(vec![b"\\x".as_slice()])),
                "\\x5c78",
            ),
            (Arc::new(Date32Array::from(vec![14892])), "2010-10-10"),
            (Arc::new(Date32Array::from(vec![-719529])), "0002-12-31 BC"),
            (Arc::new(Date32Array::from(vec![2932897])), "10000-01-01"),
            (
                Arc::new(Time64MicrosecondArray::from(vec![29_410_500_000])),
                "08:10:10.5",
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![-1])),
                "1969-12-31 23:59:59.999999",
            ),
            (
                Arc::new(
                    TimestampNanosecondArray::from(vec![1_286_698_210_500_000_000])
                        .with_timezone("+00:00"),
                ),
                "2010-10-10 08:10:10.5+00",
            ),
            (
                Arc::new(
                    TimestampNanosecondArray::from(vec![1_286_698_210_500_000_000])
                        .with_timezone("+05:30"),
                ),
                "2010-10-10 13:40:10.5+05:30",
            ),
            (
                Arc::new(
                    Decimal128Array::from(vec![-5])
                        .with_precision_and_scale(10, 2)
                        .unwrap(),
                ),
                "-0.05",
            ),
            (
                Arc::new(
                    Decimal128Array::from(vec![12])
                        .with_precision_and_scale(10, -3)
                        .unwrap(),
                ),
                "12000",
            ),
        ];
        for (column, expected) in cases {
            assert_eq!(encode(vec![column]).trim_end(), expected);
        }
    }

    proptest! {
        /// DataFusion's and everybody's CSV reader gets the texts back.
        #[test]
        fn texts_survive(rows in proptest::collection::vec(("\\PC*|[,\"\n\r\\\\.]*", "[a,\"\n]*"), 1..8)) {
            let left: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.0)));
            let right: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.1)));
            let text = encode(vec![left, right]);
            prop_assert_eq!(parse(&text), rows);
        }
    }

    /// A reader of RFC 4180, for two columns.
    fn parse(text: &str) -> Vec<(String, String)> {
        let mut fields = vec![String::new()];
        let mut chars = text.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            let last = fields.last_mut().unwrap();
            match (quoted, c) {
                (true, '"') if chars.peek() == Some(&'"') => {
                    chars.next();
                    last.push('"');
                }
                (_, '"') => quoted = !quoted,
                (false, ',' | '\n') => fields.push(String::new()),
                _ => last.push(c),
            }
        }
        fields.pop();
        fields
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    }
}
