//! COPY … TO STDOUT: options, and rows as text, CSV and binary.

use std::ops::Range;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};
use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption};
use probepilot_sql::names::folded;
use probepilot_sql::{SqlError, SqlState};

use crate::pg::encode::{Format, WireColumn, Zone, column_writers, with_message_length};

/// What every binary copy begins with: signature, flags, length of the extension.
const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What every binary copy begins with.
pub const BINARY_SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Which way the rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `COPY … TO STDOUT`
    To,
    /// `COPY … FROM STDIN`
    From,
}

/// One of the three formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Tabs and backslashes.
    Text,
    /// Commas and quotes.
    Csv,
    /// PostgreSQL's own.
    Binary,
}

/// Which columns CSV always quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ForceQuote {
    All,
    Columns(Vec<String>),
}

/// The options of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFormat {
    /// Text, CSV or binary.
    pub kind: Kind,
    /// The first line is the columns' names.
    pub header: bool,
    /// Between two fields.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// Around a field of CSV.
    pub quote: u8,
    /// Before a quote within a field of CSV.
    pub escape: u8,
    force_quote: ForceQuote,
    /// Columns in which a quoted field may be NULL too.
    pub force_null: Vec<String>,
    /// Columns in which a field that is not quoted is never NULL.
    pub force_not_null: Vec<String>,
}

fn wrong(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn one_byte(name: &str, character: char) -> Result<u8, SqlError> {
    u8::try_from(character)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| SqlError::unsupported(format!("COPY {name} must be a single one-byte character")))
}

impl CopyFormat {
    /// Reads the options, those of PostgreSQL 9 and the older ones without parentheses.
    pub fn of(
        options: &[CopyOption],
        legacy: &[CopyLegacyOption],
        direction: Direction,
    ) -> Result<CopyFormat, SqlError> {
        let mut kind = Kind::Text;
        for option in options {
            if let CopyOption::Format(name) = option {
                kind = match folded(name).as_str() {
                    "text" => Kind::Text,
                    "csv" => Kind::Csv,
                    "binary" => Kind::Binary,
                    other => return Err(wrong(format!("COPY format \"{other}\" not recognized"))),
                };
            }
        }
        for option in legacy {
            match option {
                CopyLegacyOption::Binary => kind = Kind::Binary,
                CopyLegacyOption::Csv(_) => kind = Kind::Csv,
                _ => {}
            }
        }
        let mut format = CopyFormat {
            kind,
            header: false,
            delimiter: if kind == Kind::Csv { b',' } else { b'\t' },
            null: if kind == Kind::Csv { String::new() } else { "\\N".to_owned() },
            quote: b'"',
            escape: b'"',
            force_quote: ForceQuote::Columns(Vec::new()),
            force_null: Vec::new(),
            force_not_null: Vec::new(),
        };
        let mut escape = None;
        for option in options {
            match option {
                CopyOption::Format(_) | CopyOption::Freeze(_) => {}
                CopyOption::Delimiter(character) => format.delimiter = one_byte("delimiter", *character)?,
                CopyOption::Null(text) => format.null.clone_from(text),
                CopyOption::Header(on) => format.header = *on,
                CopyOption::Quote(character) => format.quote = one_byte("quote", *character)?,
                CopyOption::Escape(character) => escape = Some(one_byte("escape", *character)?),
                CopyOption::ForceQuote(columns) => {
                    format.force_quote = ForceQuote::Columns(columns.iter().map(folded).collect());
                }
                CopyOption::Encoding(name) if name.replace('-', "").eq_ignore_ascii_case("utf8") => {}
                CopyOption::Encoding(name) => {
                    return Err(SqlError::unsupported(format!("COPY encoding \"{name}\" is not supported")));
                }
                CopyOption::ForceNull(columns) => format.force_null = columns.iter().map(folded).collect(),
                CopyOption::ForceNotNull(columns) => format.force_not_null = columns.iter().map(folded).collect(),
            }
        }
        for option in legacy {
            match option {
                CopyLegacyOption::Binary => {}
                CopyLegacyOption::Header => format.header = true,
                CopyLegacyOption::Delimiter(character) => format.delimiter = one_byte("delimiter", *character)?,
                CopyLegacyOption::Null(text) => format.null.clone_from(text),
                CopyLegacyOption::Csv(options) => {
                    for option in options {
                        match option {
                            CopyLegacyCsvOption::Header => format.header = true,
                            CopyLegacyCsvOption::Quote(character) => format.quote = one_byte("quote", *character)?,
                            CopyLegacyCsvOption::Escape(character) => escape = Some(one_byte("escape", *character)?),
                            CopyLegacyCsvOption::ForceQuote(columns) => {
                                format.force_quote = match columns.as_slice() {
                                    [all] if all.value == "*" => ForceQuote::All,
                                    columns => ForceQuote::Columns(columns.iter().map(folded).collect()),
                                };
                            }
                            CopyLegacyCsvOption::ForceNotNull(columns) => {
                                format.force_not_null = columns.iter().map(folded).collect();
                            }
                        }
                    }
                }
                other => return Err(SqlError::unsupported(format!("COPY option {other} is not supported"))),
            }
        }
        format.escape = escape.unwrap_or(format.quote);
        if direction == Direction::From && format.force_quote != ForceQuote::Columns(Vec::new()) {
            return Err(SqlError::unsupported("COPY FORCE QUOTE is only for COPY TO"));
        }
        if direction == Direction::To && !(format.force_null.is_empty() && format.force_not_null.is_empty()) {
            return Err(SqlError::unsupported("COPY FORCE NULL and FORCE NOT NULL are only for COPY FROM"));
        }
        format.check()?;
        Ok(format)
    }

