//! Rings: how records come from programs to us. One ring per CPU, because a ring shared by CPUs costs seven times as much.
//!
//! A ring is a page with our position, a page with the programs' position, and the records, mapped twice in a row so
//! that none is ever cut. A record starts with a word: its length, one bit for "still being written" and one for
//! "given up", then an unused word, then its bytes, filled up to 8.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::common::Common;
use super::cpu;
use super::error::LoadError;
use super::map::{Map, MapKind, MapSpec};
use super::mapping::Mapping;
use crate::clock::Steps;

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEAD_BYTES: usize = 8;

/// A ring holds at most 2³⁰ bytes: its positions in records' heads are 32-bit.
const RING_BYTES_MAX: usize = 1 << 30;

/// Events taken from epoll at once; what is left is taken at the next call.
const EPOLL_EVENTS_MAX: usize = 16;

/// Records do not gather any longer when a ring is filled to this part.
const GATHERED_PART: usize = 4;

/// What a CPU may write into its ring in a microsecond, bytes: four million records of 64 bytes in a second. It says how
/// often we look at rings that gather.
const FLOOD_BYTES_PER_US: usize = 256;

/// Rings that gather are not looked at more often.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What epoll says for the descriptor of [`Interrupter`].
const INTERRUPT_TOKEN: u64 = u64::MAX;

/// What epoll says when the wall clock was set.
const STEP_TOKEN: u64 = u64::MAX - 1;

/// One ring per possible CPU, and the end that reads them. There is one reader.
pub struct Rings {
    common: Common,
    rings: Vec<Ring>,
    epoll: OwnedFd,
    interrupt: Arc<OwnedFd>,
    steps: Steps,
}

/// The rings as programs see them; clones are the same rings.
#[derive(Clone, Debug)]
pub struct RingMap {
    map: Arc<Map>,
    /// Bytes of one ring.
    ring_bytes: usize,
    /// A CPU and its ring.
    one: (u32, Arc<OwnedFd>),
}

