//! A session's settings: PostgreSQL's names, checked values, defaults to come back to.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::timezone::Tz;
use probepilot_sql::{SqlError, SqlState};

/// The version of PostgreSQL that clients should take us for.
pub const SERVER_VERSION: &str = "16.14";

/// The same as a number.
pub const SERVER_VERSION_NUM: &str = "160014";

/// The parameter cannot be changed now.
const CANT_CHANGE_RUNTIME_PARAM: SqlState = SqlState("55P02");

/// Custom settings (`my.name`) of a session at most; more are refused (53400).
const CUSTOM_MAX: usize = 100;

/// Bytes of a setting's value at most; longer ones are refused (22023).
const VALUE_BYTES_MAX: usize = 8_192;

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `on` or `off`.
    Boolean,
    /// A whole number.
    Integer,
    /// A time, in milliseconds without a unit.
    Milliseconds,
    /// One of these words.
    Words(&'static [&'static str]),
    /// How dates are shown, which is always ISO, and the order of day and month.
    DateStyle,
    /// An offset or a name of the time zone database.
    TimeZone,
    /// Text encodings: only UTF-8.
    Encoding,
    /// Cannot be changed by `SET`.
    ReadOnly,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// As `SHOW` prints it.
    pub name: &'static str,
    /// Its value in a fresh session.
    pub default: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it does.
    pub description: &'static str,
}

const fn setting(name: &'static str, default: &'static str, kind: Kind, description: &'static str) -> Setting {
    Setting { name, default, kind, description }
}

const ISOLATION: Kind = Kind::Words(&["read uncommitted", "read committed", "repeatable read", "serializable"]);
const MESSAGES: Kind =
    Kind::Words(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]);

/// Every setting there is, by name. Those that steer nothing here are kept because clients set and read them.
pub const SETTINGS: &[Setting] = &[
    setting("application_name", "", Kind::Text, "Sets the application name to be reported in statistics and logs."),
    setting("bytea_output", "hex", Kind::Words(&["hex"]), "Sets the output format for bytea."),
    setting("client_encoding", "UTF8", Kind::Encoding, "Sets the client's character set encoding."),
    setting("client_min_messages", "notice", MESSAGES, "Sets the message levels that are sent to the client."),
    setting("DateStyle", "ISO, MDY", Kind::DateStyle, "Sets the display format for date and time values."),
    setting(
        "default_table_access_method",
        "heap",
        Kind::ReadOnly,
        "Sets the default table access method for new tables.",
    ),
    setting("default_tablespace", "", Kind::Text, "Sets the default tablespace to create tables in."),
    setting(
        "default_transaction_deferrable",
        "off",
        Kind::Boolean,
        "Sets the default deferrable status of new transactions.",
    ),
    setting(
        "default_transaction_isolation",
        "read committed",
        ISOLATION,
        "Sets the transaction isolation level of each new transaction.",
    ),
    setting(
        "default_transaction_read_only",
        "off",
        Kind::Boolean,
        "Sets the default read-only status of new transactions.",
    ),
    setting("extra_float_digits", "1", Kind::Integer, "Sets the number of digits displayed for floating-point values."),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        Kind::Milliseconds,
        "Sets the maximum allowed idle time between queries, when in a transaction.",
    ),
    setting(
        "idle_session_timeout",
        "0",
        Kind::Milliseconds,
        "Sets the maximum allowed idle time between queries, when not in a transaction.",
    ),
    setting("in_hot_standby", "off", Kind::ReadOnly, "Shows whether hot standby is currently active."),
    setting("integer_datetimes", "on", Kind::ReadOnly, "Shows whether datetimes are integer based."),
    setting("IntervalStyle", "postgres", Kind::Words(&["postgres"]), "Sets the display format for interval values."),
    setting("is_superuser", "off", Kind::ReadOnly, "Shows whether the current user is a superuser."),
    setting("jit", "off", Kind::Boolean, "Allow JIT compilation."),
    setting("lc_collate", "C", Kind::ReadOnly, "Shows the collation order locale."),
    setting("lc_ctype", "C", Kind::ReadOnly, "Shows the character classification and case conversion locale."),
    setting("lc_messages", "C", Kind::Text, "Sets the language in which messages are displayed."),
    setting("lc_monetary", "C", Kind::Text, "Sets the locale for formatting monetary amounts."),
    setting("lc_numeric", "C", Kind::Text, "Sets the locale for formatting numbers."),
    setting("lc_time", "C", Kind::Text, "Sets the locale for formatting date and time values."),
    setting("lock_timeout", "0", Kind::Milliseconds, "Sets the maximum allowed duration of any wait for a lock."),
    setting("max_identifier_length", "63", Kind::ReadOnly, "Shows the maximum identifier length."),
    setting("max_index_keys", "32", Kind::ReadOnly, "Shows the maximum number of index keys."),
    setting("password_encryption", "scram-sha-256", Kind::ReadOnly, "Chooses the algorithm for encrypting passwords."),
    setting("role", "none", Kind::Text, "Sets the current role."),
    setting("row_security", "on", Kind::Boolean, "Enable row security."),
    setting("scram_iterations", "4096", Kind::ReadOnly, "Sets the iteration count for SCRAM secret generation."),
    setting(
        "search_path",
        "\"$user\", public",
        Kind::Text,
        "Sets the schema search order for names that are not schema-qualified.",
    ),
    setting("server_encoding", "UTF8", Kind::ReadOnly, "Shows the server (database) character set encoding."),
    setting("server_version", SERVER_VERSION, Kind::ReadOnly, "Shows the server version."),
    setting("server_version_num", SERVER_VERSION_NUM, Kind::ReadOnly, "Shows the server version as an integer."),
    setting("session_authorization", "", Kind::ReadOnly, "Shows the session user name."),
    setting("ssl", "off", Kind::ReadOnly, "Enables SSL connections."),
    setting(
        "standard_conforming_strings",
        "on",
        Kind::ReadOnly,
        "Causes '...' strings to treat backslashes literally.",
    ),
    setting("statement_timeout", "0", Kind::Milliseconds, "Sets the maximum allowed duration of any statement."),
    setting("synchronous_commit", "on", Kind::Text, "Sets the current transaction's synchronization level."),
    setting("tcp_keepalives_idle", "0", Kind::Integer, "Time between issuing TCP keepalives."),
    setting("TimeZone", "UTC", Kind::TimeZone, "Sets the time zone for displaying and interpreting time stamps."),
    setting("transaction_deferrable", "off", Kind::Boolean, "Whether to defer a read-only serializable transaction."),
    setting("transaction_isolation", "read committed", ISOLATION, "Sets the current transaction's isolation level."),
    setting("transaction_read_only", "off", Kind::Boolean, "Sets the current transaction's read-only status."),
    setting("work_mem", "4MB", Kind::Text, "Sets the maximum memory to be used for query workspaces."),
    setting(
        "xmloption",
        "content",
        Kind::Text,
        "Sets whether XML data is to be considered as documents or content fragments.",
    ),
];

