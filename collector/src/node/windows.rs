//! The windows of a program that aggregates: closed when their time is over, their rows sent where they belong.
//!
//! A thread of its own for each such program, as closing waits for the kernel. A window begins and ends by the wall clock;
//! an event that happens in the microseconds between the moment and the exchange of the maps is in the window before. So
//! is everything of windows that are shorter than the kernel's wait: they become one row, whose width says it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use probepilot_collector_ebpf::compile::aggregate::plan::Bucket;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::load::WindowReader;
use probepilot_collector_ebpf::windows::{Window, WindowDecoder};

use crate::node::clock::unix_now_ns;
use crate::node::drain::Settler;
use crate::node::loss::{Cause, Tally};
use crate::node::outbox::Outbox;
use crate::node::slot::{Target, deliver};

/// The wall clock is looked at so often at least: it may have been set.
const CLOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// While the program counts.
const NOT_ENDED: i64 = i64::MAX;

/// What a thread of windows needs.
pub struct WindowOptions {
    /// The program's number, for messages.
    pub number: u32,
    /// The maps.
    pub reader: WindowReader,
    /// From states to rows.
    pub decoder: WindowDecoder,
    /// When the query ends, Unix nanoseconds; `None` for never.
    pub until_unix_ns: Option<i64>,
    /// Where rows go.
    pub target: Target,
    /// Where is counted what becomes of events and rows.
    pub tally: Arc<Tally>,
    /// The queue to the log, for rows of tables.
    pub outbox: Option<Outbox>,
    /// Who is heard before rows are made.
    pub settler: Option<Settler>,
}

/// What the thread is told.
enum Order {
    /// The program began; the first window opens.
    Begin { unix_ns: i64 },
    /// The program is thinned out from now on.
    Thin { keep: u32 },
}

/// The thread. Dropping it makes the last window, when there is one, so detach the program first.
pub struct Windows {
    /// The thread ends when it is gone.
    orders: Option<mpsc::Sender<Order>>,
    /// See [`Windows::end`]; [`NOT_ENDED`] before.
    ended_unix_ns: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

impl Windows {
    /// Starts the thread, which waits for [`Windows::begin`].
    pub fn start(options: WindowOptions) -> io::Result<Windows> {
        let (send, orders) = mpsc::channel();
        let bucket = options.decoder.bucket();
        // One that begins in the middle of a bucket has not seen all of it; one without buckets begins with the query.
        let complete = bucket.is_none();
        let ended_unix_ns = Arc::new(AtomicI64::new(NOT_ENDED));
        let ended = Arc::clone(&ended_unix_ns);
        let worker = Worker { bucket, complete, keep: 0, lost: 0, start_unix_ns: 0, orders, ended, options };
        let thread = thread::Builder::new().name("windows".into()).spawn(move || worker.run())?;
        Ok(Windows { orders: Some(send), ended_unix_ns, thread: Some(thread) })
    }

    /// Opens the first window; `unix_ns` is before the program's first event.
    pub fn begin(&self, unix_ns: i64) {
        self.order(Order::Begin { unix_ns });
    }

    /// Ends the open window, which becomes rows, and lets so many of 2³² events into the next; 0 for what the query keeps.
    pub fn thin(&self, keep: u32) {
        self.order(Order::Thin { keep });
    }

    /// The program counts nothing from this moment on, as another takes its place, though it is still attached: the open
    /// window is the last one and ends there. Told before the program ceases, so that no window behind it looks whole;
    /// `None` takes it back.
    pub fn end(&self, unix_ns: Option<i64>) {
        self.ended_unix_ns.store(unix_ns.unwrap_or(NOT_ENDED), Ordering::SeqCst);
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has panicked has said so.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    options: WindowOptions,
    bucket: Option<Bucket>,
    /// Ends when the program is detached.
    orders: mpsc::Receiver<Order>,
    /// When the program ceased to count.
    ended: Arc<AtomicI64>,
    /// When the open window began.
    start_unix_ns: i64,
    /// Whether the open window was open from its bucket's beginning.
    complete: bool,
    /// What is let into the open window; 0 for what the query keeps.
    keep: u32,
    /// Events that the program had lost when the open window began.
    lost: u64,
}

impl Worker {
    fn run(mut self) {
        let began_unix_ns = loop {
            match self.orders.recv() {
                Ok(Order::Begin { unix_ns }) => break unix_ns,
                Ok(Order::Thin { keep }) => self.set_keep(keep),
                Err(_) => return,
            }
        };
        self.start_unix_ns = self.bucket.map_or(began_unix_ns, |bucket| bucket.begin(began_unix_ns));
        if self.options.until_unix_ns.is_some_and(|until_unix_ns| until_unix_ns <= unix_now_ns()) {
            // Attaching took longer than the query lasts: what was counted came after its end.
            self.begin_anew();
        }
        loop {
            let now_unix_ns = unix_now_ns();
            let has_ended = self.ended_unix_ns() != NOT_ENDED;
            let end_unix_ns = if has_ended { NOT_ENDED } else { self.end_unix_ns(now_unix_ns) };
            let left = Duration::from_nanos(u64::try_from(end_unix_ns.saturating_sub(now_unix_ns)).unwrap_or(0));
            match self.orders.recv_timeout(left.min(CLOCK_WAIT_MAX)) {
                Err(RecvTimeoutError::Disconnected) => return self.last(),
                // What another has replaced waits for its end.
                _ if self.ended_unix_ns() != NOT_ENDED => {}
                Ok(Order::Begin { .. }) => {}
                Ok(Order::Thin { keep }) => self.thin(keep),
                Err(RecvTimeoutError::Timeout) if unix_now_ns() < end_unix_ns => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.close(end_unix_ns);
                    if self.options.until_unix_ns.is_some_and(|until_unix_ns| until_unix_ns <= self.start_unix_ns) {
                        return self.finish();
                    }
                }
            }
        }
    }

