//! PostgreSQL's dialect with one difference: `->` binds tighter than arithmetic.

use std::any::TypeId;

use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Just below the dot of a compound name, so that `p->prio + 1` is `(p->prio) + 1`.
const ARROW_PRECEDENCE: u8 = 190;

/// The dialect every statement is parsed in.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProbeDialect;

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

macro_rules! as_postgres {
    ($($method:ident)*) => {
        $(fn $method(&self) -> bool {
            POSTGRES.$method()
        })*
    };
}

impl Dialect for ProbeDialect {
    /// The parser asks for this type where PostgreSQL differs from other databases.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Arrow => Some(Ok(ARROW_PRECEDENCE)),
            _ => POSTGRES.get_next_precedence(parser),
        }
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        POSTGRES.is_delimited_identifier_start(character)
    }

    fn is_identifier_start(&self, character: char) -> bool {
        POSTGRES.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        POSTGRES.is_identifier_part(character)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, character: char) -> bool {
        POSTGRES.is_custom_operator_part(character)
    }

    as_postgres! {
        supports_unicode_string_literal supports_filter_during_aggregation supports_group_by_expr allow_extract_custom
        allow_extract_single_quotes supports_create_index_with_clause supports_explain_with_utility_options
        supports_listen_notify supports_factorial_operator supports_bitwise_shift_operators supports_comment_on
        supports_load_extension supports_named_fn_args_with_colon_operator supports_named_fn_args_with_expr_name
        supports_empty_projections supports_nested_comments supports_string_escape_constant
        supports_numeric_literal_underscores supports_array_typedef_with_brackets supports_geometric_types
        supports_set_names supports_alter_column_type_using supports_notnull_operator supports_interval_options
        supports_insert_table_alias supports_create_table_like_parenthesized supports_select_wildcard_with_alias
        supports_comma_separated_trim supports_xml_expressions supports_comment_optimizer_hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, grouped: &str) {
        let expression = Parser::new(&ProbeDialect).try_with_sql(sql).unwrap().parse_expr().unwrap();
        let expected = Parser::new(&ProbeDialect).try_with_sql(grouped).unwrap().parse_expr().unwrap();
        assert_eq!(shape(&expression), shape(&expected), "{sql}");
    }

    /// The tree's shape without its parentheses.
    fn shape(expression: &datafusion::sql::sqlparser::ast::Expr) -> String {
        use datafusion::sql::sqlparser::ast::Expr;
        match expression {
            Expr::Nested(inner) => shape(inner),
            Expr::BinaryOp { left, op, right } => format!("({} {op} {})", shape(left), shape(right)),
            other => other.to_string(),
        }
    }

    #[test]
    fn the_arrow_binds_tighter_than_arithmetic() {
        check("p->prio + 1", "(p->prio) + 1");
        check("1 + p->prio * 2", "1 + ((p->prio) * 2)");
    }

    #[test]
    fn arrows_chain_from_the_left() {
        check("a->b->c = 1", "((a->b)->c) = 1");
    }

    #[test]
    fn a_comparison_binds_looser_than_the_arrow() {
        check("next->pid <> prev->pid AND x", "((next->pid) <> (prev->pid)) AND x");
    }
}
