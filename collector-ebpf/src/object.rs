//! A compiled program before it is loaded: instructions, the maps it names, and the SQL behind each instruction.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::kernel::Hook;

/// One eBPF instruction; a 64-bit immediate takes two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// Class, operation, source or size and mode.
    pub code: u8,
    /// Destination register, 0–10.
    pub dst: u8,
    /// Source register, 0–10, or a pseudo source.
    pub src: u8,
    /// Jump distance in instructions or memory offset in bytes.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Insn {
    /// Its eight bytes as the kernel (little-endian) reads them.
    pub fn bytes(self) -> [u8; 8] {
        let off = self.off.to_le_bytes();
        let imm = self.imm.to_le_bytes();
        [self.code, (self.src << 4) | (self.dst & 0x0f), off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }
}

/// The code of an instruction that loads 64 bits from the two immediates of itself and the next.
pub const LOAD_WIDE: u8 = 0x18;
/// `src` of a two-instruction load that names a map: the register becomes the map, for helpers.
pub const PSEUDO_MAP_FD: u8 = 1;
/// `src` of a two-instruction load that names a map: the register becomes the address of the value of key 0 plus the
/// second instruction's immediate. Only for [`MapRef::Bucket`], [`MapRef::Keep`], [`MapRef::Gate`] and [`MapRef::Zeros`]: no lookup, no
/// NULL check.
pub const PSEUDO_MAP_VALUE: u8 = 2;

/// The maps a program may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapRef {
    /// The rings: an array of maps with one ring per possible CPU; the key is the CPU's u32 number, a lookup gives the
    /// ring or NULL.
    ///
    /// Submit with flags 0: the kernel then wakes the reader exactly when the record is the first of an idle ring. The
    /// reader lets records gather and looks at the rings before one can fill, so there are few wakes, and none when
    /// idle. (A question to `bpf_ringbuf_query` before the reserve would race with the reader falling asleep.)
    Rings,
    /// A per-CPU array with one entry: a u64 for each of [`Counter`], at [`Counter::offset`].
    Counters,
    /// [`BUCKET_BYTES`], zero when loaded, shared by all CPUs: the rate limit's state.
    Bucket,
    /// Eight bytes that no program writes: how many of 2³² events are let through, 0 for all;
    /// see [`crate::load::LoadedProbe::thin`].
    Keep,
    /// Eight bytes that no program writes: the number of the version whose turn it is to count, of two at different hooks,
    /// and the same number again when the other has no event under way.
    Gate,
    /// The [`MapRef::Counters`] of the version before, where that was at the same place of the kernel.
    CountersBefore,
    /// A per-CPU array with [`SCRATCH_ENTRIES`] entries of the most `scratch_bytes` of a probe's programs.
    Scratch,
    /// Calls that wait for their return, shared by a program and its [`ProgramObject::companion`]: key u64 pid and tid,
    /// value of [`PENDING_BYTES`]. At most [`PENDING_MAX`]; the oldest give way, since a thread that is killed in a call
    /// never returns from it.
    Pending,
    /// What the starts of a pair keep until their ends come, shared by all programs of a probe: see [`StateMap`].
    State,
    /// An array of maps with one entry, the window that is open: a per-CPU hash from groups to their states. See
    /// [`WindowMaps`].
    Windows,
    /// An array with one entry that no program writes: a group's state, all zero, and behind it [`other_key`].
    Zeros,
    /// A hash with the members of a list, filled when the program is loaded, written by nobody later: one of
    /// [`ProgramObject::sets`]. What is in the list has an entry.
    Set(u16),
}

/// What an `IN` list has, as keys of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSet {
    /// Bytes of a key; that of every one of `keys`.
    pub key_bytes: u32,
    /// The members.
    pub keys: BTreeSet<Vec<u8>>,
}

/// Sets that one program may have: the kernel lets a program have 64 maps.
pub const SETS_MAX: usize = 32;

/// The maps of a query that aggregates in windows: two hashes, of which one is open while the other is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowMaps {
    /// Bytes of a group's key.
    pub key_bytes: u32,
    /// Bytes of a group's state on one CPU, a multiple of eight.
    pub value_bytes: u32,
    /// Groups of one window that have a state of their own; all others share one, under [`other_key`]. `None`: as many as
    /// memory allows by default.
    pub keys_max: Option<u32>,
}

/// The key of the state that all groups share which found no room: its null bits say more than a group can have.
pub fn other_key(key_bytes: usize) -> Vec<u8> {
    let mut key = vec![0; key_bytes];
    key[..8].fill(0xff);
    key
}

/// The kinds of maps in which the starts of a pair wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// With the thread: as many as there are threads, freed with them.
    TaskStorage,
    /// One entry for each CPU.
    PerCpu,
    /// By a key, at most [`STATE_ENTRIES_MAX`]; one more start is counted as `map_full`. What nobody fetches is dropped
    /// by [`crate::load::LoadedProbe::sweep`].
    Hash,
}

/// Entries of a [`StateKind::Hash`].
pub const STATE_ENTRIES_MAX: u32 = 16_384;

/// The map in which the starts of a pair wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMap {
    /// Its kind.
    pub kind: StateKind,
    /// Bytes of a key of a [`StateKind::Hash`].
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Whether the key is an object whose end the kernel tells.
    pub ends: bool,
}