/// Values by lower-case name; clones share them until one is changed.
type Values = Arc<BTreeMap<String, Arc<str>>>;

/// The values of a session. A clone is a savepoint: put it back to undo what was set since.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What the session starts with and `RESET` returns to.
    initial: Values,
    /// What was set since.
    current: Values,
    /// What was set until the end of the transaction.
    local: Values,
}

/// The setting with this name, however it is capitalised.
pub fn find(name: &str) -> Option<&'static Setting> {
    let name = match name.to_lowercase().as_str() {
        "time zone" | "time_zone" => "timezone".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "names" => "client_encoding".to_owned(),
        other => other.to_owned(),
    };
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(&name))
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

impl Settings {
    /// Sets what the session starts with, past the check for read-only settings: for the door, before the first statement.
    pub fn set_initial(&mut self, name: &str, value: &str) {
        Arc::make_mut(&mut self.initial).insert(name.to_lowercase(), value.into());
    }

    /// Sets what the session starts with, as a client asks for it at startup: checked like [`Settings::set`].
    pub fn set_startup(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let (key, value) = self.checked(name, value)?;
        Arc::make_mut(&mut self.initial).insert(key, value.into());
        Ok(())
    }

    /// Sets a value: 42704 for an unknown name, 22023 for a value it does not take, 55P02 for one that cannot be set.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let (key, value) = self.checked(name, value)?;
        self.end_local_of(&key);
        Arc::make_mut(&mut self.current).insert(key, value.into());
        Ok(())
    }

    /// Sets a value until the end of the transaction, which [`Settings::end_local`] is.
    pub fn set_local(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let (key, value) = self.checked(name, value)?;
        Arc::make_mut(&mut self.local).insert(key, value.into());
        Ok(())
    }

    /// The transaction is over: what was set for it alone ends.
    pub fn end_local(&mut self) {
        if !self.local.is_empty() {
            self.local = Values::default();
        }
    }

    fn end_local_of(&mut self, key: &str) {
        if self.local.contains_key(key) {
            Arc::make_mut(&mut self.local).remove(key);
        }
    }

    fn checked(&self, name: &str, value: &str) -> Result<(String, String), SqlError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("the value of \"{name}\" is longer than {VALUE_BYTES_MAX} bytes"),
            ));
        }
        let Some(setting) = find(name) else {
            let key = name.to_lowercase();
            if !key.contains('.') {
                return Err(unknown(name));
            }
            let custom = |values: &Values| values.keys().filter(|key| key.contains('.')).count();
            let known = self.current.contains_key(&key) || self.local.contains_key(&key);
            if custom(&self.current) + custom(&self.local) >= CUSTOM_MAX && !known {
                let message = format!("more than {CUSTOM_MAX} custom parameters");
                return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
            }
            return Ok((key, value.to_owned()));
        };
        Ok((setting.name.to_lowercase(), check(setting, value)?))
    }

    /// Puts a setting back to what the session started with.
    pub fn reset(&mut self, name: &str) -> Result<(), SqlError> {
        let key = match find(name) {
            Some(setting) => setting.name.to_lowercase(),
            None if name.contains('.') => name.to_lowercase(),
            None => return Err(unknown(name)),
        };
        self.end_local_of(&key);
        if self.current.contains_key(&key) {
            Arc::make_mut(&mut self.current).remove(&key);
        }
        Ok(())
    }

    /// Puts everything back to what the session started with.
    pub fn reset_all(&mut self) {
        self.current = Values::default();
        self.local = Values::default();
    }

    /// A setting's value; 42704 for an unknown name.
    pub fn get(&self, name: &str) -> Result<String, SqlError> {
        let (key, default) = match find(name) {
            Some(setting) => (setting.name.to_lowercase(), Some(setting.default)),
            None => (name.to_lowercase(), None),
        };
        let values = [&self.local, &self.current, &self.initial];
        let value = values.into_iter().find_map(|values| values.get(&key)).map(|value| &**value);
        value.or(default).map(str::to_owned).ok_or_else(|| unknown(name))
    }

    /// The value of a setting that exists.
    pub fn known(&self, name: &str) -> String {
        self.get(name).expect("the name is one of SETTINGS")
    }

    /// Every setting with its value, by name.
    pub fn all(&self) -> Vec<(&'static Setting, String)> {
        SETTINGS.iter().map(|setting| (setting, self.known(setting.name))).collect()
    }

    /// How long a statement may run; `None` for as long as it takes.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let milliseconds = milliseconds(&self.known("statement_timeout")).unwrap_or(0);
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }

    /// The schemas to search, without those that do not exist for `user`.
    pub fn search_path(&self) -> Vec<String> {
        let value = self.known("search_path");
        let names = value.split(',').map(|name| {
            let name = name.trim();
            match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
                Some(quoted) => quoted.to_owned(),
                None => name.to_lowercase(),
            }
        });
        names.filter(|name| !name.is_empty() && name != "$user").collect()
    }
}

