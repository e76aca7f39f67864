//! The probe `signal`: makes its event happen and finds exactly that row through psql.

use std::process::Command;

use crate::support::Server;

#[test]
fn kernel_signal_shows_who_sent_what_to_whom() {
    let Some(server) = Server::with_probes("") else { return };
    let mut target = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = target.id();
    target.kill().unwrap();
    target.wait().unwrap();
    let us = std::process::id();
    server.wait_for(&format!("SELECT pid, signal FROM signal WHERE target_pid = {pid}"), &format!("{us}|SIGKILL"));
}

#[test]
fn kernel_signal_leaves_out_the_signals_of_everyday_life() {
    let Some(server) = Server::with_probes("") else { return };
    let mut target = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(target.id()).unwrap();
    // SAFETY: kill takes two numbers and touches no memory of ours; the child is not yet waited for, so the id is its.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    target.kill().unwrap();
    target.wait().unwrap();
    server.wait_for(&format!("SELECT string_agg(signal, ',') FROM signal WHERE target_pid = {pid}"), "SIGKILL");
}
