//! Programs in the kernel, with the rings they write and the thread that empties them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::kernel::Hook;
use probepilot_collector_ebpf::load::{
    Common, Counters, LoadError, LoadOptions, LoadedProbe, Measuring, Predecessor, ProgramInfo, Rings, Runs, Seats,
};

use crate::node::clock::unix_now_ns;
use crate::node::drain::{Drain, DrainOptions, HAND_OVER_DELAY, Settler};
use crate::node::loss::{Cause, Losses, Tally};
use crate::node::outbox::Outbox;
use crate::node::slot::{Slot, Target};
use crate::node::windows::{WindowOptions, Windows};

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel refused to make the rings.
    #[error("could not make the rings")]
    Rings(#[source] LoadError),
    /// No thread, or nothing to wait with.
    #[error("could not start the drain")]
    Drain(#[source] io::Error),
}

/// Rings, their drain, and the numbers of the programs that write them.
pub struct Engine {
    common: Common,
    drain: Drain,
    /// As the drain's: where rows of windows go, and who is heard before they are made.
    outbox: Option<Outbox>,
    settler: Option<Settler>,
    /// The next program's number. They do not come again, so a late record is nobody's.
    next_number: AtomicU32,
}

impl Engine {
    /// Makes rings of together `ring_bytes` and starts to empty them.
    pub fn start(ring_bytes: usize, options: DrainOptions) -> Result<Engine, EngineError> {
        let reader = Rings::new(ring_bytes).map_err(EngineError::Rings)?;
        let common = reader.common();
        let (outbox, settler) = (options.outbox.clone(), options.settler.clone());
        let drain = Drain::start(reader, options).map_err(EngineError::Drain)?;
        Ok(Engine { common, drain, outbox, settler, next_number: AtomicU32::new(1) })
    }

    /// Loads and verifies a program without attaching it. Blocks.
    pub fn load(&self, compiled: &CompiledProbe, rows_per_second_max: u32) -> Result<LoadedProbe, LoadError> {
        self.load_as(self.number(), compiled, rows_per_second_max, None)
    }

    /// What another engine's drain waits with for this one.
    pub fn settler(&self) -> Settler {
        self.drain.settler()
    }

    /// Has every run of its programs measured for as long as the answer lives.
    pub fn measure_runs(&self) -> Measuring {
        self.common.measure_runs()
    }

    fn number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    fn load_as(
        &self,
        number: u32,
        compiled: &CompiledProbe,
        rows_per_second_max: u32,
        before: Option<&Predecessor>,
    ) -> Result<LoadedProbe, LoadError> {
        let options = LoadOptions { probe_id: number, rows_per_second_max };
        LoadedProbe::load_after(&compiled.object, &self.common, options, before)
    }
}

/// How a program is run.
pub struct RunOptions {
    /// Rows it lets through in a second.
    pub rows_per_second_max: u32,
    /// Where its rows go.
    pub target: Target,
    /// Where they are counted.
    pub tally: Arc<Tally>,
    /// Its records count only after [`Running::take_over_from`].
    pub waiting: bool,
}

/// A program that is attached. Dropping it detaches and frees everything: up to 120 ms.
pub struct Running {
    engine: Arc<Engine>,
    number: u32,
    /// There until it is detached.
    loaded: Option<LoadedProbe>,
    /// What makes rows of a program that aggregates.
    windows: Option<Windows>,
    tally: Arc<Tally>,
    /// What the query itself keeps of 2³² events; 0 for all.
    sample_keep: u32,
    /// How long attaching took.
    pub attach_time: Duration,
}

impl Running {
    /// Loads, verifies and attaches. Blocks for the kernel: up to 20 ms. An error leaves nothing behind.
    pub fn start(engine: &Arc<Engine>, compiled: &CompiledProbe, options: RunOptions) -> Result<Running, LoadError> {
        let began = Instant::now();
        let mut running = Running::load(engine, compiled, options, None)?;
        let began_unix_ns = unix_now_ns();
        running.loaded_mut().attach()?;
        running.begin_windows(began_unix_ns);
        running.attach_time = began.elapsed();
        Ok(running)
    }

    /// Loads and verifies what is to [take the place](Running::take_place_of) of another. Blocks. An error leaves nothing
    /// behind.
    pub fn prepare(engine: &Arc<Engine>, compiled: &CompiledProbe, options: RunOptions) -> Result<Running, LoadError> {
        let began = Instant::now();
        let mut running = Running::load(engine, compiled, options, None)?;
        running.loaded_mut().attach_companions()?;
        running.attach_time = began.elapsed();
        Ok(running)
    }

    /// Loads, verifies and attaches what is to [take the turn](Running::take_turn_of) of a version at another hook; it
    /// counts nothing until then. Blocks. An error leaves nothing behind.
    pub fn follow(
        engine: &Arc<Engine>,
        compiled: &CompiledProbe,
        options: RunOptions,
        before: &Predecessor,
    ) -> Result<Running, LoadError> {
        let began = Instant::now();
        let mut running = Running::load(engine, compiled, options, Some(before))?;
        running.loaded_mut().attach()?;
        running.attach_time = began.elapsed();
        Ok(running)
    }

    /// From here on dropping it takes back what was done.
    fn load(
        engine: &Arc<Engine>,
        compiled: &CompiledProbe,
        options: RunOptions,
        before: Option<&Predecessor>,
    ) -> Result<Running, LoadError> {
        let RunOptions { rows_per_second_max, target, tally, waiting } = options;
        let number = engine.number();
        let loaded = engine.load_as(number, compiled, rows_per_second_max, before)?;
        let windows = match (compiled.window_decoder(), loaded.windows()) {
            (Some(decoder), Some(reader)) => {
                let (tally, outbox, settler) = (tally.clone(), engine.outbox.clone(), engine.settler.clone());
                let until_unix_ns = compiled.until_unix_ns;
                let options = WindowOptions { number, reader, decoder, until_unix_ns, target, tally, outbox, settler };
                let refused = |source| LoadError::Refused { what: "start a thread for windows".to_owned(), source };
                Some(Windows::start(options).map_err(refused)?)
            }
            _ => {
                let slot = Slot::new(number, compiled.decoder(), target, tally.clone());
                // A drain that has stopped answers by dropping its end.
                let _ = engine.drain.add(if waiting { slot.waiting() } else { slot }).blocking_recv();
                None
            }
        };
        let (engine, attach_time) = (engine.clone(), Duration::ZERO);
        let sample_keep = compiled.sample_keep();
        Ok(Running { engine, number, loaded: Some(loaded), windows, tally, sample_keep, attach_time })
    }

    fn begin_windows(&self, began_unix_ns: i64) {
        if let Some(windows) = &self.windows {
            windows.begin(began_unix_ns);
        }
    }

    fn loaded_mut(&mut self) -> &mut LoadedProbe {
        self.loaded.as_mut().expect("only stop and drop take it, and they own the program")
    }

    fn loaded(&self) -> &LoadedProbe {
        self.loaded.as_ref().expect("only stop and drop take it, and they own the program")
    }

    /// Says whether it is attached to this hook, so that another version there can take its place.
    pub fn sits_at(&self, hook: &Hook) -> bool {
        self.loaded().sits_at(hook)
    }

    /// Its number in the records' headers.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Takes the place of `other` at the same hook, by one write to the slot through which events reach a program: each
    /// event runs in one of the two. Does not block.
    pub fn take_place_of(&mut self, other: &mut Running) -> Result<(), LoadError> {
        let began_unix_ns = unix_now_ns();
        other.end_windows(Some(began_unix_ns));
        self.loaded_mut().take_over(other.loaded_mut()).inspect_err(|_| other.end_windows(None))?;
        self.begin_windows(began_unix_ns);
        Ok(())
    }

    /// Counts from now on, and `other`, which it [follows](Running::follow), counts no more: each event at one of the hooks
    /// is in the windows of one of the two, and in one only. Does not block.
    pub fn take_turn_of(&mut self, mut other: Option<&mut Running>) -> Result<(), LoadError> {
        let began_unix_ns = unix_now_ns();
        if let Some(other) = &other {
            other.end_windows(Some(began_unix_ns));
        }
        self.loaded_mut().take_turn(other.as_mut().map(|other| other.loaded_mut()))?;
        self.begin_windows(began_unix_ns);
        Ok(())
    }

    /// Says that nothing is under way any more in the version whose turn it took.
    pub fn settle(&self) {
        if self.windows.is_some() {
            self.loaded().settle();
        }
    }

    /// For the version that is to follow it at another hook, when its rows are windows.
    pub fn predecessor(&self) -> Option<Predecessor> {
        self.windows.as_ref().map(|_| self.loaded().predecessor())
    }

    /// Says when the last window ended; `None` takes it back.
    fn end_windows(&self, unix_ns: Option<i64>) {
        if let Some(windows) = &self.windows {
            windows.end(unix_ns);
        }
    }

    /// From one moment on our records count and those of the program `other`, at another hook, do not: an event is seen
    /// by both, and the drain decides by its time whose record it is. Blocks until that moment is over.
    ///
    /// The one event that is under way then on a CPU may be missed: when our hook comes before the other in it.
    pub fn take_over_from(&self, other: u32) {
        // A drain that has stopped answers by dropping its end.
        let _ = self.engine.drain.hand_over(other, self.number).blocking_recv();
        std::thread::sleep(HAND_OVER_DELAY);
    }

    /// Says whether it is a pair.
    pub fn has_companions(&self) -> bool {
        self.loaded().has_companions()
    }

    /// Takes what still holds a replaced program at hooks; dropping that waits for the kernel.
    pub fn let_go(&mut self) -> Seats {
        self.loaded_mut().let_go()
    }

    /// Waits until the last record of a replaced program, which was let go, is drained, and its counters are final.
    pub fn wait_for_last_record(engine: &Engine, number: u32) {
        if let Err(error) = engine.common.wait_for_programs() {
            tracing::warn!(%error, "could not wait for a replaced program; records that come later count as nobody's");
        }
        // A drain that has stopped answers by dropping its end.
        let _ = engine.drain.remove(number).blocking_recv();
    }

    /// What the program counted in the kernel.
    pub fn kernel_counts(&self) -> Counters {
        self.loaded().counters().unwrap_or_else(|error| {
            tracing::warn!(%error, "the counters of a program could not be read; they are shown as 0");
            Counters::default()
        })
    }

    /// What the program and the part after the kernel counted.
    pub fn counts(&self) -> Counts {
        Counts::new(&self.kernel_counts(), &self.tally)
    }

    /// Drops starts of a pair that have waited for too long. Blocks, for some microseconds for each that waits.
    pub fn sweep(&self) {
        if let Err(error) = self.loaded().sweep() {
            tracing::warn!(%error, "the starts of a pair could not be swept; when there is no room for more, they are counted");
        }
    }

    /// As [`Running::sweep`], those older than `age`; says how many.
    #[cfg(test)]
    pub fn sweep_older_than(&self, age: Duration) -> u64 {
        self.loaded().sweep_older_than(age).expect("the kernel answers")
    }

    /// What the query itself keeps of 2³² events; 0 for all.
    pub fn sample_keep(&self) -> u32 {
        self.sample_keep
    }

    /// From now on lets through so many of 2³² events, 0 for what the query itself keeps. Windows that are open end then: all
    /// events of one stand for as many.
    pub fn thin(&self, keep: u32) {
        match &self.windows {
            Some(windows) => windows.thin(keep),
            None => self.loaded().thin(keep),
        }
    }

    /// How full the map is in which it keeps groups or starts of pairs, percent; `None` where it keeps none, or none is known.
    pub fn map_fill_percent(&self) -> Option<f64> {
        self.loaded().state_fill_percent().or_else(|| self.tally.fill_percent())
    }

    /// The program's runs that were measured.
    pub fn runs(&self) -> Runs {
        self.loaded().runs()
    }

    /// What the kernel says about the program; `None` when it does not answer.
    pub fn info(&self) -> Option<ProgramInfo> {
        self.loaded().info().ok()
    }

    /// Detaches, lets the drain take what the rings still hold, and frees everything. The rows are on their way then, and
    /// what the program counted is final. Blocks: up to 120 ms.
    pub fn stop(mut self) -> Counters {
        self.loaded_mut().detach();
        // The last window.
        self.windows = None;
        // A drain that has stopped answers by dropping its end.
        let _ = self.engine.drain.remove(self.number).blocking_recv();
        let counters = self.kernel_counts();
        self.loaded = None;
        counters
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut loaded) = self.loaded.take() {
            loaded.detach();
            self.windows = None;
            let _forgotten_later = self.engine.drain.remove(self.number);
        }
    }
}

