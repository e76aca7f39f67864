//! Leaves to instructions: helpers, loads from the context, pointers followed, strings copied.

use std::collections::HashMap;

use super::assemble::{
    Alu, Assembler, CONTEXT, Condition, FRAME, Label, PID_TGID, R0, R1, R2, R3, RECORD, Register, Width,
};
use super::evaluate::{BytesAt, Evaluator, Frame, Leaves, chunk};
use super::expression::LeafId;
use super::layout::NULLS_OFFSET;
use super::leaf::{COMM_BYTES, LENGTH_BYTES, Leaf, Place, Space, StringAt, TaskFact};
use super::pair::value::{SavedCell, Value};

/// Numbers by which programs call the kernel's helpers; the order of `enum bpf_func_id`.
pub mod helper {
    #![expect(missing_docs, reason = "the kernel's own names")]
    pub const MAP_LOOKUP: i32 = 1;
    pub const MAP_UPDATE: i32 = 2;
    pub const MAP_DELETE: i32 = 3;
    pub const KTIME_GET_NS: i32 = 5;
    pub const GET_PRANDOM_U32: i32 = 7;
    pub const GET_SMP_PROCESSOR_ID: i32 = 8;
    pub const GET_CURRENT_PID_TGID: i32 = 14;
    pub const GET_CURRENT_UID_GID: i32 = 15;
    pub const GET_CURRENT_COMM: i32 = 16;
    pub const GET_STACK: i32 = 67;
    pub const GET_CURRENT_CGROUP_ID: i32 = 80;
    pub const PROBE_READ_USER: i32 = 112;
    pub const PROBE_READ_KERNEL: i32 = 113;
    pub const PROBE_READ_USER_STR: i32 = 114;
    pub const PROBE_READ_KERNEL_STR: i32 = 115;
    pub const RINGBUF_OUTPUT: i32 = 130;
    pub const RINGBUF_RESERVE: i32 = 131;
    pub const RINGBUF_SUBMIT: i32 = 132;
    pub const TASK_STORAGE_GET: i32 = 156;
    pub const GET_CURRENT_TASK_BTF: i32 = 158;

    /// The helper's name, for people.
    pub fn name(number: i32) -> &'static str {
        match number {
            MAP_LOOKUP => "map_lookup_elem",
            MAP_UPDATE => "map_update_elem",
            MAP_DELETE => "map_delete_elem",
            KTIME_GET_NS => "ktime_get_ns",
            GET_PRANDOM_U32 => "get_prandom_u32",
            GET_SMP_PROCESSOR_ID => "get_smp_processor_id",
            GET_CURRENT_PID_TGID => "get_current_pid_tgid",
            GET_CURRENT_UID_GID => "get_current_uid_gid",
            GET_CURRENT_COMM => "get_current_comm",
            GET_STACK => "get_stack",
            GET_CURRENT_CGROUP_ID => "get_current_cgroup_id",
            PROBE_READ_USER => "probe_read_user",
            PROBE_READ_KERNEL => "probe_read_kernel",
            PROBE_READ_USER_STR => "probe_read_user_str",
            PROBE_READ_KERNEL_STR => "probe_read_kernel_str",
            RINGBUF_OUTPUT => "ringbuf_output",
            RINGBUF_RESERVE => "ringbuf_reserve",
            RINGBUF_SUBMIT => "ringbuf_submit",
            TASK_STORAGE_GET => "task_storage_get",
            GET_CURRENT_TASK_BTF => "get_current_task_btf",
            _ => "unknown",
        }
    }
}

/// `-EFAULT`, as the read helpers return it.
const UNREADABLE: i32 = -14;

/// Offsets of the members of `task_struct` that facts of the current task need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `real_parent`
    pub real_parent: i16,
    /// `tgid`
    pub tgid: i16,
    /// `group_leader`
    pub group_leader: i16,
    /// `start_boottime`
    pub start_boottime: i16,
}

/// Where leaves are that were read already.
pub struct Sources<'a> {
    /// All leaves of the program.
    pub leaves: &'a [Leaf],
    /// Members of the current task.
    pub task: TaskOffsets,
    /// For strings and bytes that are read: their place behind the record's start.
    pub string_offsets: HashMap<LeafId, u16>,
    /// Frame slots of numbers, and of the results of reads.
    slots: HashMap<LeafId, i16>,
    /// The frame's copy of the task's name.
    comm: Option<i16>,
    /// The frame slot of user and group.
    uid_gid: Option<i16>,
    /// Where what the start of a pair kept lies.
    saved: Option<SavedAt<'a>>,
    /// Whether the program is such a start: that bytes were cut, it tells the end by their number.
    keeps: bool,
}

