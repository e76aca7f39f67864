//! One test per built-in probe: makes its event happen and finds exactly that row through psql.

mod process_exec;
mod process_exit;
mod process_fork;
mod signal;
mod oom_kill;
mod tcp_state;
mod tcp_retransmit;
mod file_open;
mod io_slow;
mod block_io;
mod connect_latency;
mod syscall_errors;
