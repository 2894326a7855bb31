//! CSV as PostgreSQL's `COPY … (FORMAT csv)` writes it.
//!
//! Invariant: reading a file back returns the same values. NULL is the NULL string without quotes,
//! and a value that equals the NULL string is quoted. With the default NULL string, an empty text
//! is therefore `""`. The rules:
//! <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FORMAT-CSV>

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::LineFormat;
use super::compression::TextCompression;
use super::lines::format_lines;
use super::values::{ColumnText, PLAIN_PUNCTUATION, plain_arrays, refuse_textless, texts};
use crate::error::Result;
use crate::format::{Comparison, Neighbor};
use crate::media_type::{WITH_HEADER, WITHOUT_HEADER, says_header};

/// Options for writing CSV.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct CsvOptions {
    /// Whether the first line of every file names the columns.
    pub header: bool,
    /// The byte between values.
    pub delimiter: u8,
    /// The byte around values that need quotes.
    pub quote: u8,
    /// The byte before each quote and each escape byte in a quoted value.
    pub escape: u8,
    /// The text for NULL.
    pub null: String,
    /// Columns whose values are always quoted.
    pub force_quote: ForceQuote,
    /// Compression of files.
    pub compression: TextCompression,
}

/// Columns whose values are always quoted, except NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ForceQuote {
    /// No columns.
    #[default]
    None,
    /// All columns.
    All,
    /// The columns with these names.
    Columns(Vec<String>),
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: false,
            delimiter: b',',
            quote: b'"',
            escape: b'"',
            null: String::new(),
            force_quote: ForceQuote::None,
            compression: TextCompression::None,
        }
    }
}

/// CSV files.
#[derive(Debug, Clone)]
pub struct CsvFormat {
    options: CsvOptions,
    /// Numbers, times and bytes can't contain a special character or equal the NULL string.
    plain_needs_no_quotes: bool,
}

struct CsvColumn<'a> {
    text: ColumnText<'a>,
    must_quote: bool,
    /// No value needs quotes.
    as_it_is: bool,
}

impl CsvFormat {
    /// Creates the format with `options`.
    pub fn new(options: CsvOptions) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || PLAIN_PUNCTUATION.contains(&byte);
        let may_equal_null = !options.null.is_empty() && options.null.bytes().all(is_plain);
        Self {
            plain_needs_no_quotes: !is_plain(options.delimiter)
                && !is_plain(options.quote)
                && !may_equal_null,
            options,
        }
    }

    fn must_quote(&self, column: &str) -> bool {
        match &self.options.force_quote {
            ForceQuote::None => false,
            ForceQuote::All => true,
            ForceQuote::Columns(names) => names.iter().any(|name| name == column),
        }
    }

    /// Whether a value contains a character that needs quotes. Several bytes are checked at once,
    /// up to 16; the last chunk may overlap the chunk before it.
    fn has_special(&self, value: &[u8]) -> bool {
        let special = |byte: u8| {
            (byte == self.options.delimiter)
                | (byte == self.options.quote)
                | (byte == b'\n')
                | (byte == b'\r')
        };
        if let Some(last) = value.last_chunk::<16>() {
            let pieces = value.as_chunks::<16>().0.iter().chain([last]);
            return pieces.fold(false, |found, piece| found | has(piece, special));
        }
        if let (Some(first), Some(last)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
            return has(first, special) | has(last, special);
        }
        if let (Some(first), Some(last)) = (value.first_chunk::<4>(), value.last_chunk::<4>()) {
            return has(first, special) | has(last, special);
        }
        value.iter().any(|byte| special(*byte))
    }

    /// Appends a value. It is quoted if `force` is set, if it equals the NULL string, if it
    /// contains a special character, or if it would be read as the end of the data (`\.` alone on a
    /// line).
    fn push_value(&self, out: &mut Vec<u8>, value: &[u8], force: bool, only_column: bool) {
        let options = &self.options;
        let needs_quotes = force
            || self.has_special(value)
            || value == options.null.as_bytes()
            || (only_column && value == b"\\.");
        if !needs_quotes {
            out.extend_from_slice(value);
            return;
        }
        out.push(options.quote);
        let escaped = |byte: &u8| *byte == options.quote || *byte == options.escape;
        let mut rest = value;
        while let Some(place) = rest.iter().position(escaped) {
            out.extend_from_slice(&rest[..place]);
            out.extend_from_slice(&[options.escape, rest[place]]);
            rest = &rest[place + 1..];
        }
        out.extend_from_slice(rest);
        out.push(options.quote);
    }
}

/// Whether `is` holds for any of the bytes. There is no branch per byte, so that all bytes are
/// checked at once.
fn has<const N: usize>(bytes: &[u8; N], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, byte| found | is(*byte))
}

impl LineFormat for CsvFormat {
    const NAME: &'static str = "csv";

