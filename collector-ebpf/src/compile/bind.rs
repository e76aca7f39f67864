//! Expressions of the query to DataFusion's: names resolved, functions checked, types coerced, constants folded.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{self, Spanned, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use probepilot_sql::{SqlError, SqlState};

use super::enumerations;
use super::names::{Column, Content, Scope};
use super::parameters::Parameters;
use super::position;
use super::split::Planned;
use super::stack;
use crate::functions::{self, ProcessFacts};
use crate::kernel::nearest;

/// Functions whose value depends on when they run: a stored probe has no such moment.
const OF_THE_MOMENT: [&str; 9] = [
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "today",
    "localtimestamp",
    "random",
    "uuid",
    "gen_random_uuid",
];

/// DataFusion with its own functions; ours are added for each query.
static STATE: LazyLock<SessionState> = LazyLock::new(|| {
    let mut config = SessionConfig::new().with_target_partitions(1);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some("UTC".to_owned());
    SessionStateBuilder::new().with_config(config).with_default_features().build()
});

/// Plans expressions.
pub struct Binder {
    state: SessionState,
    /// Whether the query is stored.
    stored: bool,
    /// What the types of parameters are found out for; without it they are refused.
    parameters: Option<Arc<Parameters>>,
}

impl Binder {
    /// A planner whose functions on processes ask `facts`.
    pub fn new(facts: &Arc<dyn ProcessFacts>, stored: bool) -> Result<Binder, SqlError> {
        let mut state = STATE.clone();
        for function in functions::all(facts) {
            state
                .register_udf(Arc::new(function))
                .map_err(|error| SqlError::internal("cannot register a function", error))?;
        }
        for function in functions::aggregates::all() {
            state.register_udaf(function).map_err(|error| SqlError::internal("cannot register an aggregate", error))?;
        }
        Ok(Binder { state, stored, parameters: None })
    }

    /// Takes parameters, and finds out their types.
    pub fn with_parameters(self, parameters: Option<Arc<Parameters>>) -> Binder {
        Binder { parameters, ..self }
    }

    /// A function by name.
    pub fn function(&self, name: &str) -> Arc<ScalarUDF> {
        Arc::clone(self.state.scalar_functions().get(name).expect("our own functions are registered"))
    }

    /// The planner's state, for physical expressions.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// Refuses functions that do not exist or cannot stand in a query on a hook, and aggregates.
    pub fn check(&self, expression: &ast::Expr, text: &str) -> Result<(), SqlError> {
        self.check_call(expression, text, false)
    }

    /// As [`Binder::check`], where aggregates may stand.
    pub fn check_aggregated(&self, expression: &ast::Expr, text: &str) -> Result<(), SqlError> {
        self.check_call(expression, text, true)
    }

    fn check_call(&self, expression: &ast::Expr, text: &str, aggregates: bool) -> Result<(), SqlError> {
        match expression.visit(&mut FunctionCheck { binder: self, text, aggregates }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// The expression as it runs over batches of this schema.
    pub fn physical(
        &self,
        planned: &Planned,
        schema: &DFSchema,
        text: &str,
    ) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
        self.state.create_physical_expr(planned.expr.clone(), schema).map_err(|error| {
            SqlError::unsupported(format!("cannot evaluate {}", planned.text))
                .caused_by(error)
                .at(position::of_span(text, planned.span))
        })
    }

    /// Whether the expression calls an aggregate.
    pub fn aggregates(&self, expression: &ast::Expr) -> bool {
        expression.visit(&mut AggregateSearch(&self.state)).is_break()
    }

    /// The expression over the columns of the scope; its names are resolved already.
    pub fn bind(&self, expression: ast::Expr, scope: &Scope<'_>) -> Result<Expr, SqlError> {
        let span = expression.span();
        let schema = schema(&scope.columns)?;
        let planned = self
            .state
            .create_logical_expr_from_sql_expr(ast::ExprWithAlias { expr: expression, alias: None }, &schema)
            .map_err(|error| planning_error(error, scope.text, span))?;
        let planned = match &self.parameters {
            Some(parameters) => {
                parameters.infer(planned, &schema).map_err(|error| planning_error(error, scope.text, span))?
            }
            None => planned,
        };
        let planned = enumerations::replace(planned, scope, &schema)?;
        let planned = stack::replace(planned).map_err(|error| error.at(position::of_span(scope.text, span)))?;
        let bound = self.simplify(planned, scope).map_err(|error| planning_error(error, scope.text, span))?;
        // A function may refuse its arguments only when asked for its type.
        bound.to_field(&schema).map_err(|error| planning_error(error, scope.text, span))?;
        Ok(bound)
    }

    /// Coerces types, folds constants; columns without a value become NULL.
    pub fn simplify(&self, expression: Expr, scope: &Scope<'_>) -> Result<Expr, DataFusionError> {
        let schema = Arc::new(schema(&scope.columns).map_err(|error| DataFusionError::External(Box::new(error)))?);
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(&schema))
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_current_time()
            .build();
        let simplifier = ExprSimplifier::new(context);
        let coerced = simplifier.coerce(expression, &schema)?;
        let known = coerced.transform_up(|expr| match &expr {
            Expr::Column(column) => match scope.columns.iter().find(|known| known.name == column.name) {
                Some(Column { content: Content::Unknown, data_type, .. }) => {
                    Ok(Transformed::yes(Expr::Literal(ScalarValue::try_from(data_type)?, None)))
                }
                _ => Ok(Transformed::no(expr)),
            },
            _ => Ok(Transformed::no(expr)),
        })?;
        simplifier.simplify(known.data)
    }
}

