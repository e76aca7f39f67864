//! Hooks of the kernel's perf events: a clock of each CPU, and events that the kernel counts itself.
//!
//! They need no counters of the processor, so every machine has them. They are functions in FROM, as they take arguments:
//! `profile(99)`, `perf('page-faults', 100)`.

use probepilot_sql::{SqlError, SqlState};

use super::hook::{Hook, HookContext, HookField, HookKind, HookName, KernelType, Place};
use super::labels::Labels;
use super::nearest::nearest;

/// Samples a second of each CPU at most: more would mostly see the sampling itself.
pub const HERTZ_MAX: u32 = 10_000;

/// The shortest period of a clock, nanoseconds: as often as [`HERTZ_MAX`].
const CLOCK_PERIOD_LEAST_NS: u64 = 100_000;

/// An event that the kernel counts itself.
#[derive(Debug, PartialEq, Eq)]
pub struct SoftwareEvent {
    /// Its name, as the perf tool has it.
    pub name: &'static str,
    /// Its number in `enum perf_sw_ids`.
    pub number: u64,
    /// It counts the nanoseconds of a CPU.
    pub is_clock: bool,
    /// The event is about an address in memory.
    has_address: bool,
}

/// All that can be sampled, by name.
pub static SOFTWARE_EVENTS: [SoftwareEvent; 7] = [
    event("cgroup-switches", 11, false),
    SoftwareEvent { is_clock: true, ..event("cpu-clock", 0, false) },
    event("cpu-migrations", 4, false),
    event("context-switches", 3, false),
    event("major-faults", 6, true),
    event("minor-faults", 5, true),
    event("page-faults", 2, true),
];

const fn event(name: &'static str, number: u64, has_address: bool) -> SoftwareEvent {
    SoftwareEvent { name, number, is_clock: false, has_address }
}

/// How often a sample is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// So many times a second of each CPU.
    Hertz(u32),
    /// Each time that so many events happened on a CPU; of a clock, nanoseconds.
    Period(u64),
}

/// What is sampled, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// What.
    pub event: &'static SoftwareEvent,
    /// How often.
    pub rate: Rate,
}

impl Sampling {
    /// The hook in words: `profile(99)`, `perf('page-faults', 100)`.
    pub(super) fn to_text(self) -> String {
        match self.rate {
            Rate::Hertz(hertz) => format!("{}({hertz})", HookKind::Profile.schema()),
            Rate::Period(period) => format!("{}('{}', {period})", HookKind::Perf.schema(), self.event.name),
        }
    }
}

/// `profile(hertz)`.
///
/// # Errors
/// 22023 when the rate is out of its range.
pub fn profile(hertz: i128) -> Result<Hook, SqlError> {
    let clock = &SOFTWARE_EVENTS[1];
    let rate = u32::try_from(hertz).ok().filter(|hertz| (1..=HERTZ_MAX).contains(hertz)).ok_or_else(|| {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("profile takes 1 to {HERTZ_MAX} samples a second of each CPU, not {hertz}"),
        )
        .hint("A rate that divides no round number, such as 19, 49 or 99, does not keep step with timers.")
    })?;
    Ok(hook(HookKind::Profile, Sampling { event: clock, rate: Rate::Hertz(rate) }))
}

/// The event of `perf(name, …)`.
///
/// # Errors
/// 22023 with the nearest names when there is none.
pub fn software_event(name: &str) -> Result<&'static SoftwareEvent, SqlError> {
    SOFTWARE_EVENTS.iter().find(|event| event.name == name).ok_or_else(|| {
        let names = || SOFTWARE_EVENTS.iter().map(|event| event.name);
        let near = nearest(name, names());
        let hint = if near.is_empty() {
            format!("There are {}.", names().collect::<Vec<_>>().join(", "))
        } else {
            format!("Perhaps you meant {}.", near.join(" or "))
        };
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("there is no software event \"{name}\"")).hint(hint)
    })
}

/// `perf(name, period)`.
///
/// # Errors
/// 22023 when the period is out of its range.
pub fn perf(event: &'static SoftwareEvent, period: i128) -> Result<Hook, SqlError> {
    let (least, unit) = if event.is_clock { (CLOCK_PERIOD_LEAST_NS, "ns") } else { (1, "events") };
    // Half of what the kernel counts to, which takes the highest bit for itself.
    let most = i64::MAX.cast_unsigned() / 2;
    let period = u64::try_from(period).ok().filter(|period| (least..=most).contains(period)).ok_or_else(|| {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("the period of perf('{}', …) is {least} to {most} {unit}, not {period}", event.name),
        )
        .hint("Each time that so many happened on a CPU, one sample is taken.")
    })?;
    Ok(hook(HookKind::Perf, Sampling { event, rate: Rate::Period(period) }))
}

/// Whatever can be sampled, as `system.hooks` lists it, with a hook of each.
pub fn all() -> impl Iterator<Item = (HookName, Hook)> {
    let profile = (HookKind::Profile, &SOFTWARE_EVENTS[1]);
    let all = SOFTWARE_EVENTS.iter().map(|event| (HookKind::Perf, event)).chain([profile]);
    all.map(|(kind, event)| {
        let hook = hook(kind, Sampling { event, rate: Rate::Period(1) });
        (HookName { kind, group: String::new(), name: event.name.to_owned(), context: hook.context }, hook)
    })
}

/// The task that runs is the one that a sample is about. The idle one has pid 0.
fn hook(kind: HookKind, sampling: Sampling) -> Hook {
    let mut fields = Vec::new();
    if let Some(registers) = REGISTERS {
        fields.push(field("ip", registers.instruction_pointer));
        if sampling.event.has_address {
            fields.push(field("address", registers.bytes + 8));
        }
    }
    Hook {
        kind,
        group: String::new(),
        name: kind.schema().to_owned(),
        context: HookContext::Task,
        fields,
        tracepoint_id: None,
        btf_id: None,
        sampling: Some(sampling),
    }
}

fn field(name: &str, offset: u16) -> HookField {
    HookField {
        name: name.to_owned(),
        ty: KernelType::Int { bytes: 8, signed: false },
        place: Place::ContextOffset { offset },
        declaration: format!("__u64 {name}"),
        labels: Labels::default(),
    }
}

/// `struct bpf_perf_event_data` begins with the registers that were interrupted; then come the period and the address.
struct Registers {
    instruction_pointer: u16,
    bytes: u16,
}

/// Of `struct pt_regs` on x86-64, and of `struct user_pt_regs` on 64-bit Arm: both are the kernel's promise.
const REGISTERS: Option<Registers> = if cfg!(target_arch = "x86_64") {
    Some(Registers { instruction_pointer: 128, bytes: 168 })
} else if cfg!(target_arch = "aarch64") {
    Some(Registers { instruction_pointer: 256, bytes: 272 })
} else {
    None
};