/// What the start of a pair kept, while the program at the end runs.
#[derive(Clone, Copy, Debug)]
pub struct SavedAt<'a> {
    /// The frame slot of its address.
    pub slot: i16,
    /// Where its leaves lie in it.
    pub value: &'a Value,
}

/// What a read may have to count.
#[derive(Clone, Copy, Debug)]
pub struct ReadOutcome {
    /// The frame slot with the helper's result: bytes with NUL, or negative.
    pub status: i16,
    /// The result that says that the string was cut.
    pub cut: Option<u16>,
}

impl<'a> Sources<'a> {
    /// Nothing is read yet.
    pub fn new(leaves: &'a [Leaf], task: TaskOffsets, string_offsets: HashMap<LeafId, u16>) -> Sources<'a> {
        Sources {
            leaves,
            task,
            string_offsets,
            slots: HashMap::new(),
            comm: None,
            uid_gid: None,
            saved: None,
            keeps: false,
        }
    }

    /// What is read is kept for the end of a pair.
    pub fn keep(&mut self) {
        self.keeps = true;
    }

    /// From here on what the start kept can be read.
    pub fn set_saved(&mut self, saved: SavedAt<'a>) {
        self.saved = Some(saved);
    }

    fn saved_cell(&self, leaf: &Leaf) -> (i16, SavedCell) {
        let at = self.saved.as_ref().expect("what the start kept is read behind the match");
        (at.slot, at.value.cell(leaf).expect("what the query needs of the start is kept"))
    }

    /// The leaf's number is in this frame slot already.
    pub fn set_slot(&mut self, leaf: LeafId, slot: i16) {
        self.slots.insert(leaf, slot);
    }

    /// The frame slot of a leaf that was fetched.
    pub fn slot(&self, leaf: LeafId) -> Option<i16> {
        self.slots.get(&leaf).copied()
    }

    /// The frame's copy of the task's name, when a filter needed one.
    pub fn comm(&self) -> Option<i16> {
        self.comm
    }

    /// Calls the helper that the leaf needs, unless that was done on the way here.
    pub fn fetch(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId) -> Option<ReadOutcome> {
        if self.slots.contains_key(&leaf) {
            return None;
        }
        match &self.leaves[leaf.0] {
            Leaf::Task(fact) => {
                self.fetch_fact(assembler, frame, leaf, *fact);
                None
            }
            Leaf::Number { place, width, .. } if place.needs_helper() => {
                let slot = fetch_number(assembler, frame, place, *width);
                self.slots.insert(leaf, slot);
                None
            }
            Leaf::Number { .. } | Leaf::ContextBytes { .. } => None,
            saved @ Leaf::Saved(_) if saved.is_number() => None,
            Leaf::KernelBytes { .. } | Leaf::String { .. } | Leaf::Saved(_) => Some(self.read(assembler, frame, leaf)),
            Leaf::UserBytes { .. } => Some(self.read_user_bytes(assembler, frame, leaf)),
            Leaf::Stack { .. } => Some(self.read_stack(assembler, frame, leaf)),
        }
    }

    fn fetch_fact(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId, fact: TaskFact) {
        match fact {
            TaskFact::Pid | TaskFact::Tid => return,
            TaskFact::Comm => {
                if self.comm.is_none() {
                    let offset = frame.take_bytes(COMM_BYTES as i16);
                    comm_to(assembler, FRAME, offset);
                    self.comm = Some(offset);
                }
                return;
            }
            TaskFact::Uid | TaskFact::Gid => {
                let slot = *self.uid_gid.get_or_insert_with(|| {
                    assembler.call(helper::GET_CURRENT_UID_GID);
                    let slot = frame.take();
                    assembler.store(Width::Eight, FRAME, slot, R0);
                    slot
                });
                self.slots.insert(leaf, slot);
                return;
            }
            TaskFact::Ppid => {
                assembler.call(helper::GET_CURRENT_TASK_BTF);
                assembler.load(Width::Eight, R0, R0, self.task.real_parent);
                assembler.load(Width::Four, R0, R0, self.task.tgid);
            }
            TaskFact::StartBoottime => {
                assembler.call(helper::GET_CURRENT_TASK_BTF);
                assembler.load(Width::Eight, R0, R0, self.task.group_leader);
                assembler.load(Width::Eight, R0, R0, self.task.start_boottime);
            }
            TaskFact::CgroupId => assembler.call(helper::GET_CURRENT_CGROUP_ID),
            TaskFact::Cpu => assembler.call(helper::GET_SMP_PROCESSOR_ID),
            TaskFact::Nsecs => assembler.call(helper::KTIME_GET_NS),
            // A program that draws a sample has put it into its slot.
            TaskFact::SampleKeep => assembler.load_number(R0, 0),
        }
        let slot = frame.take();
        assembler.store(Width::Eight, FRAME, slot, R0);
        self.slots.insert(leaf, slot);
    }

    fn read(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId) -> ReadOutcome {
        let (unreadable, done) = (assembler.label(), assembler.label());
        let description = &self.leaves[leaf.0];
        let (helper, cut) = match description {
            Leaf::String { at, space, .. } => {
                match at {
                    StringAt::Pointer(place) => {
                        load_pointer(assembler, frame, place, unreadable);
                        assembler.mov(R3, R0);
                    }
                    StringAt::Here(place) => address(assembler, frame, place, unreadable),
                    StringAt::DataLoc { offset, from } => {
                        assembler.load(Width::Four, R0, CONTEXT, *offset as i16);
                        assembler.alu_imm(Alu::And, R0, 0xffff);
                        assembler.mov(R3, CONTEXT);
                        assembler.alu(Alu::Add, R3, R0);
                        if *from > 0 {
                            assembler.alu_imm(Alu::Add, R3, i32::from(*from));
                        }
                    }
                }
                let helper = match space {
                    Space::User => helper::PROBE_READ_USER_STR,
                    Space::Kernel => helper::PROBE_READ_KERNEL_STR,
                };
                (helper, Some(description.bytes()))
            }
            Leaf::KernelBytes { place, .. } => {
                address(assembler, frame, place, unreadable);
                (helper::PROBE_READ_KERNEL, None)
            }
            Leaf::Saved(saved) => return self.read_saved(assembler, frame, leaf, saved),
            Leaf::Task(_)
            | Leaf::Number { .. }
            | Leaf::ContextBytes { .. }
            | Leaf::UserBytes { .. }
            | Leaf::Stack { .. } => unreachable!("only strings and bytes behind pointers are read"),
        };
        self.read_to(assembler, leaf, helper);
        assembler.jump(done);
        assembler.place(unreadable);
        assembler.load_number(R0, i64::from(UNREADABLE));
        assembler.place(done);
        self.outcome(assembler, frame, leaf, cut)
    }

    /// Copies what the start kept; what it could not read may be tried again here.
    fn read_saved(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId, saved: &Leaf) -> ReadOutcome {
        let (slot, cell) = self.saved_cell(saved);
        let (missing, done) = (assembler.label(), assembler.label());
        let (helper, cut) = match saved {
            Leaf::String { .. } => (helper::PROBE_READ_KERNEL_STR, Some(saved.bytes())),
            Leaf::UserBytes { .. } => (helper::PROBE_READ_KERNEL, Some(saved.bytes())),
            _ => (helper::PROBE_READ_KERNEL, None),
        };
        assembler.load(Width::Eight, R0, FRAME, slot);
        if let Some(bit) = cell.null_bit {
            jump_if_bit(assembler, R0, bit, missing);
        }
        assembler.mov(R3, R0);
        assembler.alu_imm(Alu::Add, R3, i32::from(cell.offset));
        self.read_to(assembler, leaf, helper);
        if let Leaf::UserBytes { bytes_max, .. } = saved {
            self.saved_length(assembler, leaf, *bytes_max);
        }
        if cell.null_bit.is_some() {
            assembler.jump(done);
            assembler.place(missing);
            match cell.again {
                Some(pointer) => {
                    assembler.load(Width::Eight, R3, R0, pointer as i16);
                    self.read_to(assembler, leaf, helper::PROBE_READ_USER_STR);
                }
                None => assembler.load_number(R0, i64::from(UNREADABLE)),
            }
            assembler.place(done);
        }
        self.outcome(assembler, frame, leaf, cut)
    }

    /// R0 = the bytes of number and bytes that were copied; all of the place when the start had to cut them, and then the
    /// number becomes that of those that are there. Uses R1.
    fn saved_length(&self, assembler: &mut Assembler, leaf: LeafId, bytes_max: u16) {
        let (whole, done) = (assembler.label(), assembler.label());
        let (offset, bytes_max) = (self.string_offsets[&leaf] as i16, i32::from(bytes_max));
        assembler.load(Width::Eight, R0, RECORD, offset);
        assembler.jump_if_imm(Condition::LessEqualUnsigned, R0, bytes_max, whole);
        assembler.load_number(R1, i64::from(bytes_max));
        assembler.store(Width::Eight, RECORD, offset, R1);
        assembler.load_number(R0, i64::from(self.leaves[leaf.0].bytes()));
        assembler.jump(done);
        assembler.place(whole);
        assembler.alu_imm(Alu::Add, R0, i32::from(LENGTH_BYTES));
        assembler.place(done);
    }

    /// Copies from R3 to the leaf's place.
    fn read_to(&self, assembler: &mut Assembler, leaf: LeafId, helper: i32) {
        assembler.mov(R1, RECORD);
        assembler.alu_imm(Alu::Add, R1, i32::from(self.string_offsets[&leaf]));
        assembler.load_number(R2, i64::from(self.leaves[leaf.0].bytes()));
        assembler.call(helper);
    }

    /// Keeps R0, the helper's result.
    fn outcome(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId, cut: Option<u16>) -> ReadOutcome {
        let status = frame.take();
        assembler.store(Width::Eight, FRAME, status, R0);
        self.slots.insert(leaf, status);
        ReadOutcome { status, cut }
    }

    /// The result is the bytes of number and bytes together; all of the place when there were more than are kept.
    fn read_user_bytes(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId) -> ReadOutcome {
        let Leaf::UserBytes { at, length, bytes_max } = &self.leaves[leaf.0] else {
            unreachable!("only bytes of the process's memory are read here");
        };
        let cut = self.leaves[leaf.0].bytes();
        let (unreadable, fits, whole, done) =
            (assembler.label(), assembler.label(), assembler.label(), assembler.label());
        let (from, wanted) = (frame.take(), frame.take());
        load_pointer(assembler, frame, at, unreadable);
        assembler.store(Width::Eight, FRAME, from, R0);
        let mut numbers = Sources::new(&length.leaves, self.task, HashMap::new());
        for leaf in (0..length.leaves.len()).map(LeafId) {
            numbers.fetch(assembler, frame, leaf);
        }
        Evaluator { assembler, frame, leaves: &numbers, error: unreadable }.value(&length.value, unreadable);
        assembler.jump_if_imm(Condition::Less, R0, 0, unreadable);
        assembler.store(Width::Eight, FRAME, wanted, R0);
        assembler.mov(R2, R0);
        assembler.jump_if_imm(Condition::LessEqualUnsigned, R2, i32::from(*bytes_max), fits);
        assembler.load_number(R2, i64::from(*bytes_max));
        assembler.place(fits);
        let offset = self.string_offsets[&leaf];
        assembler.store(Width::Eight, RECORD, offset as i16, R2);
        assembler.mov(R1, RECORD);
        assembler.alu_imm(Alu::Add, R1, i32::from(offset + LENGTH_BYTES));
        assembler.load(Width::Eight, R3, FRAME, from);
        assembler.call(helper::PROBE_READ_USER);
        assembler.jump_if_imm(Condition::Less, R0, 0, done);
        assembler.load(Width::Eight, R0, FRAME, wanted);
        assembler.jump_if_imm(Condition::LessEqualUnsigned, R0, i32::from(*bytes_max), whole);
        if self.keeps {
            // More than there are.
            assembler.load_number(R1, i64::from(*bytes_max) + 1);
            assembler.store(Width::Eight, RECORD, offset as i16, R1);
        }
        assembler.load_number(R0, i64::from(cut));
        assembler.jump(done);
        assembler.place(whole);
        assembler.alu_imm(Alu::Add, R0, i32::from(LENGTH_BYTES));
        assembler.jump(done);
        assembler.place(unreadable);
        assembler.load_number(R0, i64::from(UNREADABLE));
        assembler.place(done);
        self.outcome(assembler, frame, leaf, Some(cut))
    }
}

impl Leaves for Sources<'_> {
    fn number(&self, assembler: &mut Assembler, leaf: LeafId, null: Label) {
        match &self.leaves[leaf.0] {
            Leaf::Task(TaskFact::Pid) => {
                assembler.mov(R0, PID_TGID);
                assembler.alu_imm(Alu::ShiftRightSigned, R0, 32);
            }
            Leaf::Task(TaskFact::Tid) => {
                assembler.mov(R0, PID_TGID);
                extend(assembler, 0, 32, true);
            }
            Leaf::Task(fact) => {
                assembler.load(Width::Eight, R0, FRAME, self.slots[&leaf]);
                match fact {
                    TaskFact::Uid => extend(assembler, 0, 32, false),
                    TaskFact::Gid => assembler.alu_imm(Alu::ShiftRight, R0, 32),
                    TaskFact::Ppid | TaskFact::Cpu => extend(assembler, 0, 32, true),
                    TaskFact::Pid
                    | TaskFact::Tid
                    | TaskFact::Comm
                    | TaskFact::CgroupId
                    | TaskFact::Nsecs
                    | TaskFact::StartBoottime
                    | TaskFact::SampleKeep => {}
                }
            }
            Leaf::Number { place, width, signed, bits } => {
                match self.slots.get(&leaf) {
                    Some(&slot) if place.needs_helper() => {
                        assembler.load(Width::Eight, R1, FRAME, slot);
                        assembler.jump_if_imm(Condition::NotEqual, R1, 0, null);
                        assembler.load(*width, R0, FRAME, slot + 8);
                    }
                    _ => load_place(assembler, place, *width, null),
                }
                match bits {
                    Some((shift, count)) => extend(assembler, *shift, *count, *signed),
                    None if *signed => extend(assembler, 0, width.bytes() * 8, true),
                    None => {}
                }
            }
            Leaf::Saved(saved) => {
                let (slot, cell) = self.saved_cell(saved);
                assembler.load(Width::Eight, R1, FRAME, slot);
                if let Some(bit) = cell.null_bit {
                    jump_if_bit(assembler, R1, bit, null);
                }
                assembler.load(cell.width, R0, R1, cell.offset as i16);
                extend(assembler, 0, cell.width.bytes() * 8, true);
            }
            _ => unreachable!("bytes are no number"),
        }
    }

