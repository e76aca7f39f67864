//! Any bytes are types of a kernel or refused; every type, member and argument of what was taken can be looked at.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use probepilot_collector_ebpf::kernel::{Btf, BtfKind, HookKind, Kernel};

/// Types of one input that are looked at: what is wrong with one more is found in a smaller input.
const TYPES_MAX: u32 = 256;

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data.to_vec()) else { return };
    for id in 0..TYPES_MAX {
        let Some(found) = btf.get(id) else { break };
        assert_eq!(found.id, id);
        assert!(btf.strip(id, |_| ()).is_none_or(|stripped| stripped.kind != BtfKind::Typedef));
        for name in btf.member_names(id).into_iter().take(TYPES_MAX as usize) {
            assert!(btf.member(id, name).is_some(), "type {id} lists {name:?} and does not find it");
        }
        assert!(btf.enum_values(id).len() <= found.count);
        assert!(btf.parameters(id).len() <= found.count);
        btf.array(id);
        btf.integer(id);
    }
    let kernel = Kernel::from_parts(PathBuf::from("/nonexistent"), data.to_vec()).expect("it was parsed above");
    for name in kernel.hooks().into_iter().take(TYPES_MAX as usize) {
        assert_eq!(name.kind, HookKind::BtfTracepoint, "there are no formats");
        let Ok(hook) = kernel.hook(&["tp_btf", &name.name]) else { continue };
        for field in &hook.fields {
            // A member that does not exist asks for all that do, to name the nearest.
            let _ = kernel.field_path(&hook, &[&field.name, "no_such_member"]);
            let _ = kernel.field_path(&hook, &[&field.name, "pid", "x"]);
        }
    }
});