/// Entries of [`MapRef::Scratch`]: the record; what a start builds; what an end has fetched. Apart, because the programs
/// of a pair may interrupt each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see above")]
pub enum ScratchEntry {
    Record = 0,
    Start = 1,
    Fetched = 2,
}

/// How many of [`ScratchEntry`] there are.
pub const SCRATCH_ENTRIES: u32 = 3;

/// Bytes of a value of [`MapRef::Pending`].
pub const PENDING_BYTES: u32 = 64;

/// Entries of [`MapRef::Pending`].
pub const PENDING_MAX: u32 = 4096;

/// Bytes of [`MapRef::Bucket`].
pub const BUCKET_BYTES: u32 = 64;

/// What a program counts, each on the CPU it runs on.
///
/// `Events` are those the filter let through, and those it was not asked about because they were left out: events = rows +
/// aggregated + sampled + budget + ring_full + rate_limited + nested + map_full. Of
/// a pair what could not become one counts as an event of its own: unpaired_start, unpaired_end and map_full stand on the
/// right side as well. And of its starts: starts = paired + unpaired_start + map_full + nested + those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Passed the filter.
    Events,
    /// Submitted to the ring.
    Rows,
    /// Lost: the ring had no room.
    RingFull,
    /// Lost: left out by the query's own TABLESAMPLE, before its filter was asked.
    Sampled,
    /// Lost: above the probe's rows per second.
    RateLimited,
    /// Lost: left out to keep the probe within its budget, before its filter was asked.
    Budget,
    /// Kept, with memory that could not be read as NULL.
    Unreadable,
    /// Kept, with a string that was cut.
    Truncated,
    /// Kept, with an expression that failed as NULL.
    ExpressionError,
    /// Lost: the program interrupted itself in its scratch memory, or the other end of its pair.
    Nested,
    /// Starts of pairs that their filter let through.
    Starts,
    /// Starts that met their end; what the filter then let through is in `Events`.
    Paired,
    /// Lost: a start whose end never came, or another start came first.
    UnpairedStart,
    /// Lost: an end whose start was not seen.
    UnpairedEnd,
    /// Added to the state of a group.
    Aggregated,
    /// Lost: a start for which there was no room, or an event for which there was none even in the state of the groups that
    /// found none.
    MapFull,
    /// Bytes of the records that a program which only counts would have sent; the records are in `Rows`.
    RowBytes,
    /// No count: what the version before had counted on this CPU when the one that follows it looked last, and one more.
    Looked,
}

impl Counter {
    /// All, in the order of their places.
    pub const ALL: [Counter; 18] = [
        Counter::Events,
        Counter::Rows,
        Counter::RingFull,
        Counter::Sampled,
        Counter::RateLimited,
        Counter::Budget,
        Counter::Unreadable,
        Counter::Truncated,
        Counter::ExpressionError,
        Counter::Nested,
        Counter::Starts,
        Counter::Paired,
        Counter::UnpairedStart,
        Counter::UnpairedEnd,
        Counter::Aggregated,
        Counter::MapFull,
        Counter::RowBytes,
        Counter::Looked,
    ];

    /// Bytes from the entry's start.
    pub fn offset(self) -> i16 {
        self as i16 * 8
    }
}

/// Immediates that are only known when the program is loaded; the loader writes them into the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patch {
    /// The probe's number in the records' headers.
    ProbeId,
    /// Rows let through in a second; at most `i32::MAX`.
    RowsPerSecondMax,
    /// 1 when the version before is at the same place of the kernel, so that one event passes both; 0 otherwise.
    SharesPlace,
}

/// The SQL behind the instructions from `insn` on, up to the next line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// Index of the first instruction.
    pub insn: usize,
    /// The text the verifier quotes, one line.
    pub text: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// A program that can be loaded, for one hook of one kernel.
///
/// It must leave with R0 = 0: for a tracepoint anything else makes perf store the event as well.
#[derive(Clone, Debug)]
pub struct ProgramObject {
    /// What people recognise it by; the loader puts `pp_` before it and cuts it to what the kernel keeps.
    pub name: String,
    /// Where it attaches.
    pub hook: Arc<Hook>,
    /// The program.
    pub insns: Vec<Insn>,
    /// Indexes of two-instruction loads whose first immediate becomes the map. The `src` is already set.
    pub map_uses: Vec<(usize, MapRef)>,
    /// Indexes of instructions whose immediate the loader sets.
    pub patches: Vec<(usize, Patch)>,
    /// Bytes of [`MapRef::Scratch`]; 0 when the program does not use it.
    pub scratch_bytes: u32,
    /// The maps behind [`MapRef::Windows`]; `None` when the program sends records.
    pub windows: Option<WindowMaps>,
    /// The lists behind [`MapRef::Set`]; at most [`SETS_MAX`].
    pub sets: Vec<MemberSet>,
    /// The SQL, by rising instruction index; the first should be at 0.
    pub lines: Vec<SourceLine>,
    /// What [`MapRef::State`] is; the same in all programs of a probe.
    pub state: Option<StateMap>,
    /// Programs on other hooks that share all its maps: attached before it, in this order, and detached after it.
    pub companions: Vec<ProgramObject>,
}