    fn bytes(&self, leaf: LeafId) -> BytesAt {
        match &self.leaves[leaf.0] {
            Leaf::Task(_) => {
                let offset = self.comm.expect("the name is fetched before it is tested");
                BytesAt { base: FRAME, offset, align: 8, length: COMM_BYTES, status: None }
            }
            Leaf::ContextBytes { offset, length } => {
                BytesAt { base: CONTEXT, offset: *offset as i16, align: 8, length: *length, status: None }
            }
            description => {
                let length = match description.sided().1 {
                    Leaf::String { bytes_max, .. } => *bytes_max,
                    other => other.bytes(),
                };
                let offset = self.string_offsets[&leaf] as i16;
                BytesAt { base: RECORD, offset, align: 8, length, status: self.slot(leaf) }
            }
        }
    }
}

/// Jumps when a column of the kept value at `base` is NULL. Uses R2.
fn jump_if_bit(assembler: &mut Assembler, base: Register, bit: u8, to: Label) {
    assembler.load(Width::Eight, R2, base, NULLS_OFFSET);
    if bit > 0 {
        assembler.alu_imm(Alu::ShiftRight, R2, i32::from(bit));
    }
    assembler.alu_imm(Alu::And, R2, 1);
    assembler.jump_if_imm(Condition::NotEqual, R2, 0, to);
}

