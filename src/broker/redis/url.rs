use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::{ConnectionAddr, IntoConnectionInfo};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::tls;

/// Why `redis.url` cannot be used. The text never contains the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RedisUrlError(&'static str);

/// Validates `redis.url` without connecting. An empty URL is valid: it selects the in-memory broker.
pub fn check_url(url: &SecretString) -> Result<(), RedisUrlError> {
    if url.expose_secret().is_empty() {
        return Ok(());
    }
    RedisUrl::parse(url).map(drop)
}

/// The address of Redis and the credentials. `Display` shows the address alone.
///
#[derive(Clone)]
pub(super) struct RedisUrl {
    pub(super) address: RedisAddress,
    /// The database of the keys. Redis channels are shared by all databases.
    pub(super) database: i64,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
}

#[derive(Clone)]
pub(super) enum RedisAddress {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, name: ServerName<'static>, config: Arc<rustls::ClientConfig> },
    Unix(PathBuf),
}

impl RedisUrl {
    pub(super) fn parse(url: &SecretString) -> Result<Self, RedisUrlError> {
        // The crate's error is dropped: it may quote the URL.
        let info = url.expose_secret().into_connection_info().map_err(|_| {
            RedisUrlError(
                "is not a Redis URL: redis://[user:password@]host[:port][/db], rediss://… or unix:///path, with the password \
                 percent-encoded",
            )
        })?;
        let address = match info.addr().clone() {
            ConnectionAddr::Tcp(host, port) => RedisAddress::Tcp { host, port },
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(RedisUrlError("`#insecure` is not supported: the certificate is always checked"));
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| RedisUrlError("has a host name that no certificate can have"))?;
                let config = Arc::new(tls::client_config(tls::native_roots()));
                RedisAddress::Tls { host, port, name, config }
            }
            ConnectionAddr::Unix(path) => RedisAddress::Unix(path),
            _ => return Err(RedisUrlError("has an unsupported kind of address")),
        };
        let settings = info.redis_settings();
        Ok(Self {
            address,
            database: settings.db(),
            username: settings.username().map(str::to_owned),
            password: settings.password().map(SecretString::from),
        })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match &self.address {
            RedisAddress::Tcp { host, port } => ("redis", host, port),
            RedisAddress::Tls { host, port, .. } => ("rediss", host, port),
            RedisAddress::Unix(path) => return write!(f, "unix://{}", path.display()),
        };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<RedisUrl, RedisUrlError> {
        RedisUrl::parse(&SecretString::from(url))
    }

    #[test]
    fn every_kind_of_url_is_parsed() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://:p%40ss@localhost:7000/3", "redis://localhost:7000"),
            ("rediss://user:pass@redis.example.com/0", "rediss://redis.example.com:6379"),
            ("redis://[::1]:7000", "redis://[::1]:7000"),
            ("unix:///run/redis.sock?pass=secret", "unix:///run/redis.sock"),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), shown);
        }
        assert_eq!(
            ["redis://localhost:7000/3", "redis://localhost"].map(|url| parse(url).unwrap().database),
            [3, 0]
        );
        let url = parse("redis://aoi:p%40ss@localhost").unwrap();
        assert_eq!(url.username.as_deref(), Some("aoi"));
        assert_eq!(url.password.unwrap().expose_secret(), "p@ss");
    }

    #[test]
    fn an_unusable_url_is_not_quoted() {
        for url in [
            "localhost:6379",
            "http://secret@localhost",
            "redis://",
            "redis://:secret@localhost/x",
            "rediss://:secret@h#insecure",
        ] {
            let error = parse(url).err().unwrap().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(check_url(&SecretString::from("")).is_ok());
    }
}
