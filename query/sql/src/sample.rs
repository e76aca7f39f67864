//! `TABLESAMPLE`: the share of rows that is wanted. The same words mean the same on a hook and on a table.

use datafusion::sql::sqlparser::ast::{Expr, TableSample, TableSampleKind, TableSampleMethod, TableSampleUnit, Value};

use crate::{SqlError, SqlState};

/// The share of rows that a `TABLESAMPLE` keeps, each by its own draw: from 0 to 1.
///
/// `TABLESAMPLE BERNOULLI (10)`, `SYSTEM (10)` and `(10 PERCENT)` are the same.
///
/// # Errors
/// 2202H for a share that is none; 0A000 for numbers of rows, buckets, and a sample that can be drawn again.
pub fn share(sample: &TableSampleKind) -> Result<f64, SqlError> {
    let (TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = sample;
    let TableSample { name, quantity, seed, bucket, offset, modifier: _ } = sample.as_ref();
    let refuse = |what: &str| {
        SqlError::unsupported(format!("{what} is not supported"))
            .hint("Write a share, as in TABLESAMPLE BERNOULLI (10) or TABLESAMPLE (10 PERCENT).")
    };
    if seed.is_some() {
        return Err(refuse("a sample that can be drawn again (REPEATABLE)"));
    }
    let known = matches!(name, None | Some(TableSampleMethod::Bernoulli | TableSampleMethod::System));
    let quantity = match quantity {
        Some(quantity) if known && bucket.is_none() && offset.is_none() => quantity,
        _ => return Err(refuse("this kind of TABLESAMPLE")),
    };
    if quantity.unit == Some(TableSampleUnit::Rows) {
        return Err(refuse("TABLESAMPLE with a number of rows"));
    }
    let percent = match &quantity.value {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<f64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| {
        SqlError::new(SqlState("2202H"), "sample percentage must be between 0 and 100")
            .hint("Write a number, as in TABLESAMPLE BERNOULLI (10).")
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{SetExpr, Statement, TableFactor};

    use super::*;
    use crate::statement;

    fn of(clause: &str) -> Result<f64, String> {
        let text = format!("SELECT 1 FROM t {clause}");
        let statement::Statement::Sql(parsed) = crate::parse_one(&text).unwrap() else { panic!("{text}") };
        let Statement::Query(query) = *parsed else { panic!("{text}") };
        let SetExpr::Select(select) = *query.body else { panic!("{text}") };
        let TableFactor::Table { sample: Some(sample), .. } = &select.from[0].relation else { panic!("{text}") };
        share(sample).map_err(|error| error.state.0.to_owned())
    }

    #[test]
    fn a_share_is_read_in_its_spellings() {
        for (clause, wanted) in [
            ("TABLESAMPLE BERNOULLI (10)", Ok(0.1)),
            ("TABLESAMPLE SYSTEM (0.5)", Ok(0.005)),
            ("TABLESAMPLE (25 PERCENT)", Ok(0.25)),
            ("TABLESAMPLE (100)", Ok(1.0)),
            ("TABLESAMPLE (0)", Ok(0.0)),
            ("TABLESAMPLE (101)", Err("2202H".to_owned())),
            ("TABLESAMPLE ('many')", Err("2202H".to_owned())),
            ("TABLESAMPLE (10 ROWS)", Err("0A000".to_owned())),
            ("TABLESAMPLE BERNOULLI (10) REPEATABLE (3)", Err("0A000".to_owned())),
            ("TABLESAMPLE (BUCKET 1 OUT OF 4)", Err("0A000".to_owned())),
        ] {
            assert_eq!(of(clause), wanted, "{clause}");
        }
    }
}
