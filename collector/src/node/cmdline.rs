//! Command lines as they are shown: whole, without secrets, or not at all.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of a command line that are shown; what is longer is cut, and ends with [`CUT`].
pub const CMDLINE_BYTES_MAX: usize = 4095;

/// The end of a command line that was cut.
const CUT: &str = "…";

/// What stands where a secret was.
const REDACTED: &str = "[redacted]";

/// Names that hold secrets when they contain one of these, in lower case.
const SECRET_WORDS: [&str; 6] = ["password", "passwd", "passphrase", "token", "secret", "credential"];

/// How much of command lines is shown and stored: the setting `cmdline`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CmdlineSetting {
    /// As they are.
    Full,
    /// Values of names like `password`, `token`, `secret`, `key` are replaced.
    #[default]
    Redacted,
    /// NULL.
    Off,
}

impl FromStr for CmdlineSetting {
    type Err = String;

    fn from_str(word: &str) -> Result<CmdlineSetting, String> {
        match word {
            "full" => Ok(CmdlineSetting::Full),
            "redacted" => Ok(CmdlineSetting::Redacted),
            "off" => Ok(CmdlineSetting::Off),
            _ => Err(format!("cmdline is \"{word}\", not full, redacted or off")),
        }
    }
}

impl CmdlineSetting {
    /// The text for arguments as the kernel keeps them, each ended by NUL; `None` when the setting is off or there are
    /// none (a kernel thread). Invalid UTF-8 is replaced, control characters are shown as spaces. More than
    /// [`CMDLINE_BYTES_MAX`] bytes are cut.
    pub fn text(self, arguments: &[u8]) -> Option<Arc<str>> {
        let is_cut = arguments.len() > CMDLINE_BYTES_MAX;
        let arguments = &arguments[..arguments.len().min(CMDLINE_BYTES_MAX)];
        let end = arguments.iter().rposition(|&byte| byte != 0)? + 1;
        let list: Vec<Cow<'_, str>> = arguments[..end].split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
        let shown = match self {
            CmdlineSetting::Off => return None,
            CmdlineSetting::Full => list.join(" "),
            CmdlineSetting::Redacted => redact(&list),
        };
        let mut text: String = shown.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        if is_cut {
            text.push_str(CUT);
        }
        Some(text.into())
    }
}

