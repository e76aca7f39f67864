//! The startup packet's settings: who, which database, and what `SET` would say.

use bytes::Bytes;
use probepilot_sql::{SqlError, SqlState};

/// What a startup packet says.
#[derive(Debug, Default, PartialEq)]
pub struct Startup {
    /// The account.
    pub user: String,
    /// The database; the account's name when the packet has none, as PostgreSQL does.
    pub database: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Settings: those in `options` first, then the packet's own.
    pub settings: Vec<(String, String)>,
}

/// The key-value pairs of a packet.
fn pairs(packet: &Bytes) -> impl Iterator<Item = (&str, &str)> {
    let mut words = packet.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).unwrap_or("\u{fffd}"));
    std::iter::from_fn(move || match words.next() {
        None | Some("") => None,
        Some(key) => Some((key, words.next().unwrap_or(""))),
    })
}

/// The one version we speak, as PostgreSQL 16 does.
pub const PROTOCOL_3_0: i32 = 3 << 16;

/// Refuses what is no version 3: a newer minor version is negotiated down.
pub fn check_version((major, minor): (u32, u32)) -> Result<(), SqlError> {
    if major == 3 {
        return Ok(());
    }
    let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
    Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

/// Options of the protocol itself that we do not know: all of them.
pub fn protocol_options(packet: &Bytes) -> Vec<String> {
    pairs(packet).map(|(key, _)| key).filter(|key| key.starts_with("_pq_.")).map(str::to_owned).collect()
}

/// Reads the packet after its version.
pub fn read(packet: &Bytes) -> Result<Startup, SqlError> {
    let mut startup = Startup::default();
    let mut settings = Vec::new();
    for (key, value) in pairs(packet) {
        match key {
            "user" => startup.user = value.to_owned(),
            "database" => startup.database = value.to_owned(),
            "options" => startup.settings = options(value)?,
            "replication" if !matches!(value, "false" | "off" | "no" | "0") => {
                return Err(SqlError::unsupported("replication connections are not supported"));
            }
            "replication" => {}
            key if key.starts_with("_pq_.") => {}
            key => {
                if key == "application_name" {
                    startup.application_name = value.to_owned();
                }
                settings.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    if startup.user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, message));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    startup.settings.extend(settings);
    Ok(startup)
}

/// `-c name=value`, `-cname=value` and `--name=value`, with backslashes before blanks.
fn options(text: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = if let Some(long) = word.strip_prefix("--") {
            long.to_owned()
        } else if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(short) = word.strip_prefix("-c") {
            short.to_owned()
        } else {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("invalid command-line argument for server process: {word}"),
            ));
        };
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("-c {assignment} requires a value")));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => words.last_mut().expect("there is always a word").extend(characters.next()),
            blank if blank.is_whitespace() => words.push(String::new()),
            other => words.last_mut().expect("there is always a word").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_three_forms() {
        let packet = Bytes::from_static(
            b"user\0eve\0options\0-c a=1 --search-path=x,\\ y -cb=2\0application_name\0psql\0_pq_.x\x001\0\0",
        );
        assert_eq!(protocol_options(&packet), ["_pq_.x"]);
        let startup = read(&packet).unwrap();
        assert_eq!((startup.user.as_str(), startup.database.as_str()), ("eve", "eve"));
        let expected = [("a", "1"), ("search_path", "x, y"), ("b", "2"), ("application_name", "psql")];
        assert_eq!(startup.settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_packet_without_a_user_is_refused() {
        assert_eq!(read(&Bytes::from_static(b"\0")).unwrap_err().state, SqlState::INVALID_AUTHORIZATION);
    }
}
