use std::time::Instant;

use redis::{Cmd, ServerError, Value, cmd};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::connection_error::ConnectionError;
use super::reply_reader::{MAX_REPLY_BYTES, ReplyReader, TLS_ALERT};
use super::timeouts::{CONNECT, setup_step, within};
use super::url::{RedisAddress, RedisUrl};

/// The shortest TLS handshake record: a `ClientHello` that offers nothing.
const EMPTY_CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
/// First byte of a TLS server's answer to it: an alert or a handshake record.
const TLS_RECORD_TYPES: &[u8] = &[TLS_ALERT, 0x16];
/// First byte of Redis's answer to an inline PING: `+PONG`, or an error such as `-NOAUTH`.
const REDIS_REPLY_TYPES: &[u8] = b"+-";
/// An output buffer that has grown beyond this is shrunk.
const MAX_IDLE_OUTPUT_BYTES: usize = 256 << 10;

/// An authenticated connection to Redis.
pub(super) struct RedisConnection {
    stream: Box<dyn Stream>,
    replies: ReplyReader,
    output: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl RedisConnection {
    pub(super) async fn open(url: &RedisUrl) -> Result<Self, ConnectionError> {
        match &url.address {
            RedisAddress::Tcp { host, port } => {
                let stream = connect_tcp(host, *port).await?;
                match Self::authenticated(Box::new(stream), url).await {
                    Err(error)
                        if error.is_disconnect()
                            && probe(host, *port, EMPTY_CLIENT_HELLO, TLS_RECORD_TYPES).await =>
                    {
                        Err(ConnectionError::ExpectsTls)
                    }
                    opened => opened,
                }
            }
            RedisAddress::Tls { host, port, name, config } => {
                let connector = TlsConnector::from(config.clone());
                let handshake = connector.connect(name.clone(), connect_tcp(host, *port).await?);
                let error = match setup_step("the TLS handshake", handshake).await {
                    Ok(Ok(stream)) => return Self::authenticated(Box::new(stream), url).await,
                    Ok(Err(error)) => ConnectionError::from(error),
                    Err(timed_out) => timed_out,
                };
                let is_plaintext = probe(host, *port, b"PING\r\n", REDIS_REPLY_TYPES).await;
                Err(if is_plaintext { ConnectionError::ExpectsPlaintext } else { error })
            }
            RedisAddress::Unix(path) => {
                let stream = setup_step("connecting", UnixStream::connect(path)).await??;
                Self::authenticated(Box::new(stream), url).await
            }
        }
    }

    /// Opens a connection for keys: these belong to the database that the URL names.
    pub(super) async fn open_database(url: &RedisUrl) -> Result<Self, ConnectionError> {
        let mut connection = Self::open(url).await?;
        if url.database != 0 {
            match connection.call("SELECT", cmd("SELECT").arg(url.database)).await {
                Ok(_) => {}
                Err(error) if error.is_denied() => tracing::warn!(
                    database = url.database,
                    hint = "grant +select, or leave the number out of redis.url",
                    "SELECT denied by the Redis ACL: histories are in database 0"
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(connection)
    }

    async fn authenticated(stream: Box<dyn Stream>, url: &RedisUrl) -> Result<Self, ConnectionError> {
        let mut connection = Self { stream, replies: ReplyReader::new(MAX_REPLY_BYTES), output: Vec::new() };
        connection.authenticate(url).await?;
        Ok(connection)
    }

    /// Queues a command for the next [`RedisConnection::flush`].
    pub(super) fn write(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.output);
    }

    /// Sends the queued commands. Not cancel-safe: a command may have been sent in part.
    pub(super) async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await?;
        self.output.clear();
        self.output.shrink_to(MAX_IDLE_OUTPUT_BYTES);
        Ok(())
    }

    /// The next reply. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<Value, ConnectionError> {
        self.replies.next(&mut self.stream).await
    }

    /// When the last reply had been read.
    pub(super) fn read_at(&self) -> Instant {
        self.replies.read_at()
    }

    /// Sends one command and awaits its reply. Sending and awaiting may take a setup step each.
    pub(super) async fn call(&mut self, name: &'static str, command: &Cmd) -> Result<Value, ConnectionError> {
        self.write(command);
        setup_step(name, self.flush()).await??;
        self.reply_to(name).await?.map_err(|error| ConnectionError::refused(name, &error))
    }

    /// Awaits one more reply to the command `name`, within the time of a setup step.
    pub(super) async fn reply_to(
        &mut self,
        name: &'static str,
    ) -> Result<Result<Value, ServerError>, ConnectionError> {
        match setup_step(name, self.read()).await?? {
            Value::ServerError(error) => Ok(Err(error)),
            reply => Ok(Ok(reply)),
        }
    }

    async fn authenticate(&mut self, url: &RedisUrl) -> Result<(), ConnectionError> {
        if let Some(password) = &url.password {
            let password = password.expose_secret();
            let without_user = cmd("AUTH").arg(password).take();
            match &url.username {
                Some(name) => match self.call("AUTH", cmd("AUTH").arg(name).arg(password)).await {
                    // Redis 5 has no users.
                    Err(ConnectionError::Refused(_, code)) if code == "ERR" => {
                        self.call("AUTH", &without_user).await?
                    }
                    answer => answer?,
                },
                None => self.call("AUTH", &without_user).await?,
            };
        }
        // Reveals at once whether Redis requires a password that is not configured.
        self.ping().await
    }

    /// Asks for a sign of life. The ACL may deny PING, and Redis refuses it while it accepts no writes: these are signs of life, too.
    pub(super) async fn ping(&mut self) -> Result<(), ConnectionError> {
        match self.call("PING", &cmd("PING")).await {
            Err(error) if error.is_denied() || error.is_misconfiguration() => Ok(()),
            answer => answer.map(drop),
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, ConnectionError> {
    let addresses: Vec<_> = setup_step("the DNS lookup", lookup_host((host, port))).await??.collect();
    let connecting = within(CONNECT, TcpStream::connect(&*addresses));
    let stream = connecting.await.ok_or(ConnectionError::TimedOut("connecting"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the server answers `question` with one of the `expected` first bytes. Tells TLS from plaintext after a
/// connection has failed, so that the error can name the cause.
async fn probe(host: &str, port: u16, question: &[u8], expected: &[u8]) -> bool {
    let asking = async {
        let mut stream = connect_tcp(host, port).await?;
        stream.write_all(question).await?;
        let first = stream.read_u8().await?;
        Ok::<_, ConnectionError>(expected.contains(&first))
    };
    within(CONNECT, asking).await.is_some_and(|answer| answer.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
    use tokio::net::TcpListener;

    /// The error of opening a connection to a server that answers everything with these bytes.
    async fn open_error(answer: &[u8], ends: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = format!("redis://aoi:s3cret@{}", listener.local_addr().unwrap());
        let url = RedisUrl::parse(&SecretString::from(text)).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = [0; 512];
            while stream.read(&mut command).await.is_ok_and(|length| length > 0) {
                if stream.write_all(answer).await.is_err() || ends {
                    break;
                }
            }
        };
        let (error, ()) =
            tokio::join!(async { RedisConnection::open(&url).await.err().unwrap().to_string() }, server);
        error
    }

    #[tokio::test]
    async fn a_server_that_is_not_redis_is_reported() {
        let malformed = ConnectionError::Malformed.to_string();
        assert_eq!(open_error(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await, malformed);
        assert_eq!(open_error(b"SSH-2.0-OpenSSH_9.2\r\n", false).await, malformed);
        assert_eq!(
            open_error(&[0x15, 3, 1, 0, 2, 2, 70], true).await,
            ConnectionError::ExpectsTls.to_string()
        );
        assert_eq!(open_error(&b"*1\r\n".repeat(10_000), false).await, malformed);
        assert_eq!(open_error(b"", true).await, ConnectionError::Closed.to_string());
        assert_eq!(open_error(b"*1000000000\r\n$5\r\nhe", true).await, ConnectionError::Closed.to_string());
    }

    #[tokio::test]
    async fn an_error_is_reported_by_its_code_alone() {
        for (answer, code) in [
            ("-WRONGPASS invalid username-password pair\r\n", "WRONGPASS"),
            ("-ERR unknown command 'AUTH', with args beginning with: 's3cret'\r\n", "ERR"),
            ("-s3cret's3cret\r\n", "s3cret"),
            ("-\r\n", ""),
        ] {
            assert_eq!(open_error(answer.as_bytes(), false).await, format!("Redis refused AUTH: {code}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_times_out() {
        assert_eq!(open_error(b"", false).await, ConnectionError::TimedOut("AUTH").to_string());
        assert_eq!(open_error(b"$1000\r\nabc", false).await, ConnectionError::TimedOut("AUTH").to_string());
    }
}
