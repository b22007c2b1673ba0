//! A network between a node and Redis that can fail in ways of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// How the proxy treats bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// They pass.
    Open,
    /// Nothing passes and no connection is closed: new connections open and stay silent.
    Blackhole,
    /// Replies are lost on all connections that did not subscribe.
    RepliesLost,
    /// Nothing passes on connections that are subscribed now, and they stay open. New ones work.
    SubscriptionsSwallowed,
    /// Nothing passes on connections that subscribe; they stay open. Others work.
    SubscriptionsHeld,
    /// Connections end, and what was on the way is lost.
    Cut,
}

/// Forwards connections to one address until it is dropped.
pub struct Proxy {
    port: u16,
    traffic: watch::Sender<Traffic>,
}

impl Proxy {
    /// Begins to forward to this port of 127.0.0.1.
    pub async fn start(target: u16) -> Self {
        Self::start_from(Ipv4Addr::LOCALHOST, target).await
    }

    /// The same, connecting from this loopback address, so that Redis can distinguish its connections from others.
    pub async fn start_from(source: Ipv4Addr, target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (traffic, watched) = watch::channel(Traffic::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, source, target, watched.clone()));
            }
        });
        Self { port, traffic }
    }

    /// The port on which it accepts connections.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a Redis behind it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Changes what becomes of the bytes, also on connections that are open.
    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }
}

async fn forward(client: TcpStream, source: Ipv4Addr, target: u16, mut traffic: watch::Receiver<Traffic>) {
    let Ok(socket) = TcpSocket::new_v4() else { return };
    if socket.bind(SocketAddr::from((source, 0))).is_err() {
        return;
    }
    let Ok(server) = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let subscribed = Arc::new(AtomicBool::new(false));
    let is_new = *traffic.borrow() == Traffic::SubscriptionsSwallowed;
    tokio::select! {
        () = pump(from_client, to_server, traffic.clone(), &subscribed, true, is_new) => {}
        () = pump(from_server, to_client, traffic.clone(), &subscribed, false, is_new) => {}
        _ = traffic.wait_for(|traffic| *traffic == Traffic::Cut) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut traffic: watch::Receiver<Traffic>,
    subscribed: &AtomicBool,
    is_request: bool,
    is_new: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let bytes = &buffer[..length];
        if is_request && bytes.windows(9).any(|word| word == b"SUBSCRIBE") {
            subscribed.store(true, Ordering::SeqCst);
        }
        let is_held = |traffic: &Traffic| match traffic {
            Traffic::Blackhole => true,
            Traffic::SubscriptionsHeld => subscribed.load(Ordering::SeqCst),
            _ => false,
        };
        let Ok(now) = traffic.wait_for(|traffic| !is_held(traffic)).await.map(|now| *now) else {
            return;
        };
        let is_subscribed = subscribed.load(Ordering::SeqCst);
        let lost = match now {
            Traffic::RepliesLost => !is_request && !is_subscribed,
            Traffic::SubscriptionsSwallowed => is_subscribed && !is_new,
            Traffic::Open | Traffic::Blackhole | Traffic::SubscriptionsHeld | Traffic::Cut => false,
        };
        if now == Traffic::Cut || (!lost && to.write_all(bytes).await.is_err()) {
            return;
        }
    }
}
