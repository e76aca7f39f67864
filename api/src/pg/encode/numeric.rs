//! The binary form of `numeric`.

use bytes::{BufMut, BytesMut};

/// Appends the binary form of `numeric` for decimal digits: `-12.340`.
pub(crate) fn put_numeric_binary(out: &mut BytesMut, text: &str) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    // Groups of four digits, aligned at the decimal point.
    let mut groups: Vec<i16> = Vec::new();
    let mut group = |digits: &[u8], width: usize| {
        let value = digits.iter().fold(0_i16, |value, digit| value * 10 + i16::from(digit - b'0'));
        groups.push(value * 10_i16.pow((width - digits.len()) as u32));
    };
    let head = whole.len() % 4;
    if head > 0 {
        group(&whole.as_bytes()[..head], head);
    }
    whole.as_bytes()[head..].chunks(4).for_each(|digits| group(digits, 4));
    fraction.as_bytes().chunks(4).for_each(|digits| group(digits, 4));
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    weight -= leading as i16;
    let end = groups.iter().rposition(|group| *group != 0).map_or(leading, |last| last + 1);
    let groups = &groups[leading..end];
    out.put_i16(groups.len() as i16);
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_u16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_u16(fraction.len() as u16);
    groups.iter().for_each(|group| out.put_i16(*group));
}