/// The columns as the planner sees them.
pub fn schema(columns: &[Column]) -> Result<DFSchema, SqlError> {
    let fields: Vec<Field> =
        columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable())).collect();
    DFSchema::try_from(Schema::new(fields)).map_err(|error| SqlError::internal("cannot make the hook's schema", error))
}

/// What the planner refused, at its place, or else at the start of the expression.
fn planning_error(error: DataFusionError, text: &str, span: Span) -> SqlError {
    let place = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| Location { line: span.start.line, column: span.start.column })
        .unwrap_or(span.start);
    let hint = error.diagnostic().and_then(|diagnostic| diagnostic.helps.first().map(|help| help.message.clone()));
    let message = match error.find_root() {
        DataFusionError::ArrowError(cause, _) => cause.to_string(),
        other => other.strip_backtrace(),
    };
    let message = ["Error during planning: ", "Arrow error: ", "This feature is not implemented: "]
        .iter()
        .fold(message.as_str(), |message, prefix| message.strip_prefix(prefix).unwrap_or(message))
        .to_owned();
    let state = match error.find_root() {
        DataFusionError::NotImplemented(_) => SqlState::FEATURE_NOT_SUPPORTED,
        DataFusionError::ArrowError(..) => SqlState::DATA_EXCEPTION,
        _ => SqlState::DATATYPE_MISMATCH,
    };
    let mut lowered = message.chars();
    // Planner's messages begin with a capital letter, ours do not.
    let message = match lowered.next() {
        Some(first) => first.to_lowercase().chain(lowered).collect(),
        None => message.clone(),
    };
    let sql = SqlError::new(state, message.trim_end_matches('.').to_owned())
        .at(position::of_location(text, place))
        .caused_by(error);
    match hint {
        Some(hint) => sql.hint(hint),
        None => sql,
    }
}

fn is_aggregate(state: &SessionState, name: &str) -> bool {
    state.aggregate_functions().contains_key(name) && !state.scalar_functions().contains_key(name)
}

fn function_name(function: &ast::Function) -> String {
    let name = function.name.0.iter().filter_map(|part| part.as_ident()).map(probepilot_sql::names::folded);
    name.collect::<Vec<_>>().join(".")
}

/// Stops at the first call of an aggregate.
struct AggregateSearch<'a>(&'a SessionState);

impl Visitor for AggregateSearch<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        match expression {
            ast::Expr::Function(function) if is_aggregate(self.0, &function_name(function)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

struct FunctionCheck<'a> {
    binder: &'a Binder,
    text: &'a str,
    /// Aggregates may be called.
    aggregates: bool,
}

impl FunctionCheck<'_> {
    fn call(&self, function: &ast::Function) -> Result<(), SqlError> {
        let at = position::of_span(self.text, function.name.span());
        let name = function_name(function);
        let state = &self.binder.state;
        if function.over.is_some() {
            return Err(SqlError::unsupported("window functions are not supported in a query on a hook").at(at));
        }
        if is_aggregate(state, &name) {
            if self.aggregates {
                return Ok(());
            }
            return Err(SqlError::new(SqlState::GROUPING_ERROR, format!("aggregate {name} cannot stand here")).at(at));
        }
        if name == functions::process::UPID || !state.scalar_functions().contains_key(&name) {
            let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {name} does not exist")).at(at);
            let near = nearest(&name, state.scalar_functions().keys().map(String::as_str));
            return Err(if near.is_empty() {
                error
            } else {
                error.hint(format!("Perhaps you meant {}.", near.join(" or ")))
            });
        }
        if self.binder.stored && OF_THE_MOMENT.contains(&name.as_str()) {
            return Err(SqlError::unsupported(format!("{name} has no meaning in a stored probe"))
                .hint("Use the event's own column time; to stop a probe after a while, set run_for.")
                .at(at));
        }
        Ok(())
    }
}

impl Visitor for FunctionCheck<'_> {
    type Break = Box<SqlError>;

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<Self::Break> {
        let checked = match expression {
            ast::Expr::Function(function) => self.call(function),
            ast::Expr::Value(value)
                if matches!(value.value, ast::Value::Placeholder(_)) && self.binder.parameters.is_none() =>
            {
                Err(SqlError::unsupported("parameters are not supported here")
                    .hint("A SELECT on a hook takes them when it is prepared with their values; a probe has none.")
                    .at(position::of_span(self.text, value.span)))
            }
            _ => Ok(()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}