impl RingMap {
    /// See [`Common::ring_bytes`].
    pub fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    /// See [`Common::wait_for_programs`].
    pub fn wait_for_programs(&self) -> io::Result<()> {
        // A change of an array of maps waits for that, also one that changes nothing.
        self.map.put_held(self.one.0, self.one.1.as_fd())
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Says from another thread whether records wait in the rings.
#[derive(Clone)]
pub struct RingWatch(Arc<[(Arc<Mapping>, Arc<Mapping>)]>);

impl RingWatch {
    /// Whether the reader has taken every record that programs have made by now. What it took it has handed on by then, but
    /// what became of it only the reader knows.
    pub fn is_empty(&self) -> bool {
        self.0
            .iter()
            .all(|(consumer, producer)| consumer.position(Ordering::SeqCst) == producer.position(Ordering::SeqCst))
    }
}

/// Ends a [`Rings::wait`] or [`Rings::gather`] from another thread.
#[derive(Clone, Debug)]
pub struct Interrupter(Arc<OwnedFd>);

impl Interrupter {
    /// The wait that goes on, or the next one, returns at once.
    pub fn interrupt(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: an eventfd takes eight bytes. It fails only when 2⁶⁴ interrupts wait, and then one does wait.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl Rings {
    /// Rings that have `bytes_total` together, each the greatest power of two that fits, but at least a page.
    ///
    /// # Errors
    /// When the kernel has no such maps (before 5.8), rights are missing, or memory is.
    pub fn new(bytes_total: usize) -> Result<Rings, LoadError> {
        let refused = |what: &str| {
            let what = what.to_string();
            move |source| LoadError::Refused { what, source }
        };
        let cpus = cpu::possible().map_err(refused("say which CPUs there are"))?;
        let share = (bytes_total / cpus.len()).clamp(page_bytes(), RING_BYTES_MAX);
        let ring_bytes = 1 << share.ilog2();
        let entries = cpus.iter().max().map_or(1, |cpu| cpu + 1);
        let epoll = owned(|| {
            // SAFETY: takes only a flag.
            unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }
        })
        .map_err(refused("make an epoll"))?;
        let interrupt = owned(|| {
            // SAFETY: takes only numbers.
            unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }
        })
        .map_err(refused("make an eventfd"))?;
        watch(&epoll, interrupt.as_fd(), INTERRUPT_TOKEN).map_err(refused("watch an eventfd"))?;
        let steps = Steps::new().map_err(refused("make a timerfd"))?;
        watch(&epoll, steps.as_fd(), STEP_TOKEN).map_err(refused("watch a timerfd"))?;

        let mut outer: Option<Map> = None;
        let mut rings = Vec::with_capacity(cpus.len());
        let first_cpu = cpus.first().copied();
        for cpu in cpus {
            let ring = Ring::new(ring_bytes)?;
            let outer = match &mut outer {
                Some(outer) => outer,
                none => none.insert(Map::create(&MapSpec {
                    kind: MapKind::ArrayOfMaps,
                    key_bytes: MapKind::ArrayOfMaps.key_bytes(),
                    name: "rings",
                    value_bytes: 4,
                    entries,
                    inner: Some(ring.map.as_fd()),
                })?),
            };
            outer.put_held(cpu, ring.map.as_fd()).map_err(refused("put a ring into the array of rings"))?;
            watch(&epoll, ring.map.as_fd(), cpu.into()).map_err(refused("watch a ring"))?;
            rings.push(ring);
        }
        const ONE: &str = "there is at least one CPU";
        let map = Arc::new(outer.expect(ONE));
        let one = rings.first().expect(ONE).map.as_fd().try_clone_to_owned();
        let one = (first_cpu.expect(ONE), Arc::new(one.map_err(refused("keep a ring"))?));
        let common = Common::new(RingMap { map, ring_bytes, one });
        Ok(Rings { common, rings, epoll, interrupt: Arc::new(interrupt), steps })
    }

    /// What programs that write these rings have in common.
    pub fn common(&self) -> Common {
        self.common.clone()
    }

    /// Ends waits from another thread.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.interrupt.clone())
    }

    /// Looks at them from another thread.
    pub fn watch(&self) -> RingWatch {
        RingWatch(self.rings.iter().map(|ring| (Arc::clone(&ring.consumer), Arc::clone(&ring.producer))).collect())
    }

    /// Memory of all rings.
    pub fn bytes_total(&self) -> usize {
        self.rings.len() * self.common.ring_bytes()
    }

    /// Hands every record that is there to `on_record`, ring by ring, and returns their number.
    ///
    /// A ring's records come in the order they were reserved; programs get its room back when the ring is done. What
    /// programs add while a ring is read is taken too, up to one whole ring, so that a flood on one CPU does not keep us
    /// from the others.
    pub fn drain(&mut self, mut on_record: impl FnMut(&[u8])) -> usize {
        self.rings.iter_mut().map(|ring| ring.drain(&mut on_record)).sum()
    }

    /// Sleeps until a program wakes us, an [`Interrupter`] does, the wall clock is set, or `timeout` is over. Says whether
    /// records may gather now: some are there, and nothing else happened.
    ///
    /// Records that came before the call end it at once. Programs wake us for the first record after a complete
    /// [`Rings::drain`]; so sleep here, let the records [gather](Rings::gather), drain, and come back.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EPOLL_EVENTS_MAX];
        // Rounded up: a wait must not turn into a busy loop.
        let timeout_ms = i32::try_from(timeout.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most the given number of events.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EPOLL_EVENTS_MAX as i32, timeout_ms)
        };
        let woken = &events[..usize::try_from(count).unwrap_or(0)];
        let interrupted = woken.iter().any(|event| event.u64 == INTERRUPT_TOKEN);
        if interrupted {
            self.take_interrupts();
        }
        let stepped = woken.iter().any(|event| event.u64 == STEP_TOKEN);
        !interrupted && !stepped && !woken.is_empty()
    }

    /// Whether the wall clock was set, or the host slept, since the last call. Until then no wait sleeps any more: so who asks
    /// after each knows it within the time that a thread takes to wake.
    pub fn clock_was_set(&self) -> bool {
        self.steps.take()
    }

    /// Sleeps while records gather: for `time`, but only until an [`Interrupter`] says so, the wall clock is set, or a ring is
    /// filled to a quarter. A flood is noticed before it fills a ring.
    pub fn gather(&self, time: Duration) {
        let ring_bytes = self.common.ring_bytes();
        let flood = Duration::from_micros((ring_bytes / GATHERED_PART / FLOOD_BYTES_PER_US) as u64);
        let look = flood.max(LOOK_INTERVAL_MIN);
        let end = Instant::now() + time;
        loop {
            let full = self.rings.iter().any(|ring| ring.filled_bytes() > ring_bytes / GATHERED_PART);
            let left = end.saturating_duration_since(Instant::now());
            if full || left.is_zero() || self.interrupted_within(left.min(look)) {
                return;
            }
        }
    }

    fn interrupted_within(&self, time: Duration) -> bool {
        let watched = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut polled = [watched(self.interrupt.as_fd()), watched(self.steps.as_fd())];
        let time = libc::timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        // SAFETY: two descriptors and a time, which live through the call; no mask of signals.
        let ready = unsafe {
            libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const time, std::ptr::null())
        };
        if ready <= 0 {
            return false;
        }
        if polled[0].revents != 0 {
            self.take_interrupts();
        }
        true
    }

    fn take_interrupts(&self) {
        let mut counted = [0_u8; 8];
        // SAFETY: an eventfd gives eight bytes. It does not block, and an empty one is no harm.
        unsafe { libc::read(self.interrupt.as_raw_fd(), counted.as_mut_ptr().cast(), counted.len()) };
    }
}

