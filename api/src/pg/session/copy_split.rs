//! COPY FROM: bytes as they come, cut into records and fields, as text, CSV and binary.

use std::iter::Peekable;

use bytes::{Buf, Bytes, BytesMut};
use probepilot_sql::{SqlError, SqlState};

use super::copy::{BINARY_SIGNATURE, CopyFormat, Kind};

/// One record has at most so many bytes; a longer one ends the copy (54000).
const RECORD_BYTES_MAX: usize = 64 << 20;
/// What the input does not keep to.
pub const BAD_COPY_FILE_FORMAT: SqlState = SqlState("22P04");

/// A field; `None` is NULL.
pub type Field = Option<Bytes>;

/// When a field of CSV is NULL that reads as NULL is written.
#[derive(Clone, Copy, Debug)]
pub struct NullRule {
    /// In quotes.
    pub quoted: bool,
    /// Without quotes.
    pub plain: bool,
}

impl NullRule {
    /// As long as COPY does not say otherwise.
    const USUAL: NullRule = NullRule { quoted: false, plain: true };
}

/// Cuts what comes into records.
pub struct Splitter {
    format: CopyFormat,
    /// By column.
    null_rules: Vec<NullRule>,
    buffer: BytesMut,
    /// How much of the buffer was looked at for the end of its first record.
    scanned: usize,
    /// In CSV, whether what was looked at ends within quotes; in text, whether it ends with a backslash.
    open: bool,
    /// Whether lines end with a carriage return too; the first one says so.
    returns: Option<bool>,
    /// Lines begun, or rows of a binary copy: what an error names.
    pub line: u64,
    header_left: bool,
    /// The end was marked: what comes after it is an error.
    ended: bool,
}

/// The input is wrong.
pub fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(BAD_COPY_FILE_FORMAT, message)
}

impl Splitter {
    /// Nothing has come yet.
    pub fn new(format: CopyFormat, null_rules: Vec<NullRule>) -> Splitter {
        let header_left = format.header || format.kind == Kind::Binary;
        let buffer = BytesMut::new();
        let (scanned, open, returns, line, ended) = (0, false, None, 0, false);
        Splitter { format, null_rules, buffer, scanned, open, returns, line, header_left, ended }
    }

    /// Takes what the client has sent.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The fields of the next record; `None` until it is all there. `last`: nothing comes any more. In text and CSV the
    /// record's own bytes come too, for errors.
    pub fn next(&mut self, columns: usize, last: bool) -> Result<Option<(Vec<Field>, Bytes)>, SqlError> {
        if self.buffer.len() > RECORD_BYTES_MAX {
            let message = format!("a record of COPY may have at most {} MiB", RECORD_BYTES_MAX >> 20);
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        if self.format.kind == Kind::Binary {
            return Ok(self.binary(columns, last)?.map(|fields| (fields, Bytes::new())));
        }
        loop {
            if self.ended {
                self.buffer.clear();
                return Ok(None);
            }
            let Some(record) = self.record(last)? else { return Ok(None) };
            if std::mem::take(&mut self.header_left) {
                continue;
            }
            if &*record == b"\\." {
                self.ended = true;
                continue;
            }
            let fields = if self.format.kind == Kind::Csv { self.csv(&record)? } else { self.text(&record)? };
            return Ok(Some((fields, record)));
        }
    }

    /// The next line, or lines when one ends within quotes or behind a backslash, without its end.
    fn record(&mut self, last: bool) -> Result<Option<Bytes>, SqlError> {
        let csv = self.format.kind == Kind::Csv;
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            self.scanned += 1;
            if csv {
                // An escaped quote closes and opens again, unless the escape is another character.
                if byte == self.format.quote {
                    self.open = !self.open;
                } else if self.open && byte == self.format.escape {
                    if self.scanned == self.buffer.len() && !last {
                        self.scanned -= 1;
                        return Ok(None);
                    }
                    let escaped = self.buffer.get(self.scanned);
                    self.scanned += usize::from(
                        escaped.is_some_and(|next| *next == self.format.quote || *next == self.format.escape),
                    );
                }
            } else if self.open {
                self.open = false;
                continue;
            } else {
                self.open = byte == b'\\';
            }
            if byte == b'\n' && !(csv && self.open) {
                let mut record = self.buffer.split_to(self.scanned).freeze();
                record.truncate(record.len() - 1);
                return self.line_ended(record).map(Some);
            }
        }
        if !last || self.buffer.is_empty() {
            return Ok(None);
        }
        if csv && self.open {
            self.line += 1;
            return Err(bad("unterminated CSV quoted field"));
        }
        let rest = self.buffer.split().freeze();
        self.line_ended(rest).map(Some)
    }

    fn line_ended(&mut self, mut record: Bytes) -> Result<Bytes, SqlError> {
        self.scanned = 0;
        self.open = false;
        self.line += 1;
        let returns = record.last() == Some(&b'\r');
        if *self.returns.get_or_insert(returns) && returns {
            record.truncate(record.len() - 1);
        } else if returns && self.format.kind == Kind::Text {
            return Err(bad("literal carriage return found in data").hint("Use \"\\r\" to represent carriage return."));
        }
        Ok(record)
    }

