use std::io;
use std::time::Duration;

use bytes::BytesMut;
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::resp::{self, Malformed, Reply};
use super::target::{Address, Target};

/// Opening a connection, TLS and authentication may each take so long.
const STEP: Duration = Duration::from_secs(3);
/// Room for one read. Under load many messages come in one.
const READ_BYTES: usize = 64 << 10;

/// Why a connection is not, or no longer, of use. One short line without secrets.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("Redis closed the connection")]
    Closed,
    #[error("no answer to {0} in time")]
    Silent(&'static str),
    /// The command and the first word of the answer; the rest may quote what was sent.
    #[error("Redis refused {0}: {1}")]
    Refused(&'static str, String),
    #[error("an unexpected answer to {0}")]
    Unexpected(&'static str),
}

/// One authenticated connection: commands go out, replies come in.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    input: BytesMut,
    output: BytesMut,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Link {
    pub(super) async fn open(target: &Target) -> Result<Self, Trouble> {
        let stream: Box<dyn Stream> = match &target.address {
            Address::Tcp { host, port } => Box::new(tcp(host, *port).await?),
            Address::Tls { host, port, name, config } => {
                let connector = TlsConnector::from(config.clone());
                let handshake = connector.connect(name.clone(), tcp(host, *port).await?);
                Box::new(timeout(STEP, handshake).await.map_err(|_| Trouble::Silent("the TLS handshake"))??)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let mut link = Self { stream, input: BytesMut::new(), output: BytesMut::new() };
        link.authenticate(target).await?;
        Ok(link)
    }

    /// Where the next commands are written; [`Link::flush`] sends them.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Sends what was written.
    pub(super) async fn flush(&mut self) -> Result<(), Trouble> {
        self.stream.write_all_buf(&mut self.output).await?;
        self.stream.flush().await?;
        // A burst must not keep its buffer for ever.
        if self.output.capacity() > 4 * READ_BYTES {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// The next reply. Dropping the future loses nothing.
    pub(super) async fn read(&mut self) -> Result<Reply, Trouble> {
        loop {
            if let Some(reply) = resp::decode(&mut self.input)? {
                return Ok(reply);
            }
            if self.input.capacity() - self.input.len() < READ_BYTES / 8 {
                self.input.reserve(READ_BYTES);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Trouble::Closed);
            }
        }
    }

    /// Sends one command and awaits its reply, within the time of a step.
    pub(super) async fn ask(&mut self, name: &'static str, command: &[&[u8]]) -> Result<Reply, Trouble> {
        resp::encode(&mut self.output, command);
        let answer = async {
            self.flush().await?;
            self.read().await
        };
        match timeout(STEP, answer).await.map_err(|_| Trouble::Silent(name))?? {
            Reply::Error(text) => Err(Trouble::Refused(name, error_code(&text))),
            reply => Ok(reply),
        }
    }

    async fn authenticate(&mut self, target: &Target) -> Result<(), Trouble> {
        if let Some(password) = &target.password {
            let password = password.expose_secret().as_bytes();
            match &target.username {
                Some(name) => match self.ask("AUTH", &[b"AUTH", name.as_bytes(), password]).await {
                    // Redis 5 knows no users.
                    Err(Trouble::Refused(_, code)) if code == "ERR" => {
                        self.ask("AUTH", &[b"AUTH", password]).await?
                    }
                    answer => answer?,
                },
                None => self.ask("AUTH", &[b"AUTH", password]).await?,
            };
        }
        // Without a password this tells at once whether Redis asks for one.
        match self.ask("PING", &[b"PING"]).await {
            // It may be denied to the user; then the commands that are needed speak for themselves.
            Err(Trouble::Refused(_, code)) if code == "NOPERM" => Ok(()),
            answer => answer.map(drop),
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let connecting = TcpStream::connect((host, port));
    let stream = timeout(STEP, connecting).await.map_err(|_| Trouble::Silent("connecting"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The first word of an error, which is its code. The words after it can repeat a command's arguments.
pub(super) fn error_code(text: &[u8]) -> String {
    let word = text.iter().take(32).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
    word.map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_its_code_alone() {
        assert_eq!(error_code(b"WRONGPASS invalid username-password pair"), "WRONGPASS");
        assert_eq!(error_code(b"ERR unknown command 'AUTH', with args beginning with: 'secret'"), "ERR");
        assert_eq!(error_code(b""), "");
    }
}