/// Copies the task's name to memory.
pub fn comm_to(assembler: &mut Assembler, base: Register, offset: i16) {
    assembler.mov(R1, base);
    assembler.alu_imm(Alu::Add, R1, i32::from(offset));
    assembler.load_number(R2, i64::from(COMM_BYTES));
    assembler.call(helper::GET_CURRENT_COMM);
}

/// R0 = `count` bits of R0 from `shift` on, sign- or zero-extended.
fn extend(assembler: &mut Assembler, shift: u8, count: u8, signed: bool) {
    if count >= 64 {
        return;
    }
    let left = 64 - i32::from(shift) - i32::from(count);
    if left > 0 {
        assembler.alu_imm(Alu::ShiftLeft, R0, left);
    }
    let right = if signed { Alu::ShiftRightSigned } else { Alu::ShiftRight };
    assembler.alu_imm(right, R0, 64 - i32::from(count));
}

/// Loads the integer at the place into R0, zero-extended. Uses R1.
fn load_place(assembler: &mut Assembler, place: &Place, width: Width, null: Label) {
    match place {
        Place::Context { offset } => {
            let (offset, bytes) = (*offset as i16, width.bytes());
            if offset % i16::from(bytes) == 0 {
                return assembler.load(width, R0, CONTEXT, offset);
            }
            // The verifier allows only aligned loads from a context; a packed field is put together from pieces.
            let mut done = 0;
            while done < bytes {
                let piece = chunk(offset + i16::from(done), 8, usize::from(bytes - done));
                let register = if done == 0 { R0 } else { R1 };
                assembler.load(piece, register, CONTEXT, offset + i16::from(done));
                if done > 0 {
                    assembler.alu_imm(Alu::ShiftLeft, R1, i32::from(done) * 8);
                    assembler.alu(Alu::Or, R0, R1);
                }
                done += piece.bytes();
            }
        }
        Place::Btf { argument, pointers, offset } => {
            follow(assembler, *argument, pointers, null);
            load_far(assembler, width, *offset);
        }
        Place::Cast { .. } => unreachable!("a helper has fetched it"),
    }
}

