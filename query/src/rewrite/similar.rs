//! `x SIMILAR TO pattern` as a regular expression.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value, ValueWithSpan};
use probepilot_sql::SqlError;

/// Rewrites the test; its pattern must be a literal.
pub(super) fn rewrite(
    negated: bool,
    expr: Box<Expr>,
    pattern: &Expr,
    escape: Option<&ValueWithSpan>,
) -> Result<Expr, SqlError> {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(pattern), span }) = pattern else {
        return Err(SqlError::unsupported("the pattern of SIMILAR TO must be a literal").hint("Write x ~ pattern."));
    };
    let escape = match escape.map(|escape| &escape.value) {
        Some(Value::SingleQuotedString(text)) => text.chars().next(),
        _ => Some('\\'),
    };
    let value = Value::SingleQuotedString(regular_expression(pattern, escape));
    let op = if negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    Ok(Expr::BinaryOp { left: expr, op, right: Box::new(Expr::Value(ValueWithSpan { value, span: *span })) })
}

/// The pattern matches the whole text; `%` is any text, `_` any character, and what SQL does not know stands for itself.
fn regular_expression(pattern: &str, escape: Option<char>) -> String {
    let mut expression = String::from("^(?:");
    let (mut escaped, mut in_set) = (false, false);
    for character in pattern.chars() {
        if escaped {
            escaped = false;
            if !character.is_alphanumeric() {
                expression.push('\\');
            }
            expression.push(character);
        } else if Some(character) == escape {
            escaped = true;
        } else if in_set {
            in_set = character != ']';
            expression.push(character);
        } else {
            match character {
                '%' => expression.push_str("(?s:.*)"),
                '_' => expression.push_str("(?s:.)"),
                '[' => {
                    in_set = true;
                    expression.push('[');
                }
                '.' | '^' | '$' | '\\' => {
                    expression.push('\\');
                    expression.push(character);
                }
                other => expression.push(other),
            }
        }
    }
    expression.push_str(")$");
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        assert_eq!(regular_expression("(a|b)%", Some('\\')), "^(?:(a|b)(?s:.*))$");
        assert_eq!(regular_expression("a.c\\%_", Some('\\')), "^(?:a\\.c\\%(?s:.))$");
    }
}
