//! Operators, casts and functions with PostgreSQL's spellings.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value, ValueWithSpan, visit_expressions,
};
use probepilot_sql::names::folded;
use probepilot_sql::{SqlError, SqlState};

use crate::functions::REGISTER_TYPES;
use crate::pg_catalog::{INFORMATION_SCHEMA, PG_CATALOG};

/// Rewrites one expression whose parts are already rewritten.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), SqlError> {
    let taken = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    *expr = match taken {
        Expr::Function(function) => rewrite_function(function)?,
        Expr::BinaryOp { left, op: BinaryOperator::PGCustomBinaryOperator(parts), right } => {
            let op = operator(&parts)?;
            Expr::BinaryOp { left, op, right }
        }
        Expr::Collate { expr, collation } => {
            let name = last(&collation);
            if !["default", "c", "posix", "ucs_basic"].contains(&name.as_str()) {
                let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
            *expr
        }
        Expr::Cast { expr, data_type, kind, array, format } => {
            super::times::rewrite(rewrite_cast(expr, data_type, kind, array, format))
        }
        Expr::Like { negated, any, expr, pattern, escape_char: Some(escape) } => {
            let escape = Expr::Value(escape);
            Expr::Like {
                negated,
                any,
                expr,
                pattern: Box::new(call("like_escape", vec![*pattern, escape])),
                escape_char: None,
            }
        }
        // Without parentheses its first names are a table's and a column's.
        Expr::CompoundFieldAccess { root, access_chain } if matches!(*root, Expr::Nested(_) | Expr::Function(_)) => {
            field_access(*root, access_chain)
        }
        Expr::AnyOp { left, compare_op, right, is_some } => any(left, compare_op, right, is_some),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => match membership(&left, &right, true) {
            Some(expr) => expr,
            None => Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right },
        },
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            super::similar::rewrite(negated, expr, &pattern, escape_char.as_ref())?
        }
        other => super::times::rewrite(other),
    };
    Ok(())
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
pub(super) fn fetch_as_limit(query: &mut Query) -> Result<(), SqlError> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        return Err(SqlError::unsupported("FETCH WITH TIES and PERCENT are not supported"));
    }
    let first = Some(fetch.quantity.unwrap_or_else(|| number("1")));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset { limit: first, offset: None, limit_by: Vec::new() });
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = first,
        Some(_) => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "multiple LIMIT clauses not allowed")),
    }
    Ok(())
}

pub(super) fn last(name: &ObjectName) -> String {
    let last = name.0.last().and_then(|part| part.as_ident());
    last.map_or_else(String::new, folded)
}

/// The operator of `OPERATOR(schema.op)`.
fn operator(parts: &[String]) -> Result<BinaryOperator, SqlError> {
    use BinaryOperator as Op;
    let op = parts.last().map(String::as_str).unwrap_or_default();
    Ok(match op {
        "~" => Op::PGRegexMatch,
        "~*" => Op::PGRegexIMatch,
        "!~" => Op::PGRegexNotMatch,
        "!~*" => Op::PGRegexNotIMatch,
        "~~" => Op::PGLikeMatch,
        "~~*" => Op::PGILikeMatch,
        "!~~" => Op::PGNotLikeMatch,
        "!~~*" => Op::PGNotILikeMatch,
        "=" => Op::Eq,
        "<>" | "!=" => Op::NotEq,
        "<" => Op::Lt,
        "<=" => Op::LtEq,
        ">" => Op::Gt,
        ">=" => Op::GtEq,
        "+" => Op::Plus,
        "-" => Op::Minus,
        "*" => Op::Multiply,
        "/" => Op::Divide,
        "%" => Op::Modulo,
        "||" => Op::StringConcat,
        other => {
            let message = format!("operator {other} does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message));
        }
    })
}

/// `pg_catalog.f(…)` is `f(…)`; `ARRAY(SELECT …)` is an aggregate over the query.
fn rewrite_function(mut function: Function) -> Result<Expr, SqlError> {
    if let FunctionArguments::Subquery(query) = function.args {
        if last(&function.name) == "array" {
            return Ok(array_of_rows(*query));
        }
        function.args = FunctionArguments::Subquery(query);
        return Ok(Expr::Function(function));
    }
    let schema = match function.name.0.as_slice() {
        [schema, _] => schema.as_ident().map(|schema| schema.value.to_lowercase()),
        _ => None,
    };
    if schema.as_deref().is_some_and(|schema| [PG_CATALOG, INFORMATION_SCHEMA].contains(&schema)) {
        function.name.0.remove(0);
    }
    super::named::to_positions(&mut function)?;
    match last(&function.name).as_str() {
        "_pg_expandarray" => return Ok(call("unnest", vec![Expr::Function(function)])),
        "localtimestamp" => {
            return Ok(call(
                "timezone",
                vec![call("current_setting", vec![text("TimeZone")]), call("now", Vec::new())],
            ));
        }
        _ => {}
    }
    let rows = subscripts(&function).or_else(|| super::sets::in_expression(&function));
    Ok(rows.unwrap_or(Expr::Function(function)))
}

/// `(row).field` is the field of a composite value; subscripts stay.
fn field_access(root: Expr, access_chain: Vec<AccessExpr>) -> Expr {
    access_chain.into_iter().fold(root, |root, access| match access {
        AccessExpr::Dot(Expr::Identifier(field)) => {
            let field = Value::SingleQuotedString(folded(&field));
            call("get_field", vec![root, Expr::Value(field.into())])
        }
        access => match root {
            Expr::CompoundFieldAccess { root, mut access_chain } => {
                access_chain.push(access);
                Expr::CompoundFieldAccess { root, access_chain }
            }
            root => Expr::CompoundFieldAccess { root: Box::new(root), access_chain: vec![access] },
        },
    })
}

/// `generate_subscripts(array, 1)`: a row for each number of an element.
fn subscripts(function: &Function) -> Option<Expr> {
    if last(&function.name) != "generate_subscripts" {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(array)), FunctionArg::Unnamed(FunctionArgExpr::Expr(dimension))] =
        list.args.as_slice()
    else {
        return None;
    };
    let length = call("array_length", vec![array.clone(), dimension.clone()]);
    let last = cast(length, DataType::BigInt(None));
    Some(call("unnest", vec![call("generate_series", vec![number("1"), last])]))
}

