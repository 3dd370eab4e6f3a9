//! Addresses that nobody else uses: every test process has loopback hosts of its own, and the system chooses the ports.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

static HOSTS_TAKEN: AtomicU32 = AtomicU32::new(0);

/// Hosts that one process takes before it begins again.
const HOSTS_A_PROCESS: u32 = 64;

/// A loopback host of its own.
///
/// A port that is only known to be free now may be taken by somebody's outgoing connection a moment later. Outgoing
/// connections come from 127.0.0.1, and Linux has 16 million loopback hosts more.
pub fn own_host() -> Ipv4Addr {
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let taken = HOSTS_TAKEN.fetch_add(1, Ordering::Relaxed) % HOSTS_A_PROCESS;
    let number = std::process::id().wrapping_mul(HOSTS_A_PROCESS).wrapping_add(taken) & 0x003f_ffff;
    Ipv4Addr::from(u32::from_be_bytes([127, 64, 0, 0]) + number)
}

/// An address of the host for TCP, free now.
pub fn free_stream_address(host: Ipv4Addr) -> String {
    let listener = TcpListener::bind((host, 0)).expect("the system has a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// An address of the host for UDP, free now.
pub fn free_datagram_address(host: Ipv4Addr) -> String {
    let socket = UdpSocket::bind((host, 0)).expect("the system has a free port");
    socket.local_addr().expect("it is bound").to_string()
}
