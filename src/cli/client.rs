//! A WebSocket client for one channel of a running server.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use tungstenite::error::UrlError;
use tungstenite::http::{Response, Uri};
use tungstenite::protocol::CloseFrame;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{ClientRequestBuilder, Error, Message, WebSocket, connect};

use super::Failure;
use crate::config::Config;

/// A connection to a server.
pub(super) struct Client {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

/// How a connection ended.
pub(super) struct Ended(Option<CloseFrame>);

impl Client {
    /// Connects to `url`, or to the server that these settings describe. The token travels in a header: a URL is
    /// quoted in errors and logs.
    pub(super) fn connect(url: Option<&str>, config: &Config, token: &str) -> Result<Self, Failure> {
        let url = url.map_or_else(|| local_url(config), str::to_owned);
        let uri: Uri = url
            .parse()
            .ok()
            .filter(|uri: &Uri| matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some())
            .ok_or_else(|| Failure::Usage(format!("{url:?} is not a URL as ws://host:port or wss://host")))?;
        let request = ClientRequestBuilder::new(uri).with_header("Authorization", format!("Bearer {token}"));
        match connect(request) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => Err(anyhow!("{url} refused: {}", refusal(&response)).into()),
            // The library keeps the reason to itself.
            Err(Error::Url(UrlError::UnableToConnect(_))) => {
                Err(anyhow!("cannot connect to {url}: is a server running there?").into())
            }
            Err(error) => Err(anyhow!("cannot connect to {url}: {error}").into()),
        }
    }

    /// From now on waits so long for a message, and no longer.
    pub(super) fn set_patience(&self, patience: Duration) -> anyhow::Result<()> {
        let stream = match self.socket.get_ref() {
            MaybeTlsStream::Plain(stream) => stream,
            MaybeTlsStream::Rustls(stream) => &stream.sock,
            _ => bail!("an unknown kind of connection"),
        };
        stream.set_read_timeout(Some(patience)).context("cannot set a timeout")
    }

    pub(super) fn send(&mut self, text: String) -> anyhow::Result<()> {
        self.socket.send(Message::text(text)).context("cannot send")
    }

    /// The next message, or how it ended.
    pub(super) fn next(&mut self) -> anyhow::Result<Result<String, Ended>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Ok(text.to_string())),
                Ok(Message::Close(frame)) => return Ok(Err(Ended(frame))),
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(Err(Ended(None))),
                Err(error) => return Err(error).context("the connection is lost"),
            }
        }
    }

    /// Says goodbye. The answer does not matter any more.
    pub(super) fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

impl Ended {
    /// What to tell the user.
    pub(super) fn into_error(self) -> anyhow::Error {
        match self.0 {
            Some(frame) if frame.reason.is_empty() => {
                anyhow!("the server closed the connection with {}", u16::from(frame.code))
            }
            Some(frame) => {
                anyhow!("the server closed the connection with {} {}", u16::from(frame.code), frame.reason)
            }
            None => anyhow!("the server closed the connection without a reason"),
        }
    }
}

/// Where a server with these settings can be reached from here.
pub(super) fn local_url(config: &Config) -> String {
    let server = &config.settings.server.server;
    let host = match server.host.trim_matches(['[', ']']) {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("ws://{host}:{}/", server.port)
}

fn refusal(response: &Response<Option<Vec<u8>>>) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Refused,
    }
    #[derive(Deserialize)]
    struct Refused {
        message: String,
    }
    let body = response.body().as_deref().unwrap_or_default();
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => format!("{}: {}", response.status(), body.error.message),
        Err(_) => response.status().to_string(),
    }
}
