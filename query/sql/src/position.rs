//! From the parser's lines and columns to PostgreSQL's character positions.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// The position of `location` in `text`, in characters from 1; `None` for a location that is not in the text.
pub fn of_location(text: &str, location: Location) -> Option<u32> {
    if location.line == 0 {
        return None; // sqlparser's mark for "unknown".
    }
    let line_start: usize =
        text.split_inclusive('\n').take(location.line as usize - 1).map(|line| line.chars().count()).sum();
    let position = line_start + location.column as usize;
    (position <= text.chars().count() + 1).then_some(position as u32)
}

/// The position at which `span` starts.
pub fn of_span(text: &str, span: Span) -> Option<u32> {
    of_location(text, span.start)
}

/// The byte at which the character at `location` starts; the text's length when it lies behind the end.
pub fn byte_of_location(text: &str, location: Location) -> usize {
    let position = of_location(text, location).unwrap_or(1) as usize;
    text.char_indices().nth(position - 1).map_or(text.len(), |(byte, _)| byte)
}

/// The bytes that `span` covers.
pub fn bytes_of_span(text: &str, span: Span) -> Range<usize> {
    byte_of_location(text, span.start)..byte_of_location(text, span.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: u64, column: u64, expected: Option<u32>) {
        assert_eq!(of_location(text, Location { line, column }), expected);
    }

    #[test]
    fn positions_count_characters_not_bytes() {
        check("SELECT x", 1, 8, Some(8));
        check("SELECT 'é',\n  x", 2, 3, Some(15));
        check("SELECT x", 0, 0, None);
        check("SELECT x", 3, 9, None);
    }
}
