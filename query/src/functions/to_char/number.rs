//! Templates of numbers.

/// A number's digits, as many behind the point as it has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    /// Infinite or no number.
    Special(&'static str, bool),
    Digits {
        negative: bool,
        /// All digits, with at least one before the point.
        digits: Vec<u8>,
        /// How many of them are behind the point.
        scale: usize,
    },
}

impl Number {
    pub(super) fn of_integer(value: i64) -> Number {
        Number::of_text(&value.to_string())
    }

    /// `value` of 10^-`scale`.
    pub(super) fn of_decimal(value: i128, scale: i8) -> Number {
        let zeros = usize::try_from(-i32::from(scale)).unwrap_or(0);
        let scale = usize::try_from(scale).unwrap_or(0);
        let digits = format!("{}{}", value.unsigned_abs(), "0".repeat(zeros));
        let digits = format!("{digits:0>width$}", width = scale + 1).into_bytes();
        Number::Digits { negative: value < 0, digits, scale }
    }

    pub(super) fn of_double(value: f64) -> Number {
        if !value.is_finite() {
            return Number::Special(if value.is_nan() { "NaN" } else { "Infinity" }, value < 0.0);
        }
        // All digits of the shortest text that reads back as the value, without an exponent.
        Number::of_text(&format!("{value}"))
    }

    fn of_text(text: &str) -> Number {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (before, behind) = text.split_once('.').unwrap_or((text, ""));
        let digits = before.bytes().chain(behind.bytes()).collect();
        Number::Digits { negative, digits, scale: behind.len() }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    /// `9`, or `0`, which keeps zeros.
    Digit {
        zero: bool,
    },
    Point,
    Group,
    Literal(char),
    /// `MI`: a minus or a blank.
    Minus,
    /// `PL`: a plus or a blank.
    Plus,
    /// `SG`: either.
    Sign,
    /// `L`, which has no symbol here.
    Currency,
    /// `TH` or `th`.
    Ordinal {
        capitals: bool,
    },
    Roman {
        capitals: bool,
    },
}

/// Where the sign stands that is not asked for by a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Floating {
    /// Before the first digit, a blank for a plus.
    Default,
    /// `S` before the digits: before the first one, a plus too.
    Before,
    /// `S` behind the digits.
    Behind,
    /// `PR`: angle brackets.
    Brackets,
    /// Not at all, as `MI` and `SG` say it.
    None,
}

/// A template that was read.
#[derive(Clone, Debug)]
pub(super) struct Template {
    items: Vec<Item>,
    /// `FM`: no blanks, and no zeros at the end that only a `9` asks for.
    fill: bool,
    floating: Floating,
    /// Digits before the point.
    before: usize,
    /// Digits behind it.
    behind: usize,
    /// From this digit before the point on, zeros are shown.
    zeros_from: Option<usize>,
    /// Up to this digit behind the point, zeros are shown.
    zeros_behind: usize,
    has_point: bool,
    /// `V`: by how many powers of ten the number is multiplied.
    shift: Option<usize>,
    /// `EEEE`
    exponent: bool,
}

