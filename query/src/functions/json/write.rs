//! A value as PostgreSQL prints `jsonb`.

use serde_json::Value;

/// The text of a value: keys by length, then by bytes; a blank behind colons and commas.
pub(super) fn compact(value: &Value) -> String {
    let mut text = String::new();
    write(value, None, &mut text);
    text
}

/// The same with a line for each part.
pub(super) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write(value, Some(0), &mut text);
    text
}

/// The text of a value that `->>` gives: of a string what is in it. NULL for `null`.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(compact(other)),
    }
}

/// Begins a line `depth` levels deep where there are lines.
fn line(depth: Option<usize>, text: &mut String) {
    if let Some(depth) = depth {
        text.push('\n');
        text.push_str(&"    ".repeat(depth));
    }
}

/// `depth` is how deep the value lies; `None` keeps all on one line. The reader bounds the depth to 128.
fn write(value: &Value, depth: Option<usize>, text: &mut String) {
    let inner = depth.map(|depth| depth + 1);
    let separator = if depth.is_some() { "," } else { ", " };
    match value {
        Value::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push_str(separator);
                }
                line(inner, text);
                write(element, inner, text);
            }
            if !elements.is_empty() || depth.is_some() {
                line(depth, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_by_key(|key| (key.len(), *key));
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push_str(separator);
                }
                line(inner, text);
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push_str(": ");
                write(&members[key], inner, text);
            }
            if !members.is_empty() || depth.is_some() {
                line(depth, text);
            }
            text.push('}');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_jsonb() {
        let value = serde_json::json!({"bb": [1, "x\n", null], "a": {"c": 1.5}, "d": []});
        assert_eq!(compact(&value), r#"{"a": {"c": 1.5}, "d": [], "bb": [1, "x\n", null]}"#);
        assert_eq!(pretty(&serde_json::json!({"a": [1]})), "{\n    \"a\": [\n        1\n    ]\n}");
    }
}
