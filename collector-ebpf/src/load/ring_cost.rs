//! What it costs a program to send a record: for programs that are measured without sending any.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::error::LoadError;
use super::map::{Map, MapKind, MapSpec};
use super::program;
use super::syscall::{Command, bpf, raw};
use crate::object::{Insn, LOAD_WIDE, PSEUDO_MAP_FD};

/// Bytes of the ring that is written for the measurement, and freed behind it.
const RING_BYTES: u32 = 1 << 18;

/// Runs of which the quickest counts: others were interrupted.
const ROUNDS: usize = 5;

/// Records sent in a round; the ring has room for all of them.
const RECORDS: u32 = 256;

/// Bytes of the largest record that is tried: what is longer costs little more, it is copied.
const RECORD_BYTES_MAX: u32 = 512;

/// The time between asking a ring for room for a record of so many bytes and having handed it in, on this CPU and into a
/// ring that nobody else writes, in nanoseconds. Takes less than a millisecond.
///
/// # Errors
/// When the kernel lets nobody run programs for a test.
pub fn ring_ns(record_bytes: u32) -> Result<f64, LoadError> {
    let bytes = record_bytes.clamp(8, RECORD_BYTES_MAX);
    let refused = |source| LoadError::Refused { what: "run a program for a test".to_owned(), source };
    let nothing = program::load_for_test("nothing", &leave())?;
    let mut least = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        let spec = MapSpec {
            kind: MapKind::Ring,
            name: "ring",
            key_bytes: 0,
            value_bytes: 0,
            entries: RING_BYTES,
            inner: None,
        };
        let ring = Map::create(&spec)?;
        let sends = program::load_for_test("sends", &send(ring.as_fd(), bytes))?;
        for (least, program) in least.iter_mut().zip([&nothing, &sends]) {
            *least = run(program).map_err(refused)?.min(*least);
        }
    }
    let [nothing, sends] = least;
    Ok(sends.saturating_sub(nothing).as_secs_f64() * 1e9)
}

/// The mean time of a run.
fn run(program: &OwnedFd) -> io::Result<Duration> {
    /// The kernel wants a packet; this is the head of the shortest.
    const PACKET_BYTES: usize = 14;
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        program: u32,
        result: u32,
        bytes_in: u32,
        bytes_out: u32,
        address_in: u64,
        address_out: u64,
        repeat: u32,
        duration_ns: u32,
    }
    let packet = [0_u8; PACKET_BYTES];
    let mut attributes = Attributes {
        program: raw(program.as_fd()),
        bytes_in: PACKET_BYTES as u32,
        address_in: packet.as_ptr() as u64,
        repeat: RECORDS,
        ..Attributes::default()
    };
    // SAFETY: the packet lives through the call and has the length given; the kernel is asked for none back.
    unsafe { bpf(Command::ProgramTestRun, &mut attributes)? };
    Ok(Duration::from_nanos(attributes.duration_ns.into()))
}

const fn insn(code: u8, dst: u8, src: u8, imm: i32) -> Insn {
    Insn { code, dst, src, off: 0, imm }
}

fn leave() -> [Insn; 2] {
    [insn(0xb7, 0, 0, 0), insn(0x95, 0, 0, 0)]
}

/// Asks for room, and hands it in without waking anybody.
fn send(ring: BorrowedFd<'_>, bytes: u32) -> Vec<Insn> {
    const RESERVE: i32 = 131;
    const SUBMIT: i32 = 132;
    const NO_WAKEUP: i32 = 1;
    let mut insns = vec![
        insn(LOAD_WIDE, 1, PSEUDO_MAP_FD, raw(ring).cast_signed()),
        Insn::default(),
        insn(0xb7, 2, 0, bytes.cast_signed()),
        insn(0xb7, 3, 0, 0),
        insn(0x85, 0, 0, RESERVE),
        // On to the end when there is no room.
        Insn { code: 0x15, dst: 0, src: 0, off: 3, imm: 0 },
        insn(0xbf, 1, 0, 0),
        insn(0xb7, 2, 0, NO_WAKEUP),
        insn(0x85, 0, 0, SUBMIT),
    ];
    insns.extend(leave());
    insns
}
