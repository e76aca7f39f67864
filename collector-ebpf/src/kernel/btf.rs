//! Reads the kernel's types (BTF): one pass finds where each type starts, everything else is decoded when asked for.
//!
//! The format is described in the kernel's `Documentation/bpf/btf.rst`. A type is a 12-byte head (name, kind and count,
//! size or referred type) and a tail whose length follows from kind and count.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use super::error::KernelError;

const MAGIC: u16 = 0xeb9f;
const TYPE_HEAD_BYTES: usize = 12;

/// Typedefs, qualifiers and tags followed before a type is called circular.
const INDIRECTIONS_MAX: usize = 64;

/// Anonymous structs inside each other that a member is looked for in.
const ANONYMOUS_DEPTH_MAX: usize = 16;

/// Members looked at for one name, those inside anonymous structs included; what lies behind them is not found. The
/// largest struct of a kernel has some hundreds.
const MEMBERS_MAX: usize = 8_192;

/// Kinds of BTF types, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum BtfKind {
    Void,
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    FunctionPrototype,
    Variable,
    DataSection,
    Float,
    DeclarationTag,
    TypeTag,
    Enum64,
}

impl BtfKind {
    const ALL: [BtfKind; 20] = [
        BtfKind::Void,
        BtfKind::Int,
        BtfKind::Pointer,
        BtfKind::Array,
        BtfKind::Struct,
        BtfKind::Union,
        BtfKind::Enum,
        BtfKind::Forward,
        BtfKind::Typedef,
        BtfKind::Volatile,
        BtfKind::Const,
        BtfKind::Restrict,
        BtfKind::Function,
        BtfKind::FunctionPrototype,
        BtfKind::Variable,
        BtfKind::DataSection,
        BtfKind::Float,
        BtfKind::DeclarationTag,
        BtfKind::TypeTag,
        BtfKind::Enum64,
    ];

    fn tail_bytes(self, count: usize) -> usize {
        match self {
            BtfKind::Int | BtfKind::Variable | BtfKind::DeclarationTag => 4,
            BtfKind::Array => 12,
            BtfKind::Struct | BtfKind::Union | BtfKind::DataSection | BtfKind::Enum64 => count * 12,
            BtfKind::Enum | BtfKind::FunctionPrototype => count * 8,
            _ => 0,
        }
    }
}

/// A type's head, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtfType<'a> {
    /// Its number.
    pub id: u32,
    /// Its kind.
    pub kind: BtfKind,
    /// Its name; empty for types without.
    pub name: &'a str,
    /// Members, values or parameters.
    pub count: usize,
    /// The kind's flag: bit fields in a struct, signed values in an enumeration.
    pub flag: bool,
    /// Bytes, or the number of the type it refers to.
    pub size_or_type: u32,
    /// What follows the head.
    tail: &'a [u8],
}

/// A member of a struct or union, by its place in the outermost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtfMember<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_id: u32,
    /// Bits from the struct's start.
    pub bit_offset: u32,
    /// Bits of a bit field; 0 for others.
    pub bit_width: u8,
}

/// The types of a kernel.
pub struct Btf {
    data: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Where each type starts; index 0 is `void`.
    starts: Vec<u32>,
    /// (hash of name, type) of all named types, sorted; made when a name is first looked up.
    by_name: OnceLock<Vec<(u32, u32)>>,
}

impl Btf {
    /// No types at all.
    pub fn empty() -> Btf {
        Btf { data: Vec::new(), strings: 0..0, starts: vec![0], by_name: OnceLock::new() }
    }

