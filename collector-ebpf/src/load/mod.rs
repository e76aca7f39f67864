//! Puts a compiled program into the kernel and takes it out again.
//!
//! Programs by `bpf(2)` directly: there is no ELF file, descriptors of maps go straight into the instructions, and the
//! verifier's log is asked for only after a refusal. aya, which loads ELF files only, reads maps; records
//! are read by our own ring reader, which gives room back once a drain instead of once a record.

mod syscall; // `bpf(2)` and its neighbours.
mod cpu; // The CPUs of the host.
mod map; // Makes and reads maps.
mod mapping; // Memory that we share with the kernel.
mod cells; // What programs and we tell each other through it.
mod state; // Where the starts of pairs wait.
mod rings; // Records from programs to us.
mod windows; // States of groups, from programs to us.
mod program_types; // Types of our programs, with their SQL.
mod program; // Loads a program and reads what the kernel knows about it.
mod fusion; // Many programs of one hook as one.
mod attach; // Attaches and detaches.
mod post; // What stays attached while programs come, change and go.
mod common; // What programs have in common that one reader reads.
mod turn; // Which of two versions counts.
mod ring_cost; // What a record's place in a ring costs.
mod error; // Why the kernel refused.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use common::{Common, Measuring};
pub use error::LoadError;
pub use program::{ProgramInfo, Runs};
pub use ring_cost::ring_ns;
pub use rings::{Interrupter, RingWatch, Rings};
pub use state::{OBJECT_AGE_MAX, STATE_AGE_MAX};
pub use turn::Predecessor;
pub use windows::WindowReader;

use crate::compile::sample::Keep;
use crate::kernel::Hook;
use crate::object::{
    Counter, Insn, LOAD_WIDE, MapRef, MemberSet, PENDING_BYTES, PENDING_MAX, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, Patch,
    ProgramObject, SCRATCH_ENTRIES, STATE_ENTRIES_MAX, StateKind, StateMap,
};
use cells::Cell;
use fusion::Member;
use map::{Map, MapKind, MapSpec};
use post::Seat;
use program_types::Function;

/// What only the one who loads knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// The number in the records' heads.
    pub probe_id: u32,
    /// Rows let through in a second.
    pub rows_per_second_max: u32,
}

/// A program in the kernel with its maps. Dropping it detaches it and frees everything.
///
/// Detaching waits until no CPU runs the program (up to 120 ms), so drop it on a blocking thread.
#[derive(Debug)]
pub struct LoadedProbe {
    // Dropped first: nothing runs any more when program and maps go.
    seat: Option<Seat>,
    /// In the order in which they are detached.
    companion_seats: Vec<Seat>,
    program: Program,
    companions: Vec<Program>,
    maps: Arc<Maps>,
    common: Common,
    state: Option<StateMap>,
    /// Starts that [`LoadedProbe::sweep`] dropped.
    swept: AtomicU64,
    /// Starts that waited at the last sweep.
    waiting: AtomicU64,
    /// Ends that came while the ends were attached and the starts were not.
    early_ends: u64,
    /// Events that the kernel kept from seats which are gone.
    recursion_before: u64,
    /// Ends without a start when another version took over: those that come later have their starts there.
    ends_at_take_over: Option<u64>,
    /// Its number in the records' heads, and when it is its turn.
    number: u32,
}

/// A program that the verifier has seen.
#[derive(Debug)]
struct Program {
    hook: Arc<Hook>,
    member: Arc<Member>,
    /// What the kernel said of it when it was alone.
    info: ProgramInfo,
    /// Holds it in the kernel until it takes a seat, where it is loaded with others.
    alone: Option<OwnedFd>,
}

impl Program {
    fn load(
        object: &ProgramObject,
        maps: &Arc<Maps>,
        common: &Common,
        options: LoadOptions,
    ) -> Result<Program, LoadError> {
        let insns = maps.filled(object, common, options)?;
        let function = Function { name: &object.name, insn: 0 };
        let alone = program::load(&[function], &object.hook, &insns, &object.lines)?;
        let info = program::info(alone.as_fd(), &[])
            .map_err(|source| LoadError::Refused { what: "say what was loaded".to_owned(), source })?;
        let member = Arc::new(Member {
            name: object.name.clone(),
            insns,
            lines: object.lines.clone(),
            verified_insns: info.verified_insns,
            cell: Arc::clone(&maps.cell),
            maps: Arc::clone(maps),
        });
        Ok(Program { hook: Arc::clone(&object.hook), member, info, alone: Some(alone) })
    }

