//! Detects the dialect and the header of CSV files.
//!
//! Invariant: options that the user gave are kept. The dialect is the one whose records have the same
//! number of values, the more the better. A first record is a header if it is no record of the others' types.
//!
//! The method is DuckDB's, in short:
//! <https://duckdb.org/docs/stable/data/csv/auto_detection>.

use std::collections::BTreeMap;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Schema};

use super::exact::find_inexact;
use super::records::{Dialect, Record, RecordReader};
use super::values::values_of;
use super::{CsvSettings, Told};

/// How much of the first file is looked at, in bytes and records.
pub(super) const SAMPLE_BYTES: usize = 256 << 10;
const SAMPLE_RECORDS: usize = 500;

/// The candidates, the most usual first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const QUOTES: [u8; 2] = [b'"', b'\''];

/// Returns the settings of a file that begins with `sample`. `declared` are the file's columns, if
/// somebody has declared them. `is_whole` says that the sample is the whole file.
pub(super) fn sniff(
    settings: &CsvSettings,
    sample: &[u8],
    is_whole: bool,
    declared: Option<&Schema>,
) -> CsvSettings {
    let told = settings.told;
    let mut sniffed = settings.clone();
    let mut best: Option<(Score, Dialect, Vec<Record>)> = None;
    for dialect in candidates(&settings.dialect, told) {
        let records = read_sample(&dialect, sample, is_whole);
        let score = Score::of(&records, declared);
        if best.as_ref().is_none_or(|(other, _, _)| score > *other) {
            best = Some((score, dialect, records));
        }
    }
    let Some((score, dialect, records)) = best else {
        return sniffed;
    };
    if score.values > 1 || told.delimiter {
        sniffed.dialect = dialect;
    }
    if !told.header {
        (sniffed.has_header, sniffed.is_header_sure) = match declared {
            Some(declared) => (is_declared_header(&sniffed, declared, &records), true),
            None => is_header(&sniffed, &records),
        };
    }
    sniffed
}

/// The dialects that may be; the first is the usual one.
fn candidates(dialect: &Dialect, told: Told) -> Vec<Dialect> {
    let delimiters: &[u8] = match told.delimiter {
        true => &[dialect.delimiter],
        false => &DELIMITERS,
    };
    let quotes: &[u8] = match told.quote {
        true => &[dialect.quote],
        false => &QUOTES,
    };
    let has_own_escape = dialect.escape != dialect.quote;
    let all = delimiters.iter().flat_map(|delimiter| {
        quotes.iter().map(|quote| Dialect {
            delimiter: *delimiter,
            quote: *quote,
            escape: if has_own_escape {
                dialect.escape
            } else {
                *quote
            },
            ..dialect.clone()
        })
    });
    all.collect()
}

fn read_sample(dialect: &Dialect, sample: &[u8], is_whole: bool) -> Vec<Record> {
    let mut reader = RecordReader::new(dialect.clone());
    let mut records = Vec::new();
    let mut rest = sample;
    while !rest.is_empty() && records.len() < SAMPLE_RECORDS {
        let (read, is_complete) = reader.read(rest);
        rest = &rest[read..];
        if is_complete {
            records.push(reader.record().clone());
        }
    }
    // The sample may end within a record.
    if is_whole && records.len() < SAMPLE_RECORDS {
        match reader.finish() {
            Ok(true) => records.push(reader.record().clone()),
            Ok(false) => {}
            // The file ends within quotes, so this is not its quote character.
            Err(_) => records.clear(),
        }
    }
    records.retain(|record| !record.is_empty_line());
    records
}

/// How well records fit a dialect; the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Score {
    /// The records have as many values as are declared.
    is_declared: bool,
    /// The records have more than one value, and nine of ten have the same number.
    is_regular: bool,
    /// The share of records with the usual number of values.
    share: f64,
    /// The usual number of values.
    values: usize,
}

impl Score {
    fn of(records: &[Record], declared: Option<&Schema>) -> Self {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for record in records {
            *counts.entry(record.len()).or_default() += 1;
        }
        let usual = counts
            .iter()
            .max_by_key(|(values, count)| (**count, **values));
        let (values, count) = usual.map_or((0, 0), |(values, count)| (*values, *count));
        let share = count as f64 / records.len().max(1) as f64;
        let is_regular = values > 1 && share >= 0.9;
        Self {
            is_declared: declared.is_some_and(|schema| schema.fields().len() == values),
            is_regular,
            share: if is_regular { share } else { 0.0 },
            values,
        }
    }
}

fn text_of(record: &Record, column: usize) -> Option<(String, bool)> {
    let (value, quoted) = record.values().nth(column)?;
    Some((String::from_utf8_lossy(value).into_owned(), quoted))
}

/// Whether the first record is the header of declared columns.
fn is_declared_header(settings: &CsvSettings, declared: &Schema, records: &[Record]) -> bool {
    let Some(first) = records.first() else {
        return settings.has_header;
    };
    let fields = declared.fields().iter().enumerate();
    let is_name = |(column, _): (usize, _)| {
        text_of(first, column).is_some_and(|(text, _)| {
            let mut fields = declared.fields().iter();
            fields.any(|field| field.name().eq_ignore_ascii_case(&text))
        })
    };
    if fields
        .clone()
        .all(|(column, field)| is_name((column, field)))
    {
        return true;
    }
    !fields.clone().all(|(column, field)| {
        let value = text_of(first, column);
        value.is_some_and(|value| is_value(settings, value, field.data_type()))
    })
}

