//! What a program can read: facts of the current task, fields of the event, strings behind pointers.

use super::assemble::Width;
use super::expression::Expression;
use super::names::Side;

/// Bytes of a process name with its NUL (`TASK_COMM_LEN`).
pub const COMM_BYTES: u16 = 16;

/// Bytes read by `user_string(p)` and `kernel_string(p)` when no maximum is given.
pub const STRING_BYTES_DEFAULT: u16 = 256;

/// The largest maximum of `user_string(p, max)`: a path can be as long (`PATH_MAX`).
pub const STRING_BYTES_MAX: u16 = 4096;

/// The most frames of a stack that are kept. The kernel gives 127 unless `perf_event_max_stack` says otherwise, and the last
/// tells whether there are more.
pub const FRAMES_MAX: u16 = 126;

/// Bytes of the number that stands before bytes whose number varies.
pub const LENGTH_BYTES: u16 = 8;

/// A fact of the task that runs when the event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskFact {
    /// Thread group id.
    Pid,
    /// Thread id.
    Tid,
    /// Thread group id of the parent.
    Ppid,
    /// User id.
    Uid,
    /// Group id.
    Gid,
    /// Name.
    Comm,
    /// Id of the cgroup (version 2).
    CgroupId,
    /// Processor; known in any context.
    Cpu,
    /// Monotonic clock; known in any context.
    Nsecs,
    /// When the thread group's leader started, boot time in nanoseconds: with the pid it names a process for good.
    StartBoottime,
    /// Of 2³² events so many are let through while this one is; 0 for all.
    SampleKeep,
}

impl TaskFact {
    /// Whether the fact is about whoever was interrupted, when the hook runs in interrupt context.
    pub fn belongs_to_task(self) -> bool {
        !matches!(self, TaskFact::Cpu | TaskFact::Nsecs | TaskFact::SampleKeep)
    }
}

/// A place in the kernel's memory that the program can name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the hook's context.
    Context {
        /// Bytes from its start.
        offset: u16,
    },
    /// Behind a typed argument of a BTF hook.
    Btf {
        /// Which argument.
        argument: u8,
        /// Pointers to follow: each is loaded from so many bytes behind the one before.
        pointers: Vec<u32>,
        /// Bytes behind the last pointer.
        offset: u32,
    },
    /// Behind a pointer of which only the user knows where it points to: read with a helper.
    Cast {
        /// Where the pointer lies.
        pointer: Box<Place>,
        /// Bytes behind it.
        offset: u32,
    },
}

/// Whose memory a pointer points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// The process's.
    User,
    /// The kernel's.
    Kernel,
}

/// Where a string begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringAt {
    /// A pointer lies at this place.
    Pointer(Place),
    /// The string itself lies at this place.
    Here(Place),
    /// The low half of the context's word at this offset says how many bytes behind `from` in the context.
    DataLoc {
        /// Bytes from the context's start to the word.
        offset: u16,
        /// Bytes from the context's start from which the word counts.
        from: u16,
    },
}

/// Something a program can read; each is read once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// A fact of the current task.
    Task(TaskFact),
    /// An integer of the event.
    Number {
        /// Where.
        place: Place,
        /// How wide.
        width: Width,
        /// Whether its highest bit is a sign.
        signed: bool,
        /// Lowest bit and number of bits of a bit field.
        bits: Option<(u8, u8)>,
    },
    /// Bytes in the context at a fixed place: a process name or an address.
    ContextBytes {
        /// Bytes from the context's start.
        offset: u16,
        /// How many.
        length: u16,
    },
    /// Bytes behind a typed argument, copied with a helper.
    KernelBytes {
        /// Where.
        place: Place,
        /// How many.
        length: u16,
    },
    /// A string that is read with a helper and ends with NUL.
    String {
        /// Where it begins.
        at: StringAt,
        /// Whose memory.
        space: Space,
        /// Bytes kept of it, without the NUL.
        bytes_max: u16,
    },
    /// Bytes of the process's memory, as many as the event says.
    UserBytes {
        /// Where their address lies.
        at: Place,
        /// How many there are.
        length: Box<Length>,
        /// How many are kept.
        bytes_max: u16,
    },
    /// The addresses of a stack, from the innermost on.
    Stack {
        /// Whose.
        space: Space,
        /// How many are kept.
        frames_max: u16,
    },
    /// What a pair's start read: kept until its end comes, and read from there.
    Saved(Box<Leaf>),
}

/// An integer that is computed of numbers of one event. It has its own leaves, so it is the same in every program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Length {
    /// Over `leaves`.
    pub value: Expression,
    /// [`Leaf::Number`] only.
    pub leaves: Vec<Leaf>,
}

