//! Splits bytes into records of values, and notes which values were quoted.
//!
//! Invariant: the records do not depend on how the bytes are cut into chunks. A quoted value may
//! contain line ends.
//!
//! PostgreSQL and [`crate::format`] write NULL without quotes, but the `csv` crate does not report
//! whether a value was quoted.
//!
//! The format: <https://www.rfc-editor.org/rfc/rfc4180>, with PostgreSQL's escape character.

use memchr::{memchr_iter, memchr2, memchr3};

/// How a file is written.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// Within quotes, makes a following quote or escape character part of the value. Equal to
    /// `quote` if quotes are doubled.
    pub(super) escape: u8,
    /// Lines that begin with this byte are comments.
    pub(super) comment: Option<u8>,
    /// The byte that ends a record; if not set, `\n`, `\r\n` or `\r` ends it.
    pub(super) terminator: Option<u8>,
}

/// The values of one record, reused for the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    /// Where each value ends in `bytes`, and whether it was quoted.
    ends: Vec<(usize, bool)>,
    /// The line it begins on, from 1.
    pub(super) line: u64,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The values; the flag says whether the value was quoted.
    pub(super) fn values(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let mut start = 0;
        self.ends.iter().map(move |(end, quoted)| {
            let value = &self.bytes[start..*end];
            start = *end;
            (value, *quoted)
        })
    }

    /// The values as texts, such as the names in a header.
    pub(super) fn texts(&self) -> Vec<String> {
        let values = self.values();
        let texts = values.map(|(value, _)| String::from_utf8_lossy(value).into_owned());
        texts.collect()
    }

    /// Whether its line is empty.
    pub(super) fn is_empty_line(&self) -> bool {
        self.bytes.is_empty() && matches!(self.ends.as_slice(), [(_, false)])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of the record has been read.
    RecordStart,
    /// After a line that ended in `\r`: a following `\n` belongs to the same line end.
    AfterCarriageReturn,
    ValueStart,
    Unquoted,
    Quoted,
    /// After the escape character within quotes.
    Escaped,
    /// After a quote within quotes. It ends the quoted part unless another quote follows.
    QuoteInQuoted,
    Comment,
}

/// Reads records from chunks of bytes.
#[derive(Debug)]
pub(super) struct RecordReader {
    dialect: Dialect,
    state: State,
    in_quotes: bool,
    /// The current line, from 1.
    line: u64,
    record: Record,
}

