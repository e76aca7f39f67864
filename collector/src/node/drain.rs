//! The thread that empties rings: sleeps until there are records, lets them gather, makes batches of all of them at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::load::{Interrupter, RingWatch, Rings};
use tokio::sync::oneshot;

use crate::node::clock::monotonic_now_ns;
use crate::node::outbox::{Item, Outbox};
use crate::node::record::RecordHeader;
use crate::node::slot::Slot;

/// How long records of stored probes gather, unless somebody asks for them: the engine does before a statement reads, so
/// a query sees whatever happened before it, however long records gather. Each batch wakes five threads one after the other and
/// costs some 300 µs, whatever its size.
///
/// It is also what is lost when this process is killed.
pub const STORED_GATHER: Duration = Duration::from_millis(100);

/// The same for a live query, whose client waits for each row.
pub const LIVE_GATHER: Duration = Duration::from_micros(200);

/// From the answer to a hand-over to its moment.
pub const HAND_OVER_DELAY: Duration = Duration::from_millis(1);

/// How long rows of stored probes wait for what the feeds have to tell; then they are made without it.
const SETTLE_MAX: Duration = Duration::from_millis(100);

/// How long an idle drain sleeps at most. Records and commands wake it, so this only bounds what a lost wake would cost.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// What a drain is told to do, in order, between two passes over the rings.
enum Command {
    /// Takes the records of a program from now on.
    Add { slot: Box<Slot>, done: oneshot::Sender<()> },
    /// From one moment on the records of `to` count, and those of `from` do not.
    HandOver { from: u32, to: u32, done: oneshot::Sender<()> },
    /// Empties the rings, makes the last batch of a program and forgets it. Records that come later count as nobody's.
    Remove { number: u32, done: oneshot::Sender<()> },
    /// Empties the rings, hands the rows on, and answers.
    Settle(Settled),
    /// Empties the rings and ends.
    Stop,
}

/// Called when a drain has settled; dropped uncalled when it never will.
type Settled = Box<dyn FnOnce() + Send>;

/// Lets others wait until a drain has told all it can know by now.
#[derive(Clone)]
pub struct Settler {
    commands: mpsc::Sender<Command>,
    interrupter: Interrupter,
    watch: RingWatch,
    /// Whether the drain has records that it has not handed on.
    at_work: Arc<AtomicBool>,
}

impl Settler {
    /// Blocks until the drain has emptied its rings once more, at most [`SETTLE_MAX`].
    pub fn settle(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        let asked = self.ask(Box::new(move || {
            let _ = done.send(());
        }));
        if asked && wait.recv_timeout(SETTLE_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::debug!("rows were made before the feeds had told everything");
        }
    }

    /// Waits until the drain has handed on every record that programs have made by now.
    pub async fn settled(&self) {
        let (done, wait) = oneshot::channel();
        let asked = self.ask(Box::new(move || {
            let _ = done.send(());
        }));
        if asked {
            // A drain that has stopped drops its end.
            let _ = wait.await;
        }
    }

    /// Says whether there is something to wait for.
    fn ask(&self, done: Settled) -> bool {
        // In this order: what was taken from a ring that is empty is at work until it is handed on.
        if self.watch.is_empty() && !self.at_work.load(Ordering::SeqCst) {
            return false;
        }
        // A drain that has stopped has nothing to tell.
        let asked = self.commands.send(Command::Settle(done)).is_ok();
        self.interrupter.interrupt();
        asked
    }
}

/// How rings are drained.
pub struct DrainOptions {
    /// How long records gather after the first of them, unless a ring fills or somebody waits for the drain.
    pub gather: Duration,
    /// Where tables' rows go; without one only feeds and live queries may be added.
    pub outbox: Option<Outbox>,
    /// Who is heard before rows are made.
    pub settler: Option<Settler>,
}

/// A running drain. Dropping it stops the thread and waits for its end.
pub struct Drain {
    commands: mpsc::Sender<Command>,
    interrupter: Interrupter,
    watch: RingWatch,
    at_work: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Starts a thread that empties `rings`.
    pub fn start(rings: Rings, options: DrainOptions) -> io::Result<Drain> {
        let DrainOptions { gather, outbox, settler } = options;
        let (interrupter, watch) = (rings.interrupter(), rings.watch());
        let at_work = Arc::new(AtomicBool::new(false));
        // Unbounded, as only we send, and who sends waits for the answer or holds the only handle.
        let (commands, receiver) = mpsc::channel();
        let worker = Worker {
            rings,
            gather,
            at_work: at_work.clone(),
            outbox,
            settler,
            receiver,
            slots: BTreeMap::new(),
            unclaimed: 0,
            clock: ClockOffset::now(),
        };
        let thread = thread::Builder::new().name("drain".into()).spawn(move || worker.run())?;
        Ok(Drain { commands, interrupter, watch, at_work, thread: Some(thread) })
    }

