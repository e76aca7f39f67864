//! The system calls the loader makes: `bpf(2)` and its neighbours, nothing above them.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Commands of `bpf(2)`.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgramLoad = 5,
    ProgramTestRun = 10,
    ObjectInfo = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    MapLookupAndDeleteBatch = 25,
    LinkCreate = 28,
}

/// Times a load that a signal interrupted is repeated.
const INTERRUPTED_MAX: usize = 5;

/// Calls `bpf(2)`.
///
/// # Safety
/// `attributes` must be the command's attributes (or their beginning: the kernel reads the rest as 0), and every address
/// in it must be valid for what the command does with it.
pub unsafe fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<i32> {
    for _ in 0..INTERRUPTED_MAX {
        // SAFETY: the caller vouches for the attributes; their size is given.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command as i32, std::ptr::from_mut(attributes), size_of::<T>()) };
        if result >= 0 {
            return Ok(i32::try_from(result).expect("the kernel gives descriptors and counts below 2³¹"));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EAGAIN) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// As [`bpf`], for commands that give a new descriptor.
///
/// # Safety
/// As [`bpf`].
pub unsafe fn bpf_fd<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the attributes.
    unsafe { bpf(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// What the kernel says about a program, map or link, at most `bytes` of it; shorter answers are 0 at the end.
pub fn object_info(fd: BorrowedFd, bytes: usize) -> io::Result<Vec<u8>> {
    #[repr(C)]
    struct Attributes {
        fd: u32,
        bytes: u32,
        address: u64,
    }
    let mut out = vec![0; bytes];
    let bytes = u32::try_from(bytes).expect("what the kernel says is short");
    let mut attributes = Attributes { fd: raw(fd), bytes, address: out.as_mut_ptr() as u64 };
    // SAFETY: the kernel writes at most `bytes` to `out`, which lives through the call.
    unsafe { bpf(Command::ObjectInfo, &mut attributes)? };
    Ok(out)
}

/// A descriptor as attributes hold it.
pub fn raw(fd: BorrowedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A name of a kernel object: what it keeps is 15 bytes of letters, digits, `_` and `.`.
pub fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (place, byte) in out[..15].iter_mut().zip(name.bytes()) {
        *place = if byte.is_ascii_alphanumeric() || byte == b'.' { byte } else { b'_' };
    }
    out
}

/// A perf event of all tasks, in the kernel's words.
#[derive(Clone, Copy, Debug)]
pub struct PerfEvent {
    /// `PERF_TYPE_…`
    pub kind: u32,
    /// Which of its kind.
    pub config: u64,
    /// Events between samples, or samples a second.
    pub period: u64,
    /// `period` is samples a second.
    pub is_frequency: bool,
}

/// Opens a perf event of all tasks on a CPU. It does nothing until it is enabled.
pub fn open_perf_event(event: PerfEvent, cpu: u32) -> io::Result<OwnedFd> {
    /// `struct perf_event_attr`, as far as its first version goes.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        bytes: u32,
        config: u64,
        period: u64,
        sample_kind: u64,
        read_format: u64,
        flags: u64,
        rest: [u64; 2],
    }
    const DISABLED: u64 = 1;
    const FREQUENCY: u64 = 1 << 10;
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    let PerfEvent { kind, config, period, is_frequency } = event;
    let bytes = u32::try_from(size_of::<Attributes>()).expect("64");
    let flags = DISABLED | if is_frequency { FREQUENCY } else { 0 };
    let attributes = Attributes { kind, bytes, config, period, flags, ..Attributes::default() };
    // SAFETY: the attributes carry their own size and live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attributes),
            -1 as libc::pid_t,
            cpu as libc::c_int,
            -1 as libc::c_int,
            CLOSE_ON_EXEC,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).expect("descriptors are below 2³¹");
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A perf event's own controls, without an argument or with a descriptor.
pub fn perf_control(event: BorrowedFd, control: PerfControl) -> io::Result<()> {
    let (request, argument) = match control {
        PerfControl::Enable => (0x2400, 0),
        PerfControl::SetProgram(program) => (0x4004_2408, program.as_raw_fd()),
    };
    // SAFETY: both requests take an integer.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// See [`perf_control`].
#[derive(Clone, Copy)]
pub enum PerfControl<'a> {
    /// Starts it.
    Enable,
    /// Runs this program at it: what kernels before 5.15 have instead of a link.
    SetProgram(BorrowedFd<'a>),
}