/// The value as it is kept and shown.
fn check(setting: &Setting, value: &str) -> Result<String, SqlError> {
    let invalid = || {
        let message = format!("invalid value for parameter \"{}\": \"{value}\"", setting.name);
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    };
    match setting.kind {
        Kind::Text => Ok(value.to_owned()),
        Kind::Boolean => match value.to_lowercase().as_str() {
            "on" | "true" | "t" | "yes" | "1" => Ok("on".into()),
            "off" | "false" | "f" | "no" | "0" => Ok("off".into()),
            _ => Err(invalid().hint("A Boolean value is needed: on or off.")),
        },
        Kind::Integer => value.trim().parse::<i64>().map(|number| number.to_string()).map_err(|_| invalid()),
        Kind::Milliseconds => {
            let milliseconds = milliseconds(value).ok_or_else(|| {
                invalid().hint("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")
            })?;
            Ok(shown_milliseconds(milliseconds))
        }
        Kind::Words(words) => {
            let lower = value.to_lowercase();
            if words.contains(&lower.as_str()) {
                return Ok(lower);
            }
            Err(invalid().hint(format!("Available values: {}.", words.join(", "))))
        }
        Kind::DateStyle => date_style(value)
            .ok_or_else(|| invalid().hint("Dates are shown in ISO style; MDY, DMY and YMD may stand beside it.")),
        Kind::TimeZone => {
            let name = value.trim();
            let known = match name.to_lowercase().as_str() {
                "default" | "local" | "utc" | "gmt" | "z" => Some("UTC".to_owned()),
                _ => Tz::from_str(name).ok().map(|_| name.to_owned()).or_else(|| hours_offset(name)),
            };
            known.ok_or_else(invalid)
        }
        Kind::Encoding => match value.trim_matches(['\'', '"']).to_lowercase().replace(['-', '_'], "").as_str() {
            "utf8" | "unicode" | "default" => Ok("UTF8".into()),
            "sqlascii" => Ok("SQL_ASCII".into()), // No conversion: the bytes are UTF-8.
            _ => Err(invalid().hint("Only UTF8 is supported.")),
        },
        Kind::ReadOnly => {
            if value == setting.default {
                return Ok(value.to_owned()); // Clients set what they already have.
            }
            let message = format!("parameter \"{}\" cannot be changed", setting.name);
            Err(SqlError::new(CANT_CHANGE_RUNTIME_PARAM, message))
        }
    }
}