    /// Reads the content of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// When the header, a kind or a length is wrong.
    pub fn parse(data: Vec<u8>) -> Result<Btf, KernelError> {
        let malformed = |what: &str| KernelError::BtfMalformed { what: what.to_string() };
        if data.len() < 24 || u16_at(&data, 0) != MAGIC {
            return Err(malformed("it does not start with the magic number of this byte order"));
        }
        let section = |offset: usize, length: usize| {
            let start = u32_at(&data, 4) as usize + u32_at(&data, offset) as usize;
            let end = start + u32_at(&data, length) as usize;
            if end <= data.len() { Ok(start..end) } else { Err(malformed("a section is longer than the file")) }
        };
        let types = section(8, 12)?;
        let strings = section(16, 20)?;
        let mut starts = vec![0];
        let mut at = types.start;
        while at < types.end {
            let id = starts.len();
            let broken = |what: &str| KernelError::BtfMalformed { what: format!("type {id} {what}") };
            if types.end - at < TYPE_HEAD_BYTES {
                return Err(broken("is cut off"));
            }
            let word = u32_at(&data, at + 4);
            let kind =
                kind_of(word).filter(|kind| *kind != BtfKind::Void).ok_or_else(|| broken("is of an unknown kind"))?;
            let bytes = TYPE_HEAD_BYTES + kind.tail_bytes(count_of(word));
            if types.end - at < bytes {
                return Err(broken("is cut off"));
            }
            starts.push(u32::try_from(at).map_err(|_| broken("is beyond 4 GiB"))?);
            at += bytes;
        }
        Ok(Btf { data, strings, starts, by_name: OnceLock::new() })
    }