    fn content_type(&self) -> &'static str {
        match self.options.header {
            true => WITH_HEADER,
            false => WITHOUT_HEADER,
        }
    }

    fn compression(&self) -> TextCompression {
        self.options.compression
    }

    fn check_columns(&self, schema: &Schema) -> Result<()> {
        refuse_textless(Self::NAME, schema)
    }

    fn compare_with(&self, schema: &Schema, other: &Neighbor) -> Comparison {
        let has_header = other.content_type.as_deref().and_then(says_header);
        if has_header.is_some_and(|has_header| has_header != self.options.header) {
            let [theirs, ours] = match self.options.header {
                true => ["no header", "one"],
                false => ["a header", "none"],
            };
            let why = format!("it has {theirs}, and this export writes {ours}");
            return Comparison::Differs(why);
        }
        if other.is_compressed {
            return Comparison::Fits;
        }
        let options = &self.options;
        let mut reader = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(options.delimiter)
            .quote(options.quote)
            .double_quote(options.escape == options.quote)
            .escape((options.escape != options.quote).then_some(options.escape))
            .from_reader(other.bytes.as_ref());
        let mut first = ::csv::ByteRecord::new();
        let is_read = reader.read_byte_record(&mut first).unwrap_or_default();
        let end = usize::try_from(reader.position().byte()).unwrap_or_default();
        if !is_read || !other.is_whole && end >= other.bytes.len() {
            return Comparison::Fits;
        }
        let fields = schema.fields().iter();
        match has_header {
            Some(true) => {
                let ours: Vec<String> = fields.map(|field| field.name().to_lowercase()).collect();
                let theirs = first.iter().map(String::from_utf8_lossy);
                let theirs: Vec<String> = theirs.map(|name| name.to_lowercase()).collect();
                Comparison::of_names(&theirs, &ours)
            }
            _ if first.len() == fields.len() => Comparison::Fits,
            _ => Comparison::Differs(format!(
                "it has {} columns, and this export writes {}",
                first.len(),
                fields.len()
            )),
        }
    }

    fn push_header(&self, schema: &Schema, out: &mut Vec<u8>) {
        if !self.options.header {
            return;
        }
        let fields = schema.fields();
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                out.push(self.options.delimiter);
            }
            self.push_value(out, field.name().as_bytes(), false, fields.len() == 1);
        }
        out.push(b'\n');
    }

    fn format_rows(
        &self,
        batch: &RecordBatch,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let arrays = plain_arrays(batch)?;
        let schema = batch.schema();
        let columns: Vec<CsvColumn<'_>> = texts(&schema, &arrays)?
            .into_iter()
            .zip(schema.fields())
            .map(|(text, field)| {
                let must_quote = self.must_quote(field.name());
                CsvColumn {
                    as_it_is: text.is_plain() && self.plain_needs_no_quotes && !must_quote,
                    must_quote,
                    text,
                }
            })
            .collect();
        let null = self.options.null.as_bytes();
        let only_column = columns.len() == 1;
        format_lines(batch, self.options.delimiter, out, |place, rows, cells| {
            let CsvColumn {
                text,
                must_quote,
                as_it_is,
            } = &columns[place];
            if *as_it_is {
                return text.push_cells(rows, null, cells);
            }
            if !must_quote && !only_column && null.is_empty() && !text.has_nulls() {
                // Most texts need no quotes, so all cells are checked in one scan.
                text.push_cells(rows.clone(), null, cells);
                if !cells.has_empty() && !self.has_special(cells.text()) {
                    return;
                }
                cells.clear();
            }
            text.push_cells_with(rows, null, cells, |value, out| {
                self.push_value(out, value, *must_quote, only_column);
            });
        })
    }
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
    use crate::format::{FileFormat, PartBuffer, PartPool};

    fn encode(columns: Vec<ArrayRef>) -> String {
        futures::executor::block_on(encode_on_threads(columns, 1))
    }

    async fn encode_on_threads(columns: Vec<ArrayRef>, threads: usize) -> String {
        encode_as(CsvFormat::new(CsvOptions::default()), columns, threads).await
    }

    async fn encode_as(format: CsvFormat, columns: Vec<ArrayRef>, threads: usize) -> String {
        let named = columns
            .into_iter()
            .enumerate()
            .map(|(i, array)| (format!("c{i}"), array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(named).unwrap();
        format.check_schema(&batch.schema()).unwrap();
        let mut encoder = format
            .start_file(
                &batch.schema(),
                PartBuffer::new(PartPool::new(1 << 20)),
                threads,
            )
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

    /// The expected texts are PostgreSQL 15's output for the same values.
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

    /// Options that the csv crate can also read: any delimiter and quote, with the quote as escape.
    fn csv_options() -> impl Strategy<Value = CsvOptions> {
        let bytes = (
            prop_oneof![Just(b','), Just(b';'), Just(b'\t'), Just(b'1'), Just(b' ')],
            prop_oneof![Just(b'"'), Just(b'\''), Just(b'|')],
            any::<bool>(),
            any::<bool>(),
        );
        bytes.prop_map(|(delimiter, quote, header, all)| CsvOptions {
            delimiter,
            quote,
            escape: quote,
            header,
            force_quote: match all {
                true => ForceQuote::All,
                false => ForceQuote::None,
            },
            ..CsvOptions::default()
        })
    }

    proptest! {
        /// The csv crate reads the same texts back with any of these options.
        #[test]
        fn texts_survive(
            rows in proptest::collection::vec(("\\PC*|[,;1|'\"\n\r\\\\.]*", "[a,\"\n]*"), 1..8),
            options in csv_options(),
        ) {
            let left: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.0)));
            let right: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.1)));
            let format = CsvFormat::new(options.clone());
            let text = futures::executor::block_on(encode_as(format, vec![left, right], 1));
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(options.header)
                .delimiter(options.delimiter)
                .quote(options.quote)
                .from_reader(text.as_bytes());
            let read: Vec<(String, String)> = reader.deserialize().map(|row| row.unwrap()).collect();
            prop_assert_eq!(read, rows);
        }
    }
}