    fn take_seat(&mut self, common: &Common) -> Result<Seat, LoadError> {
        let seat = Seat::take(&common.posts, &common.rings, Arc::clone(&self.member), &self.hook)?;
        self.alone = None;
        Ok(seat)
    }
}

/// A probe's own maps.
#[derive(Debug)]
struct Maps {
    counters: Arc<Map>,
    cell: Arc<Cell>,
    scratch: Option<Map>,
    pending: Option<Map>,
    state: Option<Map>,
    windows: Option<windows::Maps>,
    /// Of the version that it follows.
    counters_before: Option<Arc<Map>>,
    shares_place: bool,
    /// Programs with the same list share its map.
    sets: Vec<(MemberSet, Map)>,
}

impl Maps {
    fn create(object: &ProgramObject, common: &Common, before: Option<&Predecessor>) -> Result<Maps, LoadError> {
        let uses = |wanted| {
            let mut all = std::iter::once(object).chain(&object.companions);
            all.any(|object| object.map_uses.iter().any(|(_, map)| *map == wanted))
        };
        let map = |kind, name, value_bytes, entries| {
            Map::create(&MapSpec { kind, name, key_bytes: kind.key_bytes(), value_bytes, entries, inner: None })
        };
        let all = || std::iter::once(object).chain(&object.companions);
        let mut sets: Vec<(MemberSet, Map)> = Vec::new();
        for set in all().flat_map(|object| &object.sets) {
            if !sets.iter().any(|(known, _)| known == set) {
                sets.push((set.clone(), set_map(set)?));
            }
        }
        let all = all();
        let scratch_bytes = all.map(|object| object.scratch_bytes).max().unwrap_or(0).next_multiple_of(8).max(8);
        Ok(Maps {
            counters: Arc::new(map(MapKind::PerCpuArray, "counters", Counter::ALL.len() as u32 * 8, 1)?),
            cell: match before {
                Some(before) => Arc::clone(&before.cell),
                None => Arc::new(common.cells.take()?),
            },
            counters_before: before.map(|before| Arc::clone(&before.counters)),
            shares_place: before.is_some_and(|before| before.shares_place(&object.hook)),
            scratch: uses(MapRef::Scratch)
                .then(|| map(MapKind::PerCpuArray, "scratch", scratch_bytes, SCRATCH_ENTRIES))
                .transpose()?,
            pending: uses(MapRef::Pending)
                .then(|| map(MapKind::LruHash, "pending", PENDING_BYTES, PENDING_MAX))
                .transpose()?,
            state: object.state.map(state::create).transpose()?,
            windows: object.windows.as_ref().map(windows::Maps::create).transpose()?,
            sets,
        })
    }

    /// The program's instructions with maps and options in their places.
    fn filled(&self, object: &ProgramObject, common: &Common, options: LoadOptions) -> Result<Vec<Insn>, LoadError> {
        const MADE: &str = "made because a program uses it";
        let mut insns = object.insns.clone();
        let malformed = |what: String| LoadError::Malformed { program: object.name.clone(), what };
        for (index, map) in &object.map_uses {
            let fd = match map {
                MapRef::Rings => common.rings.as_fd(),
                MapRef::Counters => self.counters.as_fd(),
                // Without a version before, nothing that is run names its counters.
                MapRef::CountersBefore => self.counters_before.as_ref().unwrap_or(&self.counters).as_fd(),
                MapRef::Bucket | MapRef::Keep | MapRef::Gate => self.cell.map_fd(),
                MapRef::Scratch => self.scratch.as_ref().expect(MADE).as_fd(),
                MapRef::Pending => self.pending.as_ref().expect(MADE).as_fd(),
                MapRef::State => match &self.state {
                    Some(state) => state.as_fd(),
                    None => return Err(malformed("there is no map for the starts of a pair".to_owned())),
                },
                MapRef::Set(index) => {
                    let set = object.sets.get(usize::from(*index));
                    let map = self.sets.iter().find(|(known, _)| Some(known) == set);
                    map.ok_or_else(|| malformed(format!("there is no list {index}")))?.1.as_fd()
                }
                MapRef::Windows | MapRef::Zeros => {
                    let windows = self.windows.as_ref().ok_or_else(|| malformed("it has no windows".to_owned()))?;
                    if *map == MapRef::Windows { windows.open_fd() } else { windows.zeros_fd() }
                }
            };
            let insn = insns
                .get_mut(*index)
                .filter(|insn| insn.code == LOAD_WIDE && matches!(insn.src, PSEUDO_MAP_FD | PSEUDO_MAP_VALUE))
                .ok_or_else(|| malformed(format!("instruction {index} does not load a map")))?;
            insn.imm = syscall::raw(fd).cast_signed();
            if let (Some(offset), Some(second)) = (self.cell.offset(*map), insns.get_mut(*index + 1)) {
                second.imm = offset.cast_signed();
            }
        }
        for (index, patch) in &object.patches {
            let insn = insns.get_mut(*index).ok_or_else(|| malformed(format!("there is no instruction {index}")))?;
            insn.imm = match patch {
                Patch::ProbeId => options.probe_id.cast_signed(),
                Patch::SharesPlace => i32::from(self.shares_place),
                Patch::RowsPerSecondMax => i32::try_from(options.rows_per_second_max).unwrap_or(i32::MAX),
            };
        }
        Ok(insns)
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [Some(self.counters.as_ref()), self.scratch.as_ref(), self.pending.as_ref(), self.state.as_ref()]
            .into_iter()
            .flatten()
            .map(Map::as_fd)
            .chain(self.windows.iter().flat_map(windows::Maps::fds))
            .chain(self.sets.iter().map(|(_, map)| map.as_fd()))
            .collect()
    }
}

