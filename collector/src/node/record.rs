//! The header every record begins with, as far as the drain reads it.

/// Bytes from a record's start to its program's number, a u32.
const PROGRAM_OFFSET: usize = 0;

/// Bytes from a record's start to its time, a u64.
const TIME_OFFSET: usize = 8;

/// Whose record it is, and when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The number its program was loaded with.
    pub program: u32,
    /// Monotonic clock; 0 when the query does not need the time.
    pub monotonic_ns: u64,
}

impl RecordHeader {
    /// The header of a record; `None` when there are not enough bytes.
    pub fn read(record: &[u8]) -> Option<RecordHeader> {
        let program = u32::from_le_bytes(record.get(PROGRAM_OFFSET..PROGRAM_OFFSET + 4)?.try_into().ok()?);
        let monotonic_ns = u64::from_le_bytes(record.get(TIME_OFFSET..TIME_OFFSET + 8)?.try_into().ok()?);
        Some(RecordHeader { program, monotonic_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_a_short_record_is_none() {
        let record = [7, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 0, 0, 99];
        assert_eq!(RecordHeader::read(&record), Some(RecordHeader { program: 7, monotonic_ns: 261 }));
        assert_eq!(RecordHeader::read(&record[..15]), None);
    }
}