fn is_value(settings: &CsvSettings, (text, quoted): (String, bool), data_type: &DataType) -> bool {
    let is_null = !quoted && text == settings.null;
    is_null || values_of(&StringArray::from(vec![text]), data_type).is_ok()
}

/// Returns whether the first record is the header of undeclared columns, and whether the records prove
/// it.
fn is_header(settings: &CsvSettings, records: &[Record]) -> (bool, bool) {
    let Some((first, rest)) = records.split_first() else {
        return (settings.has_header, true);
    };
    let names: Vec<(String, bool)> = (0..first.len())
        .filter_map(|column| text_of(first, column))
        .collect();
    // Names differ from each other, and are no values.
    for (at, (name, _)) in names.iter().enumerate() {
        let is_new = !names[..at].iter().any(|(earlier, _)| earlier == name);
        if name.is_empty() || !is_new || guess_of(name) != DataType::Utf8 {
            return (false, true);
        }
    }
    if rest.is_empty() {
        return (true, false);
    }
    let rest = || rest.iter().filter(|record| record.len() == first.len());
    let mut all_are_texts = true;
    for (column, (name, _)) in names.iter().enumerate() {
        let values = rest().filter_map(|record| text_of(record, column));
        let values: Vec<String> = values
            .filter(|(text, quoted)| *quoted || *text != settings.null)
            .map(|(text, _)| text)
            .collect();
        let types: Vec<DataType> = values.iter().map(|text| guess_of(text)).collect();
        if !types.is_empty() && !types.contains(&DataType::Utf8) {
            // A column of numbers or times has a text at its head.
            return (true, true);
        }
        all_are_texts &= !values.contains(name);
    }
    // Texts only: a name is no value of its column.
    (all_are_texts, false)
}

/// The type of one value.
pub(super) fn guess_of(text: &str) -> DataType {
    const TYPES: [DataType; 4] = [
        DataType::Int64,
        DataType::Float64,
        DataType::Date32,
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
    ];
    if text.is_empty() {
        return DataType::Utf8;
    }
    if matches!(text, "true" | "false" | "t" | "f") {
        return DataType::Boolean;
    }
    let texts = StringArray::from(vec![text]);
    let fits = |data_type: &&DataType| {
        values_of(&texts, data_type).is_ok() && find_inexact(&texts, data_type).is_none()
    };
    let begins_as_one = text.starts_with(|c: char| c.is_ascii_digit() || "-+.".contains(c));
    let found = TYPES.iter().find(fits).filter(|_| begins_as_one);
    found.cloned().unwrap_or(DataType::Utf8)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use bytes::Bytes;
    use datafusion::common::config::CsvOptions;
    use futures::{StreamExt, TryStreamExt};

    use super::*;
    use crate::read::open::without_byte_order_mark;

    fn sniffed(text: &str, declared: Option<&Schema>) -> (char, char, bool) {
        let settings = CsvSettings::from(&CsvOptions::default());
        let chunks = futures::stream::iter([Ok(Bytes::copy_from_slice(text.as_bytes()))]);
        let chunks = without_byte_order_mark(chunks.boxed()).try_collect::<Vec<Bytes>>();
        let sample = futures::executor::block_on(chunks).unwrap().concat();
        let found = sniff(&settings, &sample, true, declared);
        let dialect = found.dialect;
        (
            char::from(dialect.delimiter),
            char::from(dialect.quote),
            found.has_header,
        )
    }

    #[test]
    fn dialects_and_headers_are_found() {
        for (text, expected) in [
            ("a,b\n1,2\n", (',', '"', true)),
            ("1,2\n3,4\n", (',', '"', false)),
            ("a;b\n1,5;2\n2,5;3\n", (';', '"', true)),
            ("a\tb\nx\ty\n", ('\t', '"', true)),
            ("1|x\n2|y\n", ('|', '"', false)),
            ("a,b\n'x,y',1\n'z',2\n", (',', '\'', true)),
            ("id,text\n1,\"x,y\"\n2,\"it's\"\n", (',', '"', true)),
            ("name\nx\ny\n", (',', '"', true)),
            ("1\n2\n", (',', '"', false)),
            ("x,1\nx,2\n", (',', '"', false)),
            ("x,y\nx,z\n", (',', '"', false)),
            ("a,a\n1,2\n", (',', '"', false)),
            ("t,f\nt,t\n", (',', '"', false)),
            ("", (',', '"', true)),
            ("only,header\n", (',', '"', true)),
            ("d,n\n2024-01-01,\n2024-01-02,\n", (',', '"', true)),
            ("\u{feff}a;b\n1;2\n", (';', '"', true)),
        ] {
            assert_eq!(sniffed(text, None), expected, "{text:?}");
        }
    }

    #[test]
    fn declared_columns_tell_the_header() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let schema = Schema::new(vec![
            field("x", DataType::Int64),
            field("y", DataType::Utf8),
        ]);
        let found = |text| sniffed(text, Some(&schema)).2;
        assert!(found("x,y\n1,a\n"));
        assert!(found("Y,X\na,1\n"));
        assert!(found("id,name\n1,a\n"));
        assert!(!found("1,a\n2,b\n"));
        assert!(!found(",a\n"));
        let texts = Schema::new(vec![field("x", DataType::Utf8), field("y", DataType::Utf8)]);
        assert!(!sniffed("a,b\nc,d\n", Some(&texts)).2);
        assert!(sniffed("x,y\nc,d\n", Some(&texts)).2);
    }
}