/// Patterns, those first that begin with others; each is written in capitals or in small letters.
const PATTERNS: [&str; 14] = ["EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "SP", "TH", "D", "G", "L", "S", "V"];

fn pattern(text: &str) -> Option<(&'static str, bool)> {
    PATTERNS.into_iter().find_map(|name| {
        let start = text.get(..name.len())?;
        if start == name { Some((name, true)) } else { (start == name.to_lowercase()).then_some((name, false)) }
    })
}

impl Template {
    /// Reads a template; whatever is no pattern stands for itself.
    pub(super) fn read(mut text: &str) -> Result<Template, String> {
        let mut template = Template {
            items: Vec::new(),
            fill: false,
            floating: Floating::Default,
            before: 0,
            behind: 0,
            zeros_from: None,
            zeros_behind: 0,
            has_point: false,
            shift: None,
            exponent: false,
        };
        let (mut sign_at, mut plus, mut minus) = (None, false, false);
        while let Some(first) = text.chars().next() {
            if let Some((name, capitals)) = pattern(text) {
                text = &text[name.len()..];
                match name {
                    "EEEE" => template.exponent = true,
                    "FM" => template.fill = true,
                    "MI" => {
                        minus = true;
                        template.items.push(Item::Minus);
                    }
                    "PL" => {
                        plus = true;
                        template.items.push(Item::Plus);
                    }
                    "SG" => {
                        (plus, minus) = (true, true);
                        template.items.push(Item::Sign);
                    }
                    "PR" => template.floating = Floating::Brackets,
                    "RN" => template.items.push(Item::Roman { capitals }),
                    "TH" => template.items.push(Item::Ordinal { capitals }),
                    "D" => template.point()?,
                    "G" => template.items.push(Item::Group),
                    "L" => template.items.push(Item::Currency),
                    "S" if sign_at.is_some() => return Err("cannot use \"S\" twice".to_owned()),
                    "S" => sign_at = Some((template.before, template.has_point)),
                    "V" if template.has_point => return Err("cannot use \"V\" and decimal point together".to_owned()),
                    "V" => template.shift = Some(0),
                    _ => {}
                }
                continue;
            }
            text = &text[first.len_utf8()..];
            match first {
                '9' | '0' => template.digit(first == '0'),
                '.' => template.point()?,
                ',' => template.items.push(Item::Group),
                '"' => {
                    let end = text.find('"').unwrap_or(text.len());
                    template.items.extend(text[..end].chars().map(Item::Literal));
                    text = text.get(end + 1..).unwrap_or("");
                }
                '\\' if text.starts_with('"') => {
                    template.items.push(Item::Literal('"'));
                    text = &text[1..];
                }
                other => template.items.push(Item::Literal(other)),
            }
        }
        if let Some((digits, in_fraction)) = sign_at {
            if plus || minus || template.floating == Floating::Brackets {
                return Err("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together".to_owned());
            }
            let behind = in_fraction || digits == template.before;
            template.floating = if behind { Floating::Behind } else { Floating::Before };
        } else if minus && template.floating == Floating::Default {
            template.floating = Floating::None;
        }
        Ok(template)
    }

    fn digit(&mut self, zero: bool) {
        if self.has_point {
            self.behind += 1;
            if zero {
                self.zeros_behind = self.behind;
            }
        } else {
            if zero && self.zeros_from.is_none() {
                self.zeros_from = Some(self.before);
            }
            self.before += 1;
            self.shift = self.shift.map(|shift| shift + 1);
        }
        self.items.push(Item::Digit { zero });
    }

    fn point(&mut self) -> Result<(), String> {
        if self.has_point {
            return Err("multiple decimal points".to_owned());
        }
        if self.shift.is_some() {
            return Err("cannot use \"V\" and decimal point together".to_owned());
        }
        self.has_point = true;
        self.items.push(Item::Point);
        Ok(())
    }

    /// The text of a number.
    pub(super) fn show(&self, number: &Number) -> String {
        if let Some(capitals) = self.items.iter().find_map(|item| match item {
            Item::Roman { capitals } => Some(*capitals),
            _ => None,
        }) {
            return self.roman(number, capitals);
        }
        if self.exponent {
            return self.scientific(number);
        }
        let (negative, before, behind) = self.digits(number);
        let mut writer = Writer {
            template: self,
            negative,
            overflow: before.len() > self.before,
            blanks: self.before.saturating_sub(before.len()),
            kept: if before.len() > self.before { self.behind } else { self.kept(&behind) },
            before,
            behind,
            out: String::new(),
            signed: self.floating == Floating::None || self.floating == Floating::Behind,
            closed: false,
            in_number: false,
        };
        writer.run();
        writer.out
    }

    /// Rounds to the digits of the template: sign, digits before the point without zeros in front, digits behind it. What is
    /// too long or no number has too many digits.
    fn digits(&self, number: &Number) -> (bool, Vec<u8>, Vec<u8>) {
        let Number::Digits { negative, digits, scale } = number else {
            let negative = matches!(number, Number::Special(_, true));
            return (negative, vec![b'#'; self.before + 1], vec![b'#'; self.behind]);
        };
        let (digits, scale) = rounded(digits, *scale, self.shift.unwrap_or(0), self.behind);
        let (before, behind) = digits.split_at(digits.len() - scale);
        let zeros = before.iter().take_while(|digit| **digit == b'0').count().min(before.len() - 1);
        let any = digits.iter().any(|digit| *digit != b'0');
        // What was rounded to nothing has no sign.
        (*negative && any, before[zeros..].to_vec(), behind.to_vec())
    }

    /// How many digits behind the point are shown.
    fn kept(&self, behind: &[u8]) -> usize {
        if !self.fill {
            return self.behind;
        }
        let significant = behind.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        significant.max(self.zeros_behind)
    }

    fn scientific(&self, number: &Number) -> String {
        let Number::Digits { negative, digits, scale } = number else {
            return format!(" {}", "#".repeat(self.behind + 6));
        };
        let first = digits.iter().position(|digit| *digit != b'0');
        let (mantissa, mut exponent) = match first {
            Some(first) => (&digits[first..], (digits.len() - first) as i64 - *scale as i64 - 1),
            None => (&b"0"[..], 0),
        };
        let (mut mantissa, _) = rounded(mantissa, mantissa.len() - 1, 0, self.behind);
        if mantissa.len() > self.behind + 1 {
            mantissa.pop();
            exponent += 1;
        }
        let sign = if *negative { '-' } else { ' ' };
        let text = String::from_utf8_lossy(&mantissa);
        let point = if self.behind > 0 { "." } else { "" };
        let mark = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{}{point}{}e{mark}{:02}", &text[..1], &text[1..], exponent.abs())
    }

    fn roman(&self, number: &Number, capitals: bool) -> String {
        const WIDTH: usize = 15;
        const PARTS: [(u32, &str); 13] = [
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let whole = match number {
            Number::Digits { negative: false, digits, scale } => {
                let (digits, _) = rounded(digits, *scale, 0, 0);
                String::from_utf8_lossy(&digits).parse::<u32>().ok().filter(|value| (1..4000).contains(value))
            }
            _ => None,
        };
        let Some(mut left) = whole else { return "#".repeat(WIDTH) };
        let mut text = String::new();
        for (value, letters) in PARTS {
            while left >= value {
                text.push_str(letters);
                left -= value;
            }
        }
        let text = if capitals { text } else { text.to_lowercase() };
        if self.fill { text } else { format!("{text:>WIDTH$}") }
    }
}

/// Digits times 10^`shift`, rounded half away from zero to `behind` digits behind the point; gives as many always.
fn rounded(digits: &[u8], scale: usize, shift: usize, behind: usize) -> (Vec<u8>, usize) {
    let mut digits = digits.to_vec();
    let wanted = behind + shift;
    if scale <= wanted {
        digits.resize(digits.len() + wanted - scale, b'0');
        return (digits, behind);
    }
    let cut = digits.len() - (scale - wanted);
    let up = digits[cut] >= b'5';
    digits.truncate(cut);
    if digits.len() <= behind {
        digits.splice(0..0, std::iter::repeat_n(b'0', behind + 1 - digits.len()));
    }
    let mut carry = up;
    for digit in digits.iter_mut().rev() {
        if !carry {
            break;
        }
        carry = *digit == b'9';
        *digit = if carry { b'0' } else { *digit + 1 };
    }
    if carry {
        digits.insert(0, b'1');
    }
    (digits, behind)
}

/// One number on its way through a template.
struct Writer<'a> {
    template: &'a Template,
    negative: bool,
    overflow: bool,
    /// Places before the first digit.
    blanks: usize,
    /// Digits behind the point that are shown.
    kept: usize,
    before: Vec<u8>,
    behind: Vec<u8>,
    out: String,
    /// Whether the sign was written, or needs no writing.
    signed: bool,
    closed: bool,
    /// Whether the last place showed a digit.
    in_number: bool,
}

impl Writer<'_> {
    fn run(&mut self) {
        let (mut before, mut behind) = (0, 0);
        let mut after_point = false;
        for item in &self.template.items {
            match item {
                Item::Digit { zero } if after_point => {
                    self.digit_behind(behind, *zero);
                    behind += 1;
                }
                Item::Digit { .. } => {
                    self.digit_before(before);
                    before += 1;
                }
                Item::Point => {
                    after_point = true;
                    if self.template.behind > 0 || self.overflow {
                        self.sign();
                        self.out.push('.');
                    }
                    self.in_number = false;
                }
                Item::Group if self.in_number => self.out.push(','),
                Item::Group | Item::Currency => self.blank(),
                Item::Literal(character) => self.out.push(*character),
                Item::Minus if self.negative => self.out.push('-'),
                Item::Plus if !self.negative => self.out.push('+'),
                Item::Minus | Item::Plus => self.blank(),
                Item::Sign => self.out.push(if self.negative { '-' } else { '+' }),
                Item::Ordinal { capitals } => self.ordinal(*capitals),
                Item::Roman { .. } => {}
            }
            // A point without digits behind it leaves nothing to close, as in PostgreSQL.
            let whole = before == self.template.before && (behind > 0 || !self.template.has_point || self.kept == 0);
            let closes =
                before + behind > 0 && (self.overflow || self.template.has_point == (self.template.behind > 0));
            if closes && whole && after_point == self.template.has_point && behind >= self.kept {
                self.close();
            }
        }
    }

    fn blank(&mut self) {
        if !self.template.fill {
            self.out.push(' ');
        }
    }

    /// Writes the sign before what comes next.
    fn sign(&mut self) {
        if self.signed {
            return;
        }
        self.signed = true;
        match (self.template.floating, self.negative) {
            (Floating::Before, negative) => self.out.push(if negative { '-' } else { '+' }),
            (Floating::Brackets, true) => self.out.push('<'),
            (_, true) => self.out.push('-'),
            (_, false) => self.blank(),
        }
    }

    /// Writes what stands behind the last digit.
    fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        match (self.template.floating, self.negative) {
            (Floating::Behind, negative) => self.out.push(if negative { '-' } else { '+' }),
            (Floating::Brackets, true) if self.signed => self.out.push('>'),
            (Floating::Brackets, false) if self.signed => self.blank(),
            _ => {}
        }
    }

    fn digit_before(&mut self, place: usize) {
        let zeros_from = self.template.zeros_from;
        let shows_zero = zeros_from.is_some_and(|from| from <= place);
        // Alone before the point, 0 shows only where the template has a 0.
        let bare = !self.overflow && zeros_from.is_none() && self.template.behind > 0 && self.before == b"0";
        if place < self.blanks {
            if shows_zero {
                self.sign();
                self.out.push('0');
            } else {
                self.blank();
            }
            self.in_number = shows_zero;
            return;
        }
        if bare && !(self.template.fill && self.kept == 0) {
            self.blank();
            self.in_number = false;
            return;
        }
        self.sign();
        let digit = if self.overflow { b'#' } else { self.before[place - self.blanks] };
        self.out.push(char::from(digit));
        self.in_number = !bare;
    }

    fn digit_behind(&mut self, place: usize, zero: bool) {
        if place >= self.kept && !zero {
            self.in_number = false;
            return;
        }
        self.sign();
        let digit = if self.overflow { b'#' } else { self.behind.get(place).copied().unwrap_or(b'0') };
        self.out.push(char::from(digit));
        self.in_number = true;
    }

    fn ordinal(&mut self, capitals: bool) {
        if self.negative || self.overflow || self.template.has_point {
            return;
        }
        let (last, teens) = match self.before.as_slice() {
            [.., b'1', last] => (*last, true),
            [.., last] => (*last, false),
            [] => return,
        };
        let ending = match last {
            b'1' if !teens => "st",
            b'2' if !teens => "nd",
            b'3' if !teens => "rd",
            _ => "th",
        };
        self.out.push_str(&if capitals { ending.to_uppercase() } else { ending.to_owned() });
    }
}
