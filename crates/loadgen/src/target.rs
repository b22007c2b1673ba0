//! Where connections go, and how one is opened.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderValue, Uri, header};

use super::speech::Address;
use crate::error::BenchError;

/// A handshake that takes longer is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer to a handshake.
const MAX_HEAD: usize = 64 * 1024;

/// A byte stream: TCP, or TLS over it.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An open WebSocket.
pub(super) struct Opened {
    pub(super) wire: Box<dyn Wire>,
    /// What came together with the answer to the handshake.
    pub(super) early: Vec<u8>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Origin {
    /// Any, if none is given.
    pub(super) address: Option<IpAddr>,
    /// Bytes that the kernel may keep of what is not read yet; it decides itself, if none are given.
    pub(super) receive_buffer: Option<u32>,
}

/// One address of the server.
pub(super) struct Target {
    url: String,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// Reads a URL and asks for its address, once for all connections.
    pub(super) async fn resolve(url: &str) -> Result<Self, BenchError> {
        let wrong = || BenchError::Usage(format!("{url:?} is not a URL as ws://host:port or wss://host"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = lookup_host((host.as_str(), port)).await.map(Iterator::collect::<Vec<_>>);
        let addresses = addresses.ok().filter(|addresses| !addresses.is_empty());
        let addresses = addresses.ok_or_else(|| anyhow!("{host} has no address"))?;
        let tls = if secure {
            Some((
                TlsConnector::from(Arc::new(tls_config()?)),
                ServerName::try_from(host).map_err(|_| wrong())?,
            ))
        } else {
            None
        };
        Ok(Self { url: url.trim_end_matches('/').to_owned(), addresses, tls })
    }

    /// The same server for HTTP.
    pub(super) fn http(&self, path: &str) -> String {
        // It begins with `ws`.
        format!("http{}{path}", self.url.trim_start_matches("ws"))
    }

    /// Opens a connection, or says in a few words why not. A token goes into a header.
    pub(super) async fn open(&self, from: Origin, to: &Address) -> Result<Opened, String> {
        let stream = self.dial(from).await.map_err(|error| in_words(&error))?;
        let mut wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Box::new(stream.map_err(|error| format!("TLS: {}", in_words(&error)))?)
            }
        };
        let mut request =
            format!("{}/{}", self.url, to.path).into_client_request().map_err(|error| error.to_string())?;
        if let Some(token) = &to.token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let (request, key) = generate_request(request).map_err(|error| error.to_string())?;
        wire.write_all(&request).await.map_err(|error| in_words(&error))?;
        wire.flush().await.map_err(|error| in_words(&error))?;
        let (response, mut early) = answer(&mut *wire).await?;
        if response.status().as_u16() != 101 {
            finish(&mut *wire, &response, &mut early).await;
            return Err(refusal(&response, &early));
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err("the answer is not that of a WebSocket server".to_owned());
        }
        Ok(Opened { wire, early })
    }

    /// To the first of the addresses that can be reached from the source.
    async fn dial(&self, from: Origin) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let possible =
            |address: &&SocketAddr| from.address.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        for address in self.addresses.iter().filter(possible) {
            match connect(*address, from).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn connect(address: SocketAddr, from: Origin) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = from.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = from.address {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Trusts whom the system trusts.
pub(super) fn tls_config() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The system's store may hold one that nobody can read; the others count all the same.
        let _ = roots.add(certificate);
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The head of the answer, and what came after it.
async fn answer(wire: &mut dyn Wire) -> Result<(Response, Vec<u8>), String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let read = wire.read(&mut chunk).await.map_err(|error| in_words(&error))?;
        if read == 0 {
            return Err("closed without an answer".to_owned());
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let parsed = Response::try_parse(&bytes).map_err(|_| "the answer is not HTTP".to_owned())?;
        if let Some((length, response)) = parsed {
            return Ok((response, bytes.split_off(length.min(bytes.len()))));
        }
        if bytes.len() > MAX_HEAD {
            return Err("the answer is too long".to_owned());
        }
    }
}

/// Reads the body of a refusal, as far as it comes.
async fn finish(wire: &mut dyn Wire, response: &Response, body: &mut Vec<u8>) {
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or_default().min(MAX_HEAD);
    let mut chunk = [0; 1024];
    while body.len() < length {
        match wire.read(&mut chunk).await {
            Ok(read @ 1..) => body.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Ok(0) | Err(_) => return,
        }
    }
}

/// The status, and the code of the server's own refusal.
fn refusal(response: &Response, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Refused,
    }
    #[derive(Deserialize)]
    struct Refused {
        code: String,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => format!("{} ({})", response.status(), body.error.code),
        Err(_) => response.status().to_string(),
    }
}

/// An error without the operating system's number, so that equal ones count as one.
pub(super) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
