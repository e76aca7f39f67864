//! What PostgreSQL's clients write, in the terms of the planner. Trees are changed in place, so that positions stay.

mod casts; // Casts that read or check a text.
mod typed; // Casts, comparisons and orders, once types are final.
mod column_names; // Names of unnamed columns, unique within a select.
mod functions; // Functions that exist, and where they do not.
mod literals; // Literals that are no value of their type.
mod named; // Arguments by name.
mod subqueries; // Correlated scalar subqueries as joins.
mod sets; // Functions that give rows.
mod similar; // SIMILAR TO.
mod times; // Literals of times and intervals, AT TIME ZONE.
mod sample; // TABLESAMPLE as a filter.
mod postgres; // Operators, casts and functions with PostgreSQL's spellings.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, Statement, TableFactor, VisitMut, VisitorMut};
use probepilot_sql::SqlError;

pub use casts::Casts;
pub use column_names::shown_name;
pub use functions::{check_functions, span_of_call};
pub use subqueries::SubqueriesToJoins;
pub use typed::Typed;

/// Rewrites a statement for the planner; `text` is the statement, for positions.
pub fn rewrite(statement: &mut Statement, text: &str) -> Result<(), SqlError> {
    let mut rewriter = Rewriter { depth: 0, text };
    match statement.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter<'a> {
    /// Queries around the place; 1 in the outermost.
    depth: usize,
    text: &'a str,
}

impl VisitorMut for Rewriter<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.depth += 1;
        match postgres::fetch_as_limit(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        // Before anything below is rewritten: names come from what the user wrote.
        column_names::name(select, self.depth == 1);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        if self.depth == 1 {
            postgres::show_objects(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        postgres::table_function(factor);
        match sample::of_table(factor, self.text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        if let Err(error) = literals::check(expr, self.text) {
            return ControlFlow::Break(error);
        }
        match postgres::rewrite(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}
