//! Templates of times and intervals.

use chrono::{Datelike, NaiveDate};

use super::clock::Clock;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Names of months and days are padded to the longest.
const NAME_WIDTH: usize = 9;

/// Patterns, those first that begin with others. Each is written in capitals or in small letters throughout.
const PATTERNS: [&str; 51] = [
    "SSSSS", "SSSS", "Y,YYY", "IYYY", "YYYY", "IDDD", "MONTH", "A.D.", "B.C.", "A.M.", "P.M.", "HH24", "HH12", "IYY",
    "YYY", "DDD", "DAY", "MON", "TZH", "TZM", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "AD", "BC", "AM", "PM", "CC",
    "DD", "DY", "HH", "ID", "IW", "IY", "MI", "MM", "MS", "OF", "RM", "SS", "TZ", "US", "WW", "YY", "D", "I", "J", "Q",
];

/// One-letter patterns that are no beginning of those above.
const LETTERS: [&str; 2] = ["W", "Y"];

/// How the letters of a name are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Capitals,
    Small,
    /// `Month`, `Mon`, `Day`, `Dy`.
    Title,
}

impl Case {
    fn of(self, name: &str) -> String {
        match self {
            Case::Capitals => name.to_uppercase(),
            Case::Small => name.to_lowercase(),
            Case::Title => name.to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
enum Item {
    Literal(char),
    Pattern {
        name: &'static str,
        case: Case,
        /// `FM`: without blanks and zeros in front.
        fill: bool,
        /// `TH` or `th` behind it.
        ordinal: Option<Case>,
    },
}

/// A template that was read.
#[derive(Clone, Debug)]
pub(super) struct Template {
    items: Vec<Item>,
}

fn pattern(text: &str) -> Option<(&'static str, Case)> {
    for name in PATTERNS.into_iter().chain(LETTERS) {
        let Some(start) = text.get(..name.len()) else { continue };
        if start == name {
            return Some((name, Case::Capitals));
        }
        if start == name.to_lowercase() {
            return Some((name, Case::Small));
        }
        let title = format!("{}{}", &name[..1], name[1..].to_lowercase());
        if ["MONTH", "MON", "DAY", "DY"].contains(&name) && start == title {
            return Some((name, Case::Title));
        }
    }
    None
}

fn strip<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word).or_else(|| text.strip_prefix(&word.to_lowercase()))
}

impl Template {
    /// Reads a template; whatever is no pattern stands for itself.
    pub(super) fn read(mut text: &str) -> Template {
        let mut items = Vec::new();
        while let Some(first) = text.chars().next() {
            let mut rest = text;
            let mut fill = false;
            loop {
                if let Some(after) = strip(rest, "FM") {
                    (rest, fill) = (after, true);
                } else if let Some(after) = strip(rest, "TM").or_else(|| strip(rest, "FX")) {
                    rest = after;
                } else {
                    break;
                }
            }
            if let Some((name, case)) = pattern(rest) {
                rest = &rest[name.len()..];
                let ordinal = if rest.starts_with("TH") {
                    Some(Case::Capitals)
                } else {
                    rest.starts_with("th").then_some(Case::Small)
                };
                if ordinal.is_some() {
                    rest = &rest[2..];
                }
                rest = strip(rest, "SP").unwrap_or(rest);
                items.push(Item::Pattern { name, case, fill, ordinal });
                text = rest;
                continue;
            }
            if rest.len() < text.len() {
                text = rest;
                continue;
            }
            text = match first {
                '"' => quoted(&text[1..], &mut items),
                '\\' if text[1..].starts_with('"') => {
                    items.push(Item::Literal('"'));
                    &text[2..]
                }
                other => {
                    items.push(Item::Literal(other));
                    &text[other.len_utf8()..]
                }
            };
        }
        Template { items }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The text of a time or an interval; fails when the template asks an interval for what only a date has.
    pub(super) fn show(&self, clock: &Clock) -> Result<String, String> {
        let mut text = String::new();
        for item in &self.items {
            match item {
                Item::Literal(character) => text.push(*character),
                Item::Pattern { name, case, fill, ordinal } => {
                    let shown = show(name, *case, *fill, clock)?;
                    text.push_str(&shown);
                    if let Some(case) = ordinal
                        && let Some(ending) = ending(&shown)
                    {
                        text.push_str(&case.of(ending));
                    }
                }
            }
        }
        Ok(text)
    }
}

/// Takes text up to the closing quote.
fn quoted<'a>(text: &'a str, items: &mut Vec<Item>) -> &'a str {
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return &text[index + 1..],
            '\\' => items.extend(characters.next().map(|(_, escaped)| Item::Literal(escaped))),
            other => items.push(Item::Literal(other)),
        }
    }
    ""
}