/// Reads the number with a helper: the frame slot of the helper's result, which is zero when behind it lies the number.
fn fetch_number(assembler: &mut Assembler, frame: &mut Frame, place: &Place, width: Width) -> i16 {
    let slot = frame.take_bytes(16);
    let (null, done) = (assembler.label(), assembler.label());
    address(assembler, frame, place, null);
    read_to_frame(assembler, slot + 8, width);
    assembler.jump(done);
    assembler.place(null);
    assembler.load_number(R0, i64::from(UNREADABLE));
    assembler.place(done);
    assembler.store(Width::Eight, FRAME, slot, R0);
    slot
}

/// Copies from R3 to the frame; R0 is zero when that worked.
fn read_to_frame(assembler: &mut Assembler, slot: i16, width: Width) {
    assembler.mov(R1, FRAME);
    assembler.alu_imm(Alu::Add, R1, i32::from(slot));
    assembler.load_number(R2, i64::from(width.bytes()));
    assembler.call(helper::PROBE_READ_KERNEL);
}

/// R0 = the pointer at the place; on to `null` when it is NULL or cannot be read.
fn load_pointer(assembler: &mut Assembler, frame: &mut Frame, place: &Place, null: Label) {
    if place.needs_helper() {
        let slot = frame.take();
        address(assembler, frame, place, null);
        read_to_frame(assembler, slot, Width::Eight);
        assembler.jump_if_imm(Condition::NotEqual, R0, 0, null);
        assembler.load(Width::Eight, R0, FRAME, slot);
    } else {
        load_place(assembler, place, Width::Eight, null);
    }
}

