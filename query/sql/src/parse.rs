//! One parser for every statement: ours are recognised by their first words, the rest is sqlparser's.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::comments;
use crate::cursor;
use crate::dialect::ProbeDialect;
use crate::position;
use crate::statement::{CreateProbe, ExplainTarget, ProbeChange, ProbeOption, ProbeQuery, Statement};
use crate::transaction;
use crate::{SqlError, SqlState};

/// Statements of one text that are parsed at most; more are refused (54000).
pub const STATEMENTS_MAX: usize = 1_000;

/// Nesting that is parsed at most; deeper is refused, so that no input can exhaust the stack.
const DEPTH_MAX: usize = 80;

/// A statement and where it stands.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The statement; its spans refer to the whole text.
    pub statement: Statement,
    /// Its bytes in the text, without the semicolon.
    pub range: Range<usize>,
}

/// Parses all statements of `text`. Empty statements are left out: an empty result is PostgreSQL's empty query.
///
/// Fails with 42601 and the position of the first token that does not fit.
pub fn parse(text: &str) -> Result<Vec<Parsed>, SqlError> {
    let tokens = Tokenizer::new(&ProbeDialect, text).tokenize_with_location().map_err(|error| {
        SqlError::new(SqlState::SYNTAX_ERROR, error.message.to_lowercase())
            .at(position::of_location(text, error.location))
    })?;
    let text: Arc<str> = text.into();
    let mut parser = StatementParser {
        parser: Parser::new(&ProbeDialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens.clone()),
        tokens,
        text: Arc::clone(&text),
    };
    let mut statements = Vec::new();
    loop {
        while parser.parser.consume_token(&Token::SemiColon) {}
        let first = parser.parser.peek_token();
        if first.token == Token::EOF {
            return Ok(statements);
        }
        if statements.len() == STATEMENTS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("more than {STATEMENTS_MAX} statements in one text"),
            ));
        }
        let mut statement = parser.statement().map_err(|error| parser.syntax_error(error))?;
        let next = parser.parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Err(unexpected(&text, &next));
        }
        let start = position::byte_of_location(&text, first.span.start);
        let end =
            if next.token == Token::EOF { text.len() } else { position::byte_of_location(&text, next.span.start) };
        let end = start + text[start..end].trim_end().len();
        match &mut statement {
            Statement::CreateProbe(probe) => probe.source = text[start..end].into(),
            Statement::AlterProbe { change: ProbeChange::Query { source, .. }, .. } => {
                *source = text[start..end].into();
            }
            _ => {}
        }
        statements.push(Parsed { statement, range: start..end });
    }
}

/// Parses a text that must hold exactly one statement.
pub fn parse_one(text: &str) -> Result<Statement, SqlError> {
    let mut statements = parse(text)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(parsed), true) => Ok(parsed.statement),
        (None, _) => Err(SqlError::new(SqlState::SYNTAX_ERROR, "the statement is empty")),
        (Some(_), false) => Err(SqlError::new(SqlState::SYNTAX_ERROR, "more than one statement where one is expected")),
    }
}

fn unexpected(text: &str, token: &TokenWithSpan) -> SqlError {
    let message = match &token.token {
        Token::EOF => "syntax error at end of input".to_owned(),
        token => format!("syntax error at or near \"{token}\""),
    };
    let at = position::of_span(text, token.span).or(Some(text.chars().count() as u32 + 1));
    SqlError::new(SqlState::SYNTAX_ERROR, message).at(at)
}

struct StatementParser<'a> {
    parser: Parser<'a>,
    /// The same tokens, for the comments between them.
    tokens: Vec<TokenWithSpan>,
    text: Arc<str>,
}