/// Joins arguments and replaces what looks like a secret: the value after a secret name and `=` or `:`, the argument
/// after a secret option, and the password of a URL.
fn redact(arguments: &[Cow<'_, str>]) -> String {
    let mut shown = String::new();
    let mut value_follows = false;
    for argument in arguments {
        if !shown.is_empty() {
            shown.push(' ');
        }
        let is_option = argument.starts_with('-');
        if value_follows && !is_option {
            shown.push_str(REDACTED);
            value_follows = false;
            continue;
        }
        value_follows = is_option && !argument.contains('=') && is_secret_name(argument.trim_start_matches('-'));
        redact_argument(argument, &mut shown);
    }
    shown
}

/// Copies one argument, secrets replaced.
fn redact_argument(argument: &str, shown: &mut String) {
    let mut rest = argument;
    while let Some((before, value)) = next_secret(rest) {
        shown.push_str(before);
        shown.push_str(REDACTED);
        // A name at the argument's start owns all of it; one inside (a query string, JSON, a shell line) a word of it.
        let name_is_first = rest.len() == argument.len()
            && before.trim_start_matches('-').bytes().filter(|byte| !is_name_byte(*byte)).count() == 1;
        rest = if name_is_first { "" } else { &value[value_end(value)..] };
    }
    shown.push_str(rest);
}

/// Splits at the next secret: what stands before it, and what begins with it.
fn next_secret(text: &str) -> Option<(&str, &str)> {
    text.char_indices().filter(|(_, letter)| matches!(letter, '=' | ':')).find_map(|(at, mark)| {
        let name_end = text[..at].trim_end_matches(['"', '\'']).len();
        let name_start = text[..name_end]
            .rfind(|letter: char| !is_name_letter(letter))
            .map_or(0, |before| before + text[before..].chars().next().map_or(1, char::len_utf8));
        let value = &text[at + 1..];
        let quotes = value.len() - value.trim_start_matches([' ', '"', '\'']).len();
        let value_start = at + 1 + quotes;
        let is_secret = is_secret_name(&text[name_start..name_end]) && value_start < text.len();
        if is_secret {
            return Some((&text[..value_start], &text[value_start..]));
        }
        let (user, _) = value.strip_prefix("//")?.split_once('@').filter(|_| mark == ':')?;
        let (name, password) = user.split_once(':').filter(|_| !user.contains('/'))?;
        let password_start = at + 3 + name.len() + 1;
        (!password.is_empty()).then(|| (&text[..password_start], &text[password_start..]))
    })
}

/// Where a value inside an argument ends. A URL's password ends at the `@`; an `Authorization` value has two words.
fn value_end(value: &str) -> usize {
    let scheme = ["Bearer ", "Basic ", "bearer ", "basic "].iter().find(|scheme| value.starts_with(**scheme));
    let skip = scheme.map_or(0, |scheme| scheme.len());
    value[skip..].find([' ', '&', ';', ',', '"', '\'', '@']).map_or(value.len(), |end| skip + end)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("key") || name == "authorization" || SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii() && is_name_byte(letter as u8)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: &str) {
        let bytes: Vec<u8> = arguments.iter().flat_map(|argument| [argument.as_bytes(), b"\0"].concat()).collect();
        assert_eq!(CmdlineSetting::Redacted.text(&bytes).as_deref(), Some(expected));
    }

    #[test]
    fn values_of_secret_names_are_replaced() {
        check(&["app", "--password=hunter2"], "app --password=[redacted]");
        check(&["app", "--password=hunter 2&more"], "app --password=[redacted]");
        check(&["env", "API_KEY=abc", "run"], "env API_KEY=[redacted] run");
        check(&["java", "-Ddb.secret=abc", "-jar", "x"], "java -Ddb.secret=[redacted] -jar x");
        check(&["app", "--auth-token", "abc", "-v"], "app --auth-token [redacted] -v");
        check(&["app", "--token", "--verbose"], "app --token --verbose");
        check(&["app", "--password="], "app --password=");
    }

    #[test]
    fn secrets_inside_an_argument_are_replaced_and_the_rest_is_kept() {
        check(&["curl", "http://h/?user=a&token=b&x=1"], "curl http://h/?user=a&token=[redacted]&x=1");
        check(&["sh", "-c", "run PASSWORD=a b"], "sh -c run PASSWORD=[redacted] b");
        check(&["curl", "-d", "{\"password\": \"a\", \"n\": 1}"], "curl -d {\"password\": \"[redacted]\", \"n\": 1}");
        check(&["curl", "-H", "X-A: b; Authorization: Bearer abc, c"], "curl -H X-A: b; Authorization: [redacted], c");
        check(&["psql", "postgresql://me:pw@host/db"], "psql postgresql://me:[redacted]@host/db");
        check(&["a", "x token=1 secret=2 y"], "a x token=[redacted] secret=[redacted] y");
    }

    #[test]
    fn ordinary_arguments_stay() {
        check(&["ls", "-l", "/etc"], "ls -l /etc");
        check(&["git", "clone", "https://host:8080/a@b"], "git clone https://host:8080/a@b");
        check(&["cargo", "test", "--keyboard=us", "a=b"], "cargo test --keyboard=us a=b");
        check(&["é=ü", "ß:x"], "é=ü ß:x");
    }

    #[test]
    fn the_setting_decides_what_is_shown() {
        let arguments = b"app\0token=a\n\0\0";
        assert_eq!(CmdlineSetting::Full.text(arguments).as_deref(), Some("app token=a "));
        assert_eq!(CmdlineSetting::Off.text(arguments), None);
        assert_eq!(CmdlineSetting::Redacted.text(b""), None, "a kernel thread has no arguments");
        assert_eq!("off".parse(), Ok(CmdlineSetting::Off));
        assert!("none".parse::<CmdlineSetting>().is_err());
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let long = vec![b'a'; CMDLINE_BYTES_MAX + 1];
        let shown = CmdlineSetting::Full.text(&long).expect("it has arguments");
        assert_eq!((shown.len(), shown.ends_with("a…")), (CMDLINE_BYTES_MAX + CUT.len(), true));
        let whole = CmdlineSetting::Full.text(&long[1..]).expect("it has arguments");
        assert_eq!((whole.len(), whole.ends_with('a')), (CMDLINE_BYTES_MAX, true));
    }
}
