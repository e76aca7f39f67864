//! The probe `page_fault`: pages that a thread writes to for the first time, found through psql.

use crate::support::Server;

/// A name that no other thread of the machine has.
const THREAD: &str = "pp-page-fault";

const PAGES: usize = 2_000;

/// Writes to so many fresh pages.
fn touch() {
    let bytes = PAGES * 4096;
    // SAFETY: fresh memory at an address that the kernel chooses; it is written to within its bounds and given back.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let memory = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        // One fault a page, not one for many.
        libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE);
        for page in 0..PAGES {
            memory.cast::<u8>().add(page * 4096).write_volatile(1);
        }
        libc::munmap(memory, bytes);
    }
}

#[test]
fn kernel_page_fault_counts_the_pages_a_thread_writes_to() {
    let Some(server) = Server::with_probes("") else { return };
    if !std::path::Path::new("/sys/kernel/tracing/events/exceptions/page_fault_user").exists() {
        println!("skipped: needs the event exceptions:page_fault_user");
        return;
    }
    server.psql("ALTER PROBE page_fault ENABLE");
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(touch).unwrap().join().unwrap();
    // The thread's own stack and what the library keeps for it are some pages more.
    server.wait_for(
        &format!(
            "SELECT pid, sum(writes) BETWEEN {PAGES} AND {}, sum(events) BETWEEN sum(writes) AND {}, bool_or(other)
             FROM page_fault WHERE comm = '{THREAD}' GROUP BY 1",
            PAGES + 50,
            PAGES + 100
        ),
        &format!("{}|t|t|f", std::process::id()),
    );
}