/// A program's counters, before and after the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events the filter let through, without those that the other version delivered.
    pub events: u64,
    /// Rows the log or the client has taken.
    pub rows: u64,
    /// Events that are in the rows of windows, or in the window that is open.
    pub aggregated: u64,
    /// Events that the part of the filter after the kernel did not let through.
    pub filtered: u64,
    /// Events of a pair's first hook.
    pub starts: u64,
    /// Those of them that met their end.
    pub paired: u64,
    /// Lost, by cause. events = rows + filtered + lost rows, once the rings are empty; of a program that aggregates,
    /// events = aggregated + filtered + `map_full`.
    pub losses: Losses,
    /// From event to log for the oldest row of the last batch, nanoseconds.
    pub lag_ns: u64,
}

impl Counts {
    /// From what programs counted and what became of their records.
    pub fn new(kernel: &Counters, tally: &Tally) -> Counts {
        let mut losses = tally.losses();
        // What windows had and could not say.
        let of_windows = losses.get(Cause::MapFull) + losses.get(Cause::Detached);
        losses.add(Cause::RingFull, kernel.ring_full);
        losses.add(Cause::Sampled, kernel.sampled);
        losses.add(Cause::RateLimited, kernel.rate_limited);
        losses.add(Cause::Budget, kernel.budget);
        losses.add(Cause::Nested, kernel.nested);
        losses.add(Cause::UnpairedStart, kernel.unpaired_start);
        losses.add(Cause::UnpairedEnd, kernel.unpaired_end);
        losses.add(Cause::MapFull, kernel.map_full);
        losses.add(Cause::Recursion, kernel.recursion);
        losses.add(Cause::Unreadable, kernel.unreadable);
        losses.add(Cause::Truncated, kernel.truncated);
        losses.add(Cause::ExpressionError, kernel.expression_error);
        Counts {
            events: kernel.events.saturating_sub(tally.handed_over()),
            rows: tally.rows(),
            aggregated: kernel.aggregated.saturating_sub(tally.filtered() + of_windows),
            filtered: tally.filtered(),
            starts: kernel.starts,
            paired: kernel.paired,
            losses,
            lag_ns: tally.lag_ns(),
        }
    }
}