impl StatementParser<'_> {
    fn statement(&mut self) -> Result<Statement, ParserError> {
        if self.words(&["CREATE", "PROBE"]) || self.words(&["CREATE", "OR", "REPLACE", "PROBE"]) {
            return self.create_probe().map(|probe| Statement::CreateProbe(Box::new(probe)));
        }
        if self.take(&["ALTER", "PROBE"]) {
            return self.alter_probe();
        }
        if self.take(&["DROP", "PROBE"]) {
            let if_exists = self.take(&["IF", "EXISTS"]);
            let name = self.parser.parse_identifier()?;
            let with_data = self.take(&["WITH", "DATA"]);
            return Ok(Statement::DropProbe { name, if_exists, with_data });
        }
        if self.words(&["EXPLAIN"])
            && let Some(explain) = self.explain_probe()?
        {
            return Ok(explain);
        }
        if self.take(&["SHOW", "PROBES"]) {
            return Ok(Statement::ShowProbes);
        }
        if self.take(&["SHOW", "CREATE", "PROBE"]) {
            return self.parser.parse_identifier().map(Statement::ShowCreateProbe);
        }
        if self.take(&["SHOW", "HOOKS"]) {
            let like = if self.take(&["LIKE"]) { Some(self.parser.parse_literal_string()?) } else { None };
            return Ok(Statement::ShowHooks { like });
        }
        if self.take(&["SHOW", "COLUMNS", "FROM"]) {
            return self.parser.parse_object_name(false).map(Statement::ShowColumns);
        }
        if self.take(&["COMMENT", "ON", "PROBE"]) {
            let name = self.parser.parse_identifier()?;
            self.expect_word("IS")?;
            let comment = if self.take(&["NULL"]) { None } else { Some(self.parser.parse_literal_string()?) };
            return Ok(Statement::CommentOnProbe { name, comment });
        }
        if self.words(&["BEGIN"]) || self.words(&["START", "TRANSACTION"]) {
            let tag = if self.take(&["BEGIN"]) { "BEGIN" } else { "START TRANSACTION" };
            if tag == "BEGIN" {
                let _ = self.take(&["WORK"]) || self.take(&["TRANSACTION"]);
            } else {
                self.take(&["START", "TRANSACTION"]);
            }
            return Ok(Statement::Begin { tag, modes: transaction::modes(&mut self.parser)? });
        }
        let session = self.take(&["SET", "SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]);
        if session || self.words(&["SET", "TRANSACTION"]) && !self.words(&["SET", "TRANSACTION", "SNAPSHOT"]) {
            let _ = !session && self.take(&["SET", "TRANSACTION"]);
            return Ok(Statement::SetTransaction { session, modes: transaction::modes(&mut self.parser)? });
        }
        // PostgreSQL's older word for ROLLBACK, which sqlparser does not know.
        if self.take(&["ABORT"]) {
            if !self.take(&["WORK"]) {
                self.take(&["TRANSACTION"]);
            }
            return Ok(Statement::Sql(Box::new(ast::Statement::Rollback { chain: false, savepoint: None })));
        }
        if self.take(&["FETCH"]) {
            return cursor::fetch(&mut self.parser, true).map(Statement::Fetch);
        }
        if self.take(&["MOVE"]) {
            return cursor::fetch(&mut self.parser, false).map(Statement::Fetch);
        }
        if self.words(&["COPY"]) {
            return self.copy();
        }
        if self.words(&["CHECKPOINT"]) {
            self.parser.next_token();
            return Ok(Statement::Checkpoint);
        }
        if self.words(&["ALTER", "TABLE"])
            && let Some(set) = self.alter_table_set()?
        {
            return Ok(set);
        }
        self.parser.parse_statement().map(|statement| Statement::Sql(Box::new(statement)))
    }

    /// sqlparser takes what comes after `COPY … FROM STDIN;` for rows, so it is shown this statement alone.
    fn copy(&mut self) -> Result<Statement, ParserError> {
        let first = self.token_from(self.parser.index());
        let tokens = &self.tokens[first..];
        let end = tokens.iter().position(|token| token.token == Token::SemiColon).unwrap_or(tokens.len());
        let mut alone = Parser::new(&ProbeDialect)
            .with_recursion_limit(DEPTH_MAX)
            .with_tokens_with_locations(tokens[..end].to_vec());
        let statement = alone.parse_statement()?;
        while self.parser.index() < first + alone.index().min(end) {
            self.parser.next_token();
        }
        Ok(Statement::Sql(Box::new(statement)))
    }

    fn create_probe(&mut self) -> Result<CreateProbe, ParserError> {
        self.expect_word("CREATE")?;
        let or_replace = self.take(&["OR", "REPLACE"]);
        self.expect_word("PROBE")?;
        let if_not_exists = self.take(&["IF", "NOT", "EXISTS"]);
        let name = self.parser.parse_identifier()?;
        let nodes = if self.take(&["ON", "NODES", "WHERE"]) { Some(self.parser.parse_expr()?) } else { None };
        let options = if self.take(&["WITH"]) { self.options()? } else { Vec::new() };
        self.expect_word("AS")?;
        Ok(CreateProbe {
            name,
            or_replace,
            if_not_exists,
            nodes,
            options,
            query: self.probe_query()?,
            source: Arc::clone(&self.text),
        })
    }

    fn alter_probe(&mut self) -> Result<Statement, ParserError> {
        let name = self.parser.parse_identifier()?;
        let change = if self.take(&["AS"]) {
            ProbeChange::Query { query: self.probe_query()?, source: Arc::clone(&self.text) }
        } else if self.take(&["SET"]) {
            ProbeChange::Set(self.options()?)
        } else if self.take(&["ENABLE"]) {
            ProbeChange::Enable
        } else if self.take(&["DISABLE"]) {
            ProbeChange::Disable
        } else if self.take(&["RENAME", "TO"]) {
            ProbeChange::Rename(self.parser.parse_identifier()?)
        } else {
            return self.parser.expected("AS, SET, ENABLE, DISABLE or RENAME TO", self.parser.peek_token());
        };
        Ok(Statement::AlterProbe { name, change })
    }

    fn explain_probe(&mut self) -> Result<Option<Statement>, ParserError> {
        let start = self.parser.index();
        self.take(&["EXPLAIN"]);
        let (mut analyze, mut verbose) = (false, false);
        loop {
            if self.take(&["ANALYZE"]) {
                analyze = true;
            } else if self.take(&["VERBOSE"]) {
                verbose = true;
            } else {
                break;
            }
        }
        let target = if self.words(&["CREATE", "PROBE"]) || self.words(&["CREATE", "OR", "REPLACE", "PROBE"]) {
            ExplainTarget::Create(Box::new(self.create_probe()?))
        } else if self.take(&["PROBE"]) {
            ExplainTarget::Existing(self.parser.parse_identifier()?)
        } else {
            self.rewind(start);
            return Ok(None);
        };
        Ok(Some(Statement::ExplainProbe { target, verbose, analyze }))
    }

    fn alter_table_set(&mut self) -> Result<Option<Statement>, ParserError> {
        let start = self.parser.index();
        self.take(&["ALTER", "TABLE"]);
        let name = self.parser.parse_object_name(false)?;
        if self.words(&["SET"]) && self.parser.peek_nth_token(1).token == Token::LParen {
            self.take(&["SET"]);
            return Ok(Some(Statement::AlterTableSet { name, options: self.options()? }));
        }
        self.rewind(start);
        Ok(None)
    }

    fn probe_query(&mut self) -> Result<ProbeQuery, ParserError> {
        let start = self.parser.index();
        let query = self.parser.parse_query()?;
        let comments = comments::after_select_items(&self.tokens[start..self.token_from(self.parser.index())]);
        Ok(ProbeQuery { text: Arc::clone(&self.text), query, comments })
    }

    /// The index of the first token from `index` on that is no blank or comment: comments before it belong to what was parsed.
    fn token_from(&self, mut index: usize) -> usize {
        while self.tokens.get(index).is_some_and(|token| matches!(token.token, Token::Whitespace(_))) {
            index += 1;
        }
        index.min(self.tokens.len())
    }

    /// `(name = value, …)`
    fn options(&mut self) -> Result<Vec<ProbeOption>, ParserError> {
        self.parser.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            let name = self.parser.parse_identifier()?.value.to_lowercase();
            self.parser.expect_token(&Token::Eq)?;
            let value = self.parser.next_token();
            let (text, span) = match value.token {
                Token::SingleQuotedString(text) | Token::Number(text, _) => (text, value.span),
                Token::Word(word) => (word.value, value.span),
                _ => return self.parser.expected("a literal", value),
            };
            options.push(ProbeOption { name, value: text, span });
            if !self.parser.consume_token(&Token::Comma) {
                self.parser.expect_token(&Token::RParen)?;
                return Ok(options);
            }
        }
    }

    /// Says whether the next tokens are these words, unquoted.
    fn words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(index, expected)| is_word(&self.parser.peek_nth_token(index).token, expected))
    }

    /// Consumes these words if they come next.
    fn take(&mut self, words: &[&str]) -> bool {
        let come = self.words(words);
        if come {
            for _ in words {
                self.parser.next_token();
            }
        }
        come
    }

    fn expect_word(&mut self, word: &str) -> Result<(), ParserError> {
        if self.take(&[word]) { Ok(()) } else { self.parser.expected(word, self.parser.peek_token()) }
    }

    /// Goes back to the first token that was to come at `index`. Going back is by tokens: the one before the blanks and
    /// comments there is another statement's.
    fn rewind(&mut self, index: usize) {
        let first = self.token_from(index);
        while self.parser.index() > first {
            self.parser.prev_token();
        }
    }

    /// sqlparser's error in PostgreSQL's words, at the place it names in its text, the only place it names it.
    fn syntax_error(&self, error: ParserError) -> SqlError {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("the statement is nested more than {DEPTH_MAX} deep"),
                );
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let (expectation, location) = split_location(&message);
        let Some(location) = location else {
            let next = self.parser.peek_token();
            // The end of the input has no place in sqlparser's message.
            if expectation.ends_with("found: EOF") {
                return unexpected(&self.text, &next).detail(format!("{expectation}."));
            }
            return SqlError::new(SqlState::SYNTAX_ERROR, first_lower(expectation))
                .at(position::of_span(&self.text, next.span));
        };
        let token = self.tokens.iter().find(|token| token.span.start == location);
        let end = TokenWithSpan::new(Token::EOF, Span::empty());
        unexpected(&self.text, token.unwrap_or(&end)).detail(format!("{expectation}."))
    }
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

