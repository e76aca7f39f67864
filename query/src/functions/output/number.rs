//! Digits of numbers as PostgreSQL prints them.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// Appends a signed integer.
pub(super) fn put_integer(out: &mut BytesMut, value: i64) {
    if value < 0 {
        out.put_u8(b'-');
    }
    put_unsigned(out, value.unsigned_abs());
}

/// Appends an unsigned integer.
pub(super) fn put_unsigned(out: &mut BytesMut, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

/// Appends at least `width` digits of a small number.
pub(super) fn put_padded(out: &mut BytesMut, value: u32, width: usize) {
    let mut digits = [b'0'; 10];
    let mut rest = value;
    let mut start = digits.len();
    while rest > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.put_slice(&digits[start..]);
}

/// Appends the shortest digits that give the same `float8` back.
pub(super) fn put_float8(out: &mut BytesMut, value: f64) {
    if value.is_finite() {
        put_shortest(out, format_args!("{value:e}"), 15);
    } else {
        put_not_finite(out, value);
    }
}

/// Appends the shortest digits that give the same `float4` back.
pub(super) fn put_float4(out: &mut BytesMut, value: f32) {
    if value.is_finite() {
        put_shortest(out, format_args!("{value:e}"), 6);
    } else {
        put_not_finite(out, f64::from(value));
    }
}

fn put_not_finite(out: &mut BytesMut, value: f64) {
    out.put_slice(if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    });
}

/// A line of at most 64 bytes, so that a float needs no allocation.
struct Line {
    bytes: [u8; 64],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Lays out Rust's shortest scientific form as PostgreSQL does: plain digits for exponents from -4 to below `plain`.
fn put_shortest(out: &mut BytesMut, scientific: std::fmt::Arguments<'_>, plain: i32) {
    let mut line = Line { bytes: [0; 64], length: 0 };
    line.write_fmt(scientific).expect("a float has at most 17 digits");
    let text = &line.bytes[..line.length];
    let (mantissa, exponent) = {
        let at = text.iter().position(|byte| *byte == b'e').expect("the scientific form has an exponent");
        let exponent = std::str::from_utf8(&text[at + 1..]).expect("digits are ASCII");
        (&text[..at], exponent.parse::<i32>().expect("the exponent is a small integer"))
    };
    let mantissa = match mantissa.strip_prefix(b"-") {
        Some(rest) => {
            out.put_u8(b'-');
            rest
        }
        None => mantissa,
    };
    let first = mantissa[0];
    let rest = mantissa.get(2..).unwrap_or(&[]);
    if !(-4..plain).contains(&exponent) {
        out.put_slice(mantissa);
        out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
        put_padded(out, exponent.unsigned_abs(), 2);
    } else if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', (-exponent - 1) as usize);
        out.put_u8(first);
        out.put_slice(rest);
    } else {
        let whole = exponent as usize;
        out.put_u8(first);
        if rest.len() <= whole {
            out.put_slice(rest);
            out.put_bytes(b'0', whole - rest.len());
        } else {
            out.put_slice(&rest[..whole]);
            out.put_u8(b'.');
            out.put_slice(&rest[whole..]);
        }
    }
}
