//! Random calls of functions of time and text: the same answers as a real PostgreSQL gives.

use crate::oracle::{self, Oracle};
use crate::raw::Raw;
use crate::support::Server;

/// Statements of a run, and expressions in each.
const STATEMENTS: usize = 60;
const EXPRESSIONS: usize = 20;

/// A generator that gives the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn some_of(&mut self, choices: &[&str], max: u64) -> String {
        (0..=self.below(max)).map(|_| self.one_of(choices)).collect()
    }
}

const ZONES: [&str; 6] =
    ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"];

/// Without millennia: the second one began before the first nanosecond that we can count.
const UNITS: [&str; 12] = [
    "microseconds",
    "milliseconds",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
];

const FIELDS: [&str; 17] = [
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "millennium",
    "dow",
    "isodow",
    "doy",
    "isoyear",
    "milliseconds",
    "microseconds",
];

const OF_TIMES: [&str; 46] = [
    "YYYY", "YYY", "YY", "Y", "Y,YYY", "IYYY", "IYY", "IY", "I", "MM", "MON", "Mon", "mon", "MONTH", "Month", "month",
    "RM", "DD", "DDD", "D", "ID", "IDDD", "DAY", "Day", "Dy", "W", "WW", "IW", "Q", "CC", "J", "HH", "HH24", "MI",
    "SS", "MS", "US", "FF4", "SSSS", "AM", "p.m.", "AD", "TZ", "OF", "FMDDth", "\"of\"",
];

const OF_INTERVALS: [&str; 13] =
    ["HH24", "HH12", "MI", "SS", "MS", "US", "DD", "MM", "YYYY", "SSSS", "FMHH24", ":", " "];

const NUMBERS: [&str; 16] = [
    "0", "1", "-1", "0.5", "-0.5", "12", "-12", "12.34", "123.456", "-99.99", "999.995", "1234", "0.001", "100",
    "10.10", "-0.04",
];

fn time(random: &mut Random) -> String {
    let year = random.one_of(&["1905", "1970", "1999", "2000", "2024", "2026", "2026", "2037"]);
    let (month, day) = (random.below(12) + 1, random.below(28) + 1);
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    let fraction = random.one_of(&["", ".5", ".123456"]);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}")
}

fn interval(random: &mut Random) -> String {
    let units = ["years", "mons", "days", "hours", "minutes", "seconds"];
    let first = random.below(units.len() as u64) as usize;
    let parts = units[first..].iter().map(|unit| format!("{} {unit}", random.below(100) as i64 - 50));
    parts.collect::<Vec<_>>().join(" ")
}

fn number_template(random: &mut Random) -> String {
    let mut template = String::from(random.one_of(&["9", "0"]));
    template.push_str(&random.some_of(&["9", "9", "0", ",", "G"], 4));
    if random.below(2) == 0 {
        template.push_str(random.one_of(&[".", "D"]));
        template.push_str(&random.some_of(&["9", "9", "0"], 3));
    }
    let template = match random.below(10) {
        0 => format!("S{template}"),
        1 => format!("{template}S"),
        2 => format!("{template}MI"),
        3 => format!("SG{template}"),
        4 => format!("{template}PR"),
        _ => template,
    };
    if random.below(5) < 2 { format!("FM{template}") } else { template }
}

fn expression(random: &mut Random) -> String {
    match random.below(12) {
        0..=3 => format!("'[' || to_char({}, '{}') || ']'", random.one_of(&NUMBERS), number_template(random)),
        4 => format!("to_char(timestamptz '{}+00', '{}')", time(random), random.some_of(&OF_TIMES, 4)),
        5 => format!("to_char(interval '{}', '{}')", interval(random), random.some_of(&OF_INTERVALS, 3)),
        6 => {
            let (unit, zone) = (random.one_of(&UNITS), random.one_of(&ZONES));
            format!("date_trunc('{unit}', timestamptz '{}+00', '{zone}')", time(random))
        }
        7 => format!("timestamp '{}' AT TIME ZONE '{}'", time(random), random.one_of(&ZONES)),
        8 => format!("timestamptz '{}+00' AT TIME ZONE '{}'", time(random), random.one_of(&ZONES)),
        9 => format!("age(timestamp '{}', timestamp '{}')", time(random), time(random)),
        10 => match random.below(3) {
            0 => format!("justify_interval(interval '{}')", interval(random)),
            1 => format!("interval '{}' * {}", interval(random), random.one_of(&["2", "0.5", "-1.5", "1.25"])),
            _ => format!("-interval '{}'", interval(random)),
        },
        _ => format!("date_part('{}', timestamp '{}')", random.one_of(&FIELDS), time(random)),
    }
}

async fn answer(raw: &mut Raw, sql: &str) -> Vec<String> {
    let replies = raw.query(sql).await;
    let shown = replies.iter().find_map(|reply| match reply.kind {
        b'D' => Some(reply.row().into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())).collect()),
        b'E' => Some(vec![format!("{} {}", reply.field(b'C').unwrap(), reply.field(b'M').unwrap())]),
        _ => None,
    });
    shown.expect("a SELECT has a row or an error")
}

#[test]
fn random_calls_are_answered_as_by_postgresql() {
    let Some(oracle) = Oracle::start() else { return };
    let server = Server::without_probes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let differences = runtime.block_on(async {
        let mut theirs = Raw::at(oracle.folder.path(), oracle::PORT).await;
        let mut ours = Raw::at(server.data_dir(), server.address("postgres").port()).await;
        theirs.log_in().await;
        ours.log_in().await;
        let (mut random, mut differences) = (Random(0x5eed_cafe), Vec::new());
        for _ in 0..STATEMENTS {
            let expressions: Vec<String> = (0..EXPRESSIONS).map(|_| expression(&mut random)).collect();
            let sql = format!("SELECT {}", expressions.join(", "));
            let (expected, given) = (answer(&mut theirs, &sql).await, answer(&mut ours, &sql).await);
            assert_eq!(expected.len(), EXPRESSIONS, "{sql}: {expected:?}");
            assert_eq!(given.len(), EXPRESSIONS, "{sql}: {given:?}");
            for ((expression, expected), given) in expressions.iter().zip(expected).zip(given) {
                if expected != given {
                    differences.push(format!("{expression}: {expected:?}, not {given:?}"));
                }
            }
        }
        differences
    });
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