    fn check(&self) -> Result<(), SqlError> {
        let refuse = |message: &str| Err(SqlError::unsupported(message));
        let syntax = |message: &str| Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        if self.kind == Kind::Binary {
            let text = CopyFormat::of(&[], &[], Direction::To)?;
            if self.header {
                return refuse("cannot specify HEADER in BINARY mode");
            }
            if (self.delimiter, &self.null) != (text.delimiter, &text.null) {
                return syntax("cannot specify DELIMITER or NULL in BINARY mode");
            }
        }
        if matches!(self.delimiter, b'\r' | b'\n') {
            return Err(wrong("COPY delimiter cannot be newline or carriage return"));
        }
        if self.null.contains(['\r', '\n']) {
            return Err(wrong("COPY null representation cannot use newline or carriage return"));
        }
        if self.kind == Kind::Text && (self.delimiter == b'\\' || self.delimiter.is_ascii_alphanumeric()) {
            let delimiter = char::from(self.delimiter);
            return Err(wrong(format!("COPY delimiter cannot be \"{delimiter}\"")));
        }
        if self.kind == Kind::Csv && self.delimiter == self.quote {
            return Err(wrong("COPY delimiter and quote must be different"));
        }
        if self.null.bytes().any(|byte| byte == self.delimiter) {
            return Err(wrong("COPY delimiter must not appear in the NULL specification"));
        }
        if self.kind != Kind::Csv && self.force_quote != ForceQuote::Columns(Vec::new()) {
            return refuse("COPY force quote available only in CSV mode");
        }
        if self.kind != Kind::Csv && !(self.force_null.is_empty() && self.force_not_null.is_empty()) {
            return refuse("COPY force null and force not null available only in CSV mode");
        }
        Ok(())
    }

    /// How the columns' values are written.
    pub fn value_format(&self) -> Format {
        if self.kind == Kind::Binary { Format::Binary } else { Format::Text }
    }

