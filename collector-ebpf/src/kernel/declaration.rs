//! C declarations, as tracefs prints them, and BTF types → the types SQL can use.

use std::sync::Arc;

use super::btf::{Btf, BtfKind};
use super::hook::KernelType;

/// Dimensions of an array that are multiplied to one length.
const DIMENSIONS_MAX: usize = 8;

/// What a record's slot says about a field beside its declaration.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Bytes of the slot.
    pub bytes: u32,
    /// Two's complement, for a single integer.
    pub signed: bool,
    /// An argument of a system call: the slot is a whole register, and pointers are the user's.
    pub syscall_argument: bool,
}

/// The type of a field declared in tracefs as `declared` (without name and brackets); `array` when it had brackets.
pub fn of_declaration(declared: &str, array: bool, slot: Slot, btf: &Btf) -> KernelType {
    let named = without_qualifiers(declared);
    if let Some(to) = named.strip_suffix('*') {
        return pointer(to.trim(), slot.syscall_argument, btf);
    }
    let element = of_name(&named, btf);
    if array {
        return array_of(&named, element.as_ref(), slot.bytes);
    }
    match element {
        // A register holds an argument in its lower bytes, the rest is not the value's.
        Some(ty) if slot.syscall_argument && scalar_bytes(&ty).is_some_and(|bytes| u32::from(bytes) <= slot.bytes) => {
            ty
        }
        Some(KernelType::Bool) if slot.bytes == 1 => KernelType::Bool,
        Some(KernelType::Enum { values, .. }) if is_width(slot.bytes) => {
            KernelType::Enum { bytes: slot.bytes as u8, signed: slot.signed, values }
        }
        _ if is_width(slot.bytes) => KernelType::Int { bytes: slot.bytes as u8, signed: slot.signed },
        _ => KernelType::Opaque { declaration: declared.to_string() },
    }
}

/// The type of BTF type `id`, seen through typedefs, qualifiers and tags.
pub fn of_btf(btf: &Btf, id: u32) -> KernelType {
    let opaque = || KernelType::Opaque { declaration: spell(btf, id) };
    let Some(found) = btf.strip(id, |_| ()) else { return opaque() };
    match found.kind {
        BtfKind::Int => match btf.integer(found.id) {
            Some((1, _, true)) => KernelType::Bool,
            Some((bytes, signed, _)) if is_width(bytes) => KernelType::Int { bytes: bytes as u8, signed },
            _ => opaque(),
        },
        BtfKind::Enum | BtfKind::Enum64 if is_width(found.size_or_type) => {
            KernelType::Enum { bytes: found.size_or_type as u8, signed: found.flag, values: enum_values(btf, found.id) }
        }
        BtfKind::Pointer => {
            let mut tags = Vec::new();
            let target = btf.strip(found.size_or_type, |tag| tags.push(tag.to_string()));
            let to = spell(btf, found.size_or_type);
            if tags.iter().any(|tag| tag == "user") {
                return KernelType::UserPointer { to };
            }
            // An address of per-CPU data is an offset until a CPU is added: following it would read elsewhere.
            let per_cpu = tags.iter().any(|tag| tag == "percpu");
            let type_id = target
                .filter(|target| !per_cpu && matches!(target.kind, BtfKind::Struct | BtfKind::Union))
                .map(|target| target.id);
            KernelType::KernelPointer { to, type_id }
        }
        BtfKind::Struct | BtfKind::Union => KernelType::Aggregate { name: spell(btf, id), type_id: found.id },
        BtfKind::Array => {
            let mut element = found.id;
            let mut length: u32 = 1;
            for _ in 0..DIMENSIONS_MAX {
                let Some((inner, count)) = btf.strip(element, |_| ()).and_then(|each| btf.array(each.id)) else {
                    break;
                };
                length = length.saturating_mul(count);
                element = inner;
            }
            let innermost = btf.strip(element, |_| ());
            // More dimensions than we multiply, and an array of itself has no end of them.
            if length == 0 || innermost.is_none_or(|innermost| innermost.kind == BtfKind::Array) {
                return opaque();
            }
            let text = innermost.is_some_and(|innermost| innermost.name == "char");
            match (of_btf(btf, element), text) {
                (KernelType::Int { bytes: 1, .. }, true) => KernelType::CharArray { length },
                (KernelType::Int { bytes: 1, .. }, false) => KernelType::ByteArray { length },
                (KernelType::Int { bytes, signed }, _) => KernelType::IntArray { bytes, signed, length },
                _ => opaque(),
            }
        }
        _ => opaque(),
    }
}

