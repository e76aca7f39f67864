//! The bytes of a log file: headers of files and entries.
//!
//! ```text
//! file:   magic 8 · version u32 · crc u32 of the rest · first sequence u64 · zero u64              32 bytes
//! entry:  magic u32 · crc u32 of the rest of the header · sequence u64 · payload bytes u32
//!         · crc u32 of the payload · rows u32 · kind u16 · zero u16                               32 bytes, then the payload
//! ```
//!
//! All numbers are little endian; everything starts at a multiple of eight bytes, so that Arrow reads in place.

/// Bytes of a file's header and of an entry's header.
pub const HEADER_BYTES: usize = 32;

/// Every header and payload starts at a multiple of this.
pub const ALIGNMENT_BYTES: usize = 8;

/// The only version there is.
const VERSION: u32 = 1;

const FILE_MAGIC: [u8; 8] = *b"PPLOG\r\n\0";
const ENTRY_MAGIC: [u8; 4] = *b"PPe1";

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A table's schema, for the envelopes behind it in the same file.
    Schema,
    /// An envelope.
    Envelope,
}

impl EntryKind {
    fn code(self) -> u16 {
        match self {
            EntryKind::Schema => 1,
            EntryKind::Envelope => 2,
        }
    }

    fn from_code(code: u16) -> Option<EntryKind> {
        match code {
            1 => Some(EntryKind::Schema),
            2 => Some(EntryKind::Envelope),
            _ => None,
        }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The envelope's place in the log; of a schema, that of the envelope it was written for.
    pub sequence: u64,
    /// Bytes of the payload, a multiple of [`ALIGNMENT_BYTES`].
    pub payload_bytes: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
    /// Rows in the envelope, 0 for a schema: known even when the payload is damaged.
    pub rows: u32,
    /// What the payload is.
    pub kind: EntryKind,
}

/// Why a file cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileHeaderError {
    /// Not one of our files, or its first bytes are damaged.
    #[error("its header is damaged or not that of a log file")]
    Damaged,
    /// Written by a later version of this program.
    #[error("its format has version {0}, which this version does not read")]
    Version(u32),
}

/// The first bytes of a file whose first envelope has sequence `first`.
pub fn encode_file_header(first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&FILE_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The first sequence a file's header names.
pub fn decode_file_header(bytes: &[u8; HEADER_BYTES]) -> Result<u64, FileHeaderError> {
    if bytes[..8] != FILE_MAGIC || crc32fast::hash(&bytes[16..]) != u32_at(bytes, 12) {
        return Err(FileHeaderError::Damaged);
    }
    match u32_at(bytes, 8) {
        VERSION => Ok(u64_at(bytes, 16)),
        version => Err(FileHeaderError::Version(version)),
    }
}

/// An entry's header as bytes.
pub fn encode_entry_header(header: &EntryHeader) -> [u8; HEADER_BYTES] {
    let EntryHeader { sequence, payload_bytes, payload_crc, rows, kind } = *header;
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&ENTRY_MAGIC);
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[16..20].copy_from_slice(&payload_bytes.to_le_bytes());
    bytes[20..24].copy_from_slice(&payload_crc.to_le_bytes());
    bytes[24..28].copy_from_slice(&rows.to_le_bytes());
    bytes[28..30].copy_from_slice(&kind.code().to_le_bytes());
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The header in `bytes`, or `None` when they are damaged or none.
pub fn decode_entry_header(bytes: &[u8; HEADER_BYTES]) -> Option<EntryHeader> {
    if bytes[..4] != ENTRY_MAGIC || crc32fast::hash(&bytes[8..]) != u32_at(bytes, 4) {
        return None;
    }
    let payload_bytes = u32_at(bytes, 16);
    let aligned = (payload_bytes as usize).is_multiple_of(ALIGNMENT_BYTES);
    let kind = EntryKind::from_code(u16::from_le_bytes([bytes[28], bytes[29]]))?;
    aligned.then(|| EntryHeader {
        sequence: u64_at(bytes, 8),
        payload_bytes,
        payload_crc: u32_at(bytes, 20),
        rows: u32_at(bytes, 24),
        kind,
    })
}

/// Where in `bytes`, which start at an aligned place, the next entry may begin.
pub fn find_entry(bytes: &[u8]) -> Option<usize> {
    bytes.chunks(ALIGNMENT_BYTES).position(|chunk| chunk.starts_with(&ENTRY_MAGIC)).map(|chunk| chunk * ALIGNMENT_BYTES)
}

/// How many bytes of padding bring `bytes` to a multiple of [`ALIGNMENT_BYTES`].
pub fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT_BYTES) - bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_any_flipped_bit_is_seen() {
        let header = EntryHeader { sequence: 7, payload_bytes: 64, payload_crc: 5, rows: 3, kind: EntryKind::Envelope };
        let entry = encode_entry_header(&header);
        let file = encode_file_header(42);
        assert_eq!(decode_entry_header(&entry), Some(header));
        assert_eq!(decode_file_header(&file), Ok(42));
        for bit in 0..HEADER_BYTES * 8 {
            let (mut broken_entry, mut broken_file) = (entry, file);
            broken_entry[bit / 8] ^= 1 << (bit % 8);
            broken_file[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_entry_header(&broken_entry), None, "bit {bit}");
            assert!(decode_file_header(&broken_file).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_next_entry_is_found_only_at_aligned_places() {
        let mut bytes = vec![0; 100];
        bytes[12..16].copy_from_slice(&ENTRY_MAGIC);
        assert_eq!(find_entry(&bytes), None);
        bytes[40..44].copy_from_slice(&ENTRY_MAGIC);
        assert_eq!(find_entry(&bytes), Some(40));
    }
}