    /// Takes the records of a program from the answer on: it may be attached then, not before.
    pub fn add(&self, slot: Slot) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.tell(Command::Add { slot: Box::new(slot), done });
        wait
    }

    /// Lets the program `to`, whose slot is waiting, take over from `from`: no record is lost or doubled while both are
    /// attached. They must stay so until the answer has come and [`HAND_OVER_DELAY`] is over.
    pub fn hand_over(&self, from: u32, to: u32) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.tell(Command::HandOver { from, to, done });
        wait
    }

    /// Forgets a program, after it was detached. The answer comes when its last rows are on their way.
    pub fn remove(&self, number: u32) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.tell(Command::Remove { number, done });
        wait
    }

    /// What another drain waits with for this one.
    pub fn settler(&self) -> Settler {
        Settler {
            commands: self.commands.clone(),
            interrupter: self.interrupter.clone(),
            watch: self.watch.clone(),
            at_work: self.at_work.clone(),
        }
    }

    fn tell(&self, command: Command) {
        // Only a thread that has stopped does not listen, and then there are no rings to speak of.
        let _ = self.commands.send(command);
        self.interrupter.interrupt();
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    rings: Rings,
    gather: Duration,
    at_work: Arc<AtomicBool>,
    outbox: Option<Outbox>,
    settler: Option<Settler>,
    receiver: mpsc::Receiver<Command>,
    /// By the number in the records' headers. They are few, and asked for with each record: hashing a number would cost more.
    slots: BTreeMap<u32, Slot>,
    /// Records of programs that are gone.
    unclaimed: u64,
    clock: ClockOffset,
}

impl Worker {
    fn run(mut self) {
        loop {
            if self.rings.wait(IDLE_WAIT) {
                self.rings.gather(self.gather);
            }
            let mut removed = Vec::new();
            let mut settled = Vec::new();
            let mut stop = false;
            while let Ok(command) = self.receiver.try_recv() {
                match command {
                    Command::Add { slot, done } => {
                        self.slots.insert(slot.number, *slot);
                        let _ = done.send(());
                    }
                    Command::HandOver { from, to, done } => {
                        self.hand_over(from, to);
                        let _ = done.send(());
                    }
                    Command::Remove { number, done } => removed.push((number, done)),
                    Command::Settle(done) => settled.push(done),
                    Command::Stop => stop = true,
                }
            }
            self.at_work.store(true, Ordering::SeqCst);
            // What is in the rings came before the wall clock was set, but for the moment we took to wake: it was ended by that.
            let clock_was_set = self.rings.clock_was_set();
            self.drain();
            if !clock_was_set {
                self.clock = ClockOffset::now();
            }
            self.flush();
            if clock_was_set {
                self.clock = ClockOffset::now();
            }
            self.at_work.store(false, Ordering::SeqCst);
            settled.into_iter().for_each(|done| done());
            for (number, done) in removed {
                self.slots.remove(&number);
                let _ = done.send(());
            }
            if stop {
                return;
            }
        }
    }

    fn hand_over(&mut self, from: u32, to: u32) {
        // Every record drained so far is older than this moment, and no record after it was looked at. It lies a little
        // ahead, so that the two records of the event it may fall into are drained together.
        let moment_ns = monotonic_now_ns() + HAND_OVER_DELAY.as_nanos() as u64;
        if let Some(slot) = self.slots.get_mut(&from) {
            slot.end(moment_ns);
        }
        if let Some(slot) = self.slots.get_mut(&to) {
            slot.begin(moment_ns, from);
        }
    }

    fn drain(&mut self) {
        let Worker { rings, slots, unclaimed, clock, .. } = self;
        let mut before = None;
        rings.drain(|record| {
            let header = RecordHeader::read(record);
            match header.and_then(|header| Some((slots.get_mut(&header.program)?, header))) {
                Some((slot, header)) => slot.push(&header, before, record, clock),
                None => *unclaimed += 1,
            }
            before = header;
        });
        if self.unclaimed > 0 {
            tracing::debug!(records = self.unclaimed, "records of programs that are gone");
            self.unclaimed = 0;
        }
    }

    /// Makes batches of what was drained, after the feeds have told what the rows need.
    fn flush(&mut self) {
        if let Some(settler) = &self.settler
            && self.slots.values().any(Slot::awaits_processes)
        {
            settler.settle();
        }
        let stored: Vec<Item> = self.slots.values_mut().flat_map(|slot| slot.finish(&self.clock)).collect();
        if let Some(outbox) = &self.outbox
            && !stored.is_empty()
        {
            outbox.send(stored);
        }
    }
}
