//! `TABLESAMPLE` as a filter: each row is drawn for itself. The planner would read over the clause.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, SelectItem, Spanned, TableAlias, TableFactor, TableWithJoins, Value,
    WildcardAdditionalOptions,
};
use probepilot_sql::{SqlError, position, sample};

use super::postgres::{call, empty_select, query_of};

/// `t TABLESAMPLE BERNOULLI (10)` → `(SELECT * FROM t WHERE random() < 0.1) AS t`
pub fn of_table(factor: &mut TableFactor, text: &str) -> Result<(), SqlError> {
    let at = position::of_span(text, factor.span());
    let TableFactor::Table { name, alias, sample, .. } = factor else {
        return match factor {
            TableFactor::Derived { sample: Some(_), .. } => {
                Err(SqlError::unsupported("a sample of a subquery is not supported")
                    .hint("Write TABLESAMPLE behind a table in it.")
                    .at(at))
            }
            _ => Ok(()),
        };
    };
    let Some(clause) = sample.take() else { return Ok(()) };
    let share = sample::share(&clause).map_err(|error| error.at(at))?;
    let own_name = || name.0.last().and_then(|part| part.as_ident()).cloned();
    let alias = alias.take().or_else(|| own_name().map(named));
    let drawn = Expr::BinaryOp {
        left: Box::new(call("random", Vec::new())),
        op: BinaryOperator::Lt,
        right: Box::new(Expr::Value(Value::Number(format!("{share:?}"), false).into())),
    };
    let relation = factor.clone();
    let mut select = empty_select();
    select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    select.selection = Some(drawn);
    let subquery = Box::new(query_of(select));
    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    Ok(())
}

fn named(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}
