//! A program's seat at a hook: what stays attached while the program that runs there changes.
//!
//! A stub is attached once. All it does is to jump into the program that sits in the one slot of an array of programs, so
//! one write to the slot changes the program for every CPU: an event runs in the program before or in the one after,
//! never in both or in none. The jump costs a few nanoseconds, as the kernel makes it a direct one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::attach::{self, Attachment};
use super::error::LoadError;
use super::map::{Map, MapKind, MapSpec};
use super::program::{self, ProgramInfo, Runs};
use super::syscall::raw;
use crate::kernel::Hook;
use crate::object::{Insn, PSEUDO_MAP_FD};

/// A stub at a hook with the slot it jumps through. Dropping it detaches the stub and waits until no CPU runs it.
#[derive(Debug)]
pub struct Seat {
    // Dropped first: nothing runs any more when stub and slot go.
    attachment: Option<Attachment>,
    stub: OwnedFd,
    slot: Map,
    hook: Arc<Hook>,
}

impl Seat {
    /// Makes a seat for `program` and attaches it to the hook that the program was loaded for.
    pub fn take(program: BorrowedFd, hook: &Arc<Hook>) -> Result<Seat, LoadError> {
        let kind = MapKind::ProgramArray;
        let slot = Map::create(&MapSpec {
            key_bytes: kind.key_bytes(),
            kind,
            name: "slot",
            value_bytes: 4,
            entries: 1,
            inner: None,
        })?;
        let stub = program::load_insns(&format!("at_{}", hook.name), hook, &stub_insns(slot.as_fd()), &[])?;
        let mut seat = Seat { attachment: None, stub, slot, hook: hook.clone() };
        seat.put(program)?;
        seat.attach()?;
        Ok(seat)
    }

    /// Attaches the stub again, after it was detached. Attached already, it does nothing.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        if self.attachment.is_none() {
            self.attachment = Some(attach::attach(self.stub.as_fd(), &self.hook)?);
        }
        Ok(())
    }

    /// Lets `program`, loaded for the same hook, run for every event from now on.
    pub fn put(&self, program: BorrowedFd) -> Result<(), LoadError> {
        self.slot.put_held(0, program).map_err(|source| LoadError::Refused {
            what: format!("put a program in its slot at {}", self.hook),
            source,
        })
    }

    /// Detaches the stub; waits until no CPU runs it. What it counted stays readable.
    pub fn detach(&mut self) {
        self.attachment = None;
    }

    /// Says whether the stub is attached.
    pub fn is_attached(&self) -> bool {
        self.attachment.is_some()
    }

    /// Says whether this is a seat at `hook`.
    pub fn is_at(&self, hook: &Hook) -> bool {
        *self.hook == *hook
    }

    /// What the kernel counted of the stub's runs, with those of every program that sat in the slot.
    pub fn runs(&self) -> std::io::Result<Runs> {
        program::runs(self.stub.as_fd())
    }

    /// What the kernel says about stub and slot. Runs are counted here, for every program that sat in the slot: the kernel
    /// does not count those it only jumps into.
    pub fn info(&self) -> std::io::Result<ProgramInfo> {
        program::info(self.stub.as_fd(), &[self.slot.as_fd()])
    }
}

/// Jumps into the program in the slot; when there is none, leaves with R0 = 0.
fn stub_insns(slot: BorrowedFd) -> [Insn; 6] {
    const TAIL_CALL: i32 = 12;
    let insn = |code, dst, src, imm| Insn { code, dst, src, off: 0, imm };
    [
        // R1 is the context already.
        insn(0x18, 2, PSEUDO_MAP_FD, raw(slot).cast_signed()),
        Insn::default(),
        insn(0xb7, 3, 0, 0),
        insn(0x85, 0, 0, TAIL_CALL),
        insn(0xb7, 0, 0, 0),
        insn(0x95, 0, 0, 0),
    ]
}
