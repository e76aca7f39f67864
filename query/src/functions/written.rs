//! Times and intervals as PostgreSQL lets them be written: more forms than Arrow reads.

use arrow::datatypes::IntervalMonthDayNano;
use chrono::NaiveDate;

use super::zone::Zone;

const SECOND_NS: i128 = 1_000_000_000;
const DAY_NS: i128 = 86_400 * SECOND_NS;

/// A time of a wall clock, nanoseconds, and the zone that is written behind it. `None` for a text of another form.
pub(crate) fn time(text: &str) -> Option<(i64, Option<Zone>)> {
    let text = text.trim();
    let (date, rest) = match text.find([' ', 'T', 't']) {
        Some(end) => (&text[..end], text[end + 1..].trim_start()),
        None => (text, ""),
    };
    let mut parts = date.splitn(3, '-');
    let year = parts.next()?;
    let date = NaiveDate::from_ymd_opt(
        digits(year, 4..=6)? as i32,
        digits(parts.next()?, 1..=2)?,
        digits(parts.next()?, 1..=2)?,
    )?;
    let end =
        rest.find(|character: char| !(character.is_ascii_digit() || ":.".contains(character))).unwrap_or(rest.len());
    let (clock, zone) = (&rest[..end], rest[end..].trim());
    let of_day = if clock.is_empty() { 0 } else { clock_ns(clock).filter(|time| *time <= DAY_NS)? };
    let zone = if zone.is_empty() { None } else { Some(zone_of(zone)?) };
    let midnight = i128::from(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp()) * SECOND_NS;
    Some((i64::try_from(midnight + of_day).ok()?, zone))
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let plain = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `+02`, `-0530`, `+05:30`, `Z` or a name.
fn zone_of(text: &str) -> Option<Zone> {
    let Some(rest) = text.strip_prefix(['+', '-']) else { return Zone::find(text) };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (digits(hours, 1..=2)?, digits(minutes, 2..=2)?),
        None if rest.len() == 4 => (digits(rest.get(..2)?, 2..=2)?, digits(rest.get(2..)?, 2..=2)?),
        None => (digits(rest, 1..=2)?, 0),
    };
    Zone::find(&format!("{}{hours:02}:{minutes:02}", &text[..1]))
}

/// `04:05`, `04:05:06.789`, without a sign.
fn clock_ns(text: &str) -> Option<i128> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (parts.next()?, digits(parts.next()?, 1..=2).filter(|minutes| *minutes < 60)?);
    let hours: i128 = hours.parse().ok().filter(|hours: &i128| (0..10_000_000).contains(hours))?;
    let seconds = match parts.next() {
        Some(seconds) => decimal_ns(seconds).filter(|seconds| *seconds <= 60 * SECOND_NS)?,
        None => 0,
    };
    Some((hours * 3_600 + i128::from(minutes) * 60) * SECOND_NS + seconds)
}

/// A decimal number times 10^9; further digits are cut.
fn decimal_ns(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) || whole.len() > 18 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept = &fraction[..fraction.len().min(9)];
    let fraction: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let fraction = fraction * 10_i128.pow(9 - kept.len() as u32);
    let value = whole * SECOND_NS + fraction;
    Some(if negative { -value } else { value })
}

/// An interval; `None` for a text of another form.
pub(crate) fn interval(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.trim();
    let mut sum = Sum::default();
    match text.strip_prefix(['P', 'p']) {
        Some(rest) => sum.iso(rest)?,
        None => sum.words(text)?,
    }
    sum.interval()
}

/// The parts of an interval, which may be fractions until the end: months and days in units of 10^-9.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    nanoseconds: i128,
    /// The units so far: each stands once.
    units: Vec<&'static str>,
}

impl Sum {
    /// `1 day 02:03:04`, `-1.5 hours`, `2 weeks ago`.
    fn words(&mut self, text: &str) -> Option<()> {
        let text = text.strip_prefix('@').unwrap_or(text).to_lowercase();
        let mut words = text.split_whitespace().peekable();
        words.peek()?;
        while let Some(word) = words.next() {
            if word == "ago" {
                (self.months, self.days, self.nanoseconds) = (-self.months, -self.days, -self.nanoseconds);
                return words.next().is_none().then_some(());
            }
            if word.contains(':') {
                let (sign, clock) = match word.strip_prefix('-') {
                    Some(clock) => (-1, clock),
                    None => (1, word.strip_prefix('+').unwrap_or(word)),
                };
                self.nanoseconds += sign * clock_ns(clock)?;
                continue;
            }
            let end = word.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(word.len());
            let (number, unit) = word.split_at(end);
            let unit = match unit {
                // A bare number is seconds.
                "" => words
                    .next_if(|next| next.starts_with(|first: char| first.is_ascii_alphabetic()) && *next != "ago")
                    .unwrap_or("seconds"),
                unit => unit,
            };
            self.add(decimal_ns(number)?, unit)?;
        }
        Some(())
    }

    /// `1Y2M3DT4H5M6S`, behind the `P`.
    fn iso(&mut self, text: &str) -> Option<()> {
        let (mut number, mut in_time, mut any) = (String::new(), false, false);
        for character in text.chars() {
            match character.to_ascii_uppercase() {
                'T' if number.is_empty() => in_time = true,
                unit @ ('Y' | 'M' | 'W' | 'D' | 'H' | 'S') => {
                    let unit = match (unit, in_time) {
                        ('Y', false) => "years",
                        ('M', false) => "months",
                        ('W', false) => "weeks",
                        ('D', false) => "days",
                        ('H', true) => "hours",
                        ('M', true) => "minutes",
                        ('S', true) => "seconds",
                        _ => return None,
                    };
                    self.add(decimal_ns(&number)?, unit)?;
                    number.clear();
                    any = true;
                }
                other => number.push(other),
            }
        }
        (any && number.is_empty()).then_some(())
    }