    /// Appends what comes before the rows: it is in one message with the first row when the format is binary.
    pub fn begin(&self, columns: &[WireColumn], out: &mut BytesMut) {
        if self.header {
            copy_data(out, |out| {
                for (place, column) in columns.iter().enumerate() {
                    if place > 0 {
                        out.put_u8(self.delimiter);
                    }
                    match self.kind {
                        Kind::Csv => self.csv_value(column.field.name().as_bytes(), false, columns.len() == 1, out),
                        _ => self.text_value(column.field.name().as_bytes(), out),
                    }
                }
                out.put_u8(b'\n');
            });
        }
    }

    /// Appends what comes after the rows.
    pub fn end(&self, rows: u64, out: &mut BytesMut) {
        if self.kind == Kind::Binary {
            copy_data(out, |out| {
                if rows == 0 {
                    out.put_slice(BINARY_HEADER);
                }
                out.put_i16(-1);
            });
        }
    }

    /// Appends a message for each row, as PostgreSQL does, until `out` holds `bytes_max`; says how many rows.
    ///
    /// `rows_before` is the number of rows of the copy that came before.
    #[expect(clippy::too_many_arguments, reason = "the same arguments as for rows that are not copied, and the count")]
    pub fn rows(
        &self,
        columns: &[WireColumn],
        batch: &RecordBatch,
        rows: Range<usize>,
        rows_before: u64,
        zone: &Zone,
        bytes_max: usize,
        out: &mut BytesMut,
    ) -> Result<usize, SqlError> {
        let mut writers = column_writers(columns, batch, zone)?;
        let forced: Vec<bool> = columns
            .iter()
            .map(|column| match &self.force_quote {
                ForceQuote::All => true,
                ForceQuote::Columns(names) => names.contains(column.field.name()),
            })
            .collect();
        let mut scratch = BytesMut::new();
        let first = rows.start;
        let end = rows.end;
        for row in rows {
            copy_data(out, |out| {
                if self.kind == Kind::Binary {
                    if rows_before == 0 && row == first {
                        out.put_slice(BINARY_HEADER);
                    }
                    out.put_i16(i16::try_from(writers.len()).expect("a result has at most 1,664 columns"));
                    writers.iter_mut().for_each(|writer| writer.with_length(row, out));
                    return;
                }
                for (place, writer) in writers.iter_mut().enumerate() {
                    if place > 0 {
                        out.put_u8(self.delimiter);
                    }
                    if writer.is_null(row) {
                        out.put_slice(self.null.as_bytes());
                        continue;
                    }
                    scratch.clear();
                    writer.value(row, &mut scratch);
                    match self.kind {
                        Kind::Csv => self.csv_value(&scratch, forced[place], columns.len() == 1, out),
                        _ => self.text_value(&scratch, out),
                    }
                }
                out.put_u8(b'\n');
            });
            if out.len() >= bytes_max {
                return Ok(row + 1 - first);
            }
        }
        Ok(end - first)
    }

    fn text_value(&self, value: &[u8], out: &mut BytesMut) {
        for byte in value {
            let letter = match byte {
                b'\\' => b'\\',
                8 => b'b',
                12 => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                11 => b'v',
                byte if *byte == self.delimiter => *byte,
                byte => {
                    out.put_u8(*byte);
                    continue;
                }
            };
            out.put_slice(&[b'\\', letter]);
        }
    }

    fn csv_value(&self, value: &[u8], forced: bool, alone: bool, out: &mut BytesMut) {
        let special = |byte: &u8| matches!(byte, b'\r' | b'\n') || *byte == self.delimiter || *byte == self.quote;
        // A line of nothing but `\.` would end the input of whoever reads this back.
        let quoted = forced || value == self.null.as_bytes() || value.iter().any(special) || alone && value == b"\\.";
        if !quoted {
            return out.put_slice(value);
        }
        out.put_u8(self.quote);
        for byte in value {
            if *byte == self.quote || *byte == self.escape {
                out.put_u8(self.escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(self.quote);
    }
}

fn copy_data(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(b'd');
    with_message_length(out, write);
}