/// The ring of one CPU.
struct Ring {
    map: Map,
    /// Our page: where we have read to. Written by us only.
    consumer: Arc<Mapping>,
    /// The programs' page, then the records twice.
    producer: Arc<Mapping>,
    /// Where the records begin in the mapping, behind the programs' page.
    records_at: usize,
    /// The ring's size less one.
    mask: usize,
    /// Our position.
    position: usize,
    /// What our page says; the page itself is only ever written.
    published: usize,
}

impl Ring {
    fn new(bytes: usize) -> Result<Ring, LoadError> {
        let entries = u32::try_from(bytes).expect("at most 2³⁰");
        let map = Map::create(&MapSpec {
            kind: MapKind::Ring,
            name: "ring",
            key_bytes: 0,
            value_bytes: 0,
            entries,
            inner: None,
        })?;
        let page = page_bytes();
        let mapped = |length, offset, protection| {
            Mapping::new(map.as_fd(), length, offset, protection)
                .map_err(|source| LoadError::Refused { what: "map a ring buffer".to_string(), source })
        };
        let consumer = Arc::new(mapped(page, 0, libc::PROT_READ | libc::PROT_WRITE)?);
        let producer = Arc::new(mapped(page + 2 * bytes, page, libc::PROT_READ)?);
        Ok(Ring { map, consumer, producer, records_at: page, mask: bytes - 1, position: 0, published: 0 })
    }

    /// What programs have written and we have not read.
    fn filled_bytes(&self) -> usize {
        self.producer.position(Ordering::Relaxed).wrapping_sub(self.position)
    }

    fn drain(&mut self, on_record: &mut impl FnMut(&[u8])) -> usize {
        let (mut count, start) = (0, self.position);
        'full: loop {
            let produced = self.producer.position(Ordering::Acquire);
            if self.position == produced {
                break;
            }
            while self.position != produced {
                let at = self.records_at + (self.position & self.mask);
                // SAFETY: `at` lies in the first copy of the records and is a multiple of 8, where a head starts.
                let head =
                    unsafe { self.producer.address().add(at).cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
                if head & BUSY != 0 {
                    break 'full;
                }
                let bytes = (head & !DISCARDED) as usize;
                if head & DISCARDED == 0 {
                    // SAFETY: the record was finished before its head was (acquired above) and is not written again
                    // before our position passes it; the second copy makes it one piece. The kernel bounds its length
                    // by the ring's size.
                    let record = unsafe {
                        std::slice::from_raw_parts(self.producer.address().add(at + HEAD_BYTES).as_ptr(), bytes)
                    };
                    on_record(record);
                    count += 1;
                }
                self.position = self.position.wrapping_add((bytes + HEAD_BYTES).next_multiple_of(8));
                if self.position.wrapping_sub(start) > self.mask {
                    break 'full;
                }
            }
            self.publish();
        }
        self.publish();
        count
    }

    /// Tells the programs how far we have read.
    fn publish(&mut self) {
        if self.published == self.position {
            return;
        }
        self.published = self.position;
        // SAFETY: our position is the first word of our page, aligned, and only accessed atomically.
        let consumed = unsafe { self.consumer.address().cast::<AtomicUsize>().as_ref() };
        // Sequentially consistent: a program that finishes a record after this either sees our position and wakes us, or
        // its record is seen by the load that follows.
        consumed.store(self.position, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
    // SAFETY: the event lives through the call.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(make: impl FnOnce() -> i32) -> io::Result<OwnedFd> {
    match make() {
        fd if fd < 0 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just given us this descriptor.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("pages have a size")
}
