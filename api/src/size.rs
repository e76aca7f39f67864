//! Sizes as people write them: `512MiB`, `10GB`, `1048576`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "SizeText")]
pub struct Size(pub u64);

/// In a configuration file a size is a number of bytes or a text.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum SizeText {
    Bytes(u64),
    Text(String),
}

impl TryFrom<SizeText> for Size {
    type Error = String;

    fn try_from(text: SizeText) -> Result<Size, String> {
        match text {
            SizeText::Bytes(bytes) => Ok(Size(bytes)),
            SizeText::Text(text) => text.parse(),
        }
    }
}

const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let lower = text.trim().to_lowercase();
        let digits =
            lower.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(lower.len());
        let (number, unit) = lower.split_at(digits);
        let unit = unit.trim();
        let factor = if unit.is_empty() {
            Some(1)
        } else {
            UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
        };
        let (Ok(number), Some(factor)) = (number.parse::<f64>(), factor) else {
            return Err(format!("\"{text}\" is not a size; write for example 512MiB, 10GB or 1048576"));
        };
        let bytes = number * factor as f64;
        if bytes > u64::MAX as f64 {
            Err(format!("\"{text}\" is more bytes than can be counted"))
        } else {
            Ok(Size(bytes as u64))
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor {
                let value = format!("{:.1}", self.0 as f64 / factor as f64);
                return write!(f, "{} {name}", value.strip_suffix(".0").unwrap_or(&value));
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("1048576", 1 << 20), ("512MiB", 512 << 20), ("10 gb", 10_000_000_000), ("1.5KiB", 1536), ("0", 0)]
        {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes), "{text}");
        }
        for text in ["", "MiB", "12 parsecs", "-1", "1e300TB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(Size(10 << 30).to_string(), "10 GiB");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(12).to_string(), "12 bytes");
    }
}
