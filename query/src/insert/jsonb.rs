//! JSON as `jsonb` keeps it: keys once and in order, spaces where PostgreSQL prints them, numbers digit by digit.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The normal form of a text; `None` when it is no JSON.
pub(super) fn normal(text: &str) -> Option<String> {
    // It says whether the text is JSON and bounds its depth; what follows may rely on both.
    serde_json::from_str::<serde_json::Value>(text).ok()?;
    let mut written = String::with_capacity(text.len() + text.len() / 8);
    Reader { rest: text }.value(&mut written)?;
    Some(written)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, out: &mut String) -> Option<()> {
        self.space();
        match self.rest.bytes().next()? {
            b'{' => self.object(out),
            b'[' => self.array(out),
            b'"' => {
                let text = self.string()?;
                quote(&text, out);
                Some(())
            }
            _ => {
                let end = self.rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(self.rest.len());
                out.push_str(&self.rest[..end]);
                self.rest = &self.rest[end..];
                Some(())
            }
        }
    }

    fn object(&mut self, out: &mut String) -> Option<()> {
        self.take('{')?;
        // In the order of jsonb: shorter keys first. The last of several values of a key stays.
        let mut members: BTreeMap<(usize, String), String> = BTreeMap::new();
        self.space();
        while !self.rest.starts_with('}') {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(':')?;
            let mut value = String::new();
            self.value(&mut value)?;
            members.insert((key.len(), key), value);
            self.space();
            let _ = self.take(',');
        }
        self.take('}')?;
        out.push('{');
        for (index, ((_, key), value)) in members.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            quote(key, out);
            out.push_str(": ");
            out.push_str(value);
        }
        out.push('}');
        Some(())
    }

    fn array(&mut self, out: &mut String) -> Option<()> {
        self.take('[')?;
        out.push('[');
        self.space();
        let mut first = true;
        while !self.rest.starts_with(']') {
            if !first {
                out.push_str(", ");
            }
            first = false;
            self.value(out)?;
            self.space();
            let _ = self.take(',');
            self.space();
        }
        out.push(']');
        self.take(']')
    }

    fn string(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, character)| {
            let ends = *character == '"' && !escaped;
            escaped = *character == '\\' && !escaped;
            ends
        });
        let (text, rest) = self.rest.split_at(end?.0 + 1);
        self.rest = rest;
        serde_json::from_str(text).ok()
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
    }

    fn take(&mut self, character: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(character)?;
        Some(())
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_as_in_postgresql() {
        for (text, expected) in [
            ("{\"a\":1}", "{\"a\": 1}"),
            (" { \"bb\" : [ 1 ,2.50, {} ] , \"a\":null } ", "{\"a\": null, \"bb\": [1, 2.50, {}]}"),
            ("{\"a\":1,\"a\":2}", "{\"a\": 2}"),
            ("[]", "[]"),
            ("\"\\u00e9\\n\\\"\"", "\"é\\n\\\"\""),
            ("12345678901234567890.123", "12345678901234567890.123"),
            ("true", "true"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "{", "{a:1}", "[1,]", "nul", "1 2", "\"\u{1}\""] {
            assert_eq!(normal(text), None, "{text}");
        }
        assert_eq!(normal(&"[".repeat(100_000)), None);
    }
}