/// `pg_catalog.f(…)` in FROM is `f(…)`, and its only column is named like its alias. What depends on other tables is an
/// `unnest`, which has a form of its own in the tree.
pub(super) fn table_function(factor: &mut TableFactor) {
    if let TableFactor::UNNEST { alias: Some(alias), array_exprs, with_ordinality: false, .. } = factor
        && array_exprs.len() == 1
    {
        name_column(alias);
    }
    let TableFactor::Table { name, args: Some(args), alias, .. } = factor else { return };
    if let [schema, _] = name.0.as_slice()
        && schema.as_ident().is_some_and(|schema| schema.value.eq_ignore_ascii_case(PG_CATALOG))
    {
        name.0.remove(0);
    }
    let function = last(name);
    if function == "pg_get_keywords" {
        return;
    }
    // A series of constants is made as it is read, others are arrays.
    let is_array = function != "generate_series" || exprs_name_a_column(&args.args);
    if is_array && let Some(rows) = super::sets::in_from(&function, &args.args, alias.as_ref()) {
        *factor = rows;
        return;
    }
    if !["unnest", "generate_series", "range"].contains(&function.as_str()) {
        scalar_in_from(factor, &function);
        return;
    }
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', &function),
        columns: Vec::new(),
        at: None,
    });
    if function != "unnest" || args.args.len() == 1 {
        name_column(alias);
    }
    let exprs = args.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let exprs: Vec<Expr> = exprs.collect();
    let array_exprs = match function.as_str() {
        "unnest" => exprs,
        _ => return,
    };
    let alias = Some(alias.clone());
    *factor =
        TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_offset_alias: None, with_ordinality: false };
}

/// The one column of rows is called as they are, when it has no name of its own.
fn name_column(alias: &mut TableAlias) {
    if alias.columns.is_empty() {
        alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
    }
}

/// A function of one value in FROM is a row with it: `f(…) AS a` is `(SELECT f(…) AS a) AS a`.
fn scalar_in_from(factor: &mut TableFactor, function: &str) {
    let TableFactor::Table { name, args: Some(args), alias, .. } = factor else { return };
    let exprs = args.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let Some(exprs) = exprs.collect::<Option<Vec<Expr>>>() else { return };
    let alias = alias.clone().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', function),
        columns: Vec::new(),
        at: None,
    });
    let lateral = exprs.iter().any(names_a_column);
    let Expr::Function(mut call) = call(function, exprs) else { return };
    call.name.clone_from(name); // With its place in the text.
    let column = alias.columns.first().map_or_else(|| alias.name.clone(), |column| column.name.clone());
    let projection = vec![SelectItem::ExprWithAlias { expr: Expr::Function(call), alias: column }];
    let subquery = Box::new(query_of(Select { projection, ..empty_select() }));
    *factor = TableFactor::Derived { lateral, subquery, alias: Some(alias), sample: None };
}

fn exprs_name_a_column(args: &[FunctionArg]) -> bool {
    args.iter().any(|arg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if names_a_column(expr)))
}

