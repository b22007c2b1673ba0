//! Requests `/healthz` of a server on this machine, for health checks in containers that contain no other program.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Failure;
use crate::config::Config;

const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let listen = config.settings.server.admin.listen;
    if listen.port() == 0 {
        return Err(Failure::Usage("admin.listen has port 0, so the actual port is unknown".to_owned()));
    }
    let address = reachable(listen);
    ask(address).with_context(|| format!("{address} is not healthy"))?;
    Ok(())
}

fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status)?;
    ensure!(status == *b"HTTP/1.1 200", "it answered {:?}", String::from_utf8_lossy(&status));
    Ok(())
}

/// Where a program on this machine reaches a server that listens there: the loopback address for an unspecified one.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
