//! An echo server on Yamabiko's WebSocket transport, for conformance test suites:
//!
//! ```text
//! cargo run --example echo -- 127.0.0.1:9001
//! ```

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use yamabiko::hub::{Connection, Hub, Outbox, WireFormat};
use yamabiko::message::Frame;
use yamabiko::protocol::native;
use yamabiko::telemetry::Metrics;
use yamabiko::transport::{
    self, ConnectionHandler, ConnectionOptions, DisconnectReason, Heartbeat, HttpTimeouts, Limits, Message,
    accept_http, bind,
};

const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

static FORMAT: WireFormat = WireFormat {
    encoding: native::ENCODING,
    closes: &native::close::CLOSES,
    all_closes: &[&native::close::ALL, &transport::close::ALL],
    encode_close: Frame::close,
};

struct Echo(Connection);

impl ConnectionHandler for Echo {
    fn outbox(&self) -> &Arc<Outbox> {
        self.0.outbox()
    }

    fn on_message(&mut self, message: Message) -> Option<u64> {
        let frame = match message {
            Message::Text(text) => Frame::text(&[&text]),
            Message::Binary(binary) => Frame::binary(&binary),
        };
        self.outbox().push(&frame, self.0.outbox_bytes());
        None
    }

    fn on_disconnect(&self, _reason: DisconnectReason) {}
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: echo ADDRESS:PORT")?;
    let (host, port) = address.rsplit_once(':').context("usage: echo ADDRESS:PORT")?;
    let timeout = Duration::from_secs(10);
    let limits = Limits {
        message_bytes: MESSAGE_BYTES,
        messages_per_second: 0,
        burst: 1,
        outbox_bytes: 4 * MESSAGE_BYTES,
        queue_bytes: 4 * MESSAGE_BYTES,
        connections: 0,
        connections_per_user: 0,
        handshake_timeout: timeout,
        keep_alive_timeout: timeout,
    };
    let heartbeat = Heartbeat { interval: Duration::from_secs(30), timeout };
    let metrics = Arc::new(Metrics::new());
    let hub = Hub::start(NonZeroUsize::MIN, limits.outbox_bytes, &metrics);
    let options = Arc::new(ConnectionOptions::new(hub.clock(), &limits, &heartbeat));
    let router = Router::new().fallback(move |mut request: Request| {
        let (hub, options) = (hub.clone(), options.clone());
        async move {
            match transport::accept(&mut request) {
                Ok((response, upgrade)) => {
                    let echo = Echo(hub.connect(Arc::new(Outbox::new(&FORMAT))));
                    transport::serve(upgrade, echo, options, None);
                    response
                }
                Err(rejection) => rejection.response(),
            }
        }
    });
    let listener = bind(host, port.parse()?, "the argument").await?;
    println!("listening on {}", listener.local_addr()?);
    let timeouts = HttpTimeouts { handshake: timeout, keep_alive: timeout };
    accept_http(listener, router, timeouts, 1024, metrics).await;
    Ok(())
}
