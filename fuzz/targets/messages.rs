//! Any bytes after a login are messages, a part of one, or refused, however they arrive; so are the values of parameters.
#![no_main]

use bytes::{BufMut, BytesMut};
use libfuzzer_sys::fuzz_target;
use probepilot_api::pg::encode::Zone;
use probepilot_api::pg::read_parameter;
use probepilot_api::pg::wire::{Message, take_message};

/// Types whose values have a form of their own, by PostgreSQL's numbers: bool, int2, int4, int8, float8, numeric, bytea, text,
/// date, time, timestamp, timestamptz, interval, and a list of int4.
const TYPES: [u32; 14] = [16, 21, 23, 20, 701, 1700, 17, 25, 1082, 1083, 1114, 1184, 1186, 1007];

/// Everything up to the first error or the first part of a message, and what is left.
fn read(buffer: &mut BytesMut, messages: &mut Vec<Message>) -> Option<String> {
    loop {
        match take_message(buffer) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return None,
            Err(error) => return Some(format!("{} {}", error.state.0, error.message)),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (mut whole, mut messages) = (BytesMut::from(bytes), Vec::new());
    let end = read(&mut whole, &mut messages);
    // The same bytes one after the other are the same messages.
    let (mut parts, mut again, mut end_again) = (BytesMut::new(), Vec::new(), None);
    for byte in bytes {
        parts.put_u8(*byte);
        end_again = read(&mut parts, &mut again);
        if end_again.is_some() {
            break;
        }
    }
    assert_eq!(end, end_again);
    assert_eq!(format!("{messages:?}"), format!("{again:?}"));
    for message in messages {
        let Message::Bind { formats, parameters, .. } = message else { continue };
        for (index, value) in parameters.iter().enumerate().take(TYPES.len()) {
            let format = *formats.get(index).or(formats.first()).unwrap_or(&0);
            for oid in TYPES {
                let read = read_parameter(value.as_deref(), format, oid, None, &Zone::UTC);
                assert!(value.is_some() || !matches!(format, 0 | 1) || read.is_ok_and(|read| read.is_null()));
            }
        }
    }
});
