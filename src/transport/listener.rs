use std::convert::Infallible;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::task::yield_now;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::PeerAddress;
use super::http_connections::HttpConnections;
use super::http_stream::{HttpProgress, HttpStream};
use super::sse::Endless;
use super::timed_body::within;
use super::turns::Turns;
use crate::telemetry::{Metrics, Reason};

/// Connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 4096;

/// Connections that are accepted at a time. After a restart or an outage thousands of clients connect in the same moment, and the
/// scheduler runs tasks in the order in which they became ready: if all of them were accepted at once, a message on an established
/// connection would wait for all of their handshakes. They wait in the kernel's queue instead.
const ACCEPTED_AT_A_TIME: usize = 8;

/// The pause after `accept` failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Receive buffer of a connection in bytes (the kernel doubles it for its own bookkeeping). Without a limit it grows to megabytes
/// for clients that are over their rate, because they are not read.
const RECEIVE_BUFFER: u32 = 128 * 1024;

/// Binds the first address of a host that can be bound. `keys` names the settings for error messages.
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

/// The error, with a hint if there is one.
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
    // Inherited by accepted sockets.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Timeouts of HTTP connections.
#[derive(Debug, Clone, Copy)]
pub struct HttpTimeouts {
    /// For the first request, from the accept on; for the body of each request, and for the client to read its response.
    pub handshake: Duration,
    /// For each later request, including the idle time before it.
    pub keep_alive: Duration,
}

/// Accepts connections until it is aborted, and serves HTTP/1.1 with upgrades on each. At most `limit` connections speak HTTP at a time.
pub async fn accept_http(
    listener: TcpListener,
    router: Router,
    timeouts: HttpTimeouts,
    limit: usize,
    metrics: Arc<Metrics>,
) {
    let mut connections = HttpConnections::new(limit, metrics.clone());
    let mut http = http1::Builder::new();
    // hyper has one timeout for all request heads. The one for the first head is in `serve`.
    http.timer(TokioTimer::new())
        .header_read_timeout(timeouts.keep_alive)
        .half_close(false)
        .max_buf_size(16 * 1024);
    let server = Arc::new(HttpServer { http, turns: Turns::new(), router, timeouts, metrics });
    for accepted in 1.. {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small frames must not wait for a TCP acknowledgement.
                let _ = stream.set_nodelay(true);
                let room = connections.room().await;
                let progress = Arc::new(HttpProgress::new(room));
                let known = Arc::downgrade(&progress);
                let serving = server.clone().serve(stream, peer, progress);
                connections.opened(tokio::spawn(serving).abort_handle(), known);
                if accepted % ACCEPTED_AT_A_TIME == 0 {
                    // Continues when nothing else is ready, or after some dozens of tasks.
                    yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                server.metrics.handshakes_refused.get_or_create(&Reason::new("accept_failed")).inc();
                tracing::error!(%error, "cannot accept connections: raise the limit of open files (LimitNOFILE)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What all connections of a listener share.
struct HttpServer {
    http: http1::Builder,
    turns: Turns,
    router: Router,
    timeouts: HttpTimeouts,
    metrics: Arc<Metrics>,
}

impl HttpServer {
    /// Serves a connection until it ends or is upgraded.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, progress: Arc<HttpProgress>) {
        let mut connection = pin!(self.connection(stream, peer, progress.clone()));
        let first = timeout(self.timeouts.handshake, connection.as_mut()).await;
        let ended = match first {
            Ok(ended) => ended,
            Err(_) if progress.has_request() => connection.await,
            Err(_) => {
                tracing::debug!(%peer, "no request within limits.handshake_timeout");
                return;
            }
        };
        match ended {
            Ok(()) => {}
            Err(_) if progress.is_stuck() => {
                self.metrics.http_dropped.get_or_create(&Reason::new("write_timeout")).inc();
                tracing::info!(ip = %peer.ip(), "closed an HTTP connection: the client did not read the response");
            }
            Err(_) if progress.is_tls() => {
                tracing::info!(ip = %peer.ip(), "this port speaks plain HTTP: rejected a TLS handshake");
            }
            Err(error) => tracing::debug!(%peer, %error, "HTTP connection failed"),
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        progress: Arc<HttpProgress>,
    ) -> hyper::Result<()> {
        until_readable(&stream).await;
        let stream = TokioIo::new(HttpStream::new(stream, progress.clone(), self.timeouts.handshake));
        let service = service_fn(|request| self.respond(request, peer, progress.clone()));
        self.turns.take(self.http.serve_connection(stream, service).with_upgrades()).await
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        progress: Arc<HttpProgress>,
    ) -> Result<Response, Infallible> {
        let _in_progress = progress.on_request();
        let mut request = request.map(|body| within(self.timeouts.handshake, body));
        request.extensions_mut().insert(PeerAddress(peer));
        let response = self.router.clone().oneshot(request).await?;
        if let Some(Endless { acknowledge_within }) = response.extensions().get() {
            progress.on_endless(*acknowledge_within);
        }
        Ok(response)
    }
}

/// Waits until the client has sent something, or has gone.
async fn until_readable(stream: &TcpStream) {
    // The runtime takes a new socket for readable until it is tried.
    let peek = || SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    if matches!(stream.try_io(Interest::READABLE, peek), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    {
        // If this fails, so does the first read.
        let _ = stream.readable().await;
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
