//! Functions of regular expressions that the engine lacks.

use std::cell::RefCell;

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState};
use regex::{Regex, RegexBuilder};

use super::by_row::{ByRow, list, number, text, wrong};

/// `substring(text FROM pattern)`, as a function.
pub(crate) const SUBSTRING: &str = "regexp_substring";

/// Bytes that a compiled expression may take; a larger one is refused (2201B).
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// All of them; those whose names begin with `array_of_` give the rows of a function as an array.
pub(super) fn all() -> Vec<ScalarUDF> {
    let texts = || DataType::new_list(DataType::Utf8, true);
    let functions = vec![
        ByRow::new("array_of_regexp_matches", 2, 3, DataType::new_list(texts(), true), matches),
        ByRow::new("regexp_split_to_array", 2, 3, texts(), split),
        ByRow::new("array_of_regexp_split_to_table", 2, 3, texts(), split),
        ByRow::new("regexp_substr", 2, 6, DataType::Utf8, substr),
        ByRow::new(SUBSTRING, 2, 2, DataType::Utf8, |_, values| {
            let (Some(searched), Some(pattern)) = (text(&values[0]), text(&values[1])) else {
                return wrong("substring", &values[1]);
            };
            with_expression(pattern, "", |expression| {
                let found = expression.captures(searched);
                // The first group, or everything where there is none.
                let group = usize::from(expression.captures_len() > 1);
                ScalarValue::Utf8(found.and_then(|found| found.get(group)).map(|part| part.as_str().to_owned()))
            })
        }),
    ];
    functions.into_iter().map(ByRow::into_udf).collect()
}

/// Calls `use_it` with a compiled expression; the last one is kept, because rows mostly share theirs.
fn with_expression<T>(pattern: &str, flags: &str, use_it: impl FnOnce(&Regex) -> T) -> Result<T> {
    thread_local! {
        static LAST: RefCell<Option<(String, String, Regex)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| {
        if let Some((known, with, expression)) = last
            && known == pattern
            && with == flags
        {
            return Ok(use_it(expression));
        }
        let expression = compiled(pattern, flags)?;
        let (_, _, expression) = last.insert((pattern.to_owned(), flags.to_owned(), expression));
        Ok(use_it(expression))
    })
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    let refused = |state, message: String| Err(DataFusionError::External(Box::new(SqlError::new(state, message))));
    let mut builder = RegexBuilder::new(pattern);
    // A dot is any character, and lines are not told apart, unless a flag says so.
    builder.size_limit(EXPRESSION_BYTES_MAX).dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'g' | 'c' | 't' | 's' => {}
            'i' => drop(builder.case_insensitive(true)),
            'n' | 'm' => drop(builder.multi_line(true).dot_matches_new_line(false)),
            'p' => drop(builder.dot_matches_new_line(false)),
            'w' => drop(builder.multi_line(true)),
            'x' => drop(builder.ignore_whitespace(true)),
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return refused(SqlState::INVALID_PARAMETER_VALUE, message);
            }
        }
    }
    match builder.build() {
        Ok(expression) => Ok(expression),
        Err(error) => {
            let line = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            refused(SqlState("2201B"), format!("invalid regular expression: {line}"))
        }
    }
}

/// The groups of the first match, or of each with the flag `g`; the whole match where there are no groups.
fn matches(_: &crate::engine::statement::Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let (Some(searched), Some(pattern)) = (text(&values[0]), text(&values[1])) else {
        return wrong("regexp_matches", &values[0]);
    };
    let flags = values.get(2).and_then(text).unwrap_or_default();
    let found = with_expression(pattern, flags, |expression| {
        let first = usize::from(expression.captures_len() > 1);
        let rows_max = if flags.contains('g') { usize::MAX } else { 1 };
        let rows = expression.captures_iter(searched).take(rows_max).map(|found| {
            let groups = (first..found.len())
                .map(|group| ScalarValue::Utf8(found.get(group).map(|part| part.as_str().to_owned())));
            let groups: Vec<ScalarValue> = groups.collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&groups, &DataType::Utf8))
        });
        rows.collect::<Vec<_>>()
    })?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&found, &DataType::new_list(DataType::Utf8, true))))
}

/// What lies between the matches.
fn split(_: &crate::engine::statement::Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let (Some(searched), Some(pattern)) = (text(&values[0]), text(&values[1])) else {
        return wrong("regexp_split_to_array", &values[0]);
    };
    let flags = values.get(2).and_then(text).unwrap_or_default();
    with_expression(pattern, flags, |expression| {
        let (mut parts, mut begin) = (Vec::new(), 0);
        for found in expression.find_iter(searched) {
            // Nothing at the begin, at the end or behind another match parts nothing.
            if found.is_empty() && (found.start() == begin || found.start() == searched.len()) {
                continue;
            }
            parts.push(searched[begin..found.start()].to_owned());
            begin = found.end();
        }
        parts.push(searched[begin..].to_owned());
        list(&parts)
    })
}

/// `regexp_substr(text, pattern [, start [, nth [, flags [, group]]]])`
fn substr(_: &crate::engine::statement::Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let (Some(searched), Some(pattern)) = (text(&values[0]), text(&values[1])) else {
        return wrong("regexp_substr", &values[0]);
    };
    let whole = |index: usize, otherwise: usize| match values.get(index) {
        None => Ok(otherwise),
        Some(value) => number(value).and_then(|number| usize::try_from(number).ok()).ok_or_else(|| {
            let message = format!("invalid value for parameter {} of regexp_substr", index + 1);
            DataFusionError::External(Box::new(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)))
        }),
    };
    let (start, nth, group) = (whole(2, 1)?.max(1), whole(3, 1)?.max(1), whole(5, 0)?);
    let flags = values.get(4).and_then(text).unwrap_or_default();
    let begin = searched.char_indices().nth(start - 1).map_or(searched.len(), |(index, _)| index);
    with_expression(pattern, flags, |expression| {
        let found = expression.captures_iter(&searched[begin..]).nth(nth - 1);
        ScalarValue::Utf8(found.and_then(|found| found.get(group).map(|part| part.as_str().to_owned())))
    })
}
