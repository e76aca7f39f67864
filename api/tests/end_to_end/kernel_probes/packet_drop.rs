//! The probe `packet_drop`: packets of a protocol that nobody takes, whose number the test knows, found through psql.

use crate::support::Server;

const PACKETS: usize = 300;

/// Sends IPv4 packets of protocol 253, which is kept for experiments, to this host.
fn send() -> std::io::Result<()> {
    // SAFETY: three numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW) };
    if socket < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // Version and length, no service, 24 bytes, no fragment, 64 hops, protocol 253; the kernel adds the sum and the source.
    let mut packet = [0_u8; 24];
    packet[0] = 0x45;
    packet[3] = 24;
    (packet[8], packet[9]) = (64, 253);
    packet[16..20].copy_from_slice(&[127, 0, 0, 1]);
    // SAFETY: all zero is a valid address of this kind.
    let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    to.sin_family = libc::AF_INET as u16;
    to.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    for _ in 0..PACKETS {
        // SAFETY: both pointers are to values of the lengths given, which live until the call returns.
        let sent = unsafe {
            let to = std::ptr::from_ref(&to).cast();
            libc::sendto(socket, packet.as_ptr().cast(), packet.len(), 0, to, size_of::<libc::sockaddr_in>() as u32)
        };
        if sent != packet.len() as isize {
            return Err(std::io::Error::last_os_error());
        }
    }
    // SAFETY: the descriptor is ours.
    unsafe { libc::close(socket) };
    Ok(())
}

#[test]
fn kernel_packet_drop_counts_packets_of_a_protocol_nobody_takes() {
    let Some(server) = Server::with_probes("") else { return };
    if let Err(error) = send() {
        println!("skipped: needs the right to send raw packets ({error})");
        return;
    }
    server.wait_for(
        "SELECT protocol, sum(events), bool_or(other) FROM packet_drop WHERE reason = 'SKB_DROP_REASON_IP_NOPROTO' GROUP BY 1",
        &format!("2048|{PACKETS}|f"),
    );
}