/// A hash with the members as keys.
fn set_map(set: &MemberSet) -> Result<Map, LoadError> {
    /// What the value is, nobody asks.
    const VALUE: [u8; 1] = [1];
    let map = Map::create(&MapSpec {
        kind: MapKind::Hash,
        name: "list",
        key_bytes: set.key_bytes,
        value_bytes: VALUE.len() as u32,
        entries: set.keys.len() as u32,
        inner: None,
    })?;
    for key in &set.keys {
        map.put(key, &VALUE)
            .map_err(|source| LoadError::Refused { what: "put a member into a list".to_owned(), source })?;
    }
    Ok(map)
}

/// What a probe counted since it was attached, summed over the CPUs; see [`Counter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Counter`")]
pub struct Counters {
    pub events: u64,
    pub rows: u64,
    pub ring_full: u64,
    pub sampled: u64,
    pub rate_limited: u64,
    pub budget: u64,
    pub unreadable: u64,
    pub truncated: u64,
    pub expression_error: u64,
    pub nested: u64,
    pub starts: u64,
    pub paired: u64,
    pub unpaired_start: u64,
    pub unpaired_end: u64,
    pub aggregated: u64,
    pub map_full: u64,
    pub row_bytes: u64,
    /// Events that the kernel did not show to the program, as it was running already.
    pub recursion: u64,
}

impl Counters {
    /// Both together.
    pub fn plus(self, other: Counters) -> Counters {
        Counters {
            events: self.events + other.events,
            rows: self.rows + other.rows,
            ring_full: self.ring_full + other.ring_full,
            sampled: self.sampled + other.sampled,
            rate_limited: self.rate_limited + other.rate_limited,
            budget: self.budget + other.budget,
            unreadable: self.unreadable + other.unreadable,
            truncated: self.truncated + other.truncated,
            expression_error: self.expression_error + other.expression_error,
            nested: self.nested + other.nested,
            starts: self.starts + other.starts,
            paired: self.paired + other.paired,
            unpaired_start: self.unpaired_start + other.unpaired_start,
            unpaired_end: self.unpaired_end + other.unpaired_end,
            aggregated: self.aggregated + other.aggregated,
            map_full: self.map_full + other.map_full,
            row_bytes: self.row_bytes + other.row_bytes,
            recursion: self.recursion + other.recursion,
        }
    }
}

impl LoadedProbe {
    /// Makes the maps, loads the program (the verifier sees it here) and attaches nothing.
    ///
    /// # Errors
    /// The kernel's refusal, with the verifier's words and the SQL it was at; nothing stays behind.
    pub fn load(object: &ProgramObject, common: &Common, options: LoadOptions) -> Result<LoadedProbe, LoadError> {
        LoadedProbe::load_after(object, common, options, None)
    }

    /// As [`LoadedProbe::load`]; a program that aggregates, when it is attached, counts nothing before it
    /// [takes its turn](LoadedProbe::take_turn) from the version `before`.
    ///
    /// # Errors
    /// As [`LoadedProbe::load`].
    pub fn load_after(
        object: &ProgramObject,
        common: &Common,
        options: LoadOptions,
        before: Option<&Predecessor>,
    ) -> Result<LoadedProbe, LoadError> {
        let maps = Arc::new(Maps::create(object, common, before)?);
        if before.is_none() {
            maps.cell.give_turn(options.probe_id, true);
        }
        let program = Program::load(object, &maps, common, options)?;
        let companions = object.companions.iter().map(|companion| Program::load(companion, &maps, common, options));
        let companions = companions.collect::<Result<_, _>>()?;
        Ok(LoadedProbe {
            seat: None,
            companion_seats: Vec::new(),
            ends_at_take_over: None,
            program,
            companions,
            maps,
            state: object.state,
            swept: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            early_ends: 0,
            recursion_before: 0,
            number: options.probe_id,
            common: common.clone(),
        })
    }

