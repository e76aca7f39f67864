//! A text as JSON: what it is made of, and where each part of it stands.

use probepilot_sql::{SqlError, SqlState};

/// Values within values at most.
const DEPTH_MAX: usize = 256;

/// A value and the text that it was read from, without the spaces around it.
#[derive(Clone, Debug)]
pub(super) struct Written<'a> {
    pub(super) text: &'a str,
    pub(super) value: Value<'a>,
}

/// What a value is. Members stand as they were written, doubles among them.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Number,
    String(String),
    Array(Vec<Written<'a>>),
    Object(Vec<(String, Written<'a>)>),
}

impl<'a> Written<'a> {
    /// The last member of this name.
    pub(super) fn member(&self, key: &str) -> Option<&Written<'a>> {
        let Value::Object(members) = &self.value else { return None };
        members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// What `->>` gives: of a string what is in it, NULL for `null`.
    pub(super) fn plain(&self) -> Option<String> {
        match &self.value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => Some(self.text.to_owned()),
        }
    }
}

/// Reads a whole text.
pub(super) fn read(text: &str) -> Result<Written<'_>, SqlError> {
    parse(text, true)
}

/// Whether a text is JSON; what its escapes stand for is not asked, as in PostgreSQL's `json`.
pub(crate) fn check(text: &str) -> Result<(), SqlError> {
    parse(text, false).map(|_| ())
}

fn parse(text: &str, unescape: bool) -> Result<Written<'_>, SqlError> {
    let mut reader = Reader { text, at: 0, depth: 0, unescape };
    let value = reader.value(Place::Value)?;
    reader.space();
    match reader.at == text.len() {
        true => Ok(value),
        false => Err(reader.unexpected("end of input")),
    }
}

fn invalid(detail: String) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json").detail(detail)
}

