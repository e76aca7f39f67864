//! Macros and variables: how Grafana fills them in before a query is sent.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

/// The time that a dashboard shows, and the length of one of its points.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Its begin, Unix time; ns.
    pub from_ns: i64,
    /// Its end, Unix time; ns.
    pub to_ns: i64,
    /// How long a point of a graph is; ms.
    pub interval_ms: u32,
}

/// Whether the data source says that the server has TimescaleDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timescale {
    /// Times are grouped by `time_bucket`.
    On,
    /// Times are grouped by arithmetic.
    Off,
}

const SECOND_NS: i64 = 1_000_000_000;

impl Range {
    fn from(self) -> String {
        rfc3339(self.from_ns)
    }

    fn to(self) -> String {
        rfc3339(self.to_ns)
    }

    /// The query as it is sent: the interval first, then the macros from left to right.
    pub fn expand(self, sql: &str, timescale: Timescale) -> String {
        let sql = sql
            .replace("$__interval_ms", &self.interval_ms.to_string())
            .replace("$__interval", &interval(self.interval_ms))
            .replace("$__unixEpochFrom()", &(self.from_ns / SECOND_NS).to_string())
            .replace("$__unixEpochTo()", &(self.to_ns / SECOND_NS).to_string());
        let (mut expanded, mut rest) = (String::new(), sql.as_str());
        while let Some(call) = next_call(rest) {
            expanded.push_str(&rest[..call.begin]);
            let after = &rest[call.end..];
            // An old query names its group by the comma that follows.
            let named = call.name == "__timeGroup" && after.starts_with(',');
            let name = if named { "__timeGroupAlias" } else { call.name };
            expanded.push_str(&self.evaluate(name, &call.arguments, timescale));
            rest = after;
        }
        expanded + rest
    }

    fn evaluate(self, name: &str, arguments: &[&str], timescale: Timescale) -> String {
        if let Some(group) = name.strip_suffix("Alias") {
            return self.evaluate(group, arguments, timescale) + " AS \"time\"";
        }
        let column = arguments[0];
        let (from_s, to_s) = (self.from_ns / SECOND_NS, self.to_ns / SECOND_NS);
        match name {
            "__time" => format!("{column} AS \"time\""),
            "__timeEpoch" => format!("extract(epoch from {column}) as \"time\""),
            "__timeFilter" => format!("{column} BETWEEN '{}' AND '{}'", self.from(), self.to()),
            "__timeFrom" => format!("'{}'", self.from()),
            "__timeTo" => format!("'{}'", self.to()),
            "__timeGroup" => {
                let seconds = seconds(arguments[1]);
                match timescale {
                    Timescale::On => format!("time_bucket('{seconds:.3}s',{column})"),
                    Timescale::Off => format!("floor(extract(epoch from {column})/{seconds})*{seconds}"),
                }
            }
            "__unixEpochFilter" => format!("{column} >= {from_s} AND {column} <= {to_s}"),
            "__unixEpochNanoFilter" => format!("{column} >= {} AND {column} <= {}", self.from_ns, self.to_ns),
            "__unixEpochNanoFrom" => self.from_ns.to_string(),
            "__unixEpochNanoTo" => self.to_ns.to_string(),
            "__unixEpochGroup" => {
                let seconds = seconds(arguments[1]);
                format!("floor(({column})/{seconds})*{seconds}")
            }
            other => panic!("Grafana knows no macro {other}"),
        }
    }
}

fn rfc3339(unix_ns: i64) -> String {
    let text = DateTime::<Utc>::from_timestamp_nanos(unix_ns).to_rfc3339_opts(SecondsFormat::Nanos, true);
    let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}

/// The interval as Grafana writes it: whole hours, minutes or seconds, else milliseconds.
fn interval(interval_ms: u32) -> String {
    match interval_ms {
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// Seconds of an interval as a query writes it: `5m`, `'500ms'`.
fn seconds(interval: &str) -> f64 {
    let interval = interval.trim_matches('\'');
    let unit_at = interval.find(|c: char| c.is_ascii_alphabetic()).expect("an interval has a unit");
    let number: f64 = interval[..unit_at].parse().expect("an interval begins with a number");
    number
        * match &interval[unit_at..] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            unit => panic!("no unit of an interval: {unit}"),
        }
}

struct Call<'a> {
    begin: usize,
    end: usize,
    name: &'a str,
    arguments: Vec<&'a str>,
}

