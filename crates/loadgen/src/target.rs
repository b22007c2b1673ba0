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

use super::protocol::Endpoint;
use crate::error::BenchError;

/// How long a handshake may take.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// More than any response to a handshake.
const MAX_HEAD: usize = 64 * 1024;

/// TCP, or TLS over TCP.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection after the WebSocket upgrade.
pub(super) struct Upgraded {
    pub(super) stream: Box<dyn ByteStream>,
    /// Bytes received together with the response.
    pub(super) early: Vec<u8>,
}

/// The local end of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Source {
    /// `None` lets the kernel choose.
    pub(super) address: Option<IpAddr>,
    /// Size of the kernel's receive buffer in bytes; `None` leaves the default.
    pub(super) receive_buffer: Option<u32>,
}

/// A server under test.
pub(super) struct Target {
    url: String,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// Parses the URL and resolves its host, once for all connections.
    pub(super) async fn resolve(url: &str) -> Result<Self, BenchError> {
        let wrong =
            || BenchError::Usage(format!("{url:?} is not a URL of the form ws://host:port or wss://host"));
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

    /// The URL of a path of this server over HTTP.
    pub(super) fn http(&self, path: &str) -> String {
        // The URL begins with `ws`.
        format!("http{}{path}", self.url.trim_start_matches("ws"))
    }

    /// Opens a connection. A token travels in a header, because URLs are logged. The error is short, so that failures can
    /// be counted by reason.
    pub(super) async fn open(&self, source: Source, endpoint: &Endpoint) -> Result<Upgraded, String> {
        let stream = self.dial(source).await.map_err(|error| describe_error(&error))?;
        let mut stream: Box<dyn ByteStream> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Box::new(stream.map_err(|error| format!("TLS: {}", describe_error(&error)))?)
            }
        };
        let mut request = format!("{}/{}", self.url, endpoint.path)
            .into_client_request()
            .map_err(|error| error.to_string())?;
        if let Some(token) = &endpoint.token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let (request, key) = generate_request(request).map_err(|error| error.to_string())?;
        stream.write_all(&request).await.map_err(|error| describe_error(&error))?;
        stream.flush().await.map_err(|error| describe_error(&error))?;
        let (response, mut early) = read_response(&mut *stream).await?;
        if response.status().as_u16() != 101 {
            read_body(&mut *stream, &response, &mut early).await;
            return Err(describe_refusal(&response, &early));
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err("the response is not that of a WebSocket server".to_owned());
        }
        Ok(Upgraded { stream, early })
    }

    /// Connects to the first reachable address of the source's family.
    async fn dial(&self, source: Source) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let possible =
            |address: &&SocketAddr| source.address.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        for address in self.addresses.iter().filter(possible) {
            match connect(*address, source).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn connect(address: SocketAddr, source: Source) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = source.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(address) = source.address {
        socket.bind(SocketAddr::new(address, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS with the root certificates of the system.
pub(super) fn tls_config() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One malformed certificate in the system's store must not prevent the others from being used.
        let _ = roots.add(certificate);
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Reads the head of the response. Also returns what was received behind it.
async fn read_response(stream: &mut dyn ByteStream) -> Result<(Response, Vec<u8>), String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let read = stream.read(&mut chunk).await.map_err(|error| describe_error(&error))?;
        if read == 0 {
            return Err("closed without a response".to_owned());
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let parsed = Response::try_parse(&bytes).map_err(|_| "the response is not HTTP".to_owned())?;
        if let Some((length, response)) = parsed {
            return Ok((response, bytes.split_off(length.min(bytes.len()))));
        }
        if bytes.len() > MAX_HEAD {
            return Err("the response is too long".to_owned());
        }
    }
}

/// Reads the rest of the body of a refusal.
async fn read_body(stream: &mut dyn ByteStream, response: &Response, body: &mut Vec<u8>) {
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or_default().min(MAX_HEAD);
    let mut chunk = [0; 1024];
    while body.len() < length {
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => body.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Ok(0) | Err(_) => return,
        }
    }
}

/// The status, and the error code if the server sent one.
fn describe_refusal(response: &Response, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: ErrorCode,
    }
    #[derive(Deserialize)]
    struct ErrorCode {
        code: String,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => format!("{} ({})", response.status(), body.error.code),
        Err(_) => response.status().to_string(),
    }
}

/// The error without the operating system's number, so that equal errors count as one reason.
pub(super) fn describe_error(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
