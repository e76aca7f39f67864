//! One test per built-in probe: makes its event happen and finds exactly that row through psql.

mod process_exec;
mod security_exec;
mod process_exit;
mod process_fork;
mod signal;
mod oom_kill;
mod tcp_state;
mod tcp_retransmit;
mod file_open;
mod io_slow;
mod block_io;
mod block_latency;
mod block_slow;
mod run_queue_latency;
mod cpu_profile;
mod tcp_flow;
mod tcp_retransmit_rate;
mod packet_drop;
mod syscall_latency;
mod syscall_error_rate;
mod io_latency;
mod page_fault;
mod softirq_latency;
mod hardirq_latency;
mod connect_latency;
mod syscall_errors;
