//! Arguments by name, `f(a, width => b)`, in the places of the function's parameters.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};
use probepilot_sql::names::folded;
use probepilot_sql::{SqlError, SqlState};

use super::postgres::{cast, number};

/// What stands for a parameter that is not given.
#[derive(Clone, Copy)]
enum Default {
    Null,
    Zero,
}

/// What a text literal is read as.
#[derive(Clone, Copy)]
enum Type {
    Any,
    Text,
    Interval,
    Moment,
}

/// Names of parameters in their order, and what text is read as there.
type Parameters = &'static [(&'static str, Type)];

/// Functions whose arguments may be named, with their parameters in order.
const FUNCTIONS: [(&str, Default, Parameters); 5] = [
    (
        "time_bucket",
        Default::Null,
        &[
            ("bucket_width", Type::Any),
            ("ts", Type::Any),
            ("timezone", Type::Text),
            ("origin", Type::Moment),
            ("offset", Type::Interval),
        ],
    ),
    (
        "time_bucket_gapfill",
        Default::Null,
        &[
            ("bucket_width", Type::Any),
            ("ts", Type::Any),
            ("timezone", Type::Text),
            ("start", Type::Moment),
            ("finish", Type::Moment),
        ],
    ),
    ("locf", Default::Null, &[("value", Type::Any), ("prev", Type::Any), ("treat_null_as_missing", Type::Any)]),
    ("interpolate", Default::Null, &[("value", Type::Any), ("prev", Type::Any), ("next", Type::Any)]),
    (
        "make_interval",
        Default::Zero,
        &[
            ("years", Type::Any),
            ("months", Type::Any),
            ("weeks", Type::Any),
            ("days", Type::Any),
            ("hours", Type::Any),
            ("mins", Type::Any),
            ("secs", Type::Any),
        ],
    ),
];

/// Puts the named arguments of a call in their places.
pub(super) fn to_positions(function: &mut Function) -> Result<(), SqlError> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let named = list.args.iter().position(|arg| !matches!(arg, FunctionArg::Unnamed(_)));
    let Some(first) = named else { return Ok(()) };
    let name = super::postgres::last(&function.name);
    let Some((_, default, parameters)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else { return Ok(()) };
    let mut places: Vec<Option<Expr>> = vec![None; parameters.len()];
    for (index, arg) in list.args.iter().enumerate() {
        let (place, expr) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if index < first && index < places.len() => {
                (Some(index), expr)
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                (place(parameters, &folded(name)), expr)
            }
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(expr), .. } => {
                (place(parameters, &folded(name)), expr)
            }
            _ => return Err(no_such(&name, parameters)),
        };
        match place {
            Some(place) if places[place].is_none() => places[place] = Some(expr.clone()),
            _ => return Err(no_such(&name, parameters)),
        }
    }
    let used = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    // A range has both its ends, so that their places tell what they are.
    let used = if name == "time_bucket_gapfill" { parameters.len() } else { used };
    let args = places.into_iter().take(used).zip(parameters.iter()).map(|(expr, (_, read_as))| {
        let expr = expr.unwrap_or_else(|| match default {
            Default::Null => Expr::Value(Value::Null.into()),
            Default::Zero => number("0"),
        });
        let typed = match read_as {
            Type::Any => expr,
            Type::Text => cast(expr, DataType::Text),
            Type::Interval => cast(expr, DataType::Interval { fields: None, precision: None }),
            Type::Moment => match expr {
                Expr::Value(ref value) if matches!(value.value, Value::SingleQuotedString(_)) => {
                    let zone = datafusion::sql::sqlparser::ast::TimezoneInfo::Tz;
                    cast(expr, DataType::Timestamp(None, zone))
                }
                other => other,
            },
        };
        FunctionArg::Unnamed(FunctionArgExpr::Expr(typed))
    });
    list.args = args.collect();
    Ok(())
}

fn place(parameters: &[(&str, Type)], name: &str) -> Option<usize> {
    parameters.iter().position(|(parameter, _)| *parameter == name)
}

fn no_such(name: &str, parameters: &[(&str, Type)]) -> SqlError {
    let names: Vec<&str> = parameters.iter().map(|(parameter, _)| *parameter).collect();
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("no function {name} has arguments of these names"))
        .hint(format!("Its parameters are {}.", names.join(", ")))
}
