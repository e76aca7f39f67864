//! Hooks as tables: their names, fields, and where a program finds each field's bytes.

use std::fmt;
use std::sync::Arc;

use super::labels::Labels;
use super::sampling::Sampling;

/// The kinds of hooks that can be read; each is a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookKind {
    /// `tracepoint.…`: the record that tracefs describes.
    Tracepoint,
    /// `tp_btf.…`: the typed arguments that BTF describes.
    BtfTracepoint,
    /// `profile(…)`: whatever each CPU does, so many times a second.
    Profile,
    /// `perf(…)`: one of so many of the kernel's software events.
    Perf,
}

impl HookKind {
    /// The schema's name; a function's of those that take arguments.
    pub fn schema(self) -> &'static str {
        match self {
            HookKind::Tracepoint => "tracepoint",
            HookKind::BtfTracepoint => "tp_btf",
            HookKind::Profile => "profile",
            HookKind::Perf => "perf",
        }
    }

    /// The kind whose hooks are tables of this schema; `None` for functions, and for the kinds that cannot be read yet.
    pub fn of_schema(schema: &str) -> Option<HookKind> {
        [HookKind::Tracepoint, HookKind::BtfTracepoint].into_iter().find(|kind| kind.schema() == schema)
    }
}

/// Whose task is current when a hook fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookContext {
    /// The task that caused the event.
    Task,
    /// Whoever was interrupted.
    Irq,
    /// Either; a program cannot tell.
    Any,
}

impl HookContext {
    /// The word users see in `system.hooks.context`.
    pub fn as_str(self) -> &'static str {
        match self {
            HookContext::Task => "task",
            HookContext::Irq => "irq",
            HookContext::Any => "any",
        }
    }
}

/// A hook's name, cheap to list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HookName {
    /// The schema.
    pub kind: HookKind,
    /// The tracepoint's group; empty where only BTF knows the hook.
    pub group: String,
    /// The event.
    pub name: String,
    /// Whose task is current.
    pub context: HookContext,
}

impl PartialOrd for HookContext {
    fn partial_cmp(&self, other: &HookContext) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HookContext {
    fn cmp(&self, other: &HookContext) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// A hook of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// The schema.
    pub kind: HookKind,
    /// The tracepoint's group; empty where only BTF knows the hook.
    pub group: String,
    /// The event.
    pub name: String,
    /// Whose task is current.
    pub context: HookContext,
    /// Its fields, in order, without the kernel's `common_…` ones.
    pub fields: Vec<HookField>,
    /// The number by which perf opens a tracepoint.
    pub tracepoint_id: Option<u32>,
    /// The BTF type by which the verifier knows a `tp_btf`.
    pub btf_id: Option<u32>,
    /// What is sampled, of hooks of perf events.
    pub sampling: Option<Sampling>,
}

impl Hook {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&HookField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The statement by which a user sees its columns.
    pub fn listing(&self) -> String {
        if self.sampling.is_some() {
            format!("SELECT * FROM {self} LIMIT 1 shows its columns.")
        } else {
            format!("SHOW COLUMNS FROM {self} lists its columns.")
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sampling {
            Some(sampling) => f.write_str(&sampling.to_text()),
            None => write!(f, "{}.{}", self.kind.schema(), self.name),
        }
    }
}

/// A field of a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct HookField {
    /// Its name in the kernel.
    pub name: String,
    /// Its type.
    pub ty: KernelType,
    /// Where its bytes are.
    pub place: Place,
    /// How the kernel declares it, for people: `const char * filename`.
    pub declaration: String,
    /// The names by which the kernel prints its numbers; empty for most.
    pub labels: Labels,
}

/// Where a program finds a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this offset of the context. An integer narrower than its slot (arguments of system calls) is the slot's first
    /// bytes, so a load of the type's own width is right.
    ContextOffset {
        /// Bytes from the context.
        offset: u16,
    },
    /// The context holds a u32 at `offset`: the bytes start at context + (word & 0xffff) and are (word >> 16) long.
    DataLoc {
        /// Bytes from the context to the word.
        offset: u16,
    },
    /// As `DataLoc`, but the start counts from the end of the word: context + offset + 4 + (word & 0xffff).
    RelativeLoc {
        /// Bytes from the context to the word.
        offset: u16,
    },
    /// The context is an array of 8-byte arguments; this is argument `index`, so at 8 × index.
    BtfArgument {
        /// From 0.
        index: u16,
    },
}

/// A type of the kernel, as far as SQL can use it. Typedefs and qualifiers are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelType {
    /// An integer.
    Int {
        /// 1, 2, 4 or 8.
        bytes: u8,
        /// Two's complement.
        signed: bool,
    },
    /// C's `bool`, one byte.
    Bool,
    /// An enumeration.
    Enum {
        /// 1, 2, 4 or 8.
        bytes: u8,
        /// Two's complement.
        signed: bool,
        /// Names with their values, as declared.
        values: Arc<[(String, i64)]>,
    },
    /// `char[length]`: text up to its first NUL.
    CharArray {
        /// Bytes.
        length: u32,
    },
    /// `u8[length]`: bytes.
    ByteArray {
        /// Bytes.
        length: u32,
    },
    /// An array of wider integers.
    IntArray {
        /// Of an element: 2, 4 or 8.
        bytes: u8,
        /// Two's complement.
        signed: bool,
        /// Elements.
        length: u32,
    },
    /// Text of varying length inside the record, with its NUL.
    DataLocString,
    /// Bytes of varying length inside the record.
    DataLocBytes,
    /// Points into the current task's memory.
    UserPointer {
        /// What it points to, as declared: `char`, `struct iovec`.
        to: String,
    },
    /// Points into the kernel.
    KernelPointer {
        /// What it points to, as declared: `char`, `struct task_struct`.
        to: String,
        /// The struct or union it points to, when BTF has it.
        type_id: Option<u32>,
    },
    /// A struct or union inside another: only its members have values.
    Aggregate {
        /// As declared: `struct list_head`.
        name: String,
        /// Its BTF type.
        type_id: u32,
    },
    /// Something without a value in SQL, as declared.
    Opaque {
        /// The declaration.
        declaration: String,
    },
}

/// The way from an argument of a `tp_btf` to a value.
///
/// The pointer starts as the argument. For each of `pointers`, in turn, it becomes the 8 bytes at pointer + offset (the
/// verifier lets programs load these directly; a fault reads as 0). The value is at pointer + `offset`. Without
/// `offset` the argument itself is the value and `pointers` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// The argument, at 8 × argument in the context.
    pub argument: u16,
    /// Offsets of the pointers to follow, bytes.
    pub pointers: Vec<u32>,
    /// Bytes from the last pointer to the value.
    pub offset: Option<u32>,
    /// For a bit field: which bits of the loaded integer.
    pub bits: Option<Bits>,
    /// The value's type. For a bit field, what to load.
    pub ty: KernelType,
    /// How the kernel declares the value, for people.
    pub declaration: String,
}

/// A bit field inside a loaded little-endian integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bits to the right of it.
    pub shift: u8,
    /// Its bits.
    pub width: u8,
}
