//! Attaches a program to its hook. Attaching and detaching wait for the kernel (up to 120 ms): never on an async worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::cpu;
use super::error::LoadError;
use super::syscall::{Command, PerfControl, bpf_fd, open_tracepoint, perf_control, raw};
use crate::kernel::{Hook, HookKind};

/// What holds a program at its hook; dropping it detaches, and returns when no CPU runs the program any more.
#[derive(Debug)]
#[expect(dead_code, reason = "descriptors are held for their drop, links before what they link to")]
pub enum Attachment {
    /// A link of a tracing program.
    Link(OwnedFd),
    /// A perf event and the program's link to it; without the link where the event itself holds the program.
    PerfEvent { link: Option<OwnedFd>, event: OwnedFd },
}

/// Attaches.
pub fn attach(program: BorrowedFd, hook: &Hook) -> Result<Attachment, LoadError> {
    match hook.kind {
        HookKind::Tracepoint => attach_tracepoint(program, hook.tracepoint_id.unwrap_or(0)),
        HookKind::BtfTracepoint => attach_tracing(program),
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
    #[repr(C)]
    struct Attributes {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    const ATTACH_PERF_EVENT: u32 = 41;
    let event = open_tracepoint(tracepoint_id, cpu::first_online())?;
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
    perf_control(event.as_fd(), PerfControl::Enable)?;
    Ok(Attachment::PerfEvent { link, event })
}
