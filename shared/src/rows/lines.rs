//! Cutting bytes into records: lines, or, where quotes count, what stands between line ends outside of quotes.

use super::LONGEST_ROW;

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line that it begins on, from 1.
    pub(super) line: i64,
    /// What it holds, without its line end.
    pub(super) content: Content,
}

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// More than [`LONGEST_ROW`]; none of it is kept.
    TooLong,
    /// The end came within quotes.
    Unclosed,
}

/// Where in a field of CSV (RFC 4180) the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before its first byte.
    Start,
    /// Within, no quotes around it.
    Plain,
    /// Within quotes.
    Quoted,
    /// After a quote within quotes: the field's end, or half of a doubled quote.
    Quote,
}

/// Cuts what it is given. Empty lines are no records.
#[derive(Debug)]
pub(super) struct Lines {
    quotes: bool,
    held: Vec<u8>,
    too_long: bool,
    at: At,
    /// The line of the next byte, and of the record that it belongs to.
    line: i64,
    began: i64,
}

impl Lines {
    /// With `quotes`, line ends within quotes end no record.
    pub(super) const fn new(quotes: bool) -> Self {
        Self {
            quotes,
            held: Vec::new(),
            too_long: false,
            at: At::Start,
            line: 1,
            began: 1,
        }
    }

    /// Takes more bytes; `each` gets the records that end in them.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Record)) {
        for byte in bytes {
            if *byte != b'\n' {
                self.keep(*byte);
                continue;
            }
            self.line = self.line.saturating_add(1);
            // A row that is too long ends with its line: a quote that is never closed takes no other row with it.
            if self.at == At::Quoted && !self.too_long {
                self.keep(b'\n');
            } else if let Some(record) = self.end() {
                each(record);
            }
        }
    }

    /// The record that no line end ended.
    pub(super) fn finish(&mut self) -> Option<Record> {
        let unclosed = self.at == At::Quoted && !self.too_long;
        let record = self.end()?;
        Some(Record {
            content: if unclosed { Content::Unclosed } else { record.content },
            ..record
        })
    }

    fn keep(&mut self, byte: u8) {
        if self.quotes {
            self.at = match (self.at, byte) {
                (At::Quoted, b'"') => At::Quote,
                // A quote after a quote is the second half of a doubled one; within a plain field it is a character.
                (At::Start | At::Quote, b'"') | (At::Quoted, _) => At::Quoted,
                (At::Start | At::Plain | At::Quote, b',') => At::Start,
                (At::Start | At::Plain | At::Quote, _) => At::Plain,
            };
        }
        if self.held.len() >= LONGEST_ROW {
            self.too_long = true;
            self.held = Vec::new();
        }
        if !self.too_long {
            self.held.push(byte);
        }
    }

    fn end(&mut self) -> Option<Record> {
        let line = std::mem::replace(&mut self.began, self.line);
        let mut bytes = std::mem::take(&mut self.held);
        self.at = At::Start;
        if std::mem::take(&mut self.too_long) {
            let content = Content::TooLong;
            return Some(Record { line, content });
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let content = Content::Bytes(bytes);
        match &content {
            Content::Bytes(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => None,
            Content::Bytes(_) | Content::TooLong | Content::Unclosed => Some(Record { line, content }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(quotes: bool, text: &str) -> Vec<(i64, String)> {
        let mut lines = Lines::new(quotes);
        let mut found = Vec::new();
        lines.push(text.as_bytes(), |record| found.push(record));
        found.extend(lines.finish());
        let text = |content| match content {
            Content::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            Content::TooLong => "too long".to_owned(),
            Content::Unclosed => "unclosed".to_owned(),
        };
        found
            .into_iter()
            .map(|record| (record.line, text(record.content)))
            .collect()
    }

    fn is(found: &[(i64, String)], wanted: &[(i64, &str)]) {
        let found: Vec<(i64, &str)> = found.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn records_know_the_line_they_begin_on() {
        is(&cut(false, "a\r\n\n  \nb\nc"), &[(1, "a"), (4, "b"), (5, "c")]);
        is(&cut(true, "a,\"b\n\"\"c\"\nd"), &[(1, "a,\"b\n\"\"c\""), (3, "d")]);
        is(&cut(true, "a\"b,c\n\"d\"\n"), &[(1, "a\"b,c"), (2, "\"d\"")]);
        is(&cut(false, "a\"b\nc"), &[(1, "a\"b"), (2, "c")]);
    }

    #[test]
    fn a_row_that_is_too_long_is_one_row() {
        let long = "x".repeat(LONGEST_ROW + 1);
        is(
            &cut(false, &format!("a\n{long}\nb\n")),
            &[(1, "a"), (2, "too long"), (3, "b")],
        );
        let fits = "x".repeat(LONGEST_ROW);
        is(&cut(false, &fits), &[(1, &fits)]);
        is(&cut(true, &format!("\"{long}\nb\n")), &[(1, "too long"), (2, "b")]);
        is(&cut(true, "a\n\"b\nc"), &[(1, "a"), (2, "unclosed")]);
    }
}
