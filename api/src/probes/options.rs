//! The settings of `CREATE PROBE … WITH (…)` and `ALTER TABLE … SET (…)`.

use probepilot_catalog::control::ProbeRow;
use probepilot_catalog::manifest::TableSettings;
use probepilot_collector_ebpf::compile::aggregate::plan::KEYS_MAX;
use probepilot_sql::statement::{ProbeOption, Statement};
use probepilot_sql::{SqlError, SqlState, position};

use crate::size::Size;

/// Rows a stored probe may write in a second when it does not say.
pub const ROWS_PER_SECOND_DEFAULT: u32 = 5_000;

/// No host has more than so many cores.
const CPU_PERCENT_MOST: f64 = 1e6;

/// What a probe's options say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeSettings {
    /// How long and how much of its table is kept.
    pub table: TableSettings,
    /// Rows let through in a second.
    pub rows_per_second_max: u32,
    /// Share of one core its programs may take, percent; `None` for what the node leaves it.
    pub cpu_percent_max: Option<f64>,
    /// Seconds after which it is disabled, from when it was created, changed or enabled; `None` for never.
    pub run_seconds_max: Option<u64>,
}

impl ProbeSettings {
    fn new() -> ProbeSettings {
        ProbeSettings {
            table: TableSettings::default(),
            rows_per_second_max: ROWS_PER_SECOND_DEFAULT,
            cpu_percent_max: None,
            run_seconds_max: None,
        }
    }
}

/// Reads the options of a probe; `text` is the statement, for positions.
///
/// Fails with 22023 on an unknown option or a value that does not fit, at the value's place.
pub fn of_probe(options: &[ProbeOption], text: &str) -> Result<ProbeSettings, SqlError> {
    let mut settings = ProbeSettings::new();
    for option in options {
        match option.name.as_str() {
            "max_rows_per_second" => {
                let rows = option.value.parse().ok().filter(|rows| *rows > 0);
                settings.rows_per_second_max =
                    rows.ok_or_else(|| wrong_value(option, text, "a number of rows, 1 or more"))?;
            }
            "max_keys" => {
                // The node reads it where the probe is compiled.
                let keys = option.value.parse().ok().filter(|keys| (1..=KEYS_MAX).contains(keys));
                keys.ok_or_else(|| wrong_value(option, text, &format!("a number of groups from 1 to {KEYS_MAX}")))?;
            }
            "max_cpu_percent" => {
                let percent =
                    option.value.parse().ok().filter(|percent| *percent > 0.0 && *percent <= CPU_PERCENT_MOST);
                settings.cpu_percent_max =
                    Some(percent.ok_or_else(|| wrong_value(option, text, "a percentage of one core, above 0"))?);
            }
            "run_for" => {
                let seconds = interval_seconds(&option.value);
                settings.run_seconds_max = Some(
                    seconds.ok_or_else(|| wrong_value(option, text, "an interval of whole units, such as '1 hour'"))?,
                );
            }
            _ => of_table_option(
                &mut settings.table,
                option,
                text,
                "retention, max_bytes, max_rows_per_second, max_cpu_percent, run_for and max_keys",
            )?,
        }
    }
    Ok(settings)
}

/// What the options of a stored probe say: they were read before, so what is not understood any more counts as not given.
pub fn of_stored(probe: &ProbeRow) -> ProbeSettings {
    let settings = match probepilot_sql::parse_one(&probe.sql) {
        Ok(Statement::CreateProbe(create)) => of_probe(&create.options, &probe.sql).ok(),
        _ => None,
    };
    settings.unwrap_or_else(ProbeSettings::new)
}

/// Reads the options of a table into `settings`.
pub fn of_table(settings: &mut TableSettings, options: &[ProbeOption], text: &str) -> Result<(), SqlError> {
    options.iter().try_for_each(|option| of_table_option(settings, option, text, "retention and max_bytes"))
}

fn of_table_option(
    settings: &mut TableSettings,
    option: &ProbeOption,
    text: &str,
    known: &str,
) -> Result<(), SqlError> {
    match option.name.as_str() {
        "retention" => {
            let seconds = interval_seconds(&option.value);
            settings.retention_seconds =
                Some(seconds.ok_or_else(|| wrong_value(option, text, "an interval of whole units, such as '7 days'"))?);
        }
        "max_bytes" => {
            let size: Result<Size, _> = option.value.parse();
            settings.bytes_max = Some(size.map_err(|_| wrong_value(option, text, "a size, such as '1GB'"))?.0);
        }
        unknown => {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unrecognized parameter \"{unknown}\""),
            )
            .hint(format!("The parameters are {known}."))
            .at(position::of_span(text, option.span)));
        }
    }
    Ok(())
}

fn wrong_value(option: &ProbeOption, text: &str, wanted: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{}\"", option.name, option.value),
    )
    .hint(format!("Write {wanted}."))
    .at(position::of_span(text, option.span))
}

/// Seconds of `7 days`, `1 hour 30 minutes`; `None` when it is not such a text or not longer than nothing.
fn interval_seconds(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return None;
    }
    let mut seconds = 0_u64;
    for pair in words.chunks(2) {
        let count: u64 = pair[0].parse().ok()?;
        let unit = match pair[1].to_lowercase().trim_end_matches('s') {
            "second" | "sec" => 1,
            "minute" | "min" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "week" => 604_800,
            "month" => 2_592_000, // 30 days, as PostgreSQL's own arithmetic on months without a date has it.
            "year" => 31_557_600, // 365.25 days, likewise.
            _ => return None,
        };
        seconds = seconds.checked_add(count.checked_mul(unit)?)?;
    }
    (seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &str) -> Result<ProbeSettings, SqlError> {
        let text = format!("CREATE PROBE p WITH ({options}) AS SELECT pid FROM tracepoint.x");
        let Statement::CreateProbe(probe) = probepilot_sql::parse_one(&text).unwrap() else { panic!("{text}") };
        of_probe(&probe.options, &text)
    }

    #[test]
    fn options_are_read_in_their_units() {
        let settings = settings(
            "retention = '1 day 2 hours', max_bytes = '1GB', max_rows_per_second = 50, \
                                 max_cpu_percent = 2.5, run_for = '1 hour'",
        )
        .unwrap();
        assert_eq!(settings.table.retention_seconds, Some(93_600));
        assert_eq!(settings.table.bytes_max, Some(1_000_000_000));
        assert_eq!(settings.rows_per_second_max, 50);
        assert_eq!((settings.cpu_percent_max, settings.run_seconds_max), (Some(2.5), Some(3_600)));
    }

    #[test]
    fn a_wrong_option_is_named_with_its_place() {
        for (options, state) in [
            ("retention = 'soon'", "22023"),
            ("max_rows_per_second = 0", "22023"),
            ("max_keys = 0", "22023"),
            ("max_bytes = 'much'", "22023"),
            ("colour = 'red'", "22023"),
            ("run_for = 'a while'", "22023"),
            ("max_cpu_percent = 0", "22023"),
            ("max_cpu_percent = 'NaN'", "22023"),
        ] {
            let error = settings(options).unwrap_err();
            assert_eq!((error.state.0, error.position.is_some()), (state, true), "{options}");
        }
    }
}