/// Where a value is wanted, for what is told when there is none.
#[derive(Clone, Copy)]
enum Place {
    Value,
    FirstElement,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    unescape: bool,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\n', '\r', '\t']).len();
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// The token that stands here, as it is shown.
    fn token(&self) -> &'a str {
        let rest = self.rest();
        let word =
            |character: char| character.is_ascii_alphanumeric() || "_+-.".contains(character) || !character.is_ascii();
        let end = rest.find(|character| !word(character)).unwrap_or(rest.len());
        match end {
            0 => rest.chars().next().map_or("", |first| &rest[..first.len_utf8()]),
            end => &rest[..end],
        }
    }

    fn unexpected(&mut self, expected: &str) -> SqlError {
        self.space();
        match self.rest().is_empty() {
            true => invalid("The input string ended unexpectedly.".to_owned()),
            false => invalid(format!("Expected {expected}, but found \"{}\".", self.token())),
        }
    }

    fn value(&mut self, place: Place) -> Result<Written<'a>, SqlError> {
        self.space();
        let start = self.at;
        let expected = match place {
            Place::Value => "JSON value",
            Place::FirstElement => "array element or \"]\"",
        };
        let value = match self.peek() {
            Some(b'{') => self.nested(Reader::object)?,
            Some(b'[') => self.nested(Reader::array)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b',' | b':' | b'}' | b']') | None => return Err(self.unexpected(expected)),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
        };
        Ok(Written { text: &self.text[start..self.at], value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value<'a>, SqlError>) -> Result<Value<'a>, SqlError> {
        if self.depth == DEPTH_MAX {
            let hint = format!("Values are at most {DEPTH_MAX} levels deep.");
            return Err(SqlError::new(SqlState("54001"), "stack depth limit exceeded").hint(hint));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value<'a>, SqlError> {
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected(if members.is_empty() { "string or \"}\"" } else { "string" }));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.unexpected("\":\""));
            }
            members.push((key, self.value(Place::Value)?));
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.unexpected("\",\" or \"}\""));
            }
        }
    }

    fn array(&mut self) -> Result<Value<'a>, SqlError> {
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(if elements.is_empty() { Place::FirstElement } else { Place::Value })?);
            if self.take(b']') {
                return Ok(Value::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.unexpected("\",\" or \"]\""));
            }
        }
    }

    fn word(&mut self) -> Result<Value<'a>, SqlError> {
        let token = self.token();
        let value = match token {
            "null" => Value::Null,
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            other => return Err(invalid(format!("Token \"{other}\" is invalid."))),
        };
        self.at += token.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'a>, SqlError> {
        let token = self.token();
        match is_number(token) {
            true => {
                self.at += token.len();
                Ok(Value::Number)
            }
            false => Err(invalid(format!("Token \"{token}\" is invalid."))),
        }
    }

    fn string(&mut self) -> Result<String, SqlError> {
        let start = self.at;
        self.at += 1;
        let mut read = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.find(|character: char| character == '"' || character == '\\' || character < ' ');
            let Some(plain) = plain else {
                return Err(invalid(format!("Token \"{}\" is invalid.", &self.text[start..])));
            };
            read.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(read);
                }
                Some(b'\\') => self.escape(start, &mut read)?,
                Some(control) => {
                    return Err(invalid(format!("Character with value 0x{control:02x} must be escaped.")));
                }
                None => return Err(invalid("The input string ended unexpectedly.".to_owned())),
            }
        }
    }

    fn escape(&mut self, start: usize, read: &mut String) -> Result<(), SqlError> {
        let Some(escaped) = self.rest().chars().nth(1) else {
            return Err(invalid(format!("Token \"{}\" is invalid.", &self.text[start..])));
        };
        self.at += 1 + escaped.len_utf8();
        read.push(match escaped {
            '"' | '\\' | '/' => escaped,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(read),
            other => return Err(invalid(format!("Escape sequence \"\\{other}\" is invalid."))),
        });
        Ok(())
    }

    fn unicode(&mut self, read: &mut String) -> Result<(), SqlError> {
        let first = self.code_unit()?;
        if !self.unescape {
            return Ok(());
        }
        let code = match first {
            0 => {
                let told = SqlError::new(SqlState("22P05"), "unsupported Unicode escape sequence");
                return Err(told.detail("\\u0000 cannot be converted to text."));
            }
            0xDC00..=0xDFFF => return Err(low_surrogate()),
            0xD800..=0xDBFF => {
                if !self.rest().starts_with("\\u") {
                    return Err(low_surrogate());
                }
                self.at += 2;
                match self.code_unit()? {
                    low @ 0xDC00..=0xDFFF => 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00),
                    0xD800..=0xDBFF => {
                        return Err(invalid("Unicode high surrogate must not follow a high surrogate.".to_owned()));
                    }
                    _ => return Err(low_surrogate()),
                }
            }
            code => code,
        };
        read.extend(char::from_u32(code));
        Ok(())
    }

    fn code_unit(&mut self) -> Result<u32, SqlError> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| invalid("\"\\u\" must be followed by four hexadecimal digits.".to_owned()))
    }
}

fn low_surrogate() -> SqlError {
    invalid("Unicode low surrogate must follow a high surrogate.".to_owned())
}

/// `-12.5e+3`, without zeros in front.
pub(super) fn is_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_the_text_it_was_read_from() {
        let written = read("  {\"a\" :  [1,  {\"b\":2}], \"a\":\"x\\n\"} ").unwrap();
        assert_eq!(written.text, "{\"a\" :  [1,  {\"b\":2}], \"a\":\"x\\n\"}");
        assert_eq!(written.member("a").and_then(Written::plain).as_deref(), Some("x\n"));
        assert!(written.member("b").is_none());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let state = |text: &str| read(text).err().map(|error| error.state.0);
        for text in [
            "",
            "{",
            "{a:1}",
            "[1,]",
            "{\"a\":1,}",
            "nul",
            "1 2",
            "01",
            "1.",
            "-",
            "\"\u{1}\"",
            "\"a",
            "\"\\",
            "\"\\u12",
        ] {
            assert_eq!(state(text), Some("22P02"), "{text}");
        }
        for text in ["\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\u00é\""] {
            assert_eq!(state(text), Some("22P02"), "{text}");
        }
        assert_eq!(state("\"\\u0000\""), Some("22P05"));
        assert!(check("\"\\u0000\"").is_ok());
        assert_eq!(state(&"[".repeat(100_000)), Some("54001"));
    }
}
