//! A WebSocket client of the native protocol.

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

pub(super) struct NativeClient {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

/// The close frame with which the server ended the connection, if it sent one.
pub(super) struct Closed(Option<CloseFrame>);

impl NativeClient {
    /// Connects to `url`, or to the local server that the settings describe. The token is sent in a header, because URLs
    /// appear in errors and logs. `since`: the ID of the last message that it has.
    pub(super) fn connect(
        url: Option<&str>,
        config: &Config,
        token: &str,
        since: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut url = url.map_or_else(|| local_url(config), str::to_owned);
        if let Some(since) = since {
            let mut parameters = form_urlencoded::Serializer::new(String::new());
            parameters.append_pair("since", since);
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&parameters.finish());
        }
        let uri: Uri = url
            .parse()
            .ok()
            .filter(|uri: &Uri| matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some())
            .ok_or_else(|| {
                Failure::Usage(format!("{url:?} is not a URL such as ws://host:port or wss://host"))
            })?;
        let request = ClientRequestBuilder::new(uri).with_header("Authorization", format!("Bearer {token}"));
        match connect(request) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => Err(anyhow!("{url} refused: {}", reject_reason(&response)).into()),
            // The library drops the cause.
            Err(Error::Url(UrlError::UnableToConnect(_))) => {
                Err(anyhow!("cannot connect to {url}: is a server running there?").into())
            }
            Err(error) => Err(anyhow!("cannot connect to {url}: {error}").into()),
        }
    }

    /// How long [`NativeClient::next`] waits for a message.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> anyhow::Result<()> {
        let stream = match self.socket.get_ref() {
            MaybeTlsStream::Plain(stream) => stream,
            MaybeTlsStream::Rustls(stream) => &stream.sock,
            _ => bail!("unsupported kind of connection"),
        };
        stream.set_read_timeout(Some(timeout)).context("cannot set a timeout")
    }

    pub(super) fn send(&mut self, text: String) -> anyhow::Result<()> {
        self.socket.send(Message::text(text)).context("cannot send")
    }

    /// The next message, or how the connection was closed.
    pub(super) fn next(&mut self) -> anyhow::Result<Result<String, Closed>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Ok(text.to_string())),
                Ok(Message::Close(frame)) => return Ok(Err(Closed(frame))),
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(Err(Closed(None))),
                Err(error) => return Err(error).context("the connection was lost"),
            }
        }
    }

    /// Sends a close frame without waiting for the answer.
    pub(super) fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

impl Closed {
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

/// The URL of a server with these settings on this machine.
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

fn reject_reason(response: &Response<Option<Vec<u8>>>) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: ErrorBody,
    }
    #[derive(Deserialize)]
    struct ErrorBody {
        message: String,
    }
    let body = response.body().as_deref().unwrap_or_default();
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => format!("{}: {}", response.status(), body.error.message),
        Err(_) => response.status().to_string(),
    }
}