    /// Attaches it: when this returns, events are counted. Attached already, it does nothing.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        if self.is_attached() {
            return Ok(());
        }
        let before = self.unpaired_ends();
        self.attach_companions()?;
        if let Some(seat) = &mut self.seat {
            seat.attach()?;
        } else {
            self.seat = Some(self.program.take_seat(&self.common)?);
        }
        // Ends before the first start could be seen are none of ours.
        self.early_ends += self.unpaired_ends().saturating_sub(before);
        Ok(())
    }

    /// Attaches the other ends of a pair, which alone find nothing to do: what may wait long before
    /// [`LoadedProbe::take_over`]. An error leaves none of them attached.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn attach_companions(&mut self) -> Result<(), LoadError> {
        if self.companion_seats.is_empty() {
            for program in &mut self.companions {
                let seat = program.take_seat(&self.common).inspect_err(|_| self.companion_seats.clear())?;
                self.companion_seats.insert(0, seat);
            }
        }
        self.companion_seats.iter_mut().try_for_each(Seat::attach)
    }

    /// Says whether it is attached to this hook, so that another version there can take over from it.
    pub fn sits_at(&self, hook: &Hook) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.is_attached() && seat.is_at(hook))
    }

    /// Runs for every event from now on, in the place of `old`: each event runs in one of them, and in one only. An event
    /// under way ends in `old`, whose records and counters are complete after [`Common::wait_for_programs`].
    ///
    /// The other ends of a pair are attached beside those of `old`, and each find the starts that their own version kept.
    /// An end whose start `old` kept may count as unpaired here for as long as both are attached.
    ///
    /// # Errors
    /// The kernel's refusal, or that `old` does not [sit](LoadedProbe::sits_at) at our hook; then `old` goes on.
    pub fn take_over(&mut self, old: &mut LoadedProbe) -> Result<(), LoadError> {
        self.attach_companions()?;
        let hook = &self.program.hook;
        let Some(mut seat) = old.seat.take_if(|seat| seat.is_attached() && seat.is_at(hook)) else {
            return Err(LoadError::Refused {
                what: format!("let a program take over at {hook}"),
                source: io::Error::other("no program of that probe is attached there"),
            });
        };
        match seat.put(Arc::clone(&self.program.member)) {
            Ok(()) => {
                self.program.alone = None;
                self.seat = Some(seat);
                // Ends until now had no start that we could have seen; from now on those of `old` have none.
                self.early_ends = self.unpaired_ends();
                old.ends_at_take_over = Some(old.unpaired_ends());
                Ok(())
            }
            Err(error) => {
                old.seat = Some(seat);
                Err(error)
            }
        }
    }

    /// Ends without a start, as the programs count them.
    fn unpaired_ends(&self) -> u64 {
        let sums = self.maps.counters.per_cpu_sums::<{ Counter::ALL.len() }>();
        sums.map_or(0, |sums| sums[Counter::UnpairedEnd as usize])
    }

    /// Drops starts of a pair that have waited for longer than [`STATE_AGE_MAX`], or [`OBJECT_AGE_MAX`] where the kernel
    /// tells the key's end; they are counted as `unpaired_start`.
    /// Says how many. Call it every few seconds: for each start that waits it makes two system calls.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn sweep(&self) -> io::Result<u64> {
        let ends = self.state.is_some_and(|state| state.ends);
        self.sweep_older_than(if ends { OBJECT_AGE_MAX } else { STATE_AGE_MAX })
    }

    /// As [`LoadedProbe::sweep`], with another age.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn sweep_older_than(&self, age: Duration) -> io::Result<u64> {
        let (Some(map), Some(StateMap { kind: StateKind::Hash, key_bytes, value_bytes, .. })) =
            (&self.maps.state, self.state)
        else {
            return Ok(0);
        };
        let swept = state::sweep(map, key_bytes as usize, value_bytes as usize, age)?;
        self.swept.fetch_add(swept.deleted, Ordering::Relaxed);
        self.waiting.store(swept.waiting, Ordering::Relaxed);
        Ok(swept.deleted)
    }

    /// Detaches it: when this returns, it runs nowhere and the counters are final. It can be attached again.
    pub fn detach(&mut self) {
        for seat in self.seat.iter_mut().chain(&mut self.companion_seats) {
            seat.detach();
        }
    }

    /// How full the hash was in which starts of pairs wait, at the last [`LoadedProbe::sweep`], percent; `None` where
    /// starts wait elsewhere, with room for all of them.
    pub fn state_fill_percent(&self) -> Option<f64> {
        let is_hash = self.state.is_some_and(|state| state.kind == StateKind::Hash);
        let waiting = self.waiting.load(Ordering::Relaxed) as f64;
        is_hash.then(|| waiting * 100.0 / f64::from(STATE_ENTRIES_MAX))
    }

    /// From now on lets through so many of 2³² events, 0 for all: less than the query's own sample keeps. Others are counted
    /// as `budget`. A program that was compiled without a budget lets through what it did.
    pub fn thin(&self, keep: Keep) {
        self.maps.cell.keep(keep);
    }

    /// Says whether it is a pair of programs.
    pub fn has_companions(&self) -> bool {
        !self.companions.is_empty()
    }

    /// Takes what holds it at hooks, for a thread that may wait: dropping that detaches.
    pub fn let_go(&mut self) -> Seats {
        // The count goes with the seats.
        self.recursion_before = self.recursion_misses().unwrap_or(self.recursion_before);
        Seats(self.seat.take().into_iter().chain(self.companion_seats.drain(..)).collect())
    }

    /// Says whether it is attached.
    pub fn is_attached(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_attached)
    }

    /// The windows of a program that aggregates; `None` for others. There is one reader at a time.
    pub fn windows(&self) -> Option<WindowReader> {
        self.maps
            .windows
            .as_ref()
            .map(|windows| windows.reader(Arc::clone(&self.maps.cell), Arc::clone(&self.maps.counters)))
    }

    /// What it counted since it was loaded.
    ///
    /// While it is attached, an event under way may be counted in `events` and not yet in what became of it.
    ///
    /// # Errors
    /// When the kernel has no memory for the answer.
    pub fn counters(&self) -> io::Result<Counters> {
        let sums = self.maps.counters.per_cpu_sums::<{ Counter::ALL.len() }>()?;
        let sum = |counter: Counter| sums[counter as usize];
        let swept = self.swept.load(Ordering::Relaxed);
        let late_ends = self.ends_at_take_over.map_or(0, |ends| sum(Counter::UnpairedEnd).saturating_sub(ends));
        let foreign_ends = self.early_ends + late_ends;
        let recursion = self.recursion_misses()?;
        Ok(Counters {
            events: (sum(Counter::Events) + swept + recursion).saturating_sub(foreign_ends),
            rows: sum(Counter::Rows),
            ring_full: sum(Counter::RingFull),
            sampled: sum(Counter::Sampled),
            rate_limited: sum(Counter::RateLimited),
            budget: sum(Counter::Budget),
            unreadable: sum(Counter::Unreadable),
            truncated: sum(Counter::Truncated),
            expression_error: sum(Counter::ExpressionError),
            nested: sum(Counter::Nested),
            starts: sum(Counter::Starts),
            paired: sum(Counter::Paired),
            unpaired_start: sum(Counter::UnpairedStart) + swept,
            unpaired_end: sum(Counter::UnpairedEnd).saturating_sub(foreign_ends),
            aggregated: sum(Counter::Aggregated),
            map_full: sum(Counter::MapFull),
            row_bytes: sum(Counter::RowBytes),
            recursion,
        })
    }

    /// Its programs' runs that were measured.
    pub fn runs(&self) -> Runs {
        self.maps.cell.runs()
    }

    fn recursion_misses(&self) -> io::Result<u64> {
        let mut seats = self.seat.iter().chain(&self.companion_seats);
        seats.try_fold(self.recursion_before, |sum, seat| Ok(sum + seat.missed()?))
    }

    /// What the kernel says about it. Where its programs are fused with others, their part is taken to be what they take
    /// alone.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn info(&self) -> io::Result<ProgramInfo> {
        let mut info = self.program.info;
        for map in self.maps.fds() {
            info.memory_bytes += program::locked_bytes(map)?;
        }
        self.companions.iter().for_each(|program| info.add(&program.info));
        for seat in self.seat.iter().chain(&self.companion_seats) {
            info.add(&seat.info()?);
        }
        Ok(info)
    }
}

/// What held a program at its hooks. Dropping it detaches, a pair's other ends last.
#[derive(Debug)]
#[expect(dead_code, reason = "seats are held for their drop")]
pub struct Seats(Vec<Seat>);
