//! Random queries that aggregate, and their words for us and for DataFusion.

use proptest::prelude::*;
use proptest::sample::select;

/// Columns of [`crate::workload::Event`] that are numbers.
const NUMBERS: [&str; 3] = ["fd", "size", "flags"];

/// Those that are texts: a name between `$`, for a pointer must be read first.
const TEXTS: [&str; 2] = ["$name$", "$value$"];

/// An aggregate over events.
#[derive(Clone, Debug)]
pub struct Call {
    /// Name of the function; `count(DISTINCT` for that one.
    pub function: &'static str,
    /// `None`: `*`.
    pub argument: Option<String>,
    /// `FILTER (WHERE …)`
    pub condition: Option<String>,
    /// Whether the argument is in double precision.
    pub of_floats: bool,
}

impl Call {
    /// Whether two right computations of it may differ: sums in double precision depend on their order.
    pub fn is_rounded(&self) -> bool {
        self.of_floats && self.function == "sum"
            || !matches!(self.function, "count" | "count(DISTINCT" | "sum" | "min" | "max")
    }

    /// The call over this argument and condition.
    pub fn text(&self, argument: &str, condition: Option<&str>) -> String {
        let open = if self.function.contains('(') { " " } else { "(" };
        let filter = condition.map(|condition| format!(" FILTER (WHERE {condition})")).unwrap_or_default();
        format!("{}{open}{argument}){filter}", self.function)
    }
}

/// A column of the result over groups and aggregates: `{g0}`, `{a0}`.
#[derive(Clone, Debug)]
pub struct Output {
    /// The expression.
    pub template: String,
    /// The aggregate that makes it inexact.
    pub rounded: Option<usize>,
}

/// A term of ORDER BY over groups and aggregates.
#[derive(Clone, Debug)]
pub struct Order {
    /// The expression.
    pub template: String,
    /// `ASC`, `DESC` and where NULL goes.
    pub direction: &'static str,
}

/// A query on the events.
#[derive(Clone, Debug)]
pub struct Query {
    /// GROUP BY
    pub keys: Vec<String>,
    /// How each key is written in GROUP BY: its number, its name, itself.
    pub key_forms: Vec<u8>,
    /// What is computed.
    pub calls: Vec<Call>,
    /// Columns after the keys.
    pub outputs: Vec<Output>,
    /// WHERE
    pub filter: Option<String>,
    /// HAVING
    pub having: Option<String>,
    /// ORDER BY: all keys are behind it, so that the order is one.
    pub order: Option<Vec<Order>>,
    /// LIMIT, where there is an order.
    pub limit: Option<usize>,
}

impl Query {
    /// The statement on the hook.
    pub fn ours(&self, hook: &str, only: &str) -> String {
        let names = self.keys.iter().enumerate().map(|(index, key)| format!("{} AS g{index}", ours(key)));
        let outputs = self.outputs.iter().enumerate();
        let outputs = outputs.map(|(index, output)| format!("{} AS o{index}", self.fill_ours(&output.template)));
        let selected: Vec<String> = names.chain(outputs).collect();
        let filter = self.filter.iter().map(|filter| format!(" AND {}", ours(filter))).collect::<String>();
        let mut text = format!("SELECT {} FROM {hook} WHERE {only}{filter}", selected.join(", "));
        if !self.keys.is_empty() {
            let groups: Vec<String> = self
                .keys
                .iter()
                .zip(&self.key_forms)
                .enumerate()
                .map(|(index, (key, form))| match form {
                    0 => (index + 1).to_string(),
                    1 => format!("g{index}"),
                    _ => ours(key),
                })
                .collect();
            text += &format!(" GROUP BY {}", groups.join(", "));
        }
        if let Some(having) = &self.having {
            text += &format!(" HAVING {}", self.fill_ours(having));
        }
        if let Some(order) = &self.order {
            let terms =
                order.iter().map(|Order { template, direction }| format!("{} {direction}", self.fill_ours(template)));
            let keys = self.keys.iter().map(|key| ours(key));
            text += &format!(" ORDER BY {}", terms.chain(keys).collect::<Vec<_>>().join(", "));
        }
        if let Some(limit) = self.limit {
            text += &format!(" LIMIT {limit}");
        }
        text
    }