/// The next `$name(arguments)`: up to the first closing parenthesis, as Grafana has it.
fn next_call(sql: &str) -> Option<Call<'_>> {
    for (begin, _) in sql.match_indices('$') {
        let after = &sql[begin + 1..];
        let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if length == 0 || !after[length..].starts_with('(') {
            continue;
        }
        let inside = &after[length + 1..];
        let close = inside.find(')')?;
        let arguments = inside[..close].split(',').map(|argument| argument.trim_matches(' ')).collect();
        return Some(Call { begin, end: begin + 1 + length + 1 + close + 1, name: &after[..length], arguments });
    }
    None
}

/// A variable's choice.
#[derive(Clone, Debug)]
pub enum Value {
    /// One value of a variable that has one.
    One(String),
    /// The values of a variable that may have several.
    Several(Vec<String>),
    /// All values, by the text that the variable has for that.
    All(String),
}

/// Fills in `$name`, `${name}` and `${name:regex}`: the last is a pattern of all values, the others are quoted where a
/// variable may have several.
pub fn interpolate(sql: &str, variables: &BTreeMap<String, Value>) -> String {
    let mut sql = sql.to_owned();
    // The longest name first, so that none is taken for the begin of another.
    let mut names: Vec<&String> = variables.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        let (quoted, pattern) = match &variables[name] {
            Value::One(value) => (value.replace('\'', "''"), escaped(value)),
            Value::Several(values) => {
                let quoted = values.iter().map(|value| format!("'{}'", value.replace('\'', "''")));
                let patterns: Vec<String> = values.iter().map(|value| escaped(value)).collect();
                let several = || format!("({})", patterns.join("|"));
                let pattern = if patterns.len() == 1 { patterns[0].clone() } else { several() };
                (quoted.collect::<Vec<_>>().join(","), pattern)
            }
            Value::All(text) => (text.clone(), text.clone()),
        };
        sql = sql.replace(&format!("${{{name}:regex}}"), &pattern);
        sql = sql.replace(&format!("${{{name}}}"), &quoted).replace(&format!("${name}"), &quoted);
    }
    sql
}

/// A text as a pattern that only it matches.
fn escaped(value: &str) -> String {
    let mut pattern = String::new();
    for character in value.chars() {
        if "\\^$*+?.()|[]{}/".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[test]
fn macros_become_what_grafana_sends() {
    let range = Range { from_ns: 1_767_225_600 * SECOND_NS, to_ns: 1_767_229_200_123_456_789, interval_ms: 300_000 };
    let check = |sql: &str, expected: &str| assert_eq!(range.expand(sql, Timescale::Off), expected);
    check("SELECT $__time(t)", "SELECT t AS \"time\"");
    check("SELECT $__timeEpoch(t)", "SELECT extract(epoch from t) as \"time\"");
    check("$__timeFilter(t)", "t BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-01T01:00:00.123456789Z'");
    check("$__timeFrom() $__timeTo()", "'2026-01-01T00:00:00Z' '2026-01-01T01:00:00.123456789Z'");
    check("$__timeGroup(t,'5m')", "floor(extract(epoch from t)/300)*300");
    check("$__timeGroup(t, 500ms), x", "floor(extract(epoch from t)/0.5)*0.5 AS \"time\", x");
    check("$__timeGroupAlias(t,$__interval,NULL)", "floor(extract(epoch from t)/300)*300 AS \"time\"");
    check("$__unixEpochFilter(t)", "t >= 1767225600 AND t <= 1767229200");
    check("$__unixEpochFrom() $__unixEpochTo()", "1767225600 1767229200");
    check("$__unixEpochNanoFilter(t)", "t >= 1767225600000000000 AND t <= 1767229200123456789");
    check("$__unixEpochNanoFrom() $__unixEpochNanoTo()", "1767225600000000000 1767229200123456789");
    check("$__unixEpochGroupAlias(t,'1h')", "floor((t)/3600)*3600 AS \"time\"");
    check("$__interval_ms $1 '$'", "300000 $1 '$'");
    let bucket = range.expand("$__timeGroup(t,'1m')", Timescale::On);
    assert_eq!(bucket, "time_bucket('60.000s',t)");
}

#[test]
fn variables_are_quoted_where_they_may_be_several() {
    let variables = BTreeMap::from([
        ("node".to_owned(), Value::Several(vec!["a.b".to_owned(), "it's".to_owned()])),
        ("nodes".to_owned(), Value::One("x'y".to_owned())),
        ("all".to_owned(), Value::All(".*".to_owned())),
    ]);
    let sql = interpolate("$node ${node} ^${node:regex}$ '$nodes' ^${all:regex}$", &variables);
    assert_eq!(sql, "'a.b','it''s' 'a.b','it''s' ^(a\\.b|it's)$ 'x''y' ^.*$");
}
