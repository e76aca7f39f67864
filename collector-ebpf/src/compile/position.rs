//! Where in a statement: PostgreSQL's position in characters, and the line that a program's instructions quote.

use datafusion::sql::sqlparser::tokenizer::Span;
pub use probepilot_sql::position::{of_location, of_span};

/// The line of the text (without its end) in which the span starts.
pub fn line(text: &str, span: Span) -> Option<&str> {
    let line_index = usize::try_from(span.start.line.checked_sub(1)?).ok()?;
    text.lines().nth(line_index)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Location;

    use super::*;

    #[test]
    fn a_line_is_found_by_its_number() {
        let second = Span::new(Location { line: 2, column: 1 }, Location { line: 2, column: 3 });
        assert_eq!(line("one\ntwo\nthree", second), Some("two"));
        assert_eq!(line("one", second), None);
        assert_eq!(line("one", Span::empty()), None);
    }
}
