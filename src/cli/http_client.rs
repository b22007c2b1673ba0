//! Requests to a running server: its operators' port or its public address.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Failure;
use crate::config::Config;
use crate::tls;

/// The longest answer, in bytes.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// The address of a server.
#[derive(Debug, Clone)]
pub(super) struct ServerUrl {
    is_tls: bool,
    /// As in the URL; an IPv6 address is in brackets.
    host: String,
    port: u16,
    /// Precedes the paths of requests. Does not end with a slash.
    path: String,
}

/// Asks one server. A request takes a connection of its own.
pub(super) struct HttpClient {
    pub(super) url: ServerUrl,
    key: Option<SecretString>,
    patience: Duration,
    tls: Option<TlsConnector>,
}

/// What a server has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// Its certificate, which is valid for its name now. `None` without TLS.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

impl ServerUrl {
    /// An `http`, `https`, `ws` or `wss` URL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = || -> Option<Self> {
            let uri: Uri = text.parse().ok()?;
            let is_tls = match uri.scheme_str()? {
                "http" | "ws" => false,
                "https" | "wss" => true,
                _ => return None,
            };
            let authority = uri.authority()?;
            // User information would be sent as part of the host.
            if authority.host().is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
                return None;
            }
            Some(Self {
                is_tls,
                host: authority.host().to_owned(),
                port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
                path: uri.path().trim_end_matches('/').to_owned(),
            })
        };
        url().ok_or_else(|| format!("{text:?} is not a URL such as http://host:port or https://host"))
    }

    /// The operators' port of the server that the settings describe, on this machine.
    pub(super) fn local_operators(config: &Config) -> Result<Self, Failure> {
        let listen = config.settings.server.admin.listen;
        if listen.port() == 0 {
            let message = "admin.listen has port 0, so the actual port is unknown: specify --url";
            return Err(Failure::Usage(message.to_owned()));
        }
        let address = super::healthcheck::reachable(listen);
        let host = match address.ip() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Ok(Self { is_tls: false, host, port: address.port(), path: String::new() })
    }

    pub(super) fn host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { is_tls, host, port, path } = self;
        let (scheme, default) = if *is_tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{host}")?;
        if *port != default {
            write!(f, ":{port}")?;
        }
        f.write_str(path)
    }
}

impl HttpClient {
    /// `key` is the secret of one of `[[api.keys]]`. A request takes `patience` at most.
    pub(super) fn new(url: ServerUrl, key: Option<SecretString>, patience: Duration) -> Self {
        let tls = url.is_tls.then(|| Arc::new(tls::client_config(tls::native_roots())).into());
        Self { url, key, patience, tls }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let answer = timeout(self.patience, self.request(path)).await;
        answer.map_err(|_| anyhow!("no answer within {}", humantime::format_duration(self.patience)))?
    }

    async fn request(&self, path: &str) -> anyhow::Result<Answer> {
        let stream = TcpStream::connect((self.url.host(), self.url.port)).await.context("cannot connect")?;
        let Some(tls) = &self.tls else { return self.exchange(path, stream, None).await };
        let name = ServerName::try_from(self.url.host().to_owned()).context("the host is not a name")?;
        let stream = tls.connect(name, stream).await.context("TLS failed")?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|certificate| certificate.clone().into_owned());
        self.exchange(path, stream, certificate).await
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        path: &str,
        stream: S,
        certificate: Option<CertificateDer<'static>>,
    ) -> anyhow::Result<Answer> {
        let ServerUrl { host, port, path: prefix, .. } = &self.url;
        let mut request = Request::get(format!("{prefix}{path}"))
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, concat!("yamabiko/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        let request = request.body(Empty::<Bytes>::new()).context("invalid request")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.context("no HTTP answer")?;
        let status = response.status().as_u16();
        let Ok(body) = Limited::new(response.into_body(), BODY_BYTES).collect().await else {
            bail!("the answer broke off, or has more than {BODY_BYTES} bytes");
        };
        driver.abort();
        Ok(Answer { status, body: body.to_bytes(), certificate })
    }
}

/// Where the operators' API is, and the key to it.
#[derive(Debug, clap::Args)]
pub(super) struct OperatorArgs {
    /// URL of the operators' port [default: that of the server that the settings describe, on this machine]
    #[arg(long, value_parser = ServerUrl::parse)]
    url: Option<ServerUrl>,

    /// File with the secret of an API key on its first line [default: a variable, see below]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl OperatorArgs {
    /// `config` is only read if no URL is given.
    pub(super) fn client(
        &self,
        config: impl FnOnce() -> Result<Config, Failure>,
        patience: Duration,
    ) -> Result<HttpClient, Failure> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => ServerUrl::local_operators(&config()?)?,
        };
        let key = match &self.key_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?,
            None => std::env::var("YAMABIKO_API_KEY").unwrap_or_default(),
        };
        let key = key.lines().next().map(str::trim).filter(|key| !key.is_empty());
        Ok(HttpClient::new(url, key.map(SecretString::from), patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_are_read_and_shown() {
        for (text, shown) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("http://node-1", "http://node-1"),
            ("wss://ws.example.com/", "https://ws.example.com"),
            ("https://ws.example.com:8443/yamabiko/", "https://ws.example.com:8443/yamabiko"),
            ("http://[::1]:8081", "http://[::1]:8081"),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().to_string(), shown);
        }
        assert_eq!(ServerUrl::parse("http://[::1]:8081").unwrap().host(), "::1");
        for text in ["", "127.0.0.1:8081", "ftp://a", "http://", "http://a:b@host", "https://host/?a=1"] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
    }
}