/// R3 = the address of the place.
fn address(assembler: &mut Assembler, frame: &mut Frame, place: &Place, null: Label) {
    match place {
        Place::Context { offset } => {
            assembler.mov(R3, CONTEXT);
            assembler.alu_imm(Alu::Add, R3, i32::from(*offset));
        }
        Place::Btf { argument, pointers, offset } => {
            follow(assembler, *argument, pointers, null);
            assembler.mov(R3, R0);
            assembler.alu_imm(Alu::Add, R3, *offset as i32);
        }
        Place::Cast { pointer, offset } => {
            load_pointer(assembler, frame, pointer, null);
            assembler.jump_if_imm(Condition::Equal, R0, 0, null);
            assembler.mov(R3, R0);
            assembler.alu_imm(Alu::Add, R3, *offset as i32);
        }
    }
}

/// R0 = the last pointer; a NULL on the way is the value's NULL.
fn follow(assembler: &mut Assembler, argument: u8, pointers: &[u32], null: Label) {
    assembler.load(Width::Eight, R0, CONTEXT, i16::from(argument) * 8);
    assembler.jump_if_imm(Condition::Equal, R0, 0, null);
    for &offset in pointers {
        load_far(assembler, Width::Eight, offset);
        assembler.jump_if_imm(Condition::Equal, R0, 0, null);
    }
}

/// R0 = what lies `offset` bytes behind R0, also beyond what an instruction's offset can say.
fn load_far(assembler: &mut Assembler, width: Width, offset: u32) {
    match i16::try_from(offset) {
        Ok(offset) => assembler.load(width, R0, R0, offset),
        Err(_) => {
            assembler.alu_imm(Alu::Add, R0, offset as i32);
            assembler.load(width, R0, R0, 0);
        }
    }
}