fn names_a_column(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// `(SELECT array_agg(value) FROM (query) AS rows)`
fn array_of_rows(mut query: Query) -> Expr {
    let value = Ident::with_quote('"', "value");
    let mut columns = vec![TableAliasColumnDef { name: value.clone(), data_type: None }];
    // Where the query is a plain select its column gets the name itself.
    if let SetExpr::Select(select) = query.body.as_mut()
        && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
            select.projection.as_mut_slice()
    {
        let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        select.projection = vec![SelectItem::ExprWithAlias { expr, alias: value.clone() }];
        columns.clear();
    }
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', "rows"), columns, at: None };
    let argument = Expr::Identifier(value);
    let select = Select {
        projection: vec![SelectItem::ExprWithAlias {
            expr: call("array_agg", vec![argument]),
            alias: Ident::with_quote('"', "array"),
        }],
        from: vec![TableWithJoins {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query),
                alias: Some(alias),
                sample: None,
            },
            joins: Vec::new(),
        }],
        ..empty_select()
    };
    // An aggregate of no rows is NULL, an array of no rows is empty.
    call("array_or_empty", vec![Expr::Subquery(Box::new(query_of(select)))])
}

pub(super) fn empty_select() -> Select {
    use datafusion::sql::sqlparser::ast::SelectFlavor;
    use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

pub(super) fn query_of(select: Select) -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// A text.
fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

/// A number as it is written.
pub(super) fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}

/// `expr::data_type`
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { expr: Box::new(expr), data_type, kind: CastKind::DoubleColon, array: false, format: None }
}

/// A call of a function of ours.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The name of a `reg*` type, as our functions for it begin.
fn register_type(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Custom(name, _) => {
            let name = last(name);
            REGISTER_TYPES.into_iter().find(|known| *known == name)
        }
        DataType::Regclass => Some("regclass"),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) => true,
        DataType::Custom(name, _) => ["text", "varchar", "name"].contains(&last(name).as_str()),
        _ => false,
    }
}

/// `x::regclass` is the object's oid, `x::regclass::text` its name.
fn rewrite_cast(
    expr: Box<Expr>,
    data_type: DataType,
    kind: CastKind,
    array: bool,
    format: Option<datafusion::sql::sqlparser::ast::CastFormat>,
) -> Expr {
    if let Some(register) = register_type(&data_type) {
        return call(&format!("{register}_in"), vec![*expr]);
    }
    if is_text(&data_type)
        && let Some(register) = register_call(&expr)
    {
        return call(&format!("{register}_out"), vec![*expr]);
    }
    Expr::Cast { expr, data_type, kind, array, format }
}

/// The `reg*` type whose oid the expression is.
fn register_call(expr: &Expr) -> Option<&'static str> {
    let expr = match expr {
        Expr::Nested(inner) => inner.as_ref(),
        other => other,
    };
    let Expr::Function(function) = expr else { return None };
    let name = last(&function.name);
    REGISTER_TYPES.into_iter().find(|known| name == format!("{known}_in"))
}

/// In the outermost select a `reg*` value is shown by its name, not its oid.
pub(super) fn show_objects(select: &mut Select) {
    for item in &mut select.projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
        if let Some(register) = register_call(expr) {
            let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
            *expr = call(&format!("{register}_out"), vec![inner]);
        }
    }
}

/// `x = ANY (…)`, over a query, a literal `'{a,b}'` or an array.
fn any(left: Box<Expr>, compare_op: BinaryOperator, right: Box<Expr>, is_some: bool) -> Expr {
    if compare_op == BinaryOperator::Eq
        && let Some(expr) = membership(&left, &right, false)
    {
        return expr;
    }
    Expr::AnyOp { left, compare_op, right, is_some }
}

fn membership(left: &Expr, right: &Expr, negated: bool) -> Option<Expr> {
    match right {
        Expr::Nested(inner) => membership(left, inner, negated),
        Expr::Subquery(query) => {
            Some(Expr::InSubquery { expr: Box::new(left.clone()), subquery: query.clone(), negated })
        }
        Expr::Cast { expr, .. } => match expr.as_ref() {
            Expr::Value(_) => membership(left, expr, negated),
            _ => None,
        },
        Expr::Array(array) => Some(Expr::InList { expr: Box::new(left.clone()), list: array.elem.clone(), negated }),
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            let list = crate::functions::array_elements(text)?.into_iter().map(|element| {
                let value = element.map_or(Value::Null, Value::SingleQuotedString);
                Expr::Value(value.into())
            });
            Some(Expr::InList { expr: Box::new(left.clone()), list: list.collect(), negated })
        }
        _ => None,
    }
}
