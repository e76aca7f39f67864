//! A version that counts in windows follows one at another hook: both are attached, and one word says whose turn it is.

use std::io;
use std::sync::Arc;

use super::cells::Cell;
use super::map::Map;
use super::{LoadError, LoadedProbe};
use crate::kernel::{Hook, HookKind};

/// What a version needs of the one before it to be able to follow it.
#[derive(Clone, Debug)]
pub struct Predecessor {
    /// Where the word is; both have it from then on.
    pub(super) cell: Arc<Cell>,
    pub(super) counters: Arc<Map>,
    hook: Arc<Hook>,
}

impl Predecessor {
    /// Whether an event may pass both hooks, one right after the other.
    pub(super) fn shares_place(&self, hook: &Hook) -> bool {
        place(&self.hook) == place(hook)
    }
}

/// The kernel's own event behind a hook: every event of a system call is one of all system calls.
fn place(hook: &Hook) -> &str {
    let of_calls = hook.kind == HookKind::Tracepoint && hook.group == "syscalls";
    match ["sys_enter", "sys_exit"].into_iter().find(|place| of_calls && hook.name.starts_with(place)) {
        Some(place) => place,
        None => &hook.name,
    }
}

impl LoadedProbe {
    /// For the version that is to [follow](LoadedProbe::load_after) this one.
    pub fn predecessor(&self) -> Predecessor {
        let (cell, counters) = (Arc::clone(&self.maps.cell), Arc::clone(&self.maps.counters));
        Predecessor { cell, counters, hook: Arc::clone(&self.program.hook) }
    }

    /// Counts every event from now on, and `old`, after which it was loaded, none: by one write, so an event at one hook is
    /// counted by one of them. One that passes both hooks at this moment is counted once. Where ours comes first at such a
    /// place, one event on each CPU may be missed until it is [settled](LoadedProbe::settle). Does not block; what is under
    /// way in `old` has ended after [`super::Common::wait_for_programs`].
    ///
    /// # Errors
    /// When it is not attached: then `old` goes on.
    pub fn take_turn(&mut self, old: Option<&mut LoadedProbe>) -> Result<(), LoadError> {
        if !self.is_attached() {
            let source = io::Error::other("it is not attached");
            return Err(LoadError::Refused { what: "let a program take its turn".to_owned(), source });
        }
        // Ends until now had no start that we could have seen; from now on those of `old` have none.
        self.early_ends = self.unpaired_ends();
        if let Some(old) = old {
            old.ends_at_take_over = Some(old.unpaired_ends());
        }
        // The new version begins with all events.
        self.maps.cell.keep(0);
        self.maps.cell.give_turn(self.number, false);
        Ok(())
    }

    /// After [`LoadedProbe::take_turn`], when nothing is under way in the version before: it need not be looked at any more.
    pub fn settle(&self) {
        self.maps.cell.give_turn(self.number, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::tests::fixture_kernel;

    #[test]
    fn hooks_of_one_event_are_at_one_place() {
        let kernel = fixture_kernel();
        let hook = |kind, name| kernel.hook(&[kind, name]).unwrap();
        let (open, read) = (hook("tracepoint", "sys_enter_openat"), hook("tracepoint", "sys_exit_openat"));
        let (switch, traced) = (hook("tp_btf", "sched_switch"), hook("tracepoint", "sched_process_exec"));
        assert_eq!((place(&open), place(&read)), ("sys_enter", "sys_exit"));
        assert_eq!((place(&switch), place(&traced)), ("sched_switch", "sched_process_exec"));
    }
}
