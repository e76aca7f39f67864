//! Events whose values the test draws: `fsetxattr` on descriptors that are not there.

use std::ffi::CString;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use proptest::prelude::*;
use proptest::sample::select;

use crate::cpus::{own_cpus, stay_on};

/// The hook that the events are seen at.
pub const HOOK: &str = "tracepoint.sys_enter_fsetxattr";

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// A descriptor, below zero.
    pub fd: i32,
    /// A pointer; `None` where nothing can be read.
    pub name: Option<&'static str>,
    /// Another one.
    pub value: Option<&'static str>,
    /// 64 bits.
    pub size: i64,
    /// 32 bits.
    pub flags: i32,
}

impl Event {
    /// Makes it happen.
    fn happen(&self) {
        let text = |text: Option<&str>| text.map(|text| CString::new(text).unwrap());
        let (name, value) = (text(self.name), text(self.value));
        let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        // The upper half of a register is not an int's.
        let upper = 0x1234_5678_i64 << 32;
        let (fd, flags) = (upper | i64::from(self.fd.cast_unsigned()), upper | i64::from(self.flags.cast_unsigned()));
        // SAFETY: there is no such descriptor, so nothing is changed; the texts live through the call, and what lies
        // behind them is only read by the kernel, which refuses what it may not read.
        unsafe { libc::syscall(libc::SYS_fsetxattr, fd, pointer(&name), pointer(&value), self.size, flags) };
    }
}

/// Makes the events happen, on every CPU that this thread may use in turn.
pub fn act(events: &[Event]) {
    let cpus = own_cpus();
    for (index, event) in events.iter().enumerate() {
        // Three on each, so that a group has several on one CPU too.
        if index % 3 == 0 {
            stay_on(&cpus[index / 3 % cpus.len()..][..1]);
        }
        event.happen();
    }
    stay_on(&cpus);
}

/// The same events as a table.
pub fn table(events: &[Event]) -> RecordBatch {
    let column = |name: &str| -> ArrayRef {
        match name {
            "fd" => Arc::new(events.iter().map(|event| event.fd).collect::<Int32Array>()),
            "name" => Arc::new(events.iter().map(|event| event.name).collect::<StringViewArray>()),
            "value" => Arc::new(events.iter().map(|event| event.value).collect::<StringViewArray>()),
            "size" => Arc::new(events.iter().map(|event| event.size).collect::<Int64Array>()),
            _ => Arc::new(events.iter().map(|event| event.flags).collect::<Int32Array>()),
        }
    };
    let names = ["fd", "name", "value", "size", "flags"];
    RecordBatch::try_from_iter_with_nullable(names.map(|name| (name, column(name), true))).unwrap()
}

/// Events: few values, so that groups have several; in some of them the extremes of their types.
pub fn events() -> impl Strategy<Value = Vec<Event>> {
    let text = || proptest::option::weighted(0.8, select(&["a", "A", "", "ab", "b", "user.x", "user.y", "ä"]));
    let event = |extreme: bool| {
        let size = if extreme {
            prop_oneof![select(&[i64::MAX, i64::MIN, i64::MAX - 1, 1 << 62, -(1 << 62) - 1]), -4_i64..5, any::<i64>()]
                .boxed()
        } else {
            prop_oneof![3 => -4_i64..5, 1 => -100_000_i64..100_000].boxed()
        };
        let flags =
            if extreme { prop_oneof![select(&[i32::MIN, i32::MAX]), -2_i32..3].boxed() } else { (-2_i32..3).boxed() };
        let fd = if extreme { prop_oneof![Just(i32::MIN), -3_i32..0].boxed() } else { (-3_i32..0).boxed() };
        (fd, text(), text(), size, flags).prop_map(|(fd, name, value, size, flags)| Event {
            fd,
            name,
            value,
            size,
            flags,
        })
    };
    prop_oneof![
        2 => proptest::collection::vec(event(false), 0..80),
        1 => proptest::collection::vec(event(true), 0..80),
    ]
}
