//! The comment after a select item: it becomes the comment of the column.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// The comment after each item of the first select list in `tokens`, in order.
///
/// `item -- comment` and `item, -- comment` on the comma's line both belong to `item`; a comment on a line of its own
/// before an item belongs to nobody.
pub fn after_select_items(tokens: &[TokenWithSpan]) -> Vec<Option<String>> {
    let mut items: Vec<Option<String>> = Vec::new();
    let mut depth = 0_u32; // Of parentheses: commas and comments inside them belong to the expression.
    let mut in_list = false;
    let mut item_has_tokens = false;
    let mut comma_line = 0;
    for token in tokens {
        match &token.token {
            Token::Word(word) if word.keyword == Keyword::SELECT && !in_list => {
                in_list = true;
                items.push(None);
            }
            _ if !in_list => {}
            Token::Word(word) if word.keyword == Keyword::FROM && depth == 0 => return items,
            Token::LParen | Token::LBracket => {
                depth += 1;
                item_has_tokens = true;
            }
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                items.push(None);
                item_has_tokens = false;
                comma_line = token.span.start.line;
            }
            Token::Whitespace(
                Whitespace::SingleLineComment { comment, .. } | Whitespace::MultiLineComment(comment),
            ) => {
                let current = items.len() - 1;
                let item = match (item_has_tokens, token.span.start.line == comma_line) {
                    (true, _) => Some(current),
                    (false, true) => current.checked_sub(1),
                    (false, false) => None,
                };
                if let (Some(item), 0) = (item, depth) {
                    join(&mut items[item], comment.trim());
                }
            }
            Token::Whitespace(_) => {}
            _ => item_has_tokens = true,
        }
    }
    items
}

/// Several comment lines after one item read as one comment.
fn join(comment: &mut Option<String>, line: &str) {
    match comment {
        Some(comment) => {
            comment.push(' ');
            comment.push_str(line);
        }
        None => *comment = Some(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::dialect::ProbeDialect;

    fn check(sql: &str, expected: &[Option<&str>]) {
        let tokens = Tokenizer::new(&ProbeDialect, sql).tokenize_with_location().unwrap();
        let found = after_select_items(&tokens);
        assert_eq!(found.iter().map(|comment| comment.as_deref()).collect::<Vec<_>>(), expected, "{sql}");
    }

    #[test]
    fn a_comment_belongs_to_the_item_before_it() {
        check("SELECT a, -- first\n b -- second\n FROM t", &[Some("first"), Some("second")]);
        check("SELECT a -- first\n , b FROM t", &[Some("first"), None]);
        check("SELECT a /* first */, b FROM t", &[Some("first"), None]);
    }

    #[test]
    fn a_comment_on_its_own_line_before_an_item_belongs_to_nobody() {
        check("SELECT -- all\n a,\n -- about b\n b FROM t", &[None, None]);
    }

    #[test]
    fn commas_and_comments_in_parentheses_belong_to_the_expression() {
        check("SELECT f(a, -- inner\n b), -- outer\n c FROM t", &[Some("outer"), None]);
    }

    #[test]
    fn lines_after_one_item_are_joined() {
        check("SELECT a, -- one\n b, -- two\n     -- more\n c FROM t", &[Some("one"), Some("two"), None]);
        check("SELECT a -- one\n -- more\n, b FROM t", &[Some("one more"), None]);
    }
}
