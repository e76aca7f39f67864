//! From a tree to a logical plan: names and functions are the session's, column names are PostgreSQL's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, DataFusionError, ParamValues, Result, ScalarValue, plan_err};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;
use probepilot_catalog::manifest::View;
use probepilot_catalog::table::PUBLIC;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState, SqlType, position};

use super::names::{Named, Names};
use super::{errors, nearest, stored_views, views};
use crate::functions::by_row::text;
use crate::functions::types::Types;
use crate::functions::written;
use crate::rewrite;

/// Parameters of a statement at most, as in PostgreSQL.
const PARAMETERS_MAX: usize = 65_535;

/// Plans a query: the plan, its columns as the client is told, its parameters' types.
pub(super) fn plan(
    state: &SessionState,
    names: &Names,
    text: &str,
    statement: &ast::Statement,
    parameter_types: &[Option<DataType>],
) -> Result<(LogicalPlan, SchemaRef, Vec<DataType>)> {
    let (mut statement, calls) = (statement.clone(), statement);
    rewrite::rewrite(&mut statement, text).map_err(external)?;
    if let Err(unknown) = rewrite::check_functions(&statement, state) {
        let functions = state.scalar_functions().keys().chain(state.aggregate_functions().keys()).map(String::as_str);
        let near = nearest::hint(&nearest::nearest(&unknown.name, functions));
        let error = unknown.error().at(position::of_span(text, unknown.span));
        return Err(external(match near {
            Some(hint) => error.hint(hint),
            None => error.hint("No function matches the given name."),
        }));
    }
    let provider = Provider { state, names };
    let types = parameter_types.iter().map(|data_type| {
        data_type.as_ref().map(|data_type| Arc::new(Field::new("parameter", data_type.clone(), true)) as FieldRef)
    });
    let mut context = PlannerContext::new().with_prepare_param_data_types(types.collect());
    let planner = SqlToRel::new_with_options(&provider, parser_options());
    let at_call = |error| at_call(error, calls, text);
    let plan = planner.sql_statement_to_plan_with_context(statement, &mut context).map_err(at_call)?;
    let parameters = parameters(&plan, parameter_types)?;
    // Types are final only after the analyzer (unions, casts of literals).
    let bound = match parameters.is_empty() {
        true => plan.clone(),
        false => {
            let nulls = parameters.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>>>()?;
            plan.clone().replace_params_with_values(&ParamValues::from(nulls))?
        }
    };
    let analyzed = state.analyzer().execute_and_check(bound, state.config_options(), |_, _| {}).map_err(at_call)?;
    let fields = analyzed
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_name(rewrite::shown_name(field.name())).with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok((plan, schema, parameters))
}

/// Gives an error in a call the place of the call.
fn at_call(error: DataFusionError, statement: &ast::Statement, text: &str) -> DataFusionError {
    let Some((name, told)) = errors::of_function(&error) else { return error };
    match rewrite::span_of_call(statement, name) {
        Some(span) => external(told.at(position::of_span(text, span))),
        None => error,
    }
}

/// The types of `$1`, `$2`, …: the client's, else what the plan implies, else text.
fn parameters(plan: &LogicalPlan, given: &[Option<DataType>]) -> Result<Vec<DataType>> {
    let inferred = plan.get_parameter_types()?;
    let mut count = given.len();
    for name in inferred.keys() {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        match number {
            Some(number) if (1..=PARAMETERS_MAX).contains(&number) => count = count.max(number),
            _ => return Err(external(SqlError::new(SqlState("42P02"), format!("there is no parameter {name}")))),
        }
    }
    Ok((1..=count)
        .map(|number| {
            let given = given.get(number - 1).cloned().flatten();
            given.or_else(|| inferred.get(&format!("${number}")).cloned().flatten()).unwrap_or(DataType::Utf8)
        })
        .collect())
}

/// Puts values in the places of the parameters, as the types that were promised.
pub(super) fn bind(plan: &LogicalPlan, types: &[DataType], values: Vec<ScalarValue>) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan.clone());
    }
    let values = values.into_iter().zip(types).map(|(value, data_type)| value.cast_to(data_type));
    plan.clone().with_param_values(ParamValues::from(values.collect::<Result<Vec<_>>>()?))
}

