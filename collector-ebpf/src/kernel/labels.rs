//! The names by which tracefs prints the numbers of a field: `__print_symbolic` in a format's `print fmt` line.

use std::collections::HashMap;
use std::sync::Arc;

/// Names of a field's numbers, as declared.
pub type Labels = Arc<[(String, i64)]>;

const CALL: &str = "__print_symbolic(";

/// The names of each field that is printed by a table; the first table where there are several. A table of something
/// else than a field itself is left out, and so is a number that is not written as one.
pub fn of_format(text: &str) -> HashMap<&str, Labels> {
    let mut found = HashMap::new();
    let line = text.lines().find_map(|line| line.strip_prefix("print fmt:")).unwrap_or_default();
    for (start, _) in line.match_indices(CALL) {
        let Some((printed, table)) = line[start + CALL.len()..].split_once(',') else { continue };
        let Some(field) = unwrapped(printed).strip_prefix("REC->") else { continue };
        if !field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let labels = entries(table);
        if !labels.is_empty() {
            found.entry(field).or_insert_with(|| labels.into());
        }
    }
    found
}

/// `{ 1, "ONE" }, { 2, "TWO" })…` up to what is no entry.
fn entries(table: &str) -> Vec<(String, i64)> {
    let mut labels = Vec::new();
    let mut rest = table;
    while let Some((value, after)) = rest.trim_start().strip_prefix('{').and_then(|entry| entry.split_once(',')) {
        let Some((name, after)) = after.trim_start().strip_prefix('"').and_then(|name| name.split_once('"')) else {
            break;
        };
        if let Some(value) = number(value) {
            labels.push((name.to_owned(), value));
        }
        let Some(after) = after.trim_start().strip_prefix('}') else { break };
        let Some(after) = after.trim_start().strip_prefix(',') else { break };
        rest = after;
    }
    labels
}

/// A number as C writes it: decimal or hexadecimal, with a sign, a suffix and parentheses.
fn number(text: &str) -> Option<i64> {
    let text = unwrapped(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let digits = digits.trim_end_matches(['u', 'U', 'l', 'L']);
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?.cast_signed(),
        None => digits.parse::<u64>().ok()?.cast_signed(),
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

fn unwrapped(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        text = inner.trim();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_a_field_gives_its_names() {
        let text = "ID: 1\nprint fmt: \"family=%s state=%s low=%s\", __print_symbolic(REC->family, { 2, \"AF_INET\" }, \
            { 10, \"AF_INET6\" }), __print_symbolic((REC->state), {(-1), \"none\"}, { 0x10ULL, \"big\" }, { NAMED, \"x\" }), \
            __print_symbolic(REC->flags & 3, { 0, \"zero\" })\n";
        let found = of_format(text);
        assert_eq!(found.len(), 2);
        assert_eq!(*found["family"], [("AF_INET".to_owned(), 2), ("AF_INET6".to_owned(), 10)]);
        assert_eq!(*found["state"], [("none".to_owned(), -1), ("big".to_owned(), 16)]);
    }

    #[test]
    fn what_is_cut_off_gives_what_came_before() {
        assert_eq!(of_format("print fmt: __print_symbolic(REC->a, { 1, \"ONE\" }, { 2, \"TW")["a"].len(), 1);
        assert!(of_format("print fmt: __print_symbolic(REC->a").is_empty());
        assert!(of_format("").is_empty());
    }
}