    fn fill_ours(&self, template: &str) -> String {
        let mut text = template.to_owned();
        for (index, key) in self.keys.iter().enumerate() {
            text = text.replace(&format!("{{g{index}}}"), &ours(key));
        }
        for (index, call) in self.calls.iter().enumerate() {
            let argument = call.argument.as_deref().map_or("*".to_owned(), ours);
            let call = call.text(&argument, call.condition.as_deref().map(ours).as_deref());
            text = text.replace(&format!("{{a{index}}}"), &call);
        }
        text
    }
}

/// An expression in a query on the hook: texts are behind pointers.
fn ours(expression: &str) -> String {
    expression.replace("$name$", "user_string(name, 32)").replace("$value$", "user_string(value, 32)")
}

/// An expression over the columns that hold the same values.
pub fn plain(expression: &str) -> String {
    expression.replace('$', "")
}

/// A template over the columns of groups and aggregates.
pub fn over_groups(template: &str) -> String {
    template.replace(['{', '}'], "")
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        (-3_i64..=7).prop_map(|number| format!("({number})")),
        select(&["2147483647", "4294967296"]).prop_map(str::to_owned)
    ]
}

fn text_literal() -> impl Strategy<Value = &'static str> {
    select(&["'a'", "''", "'ab'", "'user.x'", "'ä'"])
}

fn number(depth: u32) -> BoxedStrategy<String> {
    let column = select(&NUMBERS).prop_map(str::to_owned);
    if depth == 0 {
        return column.boxed();
    }
    let inner = || number(depth - 1);
    let operator = select(&["+", "-", "*", "/", "%"]);
    prop_oneof![
        4 => column,
        3 => (inner(), operator, prop_oneof![inner(), literal()]).prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => (truth(depth - 1), inner(), prop_oneof![inner(), literal()])
            .prop_map(|(when, then, other)| format!("CASE WHEN {when} THEN {then} ELSE {other} END")),
        1 => (truth(depth - 1), inner()).prop_map(|(when, then)| format!("CASE WHEN {when} THEN {then} END")),
        1 => (inner(), inner()).prop_map(|(left, right)| format!("coalesce({left}, {right})")),
        // Not the kernel's: evaluated once for each of its groups.
        1 => select(&TEXTS).prop_map(|text| format!("character_length({text})")),
    ]
    .boxed()
}

