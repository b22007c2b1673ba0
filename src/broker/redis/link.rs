use std::io;
use std::time::Duration;

use redis::{Cmd, ServerError, Value, cmd};
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::replies::{self, Replies};
use super::target::{Address, Target};

/// Opening a connection, TLS and authentication may each take so long.
const STEP: Duration = Duration::from_secs(3);
/// A larger buffer of commands is not kept.
const KEPT_BYTES: usize = 256 << 10;

/// Why a connection is not, or no longer, of use. One short line without secrets.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server does not speak the Redis protocol")]
    Malformed,
    #[error("a reply without end")]
    TooLong,
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
    replies: Replies,
    output: Vec<u8>,
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
                Box::new(in_time("the TLS handshake", handshake).await??)
            }
            Address::Unix(path) => Box::new(in_time("connecting", UnixStream::connect(path)).await??),
        };
        let mut link = Self { stream, replies: Replies::new(replies::LONGEST), output: Vec::new() };
        link.authenticate(target).await?;
        Ok(link)
    }

    /// Adds a command to what [`Link::flush`] sends.
    pub(super) fn write(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.output);
    }

    /// Sends what was written. If the future is dropped, the connection is of no use any more.
    pub(super) async fn flush(&mut self) -> Result<(), Trouble> {
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await?;
        self.output.clear();
        // A burst must not keep its buffer for ever.
        self.output.shrink_to(KEPT_BYTES);
        Ok(())
    }

    /// The next reply. Dropping the future loses nothing.
    pub(super) async fn read(&mut self) -> Result<Value, Trouble> {
        self.replies.next(&mut self.stream).await
    }

    /// Sends one command and awaits its reply, within the time of a step.
    pub(super) async fn ask(&mut self, name: &'static str, command: &Cmd) -> Result<Value, Trouble> {
        self.write(command);
        in_time(name, self.flush()).await??;
        self.next(name).await
    }

    /// Awaits a further reply to what was asked, within the time of a step.
    pub(super) async fn next(&mut self, name: &'static str) -> Result<Value, Trouble> {
        match in_time(name, self.read()).await?? {
            Value::ServerError(error) => Err(Trouble::refused(name, &error)),
            reply => Ok(reply),
        }
    }

    async fn authenticate(&mut self, target: &Target) -> Result<(), Trouble> {
        if let Some(password) = &target.password {
            let password = password.expose_secret();
            let alone = cmd("AUTH").arg(password).take();
            match &target.username {
                Some(name) => match self.ask("AUTH", cmd("AUTH").arg(name).arg(password)).await {
                    // Redis 5 knows no users.
                    Err(Trouble::Refused(_, code)) if code == "ERR" => self.ask("AUTH", &alone).await?,
                    answer => answer?,
                },
                None => self.ask("AUTH", &alone).await?,
            };
        }
        // Without a password this tells at once whether Redis asks for one.
        match self.ask("PING", &cmd("PING")).await {
            // It may be denied to the user; then the commands that are needed speak for themselves.
            Err(Trouble::Refused(_, code)) if code == "NOPERM" => Ok(()),
            answer => answer.map(drop),
        }
    }
}

impl Trouble {
    /// Of an error only its code is kept: the words after it can repeat a command's arguments.
    pub(super) fn refused(what: &'static str, error: &ServerError) -> Self {
        Self::refused_with(what, error.code())
    }

    pub(super) fn refused_with(what: &'static str, code: &str) -> Self {
        // The server may have sent anything as a code, too.
        let word = code.chars().take(32).take_while(|char| char.is_ascii_alphanumeric() || *char == '_');
        Self::Refused(what, word.collect())
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let stream = in_time("connecting", TcpStream::connect((host, port))).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn in_time<T>(step: &'static str, future: impl Future<Output = T>) -> Result<T, Trouble> {
    timeout(STEP, future).await.map_err(|_| Trouble::Silent(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// Why a link to a server that answers everything with these bytes does not open.
    async fn refusal(answer: &[u8], ends: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://aoi:s3cret@{}", listener.local_addr().unwrap());
        let target = Target::parse(&SecretString::from(url)).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = [0; 512];
            while stream.read(&mut command).await.is_ok_and(|length| length > 0) {
                if stream.write_all(answer).await.is_err() || ends {
                    break;
                }
            }
        };
        let (trouble, ()) =
            tokio::join!(async { Link::open(&target).await.err().unwrap().to_string() }, server);
        trouble
    }

    #[tokio::test]
    async fn a_server_that_is_no_redis_is_told() {
        let malformed = Trouble::Malformed.to_string();
        assert_eq!(refusal(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await, malformed);
        assert_eq!(refusal(b"SSH-2.0-OpenSSH_9.2\r\n", false).await, malformed);
        assert_eq!(refusal(&[0x15, 3, 1, 0, 2, 2, 70], false).await, malformed);
        assert_eq!(refusal(&b"*1\r\n".repeat(10_000), false).await, malformed);
        assert_eq!(refusal(b"", true).await, Trouble::Closed.to_string());
        assert_eq!(refusal(b"*1000000000\r\n$5\r\nhe", true).await, Trouble::Closed.to_string());
    }

    #[tokio::test]
    async fn an_error_is_told_by_its_code_alone() {
        for (answer, code) in [
            ("-WRONGPASS invalid username-password pair\r\n", "WRONGPASS"),
            ("-ERR unknown command 'AUTH', with args beginning with: 's3cret'\r\n", "ERR"),
            ("-s3cret's3cret\r\n", "s3cret"),
            ("-\r\n", ""),
        ] {
            assert_eq!(refusal(answer.as_bytes(), false).await, format!("Redis refused AUTH: {code}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_left() {
        assert_eq!(refusal(b"", false).await, Trouble::Silent("AUTH").to_string());
        assert_eq!(refusal(b"$1000\r\nabc", false).await, Trouble::Silent("AUTH").to_string());
    }
}
