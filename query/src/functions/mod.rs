//! SQL functions that DataFusion lacks or spells differently.

pub mod types; // SQL type names that only PostgreSQL has.
pub(crate) mod by_row; // Functions evaluated row by row, for the catalog and the session.
pub(crate) mod member; // IN a query, in a select list.
pub(crate) mod single_value; // The value of a scalar subquery.
pub(crate) mod empty; // The array of no rows.
pub(crate) mod literals; // Text literals that are arrays.
mod session; // Who and where: current_user, current_setting, version.
mod time; // epoch_ns.
pub mod output; // Values as text.
pub mod zone; // Wall clocks.
pub(crate) mod bucket; // time_bucket, time_bucket_gapfill.
pub(crate) mod aggregates; // first, last, increase, rate, percentiles, histograms.
pub(crate) mod fill; // locf, interpolate.
pub(crate) mod calendar; // date_trunc, date_part, timezone, age.
mod to_char; // Times, intervals and numbers by templates.
pub(crate) mod interval; // Intervals multiplied, and how long they are.
mod inet; // Addresses and networks.
pub(crate) mod json; // What is in a JSON value, and how one is made.
mod plain; // Small functions, and other names of the engine's.
pub(crate) mod regex; // Regular expressions.
pub(crate) mod moment; // Texts that are times.
pub(crate) mod operators; // Operators the planner does not know.
pub(crate) mod written; // Times and intervals as they are written.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};

use crate::pg_catalog::Keywords;

/// Types whose values are oids and whose text is a name.
pub const REGISTER_TYPES: [&str; 9] = [
    "regclass",
    "regtype",
    "regproc",
    "regprocedure",
    "regnamespace",
    "regrole",
    "regoper",
    "regoperator",
    "regcollation",
];

/// The names of all functions that can be called.
pub(crate) fn names() -> &'static HashSet<String> {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let state = SessionStateBuilder::new().with_default_features().build();
        let state = register(state).expect("the engine registers the same functions when it starts");
        let scalars = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
        scalars.chain(state.window_functions().keys()).chain(state.table_functions().keys()).cloned().collect()
    });
    &NAMES
}

/// Registers all functions of ours; a function of the same name is replaced.
pub(crate) fn register(mut state: SessionState) -> Result<SessionState> {
    state.register_udf(Arc::new(empty::array_or_empty()))?;
    for function in session::all().into_iter().chain(crate::pg_catalog::functions::all()).chain(time::all()) {
        state.register_udf(Arc::new(function))?;
    }
    state.register_udtf("pg_get_keywords", Arc::new(Keywords));
    let ours = [
        bucket::all(),
        fill::all(),
        calendar::all(),
        to_char::all(),
        json::all(),
        regex::all(),
        inet::all(),
        plain::all(),
    ];
    let ours = ours.into_iter().chain([vec![moment::timestamptz_in()]]);
    for function in ours.flatten() {
        state.register_udf(Arc::new(function))?;
    }
    for function in aggregates::all().into_iter().chain(json::aggregates()).chain(plain::aggregates()) {
        state.register_udaf(Arc::new(function))?;
    }
    Ok(state)
}

/// The elements of a text like `{a,"b c",NULL}`; `None` when it is not of this form.
pub fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let (mut element, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut characters = inner.chars();
    let finish = |element: &mut String, was_quoted: &mut bool| {
        let plain = std::mem::take(element);
        let value = if *was_quoted { plain } else { plain.trim().to_owned() };
        let null = !*was_quoted && value.eq_ignore_ascii_case("null");
        *was_quoted = false;
        (!null).then_some(value)
    };
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            '\\' => element.push(characters.next()?),
            ',' if !quoted => elements.push(finish(&mut element, &mut was_quoted)),
            '{' | '}' if !quoted => return None,
            other => element.push(other),
        }
    }
    if quoted {
        return None;
    }
    if !(elements.is_empty() && element.trim().is_empty() && !was_quoted) {
        elements.push(finish(&mut element, &mut was_quoted));
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_texts_are_read_as_postgresql_reads_them() {
        let some = |values: &[&str]| Some(values.iter().map(|value| Some((*value).to_owned())).collect());
        assert_eq!(array_elements("{}"), Some(vec![]));
        assert_eq!(array_elements("{a, b}"), some(&["a", "b"]));
        assert_eq!(array_elements(r#"{"a,b","c\"d"}"#), some(&["a,b", "c\"d"]));
        assert_eq!(array_elements("{NULL,\"NULL\"}"), Some(vec![None, Some("NULL".into())]));
        assert_eq!(array_elements("a,b"), None);
        assert_eq!(array_elements("{\"a}"), None);
    }
}
