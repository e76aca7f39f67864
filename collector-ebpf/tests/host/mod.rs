//! The kernel the tests run on.

use probepilot_collector_ebpf::capability;
use probepilot_collector_ebpf::kernel::Kernel;

/// The host's kernel, or a line that says why not.
pub fn host() -> Option<Kernel> {
    if let Some(missing) = capability::missing() {
        println!("skipped: needs {}", missing.capabilities.join(", "));
        return None;
    }
    match Kernel::of_host() {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            println!("skipped: needs a kernel with tracefs and BTF: {error}");
            None
        }
    }
}