/// How C would write a type, for people.
pub fn spell(btf: &Btf, id: u32) -> String {
    spell_to(btf, id, 0)
}

fn spell_to(btf: &Btf, id: u32, depth: usize) -> String {
    let Some(found) = btf.get(id).filter(|_| depth < DIMENSIONS_MAX) else { return "…".to_string() };
    let inner = || spell_to(btf, found.size_or_type, depth + 1);
    match found.kind {
        BtfKind::Pointer => format!("{} *", inner()),
        BtfKind::Const => format!("const {}", inner()),
        BtfKind::Volatile => format!("volatile {}", inner()),
        BtfKind::Restrict | BtfKind::TypeTag => inner(),
        BtfKind::Struct if found.name.is_empty() => "struct".to_string(),
        BtfKind::Struct => format!("struct {}", found.name),
        BtfKind::Union if found.name.is_empty() => "union".to_string(),
        BtfKind::Union => format!("union {}", found.name),
        BtfKind::Enum | BtfKind::Enum64 if found.name.is_empty() => "enum".to_string(),
        BtfKind::Enum | BtfKind::Enum64 => format!("enum {}", found.name),
        BtfKind::Forward => format!("{} {}", if found.flag { "union" } else { "struct" }, found.name),
        BtfKind::FunctionPrototype => "function".to_string(),
        BtfKind::Array => {
            let (element, length) = btf.array(id).unwrap_or_default();
            format!("{}[{length}]", spell_to(btf, element, depth + 1))
        }
        _ => found.name.to_string(),
    }
}

/// Text when its elements are `char`, bytes or integers otherwise.
pub fn is_char(declared: &str) -> bool {
    without_qualifiers(declared) == "char"
}

fn array_of(named: &str, element: Option<&KernelType>, bytes: u32) -> KernelType {
    match element {
        _ if bytes == 0 => KernelType::Opaque { declaration: format!("{named}[]") },
        _ if named == "char" => KernelType::CharArray { length: bytes },
        Some(KernelType::Int { bytes: width @ (2 | 4 | 8), signed }) => {
            KernelType::IntArray { bytes: *width, signed: *signed, length: bytes / u32::from(*width) }
        }
        _ => KernelType::ByteArray { length: bytes },
    }
}

fn pointer(to: &str, user: bool, btf: &Btf) -> KernelType {
    if user {
        return KernelType::UserPointer { to: to.to_string() };
    }
    let type_id = match to.split_once(' ') {
        Some(("struct", name)) => btf.find(BtfKind::Struct, name),
        Some(("union", name)) => btf.find(BtfKind::Union, name),
        _ => None,
    };
    KernelType::KernelPointer { to: to.to_string(), type_id }
}

/// `const`, `volatile` and repeated blanks removed: `const char *` → `char *`.
fn without_qualifiers(declared: &str) -> String {
    let words: Vec<&str> = declared
        .split_whitespace()
        .filter(|word| !matches!(*word, "const" | "volatile" | "__user" | "__rcu"))
        .collect();
    words.join(" ").replace("*const", "*").trim().to_string()
}

/// A scalar type by its C name: the language's own, else an enumeration or typedef of BTF.
fn of_name(name: &str, btf: &Btf) -> Option<KernelType> {
    let word = |wanted: &str| name.split(' ').filter(|word| *word == wanted).count();
    let known = name.split(' ').all(|word| matches!(word, "signed" | "unsigned" | "char" | "short" | "int" | "long"));
    if known {
        let bytes = match (word("char"), word("short"), word("long")) {
            (1, _, _) => 1,
            (_, 1, _) => 2,
            (_, _, 0) => 4,
            _ => 8,
        };
        return Some(KernelType::Int { bytes, signed: word("unsigned") == 0 });
    }
    if name == "bool" {
        return Some(KernelType::Bool);
    }
    let id = match name.strip_prefix("enum ") {
        Some(name) => btf.find(BtfKind::Enum, name).or_else(|| btf.find(BtfKind::Enum64, name))?,
        None => match btf.find(BtfKind::Typedef, name) {
            Some(id) => id,
            None => return of_common_typedef(name),
        },
    };
    Some(of_btf(btf, id)).filter(|ty| scalar_bytes(ty).is_some())
}

