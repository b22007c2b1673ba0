//! Asks a server on this machine whether it is well: for containers, which have no other program to do so.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Failure;
use crate::config::Config;

/// More than a server that is well ever needs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the operators' port that the settings name.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let listen = config.settings.server.admin.listen;
    if listen.port() == 0 {
        return Err(Failure::Usage("admin.listen has port 0: nobody knows which one was taken".to_owned()));
    }
    let address = SocketAddr::new(reachable(listen.ip()), listen.port());
    ask(address).with_context(|| format!("{address} is not well"))?;
    Ok(())
}

fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status)?;
    ensure!(status == *b"HTTP/1.1 200", "it answers {:?}", String::from_utf8_lossy(&status));
    Ok(())
}

/// An address that stands for all of this machine's is asked at loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