fn truth(depth: u32) -> BoxedStrategy<String> {
    let text = || select(&TEXTS);
    let leaf = prop_oneof![
        (text(), select(&["=", "<>"]), text_literal())
            .prop_map(|(text, operator, literal)| format!("({text} {operator} {literal})")),
        (text(), select(&["", "NOT "]), select(&["'a%'", "'user.%'", "'%b'"]))
            .prop_map(|(text, not, pattern)| format!("({text} {not}LIKE {pattern})")),
        (text(), select(&["", "NOT "])).prop_map(|(text, not)| format!("({text} IS {not}NULL)")),
        (number(0), select(&["=", "<", ">="]), literal())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || truth(depth - 1);
    prop_oneof![
        3 => leaf,
        2 => (number(depth), select(&["=", "<>", "<", ">="]), prop_oneof![number(depth - 1), literal()])
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => (inner(), select(&["AND", "OR"]), inner()).prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => inner().prop_map(|value| format!("(NOT {value})")),
    ]
    .boxed()
}

fn key() -> BoxedStrategy<String> {
    prop_oneof![
        3 => number(0),
        2 => number(2),
        3 => select(&TEXTS).prop_map(str::to_owned),
        1 => select(&TEXTS).prop_map(|text| format!("upper({text})")),
        1 => truth(1),
        1 => (truth(1), select(&TEXTS)).prop_map(|(when, text)| format!("CASE WHEN {when} THEN 'yes' ELSE {text} END")),
    ]
    .boxed()
}

fn call() -> BoxedStrategy<Call> {
    let condition = || proptest::option::weighted(0.3, truth(1));
    let of_numbers = (
        select(&["sum", "min", "max", "avg", "stddev", "stddev_pop", "var", "var_pop", "count", "count(DISTINCT"]),
        number(2),
        condition(),
    )
        .prop_map(|(function, argument, condition)| Call {
            function,
            argument: Some(argument),
            condition,
            of_floats: false,
        });
    let of_floats =
        (select(&["sum", "min", "max", "avg", "stddev", "var_pop", "count(DISTINCT"]), number(1), condition())
            .prop_map(|(function, argument, condition)| Call {
                function,
                argument: Some(format!("({argument} / 2.0)")),
                condition,
                of_floats: true,
            });
    let of_others = (
        select(&["min", "max", "count", "count(DISTINCT"]),
        prop_oneof![
            select(&TEXTS).prop_map(str::to_owned),
            truth(1),
            select(&TEXTS).prop_map(|text| format!("upper({text})"))
        ],
        condition(),
    )
        .prop_map(|(function, argument, condition)| Call {
            function,
            argument: Some(argument),
            condition,
            of_floats: false,
        });
    let of_events =
        condition().prop_map(|condition| Call { function: "count", argument: None, condition, of_floats: false });
    prop_oneof![6 => of_numbers, 1 => of_floats, 2 => of_others, 2 => of_events].boxed()
}

/// Whether the result is an integer of 64 bits that two right computations agree on.
fn is_exact_number(call: &Call) -> bool {
    call.function.starts_with("count") || (call.function == "sum" && !call.of_floats)
}

fn direction() -> impl Strategy<Value = &'static str> {
    select(&["", "ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST"])
}

/// A query; all of it is made of what was drawn, so that a failure shrinks.
pub fn query() -> impl Strategy<Value = Query> {
    let keys = proptest::collection::vec((key(), 0_u8..3), 0..3);
    let calls = proptest::collection::vec(call(), 1..5);
    let filter = proptest::option::weighted(0.5, truth(2));
    let combined = proptest::option::of((
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        select(&["+", "-", "*", "/", "%"]),
    ));
    let having = proptest::option::weighted(
        0.4,
        (any::<prop::sample::Index>(), select(&["{a} > 1", "{a} <> 2", "{a} IS NULL", "{a} % 3 = 0", "10 / {a} > 1"])),
    );
    let order =
        proptest::option::weighted(0.4, proptest::collection::vec((any::<prop::sample::Index>(), direction()), 0..3));
    (keys, calls, filter, combined, having, order, proptest::option::of(0_usize..6)).prop_map(
        |(keys, calls, filter, combined, having, order, limit)| {
            let (keys, key_forms): (Vec<String>, Vec<u8>) = keys.into_iter().unzip();
            let mut outputs: Vec<Output> = (0..calls.len())
                .map(|index| Output {
                    template: format!("{{a{index}}}"),
                    rounded: calls[index].is_rounded().then_some(index),
                })
                .collect();
            let exact: Vec<usize> = (0..calls.len()).filter(|index| is_exact_number(&calls[*index])).collect();
            let pick = |index: prop::sample::Index| {
                (!exact.is_empty()).then(|| format!("{{a{}}}", exact[index.index(exact.len())]))
            };
            if let Some((left, right, operator)) = combined
                && let (Some(left), Some(right)) = (pick(left), pick(right))
            {
                outputs.push(Output { template: format!("({left} {operator} {right})"), rounded: None });
            }
            let having = having.and_then(|(index, template)| Some(template.replace("{a}", &pick(index)?)));
            let order: Option<Vec<Order>> = order.map(|terms| {
                let term = |(index, direction)| {
                    let index: prop::sample::Index = index;
                    Some(Order { template: pick(index)?, direction })
                };
                terms.into_iter().filter_map(term).collect()
            });
            // Without a key the one row has no order.
            let order = order.filter(|order| !keys.is_empty() || !order.is_empty());
            let limit = limit.filter(|_| order.is_some());
            Query { keys, key_forms, calls, outputs, filter, having, order, limit }
        },
    )
}
