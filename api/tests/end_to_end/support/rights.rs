//! What this test may do here.

/// Says whether this process may attach programs to the kernel; when not, prints why the test is skipped.
pub fn may_attach() -> bool {
    let may = is_root() && std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    if !may {
        println!("skipped: needs root and a kernel with BTF, to attach eBPF programs");
    }
    may
}

/// Says whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
