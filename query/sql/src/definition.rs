//! The text of a probe: taken apart and put together again when ALTER PROBE changes a part of it.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::dialect::ProbeDialect;
use crate::position;
use crate::statement::{CreateProbe, ProbeOption};

/// The query in a statement `… AS query`, as it is written, comments included; empty when there is none.
///
/// No expression before the query has an AS outside parentheses, so the first one that stands free begins it.
pub fn query_text(statement: &str) -> &str {
    let tokens = Tokenizer::new(&ProbeDialect, statement).tokenize_with_location().unwrap_or_default();
    let mut depth = 0_u32;
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(word) if depth == 0 && word.keyword == Keyword::AS && word.quote_style.is_none() => {
                let end = position::byte_of_location(statement, token.span.end);
                return statement[end..].trim();
            }
            _ => {}
        }
    }
    ""
}

/// `options` with those in `changes` in their place, or behind them.
pub fn changed_options(options: &[ProbeOption], changes: &[ProbeOption]) -> Vec<ProbeOption> {
    let mut changed = options.to_vec();
    for change in changes {
        match changed.iter_mut().find(|option| option.name == change.name) {
            Some(option) => *option = change.clone(),
            None => changed.push(change.clone()),
        }
    }
    changed
}

/// The statement that creates `probe` under `name` with these options and this text of its query.
pub fn create_text(probe: &CreateProbe, name: &str, options: &[ProbeOption], query: &str) -> String {
    let mut text = format!("CREATE PROBE {}", identifier(name));
    if let Some(nodes) = &probe.nodes {
        text.push_str(&format!(" ON NODES WHERE {nodes}"));
    }
    if !options.is_empty() {
        let pairs: Vec<String> =
            options.iter().map(|option| format!("{} = '{}'", option.name, option.value.replace('\'', "''"))).collect();
        text.push_str(&format!(" WITH ({})", pairs.join(", ")));
    }
    text.push_str(" AS\n");
    text.push_str(query);
    text
}

/// A name as a statement writes it: in quotes unless it reads back as it is without.
fn identifier(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit());
    let ident = if is_plain { Ident::new(name) } else { Ident::with_quote('"', name) };
    ident.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_one;
    use crate::statement::Statement;

    fn create(text: &str) -> CreateProbe {
        match parse_one(text) {
            Ok(Statement::CreateProbe(probe)) => *probe,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_query_is_what_stands_behind_the_first_free_as() {
        for (statement, query) in [
            ("CREATE PROBE p AS SELECT pid AS x FROM t -- why", "SELECT pid AS x FROM t -- why"),
            ("ALTER PROBE p as\nSELECT 1", "SELECT 1"),
            ("CREATE PROBE p ON NODES WHERE CAST(a AS int) = 1 WITH (x = 'AS') AS SELECT é", "SELECT é"),
            ("CREATE PROBE \"as\" AS SELECT 2", "SELECT 2"),
            ("DROP PROBE p", ""),
        ] {
            assert_eq!(query_text(statement), query);
        }
    }

    #[test]
    fn a_text_that_was_put_together_reads_back() {
        let old = create(
            "CREATE PROBE p WITH (retention = '7 days', max_rows_per_second = 5) AS SELECT pid -- whose\nFROM tracepoint.x",
        );
        let changes = [
            ProbeOption { name: "max_rows_per_second".into(), value: "9".into(), span: old.options[0].span },
            ProbeOption { name: "max_bytes".into(), value: "it's".into(), span: old.options[0].span },
        ];
        let options = changed_options(&old.options, &changes);
        let text = create_text(&old, "My probe", &options, query_text(&old.source));
        let new = create(&text);
        assert_eq!(new.name.value, "My probe");
        let pairs: Vec<(&str, &str)> = new.options.iter().map(|o| (o.name.as_str(), o.value.as_str())).collect();
        assert_eq!(pairs, [("retention", "7 days"), ("max_rows_per_second", "9"), ("max_bytes", "it's")]);
        assert_eq!(new.query.query.to_string(), old.query.query.to_string());
        assert_eq!(new.query.comments, old.query.comments);
    }
}
