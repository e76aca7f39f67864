//! How a transaction is asked to be: `BEGIN`, `START TRANSACTION` and `SET TRANSACTION` with their modes.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The modes of a transaction; `None` where the statement says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// The isolation level as the setting `transaction_isolation` names it.
    pub isolation: Option<&'static str>,
    /// `READ ONLY`, or `READ WRITE`.
    pub read_only: Option<bool>,
    /// `DEFERRABLE`, or `NOT DEFERRABLE`.
    pub deferrable: Option<bool>,
}

impl TransactionModes {
    /// The modes as settings: what comes after `transaction_` in their names, and their values.
    pub fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let word = |on: bool| if on { "on" } else { "off" };
        let isolation = self.isolation.map(|level| ("isolation", level));
        let read_only = self.read_only.map(|on| ("read_only", word(on)));
        let deferrable = self.deferrable.map(|on| ("deferrable", word(on)));
        isolation.into_iter().chain(read_only).chain(deferrable).collect()
    }
}

const MODES: [(&[&str], TransactionModes); 8] = [
    (&["ISOLATION", "LEVEL", "READ", "UNCOMMITTED"], isolation("read uncommitted")),
    (&["ISOLATION", "LEVEL", "READ", "COMMITTED"], isolation("read committed")),
    (&["ISOLATION", "LEVEL", "REPEATABLE", "READ"], isolation("repeatable read")),
    (&["ISOLATION", "LEVEL", "SERIALIZABLE"], isolation("serializable")),
    (&["READ", "ONLY"], TransactionModes { isolation: None, read_only: Some(true), deferrable: None }),
    (&["READ", "WRITE"], TransactionModes { isolation: None, read_only: Some(false), deferrable: None }),
    (&["NOT", "DEFERRABLE"], TransactionModes { isolation: None, read_only: None, deferrable: Some(false) }),
    (&["DEFERRABLE"], TransactionModes { isolation: None, read_only: None, deferrable: Some(true) }),
];

const fn isolation(level: &'static str) -> TransactionModes {
    TransactionModes { isolation: Some(level), read_only: None, deferrable: None }
}

/// Reads modes up to the end of the statement, with or without commas between them; of two that contradict each other the later one
/// is meant.
pub(crate) fn modes(parser: &mut Parser<'_>) -> Result<TransactionModes, ParserError> {
    let mut all = TransactionModes::default();
    while !matches!(parser.peek_token().token, Token::SemiColon | Token::EOF) {
        let Some((words, mode)) = MODES.iter().find(|(words, _)| come(parser, words)) else {
            return parser.expected("a transaction mode", parser.peek_token());
        };
        words.iter().for_each(|_| parser.advance_token());
        all.isolation = mode.isolation.or(all.isolation);
        all.read_only = mode.read_only.or(all.read_only);
        all.deferrable = mode.deferrable.or(all.deferrable);
        if parser.consume_token(&Token::Comma) && matches!(parser.peek_token().token, Token::SemiColon | Token::EOF) {
            return parser.expected("a transaction mode", parser.peek_token());
        }
    }
    Ok(all)
}

fn come(parser: &Parser<'_>, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(index, expected)| {
        matches!(parser.peek_nth_token(index).token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
    })
}

#[cfg(test)]
mod tests {
    use super::TransactionModes;
    use crate::statement::Statement;

    #[test]
    fn modes_come_in_any_order() {
        let check = |text: &str, tag: &str, isolation, read_only, deferrable| {
            let Statement::Begin { tag: read, modes } = crate::parse_one(text).unwrap() else { panic!("{text}") };
            assert_eq!((read, modes), (tag, TransactionModes { isolation, read_only, deferrable }), "{text}");
        };
        check("BEGIN", "BEGIN", None, None, None);
        check("begin work", "BEGIN", None, None, None);
        check("BEGIN TRANSACTION READ WRITE", "BEGIN", None, Some(false), None);
        check("START TRANSACTION", "START TRANSACTION", None, None, None);
        let all = (Some("serializable"), Some(true), Some(true));
        for text in [
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
            "BEGIN READ ONLY, DEFERRABLE, ISOLATION LEVEL SERIALIZABLE;",
        ] {
            check(text, "BEGIN", all.0, all.1, all.2);
        }
        check(
            "START TRANSACTION NOT DEFERRABLE READ ONLY READ WRITE",
            "START TRANSACTION",
            None,
            Some(false),
            Some(false),
        );
    }

    #[test]
    fn what_is_no_mode_is_pointed_at() {
        for (text, at) in [
            ("BEGIN ISOLATION LEVEL CHAOS", 7),
            ("BEGIN READ ONLY,", 17),
            ("START TRANSACTION READ", 19),
            ("BEGIN \"READ\" ONLY", 7),
        ] {
            let error = crate::parse_one(text).unwrap_err();
            assert_eq!((error.state.0, error.position), ("42601", Some(at)), "{text}: {error:?}");
        }
    }
}