/// `st`, `nd`, `rd` or `th` behind a number.
fn ending(number: &str) -> Option<&'static str> {
    let digits = number.as_bytes();
    let last = digits.last().filter(|last| last.is_ascii_digit())?;
    let of_teens = digits.len() > 1 && digits[digits.len() - 2] == b'1';
    Some(match last {
        b'1' if !of_teens => "st",
        b'2' if !of_teens => "nd",
        b'3' if !of_teens => "rd",
        _ => "th",
    })
}

/// A number with zeros in front; a minus does not count.
fn padded(value: i64, width: usize, fill: bool) -> String {
    let width = if fill { 0 } else { width + usize::from(value < 0) };
    format!("{value:0width$}")
}

fn show(name: &str, case: Case, fill: bool, clock: &Clock) -> Result<String, String> {
    let number = |value: i64, width: usize| Ok(padded(value, width, fill));
    // Of days a minus takes the place of a zero.
    let days = |value: i64, width: usize| number(value, width - usize::from(value < 0));
    let named = |value: &str, width: usize| {
        let shown = case.of(value);
        Ok(if fill { shown } else { format!("{shown:<width$}") })
    };
    let of_date = || clock.date.ok_or_else(|| "invalid format specification for an interval value".to_owned());
    match name {
        // A minus of the hour leaves its place where noon has none.
        "HH" | "HH12" if clock.hour < 0 && clock.hour % 12 == 0 => Ok(if fill { "12" } else { "012" }.to_owned()),
        "HH" | "HH12" => number(if clock.hour % 12 == 0 { 12 } else { clock.hour % 12 }, 2),
        "HH24" => number(clock.hour, 2),
        "MI" => number(clock.minute, 2),
        "SS" => number(clock.second, 2),
        "SSSS" | "SSSSS" => number(clock.hour * 3_600 + clock.minute * 60 + clock.second, 0),
        "US" | "FF6" => Ok(padded(clock.microsecond, 6, false)),
        "MS" | "FF3" => Ok(padded(clock.microsecond / 1_000, 3, false)),
        "FF1" => Ok(padded(clock.microsecond / 100_000, 1, false)),
        "FF2" => Ok(padded(clock.microsecond / 10_000, 2, false)),
        "FF4" => Ok(padded(clock.microsecond / 100, 4, false)),
        "FF5" => Ok(padded(clock.microsecond / 10, 5, false)),
        "AM" | "PM" => Ok(case.of(if clock.hour % 24 >= 12 { "PM" } else { "AM" })),
        "A.M." | "P.M." => Ok(case.of(if clock.hour % 24 >= 12 { "P.M." } else { "A.M." })),
        "AD" | "BC" => of_date().map(|_| case.of(if clock.year <= 0 { "BC" } else { "AD" })),
        "A.D." | "B.C." => of_date().map(|_| case.of(if clock.year <= 0 { "B.C." } else { "A.D." })),
        "MONTH" => of_date().and_then(|date| named(MONTHS[date.month0() as usize], NAME_WIDTH)),
        "MON" => of_date().map(|date| case.of(&MONTHS[date.month0() as usize][..3])),
        "MM" => number(clock.month, 2),
        "RM" => match (clock.month, clock.year) {
            (0, 0) => Ok(String::new()),
            // Months of intervals count from where the sign says.
            (0, year) => named(if year < 0 { "I" } else { "XII" }, 4),
            (month, _) => {
                let place = if month < 0 { 12 + month } else { month - 1 };
                named(usize::try_from(place).ok().and_then(|place| ROMAN_MONTHS.get(place)).unwrap_or(&""), 4)
            }
        },
        "DAY" => of_date().and_then(|date| named(day_name(date), NAME_WIDTH)),
        "DY" => of_date().map(|date| case.of(&day_name(date)[..3])),
        "D" => of_date().and_then(|date| number(i64::from(date.weekday().number_from_sunday()), 0)),
        "ID" => of_date().and_then(|date| number(i64::from(date.weekday().number_from_monday()), 0)),
        "DDD" => days(clock.day_of_year(), 3),
        "IDDD" => of_date().and_then(|date| {
            let week = i64::from(date.iso_week().week());
            number((week - 1) * 7 + i64::from(date.weekday().number_from_monday()), 3)
        }),
        "DD" => days(clock.day, 2),
        "W" => number((clock.day - 1) / 7 + 1, 0),
        "WW" => number((clock.day_of_year() - 1) / 7 + 1, 2),
        "IW" => of_date().and_then(|date| number(i64::from(date.iso_week().week()), 2)),
        "Q" => match clock.month {
            0 => Ok(String::new()),
            month => number((month - 1) / 3 + 1, 0),
        },
        "CC" => number(century(clock), 2),
        "J" => number(clock.julian_day(), 0),
        "Y,YYY" => {
            let year = clock.written_year(clock.year);
            let thousands = year / 1_000;
            Ok(format!("{thousands},{:03}", year - thousands * 1_000))
        }
        "YYYY" => number(clock.written_year(clock.year), 4),
        "YYY" => number(clock.written_year(clock.year) % 1_000, 3),
        "YY" => number(clock.written_year(clock.year) % 100, 2),
        "Y" => number(clock.written_year(clock.year) % 10, 1),
        "IYYY" => of_date().and_then(|date| number(clock.written_year(iso_year(date)), 4)),
        "IYY" => of_date().and_then(|date| number(clock.written_year(iso_year(date)) % 1_000, 3)),
        "IY" => of_date().and_then(|date| number(clock.written_year(iso_year(date)) % 100, 2)),
        "I" => of_date().and_then(|date| number(clock.written_year(iso_year(date)) % 10, 1)),
        "TZ" => of_date().map(|_| clock.zone.as_ref().map_or_else(String::new, |(name, _)| case.of(name))),
        "TZH" | "TZM" | "OF" => of_date().map(|_| {
            let offset = clock.zone.as_ref().map_or(0, |(_, seconds)| *seconds);
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 3_600, offset.abs() / 60 % 60);
            match name {
                "TZH" => format!("{sign}{hours:02}"),
                "TZM" => format!("{minutes:02}"),
                _ if minutes != 0 => format!("{sign}{}:{minutes:02}", padded(hours, 2, fill)),
                _ => format!("{sign}{}", padded(hours, 2, fill)),
            }
        }),
        _ => unreachable!("every pattern of the list is shown"),
    }
}

fn day_name(date: NaiveDate) -> &'static str {
    DAYS[date.weekday().num_days_from_sunday() as usize]
}

fn iso_year(date: NaiveDate) -> i64 {
    i64::from(date.iso_week().year())
}

/// The first century began with year 1; before it they count downwards.
fn century(clock: &Clock) -> i64 {
    let year = clock.written_year(clock.year);
    if clock.date.is_none() {
        return year / 100;
    }
    let century = (year + 99) / 100;
    if clock.year <= 0 { -century } else { century }
}