    fn text(&self, record: &Bytes) -> Result<Vec<Field>, SqlError> {
        let mut fields = Vec::new();
        let mut start = 0;
        loop {
            let mut end = start;
            while end < record.len() && record[end] != self.format.delimiter {
                end += if record[end] == b'\\' { 2 } else { 1 };
            }
            let end = end.min(record.len());
            let raw = record.slice(start..end);
            fields.push((*raw != *self.format.null.as_bytes()).then(|| without_escapes(&raw)));
            if end == record.len() {
                return Ok(fields);
            }
            start = end + 1;
        }
    }

    fn csv(&self, record: &Bytes) -> Result<Vec<Field>, SqlError> {
        let CopyFormat { delimiter, quote, escape, .. } = self.format;
        let mut fields = Vec::new();
        let (mut value, mut was_quoted, mut open) = (BytesMut::new(), false, false);
        let mut bytes = record.iter().copied().peekable();
        loop {
            match bytes.next() {
                None if open => return Err(bad("unterminated CSV quoted field")),
                Some(byte)
                    if open && byte == escape && bytes.peek().is_some_and(|next| *next == quote || *next == escape) =>
                {
                    value.extend(bytes.next());
                }
                Some(byte) if byte == quote => {
                    open = !open;
                    was_quoted = true;
                }
                Some(byte) if open || byte != delimiter => value.extend([byte]),
                end => {
                    let rule = self.null_rules.get(fields.len()).copied().unwrap_or(NullRule::USUAL);
                    let may_be_null = if was_quoted { rule.quoted } else { rule.plain };
                    let null = may_be_null && *value == *self.format.null.as_bytes();
                    let field = value.split().freeze();
                    fields.push((!null).then_some(field));
                    was_quoted = false;
                    if end.is_none() {
                        return Ok(fields);
                    }
                }
            }
        }
    }

    fn binary(&mut self, columns: usize, last: bool) -> Result<Option<Vec<Field>>, SqlError> {
        let cut = || if last { Err(bad("unexpected EOF in COPY data")) } else { Ok(None) };
        if self.header_left {
            // The signature, flags and an extension with its length.
            let signature = &self.buffer[..self.buffer.len().min(BINARY_SIGNATURE.len())];
            if !BINARY_SIGNATURE.starts_with(signature) || last && signature.len() < BINARY_SIGNATURE.len() {
                return Err(bad("COPY file signature not recognized"));
            }
            let Some(mut header) = self.buffer.get(BINARY_SIGNATURE.len()..BINARY_SIGNATURE.len() + 8) else {
                return if last { Err(bad("invalid COPY file header (missing flags)")) } else { Ok(None) };
            };
            let (flags, extension) = (header.get_u32(), header.get_u32() as usize);
            if flags >> 16 != 0 {
                return Err(bad("unrecognized critical flags in COPY file header"));
            }
            let header_bytes = BINARY_SIGNATURE.len() + 8 + extension.min(RECORD_BYTES_MAX);
            if self.buffer.len() < header_bytes {
                return if last { Err(bad("invalid COPY file header (wrong length)")) } else { Ok(None) };
            }
            self.buffer.advance(header_bytes);
            self.header_left = false;
        }
        if self.ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err(bad("received copy data after EOF marker")) };
        }
        if self.buffer.is_empty() && last {
            // PostgreSQL takes an end without the marker too.
            return Ok(None);
        }
        let Some(mut rest) = self.buffer.get(..).filter(|rest| rest.len() >= 2) else { return cut() };
        let count = rest.get_i16();
        if count == -1 {
            self.buffer.advance(2);
            self.ended = true;
            return if self.buffer.is_empty() { Ok(None) } else { Err(bad("received copy data after EOF marker")) };
        }
        if usize::try_from(count) != Ok(columns) {
            self.line += 1;
            return Err(bad(format!("row field count is {count}, expected {columns}")));
        }
        // The whole row is there before anything is taken.
        let mut row_bytes = 2;
        for _ in 0..columns {
            let Some(mut length) = self.buffer.get(row_bytes..row_bytes + 4) else { return cut() };
            row_bytes += 4;
            match length.get_i32() {
                -1 => {}
                length => match usize::try_from(length) {
                    Ok(length) => row_bytes += length,
                    Err(_) => return Err(bad("invalid field size")),
                },
            }
        }
        if row_bytes > RECORD_BYTES_MAX || self.buffer.len() < row_bytes {
            return if row_bytes > RECORD_BYTES_MAX { Err(bad("invalid field size")) } else { cut() };
        }
        self.line += 1;
        let mut row = self.buffer.split_to(row_bytes).freeze();
        row.advance(2);
        Ok(Some((0..columns).map(|_| usize::try_from(row.get_i32()).ok().map(|length| row.split_to(length))).collect()))
    }
}