fn first_lower(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().collect::<String>() + characters.as_str()).unwrap_or_default()
}

/// Splits `Expected: x, found: y at Line: 1, Column: 8`.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((expectation, place)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let location = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? }));
    (expectation, location)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, &'static str, Option<u32>) {
        let error = parse(text).unwrap_err();
        (error.message, error.state.0, error.position)
    }

    #[test]
    fn a_probe_is_read_whole() {
        let text =
            "CREATE OR REPLACE PROBE IF NOT EXISTS etc_reads WITH (retention = '7 days', max_rows_per_second = 50) AS
            SELECT time, -- when; UTC
                   user_string(filename) AS path -- what was opened; path
            FROM tracepoint.sys_enter_openat WHERE user_string(filename) LIKE '/etc/%'; SELECT 1";
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.len(), 2);
        let Statement::CreateProbe(probe) = &parsed[0].statement else { panic!("{:?}", parsed[0]) };
        assert_eq!(probe.name.value, "etc_reads");
        assert!(probe.or_replace && probe.if_not_exists);
        assert_eq!(probe.options.len(), 2);
        assert_eq!((probe.options[0].name.as_str(), probe.options[0].value.as_str()), ("retention", "7 days"));
        assert_eq!(probe.query.comments, [Some("when; UTC".to_owned()), Some("what was opened; path".to_owned())]);
        assert!(probe.source.starts_with("CREATE OR") && probe.source.ends_with("'/etc/%'"));
        assert_eq!(&text[parsed[1].range.clone()], "SELECT 1");
        assert!(crate::hooks::mentions_hook(&probe.query.query));
    }

    #[test]
    fn our_statements_are_recognised_and_the_rest_is_sql() {
        for (text, expected) in [
            ("drop probe if exists x with data", "DropProbe"),
            ("DROP TABLE a, b", "Sql(Drop"),
            ("SHOW PROBES", "ShowProbes"),
            ("SHOW CREATE PROBE x", "ShowCreateProbe"),
            ("SHOW HOOKS LIKE '%tcp%'", "ShowHooks"),
            ("SHOW COLUMNS FROM tracepoint.sched_switch", "ShowColumns"),
            ("SHOW server_version", "Sql(ShowVariable"),
            ("EXPLAIN VERBOSE CREATE PROBE x AS SELECT pid FROM tracepoint.y", "ExplainProbe"),
            ("EXPLAIN ANALYZE PROBE x", "ExplainProbe"),
            ("EXPLAIN ANALYZE SELECT 1", "Sql(Explain"),
            ("CHECKPOINT", "Checkpoint"),
            ("COMMENT ON PROBE x IS 'y'", "CommentOnProbe"),
            ("COMMENT ON TABLE x IS 'y'", "Sql(Comment"),
            ("ALTER TABLE x SET (retention = '3 days')", "AlterTableSet"),
            ("ALTER PROBE x DISABLE", "AlterProbe"),
            ("ALTER PROBE x RENAME TO y", "AlterProbe"),
            ("COPY (SELECT 1) TO STDOUT", "Sql(Copy"),
        ] {
            let statement = parse_one(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(format!("{statement:?}").starts_with(expected), "{text}: {statement:?}");
        }
    }

    #[test]
    fn blanks_and_comments_before_a_statement_change_nothing() {
        for statement in
            ["EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "DROP TABLE a, b", "ALTER TABLE x ADD COLUMN y int"]
        {
            for before in [" ", "\n\n", "-- note\n", "/* note */ ", "SELECT 1; ", "SELECT 1; -- note\n", ";\n;\n"] {
                let text = format!("{before}{statement}");
                let parsed = parse(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
                let last = parsed.last().unwrap();
                assert_eq!(&text[last.range.clone()], statement);
                assert_eq!(parsed.len(), 1 + usize::from(before.starts_with("SELECT")), "{text:?}");
            }
        }
    }

    #[test]
    fn empty_texts_hold_no_statement() {
        for text in ["", ";", " ; ;", "-- ping", "/* nothing */"] {
            assert_eq!(parse(text).unwrap().len(), 0, "{text:?}");
        }
    }

    #[test]
    fn a_syntax_error_names_the_token_and_its_place() {
        assert_eq!(refused("SELECT 1 FROM , x"), ("syntax error at or near \",\"".into(), "42601", Some(15)));
        assert_eq!(
            refused("CREATE PROBE x SELECT 1"),
            ("syntax error at or near \"SELECT\"".into(), "42601", Some(16))
        );
        assert_eq!(refused("SELECT 'é' x y"), ("syntax error at or near \"y\"".into(), "42601", Some(14)));
        assert_eq!(refused("SELECT (1").1, "42601");
        assert_eq!(refused("SELECT 'open").1, "42601");
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let text = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(refused(&text).1, "54000");
    }
}
