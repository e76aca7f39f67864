//! The newest entries in memory, and how far each subscriber has read: the hand-over without the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use probepilot_catalog::batch::Envelope;
use tokio::sync::{Notify, watch};

/// Entries kept although every subscriber has them: who comes from the files finds the joint here.
const KEPT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Entries handed to a subscriber at once.
const TAKE_MAX: usize = 64;

/// An entry in memory.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its place in the log.
    pub sequence: u64,
    /// What was appended.
    pub envelope: Arc<Envelope>,
    /// Its [`Envelope::memory_bytes`].
    pub bytes: u64,
    /// Bytes of every entry since the start up to and with this one.
    bytes_end: u64,
}

/// What a subscriber finds.
pub enum Next {
    /// The next entries.
    Live(Vec<Live>),
    /// The next entry is not in memory any more, but in the files.
    InFiles,
    /// There is none yet.
    None,
}

/// Entries that not every live subscriber has, and some more.
pub struct Window {
    state: Mutex<State>,
    /// The newest sequence; told after its entry can be found here.
    head: watch::Sender<u64>,
    /// Told when a subscriber moves on or leaves.
    moved: Notify,
}

struct State {
    entries: VecDeque<Live>,
    head: u64,
    bytes_end: u64,
    /// Live subscribers, and the byte up to which each has read. One that reads files holds nobody up.
    readers: HashMap<u64, u64>,
    reader_next: u64,
}

impl Window {
    /// A window behind the entry `head`, which the files hold.
    pub fn new(head: u64) -> Window {
        let state = State { entries: VecDeque::new(), head, bytes_end: 0, readers: HashMap::new(), reader_next: 0 };
        Window { state: Mutex::new(state), head: watch::Sender::new(head), moved: Notify::new() }
    }

    /// The newest sequence.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Told of every new head, and of the end of the log by its closing.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Makes entries visible, in order and without gap.
    pub fn publish(&self, entries: impl IntoIterator<Item = (u64, Arc<Envelope>)>) {
        let mut state = self.state.lock();
        for (sequence, envelope) in entries {
            let bytes = envelope.memory_bytes() as u64;
            state.bytes_end += bytes;
            state.head = sequence;
            let bytes_end = state.bytes_end;
            state.entries.push_back(Live { sequence, envelope, bytes, bytes_end });
        }
        state.forget();
        let head = state.head;
        drop(state);
        self.head.send_replace(head);
    }

    /// The entries after `sequence`; a reader that finds them (or finds none yet) here is live from then on.
    pub fn next(&self, sequence: u64, reader: &mut Option<u64>) -> Next {
        let mut state = self.state.lock();
        let first = state.entries.front().map_or(state.head + 1, |entry| entry.sequence);
        if sequence + 1 < first {
            if let Some(reader) = reader.take() {
                state.readers.remove(&reader);
                self.moved.notify_waiters();
            }
            return Next::InFiles;
        }
        let from = state.entries.partition_point(|entry| entry.sequence <= sequence);
        if reader.is_none() {
            let read = from.checked_sub(1).map_or_else(|| state.bytes_before(), |last| state.entries[last].bytes_end);
            let id = state.reader_next;
            state.reader_next += 1;
            state.readers.insert(id, read);
            *reader = Some(id);
        }
        let entries: Vec<Live> = state.entries.range(from..).take(TAKE_MAX).cloned().collect();
        if entries.is_empty() { Next::None } else { Next::Live(entries) }
    }

    /// The reader has taken `entry`.
    pub fn read(&self, reader: u64, entry: &Live) {
        let mut state = self.state.lock();
        if let Some(read) = state.readers.get_mut(&reader) {
            *read = entry.bytes_end;
        }
        state.forget();
        drop(state);
        self.moved.notify_waiters();
    }

    /// The reader is gone.
    pub fn leave(&self, reader: u64) {
        let mut state = self.state.lock();
        state.readers.remove(&reader);
        state.forget();
        drop(state);
        self.moved.notify_waiters();
    }

    /// Bytes that the slowest live subscriber has not taken.
    pub fn behind_bytes(&self) -> u64 {
        let state = self.state.lock();
        state.bytes_end - state.slowest()
    }

    /// Waits until the slowest live subscriber is at most `bytes` behind.
    pub async fn behind_at_most(&self, bytes: u64) {
        loop {
            let moved = self.moved.notified();
            if self.behind_bytes() <= bytes {
                return;
            }
            moved.await;
        }
    }
}

impl State {
    fn slowest(&self) -> u64 {
        self.readers.values().copied().min().unwrap_or(self.bytes_end)
    }

    fn bytes_before(&self) -> u64 {
        self.entries.front().map_or(self.bytes_end, |entry| entry.bytes_end - entry.bytes)
    }

    fn forget(&mut self) {
        let keep_from = self.slowest().min(self.bytes_end.saturating_sub(KEPT_BYTES_MAX));
        while self.entries.front().is_some_and(|entry| entry.bytes_end <= keep_from) {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use probepilot_catalog::batch::Batch;
    use probepilot_catalog::table::TableId;

    use super::*;

    fn envelope(rows: usize) -> Arc<Envelope> {
        let column = Arc::new(Int64Array::from(vec![7; rows])) as _;
        let rows = RecordBatch::try_from_iter([("n", column)]).expect("one column");
        let batches = vec![Batch { table: TableId(1), rows }];
        Arc::new(Envelope { producer: "test".into(), epoch: 1, number: 1, batches })
    }

    #[test]
    fn a_slow_reader_keeps_its_entries_and_is_seen_to_be_behind() {
        let window = Window::new(0);
        let mut reader = None;
        assert!(matches!(window.next(0, &mut reader), Next::None));
        let large = KEPT_BYTES_MAX as usize / 8;
        window.publish((1..=5).map(|sequence| (sequence, envelope(large))));
        let Next::Live(entries) = window.next(0, &mut reader) else { panic!("all are in memory") };
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(window.behind_bytes(), 5 * entries[0].bytes);
        window.read(reader.expect("it is live"), &entries[4]);
        assert_eq!(window.behind_bytes(), 0);
        assert!(matches!(window.next(0, &mut None), Next::InFiles), "what everyone has is forgotten");
    }
}
