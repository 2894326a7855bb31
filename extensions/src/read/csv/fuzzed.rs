//! What holds for CSV files of any content.

use arrow::array::StringArray;
use datafusion::common::config::CsvOptions;

use super::exact::find_inexact;
use super::records::{Dialect, Record, RecordReader};
use super::sniff::{guess_of, sniff};
use super::{CsvSettings, values_of};

/// A record: its line, and its values with whether they were quoted.
type Values = (u64, Vec<(Vec<u8>, bool)>);

/// Reads the records, in chunks of so many bytes. The error is the line of a value in quotes that does
/// not end.
fn read(dialect: &Dialect, bytes: &[u8], chunk: usize) -> (Vec<Values>, Option<u64>) {
    let values = |record: &Record| {
        let values = record.values();
        let values = values.map(|(value, is_quoted)| (value.to_vec(), is_quoted));
        (record.line, values.collect())
    };
    let mut reader = RecordReader::new(dialect.clone());
    let mut records = Vec::new();
    for mut chunk in bytes.chunks(chunk) {
        while !chunk.is_empty() {
            let (read, is_complete) = reader.read(chunk);
            chunk = &chunk[read..];
            if is_complete {
                records.push(values(reader.record()));
            }
        }
    }
    match reader.finish() {
        Ok(true) => {
            records.push(values(reader.record()));
            (records, None)
        }
        Ok(false) => (records, None),
        Err(line) => (records, Some(line)),
    }
}

/// Records do not depend on how the bytes are cut into chunks. The first two bytes choose a dialect
/// and the size of a chunk.
pub(crate) fn check_records(data: &[u8]) {
    let [choice, chunk, bytes @ ..] = data else {
        return;
    };
    let quote = [b'"', b'\''][usize::from(choice & 1)];
    let dialect = Dialect {
        delimiter: [b',', b';', b'\t', b'|'][usize::from(choice >> 1 & 3)],
        quote,
        escape: if choice & 8 == 0 { quote } else { b'\\' },
        comment: (choice & 16 != 0).then_some(b'#'),
        terminator: (choice & 32 != 0).then_some(b'\n'),
    };
    let whole = read(&dialect, bytes, bytes.len().max(1));
    let cut = read(&dialect, bytes, usize::from(*chunk).max(1));
    assert_eq!(whole, cut);
}

/// A file has one dialect and header, and each of its values either is one of a guessed type or
/// is not.
pub(crate) fn check_sniffer(data: &[u8]) {
    let settings = CsvSettings::from(&CsvOptions::default());
    let found = sniff(&settings, data, true, None);
    let again = sniff(&found, data, true, None);
    assert_eq!(
        (
            again.dialect.delimiter,
            again.dialect.quote,
            again.has_header
        ),
        (
            found.dialect.delimiter,
            found.dialect.quote,
            found.has_header
        )
    );
    let (records, _) = read(&found.dialect, data, data.len().max(1));
    for (value, _) in records.iter().flat_map(|(_, values)| values).take(100) {
        let text = String::from_utf8_lossy(value);
        let data_type = guess_of(&text);
        let texts = StringArray::from(vec![text.as_ref()]);
        let values = values_of(&texts, &data_type);
        assert!(
            values.is_ok_and(|values| values.len() == 1),
            "{text} as {data_type}"
        );
        assert_eq!(
            find_inexact(&texts, &data_type),
            None,
            "{text} as {data_type}"
        );
    }
}
