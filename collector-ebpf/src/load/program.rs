//! Loads a program, and reads what the kernel knows about it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::LoadError;
use super::program_types::{self, Function};
use super::syscall::{Command, bpf_fd, object_info, object_name, raw};
use crate::kernel::{Hook, HookKind};
use crate::object::{Insn, SourceLine};

/// First size of the verifier's log; it is only asked for after a refusal.
const LOG_BYTES_FIRST: usize = 1 << 20;

/// Last size of the log. A longer one is cut by the kernel, and its end, the reason, is what newer kernels keep.
const LOG_BYTES_MAX: usize = 1 << 24;

/// Makes the tracing helpers callable; the rest of the tree is Apache-2.0.
const LICENSE: &std::ffi::CStr = c"GPL";

/// Bytes of the kernel's answer about a program that we read: up to the count of verified instructions.
const INFO_BYTES: usize = 224;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct LoadAttributes {
    kind: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    btf: u32,
    function_bytes: u32,
    functions: u64,
    function_count: u32,
    line_bytes: u32,
    lines: u64,
    line_count: u32,
    attach_btf_id: u32,
}

/// Loads a program that is attached nowhere: the kernel runs it when it is asked to.
pub fn load_for_test(name: &str, insns: &[Insn]) -> Result<OwnedFd, LoadError> {
    /// `BPF_PROG_TYPE_SOCKET_FILTER`, which takes no rights to run.
    const SOCKET_FILTER: u32 = 1;
    let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.bytes()).collect();
    let mut attributes = LoadAttributes {
        kind: SOCKET_FILTER,
        insn_count: u32::try_from(insns.len()).map_err(|_| malformed(name, "it is too long"))?,
        insns: bytes.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        name: object_name(&format!("pp_{name}")),
        ..LoadAttributes::default()
    };
    // SAFETY: instructions and license live through the call and have the lengths given.
    let loaded = unsafe { bpf_fd(Command::ProgramLoad, &mut attributes) };
    loaded.map_err(|source| LoadError::Refused { what: format!("load the program {name}"), source })
}

/// What the kernel says about a loaded program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its number.
    pub id: u32,
    /// Instructions the verifier walked through; 0 before Linux 5.16.
    pub verified_insns: u32,
    /// Bytes after the verifier's changes.
    pub xlated_bytes: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Memory of the program and of its own maps; the rings, which probes share, are not in it.
    pub memory_bytes: u64,
}

impl ProgramInfo {
    /// Adds the costs of another program; the number stays.
    pub fn add(&mut self, other: &ProgramInfo) {
        let ProgramInfo { id: _, verified_insns, xlated_bytes, jited_bytes, memory_bytes } = *other;
        self.verified_insns += verified_insns;
        self.xlated_bytes += xlated_bytes;
        self.jited_bytes += jited_bytes;
        self.memory_bytes += memory_bytes;
    }
}