impl RecordReader {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: State::RecordStart,
            in_quotes: false,
            line: 1,
            record: Record::default(),
        }
    }

    /// The record whose end [`Self::read`] has reached.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Reads up to the end of a record or of `bytes`. Returns the number of bytes read, and whether
    /// [`Self::record`] is complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            match self.state {
                State::AfterCarriageReturn if byte == b'\n' => {
                    at += 1;
                    self.state = State::RecordStart;
                }
                State::RecordStart | State::AfterCarriageReturn => {
                    self.record.bytes.clear();
                    self.record.ends.clear();
                    self.record.line = self.line;
                    self.state = match self.dialect.comment {
                        Some(comment) if byte == comment => State::Comment,
                        _ => State::ValueStart,
                    };
                }
                State::ValueStart => {
                    self.in_quotes = byte == self.dialect.quote;
                    if self.in_quotes {
                        at += 1;
                        self.state = State::Quoted;
                    } else {
                        self.state = State::Unquoted;
                    }
                }
                State::Unquoted => {
                    let rest = &bytes[at..];
                    let Some(length) = self.find_end(rest) else {
                        self.record.bytes.extend_from_slice(rest);
                        return (bytes.len(), false);
                    };
                    self.record.bytes.extend_from_slice(&rest[..length]);
                    self.end_value();
                    let end = rest[length];
                    at += length + 1;
                    if end == self.dialect.delimiter {
                        self.state = State::ValueStart;
                    } else {
                        self.end_line(end);
                        return (at, true);
                    }
                }
                State::Quoted => {
                    let rest = &bytes[at..];
                    let end = memchr2(self.dialect.quote, self.dialect.escape, rest);
                    let length = end.unwrap_or(rest.len());
                    self.record.bytes.extend_from_slice(&rest[..length]);
                    self.line += memchr_iter(b'\n', &rest[..length]).count() as u64;
                    at += length;
                    if end.is_some() {
                        at += 1;
                        self.state = match rest[length] == self.dialect.quote {
                            true => State::QuoteInQuoted,
                            false => State::Escaped,
                        };
                    }
                }
                State::Escaped => {
                    if byte != self.dialect.quote && byte != self.dialect.escape {
                        // The escape character escapes nothing, so it is part of the value.
                        self.record.bytes.push(self.dialect.escape);
                        self.state = State::Quoted;
                        continue;
                    }
                    self.record.bytes.push(byte);
                    at += 1;
                    self.state = State::Quoted;
                }
                State::QuoteInQuoted => {
                    if byte == self.dialect.quote && self.dialect.escape == self.dialect.quote {
                        self.record.bytes.push(byte);
                        at += 1;
                        self.state = State::Quoted;
                    } else {
                        self.state = State::Unquoted;
                    }
                }
                State::Comment => {
                    let Some(length) = self.find_line_end(&bytes[at..]) else {
                        return (bytes.len(), false);
                    };
                    self.end_line(bytes[at + length]);
                    at += length + 1;
                }
            }
        }
        (at, false)
    }

    /// Ends the reading after the last byte. Returns whether [`Self::record`] holds a last record,
    /// which has no line end. The error is the line on which the record with the unclosed quotes
    /// begins.
    pub(super) fn finish(&mut self) -> Result<bool, u64> {
        match std::mem::replace(&mut self.state, State::RecordStart) {
            State::RecordStart | State::AfterCarriageReturn | State::Comment => Ok(false),
            State::ValueStart => {
                self.in_quotes = false;
                self.end_value();
                Ok(true)
            }
            State::Unquoted | State::QuoteInQuoted => {
                self.end_value();
                Ok(true)
            }
            State::Quoted | State::Escaped => Err(self.record.line),
        }
    }

    fn end_value(&mut self) {
        self.record
            .ends
            .push((self.record.bytes.len(), self.in_quotes));
    }

    fn end_line(&mut self, end: u8) {
        self.line += 1;
        self.state = match self.dialect.terminator {
            None if end == b'\r' => State::AfterCarriageReturn,
            _ => State::RecordStart,
        };
    }

    fn find_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.dialect.terminator {
            Some(terminator) => memchr2(self.dialect.delimiter, terminator, bytes),
            None => memchr3(self.dialect.delimiter, b'\n', b'\r', bytes),
        }
    }

    fn find_line_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.dialect.terminator {
            Some(terminator) => memchr::memchr(terminator, bytes),
            None => memchr2(b'\n', b'\r', bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect() -> Dialect {
        Dialect {
            delimiter: b',',
            quote: b'"',
            escape: b'"',
            comment: None,
            terminator: None,
        }
    }

    /// All records as text, with quoted values in brackets.
    fn read_all(dialect: Dialect, bytes: &[u8], chunk: usize) -> Result<Vec<String>, u64> {
        let mut reader = RecordReader::new(dialect);
        let mut records = Vec::new();
        let show = |record: &Record| {
            let values = record.values().map(|(value, quoted)| {
                let text = String::from_utf8_lossy(value);
                match quoted {
                    true => format!("[{text}]"),
                    false => text.into_owned(),
                }
            });
            format!("{}: {}", record.line, values.collect::<Vec<_>>().join("|"))
        };
        for mut chunk in bytes.chunks(chunk) {
            while !chunk.is_empty() {
                let (read, whole) = reader.read(chunk);
                chunk = &chunk[read..];
                if whole {
                    records.push(show(reader.record()));
                }
            }
        }
        if reader.finish()? {
            records.push(show(reader.record()));
        }
        Ok(records)
    }

    #[test]
    fn records_do_not_depend_on_chunks() {
        let bytes = b"a,\"\",\r\n\"two\nlines\",\"say \"\"hi\"\"\",x\"y\n\n\"q\"tail,,\rlast,\"";
        let expected = [
            "1: a|[]|",
            "2: [two\nlines]|[say \"hi\"]|x\"y",
            "4: ",
            "5: [qtail]||",
        ];
        for chunk in 1..bytes.len() {
            assert_eq!(read_all(dialect(), bytes, chunk), Err(6), "{chunk}");
            let closed = &bytes[..bytes.len() - 1];
            let records = read_all(dialect(), closed, chunk).unwrap();
            assert_eq!(records[..4], expected, "{chunk}");
            assert_eq!(records[4..], ["6: last|"], "{chunk}");
        }
    }

    #[test]
    fn escapes_comments_and_terminators() {
        let escaped = Dialect {
            escape: b'\\',
            comment: Some(b'#'),
            ..dialect()
        };
        let bytes = b"#no\n\"a\\\"b\\\\c\\d\",1\n#last";
        let records = read_all(escaped, bytes, 1).unwrap();
        assert_eq!(records, ["2: [a\"b\\c\\d]|1"]);
        let terminated = Dialect {
            terminator: Some(b';'),
            ..dialect()
        };
        let records = read_all(terminated, b"a,b\r\n;c,;", 2).unwrap();
        assert_eq!(records, ["1: a|b\r\n", "2: c|"]);
    }
}
