//! Ports for servers that cannot say which one the kernel gave them, or that come back on the one they had.

use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the ports that Linux gives to outgoing connections, which would otherwise take one while its server is away.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
static LEASES: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 on which nobody listens, and which no other test is given until this process ends.
///
/// Its lease is a UDP socket on the same port; `tests/ports.mjs` does the same.
pub fn own_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        let Ok(lease) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            LEASES.lock().unwrap().push(lease);
            return port;
        }
    }
}
