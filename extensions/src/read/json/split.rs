//! Splits the bytes of a JSON file into its records.
//!
//! Invariant: a record is a whole value, whatever line ends and brackets its texts hold, and however
//! the bytes are cut into chunks. Records stand one after the other, on one line each or on several,
//! or as the items of one array.

use memchr::memchr3;

/// A record and the line that it begins on, from 1.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) bytes: Vec<u8>,
    pub(super) line: u64,
}

/// Finds the ends of records in chunks of bytes.
#[derive(Debug)]
pub(super) struct Splitter {
    record: Record,
    /// The current line, from 1.
    line: u64,
    /// How many braces and brackets of the record are open.
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    /// The records are the items of an array.
    in_array: bool,
    /// Nothing but white space has been read.
    is_new: bool,
    /// Where the current record has begun.
    has_begun: bool,
    /// Each line is a record if the first line is one, so that a record without an end does not take
    /// the records after it.
    finds_lines: bool,
    /// Whether each line is a record; `None` before the end of the first line.
    are_lines: Option<bool>,
}

impl Splitter {
    pub(super) fn new(finds_lines: bool) -> Self {
        Self {
            finds_lines,
            are_lines: None,
            record: Record::default(),
            line: 1,
            depth: 0,
            in_text: false,
            is_escaped: false,
            in_array: false,
            is_new: true,
            has_begun: false,
        }
    }

    /// Reads up to the end of a record. Returns how many bytes were read, and the record if it is
    /// whole.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Record>) {
        let mut start = 0;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.in_text {
                at = self.skip_text(bytes, at);
                continue;
            }
            at += 1;
            if byte == b'\n' {
                self.line += 1;
                if self.finds_lines && !self.is_new {
                    let is_whole = self.depth == 0 && !self.in_array;
                    self.are_lines.get_or_insert(is_whole);
                }
                if self.has_begun && self.are_lines == Some(true) {
                    self.record.bytes.extend_from_slice(&bytes[start..at - 1]);
                    return (at, self.take());
                }
            }
            if !self.has_begun {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => continue,
                    b'[' if self.is_new => {
                        self.in_array = true;
                        self.is_new = false;
                        continue;
                    }
                    b',' | b']' if self.in_array => continue,
                    _ => {}
                }
                self.is_new = false;
                self.has_begun = true;
                self.record.line = self.line;
                start = at - 1;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                // A value without braces ends before one of these.
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' if self.depth == 0 => {
                    self.record.bytes.extend_from_slice(&bytes[start..at - 1]);
                    return (at, self.take());
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.record.bytes.extend_from_slice(&bytes[start..at]);
                        return (at, self.take());
                    }
                }
                _ => {}
            }
        }
        if self.has_begun {
            self.record.bytes.extend_from_slice(&bytes[start..]);
        }
        (bytes.len(), None)
    }

    /// Skips the text that `at` is in. Returns the place behind its end, or the end of the bytes.
    fn skip_text(&mut self, bytes: &[u8], mut at: usize) -> usize {
        // A line end can't be escaped.
        let skips = |at: usize| usize::from(bytes.get(at) != Some(&b'\n'));
        if std::mem::take(&mut self.is_escaped) {
            at += skips(at);
        }
        while let Some(rest) = bytes.get(at..) {
            let Some(found) = memchr3(b'"', b'\\', b'\n', rest) else {
                break;
            };
            at += found + 1;
            match rest[found] {
                b'"' => {
                    self.in_text = false;
                    return at;
                }
                // No text of JSON holds a line end.
                b'\n' if self.are_lines == Some(true) => {
                    self.in_text = false;
                    return at - 1;
                }
                b'\n' => {
                    self.line += 1;
                    if self.finds_lines {
                        self.are_lines.get_or_insert(false);
                    }
                }
                _ if at == bytes.len() => self.is_escaped = true,
                _ => at += skips(at),
            }
        }
        bytes.len()
    }

    /// The last record, at the end of the file.
    pub(super) fn finish(&mut self) -> Option<Record> {
        self.take()
    }

    fn take(&mut self) -> Option<Record> {
        let has_begun = std::mem::take(&mut self.has_begun);
        (self.depth, self.in_text) = (0, false);
        has_begun.then(|| std::mem::take(&mut self.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, chunk: usize, finds_lines: bool) -> Vec<(String, u64)> {
        let mut splitter = Splitter::new(finds_lines);
        let mut records = Vec::new();
        for mut chunk in text.as_bytes().chunks(chunk) {
            while !chunk.is_empty() {
                let (read, record) = splitter.read(chunk);
                records.extend(record);
                chunk = &chunk[read..];
            }
        }
        records.extend(splitter.finish());
        let text = |record: Record| (String::from_utf8(record.bytes).unwrap(), record.line);
        records.into_iter().map(text).collect()
    }

    #[test]
    fn records_are_whole_values() {
        let cases: [(&str, &[(&str, u64)]); 8] = [
            ("", &[]),
            (" \n ", &[]),
            (
                "{\"a\":1}\n{\"a\":2}",
                &[("{\"a\":1}", 1), ("{\"a\":2}", 2)],
            ),
            (
                "{\"a\":\"}\\\"{\"}\r\n\n{}",
                &[("{\"a\":\"}\\\"{\"}", 1), ("{}", 3)],
            ),
            (
                "[\n {\"a\":[1,2]},\n {\"b\":{}}\n]\n",
                &[("{\"a\":[1,2]}", 2), ("{\"b\":{}}", 3)],
            ),
            ("{\n\"a\":\n1}{}", &[("{\n\"a\":\n1}", 1), ("{}", 3)]),
            ("1 \"x y\"\n", &[("1", 1), ("\"x y\"", 1)]),
            ("{\"a\":", &[("{\"a\":", 1)]),
        ];
        for (text, expected) in cases {
            check(text, false, expected);
            check(text, true, expected);
        }
    }

    fn check(text: &str, finds_lines: bool, expected: &[(&str, u64)]) {
        for chunk in [1, 2, 3, 1000] {
            let found = split(text, chunk, finds_lines);
            let found: Vec<(&str, u64)> = found
                .iter()
                .map(|(text, line)| (text.as_str(), *line))
                .collect();
            assert_eq!(found, expected, "{text:?} in chunks of {chunk}");
        }
    }

    #[test]
    fn a_record_without_end_ends_with_its_line() {
        for broken in ["{\"a\":", "{\"a\":\"x", "{\"a\":[{\"\\", "\""] {
            let text = format!("{{\"x\":1}}\n{broken}\n  {{\"b\":{{}}}}\n{{}}");
            let first = ("{\"x\":1}", 1);
            check(
                &text,
                true,
                &[first, (broken, 2), ("{\"b\":{}}", 3), ("{}", 4)],
            );
        }
        // Lines of records that take several lines.
        let text = "{\n\"a\":\n{\"x\":1}\n}\n";
        check(text, true, &[("{\n\"a\":\n{\"x\":1}\n}", 1)]);
        let text = "[\n{\"a\":1},\n{\"a\":\n{}}\n]\n";
        check(text, true, &[("{\"a\":1}", 2), ("{\"a\":\n{}}", 3)]);
    }
}