/// The typedefs system calls are declared with, for kernels without BTF.
fn of_common_typedef(name: &str) -> Option<KernelType> {
    let (bytes, signed) = match name {
        "u8" | "__u8" | "uint8_t" => (1, false),
        "s8" | "__s8" | "int8_t" => (1, true),
        "u16" | "__u16" | "uint16_t" | "umode_t" => (2, false),
        "s16" | "__s16" | "int16_t" => (2, true),
        "u32" | "__u32" | "uint32_t" | "uint" | "uid_t" | "gid_t" | "qid_t" | "dev_t" | "gfp_t" => (4, false),
        "s32" | "__s32" | "int32_t" | "pid_t" | "key_t" | "clockid_t" | "timer_t" | "mqd_t" | "rwf_t"
        | "key_serial_t" => (4, true),
        "u64" | "__u64" | "uint64_t" | "size_t" | "aio_context_t" | "sector_t" => (8, false),
        "s64" | "__s64" | "int64_t" | "ssize_t" | "off_t" | "loff_t" => (8, true),
        _ => return None,
    };
    Some(KernelType::Int { bytes, signed })
}

fn enum_values(btf: &Btf, id: u32) -> Arc<[(String, i64)]> {
    btf.enum_values(id).into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn scalar_bytes(ty: &KernelType) -> Option<u8> {
    match ty {
        KernelType::Int { bytes, .. } | KernelType::Enum { bytes, .. } => Some(*bytes),
        KernelType::Bool => Some(1),
        _ => None,
    }
}

fn is_width(bytes: u32) -> bool {
    matches!(bytes, 1 | 2 | 4 | 8)
}

#[cfg(test)]
mod tests {
    use super::{Slot, of_declaration};
    use crate::kernel::{Btf, KernelType};

    #[track_caller]
    fn check(declared: &str, array: bool, slot: (u32, bool, bool), expected: &KernelType) {
        let slot = Slot { bytes: slot.0, signed: slot.1, syscall_argument: slot.2 };
        assert_eq!(of_declaration(declared, array, slot, &Btf::empty()), *expected, "{declared}");
    }

    #[test]
    fn a_syscall_slot_holds_a_value_of_its_declared_width() {
        check("int", false, (8, false, true), &KernelType::Int { bytes: 4, signed: true });
        check("umode_t", false, (8, false, true), &KernelType::Int { bytes: 2, signed: false });
        check("const clockid_t", false, (8, false, true), &KernelType::Int { bytes: 4, signed: true });
        check("size_t", false, (8, false, true), &KernelType::Int { bytes: 8, signed: false });
        check("something_t", false, (8, false, true), &KernelType::Int { bytes: 8, signed: false });
    }

    #[test]
    fn a_record_slot_says_its_own_width_and_sign() {
        check("pid_t", false, (4, true, false), &KernelType::Int { bytes: 4, signed: true });
        check("unsigned long long", false, (8, false, false), &KernelType::Int { bytes: 8, signed: false });
        check("bool", false, (1, false, false), &KernelType::Bool);
        check("xfs_odd_t", false, (4, false, false), &KernelType::Int { bytes: 4, signed: false });
    }

    #[test]
    fn pointers_are_the_users_only_in_system_calls() {
        check("const char *", false, (8, false, true), &KernelType::UserPointer { to: "char".into() });
        check("const char *const *", false, (8, false, true), &KernelType::UserPointer { to: "char *".into() });
        check(
            "const void *",
            false,
            (8, false, false),
            &KernelType::KernelPointer { to: "void".into(), type_id: None },
        );
    }

    #[test]
    fn arrays_of_char_are_text_and_of_bytes_are_bytes() {
        check("char", true, (16, false, false), &KernelType::CharArray { length: 16 });
        check("__u8", true, (4, false, false), &KernelType::ByteArray { length: 4 });
        check("unsigned char", true, (6, false, false), &KernelType::ByteArray { length: 6 });
        check("unsigned long", true, (48, false, false), &KernelType::IntArray { bytes: 8, signed: false, length: 6 });
        check("unsigned long", true, (0, false, false), &KernelType::Opaque { declaration: "unsigned long[]".into() });
    }
}
