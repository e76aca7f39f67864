//! A value as PostgreSQL prints `jsonb`.

use std::fmt::Write as _;

use probepilot_sql::{SqlError, SqlState};

use super::read::{Value, Written, read};

/// Digits of a number before and behind the point at most, as in PostgreSQL's `numeric`.
const WHOLE_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

/// The normal form of a text: keys once, by length, then by bytes; a blank behind colons and commas.
pub(crate) fn normal(text: &str) -> Result<String, SqlError> {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    write(&read(text)?, &mut out)?;
    Ok(out)
}

/// The members as jsonb keeps them: the last of several values of a key, in order.
pub(super) fn ordered<'w, 'a>(members: &'w [(String, Written<'a>)]) -> Vec<(&'w str, &'w Written<'a>)> {
    let mut ordered: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value)).collect();
    ordered.reverse();
    ordered.sort_by_key(|(key, _)| (key.len(), *key)); // It is stable: the last one comes first.
    ordered.dedup_by_key(|(key, _)| *key);
    ordered
}

fn write(written: &Written, out: &mut String) -> Result<(), SqlError> {
    match &written.value {
        Value::Null | Value::Boolean(_) => out.push_str(written.text),
        Value::Number => out.push_str(&number(written.text)?),
        Value::String(text) => quote(text, out),
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(element, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, value)) in ordered(members).into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                quote(key, out);
                out.push_str(": ");
                write(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// A number without an exponent, as `numeric` prints it.
pub(super) fn number(text: &str) -> Result<String, SqlError> {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let overflow = || SqlError::new(SqlState("22003"), "value overflows numeric format");
    let exponent: i64 = exponent.parse().map_err(|_| overflow())?;
    let digits = format!("{whole}{fraction}");
    let zero = digits.bytes().all(|digit| digit == b'0');
    // Where the point stands among the digits.
    let point = i64::try_from(whole.len()).map_err(|_| overflow())?.saturating_add(exponent);
    let scale = i64::try_from(fraction.len()).map_err(|_| overflow())?.saturating_sub(exponent).max(0);
    if (point > WHOLE_DIGITS_MAX && !zero) || scale > FRACTION_DIGITS_MAX {
        return Err(overflow());
    }
    let at = |place: i64| {
        let digit = usize::try_from(place).ok().and_then(|place| digits.as_bytes().get(place));
        digit.map_or('0', |digit| char::from(*digit))
    };
    let whole: String = if zero { String::new() } else { (0..point).map(at).collect() };
    let whole = whole.trim_start_matches('0');
    let mut out = String::from(if negative && !zero { "-" } else { "" });
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        out.push('.');
        out.extend((point..point + scale).map(at));
    }
    Ok(out)
}

/// A text in quotes.
pub(super) fn quote(text: &str, out: &mut String) {
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

/// The value with a line for each part.
pub(super) fn pretty(written: &Written) -> String {
    let mut text = String::new();
    lines(written, 0, &mut text);
    text
}

fn line(depth: usize, out: &mut String) {
    out.push('\n');
    out.push_str(&"    ".repeat(depth));
}

fn lines(written: &Written, depth: usize, out: &mut String) {
    match &written.value {
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(depth + 1, out);
                lines(element, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(depth + 1, out);
                quote(key, out);
                out.push_str(": ");
                lines(value, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        _ => out.push_str(written.text),
    }
}

/// A value without the members that are `null`, and without blanks.
pub(super) fn without_nulls(written: &Written, out: &mut String) {
    match &written.value {
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                without_nulls(element, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            let kept = members.iter().filter(|(_, value)| !matches!(value.value, Value::Null));
            for (index, (key, value)) in kept.enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                quote(key, out);
                out.push(':');
                without_nulls(value, out);
            }
            out.push('}');
        }
        Value::String(text) => quote(text, out),
        _ => out.push_str(written.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_jsonb() {
        for (text, expected) in [
            ("{\"a\":1}", "{\"a\": 1}"),
            (" { \"bb\" : [ 1 ,2.50, {} ] , \"a\":null } ", "{\"a\": null, \"bb\": [1, 2.50, {}]}"),
            ("{\"a\":1,\"b\":0,\"a\":2}", "{\"a\": 2, \"b\": 0}"),
            ("[]", "[]"),
            ("\"\\u00e9\\n\\\"\\/\\u0001\"", "\"é\\n\\\"/\\u0001\""),
            ("\"\\ud83d\\ude00\"", "\"😀\""),
            ("12345678901234567890.123", "12345678901234567890.123"),
            (" true ", "true"),
            ("1e2", "100"),
            ("-1.50E1", "-15.0"),
            ("1.0e-3", "0.0010"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("0e400000", "0"),
        ] {
            assert_eq!(normal(text).ok().as_deref(), Some(expected), "{text}");
        }
        for text in ["1e400000", "1e-400000", "1e99999999999999999999"] {
            assert_eq!(normal(text).unwrap_err().state.0, "22003", "{text}");
        }
    }

    #[test]
    fn a_value_in_lines_has_each_part_on_its_own() {
        let value = read("{\"a\": [1], \"b\": {}}").unwrap();
        assert_eq!(pretty(&value), "{\n    \"a\": [\n        1\n    ],\n    \"b\": {\n    }\n}");
    }
}