    fn ended_unix_ns(&self) -> i64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// When the open window ends. A clock that was set back begins a window anew.
    fn end_unix_ns(&mut self, now_unix_ns: i64) -> i64 {
        let bound = self.options.until_unix_ns.unwrap_or(i64::MAX);
        let Some(bucket) = self.bucket else { return bound };
        if now_unix_ns < self.start_unix_ns - bucket.width_ns {
            self.start_unix_ns = bucket.begin(now_unix_ns);
            self.complete = false;
        }
        bucket.begin(self.start_unix_ns).saturating_add(bucket.width_ns).min(bound)
    }

    /// What was counted before is no window's.
    fn begin_anew(&mut self) {
        self.start_unix_ns = unix_now_ns();
        self.complete = false;
        let reader = &mut self.options.reader;
        if let Err(error) = reader.close().and_then(|()| reader.take_closed(|_, _| {})) {
            tracing::error!(%error, probe = self.options.number, "a window could not be closed");
        }
        if let Some(bucket) = self.bucket {
            self.start_unix_ns = bucket.begin(self.start_unix_ns);
        }
    }

    /// Lets another share of the events in, and ends the window: what it holds stands for as many as before. Events of the
    /// microseconds between the two are in the window before.
    fn thin(&mut self, keep: u32) {
        let before = self.keep;
        self.set_keep(keep);
        let now_unix_ns = unix_now_ns();
        self.exchange();
        self.send(now_unix_ns, false, before);
        self.start_unix_ns = now_unix_ns;
        self.complete = false;
    }

    fn set_keep(&mut self, keep: u32) {
        self.options.reader.thin(keep);
        self.keep = keep;
    }

    /// Opens another window and takes what was in the open one.
    fn exchange(&mut self) {
        let WindowOptions { reader, decoder, .. } = &mut self.options;
        let closed = reader.close().and_then(|()| reader.take_closed(|key, states| decoder.push(key, states)));
        if let Err(error) = closed {
            self.complete = false;
            tracing::error!(%error, probe = self.options.number, "a window could not be closed");
        }
        // What is lost while the maps are exchanged is missing in one of the two: it is told of the window before.
        let lost = self.options.reader.lost().unwrap_or(u64::MAX);
        if std::mem::replace(&mut self.lost, lost) != lost {
            self.complete = false;
        }
    }

    /// Closes the open window and opens the next. Its end is the last moment at or behind `end_unix_ns` at which one may
    /// end: when we come late, buckets that are over already are one window.
    fn close(&mut self, end_unix_ns: i64) {
        let now_unix_ns = unix_now_ns();
        self.exchange();
        let bound = self.options.until_unix_ns.unwrap_or(i64::MAX);
        let end_unix_ns = match self.bucket {
            Some(bucket) if end_unix_ns < bound => bucket.begin(now_unix_ns).max(end_unix_ns).min(bound),
            _ => end_unix_ns,
        };
        // What took our place meanwhile has the rest of it.
        let complete = self.complete && end_unix_ns <= self.ended_unix_ns();
        self.send(end_unix_ns, complete, self.keep);
        let begins_bucket = self.bucket.is_some_and(|bucket| bucket.begin(end_unix_ns) == end_unix_ns);
        self.start_unix_ns = end_unix_ns;
        self.complete = begins_bucket;
    }

    /// The program is detached: what the open window has is all.
    fn last(mut self) {
        let WindowOptions { reader, decoder, .. } = &mut self.options;
        if let Err(error) = reader.take_open(|key, states| decoder.push(key, states)) {
            tracing::error!(%error, probe = self.options.number, "the last window could not be read");
        }
        self.send(unix_now_ns().min(self.ended_unix_ns()), false, self.keep);
    }

    fn finish(self) {
        if let Target::Live(queue) = &self.options.target {
            queue.close();
        }
    }

    fn send(&mut self, end_unix_ns: i64, complete: bool, keep: u32) {
        let WindowOptions { number, reader, decoder, target, tally, outbox, settler, .. } = &mut self.options;
        let width_ns = (end_unix_ns - self.start_unix_ns).max(0);
        let ends_bucket = self.bucket.is_none_or(|bucket| bucket.begin(end_unix_ns) == end_unix_ns);
        let complete = complete && ends_bucket && keep == 0;
        let window = Window { start_unix_ns: self.start_unix_ns, width_ns, complete, keep };
        if let Some(settler) = settler.as_ref().filter(|_| decoder.asks_for_processes()) {
            settler.settle();
        }
        let events = decoder.events();
        let made = match decoder.finish(window, &ClockOffset::now()) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, probe = number, "the rows of a window could not be made; its events are counted as detached");
                return tally.lose(Cause::Detached, events);
            }
        };
        tally.filled(made.kernel_groups as f64 * 100.0 / f64::from(reader.keys_max().max(1)));
        tally.add_filtered(made.filtered);
        tally.lose(Cause::MapFull, made.map_full);
        tally.lose(Cause::ExpressionError, made.expression_errors);
        let item = deliver(target, made.rows, tally, None, *number);
        if let (Some(outbox), Some(item)) = (outbox, item) {
            outbox.send(vec![item]);
        }
    }
}
