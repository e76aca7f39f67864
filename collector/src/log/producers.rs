//! Which envelopes of each producer the log has taken, so that a repeated one is not taken twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Producers and epochs remembered; above it the one heard of longest ago is forgotten, and asked of the catalog when
/// it comes back.
const PRODUCERS_MAX: usize = 16_384;

/// The newest envelopes of a producer whose sequences are remembered one by one.
const RECENT_MAX: usize = 64;

/// What is known of every producer.
#[derive(Default)]
pub struct Producers {
    known: HashMap<(Arc<str>, u64), Producer>,
}

#[derive(Default)]
struct Producer {
    /// Every envelope up to this number was taken.
    taken: u64,
    /// A sequence at or above that of every envelope up to `taken`.
    taken_sequence: u64,
    /// Sequences of envelopes above it.
    recent: BTreeMap<u64, u64>,
}

impl Producers {
    /// Whether anything is known of this producer and epoch.
    pub fn knows(&self, producer: &Arc<str>, epoch: u64) -> bool {
        self.known.contains_key(&(producer.clone(), epoch))
    }

    /// Takes in that every envelope up to `number` is at or below `sequence`.
    pub fn learn(&mut self, producer: &Arc<str>, epoch: u64, number: u64, sequence: u64) {
        let known = self.producer(producer, epoch);
        if number > known.taken {
            known.taken = number;
            known.taken_sequence = known.taken_sequence.max(sequence);
            known.recent.retain(|&recent, _| recent > number);
        }
    }

    /// The sequence of an envelope that was taken before, or one above it when its own is forgotten: who waits for it
    /// has waited long enough. `None` when the envelope is new, also one that comes after its successors.
    pub fn sequence(&self, producer: &Arc<str>, epoch: u64, number: u64) -> Option<u64> {
        let known = self.known.get(&(producer.clone(), epoch))?;
        if number <= known.taken { Some(known.taken_sequence) } else { known.recent.get(&number).copied() }
    }

    /// Takes in that the envelope is at `sequence`.
    pub fn took(&mut self, producer: &Arc<str>, epoch: u64, number: u64, sequence: u64) {
        let known = self.producer(producer, epoch);
        known.recent.insert(number, sequence);
        if known.recent.len() > RECENT_MAX
            && let Some((number, sequence)) = known.recent.pop_first()
        {
            known.taken = known.taken.max(number);
            known.taken_sequence = known.taken_sequence.max(sequence);
        }
    }

    fn producer(&mut self, producer: &Arc<str>, epoch: u64) -> &mut Producer {
        let key = (producer.clone(), epoch);
        if self.known.len() >= PRODUCERS_MAX && !self.known.contains_key(&key) {
            self.forget_oldest();
        }
        self.known.entry(key).or_default()
    }

    fn forget_oldest(&mut self) {
        let newest = |known: &Producer| known.recent.values().copied().max().unwrap_or(known.taken_sequence);
        let oldest = self.known.iter().min_by_key(|(_, known)| newest(known)).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_gets_its_old_sequence_and_a_late_one_is_new() {
        let name: Arc<str> = "node".into();
        let mut producers = Producers::default();
        producers.took(&name, 1, 1, 10);
        producers.took(&name, 1, 3, 11);
        assert_eq!(producers.sequence(&name, 1, 1), Some(10));
        assert_eq!(producers.sequence(&name, 1, 2), None, "it comes late");
        assert_eq!(producers.sequence(&name, 1, 3), Some(11));
        assert_eq!(producers.sequence(&name, 2, 3), None, "another epoch");
    }

    #[test]
    fn what_is_forgotten_one_by_one_is_still_a_repeat() {
        let name: Arc<str> = "node".into();
        let mut producers = Producers::default();
        for number in 1..=1000 {
            producers.took(&name, 1, number, number + 5);
        }
        let sequence = producers.sequence(&name, 1, 1).expect("it was taken");
        assert!(sequence >= 6);
        assert_eq!(producers.sequence(&name, 1, 1000), Some(1005));
        assert_eq!(producers.sequence(&name, 1, 1001), None);
    }

    #[test]
    fn what_the_catalog_knows_is_a_repeat() {
        let name: Arc<str> = "node".into();
        let mut producers = Producers::default();
        producers.learn(&name, 7, 40, 99);
        assert_eq!(producers.sequence(&name, 7, 40), Some(99));
        assert_eq!(producers.sequence(&name, 7, 41), None);
    }

    #[test]
    fn the_number_of_producers_is_bounded() {
        let mut producers = Producers::default();
        for producer in 0..PRODUCERS_MAX as u64 + 10 {
            producers.took(&format!("client {producer}").into(), 1, 1, producer + 1);
        }
        assert_eq!(producers.known.len(), PRODUCERS_MAX);
        assert!(!producers.knows(&"client 0".into(), 1));
    }
}