/// Lets functions that depend on options (`now()` on the zone) follow them.
pub(super) fn follow_options(state: &mut SessionState) {
    let options = Arc::clone(state.config_options());
    let changed: Vec<ScalarUDF> = state
        .scalar_functions()
        .values()
        .filter_map(|function| function.inner().with_updated_config(&options))
        .collect();
    for function in changed {
        state.register_udf(Arc::new(function)).expect("a function of the same name is replaced");
    }
}

fn parser_options() -> ParserOptions {
    ParserOptions::new().with_collect_spans(true).with_default_null_ordering(NullOrdering::NullsMax)
}

pub(super) fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The planner's own series know one width of integers, times with a zone or without, and intervals.
fn series_argument(arg: Expr) -> Result<Expr> {
    let Expr::Literal(value, metadata) = arg else { return Ok(arg) };
    let value = match value.data_type() {
        integer if integer.is_integer() => value.cast_to(&DataType::Int64)?,
        // A series of dates is one of times with zone.
        DataType::Date32 | DataType::Date64 => {
            value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, None))?.cast_to(&SqlType::Timestamptz.arrow())?
        }
        DataType::Utf8 => match text(&value).and_then(written::interval) {
            Some(step) => ScalarValue::IntervalMonthDayNano(Some(step)),
            None => value,
        },
        _ => value,
    };
    Ok(Expr::Literal(value, metadata))
}

struct Provider<'a> {
    state: &'a SessionState,
    names: &'a Names,
}

impl Provider<'_> {
    /// A user's view's query, planned: the statement's own plan goes on below it, down to the tables.
    fn stored(&self, view: &View) -> Result<Arc<dyn TableSource>> {
        let names = stored_views::names(view, self.names).map_err(external)?;
        let text = stored_views::text(view);
        // What is wrong in the view has no place in the statement.
        let plan = self
            .view_plan(&text, &names)
            .map_err(|error| external(stored_views::within(view, errors::translate(error, &text))))?;
        Ok(provider_as_source(Arc::new(ViewTable::new(plan, Some(view.definition.sql.clone())))))
    }

    /// The same for a view that comes with us.
    fn built_in(&self, view: &views::View) -> Result<Arc<dyn TableSource>> {
        let text = view.query(|table| self.names.has_table(table));
        // Its tables are those of `public`, whatever the session's search path is.
        let Names { database, manifest, live_tables, .. } = self.names;
        let names = Names {
            database: database.clone(),
            search_path: vec![PUBLIC.to_owned()],
            manifest: Arc::clone(manifest),
            live_tables: live_tables.clone(),
            depth: self.names.depth + 1,
        };
        let plan = self.view_plan(&text, &names)?;
        Ok(provider_as_source(Arc::new(ViewTable::new(plan, Some(text)))))
    }

    /// The plan of a view's query over the names that it knows.
    fn view_plan(&self, text: &str, names: &Names) -> Result<LogicalPlan> {
        let Statement::Sql(mut statement) = probepilot_sql::parse_one(text).map_err(external)? else {
            return plan_err!("the view is no query: {text}");
        };
        rewrite::rewrite(&mut statement, text).map_err(external)?;
        let provider = Provider { state: self.state, names };
        SqlToRel::new_with_options(&provider, parser_options()).sql_statement_to_plan(*statement)
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.names.resolve(&name).map_err(external)? {
            Named::Table(provider) => Ok(provider_as_source(provider)),
            Named::Stored(view) => self.stored(&view),
            Named::BuiltIn(view) => self.built_in(view),
        }
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        use datafusion::logical_expr::simplify::SimplifyContext;
        use datafusion::optimizer::simplify_expressions::ExprSimplifier;
        let Some(function) = self.state.table_functions().get(name) else {
            return plan_err!("table function {name} does not exist");
        };
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(self.state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let none = DFSchema::empty();
        let args = args.into_iter().map(|arg| simplifier.coerce(arg, &none).and_then(|arg| simplifier.simplify(arg)));
        let args = args.map(|arg| arg.and_then(series_argument)).collect::<Result<Vec<_>>>()?;
        let provider = function.function().call_with_args(TableFunctionArgs::new(&args, self.state))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
