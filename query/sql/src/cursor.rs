//! `FETCH` and `MOVE`: which rows of a cursor. sqlparser reads only some forms of the one and none of the other.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// All rows that are left in a direction.
pub const ALL_ROWS: i64 = i64::MAX;

/// `FETCH [motion] [FROM | IN] name`, or `MOVE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor.
    pub name: Ident,
    /// Where it goes.
    pub motion: Motion,
    /// The rows are sent: FETCH, not MOVE.
    pub send: bool,
}

/// Where a cursor goes. A negative count is as many rows in the other direction, zero the current row again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// As many rows towards the end, all of them sent; [`ALL_ROWS`] for all that are left.
    Forward(i64),
    /// As many rows towards the beginning.
    Backward(i64),
    /// To the row with this number, which alone is sent; from the end when it is negative.
    Absolute(i64),
    /// To the row this far from the current one, which alone is sent.
    Relative(i64),
}

/// Reads what comes after `FETCH` or `MOVE`.
pub(crate) fn fetch(parser: &mut Parser<'_>, send: bool) -> Result<Fetch, ParserError> {
    let motion = motion(parser)?;
    if !take(parser, "FROM") {
        take(parser, "IN");
    }
    Ok(Fetch { name: parser.parse_identifier()?, motion, send })
}

fn motion(parser: &mut Parser<'_>) -> Result<Motion, ParserError> {
    // A word that ends the statement is the cursor's name, whatever it is.
    let ends = matches!(parser.peek_nth_token(1).token, Token::SemiColon | Token::EOF);
    if let (false, Token::Word(word)) = (ends, parser.peek_token().token)
        && word.quote_style.is_none()
    {
        let motion = match word.value.to_ascii_uppercase().as_str() {
            "NEXT" => Motion::Forward(1),
            "PRIOR" => Motion::Backward(1),
            "FIRST" => Motion::Absolute(1),
            "LAST" => Motion::Absolute(-1),
            "ALL" => Motion::Forward(ALL_ROWS),
            "ABSOLUTE" => return after_word(parser).map(Motion::Absolute),
            "RELATIVE" => return after_word(parser).map(Motion::Relative),
            "FORWARD" => return rows(parser).map(Motion::Forward),
            "BACKWARD" => return rows(parser).map(Motion::Backward),
            _ => return Ok(Motion::Forward(1)),
        };
        parser.next_token();
        return Ok(motion);
    }
    if matches!(parser.peek_token().token, Token::Number(..) | Token::Minus | Token::Plus) {
        return count(parser).map(Motion::Forward);
    }
    Ok(Motion::Forward(1))
}

/// The number that must follow the next word.
fn after_word(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    parser.next_token();
    count(parser)
}

/// What may follow FORWARD and BACKWARD: nothing for one row, ALL, or a count.
fn rows(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    parser.next_token();
    if take(parser, "ALL") {
        return Ok(ALL_ROWS);
    }
    match parser.peek_token().token {
        Token::Number(..) | Token::Minus | Token::Plus => count(parser),
        _ => Ok(1),
    }
}

/// A whole number with a sign, as PostgreSQL's four bytes.
fn count(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    let negative = parser.consume_token(&Token::Minus);
    if !negative {
        let _ = parser.consume_token(&Token::Plus);
    }
    let token = parser.next_token();
    match &token.token {
        Token::Number(digits, _) => match digits.parse::<i32>() {
            Ok(count) => Ok(if negative { -i64::from(count) } else { i64::from(count) }),
            Err(_) => parser.expected("a number of rows", token),
        },
        _ => parser.expected("a number of rows", token),
    }
}

fn take(parser: &mut Parser<'_>, expected: &str) -> bool {
    let comes = match parser.peek_token().token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected),
        _ => false,
    };
    if comes {
        parser.next_token();
    }
    comes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqlState;
    use crate::statement::Statement;

    fn parsed(text: &str) -> (String, Motion, bool) {
        match crate::parse_one(text) {
            Ok(Statement::Fetch(fetch)) => (fetch.name.value, fetch.motion, fetch.send),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_form_is_read() {
        let check = |text: &str, motion| {
            assert_eq!(parsed(&format!("FETCH {text}")), ("c".to_owned(), motion, true), "{text}");
            assert_eq!(parsed(&format!("move {text};")), ("c".to_owned(), motion, false), "{text}");
        };
        check("c", Motion::Forward(1));
        check("FROM c", Motion::Forward(1));
        check("NEXT c", Motion::Forward(1));
        check("NEXT IN c", Motion::Forward(1));
        check("prior from \"c\"", Motion::Backward(1));
        check("FIRST c", Motion::Absolute(1));
        check("LAST FROM c", Motion::Absolute(-1));
        check("ABSOLUTE -7 FROM c", Motion::Absolute(-7));
        check("RELATIVE +2 c", Motion::Relative(2));
        check("RELATIVE 0 IN c", Motion::Relative(0));
        check("5 FROM c", Motion::Forward(5));
        check("-5 c", Motion::Forward(-5));
        check("ALL c", Motion::Forward(ALL_ROWS));
        check("FORWARD c", Motion::Forward(1));
        check("FORWARD 3 c", Motion::Forward(3));
        check("FORWARD ALL IN c", Motion::Forward(ALL_ROWS));
        check("BACKWARD FROM c", Motion::Backward(1));
        check("BACKWARD 3 IN c", Motion::Backward(3));
        check("BACKWARD ALL c", Motion::Backward(ALL_ROWS));
    }

    #[test]
    fn a_cursor_may_be_called_as_a_direction() {
        assert_eq!(parsed("FETCH next").0, "next");
        assert_eq!(parsed("FETCH FROM last").0, "last");
    }

    #[test]
    fn what_is_no_motion_is_a_syntax_error() {
        for text in ["FETCH", "FETCH ABSOLUTE FROM c", "FETCH 99999999999 c", "FETCH 1.5 c", "FETCH c d", "MOVE - c"] {
            assert_eq!(crate::parse_one(text).unwrap_err().state, SqlState::SYNTAX_ERROR, "{text}");
        }
    }
}
