//! What becomes of a program's records.

use super::assemble::{Alu, FRAME, R1, R2, R3, Width};
use super::emit::Emitter;
use crate::object::Counter;

/// What becomes of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// They are sent.
    Ring,
    /// They are made in scratch memory and counted with their bytes; nothing is sent.
    Count,
}

impl Emitter<'_> {
    /// Adds the record's bytes to those that would have been sent.
    pub(super) fn count_bytes(&mut self) {
        self.length();
        self.assembler.load(Width::Eight, R1, FRAME, self.counters);
        self.assembler.load(Width::Eight, R2, R1, Counter::RowBytes.offset());
        self.assembler.alu(Alu::Add, R2, R3);
        self.assembler.store(Width::Eight, R1, Counter::RowBytes.offset(), R2);
    }
}