    /// The type of this number; `None` when there is none.
    pub fn get(&self, id: u32) -> Option<BtfType<'_>> {
        if id == 0 {
            return Some(BtfType {
                id,
                kind: BtfKind::Void,
                name: "void",
                count: 0,
                flag: false,
                size_or_type: 0,
                tail: &[],
            });
        }
        let at = *self.starts.get(id as usize)? as usize;
        let word = u32_at(&self.data, at + 4);
        let (kind, count) = (kind_of(word)?, count_of(word));
        let tail = at + TYPE_HEAD_BYTES;
        Some(BtfType {
            id,
            kind,
            name: self.string(u32_at(&self.data, at)),
            count,
            flag: word >> 31 == 1,
            size_or_type: u32_at(&self.data, at + 8),
            tail: &self.data[tail..tail + kind.tail_bytes(count)],
        })
    }

    /// The first type of this kind and name.
    pub fn find(&self, kind: BtfKind, name: &str) -> Option<u32> {
        let index = self.by_name.get_or_init(|| {
            let mut index: Vec<(u32, u32)> =
                self.types().filter(|found| !found.name.is_empty()).map(|found| (hash(found.name), found.id)).collect();
            index.sort_unstable();
            index
        });
        let wanted = hash(name);
        let from = index.partition_point(|(hash, _)| *hash < wanted);
        index[from..]
            .iter()
            .take_while(|(hash, _)| *hash == wanted)
            .filter_map(|(_, id)| self.get(*id))
            .find(|found| found.kind == kind && found.name == name)
            .map(|found| found.id)
    }

    /// The names of all types of a kind, in the file's order.
    pub fn names(&self, kind: BtfKind) -> impl Iterator<Item = &str> {
        self.types().filter(move |found| found.kind == kind).map(|found| found.name)
    }

    /// The type behind typedefs, qualifiers and tags; the tags' names are handed to `on_tag`. `None` when circular.
    pub fn strip(&self, mut id: u32, mut on_tag: impl FnMut(&str)) -> Option<BtfType<'_>> {
        for _ in 0..INDIRECTIONS_MAX {
            let found = self.get(id)?;
            match found.kind {
                BtfKind::TypeTag => on_tag(found.name),
                BtfKind::Typedef | BtfKind::Volatile | BtfKind::Const | BtfKind::Restrict => {}
                _ => return Some(found),
            }
            id = found.size_or_type;
        }
        None
    }

    /// The members of a struct or union, anonymous ones as they are; empty for other types.
    pub fn members(&self, id: u32) -> Vec<BtfMember<'_>> {
        let Some(found) = self.get(id).filter(|found| matches!(found.kind, BtfKind::Struct | BtfKind::Union)) else {
            return Vec::new();
        };
        found
            .tail
            .chunks_exact(12)
            .map(|member| {
                let place = u32_at(member, 8);
                // With the flag, the upper byte is a bit field's width; without it all is the offset.
                let (bit_offset, bit_width) =
                    if found.flag { (place & 0xff_ffff, (place >> 24) as u8) } else { (place, 0) };
                BtfMember { name: self.string(u32_at(member, 0)), type_id: u32_at(member, 4), bit_offset, bit_width }
            })
            .collect()
    }

    /// The member of this name, also inside anonymous structs and unions, with its place in the outer struct.
    pub fn member(&self, id: u32, name: &str) -> Option<BtfMember<'_>> {
        let mut found = None;
        let _ = self.each_member(id, 0, 0, &mut { MEMBERS_MAX }, &mut |member| {
            if member.name != name {
                return ControlFlow::Continue(());
            }
            found = Some(member);
            ControlFlow::Break(())
        });
        found
    }

    /// The names that [`Btf::member`] finds.
    pub fn member_names(&self, id: u32) -> Vec<&str> {
        let mut names = Vec::new();
        let _ = self.each_member(id, 0, 0, &mut { MEMBERS_MAX }, &mut |member| {
            names.push(member.name);
            ControlFlow::Continue(())
        });
        names
    }

    /// Hands over named members until `each` breaks or `left` of all members were looked at.
    fn each_member<'a>(
        &'a self,
        id: u32,
        base_bits: u32,
        depth: usize,
        left: &mut usize,
        each: &mut dyn FnMut(BtfMember<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if depth > ANONYMOUS_DEPTH_MAX {
            return ControlFlow::Continue(());
        }
        for member in self.members(id) {
            let Some(fewer) = left.checked_sub(1) else { return ControlFlow::Break(()) };
            *left = fewer;
            let Some(bit_offset) = base_bits.checked_add(member.bit_offset) else { continue };
            if !member.name.is_empty() {
                each(BtfMember { bit_offset, ..member })?;
            } else if let Some(inner) = self.strip(member.type_id, |_| ()) {
                self.each_member(inner.id, bit_offset, depth + 1, left, each)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The values of an enumeration; empty for other types.
    pub fn enum_values(&self, id: u32) -> Vec<(&str, i64)> {
        let Some(found) = self.get(id) else { return Vec::new() };
        match found.kind {
            BtfKind::Enum => found
                .tail
                .chunks_exact(8)
                .map(|value| {
                    let number = u32_at(value, 4);
                    let number = if found.flag { i64::from(number.cast_signed()) } else { i64::from(number) };
                    (self.string(u32_at(value, 0)), number)
                })
                .collect(),
            BtfKind::Enum64 => found
                .tail
                .chunks_exact(12)
                .map(|value| {
                    let number = u64::from(u32_at(value, 4)) | (u64::from(u32_at(value, 8)) << 32);
                    (self.string(u32_at(value, 0)), number.cast_signed())
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The parameters of a function's prototype: (name, type).
    pub fn parameters(&self, id: u32) -> Vec<(&str, u32)> {
        match self.get(id) {
            Some(found) if found.kind == BtfKind::FunctionPrototype => {
                found.tail.chunks_exact(8).map(|each| (self.string(u32_at(each, 0)), u32_at(each, 4))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// An array's (element type, length).
    pub fn array(&self, id: u32) -> Option<(u32, u32)> {
        let found = self.get(id).filter(|found| found.kind == BtfKind::Array)?;
        Some((u32_at(found.tail, 0), u32_at(found.tail, 8)))
    }

    /// An integer's (bytes, signed, boolean).
    pub fn integer(&self, id: u32) -> Option<(u32, bool, bool)> {
        let found = self.get(id).filter(|found| found.kind == BtfKind::Int)?;
        let encoding = u32_at(found.tail, 0) >> 24;
        Some((found.size_or_type, encoding & 1 != 0, encoding & 4 != 0))
    }

    /// Number of types, `void` included.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Says whether there is no type but `void`.
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    fn types(&self) -> impl Iterator<Item = BtfType<'_>> {
        (1..self.starts.len()).filter_map(|id| self.get(u32::try_from(id).ok()?))
    }

    /// The string at an offset; empty when it is out of bounds or not text.
    fn string(&self, offset: u32) -> &str {
        let strings = &self.data[self.strings.clone()];
        let from = strings.get(offset as usize..).unwrap_or_default();
        let end = from.iter().position(|byte| *byte == 0).unwrap_or(0);
        std::str::from_utf8(&from[..end]).unwrap_or_default()
    }
}

fn kind_of(word: u32) -> Option<BtfKind> {
    BtfKind::ALL.get(((word >> 24) & 0x1f) as usize).copied()
}

fn count_of(word: u32) -> usize {
    (word & 0xffff) as usize
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([data[at], data[at + 1]])
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// FNV-1a, folded: only spreads names, equality is checked.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
