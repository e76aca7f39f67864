//! Attaches a program to its hook. Attaching and detaching wait for the kernel (up to 120 ms): never on an async worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::cpu;
use super::error::LoadError;
use super::syscall::{Command, PerfControl, PerfEvent, bpf_fd, open_perf_event, perf_control, raw};
use crate::kernel::{Hook, HookKind, Rate, Sampling};

/// What holds a program at its hook; dropping it detaches. Programs of tracepoints run on no CPU any more then; one of a
/// software event may still be at its last event.
#[derive(Debug)]
#[expect(dead_code, reason = "descriptors are held for their drop")]
pub enum Attachment {
    /// A link of a tracing program.
    Link(OwnedFd),
    /// Perf events: one of a tracepoint, and of what is sampled one for each CPU.
    PerfEvents(Vec<PerfEventLink>),
}

/// A perf event and the program's link to it; without the link where the event itself holds the program.
#[derive(Debug)]
#[expect(dead_code, reason = "descriptors are held for their drop, links before what they link to")]
pub struct PerfEventLink {
    link: Option<OwnedFd>,
    event: OwnedFd,
}

/// Attaches.
pub fn attach(program: BorrowedFd, hook: &Hook) -> Result<Attachment, LoadError> {
    match (hook.kind, hook.sampling) {
        (HookKind::Tracepoint, _) => attach_tracepoint(program, hook.tracepoint_id.unwrap_or(0)),
        (HookKind::BtfTracepoint, _) => attach_tracing(program),
        (HookKind::Profile | HookKind::Perf, Some(sampling)) => attach_sampling(program, sampling),
        (HookKind::Profile | HookKind::Perf, None) => Err(io::Error::other("nothing is said of what to sample")),
    }
    .map_err(|source| LoadError::Attach { hook: hook.to_string(), source })
}

fn attach_tracing(program: BorrowedFd) -> io::Result<Attachment> {
    #[repr(C)]
    struct Attributes {
        name: u64,
        program: u32,
        padding: u32,
    }
    // The program was loaded for its hook, so no name is given.
    let mut attributes = Attributes { name: 0, program: raw(program), padding: 0 };
    // SAFETY: no address is given.
    unsafe { bpf_fd(Command::RawTracepointOpen, &mut attributes) }.map(Attachment::Link)
}

fn attach_tracepoint(program: BorrowedFd, tracepoint_id: u32) -> io::Result<Attachment> {
    const KIND_TRACEPOINT: u32 = 2;
    let config = tracepoint_id.into();
    // One CPU is enough: programs run on whichever CPU the event happens.
    let event = PerfEvent { kind: KIND_TRACEPOINT, config, period: 0, is_frequency: false };
    let held = link(program, open_perf_event(event, cpu::first_online())?)?;
    perf_control(held.event.as_fd(), PerfControl::Enable)?;
    Ok(Attachment::PerfEvents(vec![held]))
}

/// An event for each CPU that runs now. One that is switched off later samples no more, one that is switched on is not seen.
fn attach_sampling(program: BorrowedFd, sampling: Sampling) -> io::Result<Attachment> {
    const KIND_SOFTWARE: u32 = 1;
    let (period, is_frequency) = match sampling.rate {
        Rate::Hertz(hertz) => (hertz.into(), true),
        Rate::Period(period) => (period, false),
    };
    let event = PerfEvent { kind: KIND_SOFTWARE, config: sampling.event.number, period, is_frequency };
    let mut held = Vec::new();
    for cpu in cpu::online()? {
        match open_perf_event(event, cpu) {
            Ok(event) => held.push(link(program, event)?),
            // It was switched off just now.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => return Err(error),
        }
    }
    for held in &held {
        perf_control(held.event.as_fd(), PerfControl::Enable)?;
    }
    Ok(Attachment::PerfEvents(held))
}

fn link(program: BorrowedFd, event: OwnedFd) -> io::Result<PerfEventLink> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    const ATTACH_PERF_EVENT: u32 = 41;
    let mut attributes =
        Attributes { program: raw(program), target: raw(event.as_fd()), attach_type: ATTACH_PERF_EVENT, flags: 0 };
    // SAFETY: the attributes hold no addresses.
    let link = match unsafe { bpf_fd(Command::LinkCreate, &mut attributes) } {
        Ok(link) => Some(link),
        // Before Linux 5.15 perf events have no links; the event takes the program itself.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            perf_control(event.as_fd(), PerfControl::SetProgram(program))?;
            None
        }
        Err(error) => return Err(error),
    };
    Ok(PerfEventLink { link, event })
}
