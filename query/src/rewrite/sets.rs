//! Functions that give rows: in a select list and in FROM they are arrays that are unnested.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, TableAlias, TableAliasColumnDef,
    TableFactor,
};

use super::postgres::{call, last};

/// Functions that give rows, the functions with their rows as arrays, and the names of their columns; without a name a column
/// is called like the function.
const SETS: [(&str, &[&str], &[&str]); 13] = [
    ("generate_series", &["array_of_generate_series"], &[]),
    ("regexp_matches", &["array_of_regexp_matches"], &[]),
    ("regexp_split_to_table", &["array_of_regexp_split_to_table"], &[]),
    ("json_array_elements", &["array_of_json_elements"], &["value"]),
    ("jsonb_array_elements", &["array_of_jsonb_elements"], &["value"]),
    ("json_array_elements_text", &["array_of_json_elements_text"], &["value"]),
    ("jsonb_array_elements_text", &["array_of_jsonb_elements_text"], &["value"]),
    ("json_object_keys", &["array_of_json_keys"], &[]),
    ("jsonb_object_keys", &["array_of_jsonb_keys"], &[]),
    ("json_each", &["array_of_json_keys", "array_of_json_values"], &["key", "value"]),
    ("jsonb_each", &["array_of_jsonb_keys", "array_of_jsonb_values"], &["key", "value"]),
    ("jsonb_each_text", &["array_of_jsonb_keys", "array_of_jsonb_values_text"], &["key", "value"]),
    ("json_each_text", &["array_of_json_keys", "array_of_json_values_text"], &["key", "value"]),
];

fn find(name: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    SETS.into_iter().find(|(known, ..)| *known == name).map(|(_, arrays, columns)| (arrays, columns))
}

/// A call in an expression, as rows; `None` when the function gives a value.
pub(super) fn in_expression(function: &Function) -> Option<Expr> {
    let ([array], _) = find(&last(&function.name))? else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    Some(call("unnest", vec![call(array, exprs(&list.args)?)]))
}

fn exprs(args: &[FunctionArg]) -> Option<Vec<Expr>> {
    let exprs = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    exprs.collect()
}

/// A call in FROM, as rows; `None` when the function is not one of these.
pub(super) fn in_from(name: &str, args: &[FunctionArg], alias: Option<&TableAlias>) -> Option<TableFactor> {
    let (arrays, columns) = find(name)?;
    let exprs = exprs(args)?;
    let array_exprs = arrays.iter().map(|array| call(array, exprs.clone())).collect();
    let own = Ident::with_quote('"', name);
    let mut alias = alias.cloned().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: own.clone(),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        let column = |name| TableAliasColumnDef { name, data_type: None };
        alias.columns = match columns {
            [] => vec![column(alias.name.clone())],
            names => names.iter().map(|name| column(Ident::with_quote('"', *name))).collect(),
        };
    }
    let alias = Some(alias);
    Some(TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}
