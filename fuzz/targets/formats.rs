//! Any text of a `format` file gives the columns of a tracepoint or is refused.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use probepilot_collector_ebpf::kernel::Kernel;

/// Types that the formats' declarations may name.
static KERNEL: LazyLock<Kernel> = LazyLock::new(|| {
    let btf = include_bytes!("../../collector-ebpf/tests/fixture/vmlinux.btf");
    Kernel::from_parts(PathBuf::from("/nonexistent"), btf.to_vec()).expect("the fixture is well-formed")
});

fuzz_target!(|text: &str| {
    // A slot means something else in the arguments of a system call.
    for group in ["made", "syscalls"] {
        let Ok(hook) = KERNEL.hook_of_format(group, "sys_enter_made", text) else { continue };
        assert!(hook.tracepoint_id.is_some());
        for field in &hook.fields {
            assert!(!field.name.is_empty() && !field.name.starts_with("common_"), "column {:?}", field.name);
            assert!(hook.field(&field.name).is_some());
        }
    }
});