    /// Adds `amount` · 10^-9 of a unit.
    fn add(&mut self, amount: i128, unit: &str) -> Option<()> {
        let unit = match unit {
            "y" | "yr" | "yrs" | "years" => "year",
            "dec" | "decs" | "decades" => "decade",
            "c" | "cent" | "centuries" => "century",
            "mil" | "mils" | "millennia" => "millennium",
            "mon" | "mons" | "months" => "month",
            "w" | "weeks" => "week",
            "d" | "days" => "day",
            "h" | "hr" | "hrs" | "hours" => "hour",
            "m" | "min" | "mins" | "minutes" => "minute",
            "s" | "sec" | "secs" | "seconds" => "second",
            "ms" | "msec" | "msecs" | "milliseconds" => "millisecond",
            "us" | "usec" | "usecs" | "microseconds" => "microsecond",
            "ns" | "nanoseconds" => "nanosecond",
            other => other,
        };
        let (of, unit) = match unit {
            "year" => (&mut self.months, ("year", 12, 1)),
            "decade" => (&mut self.months, ("decade", 120, 1)),
            "century" => (&mut self.months, ("century", 1_200, 1)),
            "millennium" => (&mut self.months, ("millennium", 12_000, 1)),
            "month" => (&mut self.months, ("month", 1, 1)),
            "week" => (&mut self.days, ("week", 7, 1)),
            "day" => (&mut self.days, ("day", 1, 1)),
            "hour" => (&mut self.nanoseconds, ("hour", 3_600, 1)),
            "minute" => (&mut self.nanoseconds, ("minute", 60, 1)),
            "second" => (&mut self.nanoseconds, ("second", 1, 1)),
            "millisecond" => (&mut self.nanoseconds, ("millisecond", 1, 1_000)),
            "microsecond" => (&mut self.nanoseconds, ("microsecond", 1, 1_000_000)),
            "nanosecond" => (&mut self.nanoseconds, ("nanosecond", 1, SECOND_NS)),
            _ => return None,
        };
        let (name, times, parts) = unit;
        *of += amount * times / parts;
        if self.units.contains(&name) {
            return None;
        }
        self.units.push(name);
        Some(())
    }

    /// Fractions of months are days of 30, fractions of days are time.
    fn interval(self) -> Option<IntervalMonthDayNano> {
        let Sum { months, days, nanoseconds, units: _ } = self;
        let days = days + months % SECOND_NS * 30;
        let nanoseconds = nanoseconds + days % SECOND_NS * 86_400;
        Some(IntervalMonthDayNano::new(
            i32::try_from(months / SECOND_NS).ok()?,
            i32::try_from(days / SECOND_NS).ok()?,
            i64::try_from(nanoseconds).ok()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_in_all_forms() {
        let (minute, hour) = (60 * SECOND_NS as i64, 3_600 * SECOND_NS as i64);
        for (text, months, days, nanoseconds) in [
            ("3 days 02:47:33", 0, 3, 2 * hour + 47 * minute + 33 * SECOND_NS as i64),
            ("1.5 hours", 0, 0, hour + 30 * minute),
            ("1h30m", 0, 0, 0),
            ("P1DT2H", 0, 1, 2 * hour),
            ("-1 day 2 hours", 0, -1, 2 * hour),
            ("1 year 2 mons", 14, 0, 0),
            ("1.5 months", 1, 15, 0),
            ("2 weeks ago", 0, -14, 0),
            ("300.000s", 0, 0, 5 * minute),
            ("-00:00:01.5", 0, 0, -1_500_000_000),
            ("10", 0, 0, 10 * SECOND_NS as i64),
        ] {
            let expected = IntervalMonthDayNano::new(months, days, nanoseconds);
            match text {
                "1h30m" => assert_eq!(interval(text), None),
                _ => assert_eq!(interval(text), Some(expected), "{text}"),
            }
        }
        for text in ["", "1 fortnight", "1 day 2 days", "P", "1:2:3:4", "one day"] {
            assert_eq!(interval(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_zone() {
        let of = |text| time(text).map(|(local, zone)| zone.map_or(Some(local), |zone| zone.unix_ns(local)));
        let noon = Some(Some(1_772_366_400_000_000_000));
        for text in [
            "2026-03-01 12:00",
            "2026-3-1 12:00:00.0",
            "2026-03-01T12:00Z",
            "2026-03-01 14:00+02",
            "2026-03-01 08:00 America/Bogota",
            "2026-03-01 07:00",
        ] {
            match text {
                "2026-03-01 08:00 America/Bogota" => assert_eq!(of(text), Some(Some(1_772_370_000_000_000_000))),
                "2026-03-01 07:00" => assert_ne!(of(text), noon),
                _ => assert_eq!(of(text), noon, "{text}"),
            }
        }
        for text in ["", "noon", "2026-02-30", "2026-03-01 25:00", "2026-03-01 12", "2026-03-01 12:00 Mars/Olympus"] {
            assert!(time(text).is_none(), "{text}");
        }
    }
}
