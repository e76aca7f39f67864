//! Names of unnamed columns as PostgreSQL derives them. The planner wants names unique within a select: a second one of
//! the same name gets a mark that is taken off at the door.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, FunctionArguments, Ident, ObjectName, Select, SelectItem, SetExpr, TrimWhereField,
};
use probepilot_sql::names::folded;

/// Begins the mark of a repeated name; it cannot be typed by accident.
const MARK: char = '\u{1f}';

/// PostgreSQL's name of a column without one.
const UNNAMED: &str = "?column?";

/// The name a client is shown.
pub fn shown_name(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(shown, _)| shown)
}

/// Names the columns of a select that have none, and marks repeated names.
pub(super) fn name(select: &mut Select, outermost: bool) {
    let wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(..) | SelectItem::QualifiedWildcard(..)));
    let mut seen = HashSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, name, plain) = match item {
            SelectItem::UnnamedExpr(expr) => match column(expr) {
                Some(name) => (expr.clone(), name, true),
                None => {
                    let name = derived(expr).unwrap_or_else(|| UNNAMED.to_owned());
                    (expr.clone(), name, false)
                }
            },
            SelectItem::ExprWithAlias { expr, alias } => {
                if seen.insert(folded(alias)) {
                    continue;
                }
                (expr.clone(), folded(alias), false)
            }
            _ => continue,
        };
        let repeated = !seen.insert(name.clone());
        // A wildcard may bring the same column: in the outermost select nobody refers to it by name.
        let hidden = plain && wildcard && outermost;
        if plain && !repeated && !hidden {
            continue;
        }
        let unique = if repeated || hidden { format!("{name}{MARK}{index}") } else { name };
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', unique) };
    }
}

fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// The name of a plain column.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(names) => names.last().map(folded),
        _ => None,
    }
}

/// The name PostgreSQL gives the column of an expression; `None` when it has nothing to take it from.
fn derived(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => column(expr),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } | Expr::CompoundFieldAccess { root: inner, .. } => {
            derived(inner)
        }
        Expr::Function(function) => {
            if let FunctionArguments::Subquery(_) = function.args {
                return fixed("array");
            }
            last(&function.name)
        }
        // A name that only a CASE gave is weaker than the type's.
        Expr::Cast { expr, data_type, .. } => {
            derived(expr).filter(|_| !is_weak(expr)).or_else(|| Some(type_name(data_type)))
        }
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Interval(_) => fixed("interval"),
        Expr::Case { else_result, .. } => {
            let strong = else_result.as_deref().filter(|expr| !is_weak(expr));
            strong.and_then(derived).or_else(|| fixed("case"))
        }
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => derived(expr),
                SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                _ => None,
            },
            _ => None,
        },
        Expr::Exists { .. } => fixed("exists"),
        Expr::Array(_) => fixed("array"),
        Expr::Tuple(_) => fixed("row"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Position { .. } => fixed("position"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Trim { trim_where, .. } => fixed(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

/// Says whether the name of an expression is one that PostgreSQL takes only for want of a better: a type's, or CASE.
fn is_weak(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => is_weak(inner),
        Expr::Cast { expr, .. } => derived(expr).is_none() || is_weak(expr),
        Expr::Case { else_result, .. } => {
            else_result.as_deref().is_none_or(|expr| derived(expr).is_none() || is_weak(expr))
        }
        Expr::TypedString(_) | Expr::Interval(_) | Expr::Value(_) => true,
        _ => false,
    }
}

/// `pg_type.typname` of a type as it is written.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        // An array is called like its elements.
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => return type_name(element),
        DataType::Custom(name, _) => return last(name).unwrap_or_else(|| UNNAMED.to_owned()),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::DoublePrecision | DataType::Double(_) | DataType::Float8 | DataType::Float(_) => "float8",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => "varchar",
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Timestamp(_, zone)
            if zone.to_string().to_uppercase().contains("TZ")
                || zone.to_string().to_uppercase().contains("WITH TIME") =>
        {
            "timestamptz"
        }
        other => return other.to_string().to_lowercase().split(['(', ' ']).next().unwrap_or_default().to_owned(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;
    use probepilot_sql::statement::Statement as Ours;

    use super::*;

    /// The names a client is shown for the outermost select.
    fn names(sql: &str) -> Vec<String> {
        let Ours::Sql(mut statement) = probepilot_sql::parse_one(sql).unwrap() else { panic!("not plain SQL") };
        super::super::rewrite(&mut statement, "").unwrap();
        let Statement::Query(query) = *statement else { panic!("not a query") };
        let SetExpr::Select(select) = *query.body else { panic!("not a select") };
        let shown = select.projection.iter().map(|item| match item {
            SelectItem::UnnamedExpr(expr) => column(expr).unwrap(),
            SelectItem::ExprWithAlias { alias, .. } => shown_name(&alias.value).to_owned(),
            other => other.to_string(),
        });
        shown.collect()
    }

    #[test]
    fn unnamed_columns_are_named_as_postgresql_names_them() {
        for (sql, expected) in [
            ("SELECT 1, 'x', NULL, true", vec!["?column?"; 4]),
            ("SELECT count(*), max(a) + 1, pg_catalog.lower(b) FROM t", vec!["count", "?column?", "lower"]),
            ("SELECT a::text, '1'::int, (1 + 1)::bigint", vec!["a", "int4", "int8"]),
            ("SELECT CASE WHEN a THEN 1 END, CASE WHEN a THEN 1 ELSE b END", vec!["case", "b"]),
            ("SELECT CASE WHEN a THEN '' ELSE f(b)::text END, (CASE WHEN a THEN b END)::text", vec!["f", "text"]),
            ("SELECT CASE WHEN a THEN '' ELSE 1::text END", vec!["case"]),
            ("SELECT (SELECT c.x FROM c), EXISTS (SELECT 1), now()", vec!["x", "exists", "now"]),
            ("SELECT trim(a), extract(epoch FROM a), a AT TIME ZONE 'UTC'", vec!["btrim", "extract", "timezone"]),
            ("SELECT t.a, A, a AS \"B\", 1 AS Two", vec!["a", "a", "B", "Two"]),
            ("SELECT 'x'::pg_catalog.regclass::pg_catalog.oid", vec!["oid"]),
            ("SELECT '{1}'::int[], '{a}'::text[]", vec!["int4", "text"]),
        ] {
            assert_eq!(names(sql), expected, "{sql}");
        }
    }
}