impl Leaf {
    /// The leaf as the program at the end of a pair sees it.
    pub fn of(self, side: Side) -> Leaf {
        match side {
            Side::Start => Leaf::Saved(Box::new(self)),
            Side::End => self,
        }
    }

    /// The leaf, and by which side it is read.
    pub fn sided(&self) -> (Side, &Leaf) {
        match self {
            Leaf::Saved(leaf) => (Side::Start, leaf),
            leaf => (Side::End, leaf),
        }
    }

    /// Whether its value is a number or a boolean.
    pub fn is_number(&self) -> bool {
        match self {
            Leaf::Task(fact) => *fact != TaskFact::Comm,
            Leaf::Number { .. } => true,
            Leaf::ContextBytes { .. }
            | Leaf::KernelBytes { .. }
            | Leaf::UserBytes { .. }
            | Leaf::String { .. }
            | Leaf::Stack { .. } => false,
            Leaf::Saved(leaf) => leaf.is_number(),
        }
    }

    /// Whether the leaf can be NULL.
    pub fn nullable(&self) -> bool {
        match self {
            Leaf::Saved(leaf) => leaf.nullable(),
            Leaf::Task(_) | Leaf::ContextBytes { .. } => false,
            Leaf::Number { place, .. } => place.follows_pointers(),
            Leaf::KernelBytes { .. } | Leaf::UserBytes { .. } | Leaf::Stack { .. } => true,
            Leaf::String { at: StringAt::DataLoc { .. }, .. } => false,
            Leaf::String { .. } => true,
        }
    }

    /// Whether it is a string of the process's memory: a page of it may not be there yet.
    pub fn may_fault(&self) -> bool {
        matches!(self, Leaf::String { at: StringAt::Pointer(_), space: Space::User, .. })
    }

    /// Whether it is copied to memory by a helper before it can be looked at.
    pub fn is_read(&self) -> bool {
        match self {
            Leaf::KernelBytes { .. } | Leaf::UserBytes { .. } | Leaf::String { .. } | Leaf::Stack { .. } => true,
            Leaf::Saved(leaf) => !leaf.is_number(),
            Leaf::Task(_) | Leaf::Number { .. } | Leaf::ContextBytes { .. } => false,
        }
    }

    /// Bytes it takes in a record or in scratch memory, for what is not a number.
    ///
    /// A string gets room for two bytes more than its maximum: its NUL, and one byte by which a string that fits
    /// exactly differs from one that was cut. Bytes whose number varies have it in front of them, and the same two behind.
    pub fn bytes(&self) -> u16 {
        match self {
            Leaf::Task(TaskFact::Comm) => COMM_BYTES,
            Leaf::Task(_) => 8,
            Leaf::Number { width, .. } => u16::from(width.bytes()),
            Leaf::ContextBytes { length, .. } | Leaf::KernelBytes { length, .. } => *length,
            Leaf::String { bytes_max, .. } => bytes_max + 2,
            Leaf::UserBytes { bytes_max, .. } => LENGTH_BYTES + bytes_max + 2,
            // Of a process its id is in front.
            Leaf::Stack { space, frames_max } => {
                LENGTH_BYTES + (frames_max + 1 + u16::from(*space == Space::User)) * 8 + 2
            }
            Leaf::Saved(leaf) => leaf.bytes(),
        }
    }

    /// What reading it costs compared with others, to order the filter.
    pub fn cost(&self) -> u32 {
        match self {
            Leaf::Task(TaskFact::Pid | TaskFact::Tid) | Leaf::ContextBytes { .. } => 0,
            Leaf::Number { place, .. } => place.cost(),
            Leaf::Task(TaskFact::Cpu | TaskFact::SampleKeep) => 1,
            Leaf::Task(TaskFact::Nsecs | TaskFact::Comm) => 20,
            Leaf::Task(_) => 10,
            Leaf::KernelBytes { .. } => 40,
            Leaf::UserBytes { .. } | Leaf::String { .. } => 80,
            Leaf::Stack { .. } => 400,
            Leaf::Saved(leaf) if leaf.is_number() => 1,
            Leaf::Saved(_) => 20,
        }
    }
}

impl Place {
    /// Whether pointers are followed to get there: one may be NULL.
    pub fn follows_pointers(&self) -> bool {
        matches!(self, Place::Btf { .. } | Place::Cast { .. })
    }

    /// Whether a helper reads what lies there.
    pub fn needs_helper(&self) -> bool {
        matches!(self, Place::Cast { .. })
    }

    fn cost(&self) -> u32 {
        match self {
            Place::Context { .. } => 0,
            Place::Btf { pointers, .. } => 1 + pointers.len() as u32,
            Place::Cast { pointer, .. } => 10 + pointer.cost(),
        }
    }
}
