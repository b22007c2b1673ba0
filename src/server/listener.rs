use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tower::ServiceExt as _;

use crate::socket::PeerAddress;
use crate::telemetry::{Metrics, Reason};

/// Connections that the kernel may hold for the server until it accepts them.
const BACKLOG: u32 = 4096;

/// A pause after `accept` failed, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the first address of a host that can be bound. `keys` are the settings that name it.
pub async fn bind(host: &str, port: u16, keys: &str) -> anyhow::Result<TcpListener> {
    let addresses = lookup_host((host.trim_matches(['[', ']']), port))
        .await
        .with_context(|| format!("{host:?} does not resolve to an address ({keys})"))?;
    let mut last = anyhow!("{host:?} has no address ({keys})");
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = anyhow!("cannot listen on {address} ({keys}): {}", why(&error)),
        }
    }
    Err(last)
}

/// What to do about it, where that is known.
fn why(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has the port",
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address",
        io::ErrorKind::PermissionDenied => "ports under 1024 need CAP_NET_BIND_SERVICE, or a proxy in front",
        _ => return error.to_string(),
    };
    format!("{hint} ({error})")
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections for ever and serves HTTP/1.1 on each, upgrades included.
pub async fn accept_http(
    listener: TcpListener,
    router: Router,
    handshake_timeout: Duration,
    metrics: Arc<Metrics>,
) {
    let mut http = http1::Builder::new();
    // Also bounds how long a kept-alive connection may be idle between two requests.
    http.timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout)
        .half_close(false)
        .max_buf_size(16 * 1024);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small frames must not wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, peer, &http, router.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                metrics.handshakes_refused.get_or_create(&Reason::new("accept_failed")).inc();
                tracing::error!(%error, "cannot accept connections: raise the limit of open files (LimitNOFILE)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    http: &http1::Builder,
    router: Router,
) -> impl Future<Output = ()> + Send + use<> {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddress(peer));
        router.clone().oneshot(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "HTTP connection failed");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