/// `ISO`, an order of the parts of a date, or both in any order, as PostgreSQL shows them.
fn date_style(value: &str) -> Option<String> {
    let mut order = "MDY";
    for word in value.split(',') {
        match word.trim().to_ascii_uppercase().as_str() {
            "ISO" | "DEFAULT" => {}
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" => order = "MDY",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "YMD" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
}

/// `SET TIME ZONE -3`: hours east of UTC.
fn hours_offset(value: &str) -> Option<String> {
    let hours: f64 = value.parse().ok()?;
    if !(-15.0..=15.0).contains(&hours) {
        return None;
    }
    let minutes = (hours.abs() * 60.0).round() as u32;
    Some(format!("{}{:02}:{:02}", if hours < 0.0 { '-' } else { '+' }, minutes / 60, minutes % 60))
}

/// A time with a unit, in milliseconds.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "us" => return Some(number.div_ceil(1_000)),
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|value| *value <= i32::MAX as u64)
}

fn shown_milliseconds(value: u64) -> String {
    for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")] {
        if value >= factor && value.is_multiple_of(factor) {
            return format!("{}{unit}", value / factor);
        }
    }
    if value == 0 { "0".into() } else { format!("{value}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, expected: Result<&str, &str>) {
        let mut settings = Settings::default();
        let shown = settings.set(name, value).and_then(|()| settings.get(name));
        match expected {
            Ok(expected) => assert_eq!(shown.unwrap(), expected, "{name} = {value}"),
            Err(state) => assert_eq!(shown.unwrap_err().state.0, state, "{name} = {value}"),
        }
    }

    #[test]
    fn values_are_checked_and_shown_as_postgresql_shows_them() {
        check("statement_timeout", "5s", Ok("5s"));
        check("statement_timeout", "60000", Ok("1min"));
        check("statement_timeout", "1500", Ok("1500ms"));
        check("statement_timeout", "soon", Err("22023"));
        check("timezone", "Europe/Berlin", Ok("Europe/Berlin"));
        check("TIME ZONE", "-3", Ok("-03:00"));
        check("TimeZone", "Mars/Olympus", Err("22023"));
        check("client_encoding", "'utf-8'", Ok("UTF8"));
        check("client_encoding", "latin1", Err("22023"));
        check("jit", "FALSE", Ok("off"));
        check("server_version", "9.6", Err("55P02"));
        check("no_such_thing", "1", Err("42704"));
        check("my.thing", "1", Ok("1"));
    }

    #[test]
    fn reset_returns_to_what_the_session_started_with() {
        let mut settings = Settings::default();
        settings.set_startup("statement_timeout", "2s").unwrap();
        settings.set("statement_timeout", "9s").unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(9)));
        settings.reset("statement_timeout").unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_local_hides_what_is_set_until_it_ends() {
        let mut settings = Settings::default();
        let check = |settings: &Settings, expected| assert_eq!(settings.known("statement_timeout"), expected);
        settings.set("statement_timeout", "1s").unwrap();
        settings.set_local("statement_timeout", "2s").unwrap();
        let savepoint = settings.clone();
        check(&settings, "2s");
        settings.end_local();
        check(&settings, "1s");
        settings = savepoint.clone();
        settings.set("statement_timeout", "3s").unwrap();
        check(&settings, "3s");
        settings.end_local();
        check(&settings, "3s");
        settings = savepoint.clone();
        settings.reset("statement_timeout").unwrap();
        check(&settings, "0");
        check(&savepoint, "2s");
        assert_eq!(settings.set_local("no_such_thing", "1").unwrap_err().state, SqlState::UNDEFINED_OBJECT);
    }

    #[test]
    fn the_search_path_reads_quoted_names() {
        let mut settings = Settings::default();
        assert_eq!(settings.search_path(), ["public"]);
        settings.set("search_path", "System, \"Odd\", pg_catalog").unwrap();
        assert_eq!(settings.search_path(), ["system", "Odd", "pg_catalog"]);
    }
}
