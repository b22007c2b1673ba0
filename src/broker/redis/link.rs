use std::io;
use std::time::Duration;

use redis::{Cmd, ServerError, Value, cmd};
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::replies::{self, Replies};
use super::target::{Address, Target};

/// TLS, authentication and whatever else a new connection begins with may each take so long.
pub(super) const STEP: Duration = Duration::from_secs(3);
/// Connecting may take so long. Then a new attempt finds the way sooner than the kernel, which repeats a packet that
/// was lost at growing distances.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the socket is read once more after a deadline: a process that stood still finds its timers due before it has
/// looked at what has arrived meanwhile.
pub(super) const READ_FIRST: Duration = Duration::from_millis(20);
/// The shortest beginning of a TLS handshake, without anything to agree on.
const EMPTY_HELLO: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
/// How a TLS server's answer to it begins: with an alert, or with its part of the handshake.
const TLS_RECORDS: &[u8] = &[replies::TLS_ALERT, 0x16];
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
    /// The command, Redis's own words, and the topics that it was about.
    #[error("Redis refused {0}: {1} ({2})")]
    Denied(&'static str, String, String),
    #[error("this port answers without TLS: use redis:// or the port on which Redis speaks TLS")]
    SpeaksPlainly,
    #[error("this port speaks TLS: use rediss://")]
    SpeaksTls,
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
        match &target.address {
            Address::Tcp { host, port } => {
                match Self::over(Box::new(tcp(host, *port).await?), target).await {
                    Err(trouble)
                        if trouble.is_end() && answers(host, *port, EMPTY_HELLO, TLS_RECORDS).await =>
                    {
                        Err(Trouble::SpeaksTls)
                    }
                    opened => opened,
                }
            }
            Address::Tls { host, port, name, config } => {
                let connector = TlsConnector::from(config.clone());
                let handshake = connector.connect(name.clone(), tcp(host, *port).await?);
                let trouble = match in_time("the TLS handshake", handshake).await {
                    Ok(Ok(stream)) => return Self::over(Box::new(stream), target).await,
                    Ok(Err(error)) => Trouble::from(error),
                    Err(silent) => silent,
                };
                // `+PONG`, or an error such as `-NOAUTH`.
                let is_plain = answers(host, *port, b"PING\r\n", b"+-").await;
                Err(if is_plain { Trouble::SpeaksPlainly } else { trouble })
            }
            Address::Unix(path) => {
                let stream = in_time("connecting", UnixStream::connect(path)).await??;
                Self::over(Box::new(stream), target).await
            }
        }
    }

    async fn over(stream: Box<dyn Stream>, target: &Target) -> Result<Self, Trouble> {
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
        self.next_reply(name).await?.map_err(|error| Trouble::refused(name, &error))
    }

    /// The same where Redis's error is of interest itself.
    pub(super) async fn next_reply(
        &mut self,
        name: &'static str,
    ) -> Result<Result<Value, ServerError>, Trouble> {
        match in_time(name, self.read()).await?? {
            Value::ServerError(error) => Ok(Err(error)),
            reply => Ok(Ok(reply)),
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
    /// Whether the other side ended the connection.
    fn is_end(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(error.kind(), BrokenPipe | ConnectionReset),
            _ => false,
        }
    }

    /// Whether nothing listens where Redis should be.
    pub(super) fn is_absence(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        // A socket's file that is not there is `NotFound`.
        matches!(self, Self::Io(error) if matches!(error.kind(), ConnectionRefused | NotFound))
    }

    /// Of an error only its code is kept: the words after it can repeat a command's arguments.
    pub(super) fn refused(what: &'static str, error: &ServerError) -> Self {
        Self::Refused(what, code_of(error.code()))
    }
}

/// The server may have sent anything as a code.
pub(super) fn code_of(code: &str) -> String {
    let is_plain = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
    code.chars().take(32).take_while(is_plain).collect()
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let addresses: Vec<_> =
        in_time("the question for its address", lookup_host((host, port))).await??.collect();
    let connecting = within(CONNECT, TcpStream::connect(&*addresses));
    let stream = connecting.await.ok_or(Trouble::Silent("connecting"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether a server that could not be talked to the one way begins its answer to this as it would the other way.
async fn answers(host: &str, port: u16, question: &[u8], expected: &[u8]) -> bool {
    let asking = async {
        let mut stream = tcp(host, port).await?;
        stream.write_all(question).await?;
        let first = stream.read_u8().await?;
        Ok::<_, Trouble>(expected.contains(&first))
    };
    within(CONNECT, asking).await.is_some_and(|answer| answer.unwrap_or(false))
}

/// All that Redis said in an error, on one line. Only for commands whose arguments may be known.
pub(super) fn words(error: &ServerError) -> String {
    let (code, details) = (error.code(), error.details().unwrap_or_default());
    let words = [code, details].join(" ");
    words.trim().chars().take(200).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

async fn in_time<T>(step: &'static str, future: impl Future<Output = T>) -> Result<T, Trouble> {
    within(STEP, future).await.ok_or(Trouble::Silent(step))
}

/// What a future yields within this time. What has arrived by then counts: see [`READ_FIRST`].
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    match timeout(limit, &mut future).await {
        Ok(output) => Some(output),
        Err(_) => timeout(READ_FIRST, future).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
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
        assert_eq!(refusal(&[0x15, 3, 1, 0, 2, 2, 70], true).await, Trouble::SpeaksTls.to_string());
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