/// Loads a program of these functions, of which the first gives it its name, for a hook, with the SQL behind its
/// instructions.
pub fn load(functions: &[Function], hook: &Hook, insns: &[Insn], lines: &[SourceLine]) -> Result<OwnedFd, LoadError> {
    /// `BPF_PROG_TYPE_TRACEPOINT`, `…_PERF_EVENT`, `…_TRACING` and `BPF_TRACE_RAW_TP`.
    const TRACEPOINT: u32 = 5;
    const PERF_EVENT: u32 = 7;
    const TRACING: u32 = 26;
    const ATTACH_RAW_TRACEPOINT: u32 = 23;
    let (kind, attach_type, attach_btf_id) = match hook.kind {
        HookKind::Tracepoint => (TRACEPOINT, 0, 0),
        HookKind::BtfTracepoint => (TRACING, ATTACH_RAW_TRACEPOINT, hook.btf_id.unwrap_or(0)),
        HookKind::Profile | HookKind::Perf => (PERF_EVENT, 0, 0),
    };
    let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.bytes()).collect();
    let name = functions.first().map_or("", |function| function.name);
    let types = program_types::encode(functions, lines);
    // Without types of its own a program still runs; its log just does not quote the SQL.
    let btf = load_btf(&types.btf)
        .inspect_err(|error| tracing::debug!(%error, program = name, "the program's types were refused"))
        .ok();
    let mut attributes = LoadAttributes {
        kind,
        insn_count: u32::try_from(insns.len()).map_err(|_| malformed(name, "it is too long"))?,
        insns: bytes.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        name: object_name(&format!("pp_{name}")),
        attach_type,
        attach_btf_id,
        ..LoadAttributes::default()
    };
    if let Some(btf) = &btf {
        attributes.btf = raw(btf.as_fd());
        attributes.function_bytes = 8;
        attributes.functions = types.functions.as_ptr() as u64;
        attributes.function_count = u32::try_from(types.functions.len()).expect("not more than instructions");
        attributes.line_bytes = 16;
        attributes.lines = types.lines.as_ptr() as u64;
        attributes.line_count = u32::try_from(types.lines.len()).expect("not more lines than instructions");
    }
    // SAFETY: instructions, license, types and tables live through the call and have the lengths given.
    let error = match unsafe { bpf_fd(Command::ProgramLoad, &mut attributes) } {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let mut log_bytes = LOG_BYTES_FIRST;
    loop {
        let mut log = vec![0_u8; log_bytes];
        let mut logged = attributes;
        logged.log_level = 1;
        logged.log_bytes = u32::try_from(log_bytes).expect("at most 16 MiB");
        logged.log = log.as_mut_ptr() as u64;
        // SAFETY: as above, and the log has the length given.
        let again = unsafe { bpf_fd(Command::ProgramLoad, &mut logged) };
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let text = String::from_utf8_lossy(&log[..end]);
        match again {
            // Refused for a passing reason, such as memory, the first time.
            Ok(program) => return Ok(program),
            Err(full) if full.raw_os_error() == Some(libc::ENOSPC) && log_bytes < LOG_BYTES_MAX => log_bytes *= 4,
            // An empty log: the verifier never saw the program.
            Err(_) if text.trim().is_empty() => {
                return Err(LoadError::Refused { what: format!("load the program of \"{name}\""), source: error });
            }
            Err(_) => return Err(LoadError::of_verifier(name, lines, &text, error)),
        }
    }
}

/// What the kernel says about a program; `maps` are those whose memory is its own.
pub fn info(program: BorrowedFd, maps: &[BorrowedFd]) -> io::Result<ProgramInfo> {
    let answer = object_info(program, INFO_BYTES)?;
    let u32_at = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().expect("four bytes"));
    let mut memory_bytes = locked_bytes(program)?;
    for map in maps {
        memory_bytes += locked_bytes(*map)?;
    }
    Ok(ProgramInfo {
        id: u32_at(4),
        jited_bytes: u32_at(16),
        xlated_bytes: u32_at(20),
        verified_insns: u32_at(216),
        memory_bytes,
    })
}

/// Runs of a probe's programs that were measured; see [`super::Common::measure_runs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How many.
    pub count: u64,
    /// Their time, without that of measuring it.
    pub time_ns: u64,
}

/// Events the kernel left out because the program was already running on that CPU, or one of ours was that events of this
/// kind do not interrupt. Counted always; 0 before Linux 5.12.
pub fn recursion_misses(program: BorrowedFd) -> io::Result<u64> {
    let answer = object_info(program, INFO_BYTES)?;
    Ok(u64::from_ne_bytes(answer[208..216].try_into().expect("eight bytes")))
}

/// Gives types to the kernel.
pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        btf: u64,
        log: u64,
        btf_bytes: u32,
        log_bytes: u32,
        log_level: u32,
    }
    let btf_bytes = u32::try_from(btf.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut attributes = Attributes { btf: btf.as_ptr() as u64, log: 0, btf_bytes, log_bytes: 0, log_level: 0 };
    // SAFETY: the types live through the call and have the length given.
    unsafe { bpf_fd(Command::BtfLoad, &mut attributes) }
}

/// What a program's or map's descriptor says it costs.
pub fn locked_bytes(fd: BorrowedFd) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", raw(fd)))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:")).and_then(|bytes| bytes.trim().parse().ok());
    Ok(bytes.unwrap_or(0))
}

fn malformed(program: &str, what: &str) -> LoadError {
    LoadError::Malformed { program: program.to_owned(), what: what.to_owned() }
}