/// A text field without its backslashes.
fn without_escapes(raw: &Bytes) -> Bytes {
    if !raw.contains(&b'\\') {
        return raw.clone();
    }
    let mut value = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        value.push(match escaped {
            None => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(first @ b'0'..=b'7') => digits(&mut bytes, 8, u32::from(first - b'0'), 2),
            Some(b'x') if bytes.peek().is_some_and(u8::is_ascii_hexdigit) => digits(&mut bytes, 16, 0, 2),
            Some(other) => other,
        });
    }
    value.into()
}

/// The byte of `number` and up to `most` further digits.
fn digits(bytes: &mut Peekable<impl Iterator<Item = u8>>, radix: u32, mut number: u32, most: usize) -> u8 {
    for _ in 0..most {
        let Some(digit) = bytes.peek().and_then(|byte| char::from(*byte).to_digit(radix)) else { break };
        number = number * radix + digit;
        bytes.next();
    }
    (number & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::session::copy::Direction;

    fn splitter(options: &str) -> Splitter {
        let text = format!("COPY t FROM STDIN {options}");
        let probepilot_sql::statement::Statement::Sql(sql) = probepilot_sql::parse_one(&text).unwrap() else {
            panic!()
        };
        let datafusion::sql::sqlparser::ast::Statement::Copy { options, legacy_options, .. } = *sql else { panic!() };
        Splitter::new(CopyFormat::of(&options, &legacy_options, Direction::From).unwrap(), Vec::new())
    }

    /// The records of the input, in one piece and byte by byte; fields joined by `|`, NULL as `∅`.
    fn read(options: &str, input: &[u8], columns: usize) -> Result<Vec<String>, String> {
        let read = |pieces: Vec<&[u8]>| {
            let (mut splitter, mut records) = (splitter(options), Vec::new());
            for (index, piece) in pieces.iter().enumerate() {
                splitter.push(piece);
                let last = index + 1 == pieces.len();
                loop {
                    let next = splitter.next(columns, last);
                    let next =
                        next.map_err(|error| format!("{} {}, line {}", error.state.0, error.message, splitter.line));
                    let Some((fields, _)) = next? else { break };
                    let shown = fields.iter().map(|field| {
                        field.as_ref().map_or("∅".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
                    });
                    records.push(shown.collect::<Vec<_>>().join("|"));
                }
            }
            Ok(records)
        };
        let (whole, bytes) = (read(vec![input]), read(input.chunks(1).chain([&b""[..]]).collect()));
        assert_eq!(whole, bytes, "in pieces");
        whole
    }

    fn check(options: &str, input: &str, expected: &[&str]) {
        assert_eq!(read(options, input.as_bytes(), 0).unwrap(), expected, "{options} {input:?}");
    }

    #[test]
    fn text_has_escapes_nulls_and_an_end() {
        check("", "1\ta\n2\t\\N\n", &["1|a", "2|∅"]);
        check("", "a\\tb\\nc\td\\\\e", &["a\tb\nc|d\\e"]);
        check("", "\\x41\\101\\q\\\n!\n", &["AAq\n!"]);
        check("", "1\r\n2\r\n", &["1", "2"]);
        check("", "1\n\\.\nrubbish\n", &["1"]);
        check("", "\n", &[""]);
        check("", "", &[]);
        check("(DELIMITER ';', NULL '-', HEADER)", "h;i\n-;x\n", &["∅|x"]);
        assert_eq!(read("", b"1\n2\r\n", 0).unwrap_err(), "22P04 literal carriage return found in data, line 2");
    }

    #[test]
    fn csv_has_quotes_over_lines() {
        check("(FORMAT csv)", "1,\"a,\"\"b\"\n2,\n3,\"\"\n", &["1|a,\"b", "2|∅", "3|"]);
        check("(FORMAT csv)", "\"x\ny\",1\r\n\"z\",2\r\n", &["x\ny|1", "z|2"]);
        check("(FORMAT csv, QUOTE '''', ESCAPE '!')", "'a!'b',c\n", &["a'b|c"]);
        check("CSV HEADER", "h,i\n1,2", &["1|2"]);
        assert_eq!(read("CSV", b"1\n\"open\n", 0).unwrap_err(), "22P04 unterminated CSV quoted field, line 2");
    }

    #[test]
    fn binary_is_checked_at_every_byte() {
        let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        let row = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        let whole = [&header[..], row, row, b"\xff\xff"].concat();
        assert_eq!(read("(FORMAT binary)", &whole, 2).unwrap(), ["a|∅", "a|∅"]);
        for end in 1..whole.len() {
            let at_row = [header.len(), header.len() + row.len(), header.len() + 2 * row.len()].contains(&end);
            assert_eq!(read("(FORMAT binary)", &whole[..end], 2).is_ok(), at_row, "cut at {end}");
        }
        let error = |input: &[u8], columns| read("(FORMAT binary)", input, columns).unwrap_err();
        assert_eq!(error(b"1\n", 1), "22P04 COPY file signature not recognized, line 0");
        assert_eq!(error(&whole, 3), "22P04 row field count is 2, expected 3, line 1");
        let more = [&whole[..], b"x"].concat();
        assert_eq!(error(&more, 2), "22P04 received copy data after EOF marker, line 2");
    }
}
